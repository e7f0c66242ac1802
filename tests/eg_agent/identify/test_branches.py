"""The subgroup graph as a way to the best group, checked by a sweep of everything."""

from __future__ import annotations

import numpy as np
import pytest

from eg_agent.identify.branches import absence_free_group, groups_of_cell, neighbours, search_branch
from eg_agent.patterns import Pattern
from eg_agent.symmetry import BRAVAIS_LATTICES, N_GROUPS, children, group, parents
from eg_agent.verify import VerifySettings, verify

ORTHORHOMBIC = (7.3, 8.9, 10.6, 90.0, 90.0, 90.0)
CUBIC = (9.1, 9.1, 9.1, 90.0, 90.0, 90.0)
SLOW = VerifySettings(time_limit=60.0)


class Ledger:
    """Evidence by a table, which remembers what it was asked."""

    def __init__(self, evidence: dict[int, float]) -> None:
        self.evidence = evidence
        self.asked: list[int] = []

    def __call__(self, numbers) -> dict[int, float]:
        self.asked.extend(numbers)
        return {n: self.evidence[n] for n in numbers}


def swept(pattern: Pattern, cell: tuple[float, ...]) -> dict[int, float]:
    evidence = verify(pattern, cell, settings=SLOW)
    assert evidence.status == "fitted", evidence.reason
    return {c.group: c.log_evidence for c in evidence.candidates}


@pytest.mark.parametrize(
    ("number", "symbol", "cell", "start"),
    [
        (17, "P n - a", ORTHORHOMBIC, {99}),
        (17, "P n - a", ORTHORHOMBIC, {7}),
        (17, "P n - a", ORTHORHOMBIC, {26, 37}),
        (97, "F d - -", CUBIC, {81}),
    ],
)
def test_the_branch_does_not_miss_what_the_full_sweep_finds(powder, number, symbol, cell, start) -> None:
    everything = swept(powder(number, symbol, cell), cell)
    found = search_branch(start, Ledger(everything), groups_of_cell(cell), budget=N_GROUPS)
    best = max(everything.values())
    assert everything[found.best] == best
    assert found.complete
    assert len(found.weighed) < len(everything)  # it did not look at everything to get there


@pytest.mark.parametrize("budget", [1, 3, 8])
def test_the_budget_holds_and_nothing_is_weighed_twice(budget: int) -> None:
    rng = np.random.default_rng(budget)
    ledger = Ledger({n: float(v) for n, v in enumerate(rng.normal(0, 2, N_GROUPS), start=1)})
    found = search_branch({17}, ledger, range(1, N_GROUPS + 1), budget=budget)
    assert len(found.weighed) == len(ledger.asked) == len(set(ledger.asked)) == budget
    assert not found.complete


def test_only_groups_that_the_cell_carries_are_weighed() -> None:
    carried = groups_of_cell(CUBIC)
    ledger = Ledger(dict.fromkeys(range(1, N_GROUPS + 1), 0.0))
    for start in ({1}, {17, 99}, {97}, set(range(1, N_GROUPS + 1))):
        found = search_branch(start, ledger, carried)
        assert set(found.weighed) <= carried
        assert found.weighed


def test_neighbours_are_the_graphs_edges_and_lost_centrings() -> None:
    for number in range(1, N_GROUPS + 1):
        near = neighbours(number)
        assert number not in near
        assert set(parents(number)) | set(children(number)) <= near
        own = absence_free_group(group(number).bravais)
        if own != number:
            assert own in near
    # Fd-3m's F lattice, its centring lost: P and I of the cubic family
    assert {absence_free_group("cP"), absence_free_group("cI")} <= neighbours(97)
    assert {group(absence_free_group(lattice)).bravais for lattice in BRAVAIS_LATTICES} == set(
        BRAVAIS_LATTICES
    )
