"""`MonitorSettings`: the constants of the monitor, in one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict

from eg_agent.errors import BadInput
from eg_agent.monitor.change import KINDS, Kind
from eg_agent.values import VALUE_CONFIG


@dataclass(frozen=True, slots=True)
class MonitorSettings:
    """Constants of the monitor; judgements, but for the thresholds, which come from simulated series.

    frames_between_false_alarms: how many frames without any change pass between two false alarms on average;
        its inverse is the false-alarm rate a frame that every alarm states.
    windows: numbers of last frames that are held together against those before (ascending).
    kinds: what raises an alarm. "lattice" needs a cell; where one is known and the expansion is strongly
        anisotropic, it alone is to be trusted.
    before: most frames that the trend before them is learned from. least_before: fewest.
    share_of_lines: prior share of lines that a change of symmetry broadens, splits or merges.
    intensity_drift: change of a line's intensity, as a share of it, that is no news.
    width_drift: scatter of a line's squared width from frame to frame, as a share of it, beyond counting.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    frames_between_false_alarms: float = 1000.0
    windows: tuple[int, ...] = (1, 2, 4, 8)
    kinds: tuple[Kind, ...] = KINDS
    before: int = 12
    least_before: int = 3
    share_of_lines: float = 0.3
    intensity_drift: float = 0.15
    width_drift: float = 0.02

    def __post_init__(self) -> None:
        if not 2.0 <= self.frames_between_false_alarms <= 1e9:
            raise BadInput(
                f"frames_between_false_alarms is {self.frames_between_false_alarms:g}: give 2 to 1e9 frames."
            )
        if not self.windows or list(self.windows) != sorted(set(self.windows)) or self.windows[0] < 1:
            raise BadInput(f"windows {self.windows}: give ascending numbers of frames, from 1.")
        if not self.kinds:
            raise BadInput(f"no kind of change is left to watch for: give some of {', '.join(KINDS)}.")
        if not 2 <= self.least_before <= self.before:
            raise BadInput(
                f"least_before {self.least_before} and before {self.before}: give 2 or more frames, the "
                "second not below the first."
            )
        for name in ("share_of_lines", "intensity_drift", "width_drift"):
            if not 0.0 < getattr(self, name) < 1.0:
                raise BadInput(f"{name} is {getattr(self, name):g}: give a share between 0 and 1.")
