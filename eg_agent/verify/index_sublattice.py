"""The score of a cell whose lines are not all alike: many structures are superstructures of a smaller cell.

By chance, an observed line would lie on any line of a lattice alike. Of a superstructure the strong lines
all lie on a sublattice of the reciprocal lattice, and a few weak ones beside it show that the cell is larger.
Were all lines alike, the larger cell would pay ln 2 for each strong line, more than the weak ones bring. So
the observed lines are a mixture: a share w on a sublattice of index 2 to 8, the others beside it; w is
marginalised with a uniform prior, and so is the sublattice (those that the lattice's symmetry keeps), half of
the prior for none.

All lines of the lattice near an observed one count, so that those that fall together (a metric that is nearly
of higher symmetry) do not cost the chance of being told apart.
"""

from __future__ import annotations

import math

import numba
import numpy as np

#: Sublattices a system has: rows (a, b, c, m) of a*h + b*k + c*l = 0 mod m; m = 22: h and k even, 222: all
#: even, 4: all odd or all even.
_MOD2 = [(1, 0, 0, 2), (0, 1, 0, 2), (0, 0, 1, 2), (1, 1, 0, 2), (1, 0, 1, 2), (0, 1, 1, 2), (1, 1, 1, 2)]
_MOD3 = [
    (1, 0, 0, 3),
    (0, 1, 0, 3),
    (0, 0, 1, 3),
    (1, 0, 1, 3),
    (1, 0, 2, 3),
    (1, 1, 0, 3),
    (1, 2, 0, 3),
    (0, 1, 1, 3),
    (0, 1, 2, 3),
    (1, 1, 1, 3),
    (1, 1, 2, 3),
    (1, 2, 1, 3),
    (1, 2, 2, 3),
]
SUBLATTICES = {
    "cubic": [(1, 1, 1, 2), (0, 0, 0, 4), (0, 0, 0, 222)],
    "tetragonal": [(1, 1, 0, 2), (0, 0, 1, 2), (1, 1, 1, 2), (0, 0, 0, 22), (0, 0, 1, 3)],
    "hexagonal": [(0, 0, 1, 2), (0, 0, 1, 3), (1, 2, 0, 3), (0, 0, 0, 22)],
    "orthorhombic": [*_MOD2, *_MOD3[:3]],
    "monoclinic": [*_MOD2, *_MOD3[:5]],
    "triclinic": [*_MOD2, *_MOD3],
}
TABLES = {name: np.array(rows, dtype=np.int64) for name, rows in SUBLATTICES.items()}
#: Shares of lines on the sublattice over which it is averaged.
SHARES = (np.arange(16) + 0.5) / 16


@numba.njit(cache=True)
def _inside(hkl, row):  # type: ignore[no-untyped-def]
    h, k, l = hkl[0], hkl[1], hkl[2]  # noqa: E741
    if row[3] == 22:
        return h % 2 == 0 and k % 2 == 0
    if row[3] == 222:
        return h % 2 == 0 and k % 2 == 0 and l % 2 == 0
    if row[3] == 4:
        return (h + k) % 2 == 0 and (k + l) % 2 == 0
    return (row[0] * h + row[1] * k + row[2] * l) % row[3] == 0


@numba.njit(cache=True)
def mixture_score(obs_q, s, foreign, calc_q, hkl, n_calc, q_max, table, shares):  # type: ignore[no-untyped-def]
    """Nats by which the observed lines are more probable than by chance (see the module).

    obs_q, s, foreign: [n]; calc_q, hkl: of the first n_calc lines of the lattice, up to q_max.
    table: int [m, 4] sublattices; shares: [w].
    """
    n = obs_q.size
    weight = np.zeros((n, n_calc))
    for i in range(n):
        g = 1.5 * math.sqrt(max(obs_q[i], 1e-12)) / q_max**1.5
        front = 1.0 / (s[i] * math.sqrt(2 * math.pi) * g)
        for j in range(n_calc):
            off = (calc_q[j] - obs_q[i]) / s[i]
            if abs(off) < 6.0:
                weight[i, j] = front * math.exp(-0.5 * off * off)
    plain = 0.0
    for i in range(n):
        plain += math.log((1 - foreign[i]) * weight[i].sum() / n_calc + foreign[i])
    most = 0
    inside = np.empty(n_calc, dtype=np.bool_)
    on, beside = np.empty(n), np.empty(n)
    logs = np.full(table.shape[0], -np.inf)
    for m in range(table.shape[0]):
        count = 0
        for j in range(n_calc):
            inside[j] = _inside(hkl[j], table[m])
            count += inside[j]
        if count == 0 or count == n_calc:
            continue
        most += 1
        for i in range(n):
            on[i], beside[i] = 0.0, 0.0
            for j in range(n_calc):
                if weight[i, j] > 0.0:
                    if inside[j]:
                        on[i] += weight[i, j]
                    else:
                        beside[i] += weight[i, j]
            on[i] /= count
            beside[i] /= n_calc - count
        best = -np.inf
        total = 0.0
        for share in shares:
            value = 0.0
            for i in range(n):
                value += math.log((1 - foreign[i]) * (share * on[i] + (1 - share) * beside[i]) + foreign[i])
            if value > best:
                total = total * math.exp(best - value) + 1.0
                best = value
            else:
                total += math.exp(value - best)
        logs[m] = best + math.log(total / shares.size)
    if most == 0:
        return plain
    best = max(plain, logs.max())
    total = 0.5 * math.exp(plain - best)
    for m in range(table.shape[0]):
        if logs[m] > -np.inf:
            total += 0.5 / most * math.exp(logs[m] - best)
    return best + math.log(total)
