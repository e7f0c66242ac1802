"""The groups that a cell can carry, and the search for the best of them along the subgroup graph.

A sweep of all groups of a lattice costs milliseconds a symbol once the fit is made (`eg_agent.verify`), and
is what `identify` does by default. The search is for where that is too much: it starts at the groups that
are probable before, and goes up and down the graph while the evidence improves.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from eg_agent.symmetry import absence_free, branch, children, group, groups, parents
from eg_agent.verify.candidates import candidate_settings
from eg_agent.verify.metric import Cell, hexagonal_axes, is_rhombohedral, metric_system

#: Nats behind the best group at which a group's neighbours are still looked at: a hidden class of reflections
#: (`eg_agent.verify.score.HIDDEN`) is worth 3, and two may hide.
MARGIN = 6.0

#: From some groups to the evidence of each, nats on one scale.
Weigh = Callable[[Sequence[int]], Mapping[int, float]]


def branch_of_set(chosen: Sequence[int]) -> frozenset[int]:
    """The groups of a prediction set with all that is above and below each on the subgroup graph.

    Where a network errs, it mostly errs along a branch: to a subgroup, which needs fewer absences to
    be believed in.
    """
    return frozenset().union(*(branch(number) for number in chosen))


def groups_of_cell(cell: Cell) -> frozenset[int]:
    """Groups of the crystal family of a cell, with any centring; rhombohedral axes are allowed."""
    system = metric_system(hexagonal_axes(cell) if is_rhombohedral(cell) else cell)
    return frozenset(setting.group for setting in candidate_settings(system, None))


@cache
def neighbours(number: int) -> frozenset[int]:
    """Groups one step from a group: its parents and children on the graph of maximal translationengleiche
    subgroups, and, what that graph lacks, the absence-free groups of the other lattices of its family
    (centring lost or gained) and of the families next above and below (a metric that is special by chance,
    or a symmetry that is only nearly kept).
    """
    of = group(number)
    near = set(parents(number)) | set(children(number))
    family, beside = of.bravais[0], _NEXT_FAMILY[of.bravais[0]]
    near.update(
        absence_free_group(lattice) for lattice in _lattices() if lattice[0] == family or lattice[0] in beside
    )
    return frozenset(near - {number})


#: Families whose metric is a special case of the other's, one step apart; h and o by the orthohexagonal cell.
_NEXT_FAMILY = {"a": "m", "m": "ao", "o": "mth", "t": "oc", "h": "oc", "c": "th"}


@cache
def _lattices() -> tuple[str, ...]:
    return tuple(sorted({entry.bravais for entry in groups()}))


@cache
def absence_free_group(lattice: str) -> int:
    """The group of a Bravais lattice that forbids nothing beyond its centring."""
    return absence_free(lattice).group


def beyond(weighed: Mapping[int, float], carried: Collection[int], margin: float = MARGIN) -> list[int]:
    """Groups not yet weighed that neighbour one within `margin` nats of the best; those of the best first.

    weighed: evidence of groups, nats on one scale. carried: groups that the cell can carry.
    """
    best = max(weighed.values())
    near = sorted(
        (n for n, value in weighed.items() if value >= best - margin), key=lambda n: (-weighed[n], n)
    )
    found = (m for n in near for m in sorted(neighbours(n)) if m in carried and m not in weighed)
    return list(dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class BranchSearch:
    """What a search has seen: evidence of each group that was weighed, how many rounds it took, and whether
    it ended by itself (not by its budget)."""

    weighed: dict[int, float]
    rounds: int
    complete: bool

    @property
    def best(self) -> int:
        """The group of the largest evidence; of equal ones the lowest number."""
        return min(self.weighed, key=lambda number: (-self.weighed[number], number))


def search_branch(
    start: Collection[int],
    weigh: Weigh,
    carried: Collection[int],
    *,
    budget: int = 60,
    margin: float = MARGIN,
) -> BranchSearch:
    """Follow the subgroup graph from some groups to the largest evidence.

    start: groups to begin with, e.g. a prediction set. carried: groups that the cell can carry: no others are
        weighed, but where the start holds only others, their neighbours are where the search begins.
    weigh: is called with groups not yet weighed. budget: groups that are weighed at most.

    Each round weighs the neighbours of all groups within `margin` nats of the best; a round without a new
    group ends the search. Deterministic.
    """
    allowed = frozenset(carried)
    near = sorted(allowed.intersection(start))
    if not near:
        near = sorted(allowed.intersection(*[frozenset().union(*(neighbours(n) for n in start))]))
    near = near or sorted(allowed.intersection(absence_free_group(lattice) for lattice in _lattices()))
    near = near or sorted(allowed)
    weighed: dict[int, float] = {}
    rounds, complete = 0, False
    while near and len(weighed) < budget:
        near = near[: budget - len(weighed)]
        weighed.update(weigh(near))
        rounds += 1
        near = beyond(weighed, allowed, margin)
        complete = not near
    return BranchSearch(weighed, rounds, complete)
