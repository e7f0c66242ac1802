"""Thresholds for a stated false-alarm rate, from simulated series without a transition.

The table holds, for each kind of score, how often a frame of such a series exceeds a level (one alarm,
however many frames in a row). Between its levels the logarithm of the rate is interpolated, beyond the
rarest it falls as the fitted exponential tail (Balkema and de Haan, Ann. Probab. 2 (1974) 792, for light
tails).
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

#: Nats of an e-fold in the rate beyond the table, at least: few rare frames tell little of the tail.
LEAST_TAIL = 2.0


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


def table_of(peaks: list[float], frames: int, *, rarest: int = 10) -> Table:
    """A table from the highest score of each excursion in `frames` frames without a change."""
    ordered = np.sort(np.asarray(peaks, dtype=np.float64))[::-1]
    rate = np.arange(1, ordered.size + 1) / frames
    kept = np.unique(np.geomspace(rarest, ordered.size, 40).astype(int)) - 1
    kept = kept[kept < ordered.size]
    tail = float(np.mean(ordered[:rarest] - ordered[rarest - 1])) if ordered.size >= rarest else 2.0
    return Table(ordered[kept][::-1], rate[kept][::-1], max(tail, LEAST_TAIL))
