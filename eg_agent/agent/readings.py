"""`Readings`: the worker's side of a question about runs: read them, put them together, say what was seen.

Reading from Tiled and merging is much Python code; in the worker it takes nothing of the RunEngine's
interpreter. What was put together for a sample is kept, so that a repeat reads only the new run.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import ConfigDict

from eg_agent.agent.runs import PatternSource, Run
from eg_agent.agent.samples import Context
from eg_agent.decide.state import State
from eg_agent.errors import BadInput, EgAgentError
from eg_agent.patterns.pattern import Pattern
from eg_agent.patterns.radiation import Radiation
from eg_agent.records.journal import Journal
from eg_agent.records.ledger import PatternFrom, Policy
from eg_agent.records.merging import merge
from eg_agent.records.run_data import DataKeys, NotAPattern
from eg_agent.values import VALUE_CONFIG

#: Merged patterns of samples that are kept.
_PAGES = 8


@dataclass(frozen=True, slots=True)
class Places:
    """Where the worker reads runs; tiled: a URI with its key, which only goes through the pipe."""

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    journal: str
    tiled: str | None = None
    wait: float = 3.0
    keys: DataKeys | None = None
    radiation: Radiation | None = None

    def source(self) -> PatternSource:
        """What reads there."""
        return PatternSource(
            self.tiled,
            Journal(Path(self.journal), fsync="never"),
            keys=self.keys,
            radiation=self.radiation,
            wait=self.wait,
        )


@dataclass(frozen=True, slots=True)
class ToRead:
    """Runs of a sample that were not answered yet, and those that were (`earlier`), oldest first.

    partial: the last new run goes on. without_tiled: why Tiled is not to be asked.
    seconds: wall clock that the new runs took; in a plan the counted time, where that is longer.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    new: tuple[str, ...]
    earlier: tuple[str, ...] = ()
    sample: str = ""
    shift: str = ""
    seconds: float = 0.0
    samples_left: int | None = None
    partial: bool = False
    without_tiled: str = ""
    context: Context = Context()  # noqa: RUF009 - frozen


@dataclass(frozen=True)
class Reading:
    """All that was measured of a sample, the state then, and where the last run was read."""

    whole: Pattern
    state: State
    where: PatternFrom
    problem: str


class Readings:
    """Reads what a question names; keeps what was put together of a few samples."""

    def __init__(self, source: PatternSource) -> None:
        self._source = source
        self._pages: OrderedDict[tuple[str, str], tuple[tuple[str, ...], Pattern]] = OrderedDict()

    def read(self, wanted: ToRead, policy: Policy) -> Reading:
        """Raises NotAPattern when the last run is none, other EgAgentErrors when it cannot be read."""
        problems: list[str] = []
        new: Pattern | None = None
        last: Pattern | None = None
        where: PatternFrom = "none"
        for uid in wanted.new:
            run = Run(uid, {"uid": uid}, {})
            if wanted.partial and uid == wanted.new[-1]:
                found, where = self._source.partial(run)
            else:
                found, where, problem = self._source.pattern(run, without_tiled=wanted.without_tiled)
                problems.append(problem)
            last = found
            new = found if new is None else merge(new, found)
        if new is None:
            raise NotAPattern("no run was named.")
        whole = self._together(wanted, new, problems)
        seconds = wanted.seconds
        if wanted.shift:
            # A plan's budget counts simulated or shared clocks, too; of somebody's own run only the
            # clock is known (its detector may take all points at once).
            seconds = max(seconds, counted(new, policy))
        state = wanted.context.after(
            wanted.sample,
            measurements=len(wanted.new),
            seconds=seconds,
            seconds_per_point=per_point(new),
            samples_left=wanted.samples_left,
            step=step_of(last),
        )
        return Reading(whole, state, where, "; ".join(dict.fromkeys(filter(None, problems))))

    def _together(self, wanted: ToRead, new: Pattern, problems: list[str]) -> Pattern:
        """The new runs with the earlier ones of their sample, which are read again after a restart."""
        page, whole = (wanted.shift, wanted.sample), new
        if wanted.earlier:
            kept = self._pages.get(page)
            if kept is not None and kept[0] == wanted.earlier:
                before: Pattern | None = kept[1]
            else:
                before = self._earlier(wanted.earlier)
                if before is not None:
                    self._keep(page, wanted.earlier, before)
            if before is not None:
                try:
                    whole = merge(before, new)
                except BadInput as error:
                    problems.append(str(error))
        if not wanted.partial and wanted.shift and wanted.sample:
            runs = (*wanted.earlier, *(uid for uid in wanted.new if uid not in wanted.earlier))
            self._keep(page, runs, whole)
        return whole

    def _earlier(self, uids: tuple[str, ...]) -> Pattern | None:
        before: Pattern | None = None
        for uid in uids:
            try:
                found = self._source.pattern(Run(uid, {"uid": uid}, {}))[0]
                before = found if before is None else merge(before, found)
            except EgAgentError:  # gone from Tiled and the journal: the others still count
                continue
        return before

    def _keep(self, page: tuple[str, str], runs: tuple[str, ...], pattern: Pattern) -> None:
        self._pages[page] = (runs, pattern)
        self._pages.move_to_end(page)
        while len(self._pages) > _PAGES:
            self._pages.popitem(last=False)


def counted(pattern: Pattern | None, policy: Policy) -> float:
    """Seconds that a measurement takes by its counting times and the costs of the policy."""
    if pattern is None or pattern.counting_time is None or not np.all(np.isfinite(pattern.counting_time)):
        return 0.0
    return policy.costs.measurement(len(pattern), float(np.mean(pattern.counting_time)))


def per_point(pattern: Pattern | None) -> float | None:
    """Median counting time of a point, seconds, where known."""
    if pattern is None or pattern.counting_time is None:
        return None
    return float(np.median(pattern.counting_time))


def step_of(pattern: Pattern | None) -> float | None:
    """Median distance of neighbouring points, degrees; None where there are no two."""
    if pattern is None or pattern.two_theta.size < 2:
        return None
    return float(np.median(np.diff(pattern.two_theta)))
