"""The trials of a triclinic lattice: three lines as axes, three more as sums or differences of two of them.

Six parameters need six lines, and a table of their likely indices would be endless. But any three lattice
vectors that span the reciprocal lattice may be its axes, so three low lines are taken for 100, 010 and 001,
and for each pair of them a further line for the sum or the difference (110 or 1-10): its Q fixes the angle
(the first step of Ito, Nature 164 (1949) 755, and of Visser, J. Appl. Cryst. 2 (1969) 89, done for all three
zones at once). Q(110) + Q(1-10) = 2 [Q(100) + Q(010)], so a second line of the zone is foretold and seen or
not; of many angles, those of which more is seen are tried.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from eg_agent.verify.index_kernels import MOST_LINES, lines_of, reciprocal_volume2
from eg_agent.verify.index_screen import BINS, keep_trial, log_density, nearest_line, trial_score

#: Lines that may be the axes, that may be sums or differences, and angles that are tried for a pair of axes.
AXES, CROSSES, ANGLES = 9, 22, 14


@numba.njit(cache=True)
def reduce_triclinic(x):  # type: ignore[no-untyped-def]
    """Reduce the axes in place: shorter ones while there are any, ascending, products of one sign."""
    for _ in range(60):
        _sort_axes(x)
        # Each axis shortened by whole turns of a shorter one; x[3], x[4], x[5] are 2 b.c, 2 a.c, 2 a.b.
        changed = _shorten(x, 1, 0, 5, 3, 4)
        changed = _shorten(x, 2, 0, 4, 3, 5) or changed
        changed = _shorten(x, 2, 1, 3, 4, 5) or changed
        if not changed and not _join(x):
            break


@numba.njit(cache=True)
def _sort_axes(x):  # type: ignore[no-untyped-def]
    """Put the axes in ascending order."""
    for _ in range(2):
        if x[1] < x[0]:
            x[0], x[1] = x[1], x[0]
            x[3], x[4] = x[4], x[3]
        if x[2] < x[1]:
            x[1], x[2] = x[2], x[1]
            x[4], x[5] = x[5], x[4]


@numba.njit(cache=True)
def _shorten(x, axis, by, product, other, by_other):  # type: ignore[no-untyped-def]
    """Take whole turns of axis `by` from `axis`; whether there was one to take.

    product, other, by_other: places in x of the product of the two, and of each of them with the third axis.
    """
    turn = round(x[product] / (2 * x[by]))
    if turn == 0 or abs(x[product]) <= x[by] * (1 + 1e-9):
        return False
    x[axis] += turn * turn * x[by] - turn * x[product]
    x[other] -= turn * x[by_other]
    x[product] -= 2 * turn * x[by]
    return True


@numba.njit(cache=True)
def _join(x):  # type: ignore[no-untyped-def]
    """Give all products one sign; put a + b + c in the place of c where that is shorter, and say whether."""
    negative = (x[3] < 0) + (x[4] < 0) + (x[5] < 0)
    if negative != 1 and negative != 3:
        x[3], x[4], x[5] = abs(x[3]), abs(x[4]), abs(x[5])
        return False
    # an odd number of negative products can be made all negative
    x[3], x[4], x[5] = -abs(x[3]), -abs(x[4]), -abs(x[5])
    total = x[0] + x[1] + x[3] + x[4] + x[5]
    if total >= -1e-9 * x[0]:
        return False
    x[2] = x[2] + total
    x[3], x[4] = x[3] + 2 * x[1] + x[5], x[4] + 2 * x[0] + x[5]
    return True


@numba.njit(cache=True)
def zone_angles(obs_q, s, i, j, angles, chances):  # type: ignore[no-untyped-def]
    """Candidates for 2 a*.b* of the zone of lines i, j, the better supported first; how many there are.

    angles [ANGLES]: out, above or equal 0. chances [ANGLES]: out, lines that the zone explains.
    """
    n = obs_q.size
    both = obs_q[i] + obs_q[j]
    limit = min(obs_q[i], obs_q[j])
    count = 0
    for m in range(min(n, CROSSES)):
        if m in (i, j):
            continue
        f = abs(obs_q[m] - both)
        # Longer products can be reduced; the reduced axes are other lines, mostly.
        if f > 1.9 * math.sqrt(obs_q[i] * obs_q[j]) or f > 2.1 * limit:
            continue
        support = 0.0
        for h in range(1, 4):
            for k in range(1, 4):
                if h == k and h > 1:
                    continue
                base = h * h * obs_q[i] + k * k * obs_q[j]
                for sign in (-1.0, 1.0):
                    wanted = base + sign * h * k * f
                    if wanted > obs_q[n - 1]:
                        continue
                    best = 1e300
                    at = 0
                    for q in range(n):
                        off = abs(obs_q[q] - wanted)
                        if off < best:
                            best = off
                            at = q
                    if best < 2.5 * (h + k) * 0.5 * s[at]:
                        support += 1.0
                    else:
                        support -= 0.1
        known = False
        for c in range(count):
            if abs(angles[c] - f) < s[m]:
                known = True
                chances[c] = max(chances[c], support)
        if known:
            continue
        at = count
        if count == ANGLES:
            at = chances[:count].argmin()
            if chances[at] >= support:
                continue
        else:
            count += 1
        angles[at] = f
        chances[at] = support
    for c in range(1, count):  # insertion sort, best first
        f, support = angles[c], chances[c]
        e = c - 1
        while e >= 0 and chances[e] < support:
            angles[e + 1], chances[e + 1] = angles[e], chances[e]
            e -= 1
        angles[e + 1], chances[e + 1] = f, support
    return count


@numba.njit(cache=True)
def screen_axes(  # type: ignore[no-untyped-def]
    obs_q, s, foreign, i, j, k, star2_low, star2_high, most_calc, kept, kept_score
):
    """Try all cells with lines i < j < k as axes; keep the best as `index_screen.screen` does.

    Returns how many were tried. obs_q, s, foreign: [n].
    """
    n = obs_q.size
    q_max = obs_q[n - 1] + 2 * s[n - 1]
    calc_q = np.empty(MOST_LINES)
    hkl = np.empty((MOST_LINES, 3), dtype=np.int64)
    line_at = np.empty(BINS, dtype=np.int64)
    wide, closest = np.empty(n), np.empty(n)
    density = log_density(obs_q, q_max)
    scale = nearest_line(obs_q, s, np.array([i, j, k]), q_max, wide, line_at)
    angles = np.empty((3, ANGLES))
    chances = np.empty((3, ANGLES))
    count_f = zone_angles(obs_q, s, i, j, angles[0], chances[0])
    count_e = zone_angles(obs_q, s, i, k, angles[1], chances[1])
    count_d = zone_angles(obs_q, s, j, k, angles[2], chances[2])
    x = np.empty(6)
    worst = kept_score.argmin()
    tried = 0
    for c_f in range(count_f):
        for c_e in range(count_e):
            for c_d in range(count_d):
                for sign in (-1.0, 1.0):
                    x[0], x[1], x[2] = obs_q[i], obs_q[j], obs_q[k]
                    x[3], x[4], x[5] = sign * angles[2, c_d], angles[1, c_e], angles[0, c_f]
                    star2 = reciprocal_volume2(5, x)
                    if star2 < star2_low or star2 > star2_high:
                        continue
                    n_calc = lines_of(5, 0, x, q_max, calc_q, hkl)
                    if n_calc < 3 or n_calc > most_calc:
                        continue
                    tried += 1
                    total = trial_score(
                        obs_q, wide, foreign, density, line_at, scale, calc_q, n_calc, closest
                    )
                    if total > kept_score[worst]:
                        reduce_triclinic(x)
                        worst = keep_trial(x, total, kept, kept_score)
    return tried
