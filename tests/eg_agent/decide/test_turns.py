"""Whose turn it is: no sample is forgotten, none takes the shift."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eg_agent.decide import Costs, Decision, Look, State, whose_turn
from eg_agent.decide.chance import chance_of_answer
from eg_agent.decide.turns import next_of, seconds_of
from eg_agent.errors import BadInput

COSTS = Costs(sample_change=30.0)


@dataclass
class Waiting:
    state: State
    decision: Decision


def waits(name, spent=100.0, cost=100.0, leads=0.5):
    """A sample whose leading group has this probability; None: nothing stood out."""
    look = Look("refused") if leads is None else Look("undecided", group=5, probability=leads, entropy=0.7)
    decision = Decision(name, "count longer", "", cost=cost, expected_gain=0.01, sample=name)
    return Waiting(State(name, sample_seconds=spent, history=(look,)), decision)


SAMPLES = st.lists(
    st.tuples(st.floats(0.0, 1e5), st.floats(1.0, 1e4), st.none() | st.floats(0.0, 0.94)),
    min_size=1,
    max_size=12,
).map(lambda rows: [waits(str(i), *row) for i, row in enumerate(rows)])


@given(SAMPLES, st.integers(-1, 11), st.floats(1.0, 50.0))
def test_of_the_near_ones_the_most_chance_of_an_answer_a_second(waiting, beam, spread):
    best = whose_turn(waiting, str(beam), COSTS, spread=spread)
    least = min(one.state.sample_seconds for one in waiting)
    near = [one for one in waiting if one.state.sample_seconds <= spread * least]
    assert best in near

    def chance(one):
        change = 0.0 if one.state.sample == str(beam) else 30.0
        return chance_of_answer(one.decision, one.state) / (one.decision.cost + change)

    assert chance(best) == pytest.approx(max(map(chance, near)))


@pytest.mark.parametrize("spread", [2.0, 10.0])
def test_a_sample_that_is_always_preferred_does_not_take_the_shift(spread):
    """Each measurement doubles a sample's time, as the agent's do."""
    waiting = {name: waits(name) for name in ("greedy", *"abc")}

    def score(decision, state):
        return 1e6 if state.sample == "greedy" else 1.0

    turns, spent = [], 400.0
    while spent < 100_000.0:
        best = next_of(
            list(waiting.values()), turns[-1] if turns else None, COSTS, score=score, spread=spread
        )
        spent += seconds_of(best, turns[-1] if turns else None, COSTS)
        best.state = replace(best.state, sample_seconds=best.state.sample_seconds + best.decision.cost)
        best.decision = replace(best.decision, cost=best.state.sample_seconds)
        turns.append(best.state.sample)
        times = [one.state.sample_seconds for one in waiting.values()]
        assert max(times) <= 2.0 * spread * min(times)
    assert turns[0] == "greedy", "it goes first"
    assert set(turns) == set(waiting)


def test_a_sample_in_which_nothing_stood_out_gets_its_turn():
    dim, other = waits("dim", leads=None), waits("other", spent=150.0, leads=0.9)
    assert whose_turn([dim, other], None, COSTS) is other
    other.state = replace(other.state, sample_seconds=1050.0)
    assert whose_turn([dim, other], None, COSTS) is dim
    assert whose_turn([dim, other], None, COSTS, spread=float("inf")) is other


def test_the_sample_in_the_beam_needs_no_change():
    here, there = waits("here", leads=0.5), waits("there", leads=0.52)
    assert whose_turn([here, there], "here", COSTS) is here
    assert whose_turn([here, there], None, COSTS) is there
    assert seconds_of(here, "here", COSTS) == 100.0
    assert seconds_of(there, "here", COSTS) == 130.0


@pytest.mark.parametrize("nonsense", [float("nan"), -5.0, float("-inf")])
def test_a_state_that_says_nonsense_ends_no_shift(nonsense):
    strange, other = waits("strange", spent=nonsense), waits("other", spent=50.0, leads=0.9)
    for order in ([strange, other], [other, strange]):
        assert whose_turn(order, None, COSTS) is strange, "it has had least, as far as one can know"
    assert whose_turn([strange], None, COSTS) is strange
    endless = waits("endless", spent=float("inf"))
    assert whose_turn([endless], None, COSTS) is endless
    fresh = waits("fresh", spent=0.0)
    assert whose_turn([fresh, other], None, COSTS, spread=float("inf")) is other


@pytest.mark.parametrize("spread", [0.5, 0.0, -1.0, float("nan")])
def test_a_spread_below_one_is_refused(spread):
    with pytest.raises(BadInput, match="1 or more"):
        whose_turn([waits("a")], None, COSTS, spread=spread)
