"""The expert's log-scores: monotone, fair to small groups, and never certain."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eg_agent.errors import BadInput
from eg_agent.library import Expert

SIZES = np.full(99, 100)
similarity = st.lists(st.floats(0.0, 1.0), min_size=99, max_size=99)


@settings(max_examples=50, deadline=None)
@given(values=similarity, at=st.integers(0, 98), more=st.floats(0.01, 0.5))
def test_a_better_match_makes_a_group_more_probable(values: list[float], at: int, more: float) -> None:
    before = np.array(values)
    after = before.copy()
    after[at] = min(before[at] + more, 1.0)
    low, high = Expert().log_scores(before, SIZES), Expert().log_scores(after, SIZES)
    assert np.exp(low).sum() == pytest.approx(1.0)
    assert high[at] >= low[at] - 1e-12
    assert low.min() >= np.log(0.03 / 99) - 1e-9


def test_a_match_of_a_small_group_counts_more_than_one_of_a_large_group() -> None:
    values = np.zeros(99)
    values[[3, 60]] = 0.9
    sizes = SIZES.copy()
    sizes[3] = 20_000
    scores = Expert().log_scores(values, sizes)
    assert scores[60] > scores[3]


def test_no_library_entry_at_all_says_nothing() -> None:
    np.testing.assert_allclose(Expert().log_scores(np.zeros(99), SIZES), -np.log(99))


def test_known_probability_rises_with_similarity() -> None:
    p = Expert().known_probability(np.linspace(0, 1, 20))
    assert (np.diff(p) > 0).all()
    assert 0 < p[0] < 0.05
    assert p[-1] < 1


@pytest.mark.parametrize("wrong", [{"sharpness": -1.0}, {"crowding": -0.1}, {"misled": 0.0}, {"misled": 1.0}])
def test_wrong_constants_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(BadInput):
        Expert(**wrong)
