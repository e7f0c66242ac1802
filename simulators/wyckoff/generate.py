"""Make tables.npz: the Wyckoff positions of the 230 space groups in the form that the sampler needs.

Run `python -m simulators.wyckoff.generate` after an upgrade of PyXtal (the positions) or spglib (the
operations, and which positions show a group's whole symmetry). Settings: unique axis b, origin choice
2, hexagonal axes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from simulators.crystal import TRANSLATION_DENOMINATOR, Operations, operations_from_hall

TARGET = Path(__file__).with_name("tables.npz")
#: Primitive operations of the largest groups.
MOST_OPERATIONS = 48
#: Most orbits of one position that are tried to show the whole symmetry of a group.
MOST_ORBITS = 3


def generate() -> dict[str, npt.NDArray[Any]]:
    """All arrays of tables.npz; `simulators.wyckoff.tables.Tables` says what each is."""
    from pyxtal.symmetry import Group

    hall, counts, centring_counts = [], [], []
    rotation = np.zeros((230, MOST_OPERATIONS, 3, 3), np.int8)
    translation = np.zeros((230, MOST_OPERATIONS, 3), np.int8)
    centring = np.zeros((230, 4, 3), np.int8)
    rows: list[tuple[Any, ...]] = []
    first = [0]
    for number in range(1, 231):
        group: Any = Group(number)
        operations = operations_from_hall(int(group.hall_number))
        _check_setting(operations, group, number)
        rotations, shifts = _cosets(operations)
        hall.append(int(group.hall_number))
        counts.append(len(rotations))
        rotation[number - 1, : len(rotations)] = rotations
        translation[number - 1, : len(rotations)] = shifts
        vectors = np.concatenate([np.zeros((1, 3), np.int64), operations.centring])
        centring_counts.append(len(vectors))
        centring[number - 1, : len(vectors)] = vectors
        for position in group.Wyckoff_positions:
            matrix = np.asarray(position.ops[0].affine_matrix)
            shape = np.rint(matrix[:3, :3]).astype(np.int64)
            origin = np.rint(matrix[:3, 3] * TRANSLATION_DENOMINATOR).astype(np.int64)
            assert np.allclose(matrix[:3, :3], shape), (number, position.letter)
            assert np.allclose(matrix[:3, 3] * TRANSLATION_DENOMINATOR, origin), (number, position.letter)
            members = _orbit(operations, shape, origin)
            assert len(members) * len(vectors) == position.multiplicity, (number, position.letter)
            padded = np.full(MOST_OPERATIONS, -1, np.int8)
            padded[: len(members)] = members
            freedom = int(np.linalg.matrix_rank(shape))
            needed = _needed(operations, number, shape, origin, members, freedom)
            rows.append((shape, origin, len(members), freedom, needed, padded, ord(position.letter)))
        first.append(len(rows))
    names = ("shape", "origin", "orbit_size", "freedom", "needed", "orbit", "letter")
    arrays = {name: np.array([row[i] for row in rows], np.int8) for i, name in enumerate(names)}
    return {
        "hall": np.array(hall, np.int16),
        "operation_count": np.array(counts, np.int8),
        "rotation": rotation,
        "translation": translation,
        "centring_count": np.array(centring_counts, np.int8),
        "centring": centring,
        "first": np.array(first, np.int16),
        **arrays,
    }


def _check_setting(operations: Operations, group: Any, number: int) -> None:
    """PyXtal's general position and spglib's operations must be one set, or the tables are nonsense."""

    def names(matrices: npt.NDArray[np.int64]) -> set[tuple[int, ...]]:
        return {tuple(m) for m in matrices.reshape(len(matrices), -1).tolist()}

    theirs = np.array([op.affine_matrix for op in group.Wyckoff_positions[0].ops])
    shifts = np.rint(theirs[:, :3, 3] * TRANSLATION_DENOMINATOR).astype(np.int64) % TRANSLATION_DENOMINATOR
    both = np.concatenate([np.rint(theirs[:, :3, :3]).astype(np.int64), shifts[:, :, None]], axis=2)
    ours = np.concatenate([operations.rotations, operations.translations[:, :, None]], axis=2)
    assert names(both) == names(ours), f"settings of space group {number} differ"


def _orbit(operations: Operations, shape: npt.NDArray[np.int64], origin: npt.NDArray[np.int64]) -> list[int]:
    """Coset operations that take a site of this position to its different images, centring apart."""
    site = shape @ np.array([0.1234, 0.2713, 0.3917]) + origin / TRANSLATION_DENOMINATOR
    rotations, shifts = _cosets(operations)
    images = rotations @ site + shifts / TRANSLATION_DENOMINATOR
    vectors = np.concatenate([np.zeros((1, 3)), operations.centring / TRANSLATION_DENOMINATOR])
    chosen: list[int] = []
    for index, image in enumerate(images):
        delta = (image - images[chosen])[:, None] + vectors
        if (np.abs(delta - np.rint(delta)).max(axis=2, initial=0.0) > 1e-6).all():
            chosen.append(index)
    return chosen


def _cosets(operations: Operations) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """One operation for each rotation, the identity first."""
    rotations, shifts = operations.cosets
    identity = (rotations == np.eye(3, dtype=np.int64)).all(axis=(1, 2))
    order = np.argsort(~identity, kind="stable")
    return rotations[order], shifts[order]


def _needed(
    operations: Operations,
    number: int,
    shape: npt.NDArray[np.int64],
    origin: npt.NDArray[np.int64],
    members: list[int],
    freedom: int,
) -> int:
    """How many orbits of this position alone show the whole space group (spglib); 0 where three do not."""
    import spglib

    rotations, shifts = _cosets(operations)
    vectors = np.concatenate([np.zeros((1, 3)), operations.centring / TRANSLATION_DENOMINATOR])
    for count in range(1, MOST_ORBITS + 1 if freedom else 2):
        right = 0
        for trial in range(3):
            rng = np.random.default_rng([number, count, trial])
            sites = rng.random((count, 3)) @ shape.T + origin / TRANSLATION_DENOMINATOR
            images = np.einsum("oij,sj->soi", rotations[members], sites)
            images = images + shifts[members] / TRANSLATION_DENOMINATOR
            atoms = (images.reshape(-1, 1, 3) + vectors).reshape(-1, 3) % 1.0
            cell = (_lattice(number, rng).tolist(), atoms.tolist(), [1] * len(atoms))
            found = spglib.get_symmetry_dataset(cell, symprec=1e-6)
            right += found is not None and int(found.number) == number
        if right == 3:
            return count
    return 0


def _lattice(number: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Basis vectors (rows, angstrom) of a cell of the space group's system, otherwise without symmetry."""
    from simulators.crystal import metric
    from simulators.random_crystals import random_cell

    return np.linalg.cholesky(metric(random_cell(number, 1000.0, rng))).astype(np.float64)


if __name__ == "__main__":
    np.savez_compressed(TARGET, **generate())  # pyright: ignore[reportArgumentType]
