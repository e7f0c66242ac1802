"""`LiveRuns`: which run that goes on is to be looked at next, and what the looks said."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from eg_agent.agent.answer import Answer
from eg_agent.agent.runs import Run
from eg_agent.identify.information import entropy

#: Seconds after a run's first unseen data before it is looked at: most runs of one event end in that time,
#: and their answer is due, not a look.
_SETTLE = 0.2

#: Looks in a row that may fail before a run is left alone until its end; each is followed by twice the pause.
_FAILURES = 2

#: Looks in a row that may find no pattern (yet): somebody else's first data come to Tiled late.
_EMPTY = 6

#: Runs whose last look is remembered.
_REMEMBERED = 100


@dataclass
class _Open:
    run: Run
    events: int = 0
    unseen_since: float | None = None
    seen: int = 0
    looked: float = 0.0
    took: float = 0.0
    failures: int = 0
    empty: int = 0
    looks: list[dict[str, Any]] = field(default_factory=list)


class LiveRuns:
    """Runs that go on. `saw` and `ended` come from the RunEngine's thread and take microseconds.

    every: seconds between looks at the least; a look that took longer is followed by a pause as long, so
    that looking takes at most half of the worker's time. A look always reads the newest data: what came
    while the worker was busy is seen by the next one, all at once.
    """

    def __init__(self, every: float) -> None:
        self._every = every
        self._open: dict[str, _Open] = {}
        self._latest: OrderedDict[str, Answer] = OrderedDict()

    def began(self, run: Run) -> None:
        """A run has begun."""
        self._open[run.uid] = _Open(run)

    def saw(self, uid: str) -> None:
        """There is new data of a run."""
        found = self._open.get(uid)
        if found is not None:
            found.events += 1
            if found.unseen_since is None:
                found.unseen_since = time.monotonic()

    def ended(self, uid: str) -> list[dict[str, Any]]:
        """A run has ended; returns what the looks at it said, oldest first."""
        found = self._open.pop(uid, None)
        return found.looks if found is not None else []

    def waits(self) -> bool:
        """Whether a run goes on."""
        return bool(self._open)

    def due(self) -> tuple[Run, int] | None:
        """The run to look at now, newest first, and the number of its events so far; None when none is."""
        now = time.monotonic()
        for found in reversed(list(self._open.values())):
            if found.unseen_since is None or found.failures >= _FAILURES or found.empty >= _EMPTY:
                continue
            pause = max(self._every, found.took) * 2.0 ** (found.failures + found.empty)
            if now - found.unseen_since >= _SETTLE and now - found.looked >= pause:
                found.unseen_since = None
                found.seen = found.events
                return found.run, found.events
        return None

    def looked(self, uid: str, answer: Answer) -> None:
        """What a look said."""
        self._latest[uid] = answer
        while len(self._latest) > _REMEMBERED:
            self._latest.popitem(last=False)
        found = self._open.get(uid)
        if found is None:
            return
        found.looked, found.took, found.failures, found.empty = time.monotonic(), answer.seconds, 0, 0
        found.looks.append(_as_row(answer, found.seen))

    def failed(self, uid: str) -> bool:
        """A look broke; returns whether the run is left alone from here on."""
        found = self._open.get(uid)
        if found is None:
            return False
        found.looked = time.monotonic()
        found.unseen_since = found.unseen_since or found.looked  # what it was to see is still unseen
        found.failures += 1
        return found.failures >= _FAILURES

    def found_nothing(self, uid: str) -> None:
        """There was no pattern to look at: not yet, or not at all."""
        found = self._open.get(uid)
        if found is not None:
            found.looked = time.monotonic()
            found.unseen_since = found.unseen_since or found.looked
            found.empty += 1

    def leave(self, uid: str) -> None:
        """No looks at a run until its end."""
        found = self._open.get(uid)
        if found is not None:
            found.failures = _FAILURES

    def latest(self, uid: str) -> Answer | None:
        """The last look at a run."""
        return self._latest.get(uid)


def _as_row(answer: Answer, events: int) -> dict[str, Any]:
    """A look as it is kept in the journal."""
    found = answer.identification
    assert found is not None
    log_p = found.log_probability
    return {
        "time": time.time(),
        "events": events,
        "points": answer.points,
        "windows": [] if found.measured is None else [list(w) for w in found.measured.windows],
        "verdict": found.verdict,
        "reason": found.reason,
        "top": [[g.group, g.symbol, round(g.probability, 6)] for g in found.top[:5]],
        "entropy": None if log_p is None else entropy(log_p),
        "would": answer.decision.action,
        "pattern_uid": found.provenance.pattern_uid,
        "seconds": round(answer.seconds, 4),
    }
