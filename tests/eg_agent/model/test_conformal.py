"""Prediction sets: what they promise, on data for which the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eg_agent.errors import BadInput
from eg_agent.model.conformal import ConformalSets, closed_set, ends, fit_sets, mass_before
from eg_agent.model.prior import normalised
from eg_agent.symmetry import ancestors, descendants


def drawn(n: int, seed: int, overconfident: float = 2.5) -> tuple[np.ndarray, np.ndarray]:
    """Posteriors that are too sure of themselves, and labels drawn from the honest ones."""
    rng = np.random.default_rng(seed)
    honest = normalised(rng.normal(size=(n, 99)) * 2.0)
    labels = np.array([rng.choice(99, p=np.exp(row)) for row in honest])
    return normalised(overconfident * honest), labels


def test_coverage_holds_on_fresh_patterns_though_the_posterior_is_overconfident():
    sets = fit_sets(*drawn(1500, 0), coverage=0.9)
    logp, labels = drawn(3000, 1)
    assert sets.covered(logp, labels).mean() == pytest.approx(0.9, abs=0.03)
    assert ConformalSets(0.9, 0.9).covered(logp, labels).mean() < 0.85  # what it says of itself is wrong


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.floats(0.0, 1.0))
def test_sets_are_never_empty_and_hold_the_first_answer(seed, threshold):
    logp, labels = drawn(20, seed)
    sets = ConformalSets(0.9, threshold)
    groups = sets.sets(logp)
    assert all(row[0] == int(p.argmax()) + 1 for row, p in zip(groups, logp, strict=True))
    assert [len(row) for row in groups] == sets.sizes(logp).tolist()
    covered = [label + 1 in row for label, row in zip(labels, groups, strict=True)]
    assert covered == sets.covered(logp, labels).tolist()


def test_mass_before_by_hand():
    logp = np.full((1, 99), -np.inf)
    logp[0, [4, 7, 2]] = np.log([0.5, 0.3, 0.2])
    np.testing.assert_allclose(mass_before(logp)[0, [4, 7, 2, 50]], [0.0, 0.5, 0.8, 1.0])


def test_too_few_patterns_promise_nothing_but_everything():
    assert fit_sets(*drawn(5, 0), coverage=0.9).threshold == 1.0
    with pytest.raises(BadInput, match="at least one"):
        fit_sets(np.empty((0, 99)), [])


@settings(max_examples=40, deadline=None)
@given(st.sets(st.integers(1, 99), min_size=1, max_size=6))
def test_closure_is_closed_and_the_smallest(groups):
    closed = set(closed_set(groups))
    assert groups <= closed
    assert set(closed_set(closed)) == closed
    for g in closed - groups:  # each that was added lies between two that were given
        assert ancestors(g) & groups
        assert descendants(g) & groups
    highest, lowest = ends(closed)
    rebuilt = set(closed_set((*highest, *lowest)))
    assert rebuilt <= closed
