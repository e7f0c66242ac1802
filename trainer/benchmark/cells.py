"""When are two cells the same lattice? By Niggli reduction, with the benchmark's tolerances.

Niggli reduction is not continuous: where two reduced bases are nearly equally short, an error of 1e-4 in
the cell picks the other one, with other angles. So the cell that is judged is reduced, and every basis
that a change with entries -1, 0, 1 makes of its reduced basis is compared with the reduced reference.
"""

from __future__ import annotations

from functools import cache
from itertools import product

import gemmi
import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadInput
from trainer.benchmark.data import Cell

#: Tolerances of "the right cell": relative on lengths and volume, degrees on angles.
LENGTH = 0.015
ANGLE = 1.0
VOLUME = 0.03

FloatArray = npt.NDArray[np.float64]


def niggli(cell: Cell, centring: str = "P") -> FloatArray:
    """[6] parameters of the Niggli-reduced primitive cell, angstrom and degrees.

    centring: P A B C I F, or R (obverse, hexagonal axes; a rhombohedral cell with R is taken as
    primitive). Raises BadInput for a cell that spans no volume.
    """
    unit = gemmi.UnitCell(*cell)
    if not np.all(np.isfinite(cell)) or min(cell[:3]) <= 0 or not unit.volume > 0:
        raise BadInput(f"cell {cell} spans no volume: give a b c in angstrom and three possible angles.")
    if centring == "R" and abs(cell[5] - 120.0) > 1.0:
        centring = "P"
    gruber = gemmi.GruberVector(unit, centring)
    gruber.niggli_reduce(1e-6)
    return np.array(gruber.cell_parameters(), dtype=np.float64)


def metric(parameters: npt.ArrayLike) -> FloatArray:
    """[3, 3] metric tensor of cell parameters [6], angstrom squared."""
    a, b, c, alpha, beta, gamma = np.asarray(parameters, dtype=np.float64)
    cos = np.cos(np.radians([alpha, beta, gamma]))
    return np.array(
        [
            [a * a, a * b * cos[2], a * c * cos[1]],
            [a * b * cos[2], b * b, b * c * cos[0]],
            [a * c * cos[1], b * c * cos[0], c * c],
        ]
    )


@cache
def _small_changes() -> FloatArray:
    """[k, 3, 3] all integer matrices with entries -1, 0, 1 and determinant 1."""
    rows = np.array(list(product((-1, 0, 1), repeat=3)))
    every = np.stack(
        np.broadcast_arrays(rows[:, None, None], rows[None, :, None], rows[None, None, :]), axis=-2
    )
    every = every.reshape(-1, 3, 3)
    return every[np.rint(np.linalg.det(every)) == 1].astype(np.float64)


def same_lattice(
    cell: Cell,
    centring: str,
    reference: Cell,
    reference_centring: str,
    *,
    length: float = LENGTH,
    angle: float = ANGLE,
    volume: float = VOLUME,
) -> bool:
    """Whether a cell spans the lattice of a reference: reduced lengths, angles and volume all agree.

    length, volume: relative; angle: degrees.
    """
    target = niggli(reference, reference_centring)
    found = metric(niggli(cell, centring))
    wanted = metric(target)
    if abs(np.sqrt(np.linalg.det(found) / np.linalg.det(wanted)) - 1.0) > volume:
        return False
    changes = _small_changes()
    tensors = changes @ found @ changes.transpose(0, 2, 1)
    lengths = np.sqrt(np.einsum("kii->ki", tensors))
    near = np.all(np.abs(lengths / target[:3] - 1.0) <= length, axis=1)
    tensors, lengths = tensors[near], lengths[near]
    cosines = np.stack(
        [tensors[:, i, j] / (lengths[:, i] * lengths[:, j]) for i, j in ((1, 2), (0, 2), (0, 1))], axis=1
    )
    angles = np.degrees(np.arccos(np.clip(cosines, -1.0, 1.0)))
    return bool(np.any(np.all(np.abs(angles - target[3:]) <= angle, axis=1)))


def centring_of(space_group: int) -> str:
    """Centring letter of a space group's standard setting (hexagonal axes for R)."""
    found = gemmi.find_spacegroup_by_number(space_group)
    if found is None:
        raise BadInput(f"space group {space_group} does not exist: 1 to 230.")
    return found.hm[0]
