"""From a pattern and a cell to a finished Pawley fit: range, wavelengths, starts, stages, quality."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from eg_agent.patterns.evening import BROUGHT
from eg_agent.patterns.pattern import Pattern
from eg_agent.patterns.radiation import ANODES, Radiation
from eg_agent.verify.data import FitData, prepare, smoothed
from eg_agent.verify.lines import Lines, lattice_lines
from eg_agent.verify.metric import Cell, Floats, MetricSystem, cell_of, reciprocal, volume
from eg_agent.verify.pawley import (
    N_SHARED,
    SHARED,
    Fit,
    Parameters,
    Tolerance,
    free_metric,
    problem_for,
    refine,
)
from eg_agent.verify.settings import VerifySettings
from eg_agent.verify.start import Start, search, two_theta

#: Lines of the first, quick fits that choose between starts, and their steps.
_FIRST_LINES, _FIRST_STEPS = 45, 8
_ROUGH, _FINE = Tolerance(0.1, 0.02), Tolerance(0.03, 0.003)
#: Steps after the points were weighted anew, and the least that is expected of a point, relative to the mean.
_LAST_STEPS, LEAST_SHARE = 4, 0.02
#: Strain of 1/d^2 that must halve the misfit of a first fit to be believed (a per cent of the lengths).
_FREE_STRAIN = 0.02
#: Rotations in the holohedry of a metric system.
_ORDER = {"cubic": 48, "tetragonal": 16, "orthorhombic": 8, "hexagonal": 24, "monoclinic": 4, "triclinic": 2}


class NotFitted(Exception):
    """No fit, or one that failed its bounds; the message is the reason, for `Evidence.reason`."""


@dataclass(frozen=True, slots=True)
class Quality:
    """rwp and rexp in per cent over all fitted points.

    misfit: per cent, Rwp with the background left out of the denominator and the noise left out of the
    numerator; explained: share of the area above background and noise that the lines explain.
    """

    rwp: float
    rexp: float
    misfit: float
    explained: float


@dataclass(frozen=True, slots=True)
class Beam:
    """Wavelengths to fit, angstrom, and I(second) / I(first): start and prior width."""

    wavelengths: tuple[float, ...]
    ratio: float
    ratio_width: float
    note: str = ""

    @property
    def mean(self) -> float:
        """Intensity-weighted wavelength, angstrom."""
        return (self.wavelengths[0] + self.ratio * self.wavelengths[-1]) / (1.0 + self.ratio)


def beam_of(radiation: Radiation) -> Beam:
    """The wavelengths to fit.

    One stated wavelength at K-alpha-bar is a doublet; one at K-alpha1 may hide one, so the second
    line's intensity is then refined from the data.
    """
    first, second = radiation.wavelength, radiation.wavelength2
    if second is not None and second - first > 1e-4 * first:
        return Beam((first, second), radiation.ratio, 0.05)
    if radiation.kind == "x-ray":
        for anode, (alpha1, alpha2, _) in ANODES.items():
            mean = (alpha1 + 0.5 * alpha2) / 1.5
            if abs(first - mean) < 1.5e-4 * mean:
                note = f"the wavelength is {anode} K-alpha-bar, so it was fitted as a doublet"
                return Beam((alpha1, alpha2), 0.5, 0.05, note)
            if abs(first - alpha1) < 1e-4 * alpha1:
                return Beam((first, first * alpha2 / alpha1), 0.25, 0.3)
    return Beam((first,), 0.0, 1e-6)


def fit_pattern(
    pattern: Pattern, cell: Cell, system: MetricSystem, settings: VerifySettings, deadline: float
) -> Fit:
    """The Pawley fit in the absence-free lattice of a cell; raises NotFitted.

    deadline: of time.perf_counter().
    """
    data, peaks = prepare(pattern)
    fwhm = data.width
    if peaks.two_theta.size < 3:
        raise NotFitted(f"only {peaks.two_theta.size} peaks stand above the noise: count longer")
    beam = beam_of(pattern.radiation)
    metric = reciprocal(cell)
    lines = _lines_in_range(cell, system, data, fwhm, beam.wavelengths[0], settings)
    free, scale = free_metric(metric, system)
    starts = search(
        peaks,
        lines.head(150),
        free,
        scale,
        system.basis,
        beam.mean,
        fwhm,
        max_strain=2.0 * settings.max_length_change,
    )
    head = lines.head(_FIRST_LINES)
    early = time.perf_counter() + 0.4 * (deadline - time.perf_counter())
    chosen: Fit | None = None
    for start in starts:
        if start.score < starts[0].score - 0.15 and np.any(start.strain != 0.0):
            continue
        parameters = _parameters(start, fwhm, beam, settings, data)
        window = _window(data, head, system.basis @ (free + start.strain * scale), start.zero, fwhm, beam)
        if window.grid.size < 50:
            continue
        problem = problem_for(window, head, system, metric, beam.wavelengths, settings.spline_spacing)
        vary = _varied(parameters, beam, first=True)
        fit = refine(problem, parameters, vary, max_steps=_FIRST_STEPS, deadline=early, tolerance=_ROUGH)
        if chosen is None or _regret(fit) < _regret(chosen):
            chosen = fit
        if time.perf_counter() > early:
            break
    if chosen is None:
        raise NotFitted(
            "the lines of this cell and the measured range hardly meet: check cell and wavelength"
        )
    parameters = chosen.parameters
    refined = chosen.problem.metric(parameters.value[: free.size])
    # the given cell may be a per cent off: the range is chosen again by the refined one
    lines = _lines_in_range(cell_of(refined), system, data, fwhm, beam.wavelengths[0], settings)
    window = _window(data, lines, refined, parameters["zero"], fwhm, beam)
    problem = problem_for(window, lines, system, metric, beam.wavelengths, settings.spline_spacing)
    vary = _varied(parameters, beam, first=False)
    return refine(problem, parameters, vary, max_steps=settings.max_steps, deadline=deadline, tolerance=_FINE)


def weighted_anew(fit: Fit, pattern: Pattern, deadline: float) -> Fit:
    """The fit with the variance that it lets expect, where windows of raw counts were counted longer.

    Other fits stay as they are.

    What a point and its neighbours counted is a poor measure of its variance where that is little: points
    that happen to be low weigh more, and the background comes out low by a part of a count. In windows that
    were counted longer what it is too low by would be taken for lines. deadline: of time.perf_counter().
    """
    data = fit.problem.data
    if data.exposure is None or BROUGHT not in pattern.source.notes:
        return fit
    # variance that one unit of y has at the median counting time
    unit = float(np.sum(data.variance * data.exposure)) / max(float(np.sum(np.maximum(data.y, 0.0))), 1e-300)
    calculated = fit.solution.calculated
    expected = np.maximum(calculated, LEAST_SHARE * float(np.mean(calculated)))
    problem = replace(fit.problem, data=replace(data, variance=unit * expected / data.exposure))
    vary = _varied(fit.parameters, beam_of(pattern.radiation), first=False)
    return refine(problem, fit.parameters, vary, max_steps=_LAST_STEPS, deadline=deadline, tolerance=_FINE)


def _regret(fit: Fit) -> float:
    """What a first fit is chosen by: its misfit, made larger by the strain of the given cell.

    In a lattice without absences a cell that is a per cent off often finds lines to put on every peak.
    """
    strain = np.abs(fit.parameters.value[: fit.parameters.n_free]).max(initial=0.0)
    return (quality_of(fit).misfit + 1.0) * (1.0 + float(strain) / _FREE_STRAIN)


def quality_of(fit: Fit) -> Quality:
    """How good a fit is."""
    data, solution = fit.problem.data, fit.solution
    residual = data.y - solution.calculated
    weight = 1.0 / data.variance
    net = data.y - solution.background
    chi2 = float(np.sum(weight * residual**2))
    spent = int(solution.passive.sum()) + int(np.isfinite(fit.parameters.error).sum())
    freedom = max(data.y.size - spent, 1)
    total = max(float(np.sum(weight * data.y**2)), 1e-300)
    signal = max(float(np.sum(weight * net**2)) - data.y.size, 1e-300)
    points = max(0.5, 0.425 * float(np.median(solution.width.fwhm)) / data.step)
    noise = 2.0 * np.sqrt(data.variance / (2.0 * math.sqrt(math.pi) * max(points, 0.6)))
    missing = np.maximum(smoothed(residual, points) - noise, 0.0).sum()
    there = max(float(np.maximum(smoothed(net, points) - noise, 0.0).sum()), 1e-300)
    return Quality(
        100.0 * math.sqrt(chi2 / total),
        100.0 * math.sqrt(freedom / total),
        100.0 * math.sqrt(max(chi2 - freedom, 0.0) / signal),
        1.0 - float(missing) / there,
    )


def _lines_in_range(
    cell: Cell, system: MetricSystem, data: FitData, fwhm: float, wavelength: float, settings: VerifySettings
) -> Lines:
    """Lines from low angle to where the pattern ends, they crowd, or are enough."""
    top = min(float(data.grid[-1]) + 0.5, 178.0)
    reach = 0.5 * wavelength / math.sin(math.radians(0.5 * top))
    # spacing down to which about twice max_lines orbits lie, so that a large cell is not listed in full
    enough = (4.0 * math.pi * volume(cell) / (3.0 * _ORDER[system.name] * 2.0 * settings.max_lines)) ** (
        1.0 / 3.0
    )
    lines = lattice_lines(cell, system, max(reach, enough))
    at = two_theta(lines.tensor @ reciprocal(cell), wavelength)
    inside = np.flatnonzero(at > data.grid[0] + 0.5 * fwhm)
    if inside.size == 0:
        raise NotFitted("no line of this cell falls in the measured range: check the cell and the wavelength")
    lines, at = lines.tail(int(inside[0])), at[inside[0] :]
    kept = min(len(lines), settings.max_lines)
    run = 20
    for i in range(2 * run, kept):
        if run * fwhm / max(at[i] - at[i - run], 1e-9) > settings.max_crowding:
            kept = i
            break
    return lines.head(kept)


def _window(data: FitData, lines: Lines, metric: Floats, zero: float, fwhm: float, beam: Beam) -> FitData:
    """The points from a little before the first line to the foot of the last."""
    at = two_theta(lines.tensor @ metric, beam.wavelengths[0]) + zero
    tail = two_theta(lines.tensor[-1:] @ metric, beam.wavelengths[-1])[0] + zero
    return data.window(float(at[0]) - max(1.0, 10.0 * fwhm), float(tail) - 0.5 * fwhm)


def _parameters(start: Start, fwhm: float, beam: Beam, settings: VerifySettings, data: FitData) -> Parameters:
    """Parameters at a start, with bounds and priors scaled by the typical width of the peaks."""
    n = start.strain.size
    strain = 2.0 * settings.max_length_change
    w, x = (0.7 * fwhm) ** 2, 0.4 * fwhm
    least = max(0.3 * data.step, 0.1 * fwhm)
    #            value        low              high             mean        prior width
    shared = [
        (start.zero, -0.5, 0.5, 0.0, 0.06),  # zero
        (0.0, -0.5, 0.5, 0.0, 0.05),  # displacement
        (0.0, 0.0, 4.0 * fwhm**2, 0.0, fwhm**2),  # u
        (0.0, -(fwhm**2), fwhm**2, 0.0, 0.3 * fwhm**2),  # v
        (w, least**2, 4.0 * fwhm**2, w, fwhm**2),  # w
        (x, 0.0, 2.0 * fwhm, x, fwhm),  # x
        (0.0, 0.0, 4.0 * fwhm, 0.0, fwhm),  # y
        (0.005, 0.0, 0.15, 0.005, 0.02),  # axial
        (beam.ratio, 0.0, 0.55, beam.ratio, beam.ratio_width),  # ratio
    ]
    value, low, high, mean, width = (np.array(column) for column in zip(*shared))
    strains = np.ones(n)
    return Parameters(
        tuple(f"strain{i + 1}" for i in range(n)) + SHARED + tuple(f"broadening{i + 1}" for i in range(n)),
        np.concatenate([np.clip(start.strain, -strain, strain), value, 0.0 * strains]),
        np.concatenate([-strain * strains, low, -2.0 * strains]),
        np.concatenate([strain * strains, high, 2.0 * strains]),
        np.concatenate([0.0 * strains, mean, 0.0 * strains]),
        np.concatenate([0.2 * strain * strains, width, 0.3 * strains]),
        np.full(2 * n + N_SHARED, np.nan),
    )


def _varied(parameters: Parameters, beam: Beam, *, first: bool) -> npt.NDArray[np.bool_]:
    """Which parameters are refined: the few that matter in a first fit, later all."""
    names = parameters.names
    if first:
        chosen = {"zero", "w", "x"} | set(names[: parameters.n_free])
    else:
        chosen = set(names)
        if len(beam.wavelengths) == 1:
            chosen.discard("ratio")
        if parameters.n_free == 1:
            chosen.discard("broadening1")
    return np.array([name in chosen for name in names])
