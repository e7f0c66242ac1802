"""What the monitor says: `FrameReport` of every frame, and `Change` when it raises an alarm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import ConfigDict

from eg_agent.values import VALUE_CONFIG

Kind = Literal["lattice", "widths", "new lines", "lost lines"]
#: Kinds of scores, in the order of ties.
KINDS: tuple[Kind, ...] = ("lattice", "widths", "new lines", "lost lines")
Cause = Literal["symmetry", "foreign phase", "undetermined"]


@dataclass(frozen=True, slots=True)
class ChangedLine:
    """A line that speaks for a change: where (degrees 2-theta), standard errors, what happened to it."""

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    two_theta: float
    z: float
    what: Literal["broader or split", "narrower or merged", "new", "gone"]


@dataclass(frozen=True, slots=True)
class Change:
    """An alarm.

    frame: number of the frame at which it was raised (0 is the first of the series); since: of the frame
    from which on the pattern differs, by estimate; between: coordinates (temperature, time, or number)
    of the last frame before that and of that frame.
    score, threshold: nats; false_alarm_rate: a frame without any change.
    cause: "symmetry" or "foreign phase" where a cell tells them apart; "undetermined" without one.
    explained: ways in which the symmetry may have changed, best first, where a cell is known.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    frame: int
    since: int
    between: tuple[float, float]
    kind: Kind
    score: float
    threshold: float
    false_alarm_rate: float
    cause: Cause
    reason: str
    lines: tuple[ChangedLine, ...] = ()
    explained: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FrameReport:
    """What the monitor made of one frame.

    scores: nats by kind (empty while it learns what is usual); thresholds: nats by kind.
    segment: frames of the present phase so far; change: the alarm, if this frame raised one.
    expansion: isotropic linear expansion since the first frame of the phase, relative.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    frame: int
    at: float
    segment: int
    scores: dict[str, float]
    thresholds: dict[str, float]
    expansion: float
    change: Change | None = None
    note: str = ""
