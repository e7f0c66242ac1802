"""`QueueLoop`: a run ends in Tiled, it is identified, and what was decided becomes an item of the queue.

Everything the loop knows follows from the ledger, from Tiled and from the queue, which it reads again
at every step; so it may be killed at any moment and started again. The order of the steps makes it
so: a decision is in the ledger before it is submitted, a submission is announced there before it is
made, and before it is made queue, history and Tiled are searched for the decision's id.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import replace

from eg_agent.agent import Agent, Answer
from eg_agent.chemistry.metadata import told
from eg_agent.decide.state import State
from eg_agent.errors import BadInput, EgAgentError
from eg_agent.queue.approval import Approval
from eg_agent.queue.board import Board, BoardAway, LeaseLost
from eg_agent.queue.carry import END, Carrier
from eg_agent.queue.entries import Entries
from eg_agent.queue.items import first_scan, samples_left
from eg_agent.queue.manager import QueueAway, QueueManager, QueueRefused
from eg_agent.queue.settings import RunSettings
from eg_agent.queue.share import SharedLedger
from eg_agent.queue.state import LoopState
from eg_agent.queue.work import LedgerRow, WorkBook, first_id, first_note
from eg_agent.records.catalog import Wakes
from eg_agent.records.ledger import DecisionRow, NoteRow, OutcomeRow
from eg_agent.records.run_data import NotAPattern
from eg_agent.records.runs import RunHead, Runs, TiledAway
from eg_agent.records.tiled_client import denied

_log = logging.getLogger(__name__)

#: Seconds without anything new after which the queue is asked less often, and seldom.
_STILL, _LONG_STILL = 10.0, 60.0

_STATUS = {"success": "done", "abort": "aborted"}


class QueueLoop:
    """The loop of one agent. `step` does what can be done now and never raises for what passes by itself.

    make_agent: makes the `Agent` when this loop gets the lease (it loads the network; a standby does not).
    entries: writes the identifications into Tiled; None for not at all.
    """

    def __init__(
        self,
        settings: RunSettings,
        runs: Runs,
        manager: QueueManager | None,
        board: Board,
        make_agent: Callable[[], Agent],
        shared: Callable[[WorkBook], SharedLedger],
        *,
        mode: str = "act",
        watch: bool = True,
        answer_timeout: float = 300.0,
        entries: Entries | None = None,
    ) -> None:
        self.settings = settings
        self.runs = runs
        self.board = board
        self.mode = mode
        self.state = LoopState(mode=mode, shift=settings.shift.name)
        self.book = WorkBook(settings.shift.name)
        self.ledger = shared(self.book)
        self.agent: Agent | None = None
        self._make_agent = make_agent
        self._answer_timeout = answer_timeout
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._told = threading.Event()
        self._watch = Wakes(runs, self._tiled_said) if watch else None
        self._heads: dict[str, RunHead] = {}
        self._said: set[str] = set()  # what the log says is waited for
        self._whole_catalog = True  # read all runs of the shift the next time, not only the newest
        self._polled = 0.0
        self._moved = time.monotonic()  # when something happened last
        self._seen: tuple[object, ...] = ()
        self._entries = entries
        self._entries_due = False
        self.carrier = (
            Carrier(settings, runs, manager, self.ledger, self.state) if manager is not None else None
        )
        self.approval = Approval(settings, board, self.ledger, self.state)

    # From outside.

    def run(self, *, until_finished: bool = False) -> None:
        """Step until `stop` is called, or the shift is finished where that is wanted."""
        while not self._stopping.is_set():
            self.step()
            if until_finished and self.state.finished:
                return
            self._wake.wait(self.pause())
            self._wake.clear()

    def stop(self) -> None:
        """End `run` after the step it is in; may be called from a signal handler."""
        self._stopping.set()
        self._wake.set()

    def _tiled_said(self) -> None:
        self._told.set()
        self._wake.set()

    def close(self) -> None:
        """Give the lease back and end the agent."""
        if self._watch is not None:
            self._watch.close()
        if self.agent is not None:
            self.agent.close(timeout=5.0)
        if self._entries is not None:
            self._entries.close()
        self.board.close()

    def pause(self) -> float:
        """Seconds until the next step when nothing happens before."""
        if self.state.role == "standby":
            return 1.0
        watching = self._watch is not None and self._watch.alive
        if self.book.open():
            # A long exposure, a queue locked over night: Tiled wakes it, the queue may wait a second or two.
            still = time.monotonic() - self._moved if watching else 0.0
            return 2.0 if still > _LONG_STILL else 1.0 if still > _STILL else 0.3
        return 2.0 if watching else 0.5

    # One step.

    def step(self) -> None:
        """Everything that can be done now."""
        self.state.waiting = {}
        try:
            if self._lead():
                self._begin()
                self._answer()
                self.ledger.publish()
                self._carry_out()
                self.ledger.publish()
        except BoardAway as error:
            self.state.waiting["board"] = str(error)
        except TiledAway as error:
            said = str(error)
            if denied(said):
                said = f"{said.rstrip('.')}: set TILED_API_KEY, or give --tiled-key-file"
            self.state.waiting["tiled"] = said
            self._whole_catalog = True
        except (QueueAway, QueueRefused) as error:
            # Refused as a whole: its own store is away, or this account may not even look.
            self.state.waiting["queue"] = str(error)
            if self.carrier is not None:
                self.carrier.lost_sight()
        except LeaseLost:
            self._demote()
        except OSError as error:
            self.state.waiting["disk"] = f"{type(error).__name__}: {error.strerror or error}"
        except Exception:
            self.state.errors += 1
            _log.exception("the loop goes on after an error")
        self.state.stepped = time.time()
        self.state.shown = dict(self.state.waiting)
        self.state.open_decisions = len(self.book.open())
        seen = (len(self.book.outcomes), len(self.book.answered), self.state.submissions, *self.state.waiting)
        if seen != self._seen:
            self._seen, self._moved = seen, time.monotonic()
        self._say_waiting()
        self._write_entries()

    def _write_entries(self) -> None:
        """Have new identifications written to Tiled: after the queue was served, which is in a hurry."""
        if self._entries is None:
            return
        if self._entries_due and self.state.role == "acting":
            self._entries_due = False
            self._entries.wake()
        self.state.entries, self.state.entries_problem = self._entries.written, self._entries.problem

    def _say_waiting(self) -> None:
        """What is waited for now and was not a step ago, and that it came."""
        for what, why in self.state.waiting.items():
            if what not in self._said:
                level = logging.INFO if what in ("environment", "lock") else logging.WARNING
                _log.log(level, "waiting for %s: %s", what, why)
        for what in self._said - set(self.state.waiting):
            _log.info("no longer waiting for %s", what)
        self._said = set(self.state.waiting)

    def _lead(self) -> bool:
        """Whether this agent acts now; takes the lease when it is free, and then what others have written."""
        if self.agent is not None and self.board.holds():
            return True
        if not self.board.acquire():
            self._demote()
            self.ledger.follow()
            return False
        self.ledger.resync()
        if self.agent is None:
            self.agent = self._make_agent()
            _log.info("acting on shift %s, mode %s", self.settings.shift.name, self.mode)
        self.ledger.publish()
        self.state.role = "acting"
        self.state.token = getattr(self.board, "token", 0)
        self._whole_catalog = self._entries_due = True
        return self.board.holds()

    def _demote(self) -> None:
        """Another agent acts: this one ends its own, which would have to read the other's rows anyway."""
        if self.state.role != "standby":
            _log.warning("another agent acts now: standing by")
        self.state.role = "standby"
        agent, self.agent = self.agent, None
        if agent is not None:
            agent.close(timeout=5.0)

    def _begin(self) -> None:
        """The decision that begins the shift, once."""
        shift = self.settings.shift
        if not shift.samples or self.mode == "observe" or self.carrier is None:
            return
        ident = first_id(shift.name)
        if ident in self.book.works:
            return
        first = replace(first_scan(self.settings, shift.samples[0], ident), mode="act")
        self.ledger.write(first_note(first))

    # Runs.

    def _answer(self) -> None:
        """Answer every run of the shift that has ended and was not answered, oldest first."""
        if self._watch is not None:
            self._watch.check()
        self._look()
        for head in sorted(self._heads.values(), key=lambda h: h.began):
            if head.decision_id:
                self._outcome(head)
            if head.ended and head.uid not in self.book.answered and self._mine(head):
                if not self.board.holds():
                    raise LeaseLost
                self._answer_run(head)
                self.ledger.publish()
        self._heads = {uid: h for uid, h in self._heads.items() if not h.ended}

    def _look(self) -> None:
        """Fetch heads of runs that may be new: the whole shift after a start or an outage, else the last."""
        everything = self.settings.shift.answer == "all"
        now = time.monotonic()
        watching = self._watch is not None and self._watch.alive
        if watching and not self._told.is_set() and not self._whole_catalog and now - self._polled < 2.0:
            return  # Tiled would have said so
        self._told.clear()
        self._polled = now
        if self._whole_catalog:
            found = self.runs.since(self.state.began, "" if everything else self.settings.shift.name)
            self._whole_catalog = False
        else:
            found = self.runs.newest(20)
            if len(found) == 20 and all(head.uid not in self.book.answered for head in found):
                self._whole_catalog = True
        self._heads.update({head.uid: head for head in found if self._mine(head)})

    def _mine(self, head: RunHead) -> bool:
        shift = self.settings.shift
        return head.shift == shift.name or (shift.answer == "all" and not head.shift)

    def _outcome(self, head: RunHead) -> None:
        """Write down what became of the decision that a run carries out."""
        status = _STATUS.get(head.stop.get("exit_status", ""), "failed") if head.ended else "started"
        if (head.decision_id, status, head.attempt) in self.book.outcomes:
            return
        if head.decision_id not in self.book.works:
            return
        self.ledger.write(
            OutcomeRow(head.decision_id, status, head.attempt, head.uid, str(head.stop.get("reason", "")))  # type: ignore[arg-type]
        )
        self.state.count(self.state.outcomes, status)

    def _answer_run(self, head: RunHead) -> None:
        if not head.succeeded:
            why = f"run {head.uid[:8]} ended early ({head.stop.get('exit_status', '?')})"
            self.ledger.write(NoteRow("skipped", why, head.uid))
            return
        if not self.board.claim(head.uid):
            self.ledger.follow()  # answered by an agent before this one
            if head.uid not in self.book.answered:
                self.ledger.write(NoteRow("skipped", "answered by another agent", head.uid))
            return
        began = time.monotonic()
        try:
            pattern = self.runs.pattern(head)
        except NotAPattern as error:
            self._no_answer(head, str(error))
            return
        except EgAgentError as error:
            self._no_answer(head, str(error))
            return
        assert self.agent is not None
        sample, composition = head.sample, None
        try:
            composition = told(head.start)
        except BadInput as error:  # the answer does without, and the ledger says why
            self.ledger.write(NoteRow("composition", f"the run's composition is not used: {error}", head.uid))
        future = self.agent.ingest(
            pattern,
            sample=sample,
            run_uid=head.uid,
            cell=head.cell or self.settings.shift.cells.get(sample),
            composition=composition,
            seconds=head.seconds,
            shift=self.settings.shift.name,
            samples_left=samples_left(self.settings, sample),
        )
        try:
            answer: Answer = future.result(self._answer_timeout)
        except (FutureTimeout, CancelledError):
            self._no_answer(head, f"no answer within {self._answer_timeout:g} s")
            return
        self.ledger.read()
        self._answered(head, answer, time.monotonic() - began)

    def _answered(self, head: RunHead, answer: Answer, seconds: float) -> None:
        state = self.state
        self._entries_due = True
        state.runs_answered += 1
        state.count(state.decisions, answer.decision.action)
        verdict = answer.identification.verdict if answer.identification else "no answer"
        state.count(state.verdicts, verdict)
        state.identify_seconds = [*state.identify_seconds[-999:], seconds]
        if self.carrier is not None:
            self.carrier.stops[answer.decision.decision_id] = float(head.stop.get("time", 0.0))
        _log.info(
            "answered",
            extra={
                "run": head.uid,
                "sample": head.sample,
                "verdict": verdict,
                "decision": answer.decision.decision_id,
                "action": answer.decision.action,
                "reason": answer.decision.reason,
                "seconds": round(seconds, 3),
            },
        )

    def _no_answer(self, head: RunHead, why: str) -> None:
        """A run that nothing can be said of: noted, and on with the shift by the policy's default."""
        self.ledger.write(NoteRow("skipped", why, head.uid))
        if head.decision_id:
            self.ledger.write(default_row(self.settings, head.sample, why, head.uid, self.mode))

    # Decisions.

    def _carry_out(self) -> None:
        if self.carrier is None or self.mode == "observe":
            return
        if self.mode == "propose":
            self.approval.step()
        self.carrier.step(self.board.holds, propose=self.mode == "propose")
        self.state.finished = self._finished()

    def _finished(self) -> bool:
        """Whether every sample was dealt with: nothing is open, and the last decision leads nowhere."""
        names = self.settings.shift.samples
        if not names or self.book.open() or self.state.held:
            return False
        return any(
            work.decision.sample == names[-1] or work.decision.action == "stop"
            for work in self.book.works.values()
            if work.phase == "closed" and work.why == END
        )


def default_row(
    settings: RunSettings, sample: str, why: str, run_uid: str, mode: str, state: State | None = None
) -> DecisionRow:
    """The decision when there is no identification to decide from: on with the next sample."""
    policy = settings.policy
    state = replace(state or State(), sample=sample, samples_left=samples_left(settings, sample))
    decision = policy.decider().default(state, why, run_uid=run_uid, mode=mode)  # type: ignore[arg-type]
    return DecisionRow(decision, state, policy, sample=sample, shift=settings.shift.name, problem=why)


__all__ = ["LedgerRow", "LoopState", "QueueLoop", "default_row"]
