"""One Pawley fit: non-negative intensities of every line of a lattice, by variable projection.

The few non-linear parameters (cell, zero shift, displacement, profile) are refined by damped
Gauss-Newton steps; in each, intensities and background are solved exactly by non-negative least
squares on the normal equations (Golub & Pereyra, Inverse Problems 19 (2003) R1, in Kaufman's form).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve

from eg_agent.verify.data import FitData, envelope, spline_basis
from eg_agent.verify.lines import Lines
from eg_agent.verify.metric import Floats, MetricSystem
from eg_agent.verify.nnls import nnls_normal
from eg_agent.verify.profile import Profiles, Shape, Widths, profiles, widths

Mask = npt.NDArray[np.bool_]

#: Non-linear parameters after the strains of the metric, in the order of `Parameters.value`.
SHARED = ("zero", "displacement", "u", "v", "w", "x", "y", "axial", "ratio")
N_SHARED = len(SHARED)


@dataclass(frozen=True, slots=True)
class Parameters:
    """Non-linear parameters: strains of the free metric parameters, `SHARED`, and anisotropic broadening.

    The broadening parameter of each free metric parameter multiplies the width of a line by exp(its value
    times the share of that parameter in the line's 1/d^2): an ellipsoid of widths, for strain or platelets.

    value, low, high, mean, width: [p]; mean and width are a Gaussian prior; error: [p] one standard
    error (NaN before a fit). Degrees 2-theta for zero and displacement (times cos theta).
    """

    names: tuple[str, ...]
    value: Floats
    low: Floats
    high: Floats
    mean: Floats
    width: Floats
    error: Floats

    @property
    def n_free(self) -> int:
        """Number of free metric parameters."""
        return (len(self.names) - N_SHARED) // 2

    def __getitem__(self, name: str) -> float:
        return float(self.value[self.names.index(name)])

    @property
    def broadening(self) -> Floats:
        """[n_free] parameters of anisotropic broadening."""
        return self.value[self.n_free + N_SHARED :]

    @property
    def shape(self) -> Shape:
        """The profile parameters."""
        u, v, w, x, y, axial, ratio = (float(v) for v in self.value[self.n_free + 2 : self.n_free + N_SHARED])
        return Shape(u, v, w, x, y, axial, ratio)

    def with_value(self, value: Floats) -> Parameters:
        """The same parameters with other values, clipped into their bounds."""
        return replace(self, value=np.clip(value, self.low, self.high))


@dataclass(frozen=True, slots=True)
class Problem:
    """What is fitted: data, lines, metric and wavelengths.

    free: [n_free] metric parameters at strain 0; scale: [n_free] what a strain of 1 adds to them.
    """

    data: FitData
    lines: Lines
    basis: Floats
    free: Floats
    scale: Floats
    wavelengths: tuple[float, ...]
    background: Floats  #: [n, m] columns of the background that is refined over `data.background`

    def metric(self, strain: Floats) -> Floats:
        """[6] reciprocal metric at a strain."""
        return self.basis @ (self.free + strain * self.scale)


@dataclass(frozen=True, slots=True)
class Solution:
    """Intensities and background at fixed non-linear parameters.

    positions: [n_wavelengths, k] degrees; intensity [k], in counts times degrees; background and
    calculated [n]; passive: [k + m] variables that are not held at zero; misfit: weighted sum of
    squared residuals.
    """

    positions: Floats
    width: Widths
    profile: Profiles
    dense: Floats
    intensity: Floats
    coefficients: Floats
    background: Floats
    calculated: Floats
    passive: Mask
    misfit: float


@dataclass(frozen=True, slots=True)
class Fit:
    """A finished fit: the problem, its parameters with standard errors, its solution and weights."""

    problem: Problem
    parameters: Parameters
    solution: Solution
    weight: Floats
    steps: int
    converged: bool


def free_metric(metric: Floats, system: MetricSystem) -> tuple[Floats, Floats]:
    """The free parameters [n_free] of a metric and the scale [n_free] of their strains."""
    basis = system.basis
    free: Floats = np.asarray(np.linalg.lstsq(basis, metric, rcond=None)[0], dtype=np.float64)
    scale = free.copy()
    pairs = {3: (1, 2), 4: (0, 2), 5: (0, 1)}
    for row, (i, j) in pairs.items():
        column = np.flatnonzero(basis[row])
        if column.size and not np.any(basis[:3, column[0]]):
            scale[column[0]] = float(np.sqrt(metric[i] * metric[j]))
    return free, scale


def positions(problem: Problem, parameters: Parameters) -> Floats:
    """[n_wavelengths, k] degrees 2-theta of the lines, shifts included; NaN where out of reach."""
    n = parameters.n_free
    q = problem.lines.tensor @ problem.metric(parameters.value[:n])
    sine = 0.5 * np.array(problem.wavelengths)[:, None] * np.sqrt(np.maximum(q, 1e-12))
    theta = np.arcsin(np.where(sine < 0.9999, sine, np.nan))
    shift = parameters["zero"] + parameters["displacement"] * np.cos(theta)
    return np.degrees(2.0 * theta) + shift


def directions(problem: Problem, parameters: Parameters) -> Floats:
    """[k, n_free] share of each free metric parameter in the 1/d^2 of a line, less the lines' mean."""
    metric = problem.free + parameters.value[: parameters.n_free] * problem.scale
    part = (problem.lines.tensor @ problem.basis) * metric
    share = part / np.maximum(np.abs(part).sum(axis=1), 1e-12)[:, None]
    return share - share.mean(axis=0)


def solve(
    problem: Problem, parameters: Parameters, weight: Floats, start: Mask | None, *, derivatives: bool
) -> Solution:
    """Non-negative intensities and free background at these non-linear parameters."""
    at = positions(problem, parameters)
    theta = np.radians(0.5 * np.nan_to_num(at[0], nan=179.0))
    shape = parameters.shape
    width = widths(np.clip(theta, 1e-3, 1.5), shape, derivatives=derivatives)
    factor = np.exp(directions(problem, parameters) @ parameters.broadening)
    width = Widths(width.fwhm * factor, width.eta, width.fwhm_by * factor[:, None], width.eta_by)
    data = problem.data
    profile = profiles(data.grid, at, width, shape, derivatives=derivatives)
    dense = profile.dense(profile.value)
    normal, moment = normal_equations(dense, profile, problem.background, weight, data.y - data.background)
    k = len(problem.lines)
    normal = regularised(normal, k)
    nonnegative = np.arange(moment.size) < k
    x, passive = nnls_normal(normal, moment, nonnegative, start=start)
    background = data.background + problem.background @ x[k:]
    calculated = background + dense @ x[:k]
    misfit = float(np.sum(weight * (data.y - calculated) ** 2))
    return Solution(at, width, profile, dense, x[:k], x[k:], background, calculated, passive, misfit)


def regularised(normal: Floats, k: int) -> Floats:
    """The normal matrix with a trace of ridge, so that blended lines and idle splines do no harm."""
    diagonal = np.diag(normal)
    ridge = 1e-8 * diagonal + 1e-300
    ridge[:k] = np.maximum(ridge[:k], 1e-7 * float(np.median(diagonal[:k])) if k else 0.0)
    out = normal.copy()
    out[np.diag_indices_from(out)] += ridge
    return out


def normal_equations(
    dense: Floats, profile: Profiles, background: Floats, weight: Floats, y: Floats
) -> tuple[Floats, Floats]:
    """Normal matrix [k + m, k + m] and moment [k + m] of lines and background, by blocks of points."""
    n, k = dense.shape
    m = background.shape[1]
    normal = np.zeros((k + m, k + m))
    moment = np.empty(k + m)
    counts = np.diff(profile.indptr)
    first = np.where(
        counts > 0, profile.indices[np.minimum(profile.indptr[:-1], profile.indices.size - 1)], n
    )
    last = first + counts
    block = 192
    for low in range(0, n, block):
        high = min(low + block, n)
        touching = np.flatnonzero((first < high) & (last > low))
        if touching.size == 0:
            continue
        columns = slice(int(touching[0]), int(touching[-1]) + 1)
        part = dense[low:high, columns]
        normal[columns, columns] += part.T @ (weight[low:high, None] * part)
    weighted = weight[:, None] * background
    normal[:k, k:] = dense.T @ weighted
    normal[k:, :k] = normal[:k, k:].T
    normal[k:, k:] = background.T @ weighted
    moment[:k] = dense.T @ (weight * y)
    moment[k:] = background.T @ (weight * y)
    return normal, moment


def jacobian(problem: Problem, parameters: Parameters, solution: Solution) -> Floats:
    """[n, p] derivatives of the calculated pattern by the non-linear parameters, intensities held."""
    profile = solution.profile
    intensity = solution.intensity
    n_free = parameters.n_free
    theta = np.radians(0.5 * np.nan_to_num(solution.positions[0], nan=179.0))
    q = problem.lines.tensor @ problem.metric(parameters.value[:n_free])
    # 2 theta in degrees by q: (180/pi) tan(theta) / q
    by_q = np.degrees(np.tan(np.clip(theta, 1e-3, 1.5))) / np.maximum(q, 1e-12)
    by_strain = by_q[:, None] * ((problem.lines.tensor @ problem.basis) * problem.scale)
    assert profile.by_position is not None
    assert profile.by_fwhm is not None
    assert profile.by_eta is not None
    assert profile.by_axial is not None
    move = profile.matrix(profile.by_position * intensity[profile.columns])
    broaden = profile.matrix(profile.by_fwhm * intensity[profile.columns])
    mix = profile.matrix(profile.by_eta * intensity[profile.columns])
    shifts = np.column_stack([by_strain, np.ones_like(theta), np.cos(theta)])
    out = np.empty((problem.data.grid.size, len(parameters.names)))
    out[:, : n_free + 2] = move @ shifts
    out[:, n_free + 2 : n_free + 7] = broaden @ solution.width.fwhm_by + mix @ solution.width.eta_by
    out[:, n_free + 7] = profile.matrix(profile.by_axial) @ intensity
    by_broadening = directions(problem, parameters) * solution.width.fwhm[:, None]
    out[:, n_free + N_SHARED :] = broaden @ by_broadening
    out[:, n_free + 8] = 0.0 if profile.by_ratio is None else profile.matrix(profile.by_ratio) @ intensity
    return out


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How well a line profile can be expected to fit, beyond counting noise.

    share: of the net intensity of a point; floor: of the level of a strong peak. No peak, and no foot of
    a peak, then counts for more than its shape is known.
    """

    share: float
    floor: float


def weights(data: FitData, tolerance: Tolerance) -> Floats:
    """[n] weights: 1 / (variance + (share * height of the peak around)^2 + (floor * level)^2)."""
    height = envelope(data.y - data.background, data.width / data.step)
    return 1.0 / (data.variance + (tolerance.share * height) ** 2 + (tolerance.floor * data.level) ** 2)


def refine(
    problem: Problem,
    parameters: Parameters,
    vary: Mask,
    *,
    max_steps: int,
    deadline: float,
    tolerance: Tolerance,
    least_gain: float = 2e-4,
) -> Fit:
    """Refine the parameters in `vary` [p]; stops after max_steps, at `deadline` (time.perf_counter) or when
    two steps running gain less than `least_gain` of the misfit."""
    data = problem.data
    weight = weights(data, tolerance)
    solution = solve(problem, parameters, weight, None, derivatives=True)
    damping, converged, steps, quiet = 1e-3, False, 0, 0
    error = np.full(parameters.value.size, np.nan)
    while steps < max_steps and not converged:
        steps += 1
        curvature, gradient, spread = _reduced(problem, parameters, solution, weight)
        cost = _cost(solution, parameters, spread)
        error = _errors(curvature, vary)
        better: tuple[Parameters, Solution, float] | None = None
        for _ in range(7):
            active = vary & ~_pushed_out(parameters, gradient)
            delta = _step(curvature, gradient, active, damping)
            trial = parameters.with_value(parameters.value + delta)
            new = solve(problem, trial, weight, solution.passive, derivatives=True)
            new_cost = _cost(new, trial, spread)
            if new_cost < cost:
                better = (trial, new, new_cost)
                break
            damping *= 8.0
            if time.perf_counter() > deadline:
                break
        if better is None:
            converged = True
            break
        parameters, solution, reached = better
        damping = max(damping * 0.2, 1e-6)
        quiet = quiet + 1 if cost - reached < least_gain * cost else 0
        converged = quiet == 2
        if time.perf_counter() > deadline:
            break
    return Fit(problem, replace(parameters, error=error), solution, weight, steps, converged)


def _cost(solution: Solution, parameters: Parameters, spread: float) -> float:
    prior = np.sum(((parameters.value - parameters.mean) / parameters.width) ** 2)
    return solution.misfit / spread + float(prior)


def _reduced(
    problem: Problem, parameters: Parameters, solution: Solution, weight: Floats
) -> tuple[Floats, Floats, float]:
    """Curvature [p, p] and gradient [p] with intensities and background projected out, and the variance
    of a residual of unit weight."""
    derivative = jacobian(problem, parameters, solution)
    residual = problem.data.y - solution.calculated
    spread = max(solution.misfit / residual.size, 1.0)
    weighted = weight[:, None] * derivative
    k = len(problem.lines)
    normal, _ = normal_equations(solution.dense, solution.profile, problem.background, weight, residual)
    index = np.flatnonzero(solution.passive)
    normal = regularised(normal, k)[np.ix_(index, index)]
    cross = np.vstack([solution.dense.T @ weighted, problem.background.T @ weighted])[index]
    factor = cho_factor(normal, lower=True, check_finite=False)
    curvature = derivative.T @ weighted - cross.T @ cho_solve(factor, cross, check_finite=False)
    gradient = weighted.T @ residual
    prior = 1.0 / parameters.width**2
    curvature = curvature / spread + np.diag(prior)
    gradient = gradient / spread + prior * (parameters.mean - parameters.value)
    return curvature, gradient, spread


def _pushed_out(parameters: Parameters, gradient: Floats) -> Mask:
    """Parameters at a bound that the gradient would push beyond it."""
    low = (parameters.value <= parameters.low) & (gradient < 0)
    high = (parameters.value >= parameters.high) & (gradient > 0)
    return low | high


def _step(curvature: Floats, gradient: Floats, active: Mask, damping: float) -> Floats:
    delta = np.zeros(gradient.size)
    index = np.flatnonzero(active)
    part = curvature[np.ix_(index, index)]
    scale = np.sqrt(np.diag(part))
    scaled = part / np.outer(scale, scale) + damping * np.eye(index.size)
    delta[index] = np.linalg.solve(scaled, gradient[index] / scale) / scale
    return delta


def _errors(curvature: Floats, vary: Mask) -> Floats:
    error = np.full(vary.size, np.nan)
    index = np.flatnonzero(vary)
    error[index] = np.sqrt(np.maximum(np.diag(np.linalg.pinv(curvature[np.ix_(index, index)])), 0.0))
    return error


def problem_for(
    data: FitData,
    lines: Lines,
    system: MetricSystem,
    metric: Floats,
    wavelengths: tuple[float, ...],
    spline_spacing: float,
) -> Problem:
    """A problem at strain 0 = `metric`, its background refined by splines `spline_spacing` degrees apart."""
    free, scale = free_metric(metric, system)
    return Problem(
        data, lines, system.basis, free, scale, wavelengths, spline_basis(data.grid, spline_spacing)
    )
