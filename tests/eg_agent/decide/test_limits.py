"""Nothing that is decided leaves the limits, whatever comes in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eg_agent.decide import MEASURING, Costs, Decider, Decision, Limits, State
from eg_agent.errors import BadInput
from eg_agent.identify import GroupProbability, Identification, Measured, Provenance, Settle
from eg_agent.patterns.pattern import Source
from eg_agent.values import from_json, to_json

ENDINGS = ("next sample", "stop", "ask a person")


def _floats(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False)


@st.composite
def windows(draw: st.DrawFn) -> tuple[float, float]:
    low = draw(_floats(-10.0, 170.0))
    return low, low + draw(_floats(0.01, 120.0))


@st.composite
def settles(draw: st.DrawFn, between: tuple[int, int]) -> Settle:
    return Settle(
        hkl=draw(st.none() | st.just((0, 1, 0))),
        two_theta=draw(windows()),
        seconds=draw(st.none() | _floats(0.0, 1e9)),
        between=between,
        reason="",
        intensity=draw(st.none() | _floats(-1e6, 1e9)),
        sigma=draw(st.none() | _floats(0.0, 1e9)),
        absent_in=draw(st.sampled_from(between)),
        counted=draw(st.none() | _floats(1e-6, 1e5)),
        counting=draw(st.booleans()),
    )


@st.composite
def identifications(draw: st.DrawFn) -> Identification:
    provenance = Provenance(draw(st.text("0123456789abcdef", max_size=16)), Source(), "0", "0", "uniform")
    verdict = draw(st.sampled_from(["identified", "undecided", "no confident match", "refused"]))
    if verdict == "refused":
        return Identification(verdict="refused", reason="NaN.", provenance=provenance)
    seed = draw(st.integers(0, 2**32 - 1))
    weight = np.random.default_rng(seed).normal(size=99) * draw(_floats(0.0, 200.0))
    log_p = weight - weight.max()
    log_p -= np.log(np.exp(log_p).sum())
    order = np.argsort(-log_p)
    between = (int(order[0]) + 1, int(order[1]) + 1)
    measured = None
    if draw(st.booleans()):
        measured = Measured(
            windows=tuple(draw(st.lists(windows(), min_size=1, max_size=3))),
            canonical=draw(_floats(0.0, 1.0)),
            points=1000,
            step=draw(_floats(1e-3, 1.0)),
            wavelength=draw(_floats(0.1, 5.0)),
            seconds_per_point=draw(st.none() | _floats(1e-6, 1e5)),
            strongest_counts=draw(st.none() | _floats(0.0, 1e12)),
        )
    return Identification(
        verdict=verdict,
        reason="",
        provenance=provenance,
        top=tuple(GroupProbability(int(i) + 1, "P", "cubic", float(np.exp(log_p[i])), ()) for i in order[:5]),
        log_probability=log_p,
        evidence_only=log_p if draw(st.booleans()) else None,
        would_settle=tuple(draw(st.lists(settles(between), max_size=3))),
        measured=measured,
    )


@st.composite
def fences(draw: st.DrawFn) -> Limits:
    low = draw(_floats(-10.0, 100.0))
    return Limits(
        two_theta=(low, low + draw(_floats(0.1, 70.0))),
        max_seconds_per_point=draw(_floats(1e-3, 1e4)),
        max_seconds_per_sample=draw(_floats(1.0, 1e5)),
        max_total_seconds=draw(_floats(1.0, 1e6)),
        max_repeats=draw(st.integers(0, 5)),
        actions=(
            *draw(st.lists(st.sampled_from(MEASURING), max_size=2, unique=True)),
            *draw(st.lists(st.sampled_from(ENDINGS), min_size=1, max_size=3, unique=True)),
        ),
    )


states = st.builds(
    State,
    sample=st.text(max_size=5),
    sample_seconds=_floats(0.0, 1e5),
    total_seconds=_floats(0.0, 1e6),
    repeats=st.integers(0, 10),
    samples_left=st.none() | st.integers(0, 5),
    seconds_per_point=st.none() | _floats(1e-6, 1e5),
)
costs = st.builds(
    Costs,
    overhead=_floats(0.0, 100.0),
    move_per_point=_floats(0.0, 5.0),
    sample_change=_floats(0.0, 500.0),
    whole_trace=st.booleans(),
)


@settings(deadline=None)  # how long a decision takes is for the benchmarks to say
@given(identifications(), states, fences(), costs)
def test_any_decision_is_inside_the_limits(
    identification: Identification, state: State, limits: Limits, cost: Costs
) -> None:
    decision = Decider(limits, costs=cost).decide(identification, state)
    # Written out here, so that the check itself is checked.
    assert decision.action in limits.actions
    assert decision.reason.endswith(".")
    assert np.isfinite(decision.expected_gain)
    assert decision.expected_gain >= 0.0
    if decision.action in MEASURING:
        assert state.repeats < limits.max_repeats
        assert decision.seconds_per_point is not None
        assert 0.0 < decision.seconds_per_point <= limits.max_seconds_per_point
        assert state.sample_seconds + decision.cost <= limits.max_seconds_per_sample * (1 + 1e-12)
        assert state.total_seconds + decision.cost <= limits.max_total_seconds * (1 + 1e-12)
        assert decision.windows
        for low, high in decision.windows:
            assert limits.two_theta[0] <= low < high <= limits.two_theta[1]
    else:
        assert decision.windows == ()
        assert decision.seconds_per_point is None
    if state.total_seconds >= limits.max_total_seconds and "stop" in limits.actions:
        assert decision.action == "stop"
    assert limits.violations(decision, state) == ()
    assert from_json(Decision, to_json(decision)) == decision


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"action": "next sample"}, "not allowed"),
        ({"windows": ((4.0, 20.0),)}, "leaves 5-90"),
        ({"windows": ()}, "nothing to measure"),
        ({"seconds_per_point": 61.0}, "61"),
        ({"seconds_per_point": None}, "None"),
        ({"seconds_per_point": float("nan")}, "nan"),
        ({"cost": 1801.0}, "1801 s"),
        ({"cost": float("nan")}, "nan s"),
    ],
)
def test_violations_say_what_is_wrong(changes: dict, said: str) -> None:
    limits = Limits(actions=("count longer", "stop"))
    good = {"action": "count longer", "windows": ((10.0, 20.0),), "seconds_per_point": 1.0, "cost": 100.0}
    assert limits.violations(Decision("id", reason="", **good), State()) == ()
    found = limits.violations(Decision("id", reason="", **{**good, **changes}), State())
    assert len(found) == 1
    assert said in found[0]


def test_violations_count_repeats_and_budget() -> None:
    again = Decision("id", "count longer", "", windows=((10.0, 20.0),), seconds_per_point=1.0, cost=100.0)
    assert "3 are allowed" in Limits(max_repeats=3).violations(again, State(repeats=3))[0]
    assert "50 s are left" in Limits().violations(again, State(sample_seconds=1750.0))[0]
    assert "50 s are left" in Limits().violations(again, State(total_seconds=28750.0))[0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"two_theta": (90.0, 5.0)},
        {"two_theta": (float("nan"), 90.0)},
        {"max_seconds_per_point": 0.0},
        {"max_total_seconds": float("inf")},
        {"max_seconds_per_sample": float("nan")},
        {"max_repeats": -1},
        {"actions": ("count longer",)},
        {"actions": ("explode", "stop")},
    ],
)
def test_impossible_limits_are_refused(wrong: dict) -> None:
    with pytest.raises(BadInput, match=r"give|allow"):
        Limits(**wrong)
    with pytest.raises(BadInput, match="overhead"):
        Costs(overhead=-1.0)


def test_limits_round_trip() -> None:
    limits = Limits(two_theta=(10.0, 80.0), actions=("count longer", "stop"))
    assert from_json(Limits, to_json(limits)) == limits
