"""Peak search: positions of Bragg lines with standard errors, K-alpha2 taken into account.

Candidates are maxima of a zero-area filter (minus the second derivative of a Gaussian as wide as the
pattern's own lines), which is blind to a sloping background and parts overlapped lines (Mariscotti,
Nucl. Instrum. Methods 50 (1967) 309). Groups of overlapped candidates are then fitted by
pseudo-Voigt lines, each with its K-alpha2 where the radiation has one, on a sloping background;
standard errors come from the fit's covariance, widened by its misfit.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy import signal
from scipy.optimize import nnls

from eg_agent.patterns.pattern import Pattern
from eg_agent.patterns.radiation import ANODES

Floats = npt.NDArray[np.floating]

#: Filtered signal over its noise above which a maximum is a candidate, and fitted area over its error
#: above which it is kept.
DETECT = 4.5
KEEP = 4.0
#: A stated wavelength this close (relative) to K-alpha1 or the mean K-alpha of an anode may be a doublet.
_NEAR_ANODE = 7e-4
#: Lines of an overlapped group that are fitted together; longer groups are parted at their widest gap.
_GROUP = 8
#: Points a block in which noise is estimated.
_BLOCK = 40
_FOUR_LN2 = 4.0 * np.log(2.0)


@dataclass(frozen=True, eq=False)
class Peaks:
    """Bragg lines, in ascending angle.

    two_theta [k]: degrees, for `wavelength`; sigma [k]: its standard error, degrees.
    area [k]: integrated intensity, pattern units times degrees; significance [k]: area over its error.
    fwhm [k]: full width at half maximum, degrees.
    wavelength: angstrom that the positions belong to: K-alpha1 where a doublet was fitted.
    doublet: lines were fitted with their K-alpha2.
    stray [k]: the line is probably one of another wavelength (K-beta, tungsten L-alpha).
    """

    two_theta: Floats
    sigma: Floats
    area: Floats
    significance: Floats
    fwhm: Floats
    wavelength: float
    doublet: bool
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


@dataclass(frozen=True, slots=True)
class _Lines:
    """The radiation as lines see it: the wavelength they are placed by, and a second one with its share."""

    wavelength: float
    second: float | None = None
    ratio: float = 0.5

    def partner(self, two_theta: Floats) -> Floats:
        """Angles of the second wavelength's lines, degrees; NaN past 180."""
        assert self.second is not None, "there is no second wavelength"
        s = np.sin(np.radians(two_theta / 2)) * self.second / self.wavelength
        return 2 * np.degrees(np.arcsin(np.where(s < 1.0, s, np.nan)))


def find_peaks(pattern: Pattern, *, limit: int = 100, deadline: float = math.inf) -> Peaks:
    """The lines of a pattern, at most `limit` of them from the lowest angle up.

    A stated wavelength that is the mean K-alpha of an anode is taken as the doublet that it stands for;
    at K-alpha1 the pattern itself decides whether the second line is there.
    """
    x, y = pattern.two_theta, pattern.intensity
    noise = noise_of(pattern)
    width = _typical_fwhm(x, y, noise)
    candidates, strength = _candidates(x, y, noise, width)
    lines = _lines_of(pattern, candidates, strength, width, noise)
    if lines.second is not None:
        candidates = _without_partners(candidates, strength, lines, width)
    candidates = candidates[: 2 * limit]
    fits = [_fit_group(x, y, noise, group, width, lines) for group in _groups(candidates, width, lines)]
    found = [row for rows in fits for row in rows]
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


def _candidates(x: Floats, y: Floats, noise: Floats, width: Floats) -> tuple[Floats, Floats]:
    """Angles and signal over noise of the maxima of the filtered pattern, ascending in angle."""
    step = float(np.median(np.diff(x)))
    fine = np.arange(x[0], x[-1] + 0.5 * step, step)
    if len(fine) != len(x) or not np.allclose(fine, x, atol=0.1 * step):
        y, noise = np.interp(fine, x, y), np.interp(fine, x, noise)
    best = np.full(len(fine), -np.inf)
    # Filters of a few widths, each used where lines are about as wide.
    local = _fwhm_at(width, fine)
    nodes = np.unique(np.round(np.geomspace(local.min(), max(local.max(), local.min() * 1.001), 4), 6))
    nearest = np.abs(np.log(local[:, None] / nodes)).argmin(axis=1)
    for j, fwhm in enumerate(nodes):
        sigma = max(0.8 * fwhm / 2.3548 / step, 0.6)
        reach = int(np.ceil(4.5 * sigma))
        u = np.arange(-reach, reach + 1) / sigma
        kernel = (1 - u**2) * np.exp(-0.5 * u**2)
        kernel -= kernel.mean()
        pad = (np.pad(y, reach, mode="reflect"), np.pad(noise**2, reach, mode="reflect"))
        ratio = np.convolve(pad[0], kernel, "valid") / np.sqrt(np.convolve(pad[1], kernel**2, "valid"))
        best = np.where(nearest == j, ratio, best)
    inner = best[1:-1]
    at = np.flatnonzero((inner > DETECT) & (inner >= best[:-2]) & (inner > best[2:])) + 1
    # A parabola through three points places the maximum between them.
    left, top, right = best[at - 1], best[at], best[at + 1]
    bend = left - 2 * top + right
    shift = np.where(bend < 0, 0.5 * (left - right) / np.where(bend < 0, bend, -1.0), 0.0)
    return fine[at] + step * np.clip(shift, -0.5, 0.5), top


def _lines_of(pattern: Pattern, candidates: Floats, strength: Floats, width: Floats, noise: Floats) -> _Lines:
    """Which wavelengths the lines have: stated, implied by a mean K-alpha, or tested on the pattern."""
    radiation = pattern.radiation
    if radiation.kind != "x-ray":
        return _Lines(radiation.wavelength)
    if radiation.wavelength2 is not None:
        return _Lines(radiation.wavelength, radiation.wavelength2, radiation.ratio)
    for first, second, _ in ANODES.values():
        mean = (2 * first + second) / 3
        if abs(radiation.wavelength / mean - 1) < 2e-4:
            return _Lines(first, second)
        if abs(radiation.wavelength / first - 1) < _NEAR_ANODE:
            doublet = _Lines(radiation.wavelength, radiation.wavelength * second / first)
            return (
                doublet
                if _has_partner(pattern, candidates, strength, width, noise, doublet)
                else _Lines(radiation.wavelength)
            )
    return _Lines(radiation.wavelength)


def _has_partner(
    pattern: Pattern, candidates: Floats, strength: Floats, width: Floats, noise: Floats, doublet: _Lines
) -> bool:
    """Whether strong lines are fitted better with a K-alpha2 than without (summed chi-squared)."""
    fwhm = _fwhm_at(width, candidates)
    parted = np.nan_to_num(doublet.partner(candidates), nan=0.0) - candidates
    # Only lines whose second one would show, strongest first, and not those on a stronger one's flank.
    useful = np.flatnonzero(parted > 0.3 * fwhm)
    single = _Lines(doublet.wavelength)
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


def _misfit(x: Floats, y: Floats, noise: Floats, group: Floats, width: Floats, lines: _Lines) -> float:
    model = _Group(x, y, noise, group, width, lines)
    return model.chi2(model.solve())


def _without_partners(candidates: Floats, strength: Floats, lines: _Lines, width: Floats) -> Floats:
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
    return candidates[keep]


def _groups(candidates: Floats, width: Floats, lines: _Lines) -> list[Floats]:
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


class _Group:
    """Overlapped lines on a sloping background. Parameters: positions [k], areas [k], log FWHM, eta,
    background at both ends."""

    def __init__(self, x: Floats, y: Floats, noise: Floats, start: Floats, width: Floats, lines: _Lines):
        self.k = len(start)
        self.lines = lines
        self.fwhm0 = float(_fwhm_at(width, np.array([start.mean()]))[0])
        last = start[-1]
        if lines.second is not None:
            last = float(np.nan_to_num(lines.partner(start[-1:]), nan=last)[0])
        low, high = start[0] - 2.5 * self.fwhm0, last + 2.5 * self.fwhm0
        first, stop = np.searchsorted(x, [low, high])
        if stop - first < 2 * self.k + 5:
            missing = 2 * self.k + 5 - (stop - first)
            first, stop = max(0, first - missing), min(len(x), stop + missing)
        self.x, self.y, self.noise = x[first:stop], y[first:stop], noise[first:stop]
        self.start = start

    def _profile(self, at: Floats, fwhm: float, eta: float) -> tuple[Floats, Floats, Floats, Floats]:
        """[n, k] area-1 profiles and derivatives by position, log FWHM and eta."""
        u = (self.x[:, None] - at) / fwhm
        lorentz = (2 / np.pi) / fwhm / (1 + 4 * u * u)
        gauss = np.sqrt(_FOUR_LN2 / np.pi) / fwhm * np.exp(-_FOUR_LN2 * u * u)
        value = eta * lorentz + (1 - eta) * gauss
        slope = -u * (eta * lorentz * 8 / (1 + 4 * u * u) + (1 - eta) * gauss * 2 * _FOUR_LN2)
        return value, -slope / fwhm, -(value + slope * u), lorentz - gauss

    def model(self, p: Floats) -> tuple[Floats, Floats]:
        """Calculated pattern [n] and its Jacobian [n, parameters]."""
        k = self.k
        at, area, fwhm, eta = p[:k], p[k : 2 * k], float(np.exp(p[2 * k])), float(p[2 * k + 1])
        value, by_at, by_width, by_eta = self._profile(at, fwhm, eta)
        if self.lines.second is not None:
            r = self.lines.ratio
            other = self._profile(np.nan_to_num(self.lines.partner(at), nan=1e3), fwhm, eta)
            value, by_at, by_width, by_eta = (
                (a + r * b) / (1 + r) for a, b in zip((value, by_at, by_width, by_eta), other, strict=True)
            )
        t = (self.x - self.x[0]) / max(self.x[-1] - self.x[0], 1e-9)
        jacobian = np.column_stack([by_at * area, value, by_width @ area, by_eta @ area, 1 - t, t])
        return value @ area + p[-2] * (1 - t) + p[-1] * t, jacobian

    def chi2(self, p: Floats) -> float:
        """Sum of squared weighted residuals."""
        return float((((self.y - self.model(p)[0]) / self.noise) ** 2).sum())

    def solve(self, rounds: int = 40) -> Floats:
        """Levenberg-Marquardt from the candidates; areas stay non-negative, lines near where they began."""
        k, fwhm0 = self.k, self.fwhm0
        ends = (float(np.percentile(self.y[: max(3, len(self.y) // 5)], 25)),)
        ends += (float(np.percentile(self.y[-max(3, len(self.y) // 5) :], 25)),)
        height = np.interp(self.start, self.x, self.y) - min(ends)
        p = np.concatenate([self.start, np.maximum(height, 0) * fwhm0, [np.log(fwhm0), 0.5], ends])
        low = np.concatenate(
            [self.start - 0.5 * fwhm0, np.zeros(k), [np.log(0.4 * fwhm0), 0.0], [-np.inf, -np.inf]]
        )
        high = np.concatenate(
            [self.start + 0.5 * fwhm0, np.full(k, np.inf), [np.log(2.2 * fwhm0), 1.0], [np.inf, np.inf]]
        )
        damping, chi2 = 1e-3, self.chi2(p)
        for _ in range(rounds):
            calculated, jacobian = self.model(p)
            weighted = jacobian / self.noise[:, None]
            normal = weighted.T @ weighted
            gradient = weighted.T @ ((self.y - calculated) / self.noise)
            diagonal = np.diag(normal).copy()
            diagonal[diagonal <= 0] = 1.0
            improved = False
            for _ in range(5):
                step = np.linalg.solve(
                    normal + np.diag(damping * diagonal + 1e-12 * diagonal.max()), gradient
                )
                trial = np.clip(p + step, low, high)
                trial_chi2 = self.chi2(trial)
                if trial_chi2 < chi2:
                    improved = chi2 - trial_chi2 > 1e-5 * chi2
                    p, chi2, damping = trial, trial_chi2, max(damping / 5, 1e-9)
                    break
                damping *= 6
            if not improved:
                break
        return p

    def errors(self, p: Floats) -> Floats:
        """Standard errors of the parameters, widened by the misfit where it is above 1."""
        weighted = self.model(p)[1] / self.noise[:, None]
        normal = weighted.T @ weighted
        scale = np.sqrt(np.maximum(np.diag(normal), 1e-300))
        inverse = np.linalg.pinv(normal / np.outer(scale, scale), rcond=1e-10)
        freedom = max(len(self.x) - len(p), 1)
        return np.sqrt(np.maximum(np.diag(inverse), 0) * max(self.chi2(p) / freedom, 1.0)) / scale


def _fit_group(
    x: Floats, y: Floats, noise: Floats, start: Floats, width: Floats, lines: _Lines
) -> list[tuple[float, float, float, float, float]]:
    """(two_theta, sigma, area, significance, fwhm) of the lines of a group that are kept."""
    while len(start):
        group = _Group(x, y, noise, start, width, lines)
        if len(group.x) < 2 * group.k + 5:
            return []
        p = group.solve()
        error = group.errors(p)
        k = group.k
        at, area = p[:k], p[k : 2 * k]
        fwhm = float(np.exp(p[2 * k]))
        significance = area / np.maximum(error[k : 2 * k], 1e-300)
        lost = (significance < KEEP) | (area <= 0)
        merged = np.zeros(k, dtype=bool)
        merged[1:] = np.diff(at) < 0.25 * fwhm
        if not (lost | merged).any():
            sigma = np.maximum(error[:k], 0.01 * fwhm)
            columns = (at, sigma, area, significance, np.full(k, fwhm))
            return [tuple(map(float, row)) for row in zip(*columns, strict=True)]  # type: ignore[misc]
        # One at a time, the least significant first: its neighbours take over what was its.
        worst = np.argmin(np.where(lost | merged, significance, np.inf))
        start = np.delete(at, worst)
    return []
