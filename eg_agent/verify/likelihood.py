"""What a fit says of the intensities: their normal equations with everything else marginalised.

Everything else is the background, the non-linear parameters (a Gauss-Newton step, with their priors)
and, for each strong line, a small shift, broadening and change of shape of its own. Without the last
the misfit of a strong line would pose as intensity of a forbidden neighbour; their size is estimated
from the residual. What misfit remains inflates the variance locally.
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
from eg_agent.verify.pawley import Fit, Problem, Solution, jacobian, regularised, solve
from eg_agent.verify.profile import Profiles

Floats = npt.NDArray[np.float64]

#: Lines closer than this fraction of a FWHM are one line: their intensities cannot be told apart.
BLEND = 0.2
#: Lines above this many standard errors, and at most so many, get a shape of their own.
STRONG, MOST_STRONG = 25.0, 90
#: Half-width in FWHM of where a foreign line's own misfit stays.
FOREIGN_ZONE = 2.0


@dataclass(frozen=True, slots=True)
class Likelihood:
    """Gaussian log-likelihood c.I - I.H.I/2 of the intensities of blended lines.

    two_theta: [k] degrees at the first wavelength; precision H: [k, k]; moment c: [k]; intensity [k]
    non-negative best values; sigma [k] standard errors; shape_error: fitted r.m.s. of the lines' own
    shifts, relative broadenings and Lorentzian fractions; inflation: [n] of the variance of points.
    foreign: lines of another phase, marginalised too.
    """

    lines: Lines
    two_theta: Floats
    precision: Floats
    moment: Floats
    intensity: Floats
    sigma: Floats
    shape_error: Floats
    inflation: Floats
    solution: Solution
    problem: Problem
    weight: Floats
    foreign: Foreign


@dataclass(slots=True)
class _Blocks:
    """Columns of the linear problem: lines, own shapes of the strong ones, and what is dense."""

    value: Floats  #: [n, k]
    own: list[Floats]  #: three [n, k], columns of weak lines zero
    strong: npt.NDArray[np.intp]
    dense: Floats  #: [n, m + p]
    profile: Profiles


def marginal_likelihood(fit: Fit) -> Likelihood:
    """The likelihood of the intensities of a fit, with its nuisances marginalised."""
    problem, solution = _blend(fit)
    data = problem.data
    k = len(problem.lines)
    foreign = foreign_lines(problem, solution, fit.parameters.shape)
    blocks = _columns(fit, problem, solution, foreign)
    y = data.y - data.background
    weight = 1.0 / data.variance
    prior = np.concatenate([_dense_prior(fit, problem), foreign.prior])
    spread = np.array([0.03, 0.05, 0.15])
    inflated = np.ones(data.grid.size)
    q = blocks.strong.size
    index = _index(k, blocks)
    nonnegative = np.arange(index.size) < k

    def equations() -> tuple[Floats, Floats]:
        normal, moment = _normal(blocks, weight / inflated, y)
        full = regularised(normal[np.ix_(index, index)], k)
        full[np.diag_indices_from(full)] += np.concatenate(
            [np.zeros(k), np.repeat(1.0 / spread**2, q), prior]
        )
        return full, moment[index]

    full, part = equations()
    passive = None
    for _ in range(2):
        x, passive = nnls_normal(full, part, nonnegative, start=passive)
        if q:
            spread = _shape_spread(full, x, passive, k, q, spread)
        inflated = inflation(y - _predict(blocks, x), weight, solution, problem, foreign)
        full, part = equations()
    rest = full[k:, k:]
    factor = cho_factor(rest, lower=True, check_finite=False)
    back = cho_solve(factor, full[k:, :k], check_finite=False)
    precision = full[:k, :k] - full[:k, k:] @ back
    precision = 0.5 * (precision + precision.T)
    c = part[:k] - back.T @ part[k:]
    floor = 1e-6 * np.diag(full)[:k]
    precision[np.diag_indices_from(precision)] += floor
    intensity, _ = nnls_normal(
        precision, c, np.ones(k, dtype=bool), start=None if passive is None else passive[:k]
    )
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
        spread,
        inflated,
        solution,
        problem,
        weight / inflated,
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
    solution = solve(problem, fit.parameters, fit.weight, None, derivatives=True)
    return problem, solution


def _columns(fit: Fit, problem: Problem, solution: Solution, foreign: Foreign) -> _Blocks:
    profile = solution.profile
    assert profile.by_position is not None
    assert profile.by_fwhm is not None
    assert profile.by_eta is not None
    amount = solution.intensity[profile.columns]
    fwhm = solution.width.fwhm[profile.columns]
    error = 1.0 / np.sqrt(
        np.maximum(np.einsum("ij,ij,i->j", solution.dense, solution.dense, fit.weight), 1e-300)
    )
    significance = solution.intensity / error
    strong = np.argsort(-significance)[:MOST_STRONG]
    strong = np.sort(strong[significance[strong] > STRONG])
    own = [
        profile.dense(profile.by_position * amount * fwhm),
        profile.dense(profile.by_fwhm * amount * fwhm),
        profile.dense(profile.by_eta * amount),
    ]
    return _Blocks(
        solution.dense,
        own,
        strong,
        np.hstack([problem.background, jacobian(problem, fit.parameters, solution), foreign.columns]),
        profile,
    )


def _dense_prior(fit: Fit, problem: Problem) -> Floats:
    """Prior precision of the background's and the non-linear parameters' columns."""
    widths = fit.parameters.width
    held = ~np.isfinite(fit.parameters.error)
    precision = np.where(held, 1e12 / np.maximum(widths, 1e-12) ** 2, 1.0 / widths**2)
    return np.concatenate([np.zeros(problem.background.shape[1]), precision])


def _index(k: int, blocks: _Blocks) -> npt.NDArray[np.intp]:
    """Columns of the full normal matrix that are used: all lines, strong lines' shapes, dense ones."""
    own = [k * (j + 1) + blocks.strong for j in range(3)]
    return np.concatenate([np.arange(k), *own, 4 * k + np.arange(blocks.dense.shape[1])])


def _normal(blocks: _Blocks, weight: Floats, y: Floats) -> tuple[Floats, Floats]:
    n, k = blocks.value.shape
    size = 4 * k + blocks.dense.shape[1]
    normal, moment = np.zeros((size, size)), np.zeros(size)
    counts = np.diff(blocks.profile.indptr)
    starts = np.minimum(blocks.profile.indptr[:-1], max(blocks.profile.indices.size - 1, 0))
    first = np.where(counts > 0, blocks.profile.indices[starts], n)
    last = first + counts
    is_strong = np.zeros(k, dtype=bool)
    is_strong[blocks.strong] = True
    dense_index = 4 * k + np.arange(blocks.dense.shape[1])
    for low in range(0, n, 192):
        rows = slice(low, min(low + 192, n))
        touching = np.flatnonzero((first < rows.stop) & (last > low))
        strong = touching[is_strong[touching]]
        index = np.concatenate([touching, *(k * (j + 1) + strong for j in range(3)), dense_index])
        part = np.hstack(
            [blocks.value[rows, touching], *(o[rows, strong] for o in blocks.own), blocks.dense[rows]]
        )
        weighted = weight[rows, None] * part
        normal[np.ix_(index, index)] += part.T @ weighted
        moment[index] += weighted.T @ y[rows]
    return normal, moment


def _predict(blocks: _Blocks, x: Floats) -> Floats:
    k, q = blocks.value.shape[1], blocks.strong.size
    out = blocks.value @ x[:k] + blocks.dense @ x[k + 3 * q :]
    for j, columns in enumerate(blocks.own):
        out += columns[:, blocks.strong] @ x[k + j * q : k + (j + 1) * q]
    return out


def _shape_spread(
    full: Floats, x: Floats, passive: npt.NDArray[np.bool_], k: int, q: int, spread: Floats
) -> Floats:
    """One step of expectation maximisation for the size of the lines' own shape errors."""
    index = np.flatnonzero(passive)
    scale = 1.0 / np.sqrt(np.diag(full)[index])
    part = full[np.ix_(index, index)] * np.outer(scale, scale)
    factor = cho_factor(part + 1e-10 * np.eye(index.size), lower=True, check_finite=False)
    own = np.searchsorted(index, k + np.arange(3 * q))
    unit = np.zeros((index.size, 3 * q))
    unit[own, np.arange(3 * q)] = 1.0
    variance = cho_solve(factor, unit, check_finite=False)[own, np.arange(3 * q)] * scale[own] ** 2
    second = (x[k : k + 3 * q] ** 2 + variance).reshape(3, q)
    # a floor: no shape is known better than this; a ceiling: beyond it the fit is wrong
    return np.clip(np.sqrt(second.mean(axis=1)), [0.003, 0.005, 0.02], [0.2, 0.4, 0.5])


def inflation(
    residual: Floats, weight: Floats, solution: Solution, problem: Problem, foreign: Foreign | None = None
) -> Floats:
    """[n] local factor on the variance, from the residual smoothed as a line would smooth it.

    A residual correlated over a line's width counts in full: it is filtered by a Gaussian of a line's
    width, in units of its standard error, and its mean square taken over some 12 widths. What is left of
    a foreign line counts where it is and says nothing of its neighbours.
    """
    grid, step = problem.data.grid, problem.data.step
    fwhm = float(np.median(solution.width.fwhm))
    points = max(0.7, 0.425 * fwhm / step)
    normalised = residual * np.sqrt(weight)
    white = gaussian_filter1d(normalised, points) * np.sqrt(2.0 * np.sqrt(np.pi) * points)
    zone = np.zeros(grid.size, dtype=bool)
    for at in () if foreign is None else foreign.positions.ravel():
        zone |= np.abs(grid - at) < FOREIGN_ZONE * fwhm
    kept = np.where(zone, 1e-6, 1.0)
    wide = 5.0 * fwhm / step
    share = gaussian_filter1d(kept, wide)
    square = np.maximum(
        gaussian_filter1d(white**2 * kept, wide), gaussian_filter1d(normalised**2 * kept, wide)
    )
    local = square / share
    if zone.any():
        local = np.where(zone, np.maximum(local, gaussian_filter1d(white**2, fwhm / step)), local)
    # freedom spent: in places where lines are dense they have absorbed part of the residual
    spent = (len(problem.lines) + problem.background.shape[1]) * 1.0 / residual.size
    return np.maximum(local / max(1.0 - spent, 0.3), 1.0)
