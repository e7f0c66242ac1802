"""A pattern made ready for a fit: rebinned points, their variance, a starting background, its peaks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.interpolate import BSpline
from scipy.ndimage import gaussian_filter1d, maximum_filter1d, minimum_filter1d
from scipy.signal import find_peaks, peak_widths

from eg_agent.patterns.evening import expected_counts
from eg_agent.patterns.pattern import Pattern

Floats = npt.NDArray[np.float64]

#: Steps between two points from which on nothing was measured between them.
GAP = 3.0


@dataclass(frozen=True, slots=True)
class FitData:
    """Points of a fit. grid [n] degrees, y [n], variance [n] of y, background [n] a first guess.

    width: typical FWHM of the peaks in degrees;
    level: height of a strong peak above background (the tenth highest, or the median of fewer).
    step: of neighbouring points in degrees, the median; counted: the variance comes from counts or given
    errors, so that a goodness of fit has a meaning. Between windows that were measured there may be gaps.
    exposure: [n] counting time relative to the median; None where it is even or unknown.
    """

    grid: Floats
    y: Floats
    variance: Floats
    background: Floats
    width: float
    level: float
    step: float
    counted: bool
    exposure: Floats | None = None

    def window(self, low: float, high: float) -> FitData:
        """The points with low <= two_theta <= high."""
        kept = slice(
            int(np.searchsorted(self.grid, low)), int(np.searchsorted(self.grid, high, side="right"))
        )
        return replace(
            self,
            grid=self.grid[kept],
            y=self.y[kept],
            variance=self.variance[kept],
            background=self.background[kept],
            exposure=None if self.exposure is None else self.exposure[kept],
        )


@dataclass(frozen=True, slots=True)
class Peaks:
    """Maxima of a pattern: two_theta, height above background, fwhm (degrees, as measured), significance."""

    two_theta: Floats
    height: Floats
    fwhm: Floats
    significance: Floats


def noise_variance(y: Floats) -> Floats:
    """[n] variance of y from its own second differences, as floor + gain * (expected y).

    The scatter of second differences is binned by the level of the smoothed pattern; a line through
    the bins' median variances is the noise. Curvature of sharp peaks makes it too large there, by
    medians little so.
    """
    second = (y[:-2] - 2.0 * y[1:-1] + y[2:]) / np.sqrt(6.0)
    level = gaussian_filter1d(y, 2.0)[1:-1]
    order = np.argsort(level)
    parts = np.array_split(order, max(4, min(24, order.size // 60)))
    at = np.array([level[p].mean() for p in parts])
    spread = np.array([(1.4826 * np.median(np.abs(second[p]))) ** 2 for p in parts])
    good = spread > 0.0
    span = float(np.ptp(y)) or 1.0
    floor = (1e-4 * span) ** 2
    if good.sum() < 2:
        return np.full(y.size, max(floor, float(spread.max(initial=0.0))))
    at, spread = at[good], spread[good]
    shift = at - min(float(level.min()), 0.0)
    # relative residuals: noise is multiplicative in its variance; the lower half of the slopes is
    # kept because curvature only ever adds
    gain = float(np.median(spread / np.maximum(shift, 1e-3 * span)))
    offset = float(np.median(np.maximum(spread - gain * shift, 0.0)))
    smooth = np.maximum(gaussian_filter1d(y, 1.0) - min(float(level.min()), 0.0), 0.0)
    return np.maximum(offset + gain * smooth, max(floor, 0.05 * float(np.median(spread))))


def rough_background(y: Floats, step: float, width: float) -> Floats:
    """[n] a smooth lower envelope: rolling minima of the smoothed pattern, wide against `width` degrees."""
    narrow = gaussian_filter1d(y, max(1.0, 0.5 * width / step))
    size = max(5, round(10.0 * width / step))
    low = minimum_filter1d(narrow, size)
    smooth = gaussian_filter1d(low, 0.6 * size)
    # minima of noise lie below its mean: lift the envelope to the median of the points near it
    residual = narrow - smooth
    near = residual < np.quantile(residual, 0.5)
    return smooth + float(np.median(residual[near])) if near.any() else smooth


def spline_basis(grid: Floats, spacing: float) -> Floats:
    """[n, m] cubic B-splines over the grid with knots about `spacing` degrees apart (4 to 40 of them)."""
    span = float(grid[-1] - grid[0])
    intervals = int(np.clip(round(span / spacing), 2, 36))
    inner = np.linspace(grid[0], grid[-1] + 1e-9 * span, intervals + 1)
    knots = np.concatenate([[inner[0]] * 3, inner, [inner[-1]] * 3])
    return BSpline.design_matrix(grid, knots, 3).toarray()


def find_lines(
    grid: Floats, y: Floats, background: Floats, variance: Floats, step: float, width: float
) -> Peaks:
    """Maxima that stand five standard errors above background after smoothing by half the width."""
    sigma_points = max(0.8, 0.35 * width / step)
    smooth = gaussian_filter1d(y - background, sigma_points)
    error = np.sqrt(variance / (2.0 * np.sqrt(np.pi) * sigma_points))
    # a smoothed or calculated pattern has hardly any noise: then the least height is a share of the highest
    least = max(1e-3 * float(smooth.max()), 1e-300)
    found, properties = find_peaks(
        smooth, height=np.maximum(5.0 * error, least), prominence=np.maximum(4.0 * error, least)
    )
    if found.size == 0:
        empty = np.zeros(0)
        return Peaks(empty, empty, empty, empty)
    bounds = (properties["prominences"], properties["left_bases"], properties["right_bases"])
    fwhm = peak_widths(smooth, found, rel_height=0.5, prominence_data=bounds)[0] * step
    left, mid, right = smooth[found - 1], smooth[found], smooth[found + 1]
    bend = left - 2.0 * mid + right
    offset = np.where(bend < 0, 0.5 * (left - right) / np.where(bend < 0, bend, -1.0), 0.0)
    fwhm = np.sqrt(np.maximum(fwhm**2 - (2.355 * sigma_points * step) ** 2, (0.5 * step) ** 2))
    return Peaks(grid[found] + np.clip(offset, -1, 1) * step, mid, fwhm, mid / error[found])


def runs(grid: Floats, step: float) -> list[slice]:
    """Runs of points [n] without a gap between them: a gap is `GAP` steps."""
    cuts = np.flatnonzero(np.diff(grid) > GAP * step) + 1
    return [slice(int(a), int(b)) for a, b in pairwise([0, *cuts, grid.size])]


def _bins(parts: list[slice], factor: int) -> npt.NDArray[np.intp]:
    """[m, factor] neighbours to average; never across a gap, where a mean would lie where nothing was
    measured."""
    chosen = [np.arange(p.start, p.start + (p.stop - p.start) // factor * factor) for p in parts]
    return np.concatenate(chosen).reshape(-1, factor)


def _exposure(pattern: Pattern, kept: npt.NDArray[np.bool_]) -> Floats | None:
    """[n] counting time over its median, or None where it is even or unknown."""
    if pattern.counting_time is None:
        return None
    seconds = np.asarray(pattern.counting_time)[kept]
    middle = float(np.median(seconds))
    return seconds / middle if middle > 0.0 and np.ptp(seconds) > 1e-6 * middle else None


def prepare(pattern: Pattern, *, points_per_fwhm: float = 7.0) -> tuple[FitData, Peaks]:
    """Points for a fit, and the peaks of the pattern.

    Points are averaged where the pattern has more than `points_per_fwhm` over a typical peak: this
    loses nothing and bounds the cost.
    """
    grid = np.asarray(pattern.two_theta)
    y = np.asarray(pattern.intensity)
    finite = np.isfinite(y) & np.isfinite(grid)
    grid, y = grid[finite], y[finite]
    exposure = _exposure(pattern, finite)
    if pattern.sigma is not None and bool(np.all(np.asarray(pattern.sigma)[finite] > 0)):
        variance = np.asarray(pattern.sigma)[finite] ** 2
        counted = True
    elif pattern.raw_counts:
        variance = expected_counts(y)
        counted = True
    else:
        variance = noise_variance(y)
        counted = False
    step = float(np.median(np.diff(grid)))
    width = _typical_width(grid, y, variance, step)
    factor = int(max(1, np.floor(width / step / points_per_fwhm)))
    if factor > 1:
        bins = _bins(runs(grid, step), factor)
        grid, y, variance = (
            grid[bins].mean(axis=1),
            y[bins].mean(axis=1),
            variance[bins].mean(axis=1) / factor,
        )
        exposure = None if exposure is None else exposure[bins].mean(axis=1)
        step *= factor
    background = rough_background(y, step, width)
    peaks = find_lines(grid, y, background, variance, step, width)
    heights = np.sort(peaks.height)[::-1]
    level = float(heights[min(9, heights.size // 2)]) if heights.size else float(np.ptp(y))
    return FitData(grid, y, variance, background, width, level, step, counted, exposure), peaks


def _typical_width(grid: Floats, y: Floats, variance: Floats, step: float) -> float:
    """Median FWHM of the strongest peaks, degrees."""
    width = max(0.08, 3.0 * step)
    for _ in range(2):
        background = rough_background(y, step, width)
        peaks = find_lines(grid, y, background, variance, step, width)
        if peaks.two_theta.size == 0:
            return width
        strong = np.argsort(peaks.height)[-15:]
        width = float(np.clip(np.median(peaks.fwhm[strong]), 1.5 * step, 3.0))
    return width


def smoothed(values: Floats, points: float) -> Floats:
    """[n] values smoothed by a Gaussian of `points` standard deviation."""
    return gaussian_filter1d(values, points)


def envelope(net: Floats, width: float) -> Floats:
    """[n] height of the peak around each point of a pattern without background; width: FWHM in points."""
    size = max(3, round(2.0 * width) | 1)
    return np.maximum(
        gaussian_filter1d(maximum_filter1d(gaussian_filter1d(net, 0.3 * width), size), 0.4 * width), 0.0
    )
