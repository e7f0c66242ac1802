"""`Carrier`: brings open decisions into the queue, finds what became of them, and deals with failures."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace

from eg_agent.decide.limits import MEASURING
from eg_agent.queue.environment import Environment
from eg_agent.queue.items import item_for, to_measure, with_attempt
from eg_agent.queue.manager import Item, QueueManager, QueueRefused, QueueView, attempt_of, decision_of
from eg_agent.queue.settings import RunSettings
from eg_agent.queue.share import SharedLedger
from eg_agent.queue.state import LoopState
from eg_agent.queue.work import RUNS, STOPPED, SUBMITTED, SUBMITTING, Work, first_id, submission
from eg_agent.records.ledger import DecisionRow, NoteRow, OutcomeRow
from eg_agent.records.runs import Runs

_log = logging.getLogger(__name__)

#: Reason of the outcome that ends a shift.
END = "nothing is left to measure"

#: Exit statuses of the history that a person caused.
_BY_A_PERSON = ("aborted", "halted")

_FINE = ("completed", "stopped", "unknown")


class Carrier:
    """The loop's hand on the queue. `step` raises QueueAway, TiledAway, OSError; it may be repeated."""

    def __init__(
        self,
        settings: RunSettings,
        runs: Runs,
        manager: QueueManager,
        ledger: SharedLedger,
        state: LoopState,
    ) -> None:
        self.stops: dict[str, float] = {}  #: time of the stop document that a decision answers
        self._settings = settings
        self._runs = runs
        self._manager = manager
        self._ledger = ledger
        self._state = state
        self._holds: Callable[[], bool] = lambda: False
        self._before: QueueView | None = None
        self._environment = Environment(settings.queue, manager, ledger, state)
        self._allowed: set[str] = set()
        self._ended_at: dict[str, float] = {}

    def step(self, holds: Callable[[], bool], *, propose: bool) -> None:
        """Carry every open decision one step further. `holds`: whether this agent may still act."""
        self._holds = holds
        works = []
        for work in self._ledger.book.open():
            if self._ended(work):
                continue
            if work.phase == "proposed" or (propose and work.phase == "open" and not self._is_first(work)):
                self._state.waiting["person"] = f"decision {work.ident} waits: eg-agent decisions list"
            else:
                works.append(work)
        self._leads_on()
        if not works:
            self._before = None
            return
        view = self._manager.view()
        self._notice_stop(view)
        if not self._environment.ready(view):
            return
        self._clear_up(view)
        for work in works:
            self._one(work, view)
        self._before = view

    def lost_sight(self) -> None:
        """The queue gave no answer: nothing follows from what it was before."""
        self._before = None

    def _is_first(self, work: Work) -> bool:
        return work.ident == first_id(self._settings.shift.name)

    # Decisions that lead to no measurement, or to another decision.

    def _ended(self, work: Work) -> bool:
        """Close a decision that nothing is measured for."""
        if to_measure(self._settings, work.decision) is not None:
            return False
        if work.decision.action == "ask a person" and self._settings.ask == "hold":
            self._hold(f"the agent asks for a person: {work.decision.reason}")
        self._ledger.write(OutcomeRow(work.ident, "done", 1, reason=END))
        return True

    def _leads_on(self) -> None:
        """A measurement that was refused, expired or failed for good: on with the next sample, or hold."""
        book = self._ledger.book
        for work in list(book.works.values()):
            if work.phase != "closed" or work.follow or work.decision.mode == "observe":
                continue
            if "done" in work.attempts.values():
                work.follow = "done"
                continue
            then = self._then(work)
            why = f"decision {work.ident} was not carried out: {work.why}"
            if then == "hold":
                self._hold(why)
                work.follow = "held"
                continue
            work.follow = self._default(work, why)

    def _then(self, work: Work) -> str:
        failed = bool(work.failures)
        if work.why.startswith("withdrawn"):
            return "nothing"
        return self._settings.failure.then if failed else self._settings.approval.then

    def _default(self, work: Work, why: str) -> str:
        from eg_agent.queue.loop import default_row

        measured = to_measure(self._settings, work.decision)
        sample = measured.sample if measured is not None else work.decision.sample
        if self._then(work) == "nothing":
            return "nothing"
        row: DecisionRow = default_row(
            self._settings, sample, why, f"after-{work.ident}", work.decision.mode, work.state
        )
        if row.decision.decision_id not in self._ledger.book.works:
            self._ledger.write(row)
        return row.decision.decision_id

    # The queue as a whole.

    def _notice_stop(self, view: QueueView) -> None:
        """Tell a queue that a person stopped from one that ran empty or failed, or whose manager died.

        A person's: it ran with items waiting, and now it is idle, they still wait, nothing failed, and the
        same manager was in sight all the time. A manager that was started again is idle, too.
        """
        before, now = self._before, view.status.manager
        if before is not None and before.status.life != view.status.life:
            before = None
        # What was done between two looks was done because somebody let it run again.
        ran = (
            before is not None
            and before.status.manager == "idle"
            and before.status.history_uid != view.status.history_uid
        )
        if ran or now in ("executing_queue", "starting_queue", "paused"):
            if self._ledger.book.queue_stopped:
                self._ledger.write(NoteRow(RUNS, "the queue runs again"))
        elif before is not None and before.status.manager == "executing_queue" and now == "idle":
            still = {item["item_uid"] for item in before.items} & {item["item_uid"] for item in view.items}
            last = view.history[-1]["result"]["exit_status"] if view.history else ""
            if still and last in _FINE:
                self._ledger.write(NoteRow(STOPPED, "a person stopped the queue: waiting until it runs"))

    def _start(self, view: QueueView, item_uid: str) -> None:
        """Start an idle queue when the settings allow it and no person has stopped it."""
        status, policy = view.status, self._settings.queue
        if status.manager != "idle":
            if status.manager == "paused":
                self._state.waiting["person"] = "the RunEngine is paused: resume it"
            return
        if self._ledger.book.queue_stopped or status.stopping:
            self._state.waiting["person"] = "a person stopped the queue: start it when it may go on"
            return
        if status.locked:
            self._state.waiting["lock"] = "the queue is locked: waiting until it is unlocked"
            return
        first = view.items[0]["item_uid"] if view.items else item_uid
        ours = first == item_uid
        if policy.start == "never" or status.autostart:
            self._state.waiting["person"] = "the queue is idle: start it"
            return
        if policy.start == "own" and not ours and not self._environment.start_owed:
            self._state.waiting["person"] = "the queue is idle with somebody's item first: start it"
            return
        try:
            self._manager.start()
            self._environment.start_owed = False
        except QueueRefused as error:
            self._state.waiting["environment"] = str(error)

    def _clear_up(self, view: QueueView) -> None:
        """Take items out whose decision is closed: a retry of a run that did succeed after all."""
        for item in view.items:
            work = self._ledger.book.works.get(decision_of(item))
            if work is not None and work.phase == "closed":
                _log.warning("decision %s is closed: its item is taken out of the queue", work.ident)
                self._check_lease()
                self._manager.remove(item["item_uid"])
                self._environment.start_owed = True

    # One decision.

    def _one(self, work: Work, view: QueueView) -> None:
        ident = work.ident
        queued, ended = view.queued(ident), view.ended(ident)
        for extra in queued[1:]:
            _log.warning("decision %s stands in the queue twice: one item is taken out", ident)
            self._manager.remove(extra["item_uid"])
        if view.is_running(ident):
            return
        if queued:
            self._in_queue(work, queued[0], ended, view)
        elif ended:
            self._in_history(work, ended, view)
        else:
            self._nowhere(work, view)

    def _known_good(self, ident: str) -> bool:
        return bool(self._runs.successful(ident))

    def _in_queue(self, work: Work, item: Item, ended: list[Item], view: QueueView) -> None:
        """It waits; or the manager has put it back after a failure."""
        last = ended[-1]["result"] if ended else {}
        back = bool(ended) and attempt_of(ended[-1]) >= attempt_of(item) and last["exit_status"] not in _FINE
        if not back:
            if not work.item:
                self._note_submitted(work, attempt_of(item), item["item_uid"])
            self._start(view, item["item_uid"])
            return
        if self._known_good(work.ident):  # it had ended well before its worker or manager did
            self._manager.remove(item["item_uid"])
            self._environment.start_owed = True
            return
        if not self._failed(work, ended[-1]):
            self._manager.remove(item["item_uid"])
            return
        attempt = work.next_attempt
        self._ledger.write(NoteRow(SUBMITTING, submission(work.ident, attempt)))
        self._check_lease()
        added = self._manager.update(with_attempt(item, attempt))
        self._note_submitted(work, attempt, added["item_uid"])
        if last["exit_status"] in _BY_A_PERSON:
            self._ledger.write(NoteRow(STOPPED, "a person aborted the measurement"))
            self._state.waiting["person"] = "a person aborted the measurement: start the queue to repeat it"

    def _in_history(self, work: Work, ended: list[Item], view: QueueView) -> None:
        """It is over: its run is in Tiled or on the way there, or it failed and was taken out."""
        result = ended[-1]["result"]
        if result["exit_status"] in _FINE:
            since = self._ended_at.setdefault(work.ident, time.monotonic())
            waited = time.monotonic() - since
            if waited < 5.0:
                return  # on its way into Tiled, where the loop will find it
            uids = ", ".join(uid[:8] for uid in result.get("run_uids", [])) or "none"
            self._state.waiting["tiled"] = (
                f"decision {work.ident} was carried out (runs: {uids}); Tiled has no successful run of it "
                f"after {waited:.0f} s: it comes when the worker's journal is sent"
            )
            return
        if self._known_good(work.ident):
            return
        if self._failed(work, ended[-1]):
            self._submit(work, view)

    def _failed(self, work: Work, item: Item) -> bool:
        """Write a failed attempt down; whether there is another one."""
        attempt, result = attempt_of(item), item["result"]
        status = "aborted" if result["exit_status"] in _BY_A_PERSON else "failed"
        if work.attempts.get(attempt) != status:
            reason = " ".join(str(result.get("msg") or result["exit_status"]).split())[:300]
            run = next(iter(result.get("run_uids", [])), "")
            self._ledger.write(OutcomeRow(work.ident, status, attempt, run, reason))  # type: ignore[arg-type]
            self._state.count(self._state.outcomes, status)
        self._environment.start_owed = self._settings.failure.restart and status == "failed"
        if work.failures <= self._settings.failure.retries:
            return True
        reason = f"{work.failures} attempts failed, the last: {result.get('msg') or result['exit_status']}"
        self._refuse(work, " ".join(reason.split())[:300])
        return False

    def _nowhere(self, work: Work, view: QueueView) -> None:
        """Neither queued, running nor in the history: new, lost with its queue, or taken out by a person."""
        if self._runs.successful(work.ident):
            return
        if work.item and (view.items or view.history or view.running is not None):
            self._refuse(work, "its item was taken out of the queue by a person")
            return
        self._submit(work, view)

    def _submit(self, work: Work, view: QueueView) -> None:
        """Announce in the ledger, add to the queue, write down the item. Tiled was searched before."""
        measured = to_measure(self._settings, work.decision)
        assert measured is not None
        first = work.decision.action not in MEASURING or self._is_first(work)
        problems = () if first else self._settings.limits.violations(measured, work.state)
        if problems:
            self._refuse(work, f"outside the limits: {' '.join(problems)}")
            return
        if view.status.locked:
            self._state.waiting["lock"] = "the queue is locked: waiting until it is unlocked"
            return
        if self._settings.queue.plan not in self._plans():
            self._state.waiting["queue"] = (
                f"the group {self._manager.group!r} may not use the plan {self._settings.queue.plan!r}: "
                "see the permissions of the RE Manager"
            )
            self._environment.open_again(view)
            return
        attempt = work.next_attempt
        item = item_for(
            self._settings,
            replace(measured, attempt=attempt),
            attempt,
            first=first,
            action=work.decision.action,
        )
        if not work.submitting or work.attempts.get(attempt) not in (SUBMITTING, SUBMITTED):
            self._ledger.write(NoteRow(SUBMITTING, submission(work.ident, attempt)))
        self._check_lease()
        try:
            added = self._manager.add(item, self._settings.queue.position)
        except QueueRefused as error:
            if "lock" in str(error).lower():
                self._state.waiting["lock"] = str(error)
            else:
                self._refuse(work, f"the queue server refused it: {error}")
            return
        stopped = self.stops.pop(work.ident, None)
        if stopped:
            self._state.stop_to_submit = [*self._state.stop_to_submit[-999:], time.time() - stopped]
        self._state.submissions += 1
        self._note_submitted(work, attempt, added["item_uid"])
        self._start(self._manager.view(), added["item_uid"])

    def _plans(self) -> set[str]:
        """Plans that the group may use; asked again while the one that is needed is not among them."""
        if self._settings.queue.plan not in self._allowed:
            self._allowed = set(self._manager.allowed())
        return self._allowed

    def _note_submitted(self, work: Work, attempt: int, item_uid: str) -> None:
        self._ledger.write(NoteRow(SUBMITTED, submission(work.ident, attempt, item_uid)))
        _log.info("submitted", extra={"decision": work.ident, "attempt": attempt, "item": item_uid})

    def _refuse(self, work: Work, why: str) -> None:
        self._ledger.write(OutcomeRow(work.ident, "refused", work.next_attempt, reason=why))
        self._state.count(self._state.outcomes, "refused")

    def _hold(self, why: str) -> None:
        if self._state.held != why:
            self._state.held = why
            self._ledger.write(NoteRow("held", why))
            _log.warning("held: %s", why)

    def _check_lease(self) -> None:
        from eg_agent.queue.board import LeaseLost

        if not self._holds():
            raise LeaseLost


__all__ = ["END", "Carrier"]
