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

from eg_agent.verify.index_kernels import (
    _BINS,
    _LOG_SQRT_2PI,
    MOST_LINES,
    keep_trial,
    lines_of,
    reciprocal_volume2,
)

#: Lines that may be the axes, that may be sums or differences, and angles that are tried for a pair of axes.
AXES, CROSSES, ANGLES = 9, 22, 14


@numba.njit(cache=True)
def reduce_triclinic(x):  # type: ignore[no-untyped-def]
    """Reduce the axes in place: shorter ones while there are any, ascending, products of one sign."""
    for _ in range(60):
        # ascending
        for _ in range(2):
            if x[1] < x[0]:
                x[0], x[1] = x[1], x[0]
                x[3], x[4] = x[4], x[3]
            if x[2] < x[1]:
                x[1], x[2] = x[2], x[1]
                x[4], x[5] = x[5], x[4]
        changed = False
        turn = round(x[5] / (2 * x[0]))  # b - turn a
        if abs(x[5]) > x[0] * (1 + 1e-9) and turn != 0:
            x[1] += turn * turn * x[0] - turn * x[5]
            x[3] -= turn * x[4]
            x[5] -= 2 * turn * x[0]
            changed = True
        turn = round(x[4] / (2 * x[0]))  # c - turn a
        if abs(x[4]) > x[0] * (1 + 1e-9) and turn != 0:
            x[2] += turn * turn * x[0] - turn * x[4]
            x[3] -= turn * x[5]
            x[4] -= 2 * turn * x[0]
            changed = True
        turn = round(x[3] / (2 * x[1]))  # c - turn b
        if abs(x[3]) > x[1] * (1 + 1e-9) and turn != 0:
            x[2] += turn * turn * x[1] - turn * x[3]
            x[4] -= turn * x[5]
            x[3] -= 2 * turn * x[1]
            changed = True
        if not changed:
            # the signs: all products positive or none
            negative = (x[3] < 0) + (x[4] < 0) + (x[5] < 0)
            if negative == 1 or negative == 3:
                # an odd number of negative products can be made all negative
                x[3], x[4], x[5] = -abs(x[3]), -abs(x[4]), -abs(x[5])
                total = x[0] + x[1] + x[3] + x[4] + x[5]
                if total < -1e-9 * x[0]:  # a + b + c is shorter than c
                    x[2] = x[2] + total
                    x[3], x[4] = x[3] + 2 * x[1] + x[5], x[4] + 2 * x[0] + x[5]
                    continue
            else:
                x[3], x[4], x[5] = abs(x[3]), abs(x[4]), abs(x[5])
            break


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
    """Try all cells with lines i < j < k as axes; keep the best as `index_kernels.screen` does.

    Returns how many were tried. obs_q, s, foreign: [n].
    """
    n = obs_q.size
    q_max = obs_q[n - 1] + 2 * s[n - 1]
    calc_q = np.empty(MOST_LINES)
    hkl = np.empty((MOST_LINES, 3), dtype=np.int64)
    line_at = np.full(_BINS, -1, dtype=np.int64)
    scale = _BINS / (q_max * 1.0001)
    wide = np.empty(n)
    closest = np.empty(n)
    log_density = np.empty(n)
    spread = 0.0
    for i_line in (i, j, k):
        spread += (s[i_line] / obs_q[i_line]) ** 2
    spread = 0.25 * spread / 3
    for m in range(n):
        log_density[m] = math.log(1.5 * math.sqrt(obs_q[m]) / q_max**1.5) + _LOG_SQRT_2PI
        wide[m] = math.sqrt(s[m] ** 2 + spread * obs_q[m] ** 2)
        low = max(int((obs_q[m] - 3.5 * wide[m]) * scale), 0)
        high = min(int((obs_q[m] + 3.5 * wide[m]) * scale), _BINS - 1)
        for b in range(low, high + 1):
            middle = (b + 0.5) / scale
            if line_at[b] < 0 or abs(middle - obs_q[m]) < abs(middle - obs_q[line_at[b]]):
                line_at[b] = m
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
                    for m in range(n):
                        closest[m] = 1e300
                    for b in range(n_calc):
                        m = line_at[int(calc_q[b] * scale)]
                        if m >= 0:
                            off = abs(calc_q[b] - obs_q[m])
                            if off < closest[m]:
                                closest[m] = off
                    log_n = math.log(n_calc)
                    total = 0.0
                    for m in range(n):
                        if closest[m] > 4 * wide[m]:
                            total += math.log(foreign[m])
                        else:
                            log_peak = (
                                -0.5 * (closest[m] / wide[m]) ** 2
                                - math.log(wide[m])
                                - log_n
                                - log_density[m]
                            )
                            total += math.log((1 - foreign[m]) * math.exp(min(log_peak, 50.0)) + foreign[m])
                    if total <= kept_score[worst]:
                        continue
                    reduce_triclinic(x)
                    worst = keep_trial(x, total, kept, kept_score)
    return tried
