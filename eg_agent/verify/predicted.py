"""What single candidates predict: their own best fit, and where two of them disagree.

`verify` weighs all candidates on one fit in which nothing is forbidden. For people, a candidate's fit
is solved here with its forbidden lines left out, on the same normal equations (background and profile
as refined), and two candidates are set against each other reflection by reflection.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eg_agent.patterns.pattern import Pattern
from eg_agent.verify import wilson
from eg_agent.verify.candidates import Candidate
from eg_agent.verify.evidence import FitCurve
from eg_agent.verify.nnls import nnls_normal
from eg_agent.verify.pawley import normal_equations, regularised
from eg_agent.verify.profile import profiles
from eg_agent.verify.verifier import Weighed

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class Predicted:
    """A candidate's own fit.

    intensity: [k] of the lines of the likelihood (counts times degrees; 0 where forbidden); curve: on the
    pattern's points, NaN outside the fitted range; rwp: per cent, over the fitted points.
    """

    candidate: Candidate
    intensity: Floats
    curve: FitCurve
    rwp: float


@dataclass(frozen=True, slots=True)
class Contrast:
    """A place in the pattern where one of two candidates allows a line that the other forbids.

    two_theta: degrees at the first wavelength, as measured; intensity and sigma: of the line in the
    absence-free fit, counts times degrees; typical: its mean intensity if it is allowed; absent_in: "first"
    or "second"; log_odds: nats, positive for the first.
    """

    hkl: tuple[int, int, int]
    two_theta: float
    intensity: float
    sigma: float
    typical: float
    absent_in: str
    log_odds: float


def predict(pattern: Pattern, weighed: Weighed, candidate: Candidate) -> Predicted:
    """The best fit with a candidate's forbidden lines left out; cell, zero and profile as refined."""
    likelihood, solution = weighed.likelihood, weighed.likelihood.solution
    data = likelihood.problem.data
    y = data.y - data.background
    splines = likelihood.problem.background
    normal, moment = normal_equations(solution.dense, solution.profile, splines, likelihood.weight, y)
    k = len(likelihood.lines)
    normal = regularised(normal, k)
    index = np.concatenate([np.flatnonzero(candidate.allowed > 0), np.arange(k, moment.size)])
    x, _ = nnls_normal(normal[np.ix_(index, index)], moment[index], index < k, start=solution.passive[index])
    full = np.zeros(moment.size)
    full[index] = x
    background = data.background + splines @ full[k:]
    calculated = background + solution.dense @ full[:k]
    weight = 1.0 / data.variance
    misfit = float(np.sum(weight * (data.y - calculated) ** 2))
    rwp = 100.0 * float(np.sqrt(misfit / np.sum(weight * data.y**2)))
    return Predicted(candidate, full[:k], _on_points(pattern, weighed, full[:k], background), rwp)


def _on_points(pattern: Pattern, weighed: Weighed, intensity: Floats, background: Floats) -> FitCurve:
    grid = np.asarray(pattern.two_theta)
    data, solution = weighed.likelihood.problem.data, weighed.likelihood.solution
    inside = (grid >= data.grid[0]) & (grid <= data.grid[-1])
    below = np.full(grid.size, np.nan)
    below[inside] = np.interp(grid[inside], data.grid, background)
    shapes = profiles(grid[inside], solution.positions, solution.width, weighed.fit.parameters.shape)
    calculated = below.copy()
    calculated[inside] += shapes.matrix(shapes.value) @ intensity
    return FitCurve(two_theta=grid, calculated=calculated, background=below)


def typical_intensity(pattern: Pattern, weighed: Weighed, candidate: Candidate) -> Floats:
    """[k] mean intensity of each line if all its reflections are allowed, from the lines of a candidate."""
    likelihood = weighed.likelihood
    theta = np.radians(0.5 * np.nan_to_num(likelihood.two_theta, nan=179.0))
    s2 = (np.sin(theta) / likelihood.problem.wavelengths[0]) ** 2
    unit = wilson.lorentz_polarisation(likelihood.two_theta, pattern.radiation)
    mean = wilson.expected_unit(s2, unit, candidate.allowed, likelihood.intensity, likelihood.sigma)
    share = float(wilson.SCALES @ wilson.WEIGHTS / wilson.WEIGHTS.sum())
    return mean * likelihood.lines.multiplicity * share


def contrast(
    pattern: Pattern, weighed: Weighed, first: int, second: int, count: int = 5
) -> tuple[Contrast, ...]:
    """The places where candidates `first` and `second` (indices) differ, the most telling ones first."""
    likelihood, scores = weighed.likelihood, weighed.scores
    one, other = weighed.candidates[first], weighed.candidates[second]
    typical = typical_intensity(pattern, weighed, one)
    odds = scores.by_block[first] - scores.by_block[second]
    found = []
    for number in np.argsort(-np.abs(odds), kind="stable"):
        block = scores.blocks[number]
        differing = block[(one.allowed[block] > 0) != (other.allowed[block] > 0)]
        if odds[number] == 0.0 or len(found) == count:
            break
        if differing.size == 0:
            continue
        line = int(differing[np.argmax(likelihood.intensity[differing])])
        h, k, m = (int(v) for v in likelihood.lines.representative[line])
        found.append(
            Contrast(
                hkl=(h, k, m),
                two_theta=float(likelihood.two_theta[line]),
                intensity=float(likelihood.intensity[line]),
                sigma=float(likelihood.sigma[line]),
                typical=float(typical[line]),
                absent_in="first" if one.allowed[line] == 0 else "second",
                log_odds=float(odds[number]),
            )
        )
    return tuple(found)
