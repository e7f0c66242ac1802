"""The textbook structures are what they say, and are found in a corpus that holds them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import spglib

from eg_agent.symmetry import group_of_space_group
from simulators.corpus import COMPUTED, pack
from simulators.crystal import Crystal, metric
from simulators.textbook import overlap, textbook


@pytest.mark.parametrize("crystal", textbook(), ids=lambda c: c.name.replace(" ", "-"))
def test_spglib_finds_the_stated_space_group_and_atoms_keep_their_distance(crystal: Crystal) -> None:
    positions, elements, occupancy = crystal.expanded()
    lattice = np.linalg.cholesky(metric(crystal.cell))
    # Entries that share a site (Si and Al in sanidine) are one kind of atom for the symmetry.
    kind_at: dict[tuple[float, ...], str] = {}
    point_at: dict[tuple[float, ...], np.ndarray] = {}
    for position, element, share in zip(positions, elements, occupancy):
        key = tuple(np.round(position, 4) % 1.0)
        kind_at[key] = kind_at.get(key, "") + f"{element}{share:.2f}"
        point_at[key] = position
    kinds = sorted(set(kind_at.values()))
    points = np.array(list(point_at.values()))
    found = spglib.get_symmetry_dataset(
        (lattice, points, [kinds.index(kind) for kind in kind_at.values()]), symprec=1e-3
    )
    assert found is not None
    assert found.number == crystal.space_group
    assert group_of_space_group(found.number) == crystal.group

    delta = points[:, None] - points[None]
    delta -= np.rint(delta)
    distance = np.linalg.norm(delta @ lattice, axis=-1)
    np.fill_diagonal(distance, np.inf)
    # A corner of the cell may be nearer by another lattice vector only in very oblique cells.
    assert distance.min() > 1.1


def test_there_are_samples_of_every_crystal_system() -> None:
    numbers = [c.space_group for c in textbook()]
    edges = (0, 2, 15, 74, 142, 167, 194, 230)
    per_system = np.histogram(numbers, bins=np.array(edges) + 0.5)[0]
    assert (per_system >= 3).all()
    assert len({c.name for c in textbook()}) == len(textbook())


def test_overlap_finds_the_same_formula_the_same_cell_and_nothing_else() -> None:
    known = {c.name: c for c in textbook()}
    forsterite = known["forsterite"]
    a, b, c, *angles = forsterite.cell
    olivine = dataclasses.replace(  # another chemistry in the same cell, 0.5 % larger
        forsterite,
        cell=(1.005 * a, 1.005 * b, 1.005 * c, *angles),
        elements=tuple("Fe" if e == "Mg" else e for e in forsterite.elements),
        formula="Fe2O4Si",
        name="fayalite-like",
    )
    swollen = dataclasses.replace(olivine, cell=(1.1 * a, 1.1 * b, 1.1 * c, *angles), name="far cell")
    hydrated = dataclasses.replace(swollen, formula="H2Mg2O4Si", name="same heavy formula")
    corpus = pack([(x, COMPUTED) for x in (forsterite, olivine, swollen, hydrated)])
    assert overlap(corpus).tolist() == [True, True, False, True]
