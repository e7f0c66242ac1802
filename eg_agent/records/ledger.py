"""`Ledger`: every decision with all that it depended on, and what was done with it, as JSON lines.

Rows are versioned (`schema`) and written by a schema that is published in `ledger.schema.json`; a
decision is a pure function of its row, so a ledger can be replayed to the same decisions (`replay`).
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from eg_agent.decide.decider import Decider
from eg_agent.decide.decision import Decision
from eg_agent.decide.limits import Costs, Limits
from eg_agent.decide.settings import DecideSettings
from eg_agent.decide.state import State
from eg_agent.errors import BadInput
from eg_agent.identify.identification import Identification
from eg_agent.values import VALUE_CONFIG

SCHEMA_VERSION = 1

PatternFrom = Literal["tiled", "journal", "memory", "none"]
Status = Literal["proposed", "accepted", "refused", "expired", "started", "done", "failed", "aborted"]


@dataclass(frozen=True, slots=True)
class Policy:
    """What a `Decider` is made of."""

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    limits: Limits = field(default_factory=Limits)
    settings: DecideSettings = field(default_factory=DecideSettings)
    costs: Costs = field(default_factory=Costs)

    def decider(self) -> Decider:
        """The decider with these limits, settings and costs."""
        return Decider(self.limits, self.settings, self.costs)


@dataclass(frozen=True, eq=False)
class DecisionRow:
    """A decision and everything it was made from.

    time: seconds since 1970, UTC. session: one start of the agent.
    runs: uids of the runs whose data were identified, oldest first; the last one asked for the decision.
    new_runs: those of them that no earlier row had answered.
    shift: the plan that measured them ("" for somebody's own runs); budgets count inside it.
    pattern_from: where the last run was read: the journal of the session that measured it, or Tiled;
    `problem` says why, when not at all.
    identification: without the fitted curve; None when no answer came (`decision.default`).
    state: what the decider was given; policy: what it was made of.
    seconds: from the run's stop document to the decision.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    decision: Decision
    state: State
    policy: Policy
    identification: Identification | None = None
    runs: tuple[str, ...] = ()
    new_runs: tuple[str, ...] = ()
    sample: str = ""
    shift: str = ""
    pattern_from: PatternFrom = "none"
    problem: str = ""
    seconds: float = 0.0
    time: float = 0.0
    session: str = ""
    kind: Literal["decision"] = "decision"
    schema: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class OutcomeRow:
    """What was done with a decision, one row a step; `run_uid` the run that carried it out."""

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    decision_id: str
    status: Status
    attempt: int = 1
    run_uid: str = ""
    reason: str = ""
    time: float = 0.0
    session: str = ""
    kind: Literal["outcome"] = "outcome"
    schema: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class NoteRow:
    """Something that happened to the agent, or a run that needed no decision (`what` = "skipped")."""

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    what: str
    text: str = ""
    run_uid: str = ""
    time: float = 0.0
    session: str = ""
    kind: Literal["note"] = "note"
    schema: int = SCHEMA_VERSION


Row = Annotated[DecisionRow | OutcomeRow | NoteRow, Field(discriminator="kind")]
_ROWS: TypeAdapter[DecisionRow | OutcomeRow | NoteRow] = TypeAdapter(Row)


def ledger_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of one line of a ledger; published as `ledger.schema.json`."""
    found = _ROWS.json_schema(mode="serialization")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"One line of an eg-agent ledger, version {SCHEMA_VERSION}",
        **found,
    }


def for_record(identification: Identification) -> Identification:
    """The identification as the ledger keeps it: without the fitted curve, which the data give again.

    Decisions are made from this form, so that a replay sees exactly what the decider saw.
    """
    if identification.evidence is None or identification.evidence.fit is None:
        return identification
    return replace(identification, evidence=replace(identification.evidence, fit=None))


class Ledger:
    """An append-only file of rows; thread-safe. `session` names this start of the agent."""

    def __init__(self, path: str | os.PathLike[str], *, session: str = "") -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.session = session
        self._lock = threading.Lock()
        self._repair = self._ends_inside_a_line()

    def append(self, row: DecisionRow | OutcomeRow | NoteRow) -> DecisionRow | OutcomeRow | NoteRow:
        """Write a row and force it onto the disk; returns it with time and session. Raises OSError."""
        row = replace(row, time=row.time or time.time(), session=row.session or self.session)
        line = _ROWS.dump_json(row) + b"\n"
        with self._lock, open(self.path, "ab") as file:
            if self._repair:
                line = b"\n" + line
            self._repair = True
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
            self._repair = False
        return row

    def _ends_inside_a_line(self) -> bool:
        """Whether a crash left half a line behind, which must not swallow the next one."""
        if not self.path.exists() or self.path.stat().st_size == 0:
            return False
        with open(self.path, "rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"

    def rows(self) -> Iterator[DecisionRow | OutcomeRow | NoteRow]:
        """All rows, oldest first; a line cut short by a crash is left out."""
        yield from read_ledger(self.path)


def read_ledger(path: str | os.PathLike[str]) -> Iterator[DecisionRow | OutcomeRow | NoteRow]:
    """Rows of a ledger file, oldest first. A half-written line is left out.

    Raises BadInput for a complete line that is no row (another program's file, a newer version).
    """
    if not Path(path).exists():
        return
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                content = json.loads(line)
            except ValueError:
                continue
            try:
                yield _ROWS.validate_json(line)
            except ValidationError as error:
                version = content.get("schema") if isinstance(content, dict) else None
                raise BadInput(
                    f"line {number} of {path} is no ledger row of version {SCHEMA_VERSION} "
                    f"(it says {version}): read it with the version of eg-agent that wrote it, or move it. "
                    f"First difference: {error.errors()[0]['loc']}: {error.errors()[0]['msg']}."
                ) from None


@dataclass(frozen=True, slots=True)
class Replayed:
    """A recorded decision beside the one made again from its row."""

    row: DecisionRow
    again: Decision

    @property
    def same(self) -> bool:
        """Whether both agree in everything, the attempt aside (retries keep the decision)."""
        return replace(self.row.decision, attempt=1) == replace(self.again, attempt=1)


def replay(
    rows: Ledger | str | os.PathLike[str],
    *,
    identify: Callable[[DecisionRow], Identification | None] | None = None,
    policy: Policy | None = None,
) -> list[Replayed]:
    """Make every decision of a ledger again, from what its row recorded.

    identify: gives the identification to decide from instead of the recorded one (identify the
        stored patterns again, or with another checkpoint). policy: decide with these limits instead of
        the recorded ones ("what would it have done?").
    """
    found = rows.rows() if isinstance(rows, Ledger) else read_ledger(rows)
    replayed: list[Replayed] = []
    for row in found:
        if not isinstance(row, DecisionRow):
            continue
        decider = (policy or row.policy).decider()
        identification = row.identification
        if identify is not None and not row.decision.default:
            identification = identify(row)
        run, mode = row.decision.run_uid, row.decision.mode
        if identification is None or row.decision.default:
            again = decider.default(row.state, row.problem, run_uid=run, mode=mode)
        else:
            again = decider.decide(for_record(identification), row.state, run_uid=run, mode=mode)
        replayed.append(Replayed(row, again))
    return replayed


if __name__ == "__main__":  # writes the published schema anew
    target = Path(__file__).with_name("ledger.schema.json")
    target.write_text(json.dumps(ledger_schema(), indent=1, sort_keys=True) + "\n")
