"""The lines of a lattice, listed by numba for the inner loops of indexing.

Systems and centrings are small integers here (SYSTEMS, CENTRINGS). All Q are 1/d^2 in 1/angstrom^2. A
lattice's parameters x [p] are the coefficients of the squares and products of the indices that its system
leaves free, in the order of `design_row`.
"""

from __future__ import annotations

import math

import numba

SYSTEMS = {"cubic": 0, "tetragonal": 1, "hexagonal": 2, "orthorhombic": 3, "monoclinic": 4, "triclinic": 5}
CENTRINGS = {"P": 0, "A": 1, "B": 2, "C": 3, "I": 4, "F": 5, "R": 6}

#: Most lines of a lattice that are listed; a lattice with more is not looked at.
MOST_LINES = 800


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
def design_row(system, h, k, l, row):  # type: ignore[no-untyped-def]  # noqa: E741
    """Derivatives of the Q of a reflection by the lattice's parameters, into `row` [p or more]."""
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
