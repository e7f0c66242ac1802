"""The ways to measure more that are considered, and the first glance."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from eg_agent.decide import Asked, Costs, DecideSettings, Decision, Limits, State, opening
from eg_agent.decide.actions import Option, options, trust, weighed, windows_around
from eg_agent.decide.decider import Decider
from eg_agent.decide.predict import Forecast
from eg_agent.decide.scene import scene_of, seconds_at
from eg_agent.identify import Measured
from eg_agent.identify.measured import measured as summary
from eg_agent.patterns import Pattern, Radiation
from eg_agent.patterns.checks import MIN_POINTS, MIN_RANGE
from eg_agent.symmetry import absence_free, unique_reflections
from eg_agent.values import from_json, to_json
from eg_agent.verify import verify

CU = Radiation.anode("Cu")
#: An orthorhombic cell, angstrom and degrees.
CELL = (5.0, 6.1, 7.3, 90.0, 90.0, 90.0)


@pytest.fixture(scope="module")
def counted() -> Pattern:
    """Counts of a primitive orthorhombic powder without absences but for 0kl, k odd: the answer P b - -."""
    x = np.round(np.arange(10.0, 60.0, 0.04), 6)
    found = unique_reflections(CELL, absence_free("oP", "b"), 1.0)
    rng = np.random.default_rng(3)
    rate = np.full(x.size, 20.0)
    for (h, k, _), d in zip(found.hkl, found.d, strict=True):
        if h == 0 and k % 2:
            continue
        at = 2.0 * np.degrees(np.arcsin(np.clip(1.54056 / (2.0 * d), -1.0, 1.0)))
        height = rng.exponential(400.0)
        for shift, share in ((0.0, 1.0), (0.0025 * np.tan(np.radians(at / 2)) * 114.6, 0.5)):
            rate += share * height * np.exp(-0.5 * ((x - at - shift) / 0.06) ** 2)
    counts = rng.poisson(rate).astype(float)
    return Pattern(x, counts, CU, counting_time=np.ones(x.size), raw_counts=True)


@pytest.fixture(scope="module")
def fitted(counted: Pattern):
    """(evidence, what was measured) of it."""
    evidence = verify(counted, CELL)
    assert evidence.status == "fitted"
    return evidence, summary(counted)


@pytest.fixture
def undecided(fitted, make_answer):
    """An answer that is torn between the two best groups of that fit."""
    evidence, measured = fitted
    best = [c.group for c in evidence.candidates[:2]]
    answer = make_answer({best[0]: 0.6, best[1]: 0.3}, measured=measured, fitted=True)
    return replace(answer, evidence=evidence)


def test_the_scene_has_the_lines_on_which_groups_differ(undecided) -> None:
    scene = scene_of(undecided, (5.0, 90.0), DecideSettings())
    assert scene is not None
    assert scene.covered.any()
    assert not scene.covered.all()  # the range ends at 60 degrees, the limits do not
    assert np.all(np.diff(scene.two_theta) >= 0.0)
    differ = scene.allowed.any(axis=0) & ~scene.allowed.all(axis=0)
    assert differ.all()
    # a strong line that was seen stands far above its error, and its angle is that of the cell
    assert (scene.estimate[scene.covered] / scene.sigma[scene.covered]).max() > 10.0


def test_options_stay_inside_and_are_judged(undecided) -> None:
    limits = Limits(two_theta=(12.0, 75.0), max_seconds_per_point=20.0)
    scene = scene_of(undecided, limits.two_theta, DecideSettings())
    assert scene is not None
    assert undecided.measured is not None
    found = options(scene, undecided.measured, 1.0, limits, DecideSettings())
    assert {option.action for option in found} == {"count longer", "repeat all", "extend range", "spin"}
    assert len(found) <= 60
    for option in found:
        assert 0.0 < option.seconds <= 20.0
        assert all(12.0 <= low < high <= 75.0 for low, high in option.windows)
    plans = weighed(found, Forecast(scene, draws=32), Costs(slew=0.5), DecideSettings())
    assert all(plan.gain >= 0.0 and plan.cost > 0.0 and plan.moves > 0 for plan in plans)
    assert max(plan.gain for plan in plans) > 0.0


def test_the_whole_range_is_offered_until_it_was_measured(undecided) -> None:
    """What the network sees for the first time is promised besides the lines, in proportion to its share."""
    limits = Limits(two_theta=(5.0, 90.0), max_seconds_per_point=20.0)
    scene = scene_of(undecided, limits.two_theta, DecideSettings())
    assert scene is not None
    assert undecided.measured is not None

    def whole(windows: tuple[tuple[float, float], ...]) -> list[Option]:
        measured = replace(undecided.measured, windows=windows)
        found = options(scene, measured, 1.0, limits, DecideSettings())
        return [option for option in found if option.unseen > 0.0]

    few = tuple((float(a), a + 0.5) for a in range(10, 60, 5))
    found = whole(few)
    assert [option.windows for option in found] == [((5.0, 90.0),)] * 2
    assert [option.seconds for option in found] == [1.0, 4.0]
    assert {option.action for option in found} == {"extend range"}
    assert found[0].unseen == pytest.approx(1.0 - 5.0 / 85.0)
    assert whole(((5.0, 90.0),)) == []
    assert whole(((5.0, 85.0),)) == []  # the rest is worth no scan of everything
    forecast = Forecast(scene, draws=32)
    blind, seeing = (
        weighed(found, forecast, Costs(), DecideSettings(scan_power=power))[0].gain for power in (0.0, 0.5)
    )
    assert seeing == pytest.approx(blind + 0.5 * found[0].unseen * (forecast.entropy - blind))


def test_interleaved_scans_cost_and_give_what_their_own_step_does(undecided) -> None:
    """All that was measured has half the step of one scan: each has half its points, in time and counts."""
    limits = Limits(two_theta=(5.0, 90.0), max_seconds_per_point=20.0)
    scene = scene_of(undecided, limits.two_theta, DecideSettings())
    assert scene is not None
    measured = undecided.measured
    assert measured is not None
    plain = options(scene, measured, 1.0, limits, DecideSettings())
    coarse = options(scene, measured, 1.0, limits, DecideSettings(), step=2.0 * measured.step)
    for one, other in zip(plain, coarse, strict=True):
        assert (other.windows, other.seconds, other.action) == (one.windows, one.seconds, one.action)
        assert other.step == pytest.approx(2.0 * one.step)
        np.testing.assert_allclose(other.lines, 0.5 * one.lines)
    state = State("A").measured(1000.0, seconds_per_point=1.0, step=2.0 * measured.step)
    decision = Decider().decide(undecided, state)
    assert decision.windows
    finer = 0.5 if decision.action == "finer step" else 1.0
    cost = Costs().of(decision.windows, finer * 2.0 * measured.step, decision.seconds_per_point or 0.0)
    assert decision.cost == pytest.approx(cost.seconds)
    assert state.spent(decision).step == 2.0 * measured.step


def test_a_sample_is_spun_once(undecided) -> None:
    """Where spinning is all that is allowed, it is asked for until the sample turns."""
    limits = Limits(actions=("spin", "next sample"), max_seconds_per_sample=28000.0)
    decider = Decider(limits, DecideSettings(smallest_gain=0.0, wrong_stop=1e12), Costs(spin=7.0))
    first = decider.decide(undecided, State("A"))
    assert first.action == "spin"
    assert undecided.measured is not None
    windows = undecided.measured.windows
    assert first.cost == pytest.approx(
        7.0 + Costs().of(windows, 0.04, first.seconds_per_point or 0.0).seconds
    )
    assert decider.decide(undecided, State("A").spent(first)).action == "next sample"


def test_a_decision_is_made_from_it_and_can_be_replayed(undecided) -> None:
    state = State("A").measured(1000.0, seconds_per_point=1.0)
    decision = Decider().decide(undecided, state)
    again = Decider().decide(from_json(type(undecided), to_json(undecided)), state)
    assert to_json(decision) == to_json(again)
    assert Limits().violations(decision, state) == ()
    assert decision.cost <= 1000.0 or decision.action in ("next sample", "ask a person")


def test_windows_join_where_they_meet() -> None:
    windows = windows_around(np.array([20.0, 20.2, 40.0]), np.array([0.2, 0.2, 0.4]), (5.0, 90.0))
    assert len(windows) == 2
    assert windows[0] == pytest.approx((19.7, 20.5))
    assert windows[1] == pytest.approx((39.4, 40.6))


def test_promises_that_were_not_kept_count_less() -> None:
    asked = Decision("id", "count longer", "", windows=((20.0, 21.0),), cost=100.0, expected_gain=0.005)
    state = State("A").spent(asked)
    assert state.asked == (Asked(((20.0, 21.0),), 0.5),)
    assert trust(((20.0, 21.0),), state) == 1.0  # nobody has looked yet
    told = replace(state, asked=(replace(state.asked[0], told=0.01),))
    assert trust(((20.0, 21.0),), told) < 0.5
    assert trust(((40.0, 41.0),), told) == 1.0
    kept = replace(state, asked=(replace(state.asked[0], told=0.4),))
    assert trust(((20.0, 21.0),), kept) == 1.0


def test_windows_remember_how_long_they_were_counted() -> None:
    measured = Measured(
        ((10.0, 50.0),), 0.5, 1000, 0.04, 1.5406, 1.0, counted=((10.0, 20.0, 1.0), (20.0, 21.0, 8.0))
    )
    assert seconds_at(measured, np.array([15.0, 20.5, 40.0])) == pytest.approx([1.0, 8.0, 1.0])


@pytest.mark.parametrize(
    "cell",
    [
        (3.6, 3.6, 3.6, 90.0, 90.0, 90.0),
        CELL,
        (12.0, 13.0, 25.0, 90.0, 101.0, 90.0),
        (4.7, 4.7, 4.7, 55.0, 55.0, 55.0),
        (1.0, 1.0, 1.0, 90.0, 90.0, 90.0),
    ],
)
def test_the_first_glance_is_enough_for_an_answer(cell: tuple[float, ...]) -> None:
    windows = opening(cell, CU, (5.0, 90.0), 0.04)
    points = sum(int((high - low) / 0.04) + 1 for low, high in windows)
    assert points >= MIN_POINTS
    assert windows[-1][1] - windows[0][0] >= MIN_RANGE
    assert all(5.0 <= low < high <= 90.0 for low, high in windows)
    assert all(a[1] < b[0] for a, b in pairwise(windows))
