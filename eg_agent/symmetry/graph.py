"""The subgroup graph of the 99 groups.

An edge goes from a group to each group that holds a maximal translationengleiche subgroup of one of
its space groups. Edges lower the symmetry, the graph has no cycle, and all paths end in group 99
(triclinic). Lost centring and metric coincidences are not in it.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from eg_agent.symmetry.extinction_group import N_GROUPS, group
from eg_agent.symmetry.tables import tables

Relation = Literal["same", "descendant", "ancestor", "branch"]


@cache
def edges() -> tuple[tuple[int, int], ...]:
    """All (parent, child) pairs, ascending."""
    return tuple((entry["number"], child) for entry in tables()["groups"] for child in entry["children"])


@cache
def _reachable() -> npt.NDArray[np.bool_]:
    """bool [99, 99]: column group is a descendant of row group."""
    adjacency = np.zeros((N_GROUPS, N_GROUPS), dtype=bool)
    for parent, child in edges():
        adjacency[parent - 1, child - 1] = True
    reach = adjacency
    while True:
        longer = reach | (reach @ reach)
        if np.array_equal(longer, reach):
            return reach
        reach = longer


def _numbers(mask: npt.NDArray[np.bool_]) -> frozenset[int]:
    return frozenset((np.flatnonzero(mask) + 1).tolist())


def children(number: int) -> frozenset[int]:
    """Groups one step down: they hold a maximal t-subgroup of a space group of this one."""
    return frozenset(child for parent, child in edges() if parent == group(number).number)


def parents(number: int) -> frozenset[int]:
    """Groups one step up."""
    return frozenset(parent for parent, child in edges() if child == group(number).number)


def descendants(number: int) -> frozenset[int]:
    """All groups that can be reached downwards, itself excluded."""
    return _numbers(_reachable()[group(number).number - 1])


def ancestors(number: int) -> frozenset[int]:
    """All groups from which this one can be reached downwards, itself excluded."""
    return _numbers(_reachable()[:, group(number).number - 1])


def branch(number: int) -> frozenset[int]:
    """The group, its ancestors and its descendants: what a subgroup chain through it can reach."""
    return ancestors(number) | descendants(number) | {number}


@cache
def distance_matrix() -> npt.NDArray[np.int64]:
    """int [99, 99]: fewest edges between two groups, directions ignored; read-only."""
    adjacency = np.eye(N_GROUPS, dtype=np.int64)
    for parent, child in edges():
        adjacency[parent - 1, child - 1] = adjacency[child - 1, parent - 1] = 1
    distance = np.full((N_GROUPS, N_GROUPS), -1, dtype=np.int64)
    reached = np.eye(N_GROUPS, dtype=bool)
    hops = 0
    while reached.any() and (distance < 0).any():
        distance[reached & (distance < 0)] = hops
        reached = (reached.astype(np.int64) @ adjacency) > 0
        hops += 1
    distance.flags.writeable = False
    return distance


def relation(true: int, predicted: int) -> Relation:
    """Where a prediction lies, seen from the truth: below it, above it, or on another branch."""
    if group(true) == group(predicted):
        return "same"
    if predicted in descendants(true):
        return "descendant"
    return "ancestor" if predicted in ancestors(true) else "branch"
