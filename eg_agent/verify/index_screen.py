"""Trials of a lattice on the first observed lines, compiled by numba: how well each cell places them.

All Q are 1/d^2 in 1/angstrom^2. A line's score is the log of its probability under the cell over its
probability under chance:

    log[ (1 - e) N(dQ; s) / (n g) + e ]

where n is the number of lines that the lattice allows up to the last one looked at, g the density of lines
per unit Q if they were spread as a lattice's are (Q^1.5 uniform), s the line's standard error and e the
probability that it is not of this lattice. A cell twice as large has twice the lines, so it loses ln 2
a line: size is paid for without a rule, and a foreign line costs no more than log e.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from eg_agent.verify.index_kernels import MOST_LINES, lines_of, reciprocal_volume2

#: Bins of Q in which observed lines are looked up.
BINS = 8192
_LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)


@numba.njit(cache=True)
def log_density(obs_q, q_max):  # type: ignore[no-untyped-def]
    """[n] ln(g sqrt(2 pi)) at the observed lines: what a trial's score needs of them beside their errors."""
    out = np.empty(obs_q.size)
    for i in range(obs_q.size):
        out[i] = math.log(1.5 * math.sqrt(obs_q[i]) / q_max**1.5) + _LOG_SQRT_2PI
    return out


@numba.njit(cache=True)
def nearest_line(obs_q, s, base, q_max, wide, line_at):  # type: ignore[no-untyped-def]
    """Which observed line each of the bins between 0 and q_max belongs to; bins a unit Q.

    obs_q, s: [n]. base: the lines that a cell is made of. wide [n]: out, standard errors with the base
    lines' own. line_at [BINS]: out, -1 where no line is near.
    """
    scale = BINS / (q_max * 1.0001)
    spread = 0.0
    for i in base:
        spread += (s[i] / obs_q[i]) ** 2
    spread = 0.25 * spread / len(base)
    line_at[:] = -1
    for i in range(obs_q.size):
        # The base lines' own errors grow with Q: half of their mean relative error is carried along.
        wide[i] = math.sqrt(s[i] ** 2 + spread * obs_q[i] ** 2)
        low = max(int((obs_q[i] - 3.5 * wide[i]) * scale), 0)
        high = min(int((obs_q[i] + 3.5 * wide[i]) * scale), BINS - 1)
        for j in range(low, high + 1):
            middle = (j + 0.5) / scale
            if line_at[j] < 0 or abs(middle - obs_q[i]) < abs(middle - obs_q[line_at[j]]):
                line_at[j] = i
    return scale


@numba.njit(cache=True)
def trial_score(  # type: ignore[no-untyped-def]
    obs_q, wide, foreign, density, line_at, scale, calc_q, n_calc, closest
):
    """Score of a lattice's first n_calc lines (see the module); closest [n]: room to work in."""
    n = obs_q.size
    for i in range(n):
        closest[i] = 1e300
    for j in range(n_calc):
        i = line_at[int(calc_q[j] * scale)]
        if i >= 0:
            off = abs(calc_q[j] - obs_q[i])
            if off < closest[i]:
                closest[i] = off
    log_n = math.log(n_calc)
    total = 0.0
    for i in range(n):
        if closest[i] > 4 * wide[i]:
            total += math.log(foreign[i])
        else:
            log_peak = -0.5 * (closest[i] / wide[i]) ** 2 - math.log(wide[i]) - log_n - density[i]
            total += math.log((1 - foreign[i]) * math.exp(min(log_peak, 50.0)) + foreign[i])
    return total


@numba.njit(cache=True)
def keep_trial(x, total, kept, kept_score):  # type: ignore[no-untyped-def]
    """Put a trial in the place of the worst kept one, or of the same cell; the place of the worst now."""
    at = kept_score.argmin()
    for m in range(kept_score.size):
        if kept_score[m] == -np.inf:
            continue
        near = True
        for i in range(x.size):
            if abs(kept[m, i] - x[i]) > 0.01 * (abs(x[i]) + 0.1 * x[0]):
                near = False
                break
        if near:
            at = m
            break
    if kept_score[at] < total:
        kept[at, :] = x
        kept_score[at] = total
    return kept_score.argmin()


@numba.njit(cache=True)
def screen(  # type: ignore[no-untyped-def]
    obs_q, s, foreign, bases, inverses, system, centring, star2_low, star2_high, most_calc, kept, kept_score
):
    """Try index tuples on base lines; keep the best parameters in `kept` [m, p], `kept_score` [m].

    obs_q, s, foreign: [n] the lines looked at. bases: int [c, p] which lines; inverses: [t, p, p] from their
    Q to parameters. star2_low, star2_high: bounds of the squared reciprocal volume of the conventional cell.
    most_calc: a lattice with more lines up to the last one is passed over. Returns how many were tried.
    """
    n = obs_q.size
    p = bases.shape[1]
    q_max = obs_q[n - 1] + 2 * s[n - 1]
    calc_q = np.empty(MOST_LINES)
    hkl = np.empty((MOST_LINES, 3), dtype=np.int64)
    line_at = np.empty(BINS, dtype=np.int64)
    wide, closest = np.empty(n), np.empty(n)
    density = log_density(obs_q, q_max)
    x = np.empty(p)
    tried = 0
    worst = kept_score.argmin()
    for c in range(bases.shape[0]):
        scale = nearest_line(obs_q, s, bases[c], q_max, wide, line_at)
        for t in range(inverses.shape[0]):
            for i in range(p):
                value = 0.0
                for j in range(p):
                    value += inverses[t, i, j] * obs_q[bases[c, j]]
                x[i] = value
            star2 = reciprocal_volume2(system, x)
            if star2 < star2_low or star2 > star2_high:
                continue
            if system == 4 and centring == 0:
                _reduce_plane(x)
            n_calc = lines_of(system, centring, x, q_max, calc_q, hkl)
            if n_calc < 3 or n_calc > most_calc:
                continue
            tried += 1
            total = trial_score(obs_q, wide, foreign, density, line_at, scale, calc_q, n_calc, closest)
            if total > kept_score[worst]:
                worst = keep_trial(x, total, kept, kept_score)
    return tried


@numba.njit(cache=True)
def _reduce_plane(x):  # type: ignore[no-untyped-def]
    """Gauss reduction of a* and c* in place (monoclinic P): the angle between them closest to 90."""
    for _ in range(20):
        if x[2] < x[0]:
            x[0], x[2] = x[2], x[0]
        turns = round(x[3] / (2 * x[0]))
        if turns == 0:
            break
        x[2] = x[2] - turns * x[3] + turns * turns * x[0]
        x[3] = x[3] - 2 * turns * x[0]
    if x[3] > 0:  # a* to -a*: beta* below 90, beta above
        x[3] = -x[3]
