"""Patterns whose windows were counted for different times, on one scale."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from eg_agent.patterns.pattern import Pattern

#: Note in a pattern's source: its counting time is a number of measurements, for want of seconds.
IN_MEASUREMENTS = "counting time in measurements, not seconds"
#: Note in a pattern's source: its raw counts were of different times, some windows counted longer.
BROUGHT = "uneven counting times brought to one scale"
#: Standard deviation of the wider neighbourhood, points; how many counts it stands for; the least share of
#: the pattern's mean that it has; and the least count expected anywhere.
WIDE, PRIOR_COUNTS, LEAST_RATE, LEAST_EXPECTED = 12.0, 0.5, 0.01, 0.03


def evened(pattern: Pattern) -> Pattern:
    """The pattern on one scale: the same counting time everywhere.

    Where some windows were counted longer, raw counts jump at their edges. Intensities are divided by
    their counting time and multiplied by its median; `sigma` says how well each is known
    (the root of the counts that its neighbourhood lets expect, on the same scale), and they are no raw counts
    any more. Unchanged where the
    counting time is even or unknown.
    """
    seconds = pattern.counting_time
    if in_measurements(pattern) and seconds is not None and np.ptp(seconds) == 0:
        return replace(pattern, counting_time=None)
    if seconds is None or not pattern.raw_counts or np.ptp(seconds) <= 1e-6 * float(np.max(seconds)):
        return pattern
    scale = float(np.median(seconds)) / seconds
    return replace(
        pattern,
        intensity=pattern.intensity * scale,
        sigma=np.sqrt(expected_counts(pattern.intensity, seconds)) * scale,
        raw_counts=False,
        counting_time=None if in_measurements(pattern) else seconds,
        source=replace(pattern.source, notes=(*pattern.source.notes, BROUGHT)),
    )


def expected_counts(
    counts: npt.NDArray[np.float64], seconds: npt.NDArray[np.float64] | None = None
) -> npt.NDArray[np.float64]:
    """Counts [n] to be expected at each point from itself and its neighbours: the variance of its count.

    Its own count alone would give points that happen to be low too much weight, and pull every fit down.
    Where hardly anything was counted, half a count at the rate of the wider neighbourhood is added to what
    the nearest points say, so that a run of zeros is neither certain nor as vague as a count of one.

    seconds: [n] counting time a point, where it is not the same for all.
    """
    from scipy.ndimage import gaussian_filter1d

    time = np.ones_like(counts) if seconds is None else seconds / float(np.median(seconds))
    points = 2.0 * np.sqrt(np.pi)
    near, near_time = gaussian_filter1d(counts, 1.0) * points, gaussian_filter1d(time, 1.0) * points
    wide = gaussian_filter1d(counts, WIDE) / gaussian_filter1d(time, WIDE)
    wide = np.maximum(wide, LEAST_RATE * float(counts.mean()) / float(time.mean()))
    rate = (near + PRIOR_COUNTS) / (near_time + PRIOR_COUNTS / np.maximum(wide, 1e-12))
    return np.maximum(rate * time, LEAST_EXPECTED)


def in_measurements(pattern: Pattern) -> bool:
    """Whether the counting time is a number of measurements, for want of seconds."""
    return IN_MEASUREMENTS in pattern.source.notes
