"""Maximal translationengleiche subgroups of the 230 space groups, from their operators.

A t-subgroup keeps all translations and a subgroup of the point group, so the maximal ones belong to
the maximal subgroups of the point group (Hermann's theorem; International Tables A1, section 2.1).
Point groups have at most 48 elements: their subgroups are enumerated by generating them. The type of
each subgroup is named by spglib from its operations. Takes some seconds for all 230, so the package
reads the result from tables.json.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import spglib

from eg_agent.symmetry.derive import crystal_system
from eg_agent.symmetry.operators import DEN, IntArray, Operators, of_space_group

# A metric that the operations keep; angles and ratios beyond that do not matter to the type.
_CUBIC_AXES = np.eye(3)
_HEXAGONAL_AXES = np.array([[1.0, 0.0, 0.0], [-0.5, np.sqrt(0.75), 0.0], [0.0, 0.0, 1.6]])


Table = tuple[tuple[int, ...], ...]


def _multiplication_table(point_group: IntArray) -> Table:
    """Index of the product of elements i and j, at [i][j]."""
    index = {rotation.tobytes(): i for i, rotation in enumerate(point_group)}
    return tuple(tuple(index[(a @ b).tobytes()] for b in point_group) for a in point_group)


def _closure(elements: frozenset[int], table: Table) -> frozenset[int]:
    """The subgroup that some elements generate."""
    group, frontier = set(elements), set(elements)
    while frontier:
        products = {table[a][b] for a in frontier for b in group}
        products |= {table[b][a] for a in frontier for b in group}
        frontier = products - group
        group |= frontier
    return frozenset(group)


def maximal_subgroups(point_group: IntArray) -> tuple[frozenset[int], ...]:
    """Maximal proper subgroups of a point group, int [k, 3, 3], as sets of indices into it."""
    return _maximal_subgroups(_multiplication_table(point_group))


@cache
def _maximal_subgroups(table: Table) -> tuple[frozenset[int], ...]:
    everything = frozenset(range(len(table)))
    identity = next(i for i in everything if table[i][i] == i)
    found = {frozenset({identity})}
    frontier = set(found)
    while frontier:
        joined = {_closure(h | {g}, table) for h in frontier for g in everything - h}
        frontier = joined - found
        found |= frontier
    proper = found - {everything}
    return tuple(h for h in proper if not any(h < other for other in proper))


def _space_group_type(operators: Operators, *, hexagonal: bool) -> int:
    kind = spglib.get_spacegroup_type_from_symmetry(
        operators.rotations,
        operators.translations / DEN,
        lattice=_HEXAGONAL_AXES if hexagonal else _CUBIC_AXES,
        symprec=1e-4,
    )
    if kind is None:
        raise AssertionError("spglib did not recognise the operations of a subgroup")
    return int(kind.number)


def maximal_t_subgroups(space_group: int) -> tuple[int, ...]:
    """Space-group numbers of the maximal t-subgroups of a space group, ascending and without repeats."""
    operators = of_space_group(space_group)
    point_group = operators.point_group
    hexagonal = crystal_system(space_group) == "trigonal/hexagonal"
    types = set()
    for subgroup in maximal_subgroups(point_group):
        chosen = point_group[sorted(subgroup)]
        keep = (operators.rotations[:, None] == chosen[None]).all(axis=(2, 3)).any(axis=1)
        types.add(_space_group_type(operators.where(keep), hexagonal=hexagonal))
    return tuple(sorted(types))
