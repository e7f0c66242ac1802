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
import time
import uuid
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from eg_agent.agent.answer import Answer, line, print_line
from eg_agent.agent.cells import CellSearch
from eg_agent.agent.core import Core, Measurement
from eg_agent.agent.decisions import Decisions
from eg_agent.agent.folder import lock, records_folder
from eg_agent.agent.live import LiveRuns
from eg_agent.agent.loop import Listener, Loop
from eg_agent.agent.process import WorkerProcess
from eg_agent.agent.readings import Places
from eg_agent.agent.runs import Collector, PatternSource, Run, copied, from_journal
from eg_agent.agent.worker import DEFAULT_IDENTIFIER, Cell
from eg_agent.chemistry import Composition
from eg_agent.decide.decision import Decision
from eg_agent.decide.opening import EVERY_LINE, opening
from eg_agent.errors import BadInput
from eg_agent.patterns.pattern import Pattern
from eg_agent.patterns.radiation import Radiation
from eg_agent.records.embedded import EmbeddedTiled
from eg_agent.records.journal import Fsync, Journal
from eg_agent.records.ledger import DecisionRow, Ledger, NoteRow, OutcomeRow, Policy
from eg_agent.records.run_data import DataKeys
from eg_agent.records.tiled_client import address_of, redacted
from eg_agent.records.writer import TiledDocumentWriter, WriterState
from eg_agent.records.writer_process import WriterProcess
from eg_agent.values import to_dict

_log = logging.getLogger(__name__)

Mode = Literal["observe", "propose", "act"]


@dataclass(frozen=True, slots=True)
class CallbackTime:
    """What the agent took of the RunEngine's thread: documents, seconds in all and at most."""

    documents: int = 0
    seconds: float = 0.0
    longest: float = 0.0


class Agent:
    """Identifies every powder pattern that a RunEngine measures, and decides what to measure next.

    tiled: a Tiled client or URI; the agent writes the runs there through a guard that never blocks, and
        reads from it what its own journal does not hold: data outside the documents, runs of others.
        "embedded": a server of its own, with its data in `records`, ended by `close`; it takes 5 to 30 s
        to start. None: the journal alone, no server needed.
    write: False when the session has a TiledWriter of its own; the agent then only reads.
    mode: "observe" (says), "propose" (a person approves), "act" (the plan that asks carries it out).
    policy: limits, settings and costs of the decisions.
    identifier: "module:factory" of what identifies, called in the worker process with
        `identifier_settings`; by default the shipped network and verifier.
    keys: which data keys hold the pattern; found by their names where None.
    radiation: Radiation or a wavelength in angstrom for runs that do not say; never assumed.
    cells: known cells by sample, (a, b, c, alpha, beta, gamma) in angstrom and degrees; a run's own
        `cell` metadata goes first.
    compositions: what is known of the samples' chemistry, by sample; a run's own `composition` (a formula) or
        `elements` metadata goes first. One that contradicts a pattern is not used, and the answer says so.
    records: folder of journal and ledger; $EG_AGENT_RECORDS, else ~/.local/state/eg-agent. One agent a
        folder.
    time_limit: seconds for one identification, then its worker is killed. tiled_wait: seconds that
        Tiled is given to have a run whose data are not in the journal.
    listeners: called with each Answer on the agent's thread; by default one prints a line.
    live: seconds between looks at a run that goes on, at the least; None for none. live_listeners:
        called with each look, an Answer that is `partial`, as `listeners` are.
    index_seconds: for looking for the cell of a plan's sample that has none, beside the answers and in a
        process of its own; the sample's next measurements are verified with it. 0: not at all.
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
        compositions: Mapping[str, Composition] | None = None,
        records: str | os.PathLike[str] | None = None,
        fsync: Fsync = "background",
        time_limit: float = 20.0,
        tiled_wait: float = 3.0,
        listeners: tuple[Listener, ...] | None = None,
        live: float | None = 2.0,
        index_seconds: float = 0.0,
        live_listeners: tuple[Listener, ...] = (),
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
        self._radiation = radiation
        self._compositions = dict(compositions or {})
        self._decisions = Decisions()
        self._collector = Collector()
        self._answered: set[str] = set()
        self._closing = False
        self._callback_time = CallbackTime()
        self._said_journal = False
        self._embedded: EmbeddedTiled | None = None
        if isinstance(tiled, str) and tiled == "embedded":
            self._embedded = EmbeddedTiled(self.records / "tiled", on_progress=self.say)
            tiled = self._embedded.start()
        # A client that cannot be handed to another process is used in this one.
        address = None if tiled is None else address_of(tiled)
        lit = Radiation(float(radiation)) if isinstance(radiation, int | float) else radiation
        places = to_dict(Places(str(self.journal.directory.absolute()), address, tiled_wait, keys, lit))
        log = self.records / "worker.log"
        worker = WorkerProcess(identifier, identifier_settings, places=places, time_limit=time_limit, log=log)
        reading = 2.0 * tiled_wait + 2.0 if tiled is not None else 0.0
        self._core = Core(worker, self.policy, self.ledger, reading_time=reading)
        self.writer: WriterProcess | TiledDocumentWriter | None = None
        self._tiled_wait = tiled_wait
        self._loop = Loop(
            self._core,
            self._decisions,
            PatternSource(tiled, self.journal, keys=keys, radiation=lit, wait=tiled_wait),
            self.journal,
            mode=mode,
            cells=self._cells,
            compositions=self._compositions,
            worker_reads=tiled is None or address is not None,
            not_in_tiled=self._not_in_tiled,
            say=self.say,
            live=None if live is None else LiveRuns(live),
            look_time=time_limit / 2.0 + reading,
        )
        if index_seconds > 0.0:
            searching = WorkerProcess(
                identifier,
                {**(identifier_settings or {}), "index_seconds": index_seconds},
                places=places,
                time_limit=index_seconds + time_limit + reading,
                niceness=15,
                log=log,
            )
            self._loop.cells = CellSearch(searching, self.policy, self._cell_found)
        said = (lambda answer: print_line(line(answer)),) if listeners is None else listeners
        self._loop.listeners.extend(said)
        self._loop.live_listeners.extend(live_listeners)
        self._recover()
        if tiled is not None and write:
            self.writer = self._make_writer(tiled, address)
        self._loop.start()
        self._at_exit = _close_at_exit(weakref.ref(self))
        atexit.register(self._at_exit)
        self.say(f"records in {self.records}, mode {mode}")

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
        if not uid:
            return
        if self.writer is not None:
            # What is on disk is read from there; a device may fill the same buffer again.
            kept = dict(doc if on_disk and isinstance(self.writer, WriterProcess) else copied(name, doc))
            self.writer.put(uid, n, name, kept, on_disk=on_disk)
        if not on_disk and not self._said_journal:
            self._said_journal = True
            self._loop.put(NoteRow("journal failed", self.journal.last_error))
        run, ended = self._collector.add(name, doc, n, on_disk=on_disk)
        if run is None:
            return
        if name == "start":
            if run.decision_id:
                self._loop.put(self._decisions.started(doc))
            self._loop.began(run)
        elif ended:
            self._ended(run)
        elif name.startswith("event") or name == "stream_datum":
            self._loop.saw(uid)

    def _ended(self, run: Run) -> None:
        if run.decision_id:
            self._loop.put(self._decisions.ended(run))
        self._loop.put(run)

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
        composition: Composition | None = None,
        seconds: float = 0.0,
        shift: str = "",
        samples_left: int | None = None,
    ) -> Future[Answer]:
        """Take a pattern that no RunEngine measured; the answer comes as a future.

        Patterns of the same sample and shift are put together. seconds: what measuring took.
        """
        run_uid = run_uid or f"ingested-{uuid.uuid4().hex[:12]}"
        future = self._decisions.ask(run_uid)
        self._loop.put(
            Measurement(
                (run_uid,),
                sample,
                shift,
                cell or self._cells.get(sample),
                composition or self._compositions.get(sample),
                seconds,
                samples_left,
                pattern=pattern,
                where="memory",
            )
        )
        return future

    # What somebody else measures, as `eg-agent watch` sees it in Tiled.

    def note(self, what: str, text: str, run_uid: str = "") -> None:
        """Write a note into the ledger."""
        self._loop.put(NoteRow(what, redacted(text), run_uid))

    def watch_began(self, uid: str, start: Mapping[str, Any]) -> None:
        """A run has begun in Tiled; it is looked at when `watch_saw` says that there is data."""
        self._loop.began(Run(uid, start, {}))

    def watch_saw(self, uid: str) -> None:
        """There is new data of a run in Tiled."""
        self._loop.saw(uid)

    def watch_ended(self, uid: str, start: Mapping[str, Any], stop: Mapping[str, Any]) -> None:
        """A run has ended in Tiled; identified unless the ledger has an answer to it."""
        if not self.answered(uid):
            self._answered.add(uid)
            self._ended(Run(uid, start, stop))

    def answered(self, uid: str) -> bool:
        """Whether the ledger answers a run, or it waits for its answer already."""
        return uid in self._answered

    def latest(self, run_uid: str) -> Answer | None:
        """The last look at a run that goes on; None before the first."""
        return self._loop.live.latest(run_uid) if self._loop.live is not None else None

    def suggest(self, sample: str = "") -> Decision | None:
        """The last decision on a sample (on any, where none is named); None before the first."""
        return self._decisions.last(sample)

    def opening(
        self, sample: str, lit: Mapping[str, float], two_theta: tuple[float, float], step: float
    ) -> tuple[tuple[float, float], ...]:
        """Windows (degrees) around the lines of a sample's cell, for its first scan; empty where it has none.

        lit: "wavelength" and "wavelength2" in angstrom, as a run's metadata has them; without, the agent's
        `radiation`. A cell that cannot be used is noted, and the plan scans everything.
        """
        cell = self._cells.get(sample)
        if cell is None:
            return ()
        try:
            if "wavelength" in lit:
                radiation = Radiation(float(lit["wavelength"]), lit.get("wavelength2") or None)
            elif self._radiation is not None:
                radiation = Radiation.of(self._radiation)
            else:
                raise BadInput("no wavelength is known: put it in the run's metadata.")
            return opening(cell, radiation, two_theta, step, lines=EVERY_LINE)
        except (BadInput, ArithmeticError, np.linalg.LinAlgError) as error:
            self.note("no opening", f"{sample}: {error}")
            return ()

    def default(self, run_uid: str, sample: str, reason: str) -> Decision:
        """What to do when no answer came in time: on with the plan. Recorded; never raises."""
        row = self._core.default(run_uid, sample, reason, self.mode)
        self._loop.put(row)
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
            self._loop.put(OutcomeRow(decision.decision_id, "proposed", decision.attempt))
            self.say(
                f"proposes {decision.decision_id}: {decision.reason} agent.approve(id) or agent.refuse(id)"
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
        self._loop.put(OutcomeRow(decision_id, "accepted" if approved else "refused", reason="by a person"))

    @property
    def proposals(self) -> tuple[Decision, ...]:
        """Decisions that wait for a person."""
        return self._decisions.proposals()

    def outcome(self, decision: Decision, status: str, reason: str = "") -> None:
        """Record what a plan did with a decision ("refused": outside the limits; "expired")."""
        self._loop.put(OutcomeRow(decision.decision_id, status, decision.attempt, reason=reason))  # type: ignore[arg-type]

    def listen(self, listener: Listener) -> None:
        """Call `listener` with every further Answer, on the agent's thread."""
        self._loop.listeners.append(listener)

    def listen_live(self, listener: Listener) -> None:
        """Call `listener` with every look at a run that goes on, on the agent's thread."""
        self._loop.live_listeners.append(listener)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until everything measured so far is answered; False when `timeout` seconds passed."""
        return self._loop.wait(timeout)

    def close(self, timeout: float = 60.0) -> None:
        """Answer what is pending (at most `timeout` seconds), then end threads and worker. Idempotent."""
        if self._closing:
            return
        with contextlib.suppress(KeyboardInterrupt):
            self.wait(timeout)
        self._closing = True
        self._loop.close()
        atexit.unregister(self._at_exit)
        if self._loop.cells is not None:
            self._loop.cells.close()
        self._core.close()
        self._loop.join(5.0)
        if self.writer is not None:
            self.writer.close()
        if self._embedded is not None:
            self._embedded.close()
        self.journal.close()
        self._decisions.close()
        self._lock_file.close()

    # Starting, and what happens around.

    def _recover(self) -> None:
        """Rebuild what is known from the ledger; queue runs of the journal that it does not answer."""
        for row in self.ledger.rows():
            if isinstance(row, DecisionRow):
                self._core.book.record(row)
                self._answered.update(row.new_runs)
                self._decisions.recovered(row)
            elif isinstance(row, OutcomeRow):
                self._decisions.recovered_outcome(row)
            elif row.run_uid and row.what == "skipped":
                self._answered.add(row.run_uid)
        for uid in self.journal.runs():
            run = from_journal(self.journal, uid) if uid not in self._answered else None
            if run is not None:  # else the RunEngine ended with it open: nothing more will come
                self._ended(run)
        left = self._loop.runs_waiting()
        if left:
            self.say(f"identifying {left} runs left from last time")

    def _make_writer(self, tiled: Any, address: str | None) -> WriterProcess | TiledDocumentWriter:
        if address is None:
            return TiledDocumentWriter(tiled, self.journal, on_change=self._tiled_changed)
        log = self.records / "writer.log"
        return WriterProcess(address, self.journal, on_change=self._tiled_changed, log=log)

    def _not_in_tiled(self, uid: str) -> str:
        """Why a run is not in Tiled; "" where it is, or where somebody else writes it. Waits a moment."""
        writer = self.writer
        if writer is None or uid in writer.state.elsewhere or writer.wait_written(uid, self._tiled_wait):
            return ""
        state = writer.state
        if uid in state.elsewhere:
            return ""
        why = state.refused.get(uid) or (state.error if not state.connected else "it is slow")
        return f"Tiled does not have the run yet ({why})"

    def _cell_found(self, shift: str, sample: str, cell: Cell, probability: float) -> None:
        said = " ".join(f"{value:.5g}" for value in cell)
        self.note("cell found", f"{sample}: {said} (probability {probability:.2f})")
        self.say(f"{sample}: cell {said}, probability {probability:.2f}; used from its next measurement on")

    def _tiled_changed(self, state: WriterState) -> None:
        if state.refused:
            text = f"Tiled refused {len(state.refused)} run(s): {state.error}; they stay in the journal"
        else:
            text = "Tiled is back" if state.connected else f"Tiled is away ({state.error}); journaling"
        self._loop.put(NoteRow("tiled", text))
        self.say(text)

    def say(self, text: str) -> None:
        """Show a line about the agent itself, without keys in it."""
        if self._announce is not None:
            with contextlib.suppress(Exception):
                self._announce(f"[eg-agent] {redacted(text)}")


def _close_at_exit(agent: weakref.ref[Agent]) -> Callable[[], None]:
    def close() -> None:
        found = agent()
        if found is not None:
            found.close()

    return close
