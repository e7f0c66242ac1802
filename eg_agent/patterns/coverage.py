"""What part of a pattern was measured: runs of points, cut at gaps and at the declared windows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

#: A step longer than this many usual steps, here and in the whole, is a gap: nothing is said about it.
GAP_STEPS = 5.0
_NEIGHBOURS = 21  # steps over which the local step is the median


def measured_intervals(
    two_theta: npt.NDArray[np.float64],
    windows: Sequence[tuple[float, float]] = (),
    gap_steps: float = GAP_STEPS,
) -> npt.NDArray[np.bool_]:
    """Whether the interval between point i and point i+1 was measured.

    two_theta: [n] degrees, strictly increasing. windows: (low, high) in degrees that were measured,
    none for all. Returns bool [n-1]: false across a step longer than `gap_steps` times the median of
    its neighbours, and the median of all, outside the windows, and between two windows that do not touch.
    """
    steps = np.diff(two_theta)
    if steps.size == 0:
        return np.zeros(0, dtype=bool)
    inside = np.ones(steps.size, dtype=bool)
    if steps.max() > gap_steps * steps.min():
        from scipy.ndimage import median_filter

        # mirrored at the ends: repeating the last step would make a gap before the last point the usual one
        local = median_filter(steps, size=min(_NEIGHBOURS, steps.size), mode="mirror")
        # where extra points make steps short, the usual step of the pattern is still no gap
        # (and a gap of exactly so many steps is none, whatever the last binary digit of an angle)
        inside = steps <= gap_steps * (1.0 + 1e-9) * np.maximum(local, np.median(steps))
    if windows:
        which = _window_of_point(two_theta, windows, float(np.median(steps)))
        inside &= (which[:-1] == which[1:]) & (which[1:] >= 0)
    return inside


def segments(inside: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Runs of points joined by measured intervals, as (first, last + 1); single points are left out."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], inside.astype(np.int8), [0]))))
    return [(int(a), int(b) + 1) for a, b in zip(edges[::2], edges[1::2])]


def _window_of_point(
    two_theta: npt.NDArray[np.float64], windows: Sequence[tuple[float, float]], step: float
) -> npt.NDArray[np.int64]:
    # windows that touch within a step are one: a scan in pieces has no gap between its pieces
    merged: list[list[float]] = []
    for low, high in sorted((float(a), float(b)) for a, b in windows):
        if merged and low <= merged[-1][1] + 1.5 * step:
            merged[-1][1] = max(merged[-1][1], high)
        else:
            merged.append([low, high])
    which = np.full(two_theta.size, -1, dtype=np.int64)
    slack = 1e-6 * step  # a window is written with the decimals of its end points
    for number, (low, high) in enumerate(merged):
        which[(two_theta >= low - slack) & (two_theta <= high + slack)] = number
    return which
