"""What the frames before lead one to expect of the frames after, and how far from it these are.

Bayesian linear regression of each quantity on temperature, time or number of frame (a steady change, as of
thermal expansion of overlapping lines, is no news), with a prior that slopes are small; its scatter is
learned as well, so that standard errors that are too small do no harm: innovations are Student's t.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]

#: Prior weight of the stated errors in the scatter, in frames.
PRIOR_FRAMES = 4.0
#: Prior scale of a slope: this change between two frames, in units of the quantity's own error and drift.
SLOPE = 1.0


def innovations(at: Floats, value: Floats, error: Floats, after: int) -> Floats:
    """[j] standard normal scores of the mean of the last `after` frames against the trend of those before.

    at: [k] coordinate of the frames; value, error: [k, j], the error infinite where there is no value.
    Scores are 0 where fewer than two frames before, or none after, have a value.
    """
    before = value.shape[0] - after
    x = (at - at[before - 1]) / max(float(np.median(np.abs(np.diff(at)))), 1e-12)
    weight = np.where(np.isfinite(error), 1.0 / np.square(error), 0.0)
    found = np.zeros(value.shape[1])
    for j in range(found.size):
        known = np.flatnonzero(weight[:before, j] > 0.0)
        new = before + np.flatnonzero(weight[before:, j] > 0.0)
        if known.size < 2 or new.size == 0:
            continue
        found[j] = _score(x, value[:, j], weight[:, j], known, new)
    return found


def _score(
    x: Floats, value: Floats, weight: Floats, known: npt.NDArray[np.int64], new: npt.NDArray[np.int64]
) -> float:
    design = np.stack([np.ones(x.size), x], axis=1)
    w = weight[known]
    typical = 1.0 / float(np.mean(w))
    prior = np.diag([1e-9 / typical, 1.0 / (SLOPE**2 * typical)])
    precision = design[known].T @ (w[:, None] * design[known]) + prior
    inverse = np.linalg.inv(precision)
    line = inverse @ (design[known].T @ (w * value[known]))
    residual = value[known] - design[known] @ line
    freedom = PRIOR_FRAMES + known.size - 1
    scatter = (PRIOR_FRAMES + float(np.sum(w * residual**2))) / freedom
    # the frames after count by their own errors
    share = weight[new] / weight[new].sum()
    mean_row = share @ design[new]
    ahead = float(share @ value[new] - mean_row @ line)
    variance = float(np.sum(share**2 / weight[new]) + mean_row @ inverse @ mean_row)
    t = ahead / np.sqrt(max(scatter, 0.25) * variance)
    # the same tail probability of a normal variable, through logarithms so that far tails stay finite
    tail = float(stats.t.logsf(abs(t), freedom))
    return float(np.sign(t) * stats.norm.isf(np.exp(max(tail, -690.0))))
