"""Putting together what was measured of one sample: counts are added, anything else is weighted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadInput
from eg_agent.patterns.evening import IN_MEASUREMENTS, in_measurements
from eg_agent.patterns.pattern import Pattern

#: Points closer than this share of the finer step are the same point of the axis.
_SAME_POINT = 0.02


def merge(first: Pattern, second: Pattern) -> Pattern:
    """Two measurements of the same sample as one pattern.

    Raw counts: at the same angle counts and counting times are added; an angle only one of them has
    stays. Where neither knows its seconds, measurements are counted instead (noted in the source).
    Anything else: the mean at the same angle, weighted by 1/sigma^2 where both know it, by counting time
    where both know that, else equal. After counting only some windows longer, `counting_time` is uneven:
    see `evened`.
    Raises BadInput when the radiation differs.
    """
    if first.radiation != second.radiation:
        raise BadInput(
            f"cannot put together patterns of {first.radiation} and {second.radiation}: "
            "measure a sample with one wavelength, or give the second one another name."
        )
    raw = first.raw_counts and second.raw_counts
    x, a, b = _align(first.two_theta, second.two_theta)
    known_time = tuple(p.counting_time is not None and not in_measurements(p) for p in (first, second))
    if raw and not any(known_time):
        t1, t2 = _measurements(first), _measurements(second)
    elif all(known_time):
        assert first.counting_time is not None
        assert second.counting_time is not None
        t1, t2 = first.counting_time, second.counting_time
    elif raw:
        raise BadInput(
            "cannot add counts when only one of the two measurements says its counting time: "
            "put `seconds_per_point` in the detector's configuration or the run's metadata."
        )
    else:
        t1 = t2 = None
    if raw:
        assert t1 is not None
        assert t2 is not None
        counts = _sum(x.size, (a, first.intensity), (b, second.intensity))
        seconds = _sum(x.size, (a, t1), (b, t2))
        sigma = None
    else:
        w1, w2 = _weights(first, second, t1, t2)
        weight = _sum(x.size, (a, w1), (b, w2))
        counts = _sum(x.size, (a, w1 * first.intensity), (b, w2 * second.intensity)) / weight
        seconds = None if t1 is None or t2 is None else _sum(x.size, (a, t1), (b, t2))
        sigma = 1.0 / np.sqrt(weight) if first.sigma is not None and second.sigma is not None else None
    covered = _windows(first, second)
    names = [n for n in (first.source.name, second.source.name) if n]
    notes = dict.fromkeys((*first.source.notes, *second.source.notes))
    if raw and not any(known_time):
        notes[IN_MEASUREMENTS] = None
    source = replace(
        first.source, name="+".join(dict.fromkeys("+".join(names).split("+"))), notes=tuple(notes)
    )
    return Pattern(
        x,
        counts,
        first.radiation,
        sigma=sigma,
        counting_time=seconds,
        raw_counts=raw,
        geometry=first.geometry,
        covered=covered,
        source=source,
    )


def _measurements(pattern: Pattern) -> npt.NDArray[np.float64]:
    """Number of measurements at each point of a pattern that does not know its seconds."""
    return np.ones(len(pattern)) if pattern.counting_time is None else pattern.counting_time


def _align(
    x1: npt.NDArray[np.float64], x2: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """The union of two axes, and where each one's points lie in it."""
    if x1.shape == x2.shape and np.array_equal(x1, x2):
        index = np.arange(x1.size)
        return x1, index, index
    steps = [float(np.median(np.diff(x))) for x in (x1, x2) if x.size > 1]
    tolerance = _SAME_POINT * min(steps) if steps else 0.0
    near = np.clip(np.searchsorted(x1, x2), 1, x1.size - 1) if x1.size > 1 else np.zeros(x2.size, dtype=int)
    if x1.size > 1:
        near = near - (x2 - x1[near - 1] < x1[near] - x2)
    same = np.abs(x1[near] - x2) <= tolerance
    union = np.unique(np.concatenate([x1, x2[~same]]))
    return union, np.searchsorted(union, x1), np.searchsorted(union, np.where(same, x1[near], x2))


def _sum(n: int, *parts: tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    total = np.zeros(n)
    for index, values in parts:
        np.add.at(total, index, values)
    return total


def _weights(
    first: Pattern, second: Pattern, t1: npt.NDArray[np.float64] | None, t2: npt.NDArray[np.float64] | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    if first.sigma is not None and second.sigma is not None:
        tiny = np.finfo(float).tiny ** 0.25
        return 1.0 / np.maximum(first.sigma, tiny) ** 2, 1.0 / np.maximum(second.sigma, tiny) ** 2
    if t1 is not None and t2 is not None:
        return t1, t2
    return np.ones(len(first)), np.ones(len(second))


def _windows(first: Pattern, second: Pattern) -> tuple[tuple[float, float], ...]:
    """Covered windows of both, overlapping ones joined; empty when the whole axis of one is."""
    spans: list[tuple[float, float]] = []
    for pattern in (first, second):
        spans.extend(pattern.covered or ((float(pattern.two_theta[0]), float(pattern.two_theta[-1])),))
    joined: list[tuple[float, float]] = []
    for low, high in sorted(spans):
        if joined and low <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(high, joined[-1][1]))
        else:
            joined.append((low, high))
    return () if len(joined) == 1 else tuple(joined)
