"""Frames of a series on one axis: the anchor they are compared with, and what each looks like against it.

The anchor is the mean of the first frames of a phase. In a window around each of its peaks (or groups of
overlapping ones) a frame is written as

    y(x) = s T(x - d) + m T''(x - d) + b0 + b1 x,

T the anchor: scale and shift take up what intensities and thermal expansion do, m / s is half the change of
the line's variance (degrees^2). What an instrument or a specimen does to every line alike is in T.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter1d

from eg_agent.errors import BadPattern
from eg_agent.patterns.pattern import Pattern
from eg_agent.verify.data import noise_variance, prepare, rough_background

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

#: A window reaches this many FWHM beyond its outermost peaks, or to the valley before the next window.
REACH = 2.0
#: Peaks nearer than this many FWHM share a window, and so a shift: farther ones move each as expansion,
#: which differs between directions, has it.
TOGETHER = 1.25
#: Peaks of the anchor that stand this many standard errors above its noise are followed, each by itself:
#: lines of a foreign phase move otherwise than the rest.
STRONG = 6.0
#: Over this share of a window, at both its ends, shift and scale may go over to the next window's.
INNER = 0.15
#: Most windows, the strongest.
MOST = 100
#: Shifts of up to so many FWHM between neighbouring frames are followed where all lines move alike, ...
FARTHEST = 1.5
#: ... and so many in which a window differs from that (more, and a group of peaks slips by one of them).
APART = 0.4
#: The template is smoothed by this share of a FWHM (standard deviation): derivatives of noise are none.
SMOOTH = 0.12
#: Variance of a Gaussian line over its squared FWHM.
GAUSS = 1.0 / 5.545


@dataclass(frozen=True, eq=False, slots=True)
class Frame:
    """One pattern of a series on the anchor's axis: y and variance [n]; at: temperature, time or number."""

    y: Floats
    variance: Floats
    at: float
    index: int


@dataclass(frozen=True, eq=False, slots=True)
class Axis:
    """The common axis [n] of a series, degrees, as its first pattern gives it.

    factor: points of that pattern in one of the axis; width: typical FWHM in degrees.
    """

    grid: Floats
    factor: int
    width: float

    @property
    def step(self) -> float:
        """Mean step, degrees."""
        return float((self.grid[-1] - self.grid[0]) / (self.grid.size - 1))

    @classmethod
    def of(cls, pattern: Pattern) -> Axis:
        """The axis of a series that begins with this pattern; raises BadPattern without peaks."""
        data, peaks = prepare(pattern)
        if peaks.two_theta.size < 2:
            raise BadPattern(
                "fewer than two peaks stand above the noise of the first pattern: count longer, or give "
                "another range."
            )
        factor = max(1, round(data.step / float(np.mean(np.diff(pattern.two_theta)))))
        return cls(data.grid, factor, data.width)

    def frame(self, pattern: Pattern, at: float, index: int) -> Frame:
        """A pattern as a frame: averaged as the first one, interpolated where its points differ."""
        x, y = np.asarray(pattern.two_theta), np.asarray(pattern.intensity)
        if pattern.sigma is not None and bool(np.all(pattern.sigma > 0.0)):
            variance = np.asarray(pattern.sigma) ** 2
        elif pattern.raw_counts:
            variance = np.maximum(gaussian_filter1d(y, 1.0), 1.0)
        else:
            variance = noise_variance(y)
        if x[0] > self.grid[0] + 3 * self.width or x[-1] < self.grid[-1] - 3 * self.width:
            raise BadPattern(
                f"frame {index} covers {x[0]:g}-{x[-1]:g} degrees, the first {self.grid[0]:g}-"
                f"{self.grid[-1]:g}: the frames of a series must cover one range."
            )
        if pattern.counting_time is not None:
            seconds = np.asarray(pattern.counting_time)
            y, variance = y / seconds, variance / seconds**2
        n = x.size // self.factor
        rows = slice(0, n * self.factor)
        x, y, variance = (v[rows].reshape(n, self.factor).mean(axis=1) for v in (x, y, variance))
        variance = variance / self.factor
        if x.size != self.grid.size or not np.allclose(x, self.grid, atol=0.02 * self.step):
            # linear interpolation correlates neighbours; their variance is kept, so nothing is claimed for it
            y, variance = np.interp(self.grid, x, y), np.interp(self.grid, x, variance)
        return Frame(np.asarray(y), np.asarray(variance), at, index)


@dataclass(frozen=True, eq=False, slots=True)
class Aligned:
    """A frame against the anchor.

    shift [j] degrees, scale [j]; width [j] change of a window's variance as a share of its line's, with its
    standard error [j] (infinite where it could not be fitted);
    rest [n]: frame less scaled, shifted and broadened anchor, on the anchor's axis, with variance [n].
    """

    at: float
    index: int
    shift: Floats
    scale: Floats
    width: Floats
    error: Floats
    rest: Floats
    variance: Floats


class Anchor:
    """What the frames of a phase are compared with; see the module's docstring.

    windows: [j, 2] first and last point; centre [j] degrees; fwhm [j] degrees (of a window of several peaks:
    of a Gaussian with its curvature at the top).
    """

    def __init__(self, axis: Axis, frames: list[Frame], shifts: list[Floats] | None = None) -> None:
        self.axis = axis
        grid = axis.grid
        y = np.mean([self._put(f.y, s) for f, s in self._pairs(frames, shifts)], axis=0)
        variance = np.sum([f.variance for f in frames], axis=0) / len(frames) ** 2
        self.background = rough_background(y, axis.step, axis.width)
        self.net = np.maximum(gaussian_filter1d(y - self.background, SMOOTH * axis.width / axis.step), 0.0)
        smooth = gaussian_filter1d(y, SMOOTH * axis.width / axis.step)
        self._spline = CubicSpline(grid, smooth)
        self.windows = self._find(smooth - self.background, variance)
        self.centre = np.array([self._centroid(low, high) for low, high in self.windows])
        self.fwhm = np.full(len(self.windows), axis.width)

    @staticmethod
    def _pairs(frames: list[Frame], shifts: list[Floats] | None) -> list[tuple[Frame, Floats | None]]:
        return [(f, None if shifts is None else shifts[i]) for i, f in enumerate(frames)]

    def _put(self, y: Floats, shift: Floats | None) -> Floats:
        """Values [n] moved to the anchor's places; shift: [n] degrees of each point."""
        if shift is None:
            return y
        return np.interp(self.axis.grid + shift, self.axis.grid, y)

    def _centroid(self, low: int, high: int) -> float:
        part = self.net[low:high]
        return float(np.sum(part * self.axis.grid[low:high]) / max(float(part.sum()), 1e-300))

    def _find(self, smooth: Floats, variance: Floats) -> npt.NDArray[np.int64]:
        from scipy.signal import find_peaks

        points = max(0.8, 0.35 * self.axis.width / self.axis.step)
        error = np.sqrt(variance / (2.0 * np.sqrt(np.pi) * points))
        # prominence within a few widths, so that the slope of a hump is no line
        near = 2 * max(3, round(4.0 * self.axis.width / self.axis.step)) + 1
        found, _ = find_peaks(smooth, height=STRONG * error, prominence=STRONG * error, wlen=near)
        reach = max(3, round(REACH * self.axis.width / self.axis.step))
        found = found[(found > reach) & (found < smooth.size - reach)]
        groups: list[list[int]] = []
        for peak in found:
            if groups and peak - groups[-1][-1] <= TOGETHER * self.axis.width / self.axis.step:
                groups[-1].append(int(peak))
            else:
                groups.append([int(peak)])
        ranked = sorted(groups, key=lambda g: -float(np.max(smooth[g] / error[g])))[:MOST]
        if not ranked:
            raise BadPattern("no peak stands far enough above the noise to be followed: count longer.")
        valleys = [a[-1] + int(np.argmin(smooth[a[-1] : b[0] + 1])) for a, b in pairwise(groups)]
        left = dict(zip((g[0] for g in groups[1:]), valleys, strict=True))
        right = dict(zip((g[-1] for g in groups[:-1]), valleys, strict=True))
        windows = sorted(
            (max(g[0] - reach, left.get(g[0], 0)), min(g[-1] + reach, right.get(g[-1], smooth.size)) + 1)
            for g in ranked
        )
        return np.array(windows, dtype=np.int64)

    def shifts(self, shift: Floats) -> Floats:
        """[n] degrees by which each point of the axis has moved: as its window [j], and between windows
        from the one to the other."""
        return self._spread(self.axis.grid, shift)

    def _spread(self, at: Floats, value: Floats) -> Floats:
        """[n] values of windows [j] at places (degrees): equal over a window's inner part, then linear."""
        low, high = (self.axis.grid[np.clip(edge, 0, self.axis.grid.size - 1)] for edge in self.windows.T)
        inner = np.stack([low + INNER * (high - low), high - INNER * (high - low)], axis=1)
        return np.interp(at, inner.ravel(), np.repeat(value, 2))

    def coarse(self, frame: Frame, start: Floats) -> Floats:
        """Shifts [j] near `start` [j], moved by the isotropic expansion that correlates best."""
        tangent = np.tan(np.radians(0.5 * self.centre))
        largest = FARTHEST * self.axis.width / max(float(tangent.max()), 1e-6)
        peaks = self.net > 0.05 * np.quantile(self.net, 0.99)
        x, value = self.axis.grid[peaks], np.sqrt(np.maximum(frame.y - self.background, 0.0))
        template = np.sqrt(self.net[peaks])
        by_point = np.interp(x, self.centre, start)
        slope = np.interp(x, self.centre, tangent)
        trials = np.linspace(-largest, largest, 21)
        fits = [
            float(np.dot(template, np.interp(x + by_point + e * slope, self.axis.grid, value)))
            for e in trials
        ]
        return start + float(trials[int(np.argmax(fits))]) * tangent

    def aligned(self, frame: Frame, start: Floats | None = None) -> Aligned:
        """A frame against this anchor; start: shifts [j] of the frame before, degrees."""
        first = self.coarse(frame, np.zeros(len(self.windows)) if start is None else start)
        fits = [self._fit(frame, k, float(first[k])) for k in range(len(self.windows))]
        shift, scale, width, error = (np.array(column) for column in zip(*fits))
        lost = ~np.isfinite(error)
        if lost.all():
            shift, scale = first, np.ones(first.size)
        elif lost.any():
            kept = np.flatnonzero(~lost)
            shift[lost] = np.interp(self.centre[lost], self.centre[kept], shift[kept])
            scale[lost] = np.interp(self.centre[lost], self.centre[kept], scale[kept])
        rest, variance = self._rest(frame, shift, scale, np.where(lost, 0.0, width))
        return Aligned(frame.at, frame.index, shift, scale, width, error, rest, variance)

    def _fit(self, frame: Frame, k: int, start: float) -> tuple[float, float, float, float]:
        """Shift, scale, relative change of variance and its error of one window."""
        low, high = self.windows[k]
        grid, n = self.axis.grid, self.axis.grid.size
        fwhm = self.axis.width
        shift = start
        found, norm, scaled = np.zeros(5), np.ones(5), np.eye(5)
        for _ in range(5):
            a = int(np.clip(round(low + shift / self.axis.step), 0, n - 8))
            b = int(np.clip(round(high + shift / self.axis.step), a + 8, n))
            x = grid[a:b]
            at = x - shift
            t = self._spline(at)
            centre = x - 0.5 * (x[0] + x[-1])
            columns = np.stack(
                [t, -self._spline(at, 1), self._spline(at, 2), np.ones_like(x), centre], axis=1
            )
            root = 1.0 / np.sqrt(frame.variance[a:b])
            scaled = columns * root[:, None]
            norm = np.sqrt(np.sum(scaled**2, axis=0)) + 1e-300
            solution, *_ = np.linalg.lstsq(scaled / norm, frame.y[a:b] * root, rcond=1e-8)
            found = solution / norm
            if not found[0] > 0.0:
                return start, 0.0, 0.0, np.inf
            move = float(found[1] / found[0])
            shift += float(np.clip(move, -0.3 * fwhm, 0.3 * fwhm))
            if abs(shift - start) > APART * fwhm:
                return start, 0.0, 0.0, np.inf
            if abs(move) < 1e-3 * fwhm:
                break
        covariance = np.linalg.pinv((scaled / norm).T @ (scaled / norm))
        sigma = float(np.sqrt(max(covariance[2, 2], 0.0)) / norm[2])
        line = GAUSS * fwhm**2
        value = 2.0 * float(found[2] / found[0]) / line
        # a line so broad or so narrow is outside the expansion; its sign and rank are kept
        return shift, float(found[0]), float(np.clip(value, -8.0, 8.0)), 2.0 * sigma / float(found[0]) / line

    def _rest(self, frame: Frame, shift: Floats, scale: Floats, width: Floats) -> tuple[Floats, Floats]:
        """Frame less model on the anchor's places, and its variance."""
        grid, line = self.axis.grid, GAUSS * self.axis.width**2
        moved = self.shifts(shift)
        # the model is put where the frame has its points, and only their small difference is moved
        at = grid - moved
        # a line that all but went, or grew to twice itself, is no drift of intensity: it stays in the rest
        usual = float(np.median(scale))
        factor = self._spread(at, np.clip(scale, 0.7 * usual, 1.4 * usual))
        bend = np.zeros(grid.size)
        for (low, high), value in zip(self.windows, width, strict=True):
            bend[low:high] = np.clip(value, -1.0, 1.0)
        template = self._spline(at) - np.interp(at, grid, self.background)
        curve = 0.5 * np.interp(at, grid, bend) * line * self._spline(at, 2)
        rest = frame.y - factor * (template + curve) - self.background
        rest = rest - slow_part(rest, max(20, round(5.0 * self.axis.width / self.axis.step)))
        return self._put(rest, moved), self._put(frame.variance, moved)


def slow_part(values: Floats, block: int) -> Floats:
    """[n] what varies slowly against `block` points: medians of blocks, smoothed, between them interpolated.

    Medians, so that a new line, which is narrower than half a block, is not taken for background.
    """
    number = max(4, values.size // block)
    parts = np.array_split(values, number)
    middle = np.array([float(np.median(part)) for part in parts])
    centre = np.cumsum([part.size for part in parts]) - 0.5 * np.array([part.size for part in parts]) - 0.5
    smooth = gaussian_filter1d(middle, 0.7, mode="nearest")
    return np.interp(np.arange(values.size), centre, smooth)
