"""`SampleBook`: what was measured and spent on each sample of a shift; rebuilt from the ledger."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import ClassVar

from pydantic import ConfigDict

from eg_agent.decide.state import State
from eg_agent.patterns.pattern import Pattern
from eg_agent.records.ledger import DecisionRow
from eg_agent.values import VALUE_CONFIG

#: Samples remembered; older ones are begun anew should they come back.
_REMEMBERED = 500

#: Merged patterns of `ingest` kept in memory; those of runs are kept by the worker, or read again.
_PATTERNS = 8


@dataclass(frozen=True, slots=True)
class Context:
    """What was known of a sample before its new measurements; plain JSON types cross to the worker.

    before: state after the last decision on the sample, None for its first measurement. total: seconds
    spent on the shift so far; moved: seconds that bringing the sample took.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    before: State | None = None
    total: float = 0.0
    moved: float = 0.0

    def after(
        self,
        name: str,
        *,
        measurements: int,
        seconds: float,
        seconds_per_point: float | None,
        samples_left: int | None,
        step: float | None = None,
    ) -> State:
        """The state after `measurements` new runs that took `seconds` together; step: of the last one,
        degrees."""
        if self.before is None:
            return State(
                sample=name,
                sample_seconds=seconds,
                total_seconds=self.total + self.moved + seconds,
                repeats=measurements - 1,
                samples_left=samples_left,
                seconds_per_point=seconds_per_point,
                step=step,
            )
        return replace(
            self.before,
            sample_seconds=self.before.sample_seconds + seconds,
            total_seconds=self.total + seconds,
            repeats=self.before.repeats + measurements,
            samples_left=samples_left,
            seconds_per_point=seconds_per_point or self.before.seconds_per_point,
            step=step or self.before.step,
        )


@dataclass
class Sample:
    """One sample of a shift: its runs so far, the state after the last decision, the merged pattern."""

    runs: list[str] = field(default_factory=list)
    state: State | None = None
    pattern: Pattern | None = None


class SampleBook:
    """Samples by (shift, name). Runs without a shift are somebody's own and stand alone."""

    def __init__(self, sample_change: float = 0.0) -> None:
        self._samples: OrderedDict[tuple[str, str], Sample] = OrderedDict()
        self._totals: OrderedDict[str, float] = OrderedDict()
        self._sample_change = sample_change

    def sample(self, shift: str, name: str) -> Sample:
        """The sample's page; a new empty one for runs that stand alone."""
        if not shift or not name:
            return Sample()
        page = self._samples.setdefault((shift, name), Sample())
        self._samples.move_to_end((shift, name))
        while len(self._samples) > _REMEMBERED:
            self._samples.popitem(last=False)
        for old in list(self._samples.values())[:-_PATTERNS]:
            old.pattern = None
        return page

    def context(self, shift: str, name: str) -> Context:
        """What `Context.after` needs to know of the sample and its shift."""
        total = self._totals.get(shift, 0.0) if shift else 0.0
        before = self.sample(shift, name).state
        return Context(before, total, self._sample_change if total and before is None else 0.0)

    def record(self, row: DecisionRow) -> None:
        """Take a decision into the book: when it is made, and again when a ledger is read."""
        if not row.runs:  # a default that answers no run
            return
        page = self.sample(row.shift, row.sample)
        page.runs = list(row.runs)
        page.state = row.state if row.identification is None else row.state.seen(row.identification)
        if row.shift:
            self._totals[row.shift] = row.state.total_seconds
            self._totals.move_to_end(row.shift)
            while len(self._totals) > _REMEMBERED:
                self._totals.popitem(last=False)
