"""`Agent`: the Bluesky callback. Three lines into a RunEngine, and every powder scan is identified.

    from eg_agent.agent import Agent
    agent = Agent()
    RE.subscribe(agent)

Documents are journaled and collected on the RunEngine's thread, which takes a millisecond or two and
never raises; everything else (Tiled, pattern, identification in a worker process, decision, ledger,
the printed line) happens on the agent's own thread.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import threading
import time
import uuid
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Literal

from eg_agent.agent.answer import Answer, line, print_line
from eg_agent.agent.core import Core
from eg_agent.agent.decisions import Decisions
from eg_agent.agent.folder import lock, records_folder
from eg_agent.agent.process import WorkerProcess
from eg_agent.agent.runs import Collector, PatternSource, Run, copied, from_journal
from eg_agent.agent.worker import DEFAULT_IDENTIFIER, Cell
from eg_agent.decide.decision import Decision
from eg_agent.errors import BadInput, EgAgentError
from eg_agent.patterns.pattern import Pattern
from eg_agent.patterns.radiation import Radiation
from eg_agent.records.embedded import EmbeddedTiled
from eg_agent.records.journal import Fsync, Journal
from eg_agent.records.ledger import DecisionRow, Ledger, NoteRow, OutcomeRow, PatternFrom, Policy
from eg_agent.records.merging import merge
from eg_agent.records.run_data import DataKeys, NotAPattern
from eg_agent.records.tiled_client import redacted
from eg_agent.records.writer import TiledDocumentWriter, WriterState

_log = logging.getLogger(__name__)

Mode = Literal["observe", "propose", "act"]
Listener = Callable[[Answer], None]
LedgerRow = DecisionRow | OutcomeRow | NoteRow


@dataclass(frozen=True, slots=True)
class CallbackTime:
    """What the agent took of the RunEngine's thread: documents, seconds in all and at most."""

    documents: int = 0
    seconds: float = 0.0
    longest: float = 0.0


@dataclass
class _Ingested:
    """A pattern given to `ingest`, without a run."""

    pattern: Pattern
    sample: str
    shift: str
    run_uid: str
    cell: Cell | None
    seconds: float
    samples_left: int | None
    ended: float = field(default_factory=time.monotonic)


class Agent:
    """Identifies every powder pattern that a RunEngine measures, and decides what to measure next.

    tiled: a Tiled client or URI; the agent writes the runs there through a guard that never blocks, and
        reads the patterns from it. "embedded": a server of its own, with its data in `records`, ended by
        `close`; it takes 5 to 30 s to start. None: the journal alone, no server needed.
    write: False when the session has a TiledWriter of its own; the agent then only reads.
    mode: "observe" (says), "propose" (a person approves), "act" (the plan that asks carries it out).
    policy: limits, settings and costs of the decisions.
    identifier: "module:factory" of what identifies, called in the worker process with
        `identifier_settings`; by default the shipped network and verifier.
    keys: which data keys hold the pattern; found by their names where None.
    radiation: Radiation or a wavelength in angstrom for runs that do not say; never assumed.
    cells: known cells by sample, (a, b, c, alpha, beta, gamma) in angstrom and degrees; a run's own
        `cell` metadata goes first.
    records: folder of journal and ledger; $EG_AGENT_RECORDS, else ~/.local/state/eg-agent. One agent a
        folder.
    time_limit: seconds for one identification, then its worker is killed. tiled_wait: seconds that
        Tiled is given to have a run before its pattern is taken from the journal.
    listeners: called with each Answer on the agent's thread; by default one prints a line.
    announce: takes lines of text about the agent itself; prints them by default, None for silence.
    Raises BadInput when another agent uses the folder, or a setting is wrong.
    """

    def __init__(
        self,
        tiled: Any = None,
        *,
        write: bool = True,
        mode: Mode = "observe",
        policy: Policy | None = None,
        identifier: str = DEFAULT_IDENTIFIER,
        identifier_settings: dict[str, Any] | None = None,
        keys: DataKeys | None = None,
        radiation: Radiation | float | None = None,
        cells: Mapping[str, Cell] | None = None,
        records: str | os.PathLike[str] | None = None,
        fsync: Fsync = "background",
        time_limit: float = 20.0,
        tiled_wait: float = 3.0,
        listeners: tuple[Listener, ...] | None = None,
        announce: Callable[[str], None] | None = print_line,
    ) -> None:
        if mode not in ("observe", "propose", "act"):
            raise BadInput(f"mode {mode!r} is unknown: observe, propose or act.")
        self.mode: Mode = mode
        self.records = records_folder(records)
        self._announce = announce
        self._lock_file = lock(self.records)
        self.journal = Journal(self.records / "journal", fsync=fsync)
        self.ledger = Ledger(self.records / "ledger.jsonl", session=uuid.uuid4().hex[:12])
        self.policy = policy or Policy()
        self._cells = dict(cells or {})
        self._listeners: list[Listener] = list(
            (lambda answer: print_line(line(answer)),) if listeners is None else listeners
        )
        worker = WorkerProcess(
            identifier, identifier_settings, time_limit=time_limit, log=self.records / "worker.log"
        )
        self._core = Core(worker, self.policy, self.ledger)
        self._decisions = Decisions()
        self._collector = Collector()
        self._wake = threading.Condition()
        self._pending: deque[Run | _Ingested | LedgerRow] = deque()
        self._busy = False
        self._closing = False
        self._callback_time = CallbackTime()
        self._said_journal = False
        self.writer: TiledDocumentWriter | None = None
        self._recover()
        self._embedded: EmbeddedTiled | None = None
        if isinstance(tiled, str) and tiled == "embedded":
            self._embedded = EmbeddedTiled(self.records / "tiled", on_progress=self._say)
            tiled = self._embedded.start()
        if tiled is not None and write:
            self.writer = TiledDocumentWriter(tiled, self.journal, on_change=self._tiled_changed)
        self._source = PatternSource(
            tiled, self.writer, self.journal, keys=keys, radiation=radiation, wait=tiled_wait
        )
        self._thread = threading.Thread(target=self._work, name="eg-agent", daemon=True)
        self._thread.start()
        self._at_exit = _close_at_exit(weakref.ref(self))
        atexit.register(self._at_exit)
        self._say(f"records in {self.records}, mode {mode}")

    def __enter__(self) -> Agent:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # On the RunEngine's thread.

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        """Take a document from the RunEngine. Never raises, never waits for anything but the disk."""
        started = time.perf_counter()
        try:
            self._take(name, doc)
        except Exception:  # the scan must go on whatever happens here
            _log.exception("eg-agent could not take a %s document", name)
        took = time.perf_counter() - started
        sum_ = self._callback_time
        self._callback_time = CallbackTime(sum_.documents + 1, sum_.seconds + took, max(sum_.longest, took))

    def _take(self, name: str, doc: dict[str, Any]) -> None:
        if self._closing:
            return
        uid, n, on_disk = self.journal.append(name, doc)
        mine = copied(name, doc)
        if self.writer is not None:
            self.writer.put(uid, n, name, dict(mine), on_disk=on_disk)
        if not on_disk and not self._said_journal:
            self._said_journal = True
            self._put(NoteRow("journal failed", self.journal.last_error))
        run = self._collector.add(name, mine)
        if name == "start" and doc.get("eg_decision_id"):
            self._put(self._decisions.started(doc))
        if run is not None:
            if run.decision_id:
                self._put(self._decisions.ended(run))
            self._put(run)

    def _put(self, item: Run | _Ingested | LedgerRow) -> None:
        with self._wake:
            self._pending.append(item)
            self._wake.notify_all()

    @property
    def callback_time(self) -> CallbackTime:
        """What the agent has taken of the RunEngine's thread so far."""
        return self._callback_time

    # Asking, from plans and from other programs.

    def ask(self, run_uid: str) -> Future[Answer]:
        """The answer to a run, as a future: done when the run was identified, or cannot be."""
        return self._decisions.ask(run_uid)

    def ingest(
        self,
        pattern: Pattern,
        *,
        sample: str = "",
        run_uid: str = "",
        cell: Cell | None = None,
        seconds: float = 0.0,
        shift: str = "",
        samples_left: int | None = None,
    ) -> Future[Answer]:
        """Take a pattern that no RunEngine measured; the answer comes as a future.

        Patterns of the same sample and shift are put together. seconds: what measuring took.
        """
        run_uid = run_uid or f"ingested-{uuid.uuid4().hex[:12]}"
        future = self._decisions.ask(run_uid)
        self._put(_Ingested(pattern, sample, shift, run_uid, cell, seconds, samples_left))
        return future

    def suggest(self, sample: str = "") -> Decision | None:
        """The last decision on a sample (on any, where none is named); None before the first."""
        return self._decisions.last(sample)

    def default(self, run_uid: str, sample: str, reason: str) -> Decision:
        """What to do when no answer came in time: on with the plan. Recorded; never raises."""
        row = self._core.default(run_uid, sample, reason, self.mode)
        self._put(row)
        return row.decision

    def begin(self, decision: Decision) -> Decision | None:
        """Leave to carry out a decision: the decision with its next attempt, or None when it was done.

        A decision has at most one successful run, restarts of the agent included.
        """
        return self._decisions.begin(decision)

    def approval(self, decision: Decision) -> Future[bool]:
        """Whether a decision may be carried out: at once in "act", never in "observe", else by a person."""
        future = self._decisions.approval(decision)
        if decision.mode == "propose" and not future.done():
            self._put(OutcomeRow(decision.decision_id, "proposed", decision.attempt))
            self._say(
                f"proposes: {decision.reason} agent.approve({decision.decision_id!r}) or "
                f"agent.refuse({decision.decision_id!r})"
            )
        return future

    def approve(self, decision_id: str) -> None:
        """Let a proposed decision be carried out."""
        self._settle(decision_id, approved=True)

    def refuse(self, decision_id: str) -> None:
        """Refuse a proposed decision; its plan goes on with its default."""
        self._settle(decision_id, approved=False)

    def _settle(self, decision_id: str, *, approved: bool) -> None:
        if not self._decisions.settle(decision_id, approved=approved):
            raise BadInput(f"no proposal {decision_id!r} waits: see agent.proposals.")
        self._put(OutcomeRow(decision_id, "accepted" if approved else "refused", reason="by a person"))

    @property
    def proposals(self) -> tuple[Decision, ...]:
        """Decisions that wait for a person."""
        return self._decisions.proposals()

    def outcome(self, decision: Decision, status: str, reason: str = "") -> None:
        """Record what a plan did with a decision ("refused": outside the limits; "expired")."""
        self._put(OutcomeRow(decision.decision_id, status, decision.attempt, reason=reason))  # type: ignore[arg-type]

    def listen(self, listener: Listener) -> None:
        """Call `listener` with every further Answer, on the agent's thread."""
        self._listeners.append(listener)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until everything measured so far is answered; False when `timeout` seconds passed."""
        with self._wake:
            return self._wake.wait_for(lambda: not self._pending and not self._busy, timeout)

    def close(self, timeout: float = 60.0) -> None:
        """Answer what is pending (at most `timeout` seconds), then end threads and worker. Idempotent."""
        if self._closing:
            return
        with contextlib.suppress(KeyboardInterrupt):
            self.wait(timeout)
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        atexit.unregister(self._at_exit)
        self._core.close()
        self._thread.join(5.0)
        if self.writer is not None:
            self.writer.close()
        if self._embedded is not None:
            self._embedded.close()
        self.journal.close()
        self._decisions.close()
        self._lock_file.close()

    # On the agent's thread.

    def _work(self) -> None:
        with contextlib.suppress(Exception):
            self._core.warm()  # load the models before the first run ends
        while True:
            with self._wake:
                self._busy = False
                self._wake.notify_all()
                self._wake.wait_for(lambda: self._pending or self._closing)
                if not self._pending:
                    return
                item = self._pending.popleft()
                runs = self._same_sample(item) if isinstance(item, Run) else []
                self._busy = True
            try:
                if isinstance(item, Run):
                    self._identify_runs([item, *runs])
                elif isinstance(item, _Ingested):
                    self._identify_ingested(item)
                else:
                    self._core.write(item)
                self.journal.sync()
            except Exception:
                _log.exception("eg-agent goes on after an error")
            if self._closing and not self._pending:
                return

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

    def _identify_runs(self, runs: list[Run]) -> None:
        last = runs[-1]
        uids = tuple(run.uid for run in runs)
        if not last.succeeded:
            status = last.stop.get("exit_status", "?")
            self._skip(
                last, f"run {last.uid[:8]} ended early ({status}): {last.stop.get('reason', '')}".strip(": ")
            )
            return
        pattern: Pattern | None = None
        where: PatternFrom = "none"
        problems: list[str] = []
        try:
            for run in runs:
                found, where, problem = self._source.pattern(run)
                pattern = found if pattern is None else merge(pattern, found)
                if problem:
                    problems.append(problem)
        except NotAPattern as error:
            self._skip(last, str(error))
            return
        except Exception as error:
            problems.append(
                str(error) if isinstance(error, EgAgentError) else f"{type(error).__name__}: {error}"
            )
            pattern = None
        left = last.start.get("eg_samples_left")
        self._answer(
            _Ingested(
                pattern=pattern,  # type: ignore[arg-type]  # None: nothing could be read, and that is answered too
                sample=last.sample,
                shift=last.shift,
                run_uid=last.uid,
                cell=last.cell or self._cells.get(last.sample),  # type: ignore[arg-type]
                seconds=sum(run.seconds for run in runs),
                samples_left=int(left) if isinstance(left, int) else None,
                ended=last.ended,
            ),
            uids,
            where,
            "; ".join(dict.fromkeys(problems)),
        )

    def _identify_ingested(self, item: _Ingested) -> None:
        self._answer(item, (item.run_uid,), "memory", "")

    def _answer(self, item: _Ingested, uids: tuple[str, ...], where: PatternFrom, problem: str) -> None:
        row = self._core.answer(
            item.pattern,
            new_runs=uids,
            sample=item.sample,
            shift=item.shift,
            cell=item.cell or self._cells.get(item.sample),
            seconds=item.seconds,
            samples_left=item.samples_left,
            mode=self.mode,
            where=where,
            problem=problem,
            ended=item.ended,
            earlier=self._earlier,
        )
        self._publish(row)

    def _earlier(self, uid: str) -> Pattern | None:
        """The pattern of an earlier run of a sample, after a restart."""
        run = from_journal(self.journal, uid) or Run(uid, {"uid": uid}, {})
        with contextlib.suppress(Exception):
            return self._source.pattern(run)[0]
        return None

    def _publish(self, row: DecisionRow) -> None:
        answer = Answer.of(row)
        self._decisions.answered(row, answer)
        for listener in self._listeners:
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

    # Starting, and what happens around.

    def _recover(self) -> None:
        """Rebuild what is known from the ledger; queue runs of the journal that it does not answer."""
        answered: set[str] = set()
        for row in self.ledger.rows():
            if isinstance(row, DecisionRow):
                self._core.book.record(row)
                answered.update(row.new_runs)
                self._decisions.recovered(row)
            elif isinstance(row, OutcomeRow):
                self._decisions.recovered_outcome(row)
            elif row.run_uid:
                answered.add(row.run_uid)
        waiting = [uid for uid in self.journal.runs() if uid not in answered]
        for uid in waiting:
            run = from_journal(self.journal, uid)
            if run is None:
                continue  # the RunEngine ended with it open: nothing more will come
            if run.decision_id:
                row = self._decisions.ended(run)
                if row is not None:
                    self._pending.append(row)
            run.documents = None  # read again when its turn comes
            self._pending.append(run)
        if any(isinstance(item, Run) for item in self._pending):
            self._say(
                f"identifying {sum(isinstance(i, Run) for i in self._pending)} runs left from last time"
            )

    def _tiled_changed(self, state: WriterState) -> None:
        if state.refused:
            text = f"Tiled refused {len(state.refused)} run(s): {state.error}; they stay in the journal"
        else:
            text = "Tiled is back" if state.connected else f"Tiled is away ({state.error}); journaling"
        self._put(NoteRow("tiled", text))
        self._say(text)

    def _say(self, text: str) -> None:
        if self._announce is not None:
            with contextlib.suppress(Exception):
                self._announce(f"[eg-agent] {redacted(text)}")


def _close_at_exit(agent: weakref.ref[Agent]) -> Callable[[], None]:
    def close() -> None:
        found = agent()
        if found is not None:
            found.close()

    return close
