"""Line intensities with errors, as a Pawley fit of a powder pattern gives them, straight from a structure.

Making and fitting whole patterns takes a third of a second each. Here a structure's peaks, with texture, a
foreign phase, wrong line shapes and places, and a background a little off, are counted on a coarse grid (four
points a line's width) and fitted by linear least squares in the absence-free lattice, misfit inflating the
variance by the verifier's own rule (`eg_agent.verify.likelihood.local_misfit`). On forbidden lines the errors
are as those of full fits of simulated patterns: 3.1 % of them above 2 standard errors here, 3.7 % there, 1.0
and 0.7 % above 3. A rough sample (1.9 % above 3) has what makes measured ones worse (3.2 %): a second
population of crystallites, K-beta, foreign lines, shapes farther from the fit's (docs/decisions/0020).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.ndimage import gaussian_filter1d

from eg_agent.patterns import Radiation
from eg_agent.patterns.radiation import CU_KALPHA1
from eg_agent.verify import wilson
from eg_agent.verify.candidates import candidate_settings, candidates_on
from eg_agent.verify.lattice_shape import lattice_shape
from eg_agent.verify.likelihood import BLEND, local_misfit
from eg_agent.verify.line_features import features_of
from eg_agent.verify.line_kinds import FAMILIES, kinds_of, parities_of
from eg_agent.verify.lines import Lines, blended, lattice_lines, merge
from eg_agent.verify.metric import Cell, MetricSystem, metric_system, reciprocal, symmetrized
from simulators import Crystal
from simulators.scattering import peak_list

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Rng = np.random.Generator

COPPER = Radiation.anode("Cu")
#: Lines at most, and of the lattice before those that coincide are put together.
MOST_LINES, MOST_APART = 200, 700
#: Lines that are needed to tell anything.
LEAST_LINES = 4
#: Points of the grid a FWHM of the narrowest line; reach of a line, in FWHM, as it is and as it is fitted.
POINTS, REACH, FITTED_REACH = 4, 8.0, 6.0
#: Counts at the highest peak, background over it, and FWHM (degrees; median, log sigma, least, most).
COUNTS, BACKGROUND, WIDTH = (60.0, 3e6), (0.003, 0.5), (0.12, 0.5, 0.04, 0.6)
#: First angle, and last ones (degrees) of which one is drawn.
STARTS, ENDS = (4.0, 12.0), (50.0, 60.0, 60.0, 75.0, 90.0, 110.0)
#: Share by which widths, shapes (three times that) and places (of a width) are not the fit's.
MISFITS = (0.002, 0.005, 0.01, 0.03, 0.06, 0.12)
#: The same of rough samples; relative shift of d (standard deviation) and share (at most) of their second
#: population; share of them with K-beta, and its intensity; wavelengths of K-beta over K-alpha1 (copper).
ROUGH_MISFITS, SECOND, SECOND_MOST = (0.03, 0.06, 0.12, 0.2), 1.5e-3, 0.4
BETA, BETA_SHARE, BETA_RATIO = 0.4, (0.002, 0.03), 1.39222 / 1.54056
#: Share of rough samples with a foreign phase; lone foreign lines (mean number) and their heights.
ROUGH_FOREIGN, LONE, LONE_HEIGHT = 0.7, 3.0, (0.001, 0.03)
#: Log-sigma of what texture and grains do to intensities.
UNEVEN = (0.0, 0.0, 0.05, 0.15, 0.3)
#: Share of samples with a foreign phase, and its height at most.
FOREIGN, FOREIGN_MOST = 0.4, 0.15
#: Share of samples counted longer in windows, lines chosen, and how many times longer at most.
WINDOWED, CHOSEN, LONGER = 0.4, (0.03, 0.1, 0.3), 30.0


@dataclass(frozen=True, eq=False)
class LineSample:
    """Lines of one measurement and the candidates of its lattice.

    values: [k, 15], kinds: [k] and shape: [4] as `LineFeatures`; forbidden: bool [c, k]; groups: [c] of the
    candidates; group: the true one. held_out: whether its formula is kept from training.
    """

    values: Floats
    kinds: Ints
    family: int
    shape: Floats
    forbidden: npt.NDArray[np.bool_]
    groups: Ints
    group: int
    held_out: bool = False


@dataclass(frozen=True, slots=True)
class _Optics:
    """FWHM in degrees near 0, how it grows, and the Lorentz share of the line shape."""

    fwhm: float
    growth: float
    lorentz: float

    def width(self, two_theta: Floats) -> Floats:
        return self.fwhm * np.sqrt(1.0 + self.growth * np.tan(np.radians(0.5 * two_theta)) ** 2)


@dataclass(frozen=True, eq=False)
class _Fitted:
    """Of lines [k]: intensities of either sign with their standard errors, diagonal of the precision, share
    of the variance that is counting noise."""

    intensity: Floats
    sigma: Floats
    precision: Floats
    counting: Floats


def line_sample(
    crystal: Crystal, foreign: Crystal | None, rng: Rng, *, rough: bool = False
) -> LineSample | None:
    """A measurement of a crystal, a foreign one beside it in some; None where there is nothing to see, or, in
    a triclinic lattice, to tell."""
    system = metric_system(crystal.cell)
    if system.name not in FAMILIES:
        return None
    cell = symmetrized(crystal.cell, system)
    shape = lattice_shape(cell)
    assert shape is not None
    median, sigma, least, most = WIDTH
    optics = _Optics(
        float(np.clip(median * math.exp(sigma * rng.standard_normal()), least, most)),
        float(rng.uniform(0.0, 0.6)),
        float(rng.uniform(0.0, 0.9)),
    )
    start, end = float(rng.uniform(*STARTS)), float(rng.choice(ENDS))
    lines, two_theta, end = _lines(cell, system, start, end, optics)
    if len(lines) < LEAST_LINES:
        return None
    peaks = _peaks(crystal, start, end, optics)
    if peaks is None:
        return None
    at, area = peaks
    area = area * np.exp(float(rng.choice(UNEVEN)) * rng.standard_normal(area.size))
    area /= (area / optics.width(at)).max()
    if rough:
        at, area = _roughened(at, area, (start, end), optics, rng)
    if foreign is not None and rng.random() < (ROUGH_FOREIGN if rough else FOREIGN):
        other = _peaks(foreign, start, end, optics)
        if other is not None:
            height = FOREIGN_MOST * float(rng.random()) ** 2
            at = np.append(at, other[0])
            area = np.append(area, other[1] / (other[1] / optics.width(other[0])).max() * height)
    off = float(rng.choice(ROUGH_MISFITS if rough else MISFITS))
    found = _measured(lines, two_theta, (start, end), (at, area), off, optics, rng)
    volume, parities = math.exp(shape.log_volume), parities_of(lines.representative, system)
    values = features_of(
        two_theta=two_theta,
        wavelength=CU_KALPHA1,
        radiation=COPPER,
        intensity=found.intensity,
        sigma=found.sigma,
        precision=found.precision,
        reflections=lines.multiplicity,
        counting=found.counting,
        volume=volume,
        parities=parities,
    )
    candidates = candidates_on(lines, candidate_settings(system, None), system)
    return LineSample(
        values,
        kinds_of(lines.representative, system),
        shape.family,
        shape.numbers,
        np.stack([c.allowed == 0 for c in candidates]),
        np.array([c.setting.group for c in candidates]),
        crystal.group,
    )


def _lines(
    cell: Cell, system: MetricSystem, start: float, end: float, optics: _Optics
) -> tuple[Lines, Floats, float]:
    """Blended lines between two angles, their angles, and the last angle that many lines leave."""
    metric = reciprocal(cell)

    def angles(of: Lines) -> Floats:
        return np.degrees(2.0 * np.arcsin(np.minimum(0.5 * CU_KALPHA1 / of.d(metric), 1.0)))

    lines = lattice_lines(cell, system, 0.5 * CU_KALPHA1 / math.sin(math.radians(0.5 * end)))
    two_theta = angles(lines)
    before = int((two_theta < start).sum())
    if len(lines) - before > MOST_APART:
        lines = lines.head(before + MOST_APART)
        end = float(two_theta[len(lines) - 1])
    lines = lines.tail(before)
    if not len(lines):
        return lines, np.zeros(0), end
    two_theta = angles(lines)
    lines = merge(lines, blended(two_theta, optics.width(two_theta), BLEND))
    if len(lines) > MOST_LINES:
        lines = lines.head(MOST_LINES)
        return lines, angles(lines), float(angles(lines)[-1])
    return lines, angles(lines), end


def _peaks(crystal: Crystal, start: float, end: float, optics: _Optics) -> tuple[Floats, Floats] | None:
    """Angles and areas of a crystal's peaks, a degree beyond the range on either side."""
    d_min = 0.5 * CU_KALPHA1 / math.sin(math.radians(0.5 * min(end + 1.0, 150.0)))
    peaks = peak_list(crystal, d_min, "x-ray", wavelength=CU_KALPHA1)
    at = np.degrees(2.0 * np.arcsin(0.5 * CU_KALPHA1 / peaks.d))
    area = peaks.f2 * peaks.multiplicity * wilson.lorentz_polarisation(at, COPPER)
    inside = at > start - 1.0
    if not (area[inside] > 0.0).any():
        return None
    return at[inside], area[inside]


def _roughened(
    at: Floats, area: Floats, ends: tuple[float, float], optics: _Optics, rng: Rng
) -> tuple[Floats, Floats]:
    """Peaks with a second population, K-beta and lone foreign lines beside them."""
    sine = np.sin(np.radians(0.5 * at))

    def moved(ratio: float) -> Floats:
        return np.degrees(2.0 * np.arcsin(np.minimum(sine * ratio, 0.9999)))

    share = SECOND_MOST * float(rng.random())
    angles, areas = (
        [at, moved(1.0 + SECOND * float(rng.standard_normal()))],
        [area * (1.0 - share), area * share],
    )
    if rng.random() < BETA:
        angles.append(moved(BETA_RATIO))
        areas.append(area * _log_uniform(rng, *BETA_SHARE))
    lone = rng.uniform(*ends, size=int(rng.poisson(LONE)))
    angles.append(lone)
    areas.append(np.exp(rng.uniform(*np.log(LONE_HEIGHT), size=lone.size)) * optics.width(lone))
    return np.concatenate(angles), np.concatenate(areas)


def _measured(
    lines: Lines,
    two_theta: Floats,
    ends: tuple[float, float],
    peaks: tuple[Floats, Floats],
    off: float,
    optics: _Optics,
    rng: Rng,
) -> _Fitted:
    """Lines that were counted and fitted; off: by which shapes are not the fit's."""
    step = optics.fwhm / POINTS
    grid = np.arange(ends[0] - 0.5, ends[1] + 0.5, step)
    at, area = peaks
    width = optics.width(at)
    # all lines a little too wide, and each by itself
    wrong = width * max(0.2, 1.0 + 2.0 * off * float(rng.standard_normal()))
    wrong = wrong * np.exp(off * rng.standard_normal(at.size))
    shape = float(np.clip(optics.lorentz + 3.0 * off * rng.standard_normal(), 0.0, 1.0))
    moved = at + off * width * rng.standard_normal(at.size)
    true = profile(grid, moved, wrong, shape, REACH) @ area
    background = _log_uniform(rng, *BACKGROUND)
    scale = _log_uniform(rng, *COUNTS) * step / 0.04
    times = _times(grid, two_theta, optics, rng)
    counts = rng.poisson(np.minimum((true + background) * scale * times, 1e9)).astype(np.float64)
    drift = np.cumsum(rng.standard_normal(grid.size)) / math.sqrt(grid.size)
    taken = background * (
        1.0 + 0.003 * float(rng.standard_normal()) + 0.02 * float(rng.choice([0, 0, 1])) * drift
    )
    smooth = 0.1 * off * float(rng.standard_normal()) * gaussian_filter1d(true, 12.0 * POINTS)
    y = counts / (scale * times) - taken - smooth
    variance = np.maximum(gaussian_filter1d(counts, 2.0), 0.15) / (scale * times) ** 2
    matrix = profile(grid, two_theta, optics.width(two_theta), optics.lorentz, FITTED_REACH)
    intensity, _, _ = _solved(matrix, y, variance)
    residual = y - matrix @ np.maximum(intensity, 0.0)
    inflated = local_misfit(residual / np.sqrt(variance), float(POINTS), len(lines), times)
    intensity, sigma, precision = _solved(matrix, y, variance * inflated)
    return _Fitted(intensity, sigma, precision, 1.0 / np.interp(two_theta, grid, inflated))


def profile(grid: Floats, at: Floats, width: Floats, lorentz: float, reach: float) -> sparse.csr_matrix:
    """[n, k] pseudo-Voigt lines of unit area at `at` (degrees), cut at `reach` widths on either side."""
    low, high = np.searchsorted(grid, at - reach * width), np.searchsorted(grid, at + reach * width)
    count = high - low
    column = np.repeat(np.arange(at.size), count)
    row = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + np.repeat(low, count)
    x, w = grid[row] - at[column], width[column]
    sigma = w / 2.3548
    gauss = np.exp(-0.5 * (x / sigma) ** 2) / (sigma * math.sqrt(2.0 * math.pi))
    cauchy = 0.5 * w / math.pi / (x**2 + 0.25 * w**2)
    value = (1.0 - lorentz) * gauss + lorentz * cauchy
    return sparse.csr_matrix((value, (row, column)), shape=(grid.size, at.size))


def _times(grid: Floats, two_theta: Floats, optics: _Optics, rng: Rng) -> Floats:
    """[n] relative counting times: longer in windows around some lines, or the same everywhere."""
    times = np.ones(grid.size)
    if rng.random() >= WINDOWED:
        return times
    for _ in range(int(rng.integers(1, 4))):
        chosen = rng.random(two_theta.size) < float(rng.choice(CHOSEN))
        near = np.zeros(grid.size, dtype=bool)
        for centre in two_theta[chosen]:
            near |= np.abs(grid - centre) < 1.5 * optics.width(np.array(centre))
        times[near] *= _log_uniform(rng, 1.0, LONGER)
    return times


def _solved(matrix: sparse.csr_matrix, y: Floats, variance: Floats) -> tuple[Floats, Floats, Floats]:
    """Unconstrained intensities, standard errors and diagonal of the precision, [k] each."""
    weight = 1.0 / variance
    normal = (matrix.T @ sparse.diags(weight) @ matrix).toarray()
    moment = matrix.T @ (weight * y)
    diagonal = np.maximum(np.diag(normal), 1e-12)
    scale = 1.0 / np.sqrt(diagonal)
    inverse = np.linalg.inv(normal * np.outer(scale, scale) + 1e-6 * np.eye(scale.size))
    return (
        scale * (inverse @ (scale * moment)),
        scale * np.sqrt(np.maximum(np.diag(inverse), 0.0)),
        diagonal,
    )


def _log_uniform(rng: Rng, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
