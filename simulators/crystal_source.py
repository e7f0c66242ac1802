"""`CrystalSource`: where crystals come from. Three sources give crystals by seed and number.

- `PyXtalSource` (pyxtal_source): random crystals by PyXtal, the recipe of arXiv:2604.23811.
- `WyckoffSource` (wyckoff): random crystals in batches on any device, with their peaks.
- `RealSource` (here): structures of a folder, as they are or perturbed within their symmetry.

Every crystal that a source gives is checked: spglib finds the extinction group that the crystal says.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadInput
from eg_agent.symmetry import group_of_space_group
from simulators.crystal import SPECIAL_POSITION_TOLERANCE, Crystal, metric
from simulators.perturbation import Perturbation, perturbed
from simulators.structures import StructureFolder

#: Distance (angstrom) within which spglib takes atoms for images of each other: tight for crystals
#: that were made from operations, wider for coordinates that were rounded in a file.
TIGHT, ROUNDED = 1e-4, 1e-2
#: Structures tried before a source gives up.
ATTEMPTS = 50


@runtime_checkable
class CrystalSource(Protocol):
    """What all sources have in common."""

    def crystal(self, seed: int, index: int) -> Crystal:
        """Crystal number `index` (0 or more) of a seed: a function of both and of nothing else."""
        ...


class RealSource:
    """Structures of a folder (parquet tables or .cif files), drawn at random, perturbed if wanted.

    perturbation: none gives the structures as they are. A structure in which spglib does not find its
    own extinction group is passed over for another one.
    """

    def __init__(self, folder: str | Path, perturbation: Perturbation | None = None) -> None:
        self._folder = StructureFolder(folder)
        self._perturbation = perturbation

    def __len__(self) -> int:
        return len(self._folder)

    def crystal(self, seed: int, index: int) -> Crystal:
        """See `CrystalSource`; raises BadInput when 50 structures in a row lose their symmetry."""
        rng = generator(seed, index)
        for _ in range(ATTEMPTS):
            crystal = self._folder.crystal(int(rng.integers(len(self._folder))))
            if self._perturbation is not None:
                crystal = perturbed(crystal, rng, self._perturbation)
            if keeps_group(crystal):
                return crystal
        raise BadInput(f"{ATTEMPTS} structures in a row lost their symmetry: check the structures.")


def generator(seed: int, index: int) -> np.random.Generator:
    """Random numbers of one crystal. Raises BadInput for a negative seed or number."""
    if seed < 0 or index < 0:
        raise BadInput(f"seed {seed} and crystal number {index} must be 0 or more.")
    return np.random.default_rng([seed, index])


def keeps_group(crystal: Crystal) -> bool:
    """Does spglib find the crystal's own extinction group, tightly or within the rounding of files?"""
    return any(found_group(crystal, tolerance) == crystal.group for tolerance in (TIGHT, ROUNDED))


def found_group(crystal: Crystal, symprec: float = TIGHT) -> int:
    """Extinction group of the space group that spglib finds in the expanded cell; 0 for none.

    Elements that share a site count as one kind of atom, together with their occupancies.
    """
    import spglib

    positions, kinds = _atoms(crystal)
    lattice = np.linalg.cholesky(metric(crystal.cell))
    found = spglib.get_symmetry_dataset((lattice.tolist(), positions.tolist(), kinds), symprec=symprec)
    return 0 if found is None else group_of_space_group(int(found.number))


def _atoms(crystal: Crystal) -> tuple[npt.NDArray[np.float64], list[int]]:
    """All sites of the cell and a number for what sits on each: elements with occupancies."""
    contents: dict[int, list[tuple[str, float]]] = {}
    for site, first in enumerate(same_site(crystal)):
        entry = (crystal.elements[site], round(float(crystal.occupancy[site]), 4))
        contents.setdefault(int(first), []).append(entry)
    names = {key: i for i, key in enumerate(sorted({str(sorted(v)) for v in contents.values()}))}
    positions, kinds = [], []
    for site, content in contents.items():
        orbit = crystal.orbit(site)
        positions.append(orbit)
        kinds += [names[str(sorted(content))]] * len(orbit)
    return np.concatenate(positions), kinds


def same_site(crystal: Crystal) -> npt.NDArray[np.int64]:
    """[n] for each entry the first entry at the same position."""
    delta = crystal.fractional[:, None] - crystal.fractional[None]
    delta -= np.rint(delta)
    squared = np.einsum("abi,ij,abj->ab", delta, metric(crystal.cell), delta)
    return (squared < SPECIAL_POSITION_TOLERANCE**2).argmax(axis=1)
