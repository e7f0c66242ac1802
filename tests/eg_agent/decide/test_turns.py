"""Whose turn it is: no sample is forgotten, none takes the shift."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eg_agent.decide import Costs, Decision, State, whose_turn
from eg_agent.decide.turns import seconds_of
from eg_agent.errors import BadInput

COSTS = Costs(sample_change=30.0)


@dataclass
class Waiting:
    state: State
    decision: Decision


def waits(name, spent, cost, rate):
    decision = Decision(name, "count longer", "", cost=cost, expected_gain=rate, sample=name)
    return Waiting(State(sample=name, sample_seconds=spent), decision)


SAMPLES = st.lists(
    st.tuples(st.floats(0.0, 1e5), st.floats(1.0, 1e4), st.floats(0.0, 1.0)), min_size=1, max_size=12
).map(lambda rows: [waits(str(i), *row) for i, row in enumerate(rows)])


@given(SAMPLES, st.integers(-1, 11), st.floats(1.0, 50.0))
def test_of_the_near_ones_the_most_nats_a_second(waiting, beam, spread):
    best = whose_turn(waiting, str(beam), COSTS, spread=spread)
    least = min(one.state.sample_seconds for one in waiting)
    assert best.state.sample_seconds <= spread * least

    def nats(one):
        change = 0.0 if one.state.sample == str(beam) else 30.0
        return one.decision.expected_gain * one.decision.cost / (one.decision.cost + change)

    near = [one for one in waiting if one.state.sample_seconds <= spread * least]
    assert nats(best) == pytest.approx(max(map(nats, near)))


def test_a_sample_that_promises_for_ever_does_not_take_the_shift():
    """Each measurement doubles a sample's time, as the agent's do; one promises ten times the others'."""
    waiting = {
        name: waits(name, 100.0, 100.0, 0.1 if name == "greedy" else 0.01) for name in ("greedy", *"abc")
    }
    turns, spent = [], 400.0
    while spent < 10_000.0:
        best = whose_turn(list(waiting.values()), turns[-1] if turns else None, COSTS)
        name, cost = best.state.sample, best.decision.cost
        spent += seconds_of(best, turns[-1] if turns else None, COSTS)
        best.state = replace(best.state, sample_seconds=best.state.sample_seconds + cost)
        best.decision = replace(best.decision, cost=best.state.sample_seconds)
        turns.append(name)
        times = [one.state.sample_seconds for one in waiting.values()]
        assert max(times) <= 4.0 * min(times)
    assert turns[:2] == ["greedy", "greedy"], "it goes first"
    assert set(turns) == set(waiting)


def test_a_sample_in_which_nothing_stood_out_gets_its_turn():
    """Its decision promises nothing; behind the others' time it comes all the same."""
    dim, other = waits("dim", 100.0, 100.0, 0.0), waits("other", 150.0, 100.0, 0.1)
    assert whose_turn([dim, other], None, COSTS) is other
    other.state = replace(other.state, sample_seconds=250.0)
    assert whose_turn([dim, other], None, COSTS) is dim
    assert whose_turn([dim, other], None, COSTS, spread=float("inf")) is other


def test_the_sample_in_the_beam_needs_no_change():
    here, there = waits("here", 10.0, 10.0, 0.5), waits("there", 10.0, 10.0, 0.6)
    assert whose_turn([here, there], "here", COSTS) is here
    assert whose_turn([here, there], None, COSTS) is there
    assert seconds_of(here, "here", COSTS) == 10.0
    assert seconds_of(there, "here", COSTS) == 40.0


@pytest.mark.parametrize("nonsense", [float("nan"), -5.0, float("-inf")])
def test_a_state_that_says_nonsense_ends_no_shift(nonsense):
    strange, other = waits("strange", nonsense, 10.0, 0.1), waits("other", 50.0, 10.0, 0.9)
    for order in ([strange, other], [other, strange]):
        assert whose_turn(order, None, COSTS) is strange, "it has had least, as far as one can know"
    assert whose_turn([strange], None, COSTS) is strange
    endless = waits("endless", float("inf"), 10.0, 0.9)
    assert whose_turn([endless], None, COSTS) is endless
    fresh = waits("fresh", 0.0, 10.0, 0.1)
    assert whose_turn([fresh, other], None, COSTS, spread=float("inf")) is other


@pytest.mark.parametrize("spread", [0.5, 0.0, -1.0, float("nan")])
def test_a_spread_below_one_is_refused(spread):
    with pytest.raises(BadInput, match="1 or more"):
        whose_turn([waits("a", 1.0, 1.0, 1.0)], None, COSTS, spread=spread)
