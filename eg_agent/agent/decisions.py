"""`Decisions`: who waits for which answer, what may be carried out, and what has been."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from eg_agent.agent.answer import Answer
from eg_agent.agent.runs import Run
from eg_agent.decide.decision import Decision
from eg_agent.records.ledger import DecisionRow, OutcomeRow

_REMEMBERED = 1000  #: answers kept for a plan that asks late


class Decisions:
    """Futures of answers and approvals, and the attempts at each decision. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: OrderedDict[str, Answer] = OrderedDict()
        self._waiting: OrderedDict[str, list[Future[Answer]]] = OrderedDict()
        self._last: OrderedDict[str, Decision] = OrderedDict()
        self._attempts: dict[str, int] = {}
        self._done: set[str] = set()
        self._running: set[str] = set()
        self._proposed: dict[str, tuple[Decision, Future[bool]]] = {}
        self._settled: dict[str, bool] = {}

    def ask(self, run_uid: str) -> Future[Answer]:
        """A future of the answer to a run."""
        future: Future[Answer] = Future()
        with self._lock:
            if run_uid in self._answers:
                future.set_result(self._answers[run_uid])
            else:
                self._waiting.setdefault(run_uid, []).append(future)
                while len(self._waiting) > _REMEMBERED:
                    self._waiting.popitem(last=False)
        return future

    def awaited(self, run_uid: str) -> bool:
        """Whether somebody waits for the answer to a run."""
        with self._lock:
            return bool(self._waiting.get(run_uid))

    def answered(self, row: DecisionRow, answer: Answer) -> None:
        """An answer is there: everybody who waits for one of its runs gets it."""
        self._remember(row.decision)
        self.resolve(row.new_runs, answer)

    def resolve(self, runs: Iterable[str], answer: Answer) -> None:
        """Give an answer to those who wait for these runs."""
        with self._lock:
            futures: list[Future[Answer]] = []
            for uid in runs:
                self._answers[uid] = answer
                futures.extend(self._waiting.pop(uid, []))
            while len(self._answers) > _REMEMBERED:
                self._answers.popitem(last=False)
        for future in futures:
            if future.set_running_or_notify_cancel():
                future.set_result(answer)

    def _remember(self, decision: Decision) -> None:
        with self._lock:
            self._last.pop(decision.sample, None)
            self._last[decision.sample] = decision
            while len(self._last) > _REMEMBERED:
                self._last.popitem(last=False)

    def last(self, sample: str) -> Decision | None:
        """The last decision on a sample; on any when it has no name."""
        with self._lock:
            if sample:
                return self._last.get(sample)
            return next(reversed(self._last.values()), None)

    def begin(self, decision: Decision) -> Decision | None:
        """The decision with its next attempt, or None when it is running or has had its run."""
        ident = decision.decision_id
        with self._lock:
            if ident in self._done or ident in self._running:
                return None
            return replace(decision, attempt=self._attempts.get(ident, 0) + 1)

    def started(self, start: Mapping[str, Any]) -> OutcomeRow:
        """A run that carries out a decision has begun."""
        ident, attempt = str(start["eg_decision_id"]), int(start.get("eg_attempt", 1))
        with self._lock:
            self._attempts[ident] = max(self._attempts.get(ident, 0), attempt)
            self._running.add(ident)
        return OutcomeRow(ident, "started", attempt, start["uid"])

    def ended(self, run: Run) -> OutcomeRow:
        """A run that carried out a decision has ended, somehow."""
        ident, attempt = run.decision_id, run.attempt
        status = {"success": "done", "abort": "aborted"}.get(run.stop.get("exit_status", ""), "failed")
        with self._lock:
            self._running.discard(ident)
            self._attempts[ident] = max(self._attempts.get(ident, 0), attempt)
            if status == "done":
                self._done.add(ident)
        return OutcomeRow(ident, status, attempt, run.uid, str(run.stop.get("reason", "")))  # type: ignore[arg-type]

    def approval(self, decision: Decision) -> Future[bool]:
        """A future that says whether the decision may be carried out."""
        future: Future[bool] = Future()
        ident = decision.decision_id
        with self._lock:
            if decision.mode != "propose":
                future.set_result(decision.mode == "act")
            elif ident in self._settled:
                future.set_result(self._settled[ident])
            else:
                return self._proposed.setdefault(ident, (decision, future))[1]
        return future

    def settle(self, decision_id: str, *, approved: bool) -> bool:
        """A person has decided; False when no such proposal waits."""
        with self._lock:
            found = self._proposed.pop(decision_id, None)
            if found is None:
                return False
            self._settled[decision_id] = approved
        if found[1].set_running_or_notify_cancel():
            found[1].set_result(approved)
        return True

    def proposals(self) -> tuple[Decision, ...]:
        """Decisions that wait for a person."""
        with self._lock:
            return tuple(decision for decision, _ in self._proposed.values())

    def recovered(self, row: DecisionRow) -> None:
        """A decision of an earlier session."""
        self._remember(row.decision)
        self.resolve(row.new_runs, Answer.of(row))

    def recovered_outcome(self, row: OutcomeRow) -> None:
        """What an earlier session did with a decision."""
        with self._lock:
            self._attempts[row.decision_id] = max(self._attempts.get(row.decision_id, 0), row.attempt)
            if row.status == "done":
                self._done.add(row.decision_id)
            if row.status in ("accepted", "refused"):
                self._settled[row.decision_id] = row.status == "accepted"

    def close(self) -> None:
        """Cancel everything that is still waited for."""
        with self._lock:
            waiting = [f for futures in self._waiting.values() for f in futures]
            waiting_too = [future for _, future in self._proposed.values()]
            self._waiting.clear()
            self._proposed.clear()
        for future in (*waiting, *waiting_too):
            future.cancel()
