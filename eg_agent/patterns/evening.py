"""Patterns whose windows were counted for different times, on one scale."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from eg_agent.patterns.pattern import Pattern

#: Note in a pattern's source: its counting time is a number of measurements, for want of seconds.
IN_MEASUREMENTS = "counting time in measurements, not seconds"


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
        sigma=np.sqrt(np.maximum(_expected(pattern.intensity, seconds), 1.0)) * scale,
        raw_counts=False,
        counting_time=None if in_measurements(pattern) else seconds,
        source=replace(
            pattern.source, notes=(*pattern.source.notes, "uneven counting times brought to one scale")
        ),
    )


def _expected(counts: npt.NDArray[np.float64], seconds: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Counts [n] to be expected at each point from itself and its neighbours, for the error of one count.

    Its own count alone would give points that happen to be low too much weight, and pull every fit down.
    """
    from scipy.ndimage import gaussian_filter1d

    rate = gaussian_filter1d(counts, 1.0) / gaussian_filter1d(seconds, 1.0)
    return rate * seconds


def in_measurements(pattern: Pattern) -> bool:
    """Whether the counting time is a number of measurements, for want of seconds."""
    return IN_MEASUREMENTS in pattern.source.notes
