"""`Loop`: the agent's own thread. Runs that have ended first, then looks at those that go on."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from eg_agent.agent.answer import Answer
from eg_agent.agent.cells import CellSearch
from eg_agent.agent.core import Core, Measurement
from eg_agent.agent.decisions import Decisions
from eg_agent.agent.live import LiveRuns
from eg_agent.agent.process import WorkerFailed
from eg_agent.agent.runs import PatternSource, Run, from_journal
from eg_agent.agent.worker import Cell
from eg_agent.chemistry import Composition
from eg_agent.chemistry.metadata import told
from eg_agent.errors import BadInput, EgAgentError
from eg_agent.patterns.pattern import Pattern
from eg_agent.records.journal import Journal
from eg_agent.records.ledger import DecisionRow, NoteRow, OutcomeRow
from eg_agent.records.merging import merge
from eg_agent.records.run_data import NotAPattern
from eg_agent.records.tiled_client import redacted

_log = logging.getLogger(__name__)

Listener = Callable[[Answer], None]
LedgerRow = DecisionRow | OutcomeRow | NoteRow

#: Seconds between two looks at the clock while a run goes on: for live looks and for syncing the journal.
_TICK = 0.25


class Loop:
    """Answers what is put into it, in order, on one thread; nothing that breaks in it ends it.

    source: reads runs that the worker cannot (documents that the disk refused, a Tiled inside this
        process). worker_reads: whether the worker can read Tiled. not_in_tiled: why Tiled is not to be
        asked for a run, "" when it is; may wait.
    live: None for no looks at runs that go on. look_time: seconds that one may take.
    """

    def __init__(
        self,
        core: Core,
        decisions: Decisions,
        source: PatternSource,
        journal: Journal,
        *,
        mode: str,
        cells: Mapping[str, Cell],
        compositions: Mapping[str, Composition],
        worker_reads: bool,
        not_in_tiled: Callable[[str], str],
        say: Callable[[str], None],
        live: LiveRuns | None,
        look_time: float,
    ) -> None:
        self.listeners: list[Listener] = []
        self.live_listeners: list[Listener] = []
        self.cells: CellSearch | None = None
        self.mode = mode
        self._core = core
        self._decisions = decisions
        self._source = source
        self._journal = journal
        self._cells = cells
        self._compositions = compositions
        self._worker_reads = worker_reads
        self._not_in_tiled = not_in_tiled
        self._say = say
        self.live = live
        self._look_time = look_time
        self._wake = threading.Condition()
        self._pending: deque[Run | Measurement | LedgerRow] = deque()
        self._busy = False
        self._began = False
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="eg-agent", daemon=True)

    def start(self) -> None:
        """Begin; what was put in before comes first."""
        self._thread.start()

    def put(self, item: Run | Measurement | LedgerRow) -> None:
        """Have something answered or recorded, after what waits already."""
        with self._wake:
            self._pending.append(item)
            self._wake.notify_all()

    def began(self, run: Run) -> None:
        """A run has begun, and is looked at while it goes on."""
        if self.live is not None:
            self.live.began(run)
            with self._wake:
                self._began = True
                self._wake.notify_all()

    def saw(self, uid: str) -> None:
        """There is new data of a run that goes on; microseconds, on the RunEngine's thread."""
        if self.live is not None:
            self.live.saw(uid)

    def runs_waiting(self) -> int:
        """Runs that wait for an answer."""
        return sum(isinstance(item, Run) for item in list(self._pending))

    def wait(self, timeout: float | None) -> bool:
        """Wait until everything that was put in is answered."""
        with self._wake:
            return self._wake.wait_for(lambda: not self._pending and not self._busy, timeout)

    def close(self) -> None:
        """End the thread once what it does is done."""
        with self._wake:
            self._closing = True
            self._wake.notify_all()

    def join(self, timeout: float) -> None:
        """Wait for the thread's end."""
        self._thread.join(timeout)

    # On the thread.

    def _work(self) -> None:
        self._warm()
        while True:
            item, runs = self._next()
            try:
                if isinstance(item, Run):
                    self._runs([item, *runs])
                elif isinstance(item, Measurement):
                    self._publish(self._core.answer(item, self.mode, self._earlier))
                elif item is not None:
                    self._core.write(item)
                elif not self._closing:
                    self._look()
                self._journal.sync()
            except Exception:
                _log.exception("eg-agent goes on after an error")
            if self._closing and not self._pending:
                return

    def _warm(self) -> None:
        """Load the models before the first run ends, which tries again where that fails."""
        try:
            self._core.warm()
        except (WorkerFailed, OSError) as error:
            if not self._closing:
                self._say(f"not ready yet: {error}; the first run tries again")
        except Exception:
            _log.exception("eg-agent could not load its models; the first run tries again")

    def _next(self) -> tuple[Run | Measurement | LedgerRow | None, list[Run]]:
        """What is due, with waiting runs of the same sample; None when it is time for a look."""
        with self._wake:
            self._busy = False
            self._wake.notify_all()
            while not (self._pending or self._closing):
                self._began = False
                goes_on = self.live is not None and self.live.waits()
                self._wake.wait_for(
                    lambda: self._pending or self._closing or self._began, _TICK if goes_on else None
                )
                if goes_on and not self._pending:
                    return None, []
            if not self._pending:
                return None, []
            item = self._pending.popleft()
            self._busy = True
            return item, self._same_sample(item) if isinstance(item, Run) else []

    def _same_sample(self, first: Run) -> list[Run]:
        """Waiting runs of the same sample and shift: identified together, so that none is dropped."""
        if not first.shift or not first.sample or not first.succeeded:
            return []
        same = [
            item
            for item in self._pending
            if isinstance(item, Run)
            and (item.shift, item.sample) == (first.shift, first.sample)
            and item.succeeded
        ]
        for run in same:
            self._pending.remove(run)
        return same

    def _runs(self, runs: list[Run]) -> None:
        last = runs[-1]
        for run in runs:
            self._keep_looks(run)
        if not last.succeeded:
            status = last.stop.get("exit_status", "?")
            why = f"run {last.uid[:8]} ended early ({status}): {last.stop.get('reason', '')}"
            self._skip(last, why.strip(": "))
            return
        measured = self._measured(runs)
        measured.ended = last.ended
        try:
            if self._worker_reads and not any(run.held for run in runs):
                measured.read = True
                # What the journal holds is read from there; only data outside the documents wait for Tiled.
                away = (self._not_in_tiled(run.uid) for run in reversed(runs) if run.external)
                measured.without_tiled = next(away, "")
            else:
                self._read(runs, measured)
            self._publish(self._core.answer(measured, self.mode, self._earlier))
        except NotAPattern as error:
            self._skip(last, str(error))

    def _measured(self, runs: list[Run]) -> Measurement:
        last = runs[-1]
        found = None if self.cells is None else self.cells.known.get((last.shift, last.sample))
        left = last.start.get("eg_samples_left")
        composition, problem = self._compositions.get(last.sample), ""
        try:
            composition = told(last.start) or composition
        except BadInput as error:
            problem = f"the run's composition is not used: {error}"
        return Measurement(
            runs=tuple(run.uid for run in runs),
            sample=last.sample,
            shift=last.shift,
            cell=last.cell or self._cells.get(last.sample) or found,  # type: ignore[arg-type]
            composition=composition,
            problem=problem,
            seconds=sum(run.seconds for run in runs),
            samples_left=int(left) if isinstance(left, int) else None,
        )

    def _read(self, runs: list[Run], measured: Measurement) -> None:
        """Read the runs here. Raises NotAPattern; anything else that is wrong becomes the problem."""
        problems = [measured.problem]
        try:
            for run in runs:
                why = self._not_in_tiled(run.uid) if run.external else ""
                found, measured.where, problem = self._source.pattern(run, without_tiled=why)
                measured.pattern = found if measured.pattern is None else merge(measured.pattern, found)
                problems.append(problem)
        except NotAPattern:
            raise
        except Exception as error:
            said = str(error) if isinstance(error, EgAgentError) else f"{type(error).__name__}: {error}"
            problems.append(said)
            measured.pattern, measured.where = None, "none"
        measured.problem = "; ".join(dict.fromkeys(filter(None, problems)))

    def _earlier(self, uid: str) -> Pattern | None:
        """The pattern of an earlier run of a sample, after a restart."""
        try:
            run = from_journal(self._journal, uid) or Run(uid, {"uid": uid}, {})
            return self._source.pattern(run)[0]
        except Exception as error:  # whatever is wrong with an earlier run, the new one is answered
            _log.warning("run %s, measured earlier, is left out: %s", uid[:8], redacted(str(error)))
            return None

    def _publish(self, row: DecisionRow) -> None:
        answer = Answer.of(row)
        self._decisions.answered(row, answer)
        if self.cells is not None:
            self.cells.put(row)
        self._tell(self.listeners, answer)

    def _tell(self, listeners: list[Listener], answer: Answer) -> None:
        for listener in listeners:
            try:
                listener(answer)
            except Exception:
                _log.exception("a listener of eg-agent raised")

    def _skip(self, run: Run, why: str) -> None:
        """A run that is not identified: noted, and a plan that waits for it goes on with its default."""
        self._core.write(NoteRow("skipped", why, run.uid))
        if run.shift or self._decisions.awaited(run.uid):
            row = self._core.default(run.uid, run.sample, why, self.mode)
            self._core.write(row)
            answer = Answer((run.uid,), run.sample, row.decision, problem=why, state=row.state)
            self._decisions.resolve((run.uid,), answer)
        if run.succeeded is False or run.shift:
            self._say(why)

    # Looks at runs that go on.

    def _look(self) -> None:
        due = self.live.due() if self.live is not None else None
        if due is None:
            return
        assert self.live is not None
        run, events = due
        if run.held or not self._worker_reads:
            self.live.leave(run.uid)
            return
        measured = self._measured([run])
        measured.seconds = run.so_far
        measured.events = events
        try:
            answer = self._core.look(measured, self.mode, self._look_time)
        except NotAPattern:
            self.live.found_nothing(run.uid)
        except WorkerFailed as error:
            if self.live.failed(run.uid):
                self._core.write(
                    NoteRow("live stopped", f"no looks until the run ends: {redacted(str(error))}", run.uid)
                )
        else:
            self.live.looked(run.uid, answer)
            self._tell(self.live_listeners, answer)

    def _keep_looks(self, run: Run) -> None:
        """What the looks said goes into the journal when the run ends."""
        looks: list[dict[str, Any]] = self.live.ended(run.uid) if self.live is not None else []
        if looks:
            try:
                self._journal.keep(run.uid, "live", looks)
            except OSError as error:
                _log.error("the live looks at run %s could not be kept: %s", run.uid[:8], error)
