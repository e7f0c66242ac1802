"""Decisions and rows for the tests of the queue."""

from __future__ import annotations

from eg_agent.decide import Decision, State
from eg_agent.queue.settings import RunSettings
from eg_agent.records import DecisionRow


def decision(ident: str = "d1", **changes) -> Decision:
    """A measurement inside the limits."""
    values = {
        "decision_id": ident,
        "action": "count longer",
        "reason": "to tell P from I.",
        "windows": ((20.0, 21.0),),
        "seconds_per_point": 4.0,
        "cost": 50.0,
        "sample": "a",
        "mode": "propose",
        **changes,
    }
    return Decision(**values)


def row(made: Decision, settings: RunSettings, **changes) -> DecisionRow:
    """Its row in the ledger."""
    values = {"sample": made.sample, "shift": "night", "new_runs": (f"run-{made.decision_id}",), **changes}
    return DecisionRow(made, State(sample=made.sample, sample_seconds=60.0), settings.policy, **values)
