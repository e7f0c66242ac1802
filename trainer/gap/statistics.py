"""Statistics of a powder pattern on the canonical grid, the same code for measured and simulated ones.

A pattern is an intensity [L] (maximum 1) with a coverage [L] on a uniform axis in Cu K-alpha1-equivalent
2-theta, as `eg_agent.patterns.Grid.project` and `simulators.PatternStream` give it. Nothing here knows a
label. A statistic that a pattern cannot give (no isolated line at high angle) is NaN.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import signal
from scipy.ndimage import uniform_filter1d

Floats = npt.NDArray[np.float64]

#: Half width (degrees) of the widest clipping window of the baseline: wider than lines, narrower than humps.
BASELINE_REACH = 2.0
#: Width (degrees) of the running mean that the baseline and the search for lines look at.
BASELINE_SMOOTHING = 0.15
#: A line stands out of its surroundings by this many times the noise, and by this share of the highest.
LINE_NOISE, LINE_SHARE = 6.0, 0.01
#: Widths are taken of lines of at least this share of the highest, and this many times the noise.
WIDTH_SHARE, WIDTH_NOISE = 0.05, 12.0
#: Ranges (degrees) in which widths are taken, and where the low angles end.
RANGES = {"fwhm_low": (12.0, 35.0), "fwhm_middle": (35.0, 55.0), "fwhm_high": (55.0, 85.0)}
LOW_ANGLE = 30.0


@dataclass(frozen=True)
class Statistic:
    """A statistic: its name here, a family (one figure each), what a picture calls it, a log axis or not."""

    name: str
    family: str
    label: str
    log: bool = False


STATISTICS: tuple[Statistic, ...] = (
    Statistic("fwhm_low", "widths", "FWHM at 12-35° (°)", log=True),
    Statistic("fwhm_middle", "widths", "FWHM at 35-55° (°)", log=True),
    Statistic("fwhm_high", "widths", "FWHM at 55-85° (°)", log=True),
    Statistic("tail_ratio", "widths", "full width at 1/5 over FWHM"),
    Statistic("background_share", "background", "background share of the area"),
    Statistic("background_low", "background", "share of the background below 30°"),
    Statistic("zero_share", "background", "share of points at zero"),
    Statistic("noise", "noise", "noise over the highest line", log=True),
    Statistic("roughness", "noise", "correlation of neighbouring steps"),
    Statistic("lines", "lines", "lines resolved", log=True),
    Statistic("strong_lines", "lines", "lines above 20 % of the highest", log=True),
    Statistic("median_line", "lines", "median line over the highest", log=True),
    Statistic("low_angle_share", "lines", "share of the lines' area below 30°"),
    Statistic("covered", "lines", "share of 5-90° covered"),
)
NAMES = tuple(statistic.name for statistic in STATISTICS)


def baseline(intensity: npt.ArrayLike, step: float) -> Floats:
    """[B, L] slow part below the lines of patterns [B, L] on an axis of `step` degrees.

    Statistics-sensitive non-linear iterative peak clipping (SNIP: Ryan et al., Nucl. Instrum. Methods
    B 34 (1988) 396) of the square root, on a running mean, with windows from BASELINE_REACH down by
    factors of the square root of 2: all windows in between would add up to clipping humps away.
    """
    y = np.atleast_2d(np.asarray(intensity, dtype=np.float64))
    smooth = uniform_filter1d(y, _points(BASELINE_SMOOTHING, step), axis=1, mode="nearest")
    v = np.sqrt(np.maximum(smooth, 0.0))
    reaches = {_points(BASELINE_REACH * 2.0 ** (-k / 2), step) for k in range(9)}
    for reach in sorted(reaches, reverse=True):
        both = np.pad(v, ((0, 0), (reach, reach)), mode="edge")
        np.minimum(v, 0.5 * (both[:, : v.shape[1]] + both[:, 2 * reach :]), out=v)
    return v * v


def statistics(
    intensity: npt.ArrayLike, coverage: npt.ArrayLike, two_theta: npt.ArrayLike
) -> dict[str, Floats]:
    """Every statistic of STATISTICS, [B] each, of patterns [B, L] with coverage [B, L] at angles [L].

    fwhm_*: median full width at half maximum (degrees) of the isolated lines in a range of angles.
    tail_ratio: median of the full width at a fifth of the height over the FWHM, below 55 degrees (1.52 for
    a Gaussian, 2 for a Lorentzian). background_share: of the area, what is not in lines. background_low:
    share of the baseline below 30 degrees. zero_share: points that are 0 or less. noise: standard
    deviation of white noise that fits the second differences where no line is, over the highest point.
    roughness: correlation of neighbouring differences there, -0.5 for white noise, higher for smoothed or
    interpolated patterns.
    lines: how many stand out. strong_lines: of at least 20 % of the highest. median_line: their median
    height over the highest. low_angle_share: of the area of the lines, what lies below 30 degrees.
    covered: share of the axis, to whole per cents.
    """
    y = np.atleast_2d(np.asarray(intensity, dtype=np.float64))
    covered = np.atleast_2d(np.asarray(coverage, dtype=bool))
    x = np.asarray(two_theta, dtype=np.float64)
    rows = [_of_one(y[i][covered[i]], x[covered[i]]) for i in range(len(y))]
    found = {name: np.array([row.get(name, np.nan) for row in rows]) for name in NAMES}
    # a point or two at the ends is no difference between instruments
    found["covered"] = np.round(covered.mean(axis=1), 2)
    return found


@dataclass(frozen=True, eq=False)
class _Split:
    """A pattern [n], highest point 1, apart into baseline and net; the quiet points; lines by index."""

    y: Floats
    base: Floats
    net: Floats
    quiet: npt.NDArray[np.bool_]
    noise: float
    lines: npt.NDArray[np.intp]
    step: float


def _split(y: Floats, x: Floats) -> _Split | None:
    """Covered part of a pattern at angles [n], uniform but for gaps; None where there is next to nothing."""
    if y.size < 200 or not y.max() > 0:
        return None
    step = float(np.median(np.diff(x)))
    y = y / y.max()
    base = baseline(y, step)[0]
    net = y - base
    quiet = _quiet(y, base, step)
    noise = _noise(y, quiet)
    return _Split(y, base, net, quiet, noise, _lines(net, noise, step), step)


def _of_one(y: Floats, x: Floats) -> dict[str, float]:
    """Statistics of the covered part of one pattern: intensity [n] at angles [n]."""
    split = _split(y, x)
    if split is None:
        return {}
    base, lines = split.base, split.lines
    net = _above_noise(split)
    total = max(float(np.maximum(split.y, 0.0).sum()), 1e-12)
    result = {
        "background_share": float(np.clip(1.0 - net.sum() / total, 0.0, 1.0)),
        "zero_share": float(np.mean(split.y <= 1e-7)),
        "noise": max(split.noise, 1e-6),
        "roughness": _roughness(split.y, split.quiet),
        "lines": float(max(len(lines), 1)),
    }
    if x[0] < LOW_ANGLE - 10.0 and x[-1] > LOW_ANGLE + 10.0:
        low = x < LOW_ANGLE
        result["low_angle_share"] = float(net[low].sum() / max(net.sum(), 1e-12))
        if result["background_share"] > 0.02 and base.any():
            result["background_low"] = float(base[low].sum() / base.sum())
    if not len(lines):
        return result
    height = split.net[lines]
    result["strong_lines"] = float((height >= 0.2 * height.max()).sum())
    result["median_line"] = float(np.median(height / height.max()))
    widths = _widths(split.net, x, lines, split.noise, split.step)
    for name, (first, last) in RANGES.items():
        here = (widths.angle >= first) & (widths.angle < last)
        if here.any():
            result[name] = float(np.median(widths.fwhm[here]))
    clear = np.isfinite(widths.ratio) & (widths.angle < 55.0)
    if clear.any():
        result["tail_ratio"] = float(np.median(widths.ratio[clear]))
    return result


def _above_noise(split: _Split) -> Floats:
    """[n] net intensity where its running mean is three times its noise above the baseline, 0 elsewhere.

    The baseline runs along the lower side of noise, so that all net intensity together would count noise.
    """
    points = _points(BASELINE_SMOOTHING, split.step)
    mean = uniform_filter1d(split.net, points, mode="nearest")
    return np.where(mean > 3.0 * split.noise / np.sqrt(points), split.net, 0.0)


def _points(degrees: float, step: float) -> int:
    return max(1, round(degrees / step))


def _quiet(y: Floats, base: Floats, step: float) -> npt.NDArray[np.bool_]:
    """[n] the half of the points that rise least above the baseline: no line is there."""
    smooth = uniform_filter1d(y, _points(BASELINE_SMOOTHING, step), mode="nearest") - base
    quiet = smooth <= np.median(smooth)
    quiet[:2] = quiet[-2:] = False
    return quiet


def _noise(y: Floats, quiet: npt.NDArray[np.bool_]) -> float:
    second = np.zeros_like(y)
    second[1:-1] = (y[:-2] - 2.0 * y[1:-1] + y[2:]) / np.sqrt(6.0)
    return float(np.sqrt(np.mean(second[quiet] ** 2)))


def _roughness(y: Floats, quiet: npt.NDArray[np.bool_]) -> float:
    first = np.diff(y)
    product, square = np.zeros_like(y), np.zeros_like(y)
    product[1:-1] = first[:-1] * first[1:]
    square[1:-1] = 0.5 * (first[:-1] ** 2 + first[1:] ** 2)
    total = square[quiet].sum()
    return float(product[quiet].sum() / total) if total > 0 else np.nan


def _lines(net: Floats, noise: float, step: float) -> npt.NDArray[np.intp]:
    """Indices of the lines that stand out of noise and of their neighbours."""
    # a light smoothing (variance of one squared point) so that noise on a line does not make it two
    smooth = np.convolve(net, [0.0625, 0.25, 0.375, 0.25, 0.0625], mode="same")
    least = max(LINE_NOISE * noise, LINE_SHARE * smooth.max())
    found, _ = signal.find_peaks(smooth, height=least, prominence=least, distance=_points(0.06, step))
    return found


@dataclass(frozen=True, eq=False)
class _Widths:
    """Of the lines that stand alone: angle [k] and FWHM [k], degrees; ratio [k] of the width at a fifth of
    the height to the FWHM, NaN where a neighbour is too near for it."""

    angle: Floats
    fwhm: Floats
    ratio: Floats


def _widths(net: Floats, x: Floats, lines: npt.NDArray[np.intp], noise: float, step: float) -> _Widths:
    strong = lines[net[lines] > max(WIDTH_SHARE * net.max(), WIDTH_NOISE * noise)]
    if not len(strong):
        return _Widths(np.empty(0), np.empty(0), np.empty(0))
    full = (net[strong], np.zeros_like(strong), np.full_like(strong, net.size - 1))
    half, _, left, right = signal.peak_widths(net, strong, rel_height=0.5, prominence_data=full)
    fifth, _, far_left, far_right = signal.peak_widths(net, strong, rel_height=0.8, prominence_data=full)

    def alone(low: Floats, high: Floats) -> npt.NDArray[np.bool_]:
        """One line only between the two crossings, and about as far to the left as to the right."""
        inside = np.searchsorted(lines, high) - np.searchsorted(lines, low) == 1
        ratio = (strong - low + 0.5) / (high - strong + 0.5)
        return inside & (ratio > 0.5) & (ratio < 2.0)

    isolated = alone(left, right) & (half * step < 1.5)
    clear = alone(far_left, far_right) & (net[strong] > 0.15 * net.max())
    ratio = np.where(clear, fifth / half, np.nan)
    return _Widths(x[strong][isolated], half[isolated] * step, ratio[isolated])


def line_widths(
    intensity: npt.ArrayLike, coverage: npt.ArrayLike, two_theta: npt.ArrayLike
) -> tuple[Floats, Floats, npt.NDArray[np.int64]]:
    """Angles [k] and FWHM [k] (degrees) of all isolated lines of patterns [B, L], and the pattern of each."""
    y = np.atleast_2d(np.asarray(intensity, dtype=np.float64))
    covered = np.atleast_2d(np.asarray(coverage, dtype=bool))
    x = np.asarray(two_theta, dtype=np.float64)
    found, number = [], []
    for i in range(len(y)):
        split = _split(y[i][covered[i]], x[covered[i]])
        if split is not None:
            found.append(_widths(split.net, x[covered[i]], split.lines, split.noise, split.step))
            number.append(np.full(len(found[-1].angle), i))
    if not found:
        return np.empty(0), np.empty(0), np.empty(0, np.int64)
    return (
        np.concatenate([w.angle for w in found]),
        np.concatenate([w.fwhm for w in found]),
        np.concatenate(number),
    )
