"""The score of a change of the lattice: a cumulative sum of the evidence for the other state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from eg_agent.monitor.distortion import Distortion

#: No single frame says more than this, nats: one bad fit is no change of symmetry.
MOST_A_FRAME = 6.0


def cumulative(frames: Sequence[tuple[Distortion, ...]], usual: int) -> tuple[float, int, int, bool]:
    """Nats, the number of last frames that they come from, the way (its number), and whether it is a loss.

    frames: evidence of each way in each frame; usual: so many first frames tell the state that the series
    begins in (by the sign of their median). Page's cumulative sum (Biometrika 41 (1954) 100) of the evidence
    for the other state, no frame counting more than MOST_A_FRAME either way; the largest of all ways.
    """
    best = (0.0, 1, 0, True)
    for number in range(len(frames[0])):
        nats = np.array([frame[number].log_evidence for frame in frames])
        undistorted = float(np.median(nats[:usual])) <= 0.0
        total, since = 0.0, usual
        for k in range(usual, nats.size):
            step = float(np.clip(nats[k] if undistorted else -nats[k], -MOST_A_FRAME, MOST_A_FRAME))
            if total + step <= 0.0:
                total, since = 0.0, k + 1
            else:
                total += step
        if total > best[0]:
            best = (total, nats.size - since, number, undistorted)
    return best
