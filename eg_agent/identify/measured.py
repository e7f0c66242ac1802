"""What a pattern covers and how long it was counted, as far as the next decision needs it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from eg_agent.identify.identification import Measured
from eg_agent.patterns.coverage import measured_intervals, segments
from eg_agent.patterns.grid import Grid
from eg_agent.patterns.pattern import Pattern

#: The canonical range; coarse, because only the covered share is read off it.
_CANONICAL = Grid(length=851)


def measured(pattern: Pattern) -> Measured:
    """Summary of a pattern that `eg_agent.patterns.check` lets through."""
    x = pattern.two_theta
    runs = segments(measured_intervals(x, pattern.covered))
    windows = tuple((float(x[a]), float(x[b - 1])) for a, b in runs) or ((float(x[0]), float(x[-1])),)
    counting_time = pattern.counting_time
    return Measured(
        windows=windows,
        canonical=float(_CANONICAL.project(pattern).coverage.mean()),
        points=len(pattern),
        step=float(np.median(np.diff(x))),
        wavelength=pattern.radiation.mean_wavelength,
        seconds_per_point=None if counting_time is None else float(np.median(counting_time)),
        strongest_counts=_strongest_counts(pattern),
        counted=_counted(pattern),
    )


def _counted(pattern: Pattern) -> tuple[tuple[float, float, float], ...]:
    """(low, high, seconds a point) of runs that were counted alike; empty where all of it was."""
    seconds, x = pattern.counting_time, pattern.two_theta
    if seconds is None or np.ptp(seconds) <= 1e-6 * float(np.max(seconds)):
        return ()
    change = np.abs(np.diff(seconds)) > 1e-6 * np.maximum(seconds[1:], seconds[:-1])
    cut = change | ~measured_intervals(x, pattern.covered)
    edges = np.concatenate([[0], np.flatnonzero(cut) + 1, [x.size]])
    return tuple((float(x[a]), float(x[b - 1]), float(seconds[a])) for a, b in pairwise(edges))


def seconds_a_point(pattern: Pattern, window: tuple[float, float]) -> tuple[float, int] | None:
    """(median counting time in seconds, number of points) in a window of degrees; None when unknown."""
    if pattern.counting_time is None:
        return None
    inside = (pattern.two_theta >= window[0]) & (pattern.two_theta <= window[1])
    if not inside.any():
        return None
    return float(np.median(pattern.counting_time[inside])), int(inside.sum())


def _strongest_counts(pattern: Pattern) -> float | None:
    at = int(np.argmax(pattern.intensity))
    highest = float(pattern.intensity[at])
    if pattern.raw_counts:
        return max(highest, 0.0)
    if pattern.sigma is not None and pattern.sigma[at] > 0.0:
        return (highest / float(pattern.sigma[at])) ** 2
    return None
