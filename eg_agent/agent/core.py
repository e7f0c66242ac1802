"""`Core`: measurement in, recorded decision out. Knows no Bluesky; one thread uses it."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from eg_agent.agent.answer import Answer
from eg_agent.agent.process import WorkerFailed, WorkerProcess
from eg_agent.agent.readings import ToRead, counted, per_point, step_of
from eg_agent.agent.samples import Sample, SampleBook
from eg_agent.agent.worker import Cell, task
from eg_agent.chemistry import Composition
from eg_agent.decide.decision import Decision
from eg_agent.decide.state import State
from eg_agent.errors import BadInput
from eg_agent.identify.identification import Identification
from eg_agent.patterns.pattern import Pattern
from eg_agent.records.ledger import DecisionRow, Ledger, NoteRow, OutcomeRow, PatternFrom, Policy
from eg_agent.records.merging import merge
from eg_agent.records.run_data import NotAPattern
from eg_agent.values import from_dict

_log = logging.getLogger(__name__)


@dataclass
class Measurement:
    """New runs of one sample, or a pattern that no RunEngine measured.

    runs: uids that no earlier answer had, oldest first. seconds: wall clock that they took together.
    pattern: of the new runs, where it is here already; None: the worker reads them (`read`), or none
    could be read, and `problem` says why. without_tiled: why the worker is not to ask Tiled.
    events: of a run that goes on, documents seen so far; 0 for runs that have ended.
    """

    runs: tuple[str, ...]
    sample: str = ""
    shift: str = ""
    cell: Cell | None = None
    composition: Composition | None = None
    seconds: float = 0.0
    samples_left: int | None = None
    ended: float = field(default_factory=time.monotonic)
    pattern: Pattern | None = None
    read: bool = False
    where: PatternFrom = "none"
    problem: str = ""
    without_tiled: str = ""
    events: int = 0


@dataclass
class _Found:
    """What came of asking the worker."""

    state: State
    where: PatternFrom
    problem: str
    identification: Identification | None = None
    decision: Decision | None = None
    points: int = 0


class Core:
    """Puts the patterns of a sample together, has them identified in the worker, decides, records.

    reading_time: seconds that reading from Tiled may take on top of the worker's time limit.
    """

    def __init__(
        self, worker: WorkerProcess, policy: Policy, ledger: Ledger, *, reading_time: float = 0.0
    ) -> None:
        self.worker = worker
        self.policy = policy
        self.book = SampleBook(policy.costs.sample_change)
        self._ledger = ledger
        self._reading_time = reading_time

    def warm(self) -> None:
        """Start the worker and wait until it has loaded. Raises WorkerFailed."""
        self.worker.wait_ready()

    def answer(
        self, measured: Measurement, mode: str, earlier: Callable[[str], Pattern | None]
    ) -> DecisionRow:
        """Identify all that was measured of the sample, decide, and append the row to the ledger.

        earlier: reads an earlier run of the sample, for patterns that the worker does not read.
        Raises NotAPattern when the runs hold none.
        """
        page = self.book.sample(measured.shift, measured.sample)
        if measured.read:
            found = self._of_runs(measured, page, mode)
        else:
            found = self._of_pattern(measured, page, mode, earlier)
        decision = found.decision or self.policy.decider().default(
            found.state,
            found.problem,
            run_uid=measured.runs[-1],
            mode=mode,  # type: ignore[arg-type]
        )
        row = DecisionRow(
            decision=decision,
            state=found.state,
            policy=self.policy,
            identification=found.identification,
            runs=(*page.runs, *(uid for uid in measured.runs if uid not in page.runs)),
            new_runs=measured.runs,
            sample=measured.sample,
            shift=measured.shift,
            pattern_from=found.where,
            problem=found.problem,
            seconds=time.monotonic() - measured.ended,
        )
        try:
            appended = self._ledger.append(row)
            assert isinstance(appended, DecisionRow)
            row = appended
        except OSError as error:
            _log.error("the ledger could not be written: %s", error)
        self.book.record(row)
        return row

    def look(self, measured: Measurement, mode: str, time_limit: float) -> Answer:
        """What a run that goes on says so far; nothing is recorded.

        Raises NotAPattern when it holds none, WorkerFailed when nothing came of it.
        """
        page = self.book.sample(measured.shift, measured.sample)
        started = time.monotonic()
        found = self._of_runs(measured, page, mode, time_limit=time_limit)
        if found.decision is None:
            raise WorkerFailed(found.problem)
        return Answer(
            runs=(*page.runs, *measured.runs),
            sample=measured.sample,
            decision=found.decision,
            identification=found.identification,
            problem=found.problem,
            pattern_from=found.where,
            seconds=time.monotonic() - started,
            state=found.state,
            partial=True,
            points=found.points,
        )

    def _of_runs(
        self, measured: Measurement, page: Sample, mode: str, *, time_limit: float | None = None
    ) -> _Found:
        """The worker reads the runs."""
        wanted = ToRead(
            new=measured.runs,
            earlier=tuple(uid for uid in page.runs if uid not in measured.runs),
            sample=measured.sample,
            shift=measured.shift,
            seconds=measured.seconds,
            samples_left=measured.samples_left,
            partial=time_limit is not None,
            without_tiled=measured.without_tiled,
            context=self.book.context(measured.shift, measured.sample),
        )
        limit = time_limit or self.worker.time_limit + self._reading_time
        question = task(
            wanted, measured.cell, None, self.policy, measured.runs[-1], mode, measured.composition
        )
        problem = measured.problem
        try:
            message = self.worker.ask(question, time_limit=limit)
        except WorkerFailed as error:
            if time_limit is not None:
                raise
            problem = _joined(problem, measured.without_tiled, str(error))
            return _Found(self._state(measured, None), "none", problem)
        self._told(message)
        if "not_a_pattern" in message:
            raise NotAPattern(message["not_a_pattern"])
        if "unreadable" in message:
            problem = _joined(problem, message["unreadable"])
            return _Found(self._state(measured, None), "none", problem)
        return _Found(
            from_dict(State, message["state"]),
            message["pattern_from"],
            _joined(problem, message["problem"], message.get("composition_unused", "")),
            from_dict(Identification, message["identification"]),
            from_dict(Decision, message["decision"]),
            message["points"],
        )

    def _of_pattern(
        self,
        measured: Measurement,
        page: Sample,
        mode: str,
        earlier: Callable[[str], Pattern | None],
    ) -> _Found:
        """The pattern is here: put it together with what was measured before, and send it."""
        state = self._state(measured, measured.pattern)
        whole, problem = self._together(page, measured.pattern, earlier, measured.problem)
        found = _Found(state, measured.where, problem)
        if whole is None:
            return found
        question: dict[str, Any] = task(
            whole, measured.cell, state, self.policy, measured.runs[-1], mode, measured.composition
        )
        try:
            message = self.worker.ask(question)
        except WorkerFailed as error:
            found.problem = _joined(problem, str(error))
        else:
            self._told(message)
            found.identification = from_dict(Identification, message["identification"])
            found.problem = _joined(found.problem, message.get("composition_unused", ""))
            found.decision = from_dict(Decision, message["decision"])
        page.pattern = whole
        return found

    def _told(self, message: dict[str, Any]) -> None:
        """Record which checkpoints the worker took up, or did not, before it gave this answer."""
        for text in message.get("told", ()):
            self.write(NoteRow("checkpoint", text))

    def _state(self, measured: Measurement, pattern: Pattern | None) -> State:
        seconds = measured.seconds
        if measured.shift:
            seconds = max(seconds, counted(pattern, self.policy))
        return self.book.context(measured.shift, measured.sample).after(
            measured.sample,
            measurements=len(measured.runs),
            seconds=seconds,
            seconds_per_point=per_point(pattern),
            samples_left=measured.samples_left,
            step=step_of(pattern),
        )

    def _together(
        self, page: Sample, new: Pattern | None, earlier: Callable[[str], Pattern | None], problem: str
    ) -> tuple[Pattern | None, str]:
        """All that was measured of the sample as one pattern, and what was wrong with that."""
        if page.pattern is None and page.runs:
            found = [p for uid in page.runs if (p := earlier(uid)) is not None]
            for pattern in found:
                page.pattern = pattern if page.pattern is None else merge(page.pattern, pattern)
        if new is None or page.pattern is None:
            return new, problem
        try:
            return merge(page.pattern, new), problem
        except BadInput as error:
            return new, _joined(problem, str(error))

    def default(self, run_uid: str, sample: str, reason: str, mode: str) -> DecisionRow:
        """The decision without an identification, as a row that is not in the ledger yet.

        It names no runs as answered: should an answer come late, it is a row of its own.
        """
        state = State(sample=sample)
        decider = self.policy.decider()
        return DecisionRow(
            decision=decider.default(state, reason, run_uid=run_uid, mode=mode),  # type: ignore[arg-type]
            state=state,
            policy=self.policy,
            sample=sample,
            problem=reason,
        )

    def write(self, row: DecisionRow | NoteRow | OutcomeRow) -> None:
        """Append a row to the ledger; a full disk does not stop the agent."""
        try:
            self._ledger.append(row)
        except OSError as error:
            _log.error("the ledger could not be written: %s", error)

    def close(self) -> None:
        """End the worker."""
        with contextlib.suppress(OSError):  # its pipe may be gone already: it is ended all the same
            self.worker.close()


def _joined(*problems: str) -> str:
    return "; ".join(dict.fromkeys(filter(None, problems)))
