"""The inner loops of indexing, compiled by numba: try index tuples, list a lattice's lines, refine.

Systems and centrings are small integers here (SYSTEMS, CENTRINGS). All Q are 1/d^2 in 1/angstrom^2. A line's
score is the log of its probability under the cell over its probability under chance:

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

from eg_agent.verify.index_sublattice import mixture_score

SYSTEMS = {"cubic": 0, "tetragonal": 1, "hexagonal": 2, "orthorhombic": 3, "monoclinic": 4, "triclinic": 5}
CENTRINGS = {"P": 0, "A": 1, "B": 2, "C": 3, "I": 4, "F": 5, "R": 6}

#: Most lines of a lattice that are listed; a lattice with more is not looked at.
MOST_LINES = 800
_BINS = 8192
_LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)


@numba.njit(cache=True)
def _allowed(h, k, l, centring):  # type: ignore[no-untyped-def]  # noqa: E741
    if centring == 0:
        return True
    if centring == 1:
        return (k + l) % 2 == 0
    if centring == 2:
        return (h + l) % 2 == 0
    if centring == 3:
        return (h + k) % 2 == 0
    if centring == 4:
        return (h + k + l) % 2 == 0
    if centring == 5:
        return (h + k) % 2 == 0 and (k + l) % 2 == 0
    return (-h + k + l) % 3 == 0 or (-h + k - l) % 3 == 0  # both axes' obverse lie on one line


@numba.njit(cache=True)
def _row(system, h, k, l, row):  # type: ignore[no-untyped-def]  # noqa: E741
    if system == 0:
        row[0] = h * h + k * k + l * l
    elif system == 1:
        row[0] = h * h + k * k
        row[1] = l * l
    elif system == 2:
        row[0] = h * h + h * k + k * k
        row[1] = l * l
    else:
        row[0] = h * h
        row[1] = k * k
        row[2] = l * l
        if system == 4:
            row[3] = h * l
        elif system == 5:
            row[3] = k * l
            row[4] = h * l
            row[5] = h * k


@numba.njit(cache=True)
def reciprocal_volume2(system, x):  # type: ignore[no-untyped-def]
    """Square of the reciprocal cell's volume; -1 where the parameters are no metric."""
    for i in range(min(3, x.size)):
        if x[i] <= 0:
            return -1.0
    if system == 0:
        return x[0] ** 3
    if system == 1:
        return x[0] * x[0] * x[1]
    if system == 2:
        return 0.75 * x[0] * x[0] * x[1]
    if system == 3:
        return x[0] * x[1] * x[2]
    if system == 4:
        plane = x[0] * x[2] - 0.25 * x[3] * x[3]
        return -1.0 if plane <= 0 else x[1] * plane
    d, e, f = 0.5 * x[3], 0.5 * x[4], 0.5 * x[5]
    if x[0] * x[1] - f * f <= 0 or x[0] * x[2] - e * e <= 0 or x[1] * x[2] - d * d <= 0:
        return -1.0
    return x[0] * x[1] * x[2] + 2 * d * e * f - x[0] * d * d - x[1] * e * e - x[2] * f * f


@numba.njit(cache=True)
def lines_of(system, centring, x, q_max, q, hkl):  # type: ignore[no-untyped-def]
    """List a lattice's lines up to q_max into q [MOST_LINES] and hkl [MOST_LINES, 3]; their number or -1.

    One of each set of symmetry-equivalent reflections, not sorted.
    """
    a = x[0]
    b = x[1] if system >= 3 else x[0]
    c = x[0] if system == 0 else (x[1] if system < 3 else x[2])
    d = 0.0  # kl
    e = x[3] if system == 4 else 0.0  # hl
    f = x[0] if system == 2 else 0.0  # hk
    if system == 5:
        d, e, f = x[3], x[4], x[5]
    # Longest index along each axis: h <= |a| sqrt(q), |a|^2 an element of the direct metric.
    if system == 5:
        det = reciprocal_volume2(system, x)
        direct_a = (b * c - 0.25 * d * d) / det
        direct_b = (a * c - 0.25 * e * e) / det
    elif system == 4:
        direct_a = c / (a * c - 0.25 * e * e)
        direct_b = 1.0 / b
    elif system == 2:
        direct_a = 4.0 / (3.0 * a)
        direct_b = direct_a
    else:
        direct_a = 1.0 / a
        direct_b = 1.0 / b
    h_max = int(math.sqrt(direct_a * q_max) + 1e-9)
    n = 0
    for h in range(h_max + 1):
        k_low, k_high = 0, int(math.sqrt(direct_b * q_max) + 1e-9)
        if system <= 2:
            k_high = min(k_high, h)
        if system == 5:
            k_low = -k_high
        for k in range(k_low, k_high + 1):
            base = a * h * h + b * k * k + f * h * k
            slope = e * h + d * k
            root = slope * slope - 4.0 * c * (base - q_max)
            if root < 0:
                continue
            root = math.sqrt(root)
            l_low = math.ceil((-slope - root) / (2 * c) - 1e-9)
            l_high = math.floor((-slope + root) / (2 * c) + 1e-9)
            if system <= 3:
                l_low = 0
                if system == 0:
                    l_high = min(l_high, k)
            elif h == 0 and (system == 4 or k <= 0):
                if system == 5 and k < 0:
                    continue
                l_low = max(l_low, 0)
            for l in range(l_low, l_high + 1):  # noqa: E741
                if h == 0 and k == 0 and l == 0:
                    continue
                if not _allowed(h, k, l, centring):
                    continue
                value = base + slope * l + c * l * l
                if value > q_max:
                    continue
                if n == MOST_LINES:
                    return -1
                q[n] = value
                hkl[n, 0] = h
                hkl[n, 1] = k
                hkl[n, 2] = l
                n += 1
    return n


@numba.njit(cache=True)
def line_scores(obs_q, s, foreign, calc_q, n_calc, q_max, nearest, score):  # type: ignore[no-untyped-def]
    """Score of each observed line into `score`, its nearest calculated line into `nearest`; their sum."""
    total = 0.0
    for i in range(obs_q.size):
        best = 1e300
        at = -1
        for j in range(n_calc):
            off = abs(calc_q[j] - obs_q[i])
            if off < best:
                best = off
                at = j
        nearest[i] = at
        density = 1.5 * math.sqrt(obs_q[i]) / q_max**1.5
        log_peak = (
            -0.5 * (best / s[i]) ** 2 - math.log(s[i]) - _LOG_SQRT_2PI - math.log(max(n_calc, 1) * density)
        )
        score[i] = math.log((1 - foreign[i]) * math.exp(min(log_peak, 50.0)) + foreign[i])
        total += score[i]
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
    line_at = np.empty(_BINS, dtype=np.int64)
    wide = np.empty(n)
    closest = np.empty(n)
    x = np.empty(p)
    tried = 0
    scale = _BINS / (q_max * 1.0001)
    log_density = np.empty(n)
    for i in range(n):
        log_density[i] = math.log(1.5 * math.sqrt(obs_q[i]) / q_max**1.5) + _LOG_SQRT_2PI
    worst = kept_score.argmin()
    for c in range(bases.shape[0]):
        spread = 0.0
        for i in range(p):
            spread += (s[bases[c, i]] / obs_q[bases[c, i]]) ** 2
        spread = 0.25 * spread / p
        line_at[:] = -1
        for i in range(n):
            # The base lines' own errors grow with Q: half of their mean relative error is carried along.
            wide[i] = math.sqrt(s[i] ** 2 + spread * obs_q[i] ** 2)
            low = max(int((obs_q[i] - 3.5 * wide[i]) * scale), 0)
            high = min(int((obs_q[i] + 3.5 * wide[i]) * scale), _BINS - 1)
            for j in range(low, high + 1):
                middle = (j + 0.5) / scale
                if line_at[j] < 0 or abs(middle - obs_q[i]) < abs(middle - obs_q[line_at[j]]):
                    line_at[j] = i
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
                    log_peak = -0.5 * (closest[i] / wide[i]) ** 2 - math.log(wide[i]) - log_n - log_density[i]
                    total += math.log((1 - foreign[i]) * math.exp(min(log_peak, 50.0)) + foreign[i])
            if total <= kept_score[worst]:
                continue
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
    result,
    nearest_hkl,
):
    """Least squares of parameters and zero shift, lines reassigned each round with narrowing errors.

    obs_q [n]; by_zero [n]: dQ per degree of zero shift; s_start, s_end [n]: standard errors to begin and to
    end with. start [p], zero: where to begin. sublattices, shares: see `index_sublattice`.
    x [p + 1]: out, parameters and zero (degrees). result [8]: out, score, its Occam term, lines indexed,
    calculated lines, sum |dQ| and sum |d2theta| over indexed lines, weighted variance, q_max.
    nearest_hkl [n, 3]: out, zeros where a line is not indexed. Returns whether it went well.
    """
    n = obs_q.size
    p = start.size
    calc_q = np.empty(MOST_LINES)
    hkl = np.empty((MOST_LINES, 3), dtype=np.int64)
    nearest = np.empty(n, dtype=np.int64)
    score = np.empty(n)
    s = s_start.copy()
    row = np.zeros(6)
    x[:p] = start
    x[p] = zero
    corrected = obs_q.copy()
    normal = np.zeros((p + 1, p + 1))
    total, occam, n_calc, q_max = 0.0, 0.0, 0, 0.0
    for turn in range(rounds + 1):
        share = min(1.0, turn / max(rounds - 2, 1))
        for i in range(n):
            s[i] = s_start[i] ** (1 - share) * s_end[i] ** share
            corrected[i] = obs_q[i] - by_zero[i] * x[p]
        use = n if turn >= rounds // 2 else max(min(n, 20), (n * 2) // 3)
        q_max = obs_q[n - 1] + 3 * s[n - 1]
        n_calc = lines_of(system, centring, x[:p], q_max, calc_q, hkl)
        if n_calc < 2:
            return False
        total = line_scores(corrected, s, foreign, calc_q, n_calc, q_max, nearest, score)
        if turn == rounds:
            total = mixture_score(corrected, s, foreign, calc_q, hkl, n_calc, q_max, sublattices, shares)
            break
        normal[:] = 0.0
        right = np.zeros(p + 1)
        normal[p, p] = 1.0 / zero_error**2
        used = 0
        for i in range(use):
            j = nearest[i]
            off = (calc_q[j] - corrected[i]) / s[i]
            if abs(off) > 3.5:
                continue
            used += 1
            weight = 1.0 / (s[i] ** 2 * (1.0 + 0.2 * off * off))
            _row(system, hkl[j, 0], hkl[j, 1], hkl[j, 2], row)
            row[p] = by_zero[i]
            for a in range(p + 1):
                right[a] += weight * row[a] * obs_q[i]
                for b in range(p + 1):
                    normal[a, b] += weight * row[a] * row[b]
        if used < p + 1:
            return False
        # Scaled, and barely damped, so that a parameter that no line fixes does not stop the others.
        scale = np.empty(p + 1)
        for a in range(p + 1):
            scale[a] = math.sqrt(max(normal[a, a], 1e-300))
        for a in range(p + 1):
            right[a] /= scale[a]
            for b in range(p + 1):
                normal[a, b] /= scale[a] * scale[b]
            normal[a, a] += 1e-10
        solution = np.linalg.solve(normal, right)
        for a in range(p + 1):
            x[a] = solution[a] / scale[a]
        if reciprocal_volume2(system, x[:p]) <= 0:
            return False
        determinant = np.linalg.det(normal)
        if determinant < 1e-9:  # some parameter is fixed by no line
            return False
        # ln of (posterior volume / prior volume) of the parameters: a Laplace approximation.
        occam = -0.5 * math.log(determinant)
        for a in range(p):
            occam += -math.log(scale[a]) + _LOG_SQRT_2PI - math.log(obs_q[min(n - 1, 9)])
        occam += -math.log(scale[p]) - math.log(zero_error)
    indexed = 0
    sum_q = 0.0
    sum_angle = 0.0
    variance = 0.0
    for i in range(n):
        off = abs(calc_q[nearest[i]] - corrected[i])
        nearest_hkl[i, :] = 0
        if off < 3.5 * s[i]:
            indexed += 1
            sum_q += off
            sum_angle += off / by_zero[i]
            variance += (off / s[i]) ** 2
            nearest_hkl[i, :] = hkl[nearest[i], :]
    result[0] = total
    result[1] = occam
    result[2] = indexed
    result[3] = n_calc
    result[4] = sum_q
    result[5] = sum_angle
    result[6] = variance
    result[7] = q_max
    return True
