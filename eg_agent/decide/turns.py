"""Whose turn it is: which of the samples that wait is measured next, in a shift of many."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from eg_agent.decide.chance import chance_of_answer
from eg_agent.decide.decision import Decision
from eg_agent.decide.limits import Costs
from eg_agent.decide.state import State
from eg_agent.errors import BadInput

#: No sample goes on that has had more than so many times the seconds of the one that has had least.
SPREAD = 10.0


class Waits(Protocol):
    """A sample whose next measurement is known: the decision, and what was spent before."""

    @property
    def decision(self) -> Decision: ...

    @property
    def state(self) -> State: ...


Waiting = TypeVar("Waiting", bound=Waits)


def whose_turn(
    waiting: Sequence[Waiting], in_beam: str | None, costs: Costs, *, spread: float = SPREAD
) -> Waiting:
    """The one of `waiting` (at least one) to be measured next.

    The one with the most chance of an answer a second (`eg_agent.decide.chance`), the change of sample
    included, of those that have had at most `spread` times the seconds of the one with the least. So none is
    forgotten, whatever is thought of it: how long a sample takes differs by decades.

    in_beam: name of the sample that needs no change. spread: 1 or more; infinite, chances alone.
    Raises BadInput where `spread` is no such number.
    """
    return next_of(waiting, in_beam, costs, score=chance_of_answer, spread=spread)


def next_of(
    waiting: Sequence[Waiting],
    in_beam: str | None,
    costs: Costs,
    *,
    score: Callable[[Decision, State], float],
    spread: float = SPREAD,
) -> Waiting:
    """As `whose_turn`, by the most `score` a second."""
    check_spread(spread)
    # a state that says nonsense (NaN, less than nothing) has had nothing: the shift goes on
    had = [max(0.0, one.state.sample_seconds) for one in waiting]
    most = math.inf if math.isinf(spread) else spread * min(had)
    near = [one for one, seconds in zip(waiting, had, strict=True) if seconds <= most]

    def rate(one: Waiting) -> float:
        return score(one.decision, one.state) / max(seconds_of(one, in_beam, costs), 1e-9)

    return max(near, key=rate)


def seconds_of(one: Waits, in_beam: str | None, costs: Costs) -> float:
    """What a decision takes, seconds, the change of sample included."""
    return one.decision.cost + (0.0 if one.state.sample == in_beam else costs.sample_change)


def check_spread(spread: float) -> None:
    """Raises BadInput where a spread is no number of 1 or more."""
    if not spread >= 1.0:
        raise BadInput(f"a spread of {spread:g}: give 1 or more (inf: chances alone).")
