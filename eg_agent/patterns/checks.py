"""`check`: refuse a pattern that no answer can be given for, with one sentence that says what to do."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadPattern, TooWeak
from eg_agent.patterns.pattern import Pattern
from eg_agent.patterns.peaktest import noise_level, strongest_excess

#: Least number of points and least range in degrees that symmetry can be read from.
MIN_POINTS = 200
MIN_RANGE = 10.0
#: Negative intensity is beyond noise below this many standard deviations and this share of the maximum.
NEGATIVE_SIGMAS = 6.0
NEGATIVE_SHARE = 0.05
#: Raw counts below which neighbours are alike by chance, and no detector is saturated.
CHANCE_COUNTS = 100.0
#: Largest intensities that sums of squares of a fit can hold, and that no unit of a detector leaves.
LEAST_TOP, MOST_TOP = 1e-15, 1e60


def check(pattern: Pattern) -> Pattern:
    """The same pattern, when it is one that can be identified.

    Raises BadPattern, whose message says in one sentence what is wrong and what to do, for: NaN or
    infinite values, fewer than 200 points, angles outside 0-180 degrees, angles that do not increase,
    less than 10 degrees of range, all zero or constant intensities, intensities of no unit (1e-200),
    negative intensities beyond noise, a saturated detector, and (as TooWeak) no peak above the noise.
    """
    _check_axis(pattern)
    _check_intensity(pattern)
    _check_saturation(pattern.intensity, counts=pattern.raw_counts)
    excess = strongest_excess(pattern)
    if not excess.is_peak:
        raise TooWeak(
            f"No peak stands above the noise and the background (the largest excess is "
            f"{excess.significance:.1f} standard deviations, {excess.threshold:g} are needed): count "
            "longer, and make sure that a crystalline sample is in the beam."
        )
    return pattern


def _check_axis(pattern: Pattern) -> None:
    x = pattern.two_theta
    for name, values in (("angles", x), ("intensities", pattern.intensity)):
        bad = int(np.count_nonzero(~np.isfinite(values)))
        if bad:
            raise BadPattern(
                f"{bad} of {values.size} {name} are NaN or infinite: leave out the masked points, "
                "or measure again."
            )
    if x.size < MIN_POINTS:
        raise BadPattern(
            f"{x.size} points are too few for a symmetry (at least {MIN_POINTS}): "
            "measure with a finer step or a longer range."
        )
    if np.any(np.diff(x) <= 0.0):
        at = int(np.argmax(np.diff(x) <= 0.0))
        raise BadPattern(
            f"2-theta does not increase after point {at + 1} ({x[at]:g} to {x[at + 1]:g} degrees): "
            "sort the points, and merge repeated scans into one."
        )
    if x[0] <= 0.0 or x[-1] >= 180.0:
        raise BadPattern(
            f"angles from {x[0]:g} to {x[-1]:g} are not 2-theta between 0 and 180 degrees: give 2-theta in "
            "degrees, or name the axis when it is Q or d."
        )
    if x[-1] - x[0] < MIN_RANGE:
        hint = " (or name the axis, if it is Q or d)" if x[-1] < 15.0 else ""
        raise BadPattern(
            f"{x[0]:g} to {x[-1]:g} degrees is too short a range for a symmetry (at least {MIN_RANGE:g} "
            f"degrees): measure a longer range{hint}."
        )


def _check_intensity(pattern: Pattern) -> None:
    y = pattern.intensity
    if not np.any(y):
        raise BadPattern(
            "All intensities are zero: open the shutter and check the detector, then measure again."
        )
    top = float(y.max())
    largest = float(np.abs(y).max())
    if not LEAST_TOP <= largest <= MOST_TOP:
        raise BadPattern(
            f"The largest intensity is {largest:.0e}, which no detector gives: leave out the wrong points, "
            "or scale the intensities to counts."
        )
    if top == float(y.min()):
        raise BadPattern(
            f"All intensities are the same ({top:g}): the detector did not "
            "respond; check it, then measure again."
        )
    negative = y < 0.0
    if not np.any(negative):
        return
    if pattern.raw_counts:
        raise BadPattern(
            f"{np.count_nonzero(negative)} counts are negative, which counts cannot be: give the counts as "
            "measured, before any correction."
        )
    limit = np.maximum(NEGATIVE_SIGMAS * noise_level(y), NEGATIVE_SHARE * top)
    beyond = int(np.count_nonzero(y < -limit))
    if beyond:
        raise BadPattern(
            f"{beyond} intensities are negative beyond noise (down to {float(y.min()):g}): too much "
            "background was subtracted, or this is a difference pattern; give the intensities as measured."
        )


def _check_saturation(y: npt.NDArray[np.float64], *, counts: bool = False) -> None:
    """A flat top: at least three neighbours at exactly the maximum, with a drop on both sides.

    counts: the intensities are raw counts, of which a few may well be alike by chance.
    """
    top = float(y.max())
    if counts and top < CHANCE_COUNTS:
        return
    at_top = np.concatenate(([False], y >= top, [False]))
    edges = np.flatnonzero(np.diff(at_top.astype(np.int8)))
    starts, ends = edges[::2], edges[1::2]
    longest = int(np.max(ends - starts))
    if longest < 3:
        return
    floor = float(np.median(y))
    plateaus = [(a, b) for a, b in zip(starts, ends) if b - a >= 3]
    noise = float(np.median(noise_level(y)))
    for a, b in plateaus:
        sides = [top - y[i] for i in (a - 1, b) if 0 <= i < y.size]
        # a rounded top falls off by about one unit of rounding, a clipped one by the slope of its peak
        steep = all(
            drop > max(0.02 * (top - floor), 3.0 * noise, 3.0 * np.sqrt(max(noise, 1.0))) for drop in sides
        )
        if steep:
            raise BadPattern(
                f"The detector is saturated: {int(b - a)} neighbouring points have exactly the highest "
                f"value, {top:g}; attenuate the beam or count for a shorter time, and measure again."
            )
