"""Is there a Bragg peak at all? A test of excess over local background, at every place and width.

At each point the intensity in a window is compared with what a parabola through two flanks predicts
for it (a kernel blind to any cubic background). Widths go up to half a degree (at Cu K-alpha), so an
amorphous halo of several degrees is background and not a peak.

- Raw counts: the significance is that of Li and Ma (1983), Astrophys. J. 272, 317, equation 17, whose
  tails hold down to a few counts.
- Data without negatives of which a quarter or more are exactly zero (an archive clipped them, or very few
  counts were scaled): the same, in units of a typical step of the data, which is measured.
- Anything else: the excess over its own robust scatter, from blocks of the narrowest width.

In all three, the typical excess at each width is measured over the pattern, and where it is larger than noise
alone would make it, significances shrink by as much: smoothed data, overdispersed counts and ripples of the
background do not pass for peaks. (Not in narrow declared windows of raw counts: they were put where lines
are, so that the typical excess there is that of a peak.)

An excess below 0.5 % of the local level does not count, as no detector is that flat; for windows wider
than 0.35 degrees this share grows with the third power of the width, as the curvature of a halo of 5
degrees or more does.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from eg_agent.patterns.coverage import measured_intervals, segments
from eg_agent.patterns.pattern import Pattern
from eg_agent.patterns.radiation import CU_KALPHA1

Array = npt.NDArray[np.float64]

#: Significance (standard deviations) above which an excess is a peak: counts, sparse data, other.
THRESHOLD_COUNTS = 5.5
THRESHOLD_SPARSE = 5.5
THRESHOLD_OTHER = 7.0
#: Excess over the local level that flat-field errors can make.
FLAT_FIELD = 0.005
#: Widest window, degrees at Cu K-alpha1; its flanks reach 2.5 times as far to either side.
WIDEST = 0.7
#: Width above which the curvature of an amorphous halo can exceed the flat-field error.
HALO_WIDTH = 0.35
#: A declared window of raw counts narrower than this, in degrees at Cu K-alpha1, was chosen for its lines.
NARROW_WINDOW = 3.0
_SPARSE = 0.25  # share of exact zeros from which scatter says nothing
_NARROWEST = 3  # points
_BLOCK = 256  # points a block of the local noise


@dataclass(frozen=True, slots=True)
class Excess:
    """The most significant excess: in standard deviations, where and how wide (degrees)."""

    significance: float
    two_theta: float
    width: float
    threshold: float

    @property
    def is_peak(self) -> bool:
        return self.significance > self.threshold


def strongest_excess(pattern: Pattern) -> Excess:
    """The most significant local excess of a pattern (see the module for the test)."""
    x, y = pattern.two_theta, pattern.intensity
    counts = pattern.raw_counts and bool(np.all(y >= 0.0))
    best: Excess | None = _uneven(pattern) if counts and pattern.covered else None
    # a change of counting time is a step in counts, and no peak
    time = _seconds(pattern) if counts else np.ones(y.size)
    for first, last in segments(measured_intervals(x, pattern.covered)):
        step = float(np.median(np.diff(x[first:last])))
        unit = pattern.radiation.mean_wavelength / CU_KALPHA1 / step  # points a degree at Cu K-alpha1
        part = y[first:last]
        sparse = not counts and part.min() == 0.0 and bool(np.mean(part == 0.0) >= _SPARSE)
        threshold = THRESHOLD_COUNTS if counts else THRESHOLD_SPARSE if sparse else THRESHOLD_OTHER
        if sparse:
            part = part / _event_size(part)
        # windows were put on lines: there the typical excess is a peak's own, and no ripple to be measured
        chosen = counts and bool(pattern.covered) and part.size < NARROW_WINDOW * unit
        seconds = time[first:last]
        for width, significance in _scan(part, unit, counts or sparse, seconds, typical=not chosen):
            at = int(np.argmax(significance))
            centre = first + at + (part.size - significance.size) // 2
            here = Excess(float(significance[at]), float(x[centre]), width * step, threshold)
            # segments can have different thresholds: the one that is furthest above its own counts
            if best is None or here.significance / threshold > best.significance / best.threshold:
                best = here
    return best or Excess(0.0, float(x[0]), 0.0, THRESHOLD_OTHER)


def _uneven(pattern: Pattern) -> Excess | None:
    """The excess of all narrow windows together: how much more their counts differ than those of a straight
    line would. A window that holds little but a line has no flanks to compare it with."""
    x, y = pattern.two_theta, pattern.intensity
    time = _seconds(pattern)
    square, freedom, width, top = 0.0, 0, 0.0, (0.0, float(x[0]))
    for first, last in segments(measured_intervals(x, pattern.covered)):
        width = float(x[last - 1] - x[first])
        number = (last - first) // _NARROWEST
        unit = pattern.radiation.mean_wavelength / CU_KALPHA1
        if number < 4 or width > NARROW_WINDOW * unit:
            continue
        blocks = slice(first, first + number * _NARROWEST)
        sums = y[blocks].reshape(number, _NARROWEST).sum(axis=1)
        seconds = time[blocks].reshape(number, _NARROWEST).sum(axis=1)
        rate = sums.sum() / seconds.sum()
        place = np.arange(number) - float(seconds @ np.arange(number)) / seconds.sum()
        slope = float(place @ (sums - seconds * rate)) / float(seconds @ place**2)
        line = seconds * (rate + place * slope)
        # counts of a sloping background follow its line, and one misses a Poisson mean by more at few counts
        excess = (sums - line) ** 2 / np.maximum(seconds * rate, 1.0)
        square, freedom = square + float(excess.sum()), freedom + number - 2
        if excess.max() > top[0]:
            top = (float(excess.max()), float(x[first + _NARROWEST * int(np.argmax(excess))]))
    if freedom == 0:
        return None
    return Excess((square - freedom) / np.sqrt(2.0 * freedom), top[1], width, THRESHOLD_COUNTS)


def _seconds(pattern: Pattern) -> Array:
    """[n] above 0: how long each point was counted, alike where that is not known."""
    if pattern.counting_time is None:
        return np.ones(len(pattern))
    return np.maximum(pattern.counting_time, 1e-9 * pattern.counting_time.max(initial=1.0))


def noise_level(y: Array) -> Array:
    """Robust local noise [n]: standard deviation of white noise that fits the second differences.

    From blocks of 256 points, so that it follows a background that varies; too low for smoothed data.
    """
    if y.size < 5:
        return np.full(y.size, float(np.std(y)))
    second = np.convolve(y, [1.0, -2.0, 1.0], mode="valid") / np.sqrt(6.0)
    return np.pad(_local_scale(second), 1, mode="edge")


def _scan(
    y: Array, unit: float, counts: bool, time: Array, *, typical: bool = True
) -> list[tuple[int, Array]]:
    """(width in points, significance [n]) for each width; time: counted at each point, in any unit; typical:
    shrunk by the typical excess."""
    y = _without_spikes(y, counts, time)
    rate = y / time
    base: Array | None = None
    found: list[tuple[int, Array]] = []
    width = _NARROWEST
    while width <= max(_NARROWEST, WIDEST * unit) and 5 * width + 2 <= y.size:
        on, predict = _kernels(width)
        n_on = np.convolve(y, on, mode="valid")
        mean_time = np.convolve(time, on / width, mode="valid")
        # next to a peak the parabola dips below zero; the lower flank is what it cannot fall below
        flank = (predict[: predict.size // 2] != 0.0) * 1.0
        flank *= width / flank.sum()
        left = np.correlate(rate, flank, mode="valid")[: n_on.size]
        right = np.correlate(rate, flank[::-1], mode="valid")[-n_on.size :]
        lower = np.minimum(left, right)
        mu = mean_time * np.maximum(np.convolve(rate, predict, mode="valid"), lower)
        excess = n_on - mu
        if counts:
            # the variance of what the flanks predict, in units of that: one number where all count alike
            alpha = mean_time * np.convolve(1.0 / time, predict**2, mode="valid") / width
            significance = _li_ma(n_on, mu, alpha)
            ratio = excess / np.sqrt(np.maximum(n_on + alpha * mu, 1.0))
        else:
            if base is None:
                base = _local_scale(excess)
                margin = (y.size - base.size) // 2
                base = np.pad(base, (margin, y.size - base.size - margin), mode="edge")
            cut = (y.size - excess.size) // 2
            significance = ratio = excess / base[cut : cut + excess.size]
        # how noise adds up with width is measured, not assumed white; so are ripples of the background
        if typical:
            significance = significance / max(float(np.median(np.abs(ratio))) / 0.6745, 1.0)
        floor = FLAT_FIELD * max(1.0, width / (HALO_WIDTH * unit)) ** 3
        significance = np.where(excess > floor * np.abs(mu), significance, 0.0)
        found.append((width, significance))
        width = 2 * width - 1
    return found


def _kernels(width: int) -> tuple[Array, Array]:
    """The window, and the weights that predict its content from flanks by a parabola (least squares)."""
    reach = 5 * width // 2
    x = np.arange(-reach, reach + 1)
    on = np.abs(x) <= width // 2
    off = np.abs(x) > width
    design = np.stack([np.ones(off.sum()), (x[off] / reach) ** 2.0], axis=1)
    wanted = np.array([on.sum(), np.sum((x[on] / reach) ** 2.0)])
    predict = np.zeros(x.size)
    predict[off] = design @ np.linalg.solve(design.T @ design, wanted)
    return on.astype(np.float64), predict


def _li_ma(n_on: Array, mu: Array, alpha: Array) -> Array:
    """Significance of counts over a background `mu` of variance alpha * mu (Li and Ma 1983, eq. 17)."""
    n_off = np.maximum(mu, 0.0) / alpha
    total = n_on + n_off
    with np.errstate(divide="ignore", invalid="ignore"):
        first = n_on * np.log((1.0 + alpha) / alpha * n_on / total)
        second = n_off * np.log((1.0 + alpha) * n_off / total)
    square = 2.0 * (np.nan_to_num(first) + np.nan_to_num(second))
    return np.where(n_on > alpha * n_off, np.sqrt(np.maximum(square, 0.0)), 0.0)


def _event_size(y: Array) -> Array:
    """The unit [n] in which sparse data have a variance like their mean: sum of squares over sum, by blocks.

    For few counts with a scale factor this is the factor; for noise clipped at zero, its standard
    deviation. The highest tenth is left out, as it can be peaks.
    """
    edges = np.linspace(0, y.size, max(1, y.size // (2 * _BLOCK)) + 1).astype(int)
    sizes = []
    for a, b in pairwise(edges):
        seen = np.sort(y[a:b][y[a:b] > 0.0])
        seen = seen[: max(1, seen.size // 2)]
        sizes.append(np.sum(seen**2) / np.sum(seen) if seen.size >= 20 else np.nan)
    size = np.array(sizes)
    if np.all(np.isnan(size)):
        seen = y[y > 0.0]
        return np.full(y.size, 2.0 * np.sum(seen**2) / np.sum(seen))
    known = ~np.isnan(size)
    centres = 0.5 * (edges[:-1] + edges[1:] - 1)
    return 2.0 * np.interp(np.arange(y.size), centres[known], size[known])


def _without_spikes(y: Array, counts: bool, time: Array) -> Array:
    """Single points far above both neighbours (cosmic rays, glitches) lowered to the higher of them, were it
    counted as long."""
    if y.size < 3:
        return y
    rate = y / time
    neighbour = time[1:-1] * np.maximum(rate[:-2], rate[2:])
    noise = np.sqrt(np.maximum(neighbour, 1.0)) if counts else noise_level(y)[1:-1]
    result = y.copy()
    result[1:-1] = np.where(y[1:-1] > neighbour + 5.0 * noise, neighbour, y[1:-1])
    return result


def _local_scale(values: Array) -> Array:
    """Robust standard deviation [n] of values around 0, in blocks with straight lines between them."""
    n_blocks = max(1, values.size // _BLOCK)
    edges = np.linspace(0, values.size, n_blocks + 1).astype(int)
    scales = np.array([_scale(values[a:b]) for a, b in pairwise(edges)])
    floor = _scale_of_nonzero(values)
    # a block of clipped zeros has no scatter left to measure
    scales = np.where(scales > 0.0, scales, floor)
    centres = 0.5 * (edges[:-1] + edges[1:] - 1)
    return np.maximum(np.interp(np.arange(values.size), centres, scales), 1e-300)


def _scale(values: Array) -> float:
    return float(np.median(np.abs(values))) / 0.6745


def _scale_of_nonzero(values: Array) -> float:
    magnitude = np.abs(values)
    magnitude = magnitude[magnitude > 0.0]
    return float(np.median(magnitude)) / 0.6745 if magnitude.size else 0.0
