"""The chance of an answer: what raises it and what does not, and that nothing breaks it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eg_agent.decide import Decision, Look, State
from eg_agent.decide.chance import FEATURES, WEIGHTS, chance_of_answer, features


def decided(cost=100.0):
    return Decision("d", "count longer", "", cost=cost, expected_gain=0.01, sample="s")


def seen(*probabilities, seconds=100.0, entropy=1.0):
    """A state in which each look gave this probability; None: no answer at all."""
    looks = tuple(
        Look("refused") if p is None else Look("undecided", group=5, probability=p, entropy=entropy)
        for p in probabilities
    )
    return State("s", sample_seconds=seconds, repeats=len(looks) - 1, history=looks)


ANY = st.floats(allow_nan=True, allow_infinity=True)


@given(st.lists(st.none() | ANY, max_size=4), ANY, ANY, ANY, st.integers(-5, 10**9))
def test_it_is_a_chance_whatever_is_said(probabilities, seconds, cost, entropy, repeats):
    state = replace(seen(*probabilities, seconds=seconds, entropy=entropy), repeats=repeats)
    found = features(decided(cost), state)
    assert found.shape == (len(FEATURES),) == WEIGHTS.shape
    assert np.isfinite(found).all()
    assert 0.0 <= chance_of_answer(decided(cost), state) <= 1.0


@given(st.floats(0.0, 0.98), st.floats(0.0, 0.98))
def test_nearer_to_an_answer_is_more_likely_to_reach_it(one, other):
    low, high = sorted((one, other))
    assert chance_of_answer(decided(), seen(low, low)) <= chance_of_answer(decided(), seen(high, high))


def test_what_was_looked_at_in_vain_is_less_likely():
    chances = [chance_of_answer(decided(), seen(*[0.6] * looks)) for looks in (1, 2, 4, 8)]
    assert chances == sorted(chances, reverse=True)


def test_more_counting_is_more_likely_to_answer():
    chances = [chance_of_answer(decided(cost), seen(0.6)) for cost in (10.0, 100.0, 1000.0)]
    assert chances == sorted(chances)


def test_rising_is_better_than_falling():
    rising, falling = (chance_of_answer(decided(), seen(*p)) for p in ((0.3, 0.6), (0.9, 0.6)))
    assert rising > falling


def test_features_are_what_they_are_called():
    found = dict(zip(FEATURES, features(decided(200.0), seen(0.3, 0.5)), strict=True))
    assert found["refused"] == 0.0
    assert found["nearness"] == pytest.approx(np.log(2.0))
    assert found["entropy"] == 1.0
    assert found["log_ratio"] == pytest.approx(np.log(2.0))
    assert found["log_looks"] == pytest.approx(np.log(2.0))
    assert found["step_up"] == pytest.approx(0.2)


@given(st.floats(0.1, 1000.0))
def test_the_unit_of_time_does_not_matter(unit):
    """A beamline that is a thousand times faster asks for the same."""
    slow = chance_of_answer(decided(300.0), seen(0.4, 0.6, seconds=500.0))
    fast = chance_of_answer(decided(300.0 / unit), seen(0.4, 0.6, seconds=500.0 / unit))
    assert fast == pytest.approx(slow)
