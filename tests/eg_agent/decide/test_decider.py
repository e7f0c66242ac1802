"""The policy: what is decided, why, and that it can be replayed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest

from eg_agent.decide import Costs, Decider, DecideSettings, Decision, Limits, State
from eg_agent.errors import BadInput
from eg_agent.values import from_json, to_json

#: A network that noise makes most of the difference to.
NOISY = DecideSettings(half_counts=300.0, noise_share=0.8)


def test_an_identified_sample_makes_way(make_answer, make_scan) -> None:
    decision = Decider().decide(
        make_answer({10: 0.97}, verdict="identified", measured=make_scan()), State("A")
    )
    assert decision.action == "next sample"
    assert decision.windows == ()
    assert "0.97" in decision.reason
    assert decision.cost == Costs().sample_change


def test_nothing_is_left_to_measure(make_answer, make_scan) -> None:
    seen = make_answer({10: 0.97}, verdict="identified", measured=make_scan())
    assert Decider().decide(seen, State("A", samples_left=0)).action == "stop"
    used_up = State("A", total_seconds=Limits().max_total_seconds)
    assert Decider().decide(make_answer({10: 0.5}, measured=make_scan()), used_up).action == "stop"


def test_no_sample_change_beyond_the_shift(make_answer, make_scan) -> None:
    seen = make_answer({10: 0.97}, verdict="identified", measured=make_scan())
    late = State("A", total_seconds=Limits().max_total_seconds - 1.0)
    decision = Decider().decide(seen, late)
    assert decision.action == "stop"
    assert "no time is left" in decision.reason


def test_a_deciding_reflection_is_counted_longer(make_answer, make_scan, make_weak) -> None:
    undecided = make_answer(
        {10: 0.6, 11: 0.38}, measured=make_scan(), settles=(make_weak(2.0, 1.0),), fitted=True
    )
    decision = Decider().decide(undecided, State("A"))
    assert decision.action == "count longer"
    assert decision.windows == ((19.6, 20.4),)
    assert decision.expected_gain > 0.0
    assert "(0 1 0)" in decision.reason
    assert "nats" in decision.reason
    assert decision.seconds_per_point in DecideSettings().exposures  # one second a point so far
    assert decision.cost == pytest.approx(
        Costs().overhead + 41 * (decision.seconds_per_point + Costs().move_per_point)
    )


def test_a_narrow_window_is_cheaper_than_the_whole_range(make_answer, make_scan, make_weak) -> None:
    measured = make_scan(strongest_counts=50.0)
    alone = make_answer({10: 0.6, 11: 0.38}, measured=measured)
    fitted = make_answer({10: 0.6, 11: 0.38}, measured=measured, settles=(make_weak(2.0, 1.0),), fitted=True)
    generous = Limits(max_seconds_per_sample=28000.0)
    decider = Decider(generous, NOISY)
    whole, narrow = (decider.decide(each, State("A")) for each in (alone, fitted))
    assert whole.action == narrow.action == "count longer"
    assert whole.windows == ((5.0, 90.0),)
    assert narrow.cost < 0.1 * whole.cost
    assert narrow.expected_gain > 10.0 * whole.expected_gain


def test_a_glance_that_tells_little_does_not_use_up_a_repeat(make_answer, make_scan, make_weak) -> None:
    undecided = make_answer(
        {10: 0.6, 11: 0.38}, measured=make_scan(), settles=(make_weak(1.0, 1.0),), fitted=True
    )
    glance = Decider(settings=DecideSettings(share_of_best=0.0)).decide(undecided, State("A"))
    thorough = Decider(settings=DecideSettings(share_of_best=1.0)).decide(undecided, State("A"))
    between = Decider(settings=DecideSettings(share_of_best=0.5)).decide(undecided, State("A"))
    gains = [d.expected_gain * d.cost for d in (glance, between, thorough)]
    assert gains[0] <= gains[1] <= gains[2]
    assert gains[0] < gains[2]
    assert gains[1] >= 0.5 * gains[2]


def test_well_counted_and_still_open_is_not_counted_again(make_answer, make_scan) -> None:
    open_still = make_answer({10: 0.5, 11: 0.4}, measured=make_scan(strongest_counts=1e7))
    decision = Decider(Limits(max_seconds_per_sample=28000.0)).decide(open_still, State("A"))
    assert decision.action == "next sample"
    assert "0.05 nats" in decision.reason


def test_a_partial_range_is_extended(make_answer, make_scan) -> None:
    measured = make_scan(windows=((5.0, 45.0),), canonical=0.47, points=2001, strongest_counts=1e7)
    decision = Decider(Limits(max_seconds_per_sample=28000.0)).decide(
        make_answer({10: 0.5, 11: 0.4}, measured=measured), State("A")
    )
    assert decision.action == "extend range"
    assert decision.windows == ((45.0, pytest.approx(90.0)),)
    fenced = Decider(Limits(two_theta=(5.0, 60.0), max_seconds_per_sample=28000.0)).decide(
        make_answer({10: 0.5, 11: 0.4}, measured=measured), State("A")
    )
    assert fenced.windows == ((45.0, 60.0),)


def test_repeats_and_budget_are_kept(make_answer, make_scan, make_weak) -> None:
    undecided = make_answer(
        {10: 0.6, 11: 0.38}, measured=make_scan(), settles=(make_weak(2.0, 1.0),), fitted=True
    )
    often = Decider(Limits(max_repeats=3)).decide(undecided, State("A", repeats=3))
    assert often.action == "next sample"
    assert "3 times" in often.reason
    poor = Decider().decide(undecided, State("A", sample_seconds=Limits().max_seconds_per_sample - 20.0))
    assert poor.action == "next sample"
    assert "20 s are left" in poor.reason


def test_refused_and_meaningless_go_to_a_person(make_answer, make_scan) -> None:
    refused = Decider().decide(make_answer({}, verdict="refused"), State("A"))
    assert refused.action == "ask a person"
    assert "zero" in refused.reason
    flat = make_answer({10: 0.05}, verdict="no confident match", measured=make_scan(strongest_counts=1e8))
    assert Decider().decide(flat, State("A")).action == "ask a person"
    alone = Limits(actions=("count longer", "next sample"))
    assert Decider(alone).decide(flat, State("A")).action == "next sample"


def test_a_pattern_too_weak_is_counted_longer(make_answer, make_scan) -> None:
    weak = make_answer({}, verdict="refused", measured=make_scan(seconds_per_point=0.05))
    decision = Decider().decide(weak, State("A"))
    assert decision.action == "count longer"
    assert decision.windows == ((5.0, 90.0),)
    assert decision.seconds_per_point == pytest.approx(0.15)
    assert not Limits().violations(decision, State("A"))
    # as far as the limits go: then a person
    for limits, state in (
        (Limits(max_repeats=3), State("A", repeats=3)),
        (Limits(), State("A", sample_seconds=1790.0)),
        (Limits(two_theta=(95.0, 120.0)), State("A")),
        (Limits(actions=("extend range", "ask a person")), State("A")),
    ):
        assert Decider(limits).decide(weak, state).action == "ask a person"
    short = Limits(max_seconds_per_point=0.1)
    assert Decider(short).decide(weak, State("A")).seconds_per_point == 0.1


def test_a_pattern_too_weak_gets_the_time_that_is_left(make_answer, make_scan) -> None:
    weak = make_answer({}, verdict="refused", measured=make_scan(windows=((5.0, 15.0),), points=501))
    whole = Decider().decide(weak, State("A", sample_seconds=100.0))
    spent = Limits().max_seconds_per_sample - 0.7 * whole.cost
    last = Decider().decide(weak, State("A", sample_seconds=spent))
    assert last.action == "count longer"
    assert last.cost == pytest.approx(0.7 * whole.cost)
    assert last.cost <= 0.7 * whole.cost
    over = Decider().decide(weak, State("A", sample_seconds=Limits().max_seconds_per_sample - 20.0))
    assert over.windows == ()


def test_repeats_are_paced_by_the_time_that_is_left(make_answer, make_scan, make_weak) -> None:
    """With one repeat left of a long time, a glance would waste it; with many left, it does not."""
    undecided = make_answer(
        {10: 0.6, 11: 0.38}, measured=make_scan(), settles=(make_weak(1.0, 1.0),), fitted=True
    )
    decider = Decider(
        Limits(max_seconds_per_sample=4000.0, max_repeats=50), DecideSettings(share_of_best=0.0)
    )
    early, late = (decider.decide(undecided, State("A", 500.0, repeats=done)) for done in (0, 49))
    assert late.cost > 3.0 * early.cost


def test_unknown_counting_time_is_said(make_answer, make_scan) -> None:
    measured = make_scan(seconds_per_point=None)
    decision = Decider().decide(make_answer({10: 0.5, 11: 0.4}, measured=measured), State("A"))
    assert decision.action == "next sample"
    assert "counting time" in decision.reason
    # The plan may know what the pattern does not say.
    told = State("A", seconds_per_point=0.05)
    decider = Decider(settings=NOISY)
    assert decider.decide(make_answer({10: 0.5, 11: 0.4}, measured=measured), told).action == "count longer"


def test_a_detector_that_takes_all_at_once_costs_no_points(make_answer, make_scan) -> None:
    decision = Decider(costs=Costs(whole_trace=True)).decide(
        make_answer({10: 0.5, 11: 0.4}, measured=make_scan()), State("A")
    )
    assert decision.action == "count longer"
    assert decision.seconds_per_point is not None
    assert decision.cost == pytest.approx(Costs().overhead + decision.seconds_per_point)


def test_replay_gives_the_same_decision(make_answer, make_scan, make_weak) -> None:
    undecided = make_answer(
        {10: 0.6, 11: 0.38}, measured=make_scan(), settles=(make_weak(2.0, 1.0),), fitted=True
    )
    state = State("A").measured(100.0).seen(undecided)
    first = Decider().decide(undecided, state, run_uid="r1")
    again = Decider().decide(
        from_json(type(undecided), to_json(undecided)), from_json(State, to_json(state)), run_uid="r1"
    )
    assert to_json(again) == to_json(first)
    assert from_json(Decision, to_json(first)) == first
    others = {
        Decider().decide(undecided, state, run_uid="r2").decision_id,
        Decider().decide(undecided, state.spent(first), run_uid="r1").decision_id,
        Decider(Limits(max_repeats=2)).decide(undecided, state, run_uid="r1").decision_id,
        Decider().decide(replace(undecided, verdict="identified"), state, run_uid="r1").decision_id,
    }
    assert len(others | {first.decision_id}) == 5


def test_default_decision_moves_on() -> None:
    decision = Decider().default(State("A"), "no answer came within 5 s", run_uid="r1")
    assert decision.default
    assert decision.action == "next sample"
    assert "5 s" in decision.reason
    assert Decider().default(State("A", samples_left=0), "late").action == "stop"


def test_state_counts_what_was_spent(make_answer, make_scan) -> None:
    seen = make_answer({10: 0.6, 11: 0.3}, measured=make_scan())
    state = State("A", samples_left=2).measured(860.0, seconds_per_point=0.2).seen(seen)
    decision = Decision("id", "count longer", "", windows=((5.0, 6.0),), seconds_per_point=2.0, cost=40.0)
    later = state.spent(decision)
    assert (later.sample_seconds, later.total_seconds, later.repeats) == (900.0, 900.0, 1)
    assert later.seconds_per_point == 2.0
    assert later.history[0].group == 10
    p = np.exp(seen.log_probability)
    assert later.history[0].entropy == pytest.approx(-(p * np.log(p)).sum())
    fresh = later.next_sample("B", seconds=30.0)
    assert (fresh.sample, fresh.sample_seconds, fresh.total_seconds, fresh.repeats) == ("B", 0.0, 930.0, 0)
    assert fresh.samples_left == 1
    assert fresh.history == ()
    assert from_json(State, to_json(later)) == later


@pytest.mark.parametrize(
    "wrong",
    [
        {"exposures": ()},
        {"exposures": (0.0,)},
        {"half_counts": 0.0},
        {"smallest_gain": float("nan")},
        {"scan_power": 2.0},
    ],
)
def test_impossible_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(BadInput, match=next(iter(wrong))):
        DecideSettings(**wrong)


def test_a_decision_made_before_steps_were_known_keeps_its_id(make_answer, make_scan) -> None:
    """Ledgers of older versions are replayed: their states have no step, and none was hashed."""
    answer, state, decider = (
        make_answer({10: 0.97}, verdict="identified", measured=make_scan()),
        State("A"),
        Decider(),
    )
    older = json.loads(to_json(state))
    assert older.pop("step") is None
    said = json.dumps(older, separators=(",", ":"))
    parts = [
        answer.provenance.pattern_uid,
        answer.verdict,
        hashlib.sha256(answer.log_probability.tobytes()).hexdigest(),
        "run",
        said,
        *(to_json(part) for part in (decider.limits, decider.settings, decider.costs)),
    ]
    expected = hashlib.sha256("|".join(parts).encode()).hexdigest()[:16]
    assert decider.decide(answer, state, run_uid="run").decision_id == expected
    stepped = decider.decide(answer, replace(state, step=0.02), run_uid="run")
    assert stepped.decision_id != expected
