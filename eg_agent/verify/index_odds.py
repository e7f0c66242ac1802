"""Weights of some cells, and of none of them being right: under the scores' own model, not calibrated."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from eg_agent.verify.index_result import IndexedCell

#: A difference of scores in nats counts by this factor between cells: lines are not independent, and their
#: errors not Gaussian. Simulated patterns: the right cell leads its supercells by 5 nats or more.
WEIGHT = 0.6
#: That none is right: even odds where the best cell has so many nats on the first lines, and nats a nat.
#: Random lines: no cell above 0; simulated patterns with texture and an impurity: right cells from 15 on.
NONE_AT, NONE_SLOPE = 8.0, 0.25


def with_probabilities(
    found: Sequence[IndexedCell], prior: Mapping[str, float], count: int
) -> tuple[tuple[IndexedCell, ...], float]:
    """The `count` cells of most weight, best first, and the weight of none of them being right.

    prior: nats of each Bravais lattice.
    """
    if not found:
        return (), 1.0
    worth = [WEIGHT * cell.total_score + prior[cell.lattice] for cell in found]
    order = sorted(range(len(found)), key=lambda i: -worth[i])[:count]
    best = order[0]
    none = 1.0 / (1.0 + math.exp(min(NONE_SLOPE * (found[best].score - NONE_AT), 700.0)))
    total = float(np.logaddexp.reduce([worth[i] for i in order]))
    cells = tuple(
        replace(
            found[i],
            probability=(1.0 - none) * math.exp(worth[i] - total),
            log_odds=worth[i] - worth[best],
        )
        for i in order
    )
    return cells, none
