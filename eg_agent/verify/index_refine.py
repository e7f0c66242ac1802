"""Least squares of a lattice's parameters and the zero shift on observed lines, compiled by numba.

Lines are reassigned each round, with errors that narrow; all Q are 1/d^2 in 1/angstrom^2.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from eg_agent.verify.index_kernels import MOST_LINES, design_row, lines_of, reciprocal_volume2
from eg_agent.verify.index_sublattice import mixture_score

_LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)
#: A line is of the lattice when the nearest of its lines is within so many standard errors.
_NEAR = 3.5


@numba.njit(cache=True)
def refine(  # type: ignore[no-untyped-def]
    obs_q,
    by_zero,
    s_start,
    s_end,
    foreign,
    system,
    centring,
    start,
    zero,
    zero_error,
    rounds,
    sublattices,
    shares,
    x,
):
    """Refine a trial: nats by which it explains the lines better than chance, Occam term, lines indexed.

    obs_q [n]; by_zero [n]: dQ per degree of zero shift; s_start, s_end [n]: standard errors to begin and to
    end with; foreign [n]: probability that a line is not of the lattice. start [p], zero: where to begin;
    zero_error: its standard deviation, degrees. sublattices, shares: see `index_sublattice`.
    x [p + 1]: out, parameters and zero (degrees). Lines indexed are -1 when the trial came apart.
    """
    n = obs_q.size
    p = start.size
    calc_q = np.empty(MOST_LINES)
    hkl = np.empty((MOST_LINES, 3), dtype=np.int64)
    nearest = np.empty(n, dtype=np.int64)
    s = s_start.copy()
    corrected = obs_q.copy()
    normal, right = np.zeros((p + 1, p + 1)), np.zeros(p + 1)
    x[:p] = start
    x[p] = zero
    occam = 0.0
    for turn in range(rounds + 1):
        share = min(1.0, turn / max(rounds - 2, 1))
        for i in range(n):
            s[i] = s_start[i] ** (1 - share) * s_end[i] ** share
            corrected[i] = obs_q[i] - by_zero[i] * x[p]
        q_max = obs_q[n - 1] + 3 * s[n - 1]
        n_calc = lines_of(system, centring, x[:p], q_max, calc_q, hkl)
        if n_calc < 2:
            return 0.0, 0.0, -1
        if turn == rounds:
            total = mixture_score(corrected, s, foreign, calc_q, hkl, n_calc, q_max, sublattices, shares)
            return total, occam, _indexed(corrected, s, calc_q[:n_calc])
        _assign(corrected, calc_q[:n_calc], nearest)
        use = n if turn >= rounds // 2 else max(min(n, 20), (n * 2) // 3)
        used = _normal_equations(
            obs_q[:use], corrected, by_zero, s, calc_q, hkl, nearest, system, zero_error, normal, right
        )
        if used < p + 1:
            return 0.0, 0.0, -1
        log_volume = _solve(normal, right, x)
        if log_volume == np.inf or reciprocal_volume2(system, x[:p]) <= 0:
            return 0.0, 0.0, -1
        # ln of (posterior volume / prior volume) of the parameters: a Laplace approximation.
        occam = log_volume + p * (_LOG_SQRT_2PI - math.log(obs_q[min(n - 1, 9)])) - math.log(zero_error)
    return 0.0, 0.0, -1


@numba.njit(cache=True)
def _assign(obs_q, calc_q, nearest):  # type: ignore[no-untyped-def]
    """The calculated line nearest to each observed one, into `nearest` [n]."""
    for i in range(obs_q.size):
        best = 1e300
        for j in range(calc_q.size):
            off = abs(calc_q[j] - obs_q[i])
            if off < best:
                best = off
                nearest[i] = j


@numba.njit(cache=True)
def _indexed(obs_q, s, calc_q):  # type: ignore[no-untyped-def]
    """How many observed lines have a calculated one near."""
    count = 0
    for i in range(obs_q.size):
        for j in range(calc_q.size):
            if abs(calc_q[j] - obs_q[i]) < _NEAR * s[i]:
                count += 1
                break
    return count


@numba.njit(cache=True)
def _normal_equations(  # type: ignore[no-untyped-def]
    obs_q, corrected, by_zero, s, calc_q, hkl, nearest, system, zero_error, normal, right
):
    """Fill `normal` [p + 1, p + 1] and `right` [p + 1] from the lines of the lattice; their number.

    The zero shift comes last, with its prior. A line far from its place weighs less (Cauchy, mildly).
    """
    p = right.size - 1
    row = np.zeros(p + 1)
    normal[:] = 0.0
    right[:] = 0.0
    normal[p, p] = 1.0 / zero_error**2
    used = 0
    for i in range(obs_q.size):
        j = nearest[i]
        off = (calc_q[j] - corrected[i]) / s[i]
        if abs(off) > _NEAR:
            continue
        used += 1
        weight = 1.0 / (s[i] ** 2 * (1.0 + 0.2 * off * off))
        design_row(system, hkl[j, 0], hkl[j, 1], hkl[j, 2], row)
        row[p] = by_zero[i]
        for a in range(p + 1):
            right[a] += weight * row[a] * obs_q[i]
            for b in range(p + 1):
                normal[a, b] += weight * row[a] * row[b]
    return used


@numba.njit(cache=True)
def _solve(normal, right, x):  # type: ignore[no-untyped-def]
    """Solve for x; ln of the posterior volume, -ln(det(normal)) / 2, or inf where some parameter is free."""
    size = right.size
    # Scaled, and barely damped, so that a parameter that no line fixes does not stop the others.
    scale = np.empty(size)
    for a in range(size):
        scale[a] = math.sqrt(max(normal[a, a], 1e-300))
    for a in range(size):
        right[a] /= scale[a]
        for b in range(size):
            normal[a, b] /= scale[a] * scale[b]
        normal[a, a] += 1e-10
    solution = np.linalg.solve(normal, right)
    for a in range(size):
        x[a] = solution[a] / scale[a]
    determinant = np.linalg.det(normal)
    if determinant < 1e-9:
        return np.inf
    return -0.5 * math.log(determinant) - np.log(scale).sum()
