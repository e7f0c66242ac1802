"""The lattices of a folder of structures, with their groups."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import gemmi
import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from eg_agent.chemistry import Composition
from eg_agent.errors import BadInput
from eg_agent.identify.formula_units import N_ELEMENTS, N_KINDS, kind_of, log_units
from eg_agent.symmetry import group
from eg_agent.verify.lattice_shape import lattice_shape
from simulators import Crystal
from simulators.corpus import held_out
from simulators.crystal import stabiliser_orders
from simulators.existing import chances
from simulators.structures import StructureFolder
from trainer.benchmark.simulated_samples import own_metric

Floats = npt.NDArray[np.float64]

#: Share of what is drawn that is no computed structure (minerals, .cif files), where there are such.
NOT_COMPUTED = 0.15
#: So many cells' worth of an atom's volume being the usual one.
HELD = 0.1
#: Times that the volumes are fitted, what was far off left out.
ROUNDS = 3
#: Structures between two reports of progress.
EVERY = 2000


@dataclass(frozen=True, eq=False)
class Lattices:
    """family: [n] place in `FAMILIES`; numbers: [n, 4] of `LatticeShape`; group: [n] 1-99; held_out: [n]
    whether the formula is kept from training; weight: [n] by the chance that it was made
    (`simulators.existing`), mean 1 over what is trained on. units: [n] log of the formula units in the cell,
    nan where amounts are not whole, by atomic_volumes: [3, 119] angstrom^3. half: [n] one of two halves of
    the formulas."""

    family: npt.NDArray[np.int64]
    numbers: Floats
    group: npt.NDArray[np.int64]
    held_out: npt.NDArray[np.bool_]
    weight: Floats
    units: Floats
    atomic_volumes: Floats
    half: npt.NDArray[np.bool_]


def lattices_of(
    structures: Path, progress: Callable[[int, int], None] = lambda done, total: None
) -> Lattices:
    """Lattices of all structures but triclinic ones and those with the metric of a higher system, by which
    they would be taken for something else. Raises BadInput for a folder without usable structures."""
    folder = StructureFolder(structures)
    chance = chances(structures, folder)
    made: list[float] = []
    rows, others, contents, compositions, half = [], [], [], [], []
    for number in range(len(folder)):
        if number % EVERY == 0:
            progress(number, len(folder))
        crystal = folder.crystal(number)
        if group(crystal.group).crystal_system == "triclinic" or not own_metric(crystal):
            continue
        shape = lattice_shape(crystal.cell)
        if shape is None:
            continue
        rows.append((shape.family, *shape.numbers, crystal.group, held_out(crystal.formula)))
        others.append(number >= folder.computed)
        made.append(float(chance[number]))
        contents.append(cell_contents(crystal))
        compositions.append(_composition(crystal.formula))
        half.append(crc32(crystal.formula.encode()) % 2 == 0)
    progress(len(folder), len(folder))
    table = np.array(rows, dtype=np.float64).reshape(-1, 7)
    kept_back = table[:, 6] > 0.5
    if kept_back.all() or not kept_back.any():
        raise BadInput(
            f"{len(table)} lattices of {structures} are too few to train and judge on: give more structures."
        )
    weight = _weights(np.array(others), np.array(made), ~kept_back)
    family, of_group = table[:, 0].astype(np.int64), table[:, 5].astype(np.int64)
    volume = np.exp(table[:, 1])
    atomic = atomic_volumes(np.array(contents)[~kept_back], volume[~kept_back])
    units = np.array([log_units(v, c, atomic) for v, c in zip(volume, compositions, strict=True)])
    return Lattices(family, table[:, 1:5], of_group, kept_back, weight, units, atomic, np.array(half))


def cell_contents(crystal: Crystal) -> Floats:
    """[119] atoms in the cell by atomic number."""
    found = np.zeros(N_ELEMENTS)
    orders = stabiliser_orders(crystal.cell, crystal.operations, crystal.fractional)
    atoms = crystal.occupancy * len(crystal.operations) / orders
    np.add.at(found, [gemmi.Element(symbol).atomic_number for symbol in crystal.elements], atoms)
    return found


def atomic_volumes(contents: Floats, volume: Floats) -> Floats:
    """[3, 119] angstrom^3 an atom in each kind of compound, by which cells come nearest to their volumes.

    contents: [n, 119] atoms; volume: [n] angstrom^3; each cell counts in proportion. An element that is
    hardly there has what atoms have on average. Never below 0. Cells off by more than three deviations
    (frameworks, clathrates) are left out.
    """
    kinds = np.array([kind_of(np.flatnonzero(row)) for row in contents])
    found = np.full((N_KINDS, N_ELEMENTS), _usual(contents, volume))
    for kind in range(N_KINDS):
        own, kept = kinds == kind, np.ones(int((kinds == kind).sum()), dtype=bool)
        if not own.any():
            continue
        for _ in range(ROUNDS):
            found[kind] = _nearest(contents[own][kept], volume[own][kept])
            error = np.log(volume[own] / np.maximum(contents[own] @ found[kind], 1e-9))
            kept = np.abs(error) <= max(3.0 * 1.4826 * float(np.median(np.abs(error))), 1e-3)
    return found


def _usual(contents: Floats, volume: Floats) -> float:
    return float(np.median(volume / np.maximum(contents.sum(axis=1), 1e-9)))


def _nearest(contents: Floats, volume: Floats) -> Floats:
    held = np.sqrt(HELD) * np.eye(N_ELEMENTS) / _usual(contents, volume)
    matrix = np.vstack([contents / volume[:, None], held])
    wanted = np.concatenate([np.ones(len(volume)), np.full(N_ELEMENTS, np.sqrt(HELD))])
    return nnls(matrix, wanted)[0]


def _composition(formula: str) -> Composition | None:
    try:
        return Composition.of_formula(formula)
    except BadInput:  # more elements than a phase has
        return None


def _weights(others: npt.NDArray[np.bool_], made: Floats, trained: npt.NDArray[np.bool_]) -> Floats:
    """[n] by the chance that each was made, so that structures that are not computed have their share where
    there are both kinds."""
    both = bool(others[trained].any()) and not bool(others[trained].all())
    total = float(trained.sum())
    shares = ((others, NOT_COMPUTED), (~others, 1.0 - NOT_COMPUTED)) if both else ((made > 0.0, 1.0),)
    found = np.zeros(len(others))
    for kind, share in shares:
        found[kind] = made[kind] * share * total / made[kind & trained].sum()
    return found
