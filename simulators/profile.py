"""Sums of powder lines at any angles: Voigt functions with the tails of axial divergence and transparency.

A line is a true Voigt function (Gaussian and Lorentzian widths of its own), convolved with Finger, Cox and
Jephcoat's distribution of angles and with the exponential of a transparent sample. Both are integrals over
shifts of the line, done by Gauss quadrature. Near a line the Voigt function is exact; in its wings an
asymptotic series takes over, and far away the sum of all wings, which is smooth, is interpolated. Together
this errs by less than 1e-4 of the line's height (tests/simulators/test_profile.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicSpline
from scipy.special import voigt_profile

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

#: Full width at half maximum of a Gaussian of standard deviation 1.
FWHM = math.sqrt(8 * math.log(2))
#: Half width of the exact part of a line, in full widths at half maximum and in spreads of its shifts.
_EXACT_WIDTHS, _EXACT_SPREADS = 5.0, 6.0
#: Points of the interpolation in half the width over which it is faded in.
_FAR_POINTS = 8
#: Fewer points times lines than this are summed directly.
_DIRECT = 100_000
#: Extent of axial divergence against the width of the line, and the points of quadrature up to it (in each
#: interval): the error stays below 2e-4 of the height.
_QUADRATURE = (
    (0.03, 1), (0.1, 3), (0.3, 4), (0.6, 6), (1.0, 8), (1.5, 10), (2.0, 12), (3.0, 18), (4.0, 24),
    (6.0, 36), (8.0, 48), (12.0, 72), (16.0, 96), (math.inf, 200),
)  # fmt: skip
#: Below this share of a line's width an exponential tail is told by its mean and variance.
_SHORT_DECAY = 0.02
#: Steps of the grid of a line with an exponential tail in its width at half maximum.
_DEEP_STEPS = 16
_ARRAYS = ("position", "area", "gauss", "lorentz", "decay")
#: Numbers of the exact part held at once.
_BLOCK = 400_000


@dataclass(frozen=True, eq=False)
class Lines:
    """Lines of a pattern, k of them; angles in degrees of 2-theta.

    position: [k] where a line would be seen without asymmetry. area: [k] counts a second times degrees.
    gauss, lorentz: [k] full widths at half maximum of the parts of the Voigt function. decay: [k] of the
    exponential tail on the low side, 0 for none. s_l, h_l: axial divergence (see `Instrument`).
    """

    position: FloatArray
    area: FloatArray
    gauss: FloatArray
    lorentz: FloatArray
    decay: FloatArray
    s_l: float = 0.0
    h_l: float = 0.0

    def __len__(self) -> int:
        return len(self.position)

    def __getitem__(self, which: npt.NDArray[np.bool_] | IntArray) -> Lines:
        position, area, gauss, lorentz, decay = (getattr(self, name)[which] for name in _ARRAYS)
        return Lines(position, area, gauss, lorentz, decay, self.s_l, self.h_l)

    def scaled(self, factor: float) -> Lines:
        """The same lines with areas times a factor."""
        return Lines(
            self.position, self.area * factor, self.gauss, self.lorentz, self.decay, self.s_l, self.h_l
        )


def joined(parts: list[Lines]) -> Lines:
    """The lines of several phases of one specimen on one instrument."""
    position, area, gauss, lorentz, decay = (
        np.concatenate([getattr(part, name) for part in parts]) for name in _ARRAYS
    )
    return Lines(position, area, gauss, lorentz, decay, parts[0].s_l, parts[0].h_l)


def voigt_width(gauss: npt.ArrayLike, lorentz: npt.ArrayLike) -> FloatArray:
    """Full width at half maximum of a Voigt function from those of its parts, within 0.02 %.

    Olivero and Longbothum, J. Quant. Spectrosc. Radiat. Transfer 17 (1977) 233.
    """
    g, g_l = np.asarray(gauss, dtype=np.float64), np.asarray(lorentz, dtype=np.float64)
    return 0.5346 * g_l + np.sqrt(0.2166 * g_l**2 + g**2)


def axial_extent(two_theta: npt.ArrayLike, s_l: float, h_l: float) -> FloatArray:
    """How far axial divergence smears a line at angles [k], degrees: below 90 to the low side (negative)."""
    angle = np.radians(np.asarray(two_theta, dtype=np.float64))
    cosine = np.cos(angle) * math.sqrt(1 + (s_l + h_l) ** 2)
    return np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)) - angle)


def axial_shifts(two_theta: FloatArray, s_l: float, h_l: float, count: int) -> tuple[FloatArray, FloatArray]:
    """Shifts (degrees) and weights [k, m] that stand for axial divergence at angles [k]; weights sum to 1.

    Finger, Cox and Jephcoat (J. Appl. Cryst. 27 (1994) 892), equations 4-8. Their density at the angle a of
    a ring at 2-theta is W(a) / (h(a) cos a) with the height h = sqrt(cos^2 a / cos^2 2-theta - 1),
    singular at a = 2-theta. In t = sqrt(2-theta - a) it is regular, and Gauss-Legendre in t converges
    geometrically. Where the slit sees the whole sample no more (h beyond |S - H|) the density has a kink
    and a second interval begins. m is count, or twice that.
    """
    mirrored = two_theta > 90.0
    angle = np.radians(np.where(mirrored, 180.0 - two_theta, two_theta))
    node, weight = np.polynomial.legendre.leggauss(count)
    ends = [np.zeros(angle.shape)]
    for height in (abs(s_l - h_l), s_l + h_l):
        low = np.arccos(np.minimum(np.cos(angle) * math.sqrt(1 + height * height), 1.0))
        ends.append(np.sqrt(np.maximum(angle - low, 0.0)))
    parts = [(ends[1], ends[2])] if s_l == h_l else [(ends[0], ends[1]), (ends[1], ends[2])]
    shifts, weights = [], []
    least = max(min(s_l, h_l), 1e-12)
    for start, stop in parts:
        half = 0.5 * (stop - start)[:, None]
        t = start[:, None] + half * (1 + node)
        a = angle[:, None] - t * t
        # cos^2 a - cos^2 2-theta without the loss of digits
        h = np.sqrt(np.sin(t * t) * np.sin(angle[:, None] + a)) / np.maximum(np.cos(angle), 1e-9)[:, None]
        seen = np.clip((s_l + h_l - h) / (2 * least), 0.0, 1.0)
        weights.append(half * weight * 2 * t * seen / np.maximum(h * np.cos(a), 1e-150))
        shifts.append(-t * t)
    shift, mass = np.degrees(np.concatenate(shifts, axis=1)), np.concatenate(weights, axis=1)
    shift = np.where(mirrored[:, None], -shift, shift)
    total = mass.sum(axis=1, keepdims=True)
    return shift, np.where(total > 0, mass / np.where(total > 0, total, 1.0), 1.0 / mass.shape[1])


def sum_of_lines(lines: Lines, two_theta: npt.ArrayLike) -> FloatArray:
    """Counts a second [n] of all lines at angles [n] in degrees, in any order."""
    angle = np.asarray(two_theta, dtype=np.float64)
    if not len(lines) or not angle.size:
        return np.zeros(angle.shape)
    order = np.argsort(angle, kind="stable")
    total = np.empty(angle.shape)
    total[order] = _sorted_sum(lines, angle[order])
    return total


def _sorted_sum(lines: Lines, angle: FloatArray) -> FloatArray:
    span = float(angle[-1] - angle[0])
    width = voigt_width(lines.gauss, lines.lorentz)
    axial = np.abs(axial_extent(lines.position, lines.s_l, lines.h_l))
    exact = _EXACT_WIDTHS * width + _EXACT_SPREADS * (axial + 2 * lines.decay)
    # Wings are cheap near a line point by point, and far from it on a coarse grid: the radius where one
    # gives way to the other costs least where both have as many points.
    radius = None
    if span > 0 and angle.size * len(lines) > _DIRECT:
        radius = np.maximum(2 * exact, math.sqrt(2 * span * span / angle.size))
    total = np.zeros(angle.size)
    limits, counts = (np.array(column) for column in zip(*_QUADRATURE))
    needed = counts[np.searchsorted(limits, axial / width)].astype(np.int64)
    for deep in (False, True):
        for count in np.unique(needed):
            which = (needed == count) & ((lines.decay > _SHORT_DECAY * width) == deep)
            if which.any():
                add = _deep if deep else _near
                add(total, lines[which], angle, exact[which], int(count))
    mean, variance = _moments(lines)
    wings = Lines(
        lines.position + mean,
        lines.area,
        np.hypot(lines.gauss, FWHM * np.sqrt(variance)),
        lines.lorentz,
        np.zeros(len(lines)),
    )
    if not lines.lorentz.any():
        return total
    if radius is None:
        point, line = _dense(angle.size, len(lines))
        outside = np.abs(angle[point] - lines.position[line]) >= exact[line]
        point, line = point[outside], line[outside]
        return total + np.bincount(point, _wing(wings, line, angle[point]), angle.size)
    point, line = _within(angle, lines.position, radius)
    distance = np.abs(angle[point] - lines.position[line])
    outside = distance >= exact[line]
    point, line, distance = point[outside], line[outside], distance[outside]
    fading = 1 - _fade(distance / radius[line])
    total += np.bincount(point, _wing(wings, line, angle[point]) * fading, angle.size)
    return total + _far(lines, wings, angle, radius)


def _spread(lines: Lines, count: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Centres and weights [k, m] of the Voigt functions a line is made of, and their sigma [k]."""
    if count > 1:
        shift, weight = axial_shifts(lines.position, lines.s_l, lines.h_l, count)
        sigma = np.hypot(lines.gauss / FWHM, lines.decay)
        return (lines.position - lines.decay)[:, None] + shift, weight, sigma
    mean, variance = _moments(lines)
    sigma = np.sqrt((lines.gauss / FWHM) ** 2 + variance)
    return (lines.position + mean)[:, None], np.ones((len(lines), 1)), sigma


def _near(total: FloatArray, lines: Lines, angle: FloatArray, exact: FloatArray, count: int) -> None:
    """Add exact values of lines to `total` [n] at the angles [n] inside their radius `exact` [k]."""
    centre, weight, sigma = _spread(lines, count)
    weight = weight * lines.area[:, None]
    gamma = lines.lorentz / 2
    point, line = _within(angle, lines.position, exact)
    block = max(1, _BLOCK // centre.shape[1])
    for start in range(0, len(point), block):
        p, k = point[start : start + block], line[start : start + block]
        values = voigt_profile(angle[p, None] - centre[k], sigma[k, None], gamma[k, None])
        total += np.bincount(p, (values * weight[k]).sum(axis=1), total.size)


def _deep(total: FloatArray, lines: Lines, angle: FloatArray, exact: FloatArray, count: int) -> None:
    """As `_near`, for lines with an exponential tail.

    The convolution f(x) = integral of V(x + s) exp(-s / decay) / decay over s > 0 runs down a grid of the
    line's own, from cell to cell, exact for a V that is a cubic in each; the angles lie in between.
    """
    step = voigt_width(lines.gauss, lines.lorentz) / _DEEP_STEPS
    size = math.ceil(2 * float((exact / step).max())) + 6
    bare = Lines(
        lines.position, lines.area, lines.gauss, lines.lorentz, 0 * lines.decay, lines.s_l, lines.h_l
    )
    centre, weight, sigma = _spread(bare, count)
    start = lines.position + exact - (size - 3) * step
    values = np.empty((size, len(lines)))
    for j in range(size):
        offset = (start + j * step)[:, None] - centre
        values[j] = (voigt_profile(offset, sigma[:, None], lines.lorentz[:, None] / 2) * weight).sum(axis=1)
    a = step / lines.decay
    kept = np.exp(-a)
    zeroth, first = 1 - kept, (1 - kept * (1 + a)) / a
    second = (2 - kept * (a * a + 2 * a + 2)) / a**2
    third = (6 - kept * (a**3 + 3 * a * a + 6 * a + 6)) / a**3
    weights = (
        (-third + 3 * second - 2 * first) / 6,
        (third - 2 * second - first + 2 * zeroth) / 2,
        (-third + second + 2 * first) / 2,
        (third - first) / 6,
    )
    tailed = values.copy()
    for j in range(size - 3, 0, -1):
        inside = sum(share * values[j + i] for i, share in zip((-1, 0, 1, 2), weights))
        tailed[j] = kept * tailed[j + 1] + inside
    point, line = _within(angle, lines.position, exact)
    where = (angle[point] - start[line]) / step[line]
    cell = np.clip(where.astype(np.int64), 2, size - 3)
    t = where - cell
    cubic = (
        -t * (t - 1) * (t - 2) / 6 * tailed[cell - 1, line]
        + (t * t - 1) * (t - 2) / 2 * tailed[cell, line]
        - t * (t + 1) * (t - 2) / 2 * tailed[cell + 1, line]
        + t * (t * t - 1) / 6 * tailed[cell + 2, line]
    )
    total += np.bincount(point, cubic * lines.area[line], total.size)


def _moments(lines: Lines) -> tuple[FloatArray, FloatArray]:
    """Mean (degrees) and variance of the shifts of each line."""
    mean, variance = -lines.decay, lines.decay**2
    if lines.s_l > 0 or lines.h_l > 0:
        shift, weight = axial_shifts(lines.position, lines.s_l, lines.h_l, 6)
        centre = (shift * weight).sum(axis=1)
        mean = mean + centre
        variance = variance + (weight * (shift - centre[:, None]) ** 2).sum(axis=1)
    return mean, variance


def _wing(lines: Lines, line: IntArray, angle: FloatArray) -> FloatArray:
    """Asymptotic Voigt function of a line at an angle, both [m]: relative error 15 (sigma / distance)^4."""
    gamma, variance = lines.lorentz[line] / 2, (lines.gauss[line] / FWHM) ** 2
    x2, gamma2 = (angle - lines.position[line]) ** 2, gamma * gamma
    inverse = 1 / (x2 + gamma2)
    series = 1 + variance * (3 * x2 - gamma2) * inverse * inverse
    return lines.area[line] * gamma / math.pi * inverse * series


def _far(lines: Lines, wings: Lines, angle: FloatArray, radius: FloatArray) -> FloatArray:
    """Sum of the wings beyond their radius [k], faded in from half of it, at sorted angles [n]."""
    count = max(4, math.ceil(float(angle[-1] - angle[0]) / (0.5 * radius.min() / _FAR_POINTS)) + 1)
    grid = np.linspace(angle[0], angle[-1], count)
    total = np.zeros(count)
    amplitude, gamma2 = wings.area * wings.lorentz / (2 * math.pi), (wings.lorentz / 2) ** 2
    variance = (wings.gauss / FWHM) ** 2
    step = max(1, _BLOCK // len(lines))
    for start in range(0, count, step):
        here = grid[start : start + step, None]
        x2 = (here - wings.position) ** 2
        inverse = 1 / (x2 + gamma2)
        value = inverse * (1 + variance * (3 * x2 - gamma2) * inverse * inverse)
        value *= _fade(np.abs(here - lines.position) / radius)
        total[start : start + step] = value @ amplitude
    return CubicSpline(grid, total)(angle)


def _fade(u: FloatArray) -> FloatArray:
    """0 below 1/2, 1 above 1, twice continuously differentiable."""
    t = np.clip(2 * u - 1, 0.0, 1.0)
    return t * t * t * (10 + t * (6 * t - 15))


def _within(angle: FloatArray, position: FloatArray, radius: FloatArray) -> tuple[IntArray, IntArray]:
    """(point [m], line [m]) of all pairs of a sorted angle and a line that are nearer than radius [k]."""
    first = np.searchsorted(angle, position - radius, side="left")
    last = np.searchsorted(angle, position + radius, side="right")
    number = last - first
    line = np.repeat(np.arange(len(position)), number)
    before = np.concatenate([[0], np.cumsum(number)[:-1]])
    point = np.arange(len(line)) - np.repeat(before - first, number)
    return point, line


def _dense(points: int, lines: int) -> tuple[IntArray, IntArray]:
    return np.repeat(np.arange(points), lines), np.tile(np.arange(lines), points)
