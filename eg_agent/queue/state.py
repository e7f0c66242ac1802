"""`LoopState`: what a loop is doing, for the health endpoint and the metrics."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass
class LoopState:
    """What the loop is doing; read by the health endpoint and the metrics.

    role: `standby` (another agent acts) or `acting`. waiting: why nothing can be done now, by what is
    waited for (`tiled`, `queue`, `board`, `environment`, `lock`, `person`, `disk`); shown: the same after
    the last whole step. held: why a person is needed.
    stop_to_submit: seconds from a run's stop document to the submission it led to, the last thousand.
    entries: identifications written to Tiled; entries_problem: why others wait, "" when none does.
    """

    role: str = "standby"
    mode: str = "act"
    shift: str = ""
    began: float = field(default_factory=time.time)
    stepped: float = 0.0
    waiting: dict[str, str] = field(default_factory=dict)
    shown: dict[str, str] = field(default_factory=dict)
    held: str = ""
    finished: bool = False
    runs_answered: int = 0
    decisions: dict[str, int] = field(default_factory=dict)
    verdicts: dict[str, int] = field(default_factory=dict)
    outcomes: dict[str, int] = field(default_factory=dict)
    submissions: int = 0
    errors: int = 0
    identify_seconds: list[float] = field(default_factory=list)
    stop_to_submit: list[float] = field(default_factory=list)
    open_decisions: int = 0
    token: int = 0
    entries: int = 0
    entries_problem: str = ""

    def count(self, what: dict[str, int], key: str) -> None:
        """One more of a kind."""
        what[key] = what.get(key, 0) + 1
