"""`Answer`: what the agent says of a measurement, and the line of text that is printed of it."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from eg_agent.decide.decision import Decision
from eg_agent.decide.state import State
from eg_agent.identify.identification import Identification
from eg_agent.records.ledger import DecisionRow, PatternFrom


@dataclass(frozen=True, slots=True)
class Answer:
    """The agent's answer to one measurement (several runs of a sample, when they were put together).

    runs: uids, oldest first. identification: None when there was none (`problem` says why).
    state: what had been spent when it was decided.
    pattern_from: where the last run was read. seconds: from the run's stop document to the decision.
    partial: the last run goes on, this is what its `points` points say so far; the decision is what
    would be done if it ended now, and is in no ledger.
    """

    runs: tuple[str, ...]
    sample: str
    decision: Decision
    identification: Identification | None = None
    problem: str = ""
    pattern_from: PatternFrom = "none"
    seconds: float = 0.0
    state: State = field(default_factory=State)
    partial: bool = False
    points: int = 0

    @classmethod
    def of(cls, row: DecisionRow) -> Answer:
        """The answer that a row of the ledger records."""
        return cls(
            row.runs,
            row.sample,
            row.decision,
            row.identification,
            row.problem,
            row.pattern_from,
            row.seconds,
            row.state,
        )


def line(answer: Answer) -> str:
    """The answer in one line: what it is, how sure, what to do next and why."""
    name = answer.sample or "sample without a name"
    run = f"run {answer.runs[-1][:8]}" if answer.runs else "pattern"
    found = answer.identification
    if found is None:
        said = answer.problem
    elif found.top and found.verdict != "refused":
        top = "; ".join(f"{g.symbol} {g.probability:.0%}" for g in found.top[:3])
        said = f"{found.top[0].crystal_system} {top} ({found.verdict})"
    else:
        said = f"{found.verdict}: {found.reason}"
    notes = [f"{answer.seconds:.1f} s"]
    if found is not None and answer.problem:
        notes.append(answer.problem)
    decision = answer.decision
    verb = {"observe": "would", "propose": "proposes"}.get(decision.mode, "next")
    return f"[eg-agent] {name}, {run}: {said} | {verb}: {decision.reason} [{', '.join(notes)}]"


def live_line(answer: Answer) -> str:
    """A look at a run that goes on, in one short line: how far it is, what it says so far."""
    name = answer.sample or (f"run {answer.runs[-1][:8]}" if answer.runs else "pattern")
    found = answer.identification
    if found is None or not found.top or found.verdict == "refused":
        said = found.reason if found is not None else answer.problem
    else:
        top = "; ".join(f"{g.symbol} {g.probability:.0%}" for g in found.top[:3])
        said = f"{top} ({found.verdict})"
    seen = found.measured if found is not None else None
    reach = f" to {seen.windows[-1][1]:.2f} deg" if seen is not None and seen.windows else ""
    return f"[eg-agent] {name}, {answer.points} points{reach}: {said}"


def print_line(text: str) -> None:
    """Write a line where the user looks."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
