"""Thresholds for a stated false-alarm rate, from simulated series without a transition.

The table holds, for each kind of score, the rate a frame at which such series raise their first alarm at a
level. Between its levels the logarithm of the rate is interpolated, beyond the rarest it falls as the fitted
exponential tail (Balkema and de Haan, Ann. Probab. 2 (1974) 792, for light tails).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
import numpy.typing as npt

from eg_agent.monitor.change import Kind

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class Table:
    """level [m] ascending, rate [m] alarms a frame at it; tail: nats in which the rate falls e-fold."""

    level: Floats
    rate: Floats
    tail: float

    def threshold(self, rate: float) -> float:
        """The level that is exceeded at this rate a frame."""
        logs = np.log(self.rate)
        if np.log(rate) < logs[-1]:
            return float(self.level[-1] + self.tail * (logs[-1] - np.log(rate)))
        return float(np.interp(-np.log(rate), -logs, self.level))


@cache
def tables() -> dict[str, Table]:
    """The shipped tables, by kind; made by `tests/bench/monitor.py --calibrate`."""
    stored = json.loads(files("eg_agent.monitor").joinpath("thresholds.json").read_text())
    return {
        kind: Table(np.array(row["level"]), np.array(row["rate"]), float(row["tail"]))
        for kind, row in stored["tables"].items()
    }


def thresholds(frames_between_false_alarms: float, kinds: Sequence[Kind]) -> dict[str, float]:
    """Level of each kind's score, so that all these kinds together raise one false alarm in so many frames.

    The score of the lattice is a cumulative sum of log likelihood ratios: it exceeds h no sooner than after
    exp(h) frames on average, when nothing changes (Lorden, Ann. Math. Stat. 42 (1971) 1897).
    """
    rate = 1.0 / (frames_between_false_alarms * len(kinds))
    return {k: -float(np.log(rate)) if k == "lattice" else tables()[k].threshold(rate) for k in kinds}
