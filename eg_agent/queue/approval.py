"""`Approval`: mode "propose": decisions wait in a store until a person accepts, edits or refuses them.

The store is not trusted. What is carried out is the decision of the ledger with the edits of a verdict,
and both pass the limits again; a proposal that differs from the ledger, a verdict on a decision that
was never proposed, and an edit outside the limits are refused, and the ledger says why.
"""

from __future__ import annotations

import time
from dataclasses import replace

from eg_agent.decide.decision import Decision
from eg_agent.decide.limits import MEASURING, Costs, Limits
from eg_agent.decide.state import State
from eg_agent.queue.board import Proposal, Proposals, Verdict
from eg_agent.queue.items import to_measure
from eg_agent.queue.settings import RunSettings
from eg_agent.queue.share import SharedLedger
from eg_agent.queue.state import LoopState
from eg_agent.queue.work import EDITED, Work, first_id
from eg_agent.records.ledger import NoteRow, OutcomeRow
from eg_agent.values import to_json


class Approval:
    """Puts open decisions into the store, and takes what people said of them."""

    def __init__(
        self, settings: RunSettings, store: Proposals, ledger: SharedLedger, state: LoopState
    ) -> None:
        self._settings = settings
        self._store = store
        self._ledger = ledger
        self._state = state

    def step(self) -> None:
        """Propose, expire, and settle what was answered. Raises BoardAway."""
        works = self._ledger.book.open()
        for work in works:
            if work.phase == "open" and self._needs_a_person(work):
                self._propose(work)
        waiting = {work.ident: work for work in self._ledger.book.open() if work.phase == "proposed"}
        if not waiting and not works:
            self._forged(waiting)
            return
        self._check_proposals(waiting)
        for verdict in self._store.verdicts():
            work = waiting.pop(verdict.decision_id, None)
            if work is not None:
                self._settle(work, verdict)
            else:
                self._note_forged(verdict)
        now = time.time()
        for work in waiting.values():
            if now > work.proposed_at + self._settings.approval.expires:
                self._close(work, "expired", f"nobody answered in {self._settings.approval.expires:g} s")

    def _needs_a_person(self, work: Work) -> bool:
        """The first scan was asked for by whoever wrote the settings; an end needs nobody's leave."""
        if work.ident == first_id(self._settings.shift.name):
            return False
        return to_measure(self._settings, work.decision) is not None

    def _propose(self, work: Work) -> None:
        now = time.time()
        self._ledger.write(OutcomeRow(work.ident, "proposed", 1, time=now))
        self._store.propose(self._proposal(work, now))

    def _proposal(self, work: Work, now: float) -> Proposal:
        return Proposal(
            decision=work.decision,
            state=work.state,
            limits=self._settings.limits,
            said=work.decision.reason,
            proposed=now,
            expires=now + self._settings.approval.expires,
        )

    def _check_proposals(self, waiting: dict[str, Work]) -> None:
        """What stands in the store must be what the ledger proposed."""
        there = {}
        for proposal in self._store.proposals():
            ident = proposal.decision.decision_id
            work = waiting.get(ident)
            if work is None:
                self._refuse_unknown(ident, "no decision of this agent waits under this id")
            elif to_json(proposal.decision) != to_json(work.decision):
                self._close(work, "refused", "it was changed in the store of proposals")
                waiting.pop(ident)
            else:
                there[ident] = proposal
        for ident, work in waiting.items():
            if ident not in there:  # the store has lost it, or the agent was killed before it wrote it
                self._store.propose(self._proposal(work, work.proposed_at))

    def _forged(self, waiting: dict[str, Work]) -> None:
        for proposal in self._store.proposals():
            if proposal.decision.decision_id not in waiting:
                self._refuse_unknown(
                    proposal.decision.decision_id, "no decision of this agent waits under this id"
                )
        for verdict in self._store.verdicts():
            self._note_forged(verdict)

    def _note_forged(self, verdict: Verdict) -> None:
        self._refuse_unknown(
            verdict.decision_id, f"{verdict.by or 'somebody'} answered what was not proposed"
        )

    def _refuse_unknown(self, ident: str, why: str) -> None:
        self._ledger.write(NoteRow("forged", f"{ident[:80]}: refused, {why}"))
        self._state.count(self._state.outcomes, "forged")
        self._store.withdraw(ident)

    def _settle(self, work: Work, verdict: Verdict) -> None:
        by = verdict.by or "a person"
        said = f": {verdict.reason}" if verdict.reason else ""
        if not verdict.accepted:
            self._close(work, "refused", f"by {by}{said}")
            return
        decision, problems = edited(
            work.decision, verdict, self._settings.limits, work.state, self._settings.costs
        )
        if problems:
            self._close(work, "refused", f"as edited by {by}: {' '.join(problems)}")
            return
        if verdict.edits:
            self._ledger.write(NoteRow(EDITED, to_json(decision)))
        how = " with edits" if verdict.edits else ""
        self._ledger.write(OutcomeRow(work.ident, "accepted", 1, reason=f"by {by}{how}{said}"))
        self._store.withdraw(work.ident)
        self._state.count(self._state.outcomes, "accepted")

    def _close(self, work: Work, status: str, why: str) -> None:
        self._ledger.write(OutcomeRow(work.ident, status, 1, reason=why))  # type: ignore[arg-type]
        self._store.withdraw(work.ident)
        self._state.count(self._state.outcomes, status)


def edited(
    decision: Decision, verdict: Verdict, limits: Limits, state: State, costs: Costs
) -> tuple[Decision, tuple[str, ...]]:
    """The decision with a person's edits, and why it may not be carried out (nothing when it may)."""
    if not verdict.edits:
        return decision, limits.violations(decision, state)
    if decision.action not in MEASURING:
        return decision, (f"{decision.action!r} has no windows or counting time to edit.",)
    windows = verdict.windows if verdict.windows is not None else decision.windows
    seconds = verdict.seconds_per_point or decision.seconds_per_point
    # The cost grows with both; without the step of the scan it can only be scaled.
    width = sum(high - low for low, high in decision.windows) or 1.0
    scale = sum(high - low for low, high in windows) / width
    scale *= (seconds or 1.0) / (decision.seconds_per_point or 1.0)
    counted = max(0.0, decision.cost - costs.overhead)
    new = replace(
        decision,
        windows=tuple((float(low), float(high)) for low, high in windows),
        seconds_per_point=seconds,
        cost=costs.overhead + counted * scale,
        reason=f"{decision.reason} Edited by {verdict.by or 'a person'}.",
    )
    return new, limits.violations(new, state)
