"""The evidence of a distorted lattice against the undistorted one, intensities integrated out.

BIC charges half a logarithm of all points for each line that splits off. Where the two halves of a line still
overlap the data hardly say how its intensity divides, and nothing should be charged for what is not
determined (Kass & Raftery, J. Am. Stat. Assoc. 90 (1995) 773): a small splitting would never be seen. Here
the intensities are integrated out in closed form. Their prior: an undistorted line's intensity is a Gaussian
as wide as it is large, and divides between its parts as their multiplicities, closely where atoms hardly
moved, loosely where they did (`DIVISIONS`, equally probable).

The strain is looked for on the line between the two fits and beyond, since a fit with free intensities
lets it run where the data do not determine it; each free strain costs half a logarithm of the points.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve

from eg_agent.verify.pawley import Fit, Parameters, Problem, solve

Floats = npt.NDArray[np.float64]

#: Standard deviation of a part's share of a line's intensity, over the root of share times the rest.
DIVISIONS = (0.1, 0.6)
#: Places on the line from the undistorted fit (0) through the distorted one (1).
PLACES = (-1.0, -0.6, -0.3, 0.3, 0.6, 1.0, 1.4)


def log_evidence(upper: Fit, lower: Fit, groups: npt.NDArray[np.int64]) -> float:
    """Nats of the distorted lattice against the undistorted one.

    upper, lower: fits of the same points; groups: [n] the undistorted line of each distorted one.
    """
    n = upper.problem.data.grid.size
    spread = misfit_of_lines(lower)
    whole = upper.solution.intensity
    same = np.arange(whole.size)
    none = _integrated(upper, upper.problem, upper.parameters, same, whole, 1.0 / spread, (0.6,))[0]
    best = -math.inf
    for place in PLACES:
        problem, parameters = between(upper, lower, place)
        found = _integrated(lower, problem, parameters, groups, whole, 1.0 / spread, DIVISIONS)
        best = max(best, float(np.logaddexp.reduce(found)) - math.log(len(found)))
    free = lower.parameters.n_free - upper.parameters.n_free
    return best - none - 0.5 * free * math.log(n)


def misfit_of_lines(fit: Fit) -> float:
    """How many times residuals on lines exceed counting noise, neighbours taken together; at least 1.

    A profile that is a little wrong leaves residuals that go together over a line's width: so many points
    tell as little as one (Berar & Lelann, J. Appl. Cryst. 24 (1991) 1), and the background between the
    lines says nothing of it.
    """
    solution = fit.solution
    residual = np.sqrt(fit.weight) * (fit.problem.data.y - solution.calculated)
    on_line = np.sqrt(fit.weight) * (solution.calculated - solution.background) > 1.0
    if on_line.sum() < 20:
        return max(solution.misfit / residual.size, 1.0)
    variance = float(np.mean(residual[on_line] ** 2))
    together = 1.0
    reach = max(1, round(float(np.median(solution.width.fwhm)) / fit.problem.data.step))
    for lag in range(1, reach + 1):
        both = on_line[lag:] & on_line[:-lag]
        if both.any():
            together += 2.0 * float(np.mean(residual[lag:][both] * residual[:-lag][both])) / variance
    return max(variance * max(together, 1.0), 1.0)


def between(upper: Fit, lower: Fit, place: float) -> tuple[Problem, Parameters]:
    """The distorted problem at a place on the line from the undistorted fit to the distorted one."""
    first = upper.problem.metric(upper.parameters.value[: upper.parameters.n_free])
    last = lower.problem.metric(lower.parameters.value[: lower.parameters.n_free])
    metric = first + place * (last - first)
    free = np.asarray(np.linalg.lstsq(lower.problem.basis, metric, rcond=None)[0])
    k, m = lower.parameters.n_free, upper.parameters.n_free
    value = lower.parameters.value.copy()
    value[:k] = 0.0
    shared = slice(k, k + value.size - 2 * k)
    start = upper.parameters.value[m : m + value.size - 2 * k]
    part = min(abs(place), 1.0)
    value[shared] = (1.0 - part) * start + part * value[shared]
    return replace(lower.problem, free=free), lower.parameters.with_value(value)


def _integrated(
    fit: Fit,
    problem: Problem,
    parameters: Parameters,
    groups: npt.NDArray[np.int64],
    whole: Floats,
    precision: float,
    divisions: tuple[float, ...],
) -> list[float]:
    """Log of the marginal likelihood at these non-linear parameters for each width of the division."""
    solution = solve(problem, parameters, fit.weight, None, derivatives=False)
    weight = fit.weight * precision
    root = np.sqrt(weight)
    dense, columns = solution.dense * root[:, None], problem.background * root[:, None]
    share = problem.lines.multiplicity / np.bincount(groups, problem.lines.multiplicity)[groups]
    mean = share * whole[groups]
    rest = (problem.data.y - problem.data.background) * root - dense @ mean
    # the background is free in both: it is projected out
    factor = cho_factor(columns.T @ columns + 1e-9 * np.eye(columns.shape[1]), lower=True)
    cross = columns.T @ dense
    normal = dense.T @ dense - cross.T @ cho_solve(factor, cross)
    away = cho_solve(factor, columns.T @ rest)
    moment = dense.T @ rest - cross.T @ away
    chi2 = float(rest @ rest - (columns.T @ rest) @ away)
    # a line that is not seen may still be there, as weak as its error says
    floor = 1.0 / np.sqrt(np.maximum(np.bincount(groups, np.diag(normal)), 1e-300))
    size = np.maximum(whole, floor)
    found = []
    for division in divisions:
        root_prior = _prior_root(groups, share, size, division)
        inner = np.eye(groups.size) + root_prior.T @ normal @ root_prior
        lower = np.linalg.cholesky(inner)
        seen = np.linalg.solve(lower, root_prior.T @ moment)
        found.append(-0.5 * (chi2 - float(seen @ seen)) - float(np.sum(np.log(np.diag(lower)))))
    return found


def _prior_root(groups: npt.NDArray[np.int64], share: Floats, size: Floats, division: float) -> Floats:
    """[n, n] L of the intensities' prior covariance L L^T: totals wide as they are large, shares narrower."""
    same = groups[:, None] == groups[None, :]
    outer = share[:, None] * share[None, :]
    covariance = same * (outer + division**2 * (np.diag(share) - outer)) * size[groups][:, None] ** 2
    values, vectors = np.linalg.eigh(covariance)
    return vectors * np.sqrt(np.maximum(values, 0.0))
