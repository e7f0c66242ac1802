"""Distances between a measured and a simulated sample of one statistic, and classifier two-sample tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Distance:
    """How far two samples of a statistic are apart.

    auc: probability that a simulated value exceeds a measured one, ties half: 0.5 for equal samples.
    auc_low, auc_high: 95 % interval of it by bootstrap over compounds.
    ks: Kolmogorov-Smirnov distance, 0-1. wasserstein: earth mover's distance over the standard deviation of
    both samples together. measured, simulated: medians. n: measured patterns that have the statistic.
    missing: shares of patterns without it, measured and simulated.
    """

    auc: float
    auc_low: float
    auc_high: float
    ks: float
    wasserstein: float
    measured: float
    simulated: float
    n: int
    missing: tuple[float, float]


def auc(simulated: npt.ArrayLike, measured: npt.ArrayLike) -> float:
    """P(simulated > measured) + P(equal) / 2, the area under the ROC curve of one statistic."""
    a, b = np.asarray(simulated, dtype=np.float64), np.asarray(measured, dtype=np.float64)
    return float(_share_below(a, b).mean())


def _share_below(simulated: Floats, measured: Floats) -> Floats:
    """For each measured value the share of simulated ones above it, ties half."""
    ordered = np.sort(simulated)
    above = ordered.size - np.searchsorted(ordered, measured, side="right")
    equal = np.searchsorted(ordered, measured, side="right") - np.searchsorted(ordered, measured, side="left")
    return (above + 0.5 * equal) / ordered.size


def _kolmogorov_smirnov(a: Floats, b: Floats) -> float:
    everywhere = np.concatenate([a, b])
    below = [np.searchsorted(np.sort(v), everywhere, side="right") / v.size for v in (a, b)]
    return float(np.abs(below[0] - below[1]).max())


def distance(
    simulated: Floats, measured: Floats, compounds: npt.ArrayLike, *, draws: int = 500, seed: int = 0
) -> Distance:
    """Distance between samples of one statistic [m] and [n], NaN where a pattern lacks it.

    compounds: [n] names; the interval draws them whole, so that many patterns of one do not pass for many.
    """
    names = np.asarray(compounds)
    have_s, have_m = np.isfinite(simulated), np.isfinite(measured)
    s, m = simulated[have_s], measured[have_m]
    _, member = np.unique(names[have_m], return_inverse=True)
    share, count = np.bincount(member, weights=_share_below(s, m)), np.bincount(member)
    drawn = np.random.default_rng(seed).integers(count.size, size=(draws, count.size))
    low, high = np.percentile(share[drawn].sum(axis=1) / count[drawn].sum(axis=1), [2.5, 97.5])
    spread = float(np.std(np.concatenate([s, m])))
    return Distance(
        auc=auc(s, m),
        auc_low=float(low),
        auc_high=float(high),
        ks=_kolmogorov_smirnov(s, m),
        wasserstein=float(stats.wasserstein_distance(s, m) / max(spread, 1e-12)),
        measured=float(np.median(m)),
        simulated=float(np.median(s)),
        n=int(m.size),
        missing=(float(1 - have_m.mean()), float(1 - have_s.mean())),
    )
