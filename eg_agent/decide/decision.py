"""`Decision`: what to measure next, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import ConfigDict

from eg_agent.values import VALUE_CONFIG

ActionName = Literal[
    "count longer", "extend range", "finer step", "repeat all", "spin", "next sample", "stop", "ask a person"
]


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision of the agent.

    decision_id: unique; a retry of the same decision carries the same id and the next attempt.
    windows: (low, high) in degrees 2-theta to measure; empty for actions that move on.
    seconds_per_point: counting time of the measurement asked for; step: degrees, None for that of the scan
        before.
    cost: estimated seconds, motor moves and overhead included; moves: motor moves; dose: in the unit of
        `Costs.dose_rate`.
    expected_gain: expected information gain in nats a second.
    default: made because no answer came in time, not from an identification.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    decision_id: str
    action: ActionName
    reason: str
    windows: tuple[tuple[float, float], ...] = ()
    seconds_per_point: float | None = None
    cost: float = 0.0
    expected_gain: float = 0.0
    attempt: int = 1
    sample: str = ""
    pattern_uid: str = ""
    run_uid: str = ""
    mode: Literal["observe", "propose", "act"] = "act"
    default: bool = False
    step: float | None = None
    moves: int = 0
    dose: float = 0.0
