"""Whose turn it is: which of the samples that wait is measured next, in a shift of many."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol, TypeVar

from eg_agent.decide.decision import Decision
from eg_agent.decide.limits import Costs
from eg_agent.decide.state import State
from eg_agent.errors import BadInput

#: No sample goes on that has had more than so many times the seconds of the one that has had least.
SPREAD = 2.0


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

    Of those that have had at most `spread` times the seconds of the one with the least, the one whose
    decision promises most nats a second, the change of sample included.

    Promises alone would give the shift away: a sample that more counting cannot decide goes on promising, and
    one in which nothing has stood out promises nothing. How long a sample takes cannot be known beforehand
    and differs by decades, so all go up together (as for algorithms of unknown run time: Luby, Sinclair and
    Zuckerman, Inform. Process. Lett. 47 (1993) 173), and promises choose among neighbours.

    in_beam: name of the sample that needs no change. spread: 1 or more; infinite, promises alone.
    Raises BadInput where `spread` is no such number.
    """
    check_spread(spread)
    # a state that says nonsense (NaN, less than nothing) has had nothing: the shift goes on
    had = [max(0.0, one.state.sample_seconds) for one in waiting]
    most = math.inf if math.isinf(spread) else spread * min(had)
    near = [one for one, seconds in zip(waiting, had, strict=True) if seconds <= most]

    def rate(one: Waiting) -> float:
        """Nats a second."""
        gain = one.decision.expected_gain * one.decision.cost
        return gain / max(seconds_of(one, in_beam, costs), 1e-9)

    return max(near, key=rate)


def seconds_of(one: Waits, in_beam: str | None, costs: Costs) -> float:
    """What a decision takes, seconds, the change of sample included."""
    return one.decision.cost + (0.0 if one.state.sample == in_beam else costs.sample_change)


def check_spread(spread: float) -> None:
    """Raises BadInput where a spread is no number of 1 or more."""
    if not spread >= 1.0:
        raise BadInput(f"a spread of {spread:g}: give 1 or more (inf: promises alone).")
