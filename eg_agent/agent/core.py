"""`Core`: pattern in, recorded decision out. Knows no Bluesky; one thread uses it."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable

import numpy as np

from eg_agent.agent.process import WorkerFailed, WorkerProcess
from eg_agent.agent.samples import Sample, SampleBook
from eg_agent.agent.worker import Cell, task
from eg_agent.decide.decision import Decision
from eg_agent.decide.state import State
from eg_agent.errors import BadInput
from eg_agent.identify.identification import Identification
from eg_agent.patterns.pattern import Pattern
from eg_agent.records.ledger import DecisionRow, Ledger, NoteRow, OutcomeRow, PatternFrom, Policy
from eg_agent.records.merging import merge
from eg_agent.values import from_dict

_log = logging.getLogger(__name__)


class Core:
    """Puts the patterns of a sample together, has them identified in the worker, decides, records."""

    def __init__(self, worker: WorkerProcess, policy: Policy, ledger: Ledger) -> None:
        self.worker = worker
        self.policy = policy
        self.book = SampleBook(policy.costs.sample_change)
        self._ledger = ledger

    def warm(self) -> None:
        """Start the worker and wait until it has loaded. Raises WorkerFailed."""
        self.worker.wait_ready()

    def answer(
        self,
        pattern: Pattern | None,
        *,
        new_runs: tuple[str, ...],
        sample: str,
        shift: str,
        cell: Cell | None,
        seconds: float,
        samples_left: int | None,
        mode: str,
        where: PatternFrom,
        problem: str,
        ended: float,
        earlier: Callable[[str], Pattern | None],
    ) -> DecisionRow:
        """Identify all that was measured of the sample, decide, and append the row to the ledger.

        pattern: of the new runs; None when none could be read, and `problem` says why.
        seconds: wall clock of the new runs; in a plan, the counted time where that is longer.
        earlier: reads an earlier run of the sample, needed after a restart.
        """
        page = self.book.sample(shift, sample)
        state = self.book.state(
            shift,
            sample,
            measurements=len(new_runs),
            # A plan's budget counts simulated or shared clocks, too; of somebody's own run only the
            # clock is known (its detector may take all points at once).
            seconds=max(seconds, self._counted(pattern)) if shift else seconds,
            seconds_per_point=_per_point(pattern),
            samples_left=samples_left,
        )
        whole, problem = self._together(page, pattern, earlier, problem)
        found: Identification | None = None
        decision: Decision | None = None
        if whole is not None:
            question = task(whole, cell, state, self.policy, new_runs[-1], mode)
            try:
                message = self.worker.ask(question)
                found = from_dict(Identification, message["identification"])
                decision = from_dict(Decision, message["decision"])
            except WorkerFailed as error:
                problem = "; ".join(filter(None, (problem, str(error))))
        if decision is None:
            decider = self.policy.decider()
            decision = decider.default(state, problem, run_uid=new_runs[-1], mode=mode)  # type: ignore[arg-type]
        row = DecisionRow(
            decision=decision,
            state=state,
            policy=self.policy,
            identification=found,
            runs=(*page.runs, *(uid for uid in new_runs if uid not in page.runs)),
            new_runs=new_runs,
            sample=sample,
            shift=shift,
            pattern_from=where,
            problem=problem,
            seconds=time.monotonic() - ended,
        )
        with contextlib.suppress(OSError):
            appended = self._ledger.append(row)
            assert isinstance(appended, DecisionRow)
            row = appended
        self.book.record(row)
        page.pattern = whole if whole is not None else page.pattern
        return row

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
            return new, "; ".join(filter(None, (problem, str(error))))

    def _counted(self, pattern: Pattern | None) -> float:
        """Seconds that the measurement takes by its counting times and the costs of the policy."""
        if pattern is None or pattern.counting_time is None or not np.all(np.isfinite(pattern.counting_time)):
            return 0.0
        seconds = pattern.counting_time
        return self.policy.costs.measurement(len(pattern), float(np.mean(seconds)))

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
        self.worker.close()


def _per_point(pattern: Pattern | None) -> float | None:
    if pattern is None or pattern.counting_time is None:
        return None
    return float(np.median(pattern.counting_time))
