"""Peak search: positions of Bragg lines with standard errors, K-alpha2 taken into account.

Candidates are maxima of a zero-area filter (minus the second derivative of a Gaussian as wide as the
pattern's own lines), which is blind to a sloping background and parts overlapped lines (Mariscotti,
Nucl. Instrum. Methods 50 (1967) 309), and of one twice as wide where that one sees nothing. The noise is
what the filter's own output scatters by, so that smoothed data do not look sure. Groups of overlapped
candidates are then fitted by pseudo-Voigt lines (`peak_group`), each with its K-alpha2 where the radiation
has one and smeared to low angle by axial divergence where the pattern shows it, on a sloping background;
standard errors come from the fit's covariance, widened by its misfit.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from scipy import signal
from scipy.optimize import nnls
from scipy.signal import fftconvolve

from eg_agent.patterns.pattern import Pattern
from eg_agent.patterns.radiation import ANODES
from eg_agent.verify.peak_group import LineModel, PeakGroup
from eg_agent.verify.stray import stray_lines

Floats = npt.NDArray[np.floating]

#: Filtered signal over its noise above which a maximum is a candidate, and fitted area over its error
#: above which it is kept.
DETECT = 4.5
KEEP = 4.0
#: Values of axial divergence (S + H) / L that are tried.
AXIAL = (0.0, 0.02, 0.04, 0.06, 0.08, 0.10)
#: A stated wavelength this close (relative) to K-alpha1 or the mean K-alpha of an anode may be a doublet.
_NEAR_ANODE = 7e-4
#: Lines of an overlapped group that are fitted together; longer groups are parted at their widest gap.
_GROUP = 8
#: Points a block in which noise is estimated.
_BLOCK = 40
#: Median absolute scatter, over blocks of 8 widths of filtered white noise of variance 1, that a tenth of the
#: blocks stay below (simulated, for widths of 4 to 40 points).
_QUIET_TENTH = 0.72


@dataclass(frozen=True, eq=False)
class Peaks:
    """Bragg lines, in ascending angle.

    two_theta [k]: degrees, for `wavelength`; sigma [k]: its standard error, degrees.
    area [k]: integrated intensity, pattern units times degrees; significance [k]: area over its error.
    fwhm [k]: full width at half maximum, degrees.
    wavelength: angstrom that the positions belong to: K-alpha1 where a doublet was fitted.
    doublet: lines were fitted with their K-alpha2. axial: (S + H) / L that they were smeared with.
    stray [k]: the line is probably one of another wavelength (K-beta, tungsten L-alpha).
    """

    two_theta: Floats
    sigma: Floats
    area: Floats
    significance: Floats
    fwhm: Floats
    wavelength: float
    doublet: bool
    axial: float = 0.0
    stray: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))

    def __post_init__(self) -> None:
        if self.stray.size != self.two_theta.size:
            object.__setattr__(self, "stray", np.zeros(self.two_theta.size, dtype=bool))

    def __len__(self) -> int:
        return int(self.two_theta.size)

    @property
    def q(self) -> Floats:
        """[k] 1/d^2, 1/angstrom^2."""
        return (2.0 * np.sin(np.radians(self.two_theta / 2)) / self.wavelength) ** 2

    @property
    def d(self) -> Floats:
        """[k] angstrom."""
        return 1.0 / np.sqrt(self.q)


def find_peaks(pattern: Pattern, *, limit: int = 100, deadline: float = math.inf) -> Peaks:
    """The lines of a pattern, at most `limit` of them from the lowest angle up.

    A stated wavelength that is the mean K-alpha of an anode is taken as the doublet that it stands for;
    at K-alpha1 the pattern itself decides whether the second line is there.
    """
    x, y = pattern.two_theta, pattern.intensity
    noise = noise_of(pattern)
    width = _typical_fwhm(x, y, noise)
    candidates, strength, excess = _candidates(x, y, noise, width, _is_counted(pattern))
    noise = noise * excess
    lines = _lines_of(pattern, candidates, strength, width, noise)
    if lines.second is not None:
        candidates, strength = _without_partners(candidates, strength, lines, width)
    lines = replace(lines, axial=_axial(x, y, noise, candidates, strength, width, lines))
    found: list[tuple[float, ...]] = []
    for group in _groups(candidates[: 2 * limit], width, lines):
        if time.perf_counter() > deadline:
            break
        found += _fit_group(x, y, noise, group, width, lines)
    found.sort()
    table = np.array(found[:limit]).reshape(-1, 5)
    return Peaks(
        two_theta=table[:, 0],
        sigma=table[:, 1],
        area=table[:, 2],
        significance=table[:, 3],
        fwhm=table[:, 4],
        wavelength=lines.wavelength,
        doublet=lines.second is not None,
        axial=lines.axial,
        stray=stray_lines(
            table[:, 0],
            table[:, 1],
            table[:, 2],
            table[:, 3],
            table[:, 4],
            lines.wavelength,
            pattern.radiation,
        ),
    )


def noise_of(pattern: Pattern) -> Floats:
    """[n] standard error of each point: stated, Poisson, or estimated as sqrt(c + k * intensity).

    The estimate takes c and k from second differences in blocks of points: of the blocks of about equal
    level the quieter ones count, as lines add to the scatter of the others. Differences at two spacings
    are compared, so that data which were smoothed or resampled are not called noiseless.
    """
    y = pattern.intensity
    if pattern.sigma is not None and np.all(pattern.sigma > 0):
        return np.asarray(pattern.sigma)
    if pattern.raw_counts:
        return np.sqrt(np.maximum(np.convolve(np.pad(y, 2, mode="edge"), np.full(5, 0.2), "valid"), 1.0))
    span = float(np.ptp(y))
    if len(y) < 4 * _BLOCK:
        return np.full(len(y), max(1.05 * float(np.median(np.abs(np.diff(y)))), 1e-4 * span, 1e-12))
    n = len(y) // _BLOCK
    level = np.median(y[: n * _BLOCK].reshape(n, _BLOCK), axis=1)
    variance = np.maximum(_block_variance(y, 1), 0.6 * _block_variance(y, 2))
    sure = variance > 0  # clipped stretches have no scatter
    if not sure.any():
        return np.full(len(y), max(1e-3 * span, 1e-12))
    level, variance = np.maximum(level[sure], 0.0), variance[sure]
    order = np.argsort(level)
    bins = np.array_split(order, min(6, max(len(order) // 12, 1)))
    centre = np.array([level[b].mean() for b in bins])
    quiet = np.array([np.percentile(variance[b], 35) for b in bins])
    design = np.stack([np.ones_like(centre), centre], axis=1) / quiet[:, None]
    offset, slope = nnls(design, np.ones_like(quiet))[0]
    # Where blocks are all alike the slope is unknown: under lines then expect Poisson noise at the least.
    slope = max(slope, 0.3 * float(np.median(quiet / np.maximum(centre, 1e-3 * span))))
    return np.maximum(np.sqrt(offset + slope * np.maximum(y, 0.0)), max(1e-4 * span, 1e-12))


def _is_counted(pattern: Pattern) -> bool:
    return pattern.raw_counts or (pattern.sigma is not None and bool(np.all(pattern.sigma > 0)))


def _block_variance(y: Floats, lag: int) -> Floats:
    """[blocks] robust variance of a point, from second differences at a spacing."""
    residual = np.zeros(len(y))
    residual[lag:-lag] = y[lag:-lag] - 0.5 * (y[2 * lag :] + y[: -2 * lag])
    n = len(y) // _BLOCK
    return (np.median(np.abs(residual[: n * _BLOCK].reshape(n, _BLOCK)), axis=1) / 0.6745) ** 2 / 1.5


def _typical_fwhm(x: Floats, y: Floats, noise: Floats) -> Floats:
    """[2] FWHM = w0 + w1 * tan(theta), degrees, from half heights of the strongest maxima."""
    smooth = np.convolve(np.pad(y, 1, mode="edge"), [0.25, 0.5, 0.25], "valid")
    step = float(np.median(np.diff(x)))
    at, found = signal.find_peaks(smooth, prominence=6 * noise)
    prominence = found["prominences"]
    # Maxima that stand out by half of their height over the floor: not ripples on a tail or a shoulder.
    alone = prominence > 0.5 * (smooth[at] - _floor(smooth)[at])
    at, prominence = at[alone], prominence[alone]
    if not len(at):
        return np.array([max(0.1, 4 * step), 0.0])
    strongest = np.argsort(-prominence / np.sqrt(noise[at]))[:40]
    at = at[strongest]
    width = signal.peak_widths(smooth, at, rel_height=0.5)[0] * step
    tan = np.tan(np.radians(x[at] / 2))
    middle = float(np.median(width))
    sane = (width > 0.4 * middle) & (width < 1.8 * middle)  # overlapped lines are too wide
    tan, width = tan[sane], width[sane]
    if len(tan) >= 8 and np.ptp(tan) > 0.1:
        slope, offset = np.polyfit(tan, width, 1)
        slope = float(np.clip(slope, 0.0, 2 * middle))
        offset = float(np.median(width - slope * tan))
        if offset > 0.3 * middle:
            return np.array([max(offset, 1.5 * step), slope])
    return np.array([max(float(np.median(width)), 1.5 * step), 0.0])


def _fwhm_at(width: Floats, two_theta: Floats) -> Floats:
    return width[0] + width[1] * np.tan(np.radians(np.minimum(two_theta, 160.0) / 2))


def _floor(y: Floats, window: int | None = None) -> Floats:
    """A slowly varying lower level [n]: running 20th percentile by blocks, between straight lines."""
    window = window or max(len(y) // 60, 25)
    blocks = np.array_split(np.arange(len(y)), max(len(y) // window, 1))
    centre = [float(b.mean()) for b in blocks]
    level = [float(np.percentile(y[b], 20)) for b in blocks]
    return np.interp(np.arange(len(y)), centre, level)


def _candidates(
    x: Floats, y: Floats, noise: Floats, width: Floats, counted: bool
) -> tuple[Floats, Floats, float]:
    """Angles and signal over noise of the maxima of the filtered pattern, ascending in angle.

    counted: `noise` is sure, by counts or as stated. The third value is the factor by which noise exceeds
    `noise`, 1 or above.
    """
    step = float(np.median(np.diff(x)))
    fine = np.arange(x[0], x[-1] + 0.5 * step, step)
    if len(fine) != len(x) or not np.allclose(fine, x, atol=0.1 * step):
        y, noise = np.interp(fine, x, y), np.interp(fine, x, noise)
    local = _fwhm_at(width, fine)
    narrow, excess = _filtered(y, noise, local, step, counted)
    at, top = _maxima(narrow)
    broad, _ = _filtered(y, noise, 2.2 * local, step, counted)
    more, more_top = _maxima(broad)
    if len(at) and len(more):
        # What the narrow filter sees as one line or several, it places better.
        near = np.abs(fine[at][:, None] - fine[more]).min(axis=0)
        fresh = near > 1.5 * local[more]
        more, more_top = more[fresh], more_top[fresh]
    places = np.concatenate([_placed(narrow, at), _placed(broad, more)])
    order = np.argsort(places)
    return fine[0] + step * places[order], np.concatenate([top, more_top])[order], excess


def _filtered(y: Floats, noise: Floats, local: Floats, step: float, counted: bool) -> tuple[Floats, float]:
    """Filtered signal over its noise [n], with filters of a few widths, each used where lines are about as
    wide; and the factor by which it scatters more than `noise` says, 1 or above (taken out already).

    The scatter is that of the quietest tenth of the pattern, by blocks: lines add to it everywhere else.
    """
    best = np.full(len(y), -np.inf)
    nodes = np.unique(np.round(np.geomspace(local.min(), max(local.max(), local.min() * 1.001), 4), 6))
    nearest = np.abs(np.log(local[:, None] / nodes)).argmin(axis=1)
    for j, fwhm in enumerate(nodes):
        sigma = min(max(0.8 * fwhm / 2.3548 / step, 0.6), max(len(y) / 12, 0.6))
        reach = int(np.ceil(4.5 * sigma))
        u = np.arange(-reach, reach + 1) / sigma
        kernel = (1 - u**2) * np.exp(-0.5 * u**2)
        kernel -= kernel.mean()
        signal_ = fftconvolve(np.pad(y, reach, mode="reflect"), kernel, "valid")
        variance = fftconvolve(np.pad(noise**2, reach, mode="reflect"), kernel**2, "valid")
        best = np.where(nearest == j, signal_ / np.sqrt(np.maximum(variance, 1e-300)), best)
    block = int(max(8 * np.median(local) / step, 16))
    n = len(y) // block
    if counted or n < 10:
        return best, 1.0
    scatter = np.median(np.abs(best[: n * block].reshape(n, block)), axis=1) / 0.6745
    excess = float(np.percentile(scatter, 10)) / _QUIET_TENTH
    if excess < 1.3:  # what white noise may give, too
        return best, 1.0
    return best / excess, excess


def _maxima(ratio: Floats) -> tuple[npt.NDArray[np.int64], Floats]:
    inner = ratio[1:-1]
    at = np.flatnonzero((inner > DETECT) & (inner >= ratio[:-2]) & (inner > ratio[2:])) + 1
    return at, ratio[at]


def _placed(ratio: Floats, at: npt.NDArray[np.int64]) -> Floats:
    """Places of maxima, in points, by a parabola through three of them."""
    left, top, right = ratio[at - 1], ratio[at], ratio[at + 1]
    bend = left - 2 * top + right
    shift = np.where(bend < 0, 0.5 * (left - right) / np.where(bend < 0, bend, -1.0), 0.0)
    return np.asarray(at + np.clip(shift, -0.5, 0.5), dtype=np.float64)


def _axial(
    x: Floats, y: Floats, noise: Floats, candidates: Floats, strength: Floats, width: Floats, lines: LineModel
) -> float:
    """Axial divergence (S + H) / L with which strong lines of low angle are fitted best; 0 where none helps.

    The chi-squared of a few lines that stand alone is asked at each of AXIAL; each line has one vote, as a
    misfit of its own must not decide.
    """
    fwhm = _fwhm_at(width, candidates)
    seen = np.degrees(0.5 * max(AXIAL) ** 2 / np.tan(np.radians(np.clip(candidates, 1.0, 80.0)))) > 0.4 * fwhm
    useful = np.flatnonzero(seen & (strength > 15.0) & (candidates < 80.0))
    loss = np.zeros(len(AXIAL))
    used = 0
    for i in useful[np.argsort(-strength[useful])]:
        other = np.abs(candidates - candidates[i])
        if ((other > 0) & (other < 5 * fwhm[i]) & (strength > 0.03 * strength[i])).any():
            continue
        chi2 = []
        for axial in AXIAL:
            group = PeakGroup(x, y, noise, candidates[i : i + 1], float(fwhm[i]), replace(lines, axial=axial))
            chi2.append(group.chi2(group.solve()) / max(len(group.x) - 6, 1))
        loss += np.log(np.maximum(chi2, 0.5))
        used += 1
        if used == 6:
            break
    if used < 2 or loss[0] - loss.min() < 0.1 * used:
        return 0.0
    at = int(np.argmin(loss))
    if 0 < at < len(AXIAL) - 1:
        bend = loss[at - 1] - 2 * loss[at] + loss[at + 1]
        shift = 0.5 * (loss[at - 1] - loss[at + 1]) / bend if bend > 0 else 0.0
        return float(AXIAL[at] + np.clip(shift, -0.5, 0.5) * (AXIAL[1] - AXIAL[0]))
    return float(AXIAL[at])


def _lines_of(
    pattern: Pattern, candidates: Floats, strength: Floats, width: Floats, noise: Floats
) -> LineModel:
    """Which wavelengths the lines have: stated, implied by a mean K-alpha, or tested on the pattern."""
    radiation = pattern.radiation
    if radiation.kind != "x-ray":
        return LineModel(radiation.wavelength)
    if radiation.wavelength2 is not None:
        return LineModel(radiation.wavelength, radiation.wavelength2, radiation.ratio)
    for first, second, _ in ANODES.values():
        mean = (2 * first + second) / 3
        if abs(radiation.wavelength / mean - 1) < 2e-4:
            return LineModel(first, second)
        if abs(radiation.wavelength / first - 1) < _NEAR_ANODE:
            doublet = LineModel(radiation.wavelength, radiation.wavelength * second / first)
            return (
                doublet
                if _has_partner(pattern, candidates, strength, width, noise, doublet)
                else LineModel(radiation.wavelength)
            )
    return LineModel(radiation.wavelength)


def _has_partner(
    pattern: Pattern, candidates: Floats, strength: Floats, width: Floats, noise: Floats, doublet: LineModel
) -> bool:
    """Whether strong lines are fitted better with a K-alpha2 than without (summed chi-squared)."""
    fwhm = _fwhm_at(width, candidates)
    parted = np.nan_to_num(doublet.partner(candidates), nan=0.0) - candidates
    # Only lines whose second one would show, strongest first, and not those on a stronger one's flank.
    useful = np.flatnonzero(parted > 0.3 * fwhm)
    single = LineModel(doublet.wavelength)
    x, y = pattern.two_theta, pattern.intensity
    gain, used = 0.0, 0
    for i in useful[np.argsort(-strength[useful])]:
        other = np.abs(candidates - candidates[i])
        near = (other > 0) & (other < 3 * fwhm[i] + parted[i])
        after = np.abs(candidates - candidates[i] - parted[i]) < 0.5 * fwhm[i]
        if (near & ~after & (strength > 0.3 * strength[i])).any() or (near & (strength > strength[i])).any():
            continue
        without, with_it = (
            _misfit(x, y, noise, candidates[i : i + 1], width, lines) for lines in (single, doublet)
        )
        # A misfit that both share must not decide: the ratio of chi-squared does, a vote a line.
        gain += float(np.clip(np.log(max(without, 1e-9) / max(with_it, 1e-9)), -1.0, 1.0))
        used += 1
        if used == 12:
            break
    return gain > 0.0


def _misfit(x: Floats, y: Floats, noise: Floats, group: Floats, width: Floats, lines: LineModel) -> float:
    model = PeakGroup(x, y, noise, group, float(_fwhm_at(width, group.mean())), lines)
    return model.chi2(model.solve())


def _without_partners(
    candidates: Floats, strength: Floats, lines: LineModel, width: Floats
) -> tuple[Floats, Floats]:
    """Candidates less those that are the second wavelength's line of a stronger one."""
    keep = np.ones(len(candidates), dtype=bool)
    partner = lines.partner(candidates)
    for i, at in enumerate(partner):
        if not np.isfinite(at):
            continue
        near = np.abs(candidates - at) < 0.35 * _fwhm_at(width, np.array([at]))[0]
        separate = at - candidates[i] > 0.6 * _fwhm_at(width, np.array([at]))[0]
        weaker = strength < 0.85 * strength[i]
        if separate:
            keep &= ~(near & weaker & (np.arange(len(candidates)) != i))
    return candidates[keep], strength[keep]


def _groups(candidates: Floats, width: Floats, lines: LineModel) -> list[Floats]:
    """Candidates parted into groups that overlap, none longer than _GROUP."""
    if not len(candidates):
        return []
    end = candidates if lines.second is None else np.fmax(candidates, lines.partner(candidates))
    gaps = (candidates[1:] - end[:-1]) / _fwhm_at(width, candidates[1:])
    parts = np.split(candidates, np.flatnonzero(gaps > 5.5) + 1)
    done: list[Floats] = []
    while parts:
        part = parts.pop(0)
        if len(part) <= _GROUP:
            done.append(part)
            continue
        cut = 1 + int(np.argmax(np.diff(part)[1:-1])) + 1
        parts = [part[:cut], part[cut:], *parts]
    return done


def _fit_group(
    x: Floats, y: Floats, noise: Floats, start: Floats, width: Floats, lines: LineModel
) -> list[tuple[float, ...]]:
    """(two_theta, sigma, area, significance, fwhm) of the lines of a group that are kept."""
    while len(start):
        group = PeakGroup(x, y, noise, start, float(_fwhm_at(width, start.mean())), lines)
        if len(group.x) < 2 * group.k + 5:
            return []
        p = group.solve()
        error, area_error = group.errors(p)
        k = group.k
        at, area = p[:k], p[k : 2 * k]
        fwhm = float(np.exp(p[2 * k]))
        significance = area / np.maximum(area_error, 1e-300)
        lost = (significance < KEEP) | (area <= 0)
        merged = np.zeros(k, dtype=bool)
        merged[1:] = np.diff(at) < 0.25 * fwhm
        if not (lost | merged).any():
            sigma = np.maximum(error[:k], 1e-3 * fwhm)  # numerical
            columns = (at, sigma, area, significance, np.full(k, fwhm))
            return [tuple(map(float, row)) for row in zip(*columns, strict=True)]
        # One at a time, the least significant first: its neighbours take over what was its.
        worst = np.argmin(np.where(lost | merged, significance, np.inf))
        start = np.delete(at, worst)
    return []
