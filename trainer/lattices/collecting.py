"""The lattices of a folder of structures, with their groups."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadInput
from eg_agent.identify.lattice_shape import lattice_shape
from eg_agent.symmetry import group
from simulators.corpus import held_out
from simulators.structures import StructureFolder
from trainer.benchmark.simulated_samples import own_metric

#: Share of what is drawn that is no computed structure (minerals, .cif files), where there are such.
NOT_COMPUTED = 0.15
#: Structures between two reports of progress.
EVERY = 2000


@dataclass(frozen=True, eq=False)
class Lattices:
    """family: [n] place in `FAMILIES`; numbers: [n, 4] of `LatticeShape`; group: [n] 1-99; held_out: [n]
    whether the formula is kept from training; weight: [n] mean 1 over what is trained on."""

    family: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.float64]
    group: npt.NDArray[np.int64]
    held_out: npt.NDArray[np.bool_]
    weight: npt.NDArray[np.float64]


def lattices_of(
    structures: Path, progress: Callable[[int, int], None] = lambda done, total: None
) -> Lattices:
    """Lattices of all structures but triclinic ones and those with the metric of a higher system, by which
    they would be taken for something else. Raises BadInput for a folder without usable structures."""
    folder = StructureFolder(structures)
    rows, others = [], []
    for number in range(len(folder)):
        if number % EVERY == 0:
            progress(number, len(folder))
        crystal = folder.crystal(number)
        if group(crystal.group).crystal_system == "triclinic" or not own_metric(crystal):
            continue
        shape = lattice_shape(crystal.cell)
        if shape is None:
            continue
        numbers = (shape.log_volume, shape.second, shape.third, shape.oblique)
        rows.append((shape.family, *numbers, crystal.group, held_out(crystal.formula)))
        others.append(number >= folder.computed)
    progress(len(folder), len(folder))
    table = np.array(rows, dtype=np.float64).reshape(-1, 7)
    kept_back = table[:, 6] > 0.5
    if kept_back.all() or not kept_back.any():
        raise BadInput(
            f"{len(table)} lattices of {structures} are too few to train and judge on: give more structures."
        )
    weight = _weights(np.array(others), ~kept_back)
    family, of_group = table[:, 0].astype(np.int64), table[:, 5].astype(np.int64)
    return Lattices(family, table[:, 1:5], of_group, kept_back, weight)


def _weights(others: npt.NDArray[np.bool_], trained: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """[n] so that structures that are not computed have their share, where there are both kinds."""
    share = float(others[trained].mean())
    if not 0.0 < share < 1.0:
        return np.ones(len(others))
    return np.where(others, NOT_COMPUTED / share, (1.0 - NOT_COMPUTED) / (1.0 - share))
