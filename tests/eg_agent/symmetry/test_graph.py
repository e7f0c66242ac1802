"""The subgroup graph: its shape, its distances by scipy, and what an edge means for absences."""

from __future__ import annotations

from graphlib import TopologicalSorter

import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, shortest_path

from eg_agent import symmetry
from eg_agent.errors import BadInput
from eg_agent.symmetry.operators import GRID


def _adjacency() -> coo_array:
    parents, children = np.array(symmetry.edges()).T - 1
    return coo_array((np.ones(len(parents)), (parents, children)), shape=(99, 99))


def test_acyclic_connected_one_sink() -> None:
    order = list(TopologicalSorter({n: symmetry.children(n) for n in range(1, 100)}).static_order())
    assert len(order) == 99
    assert connected_components(_adjacency(), directed=False)[0] == 1
    assert [n for n in range(1, 100) if not symmetry.children(n)] == [99]


def test_distances_by_scipy() -> None:
    expected = shortest_path(_adjacency(), directed=False, unweighted=True)
    np.testing.assert_array_equal(symmetry.distance_matrix(), expected)
    with pytest.raises(ValueError, match="read-only"):
        symmetry.distance_matrix()[0, 0] = 1


def test_descendants_by_scipy() -> None:
    reachable = np.isfinite(shortest_path(_adjacency(), directed=True))
    for n in range(1, 100):
        below = set((np.flatnonzero(reachable[n - 1]) + 1).tolist()) - {n}
        assert symmetry.descendants(n) == below
        assert all(n in symmetry.ancestors(m) for m in below)
        assert symmetry.branch(n) == below | symmetry.ancestors(n) | {n}
        assert all(n in symmetry.parents(m) for m in symmetry.children(n))


def test_relation() -> None:
    pnma, p212121, triclinic, cubic = 17, 10, 99, 82
    assert symmetry.relation(pnma, pnma) == "same"
    assert symmetry.relation(pnma, p212121) == "descendant"
    assert symmetry.relation(triclinic, pnma) == "ancestor"
    assert symmetry.relation(pnma, cubic) == "branch"
    with pytest.raises(BadInput, match="1 to 99"):
        symmetry.relation(pnma, 0)


def test_an_edge_within_a_lattice_only_takes_absences_away() -> None:
    # A t-subgroup of the same Bravais lattice keeps the axes, so each setting of a parent has a setting
    # of the child among whose absences there is none that the parent lacks.
    checked = 0
    for parent, child in symmetry.edges():
        if symmetry.group(parent).bravais != symmetry.group(child).bravais:
            continue
        for setting in symmetry.settings(parent):
            absent = setting.absent(GRID)
            assert any(
                not (candidate.absent(GRID) & ~absent).any() for candidate in symmetry.settings(child)
            ), (setting, child)
            checked += 1
    assert checked > 100
