"""How probable each of some cells is, and that none of them is right."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from eg_agent.patterns.pattern import Pattern
from eg_agent.verify.index_result import IndexedCell, IndexSettings
from eg_agent.verify.peaks import Peaks

#: A score in nats counts by this factor (lines are not independent, and errors not Gaussian), and this is the
#: score at which a lone cell is as probable as that none is right. Fitted on simulated patterns.
WEIGHT = 0.15
NONE = 30.0


def with_probabilities(
    found: Sequence[IndexedCell],
    prior: Mapping[str, float],
    pattern: Pattern | None,
    peaks: Peaks,
    settings: IndexSettings,
    deadline: float,
) -> tuple[tuple[IndexedCell, ...], float]:
    """The cells best first with their probabilities, and the probability that none of them is right."""
    if not found:
        return (), 1.0
    worth = [WEIGHT * cell.rank_score + prior[cell.lattice] for cell in found]
    order = sorted(range(len(found)), key=lambda i: -worth[i])[: settings.cells]
    total = float(np.logaddexp.reduce([WEIGHT * NONE, *(worth[i] for i in order)]))
    best = worth[order[0]]
    cells = tuple(
        replace(found[i], probability=math.exp(worth[i] - total), log_odds=worth[i] - best) for i in order
    )
    return cells, math.exp(WEIGHT * NONE - total)
