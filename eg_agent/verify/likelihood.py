"""What a fit says of the intensities: their normal equations with the background marginalised.

Misfit (a profile that is not the sample's, zoned or strained crystals, foreign lines, a goniometer's small
errors) is far from white: it comes in runs as wide as a line. The variance of every point is inflated by
what the residual of the plain fit shows around it, runs counted in full. Nothing is allowed to
explain that residual away before (a shape of its own for every strong line was tried: on samples with as much
misfit as measured patterns have, the evidence then claims far too much; docs/explanations/evidence.md).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve
from scipy.ndimage import gaussian_filter1d

from eg_agent.verify.foreign import Foreign, foreign_lines
from eg_agent.verify.lines import Lines, blended, merge
from eg_agent.verify.nnls import nnls_normal
from eg_agent.verify.pawley import Fit, Problem, Solution, normal_equations, regularised, solve

Floats = npt.NDArray[np.float64]

#: Lines closer than this fraction of a FWHM are one line: their intensities cannot be told apart.
BLEND = 0.2


@dataclass(frozen=True, slots=True)
class Likelihood:
    """Gaussian log-likelihood c.I - I.H.I/2 of the intensities of blended lines.

    two_theta: [k] degrees at the first wavelength; precision H: [k, k]; moment c: [k]; intensity [k]
    non-negative best values; sigma [k] standard errors; inflation: [n] of the variance of points by misfit;
    weight: [n] 1 / inflated variance. foreign: lines of another phase.
    """

    lines: Lines
    two_theta: Floats
    precision: Floats
    moment: Floats
    intensity: Floats
    sigma: Floats
    inflation: Floats
    solution: Solution
    problem: Problem
    weight: Floats
    foreign: Foreign


def marginal_likelihood(fit: Fit) -> Likelihood:
    """The likelihood of the intensities of a fit, with its background marginalised."""
    problem, solution = _blend(fit)
    data = problem.data
    k = len(problem.lines)
    foreign = foreign_lines(problem, solution)
    inflated = inflation(data.y - solution.calculated, 1.0 / data.variance, solution, problem)
    weight = 1.0 / (data.variance * inflated)
    normal, moment = normal_equations(
        solution.dense, solution.profile, problem.background, weight, data.y - data.background
    )
    full = regularised(normal, k)
    factor = cho_factor(full[k:, k:], lower=True, check_finite=False)
    back = cho_solve(factor, full[k:, :k], check_finite=False)
    precision = full[:k, :k] - full[:k, k:] @ back
    precision = 0.5 * (precision + precision.T)
    c = moment[:k] - back.T @ moment[k:]
    precision[np.diag_indices_from(precision)] += 1e-6 * np.diag(full)[:k]
    intensity, _ = nnls_normal(precision, c, np.ones(k, dtype=bool), start=solution.passive[:k])
    scale = 1.0 / np.sqrt(np.diag(precision))
    covariance = np.linalg.inv(precision * np.outer(scale, scale) + 1e-6 * np.eye(k))
    sigma = scale * np.sqrt(np.maximum(np.diag(covariance), 0.0))
    return Likelihood(
        problem.lines,
        solution.positions[0],
        precision,
        c,
        intensity,
        sigma,
        inflated,
        solution,
        problem,
        weight,
        foreign,
    )


def _blend(fit: Fit) -> tuple[Problem, Solution]:
    """The fit's problem with blended lines put together and lines outside the points left out, solved."""
    old = fit.problem
    at = np.nan_to_num(fit.solution.positions[0], nan=1e3)
    order = np.argsort(at, kind="stable")
    groups = np.empty(at.size, dtype=np.int64)
    groups[order] = blended(at[order], fit.solution.width.fwhm[order], BLEND)
    problem = replace(old, lines=merge(old.lines, groups))
    solution = solve(problem, fit.parameters, fit.weight, None, derivatives=False)
    return problem, solution


def inflation(residual: Floats, weight: Floats, solution: Solution, problem: Problem) -> Floats:
    """[n] local factor on the variance, from the residual smoothed as a line would smooth it.

    A residual correlated over a line's width counts in full: it is filtered by a Gaussian of a line's
    width, in units of its standard error, and its mean square taken over some 12 widths. What exceeds 1 is
    misfit, which grows against the noise as counting goes on: where windows were counted longer than
    their neighbourhood, they get more of it.
    """
    step = problem.data.step
    fwhm = float(np.median(solution.width.fwhm))
    freedom = len(problem.lines) + problem.background.shape[1]
    return local_misfit(residual * np.sqrt(weight), fwhm / step, freedom, problem.data.exposure)


def local_misfit(normalised: Floats, width: float, freedom: int, exposure: Floats | None) -> Floats:
    """[n] factor on the variance, 1 or more, of a residual in standard errors [n].

    width: of a line, in points. freedom: parameters that were fitted. exposure: [n] relative counting times,
    None where they are all alike.
    """
    points = max(0.7, 0.425 * width)
    white = gaussian_filter1d(normalised, points) * np.sqrt(2.0 * np.sqrt(np.pi) * points)
    wide = 5.0 * width
    local = np.maximum(gaussian_filter1d(white**2, wide), gaussian_filter1d(normalised**2, wide))
    # freedom spent: in places where lines are dense they have absorbed part of the residual
    spent = freedom / normalised.size
    local = np.maximum(local / max(1.0 - spent, 0.3), 1.0)
    if exposure is None:
        return local
    return 1.0 + (local - 1.0) * exposure / gaussian_filter1d(exposure, wide)
