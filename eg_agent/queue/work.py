"""`WorkBook`: every decision of a shift and how far it has got, folded from the rows of a ledger."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from eg_agent.decide.decision import Decision
from eg_agent.decide.state import State
from eg_agent.records.ledger import DecisionRow, NoteRow, OutcomeRow, Row
from eg_agent.values import from_json, to_json

#: Texts of `NoteRow.what` that the loop writes.
FIRST, SUBMITTING, SUBMITTED, EDITED = "first scan", "submitting", "submitted", "edited"
STOPPED, RUNS = "queue stopped", "queue runs"

Phase = Literal["open", "proposed", "accepted", "closed"]

LedgerRow = DecisionRow | OutcomeRow | NoteRow
_ROW: TypeAdapter[LedgerRow] = TypeAdapter(Row)


@dataclass
class Work:
    """A decision on its way. `attempts`: what became of each attempt, from 1; `item`: the last item's
    uid; `follow`: what was done about it after it was closed."""

    decision: Decision
    state: State = field(default_factory=State)
    phase: Phase = "open"
    attempts: dict[int, str] = field(default_factory=dict)
    submitting: bool = False
    item: str = ""
    run_uid: str = ""
    proposed_at: float = 0.0
    why: str = ""
    follow: str = ""

    @property
    def ident(self) -> str:
        """The decision's id."""
        return self.decision.decision_id

    @property
    def failures(self) -> int:
        """Attempts that failed; those that a person aborted are none."""
        return sum(status == "failed" for status in self.attempts.values())

    @property
    def next_attempt(self) -> int:
        """Number of the attempt that is due: the first that has not failed."""
        ended = [n for n, status in self.attempts.items() if status in ("failed", "aborted")]
        return max(ended, default=0) + 1


class WorkBook:
    """Decisions of one shift by id, and the runs that were answered. Fold rows in with `take`.

    queue_stopped: whether a person stopped the queue and nobody has started it since.
    """

    def __init__(self, shift: str, rows: Iterable[LedgerRow] = ()) -> None:
        self.shift = shift
        self.works: dict[str, Work] = {}
        self.answered: dict[str, str] = {}
        self.outcomes: set[tuple[str, str, int]] = set()
        self.queue_stopped = False
        for row in rows:
            self.take(row)

    def take(self, row: LedgerRow) -> None:
        """Fold in one more row."""
        if isinstance(row, DecisionRow):
            for uid in row.new_runs:
                self.answered[uid] = row.decision.decision_id
            if row.shift == self.shift and row.decision.decision_id not in self.works:
                self._open(Work(row.decision, row.state))
        elif isinstance(row, OutcomeRow):
            self._outcome(row)
        else:
            self._note(row)

    def _open(self, work: Work) -> None:
        if work.decision.mode == "observe":
            work.phase = "closed"
        self.works[work.ident] = work

    def _outcome(self, row: OutcomeRow) -> None:
        self.outcomes.add((row.decision_id, row.status, row.attempt))
        work = self.works.get(row.decision_id)
        if work is None:
            return
        if row.status == "proposed":
            work.phase, work.proposed_at = "proposed", row.time
        elif row.status == "accepted":
            work.phase = "accepted"
        elif row.status in ("refused", "expired"):
            work.phase, work.why = "closed", row.reason
        else:
            work.attempts[row.attempt] = row.status
            work.run_uid = row.run_uid or work.run_uid
            if row.status == "done":
                work.phase, work.why = "closed", row.reason

    def _note(self, row: NoteRow) -> None:
        if row.what == FIRST:
            decision = from_json(Decision, row.text)
            if decision.decision_id == first_id(self.shift):
                self._open(Work(decision, State(sample=decision.sample)))
        elif row.what in (SUBMITTING, SUBMITTED, EDITED):
            told = json.loads(row.text)
            work = self.works.get(told["decision_id"])
            if work is None:
                return
            if row.what == EDITED:
                work.decision = from_json(Decision, row.text)
            elif row.what == SUBMITTING:
                work.submitting = True
                work.attempts.setdefault(int(told["attempt"]), SUBMITTING)
            else:
                work.item = told["item_uid"]
                work.attempts[int(told["attempt"])] = SUBMITTED
        elif row.what in (STOPPED, RUNS):
            self.queue_stopped = row.what == STOPPED
        elif row.run_uid:
            self.answered.setdefault(row.run_uid, "")

    def open(self) -> list[Work]:
        """Decisions that something still has to be done for, oldest first."""
        return [work for work in self.works.values() if work.phase != "closed"]

    def begun(self, sample: str) -> bool:
        """Whether the first scan of a sample was decided on already (`measures` says for which)."""
        return any(work.decision.sample == sample for work in self.works.values())


def first_id(shift: str) -> str:
    """Id of the decision that begins a shift."""
    return f"first-{shift}"


def submission(decision_id: str, attempt: int, item_uid: str = "") -> str:
    """Text of a SUBMITTING or SUBMITTED note."""
    return json.dumps({"decision_id": decision_id, "attempt": attempt, "item_uid": item_uid})


def first_note(decision: Decision) -> NoteRow:
    """The note that begins a shift."""
    return NoteRow(FIRST, to_json(decision))


class LedgerTail:
    """Reads the lines that were added to a ledger file since it was last asked."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._offset = 0

    def lines(self) -> list[bytes]:
        """Complete new lines, without the line end; half-written ones come the next time."""
        if not self._path.exists():
            return []
        with open(self._path, "rb") as file:
            file.seek(self._offset)
            content = file.read()
        end = content.rfind(b"\n") + 1
        self._offset += end
        return [line for line in content[:end].split(b"\n") if line.strip()]


def parsed(line: bytes | str) -> LedgerRow | None:
    """The row of a line; None for one that a crash cut short."""
    try:
        return _ROW.validate_json(line)
    except ValidationError:
        return None


def as_line(row: LedgerRow) -> Any:
    """A row as a line of a ledger, without the line end."""
    return _ROW.dump_json(row)
