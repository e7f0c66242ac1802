"""The inner loops of the search, compiled by numba: background, coarse comparison, rendering, refinement.

Axes: N entry, M peak of all entries, K stick of the coarse comparison, S shift, L point of the fine grid.
"""

from __future__ import annotations

import math

import numba
import numpy as np

#: Most free strains of a cell.
STRAINS = 6


@numba.njit(cache=True)
def snip(y, half_width):  # type: ignore[no-untyped-def]
    """[L] floor under peaks narrower than 2 half_width points: SNIP clipping, widest window first.

    Morhac et al., Nucl. Instrum. Methods A 401 (1997) 113, with the windows in decreasing order. y must
    be on a scale on which counting noise is even (square root).
    """
    floor = y.copy()
    n = y.size
    previous = y.copy()
    for p in range(half_width, 0, -1):
        for i in range(n):
            reach = min(p, i, n - 1 - i)
            if reach > 0:
                mean = 0.5 * (previous[i - reach] + previous[i + reach])
                floor[i] = min(previous[i], mean)
        previous[:] = floor
    return floor


@numba.njit(cache=True, fastmath=True)
def sticks(offset, hkl, strength, metric, polarisation, reach, start, step, most, bins, weight):  # type: ignore[no-untyped-def]
    """Fill bins uint16 [N, K] and weight uint8 [N, K]: the strongest sticks of each entry on an axis of ln q.

    strength: [M] F^2 m, about the strongest first within an entry. metric: [N, 6] reciprocal metric.
    polarisation: [n_bins] Lorentz-polarisation factor. reach: int [n_bins]; a peak within so many bins of
    a stick is part of it, because a pattern would show one line: without this, entries with many close
    peaks would count a line of the pattern several times. The weight is the square root of the summed
    intensity, 255 for the strongest stick. Sticks that an entry lacks have weight 0.
    """
    n_bins = polarisation.size
    owner = np.full(n_bins, -1, dtype=np.int64)
    total = np.empty(512, dtype=np.float64)
    place = np.empty(512, dtype=np.int64)
    for i in range(offset.size - 1):
        g = metric[i]
        count = 0
        for j in range(offset[i], offset[i + 1]):
            q2 = inverse_d2(g, hkl[j, 0], hkl[j, 1], hkl[j, 2])
            b = int((0.5 * math.log(q2) - start) / step)
            if b < 0 or b >= n_bins:
                continue
            value = strength[j] * polarisation[b]
            if owner[b] >= 0:
                total[owner[b]] += value
            elif count < 512:
                total[count], place[count] = value, b
                for near in range(max(0, b - reach[b]), min(n_bins, b + reach[b] + 1)):
                    if owner[near] < 0:
                        owner[near] = count
                count += 1
        order = np.argsort(-total[:count])
        top = math.sqrt(total[order[0]]) if count > 0 else 1.0
        for k in range(most):
            bins[i, k], weight[i, k] = 0, 0
            if k < count:
                bins[i, k] = place[order[k]]
                weight[i, k] = int(255.0 * math.sqrt(total[order[k]]) / top + 0.5)
        for k in range(count):
            b = place[k]
            owner[max(0, b - reach[b]) : min(n_bins, b + reach[b] + 1)] = -1


@numba.njit(cache=True)
def inverse_d2(g, h, k, l):  # type: ignore[no-untyped-def]  # noqa: E741
    """1/d^2 of one reflection in a reciprocal metric [6]."""
    return g[0] * h * h + g[1] * k * k + g[2] * l * l + 2.0 * (g[3] * k * l + g[4] * h * l + g[5] * h * k)


@numba.njit(cache=True, fastmath=True)
def coarse(bins, weight, height, covered, best, shift):  # type: ignore[no-untyped-def]
    """Fill best float32 [N] and shift uint8 [N]: the highest cosine over 16 shifts, and which one it was.

    height, covered: float32 [n_bins, 16], row b column s holds the value at bin b moved by shift s: the
    16 comparisons of a stick are one vector operation. covered is 1 where the pattern was measured: what
    lies outside does not count against an entry. An entry with less than a fifth of its strength (squared
    weights) in the range is not judged.
    """
    n, most = bins.shape
    dot = np.empty(16, dtype=np.float32)
    norm = np.empty(16, dtype=np.float32)
    for i in range(n):
        for s in range(16):
            dot[s] = 0.0
            norm[s] = 0.0
        full = np.float32(0.0)
        for k in range(most):
            w = np.float32(weight[i, k])
            if w == 0.0:
                break
            b = bins[i, k]
            w2 = w * w
            full += w2
            for s in range(16):
                dot[s] += w * height[b, s]
                norm[s] += w2 * covered[b, s]
        top, where = np.float32(0.0), 0
        for s in range(16):
            if norm[s] > 0.2 * full:
                value = dot[s] / math.sqrt(norm[s])
                if value > top:
                    top, where = value, s
        best[i] = top
        shift[i] = where


@numba.njit(cache=True, fastmath=True)
def render(hkl, strength, g, zero, sigma, start, step, polarisation, wavelength, out):  # type: ignore[no-untyped-def]
    """Fill out [L] with Gaussian lines at 2-theta (degrees) + zero on a uniform grid."""
    out[:] = 0.0
    n = out.size
    reach = int(3.2 * sigma / step) + 1
    narrow = -0.5 * (step / sigma) ** 2
    fall = math.exp(2.0 * narrow)
    for j in range(strength.size):
        sine = 0.5 * wavelength * math.sqrt(max(inverse_d2(g, hkl[j, 0], hkl[j, 1], hkl[j, 2]), 1e-12))
        if sine >= 0.999:
            continue
        x = (math.degrees(2.0 * math.asin(sine)) + zero - start) / step
        centre = math.floor(x + 0.5)
        if centre < -reach or centre >= n + reach:
            continue
        inside = min(max(centre, 0), n - 1)
        part = centre - x
        top = strength[j] * polarisation[inside] * math.exp(narrow * part * part)
        # exp(-(d + p)^2 u) from its neighbour by two products: no exponential a point
        for side in (1, -1):
            value = top
            ratio = math.exp(narrow * (1.0 + 2.0 * side * part))
            position = centre
            for distance in range(reach + 1):
                if 0 <= position < n and (distance > 0 or side == 1):
                    out[position] += value
                value *= ratio
                ratio *= fall
                position += side


@numba.njit(cache=True, fastmath=True)
def cosine(rendered, target, covered):  # type: ignore[no-untyped-def]
    """Cosine of sqrt(rendered) and target [L] over the covered points; target is 0 outside them."""
    dot, own, other = 0.0, 0.0, 0.0
    for i in range(rendered.size):
        v = rendered[i] * covered[i]
        own += v
        dot += math.sqrt(v) * target[i]
        other += target[i] * target[i]
    return dot / math.sqrt(own * other) if own > 0.0 and other > 0.0 else 0.0


@numba.njit(cache=True, fastmath=True)
def linear_cosine(rendered, target, covered):  # type: ignore[no-untyped-def]
    """As `cosine`, of the intensities themselves: target holds square roots."""
    dot, own, other = 0.0, 0.0, 0.0
    for i in range(rendered.size):
        v, t = rendered[i] * covered[i], target[i] * target[i]
        own += v * v
        dot += v * t
        other += t * t
    return dot / math.sqrt(own * other) if own > 0.0 and other > 0.0 else 0.0


@numba.njit(cache=True, fastmath=True)
def strained(g, stretch, strain, out):  # type: ignore[no-untyped-def]
    """Reciprocal metric out [6] after strain [6]: relative growth of three axes, change of three cosines.

    stretch: int [6]; strain s of axis i is strain[stretch[i]], shear of product i strain[stretch[3 + i]]
    (none: -1).
    """
    f0, f1, f2 = 1.0 - strain[stretch[0]], 1.0 - strain[stretch[1]], 1.0 - strain[stretch[2]]
    out[0], out[1], out[2] = g[0] * f0 * f0, g[1] * f1 * f1, g[2] * f2 * f2
    out[3], out[4], out[5] = g[3] * f1 * f2, g[4] * f0 * f2, g[5] * f0 * f1
    if stretch[3] >= 0:
        out[3] += strain[stretch[3]] * math.sqrt(out[1] * out[2])
    if stretch[4] >= 0:
        out[4] += strain[stretch[4]] * math.sqrt(out[0] * out[2])
    if stretch[5] >= 0:
        out[5] += strain[stretch[5]] * math.sqrt(out[0] * out[1])


@numba.njit(cache=True)
def scan(
    rows,
    growth,
    offsets,
    offset,
    hkl,
    strength,
    metric,
    grid,
    polarisation,
    sigma,
    target,
    covered,
    linear,
    best,
    where,
):  # type: ignore[no-untyped-def]
    """Fill best [n] and where [n]: highest cosine of entries `rows` over ln-scales growth[i] + offsets.

    linear: of intensities instead of their square roots.
    A scale of +0.01 is a cell 1 % larger. grid: (start, step, wavelength) in degrees and angstrom.
    """
    out = np.empty(target.size)
    g = np.empty(6)
    for i in range(rows.size):
        row = rows[i]
        low, high = offset[row], offset[row + 1]
        best[i], where[i] = -1.0, growth[i]
        for t in offsets:
            size = math.exp(-2.0 * (growth[i] + t))
            for k in range(6):
                g[k] = metric[row, k] * size
            render(
                hkl[low:high], strength[low:high], g, 0.0, sigma, grid[0], grid[1], polarisation, grid[2], out
            )
            value = linear_cosine(out, target, covered) if linear else cosine(out, target, covered)
            if value > best[i]:
                best[i], where[i] = value, growth[i] + t


@numba.njit(cache=True)
def refine(
    rows,
    growth,
    kinds,
    offset,
    hkl,
    strength,
    metric,
    grid,
    polarisation,
    sigma,
    target,
    covered,
    limits,
    best,
    strain,
    zero,
):  # type: ignore[no-untyped-def]
    """Refine the strain and the zero shift of entries by coordinate steps that halve; fill the results.

    rows [n], growth [n]: entries and the ln-scale to start from. kinds: int [N, 6] of `strained`.
    limits: (largest strain beyond the start, largest zero shift in degrees). best [n], strain [n, 6],
    zero [n] degrees are filled; strain includes the start.
    """
    out = np.empty(target.size)
    g = np.empty(6)
    x = np.empty(STRAINS + 1)
    for i in range(rows.size):
        row = rows[i]
        low, high = offset[row], offset[row + 1]
        kind = kinds[row]
        used = 0
        for k in range(6):
            used = max(used, kind[k] + 1)
        first = 1.0 - math.exp(-growth[i])
        shear_from = max(kind[0], kind[1], kind[2]) + 1
        for k in range(STRAINS + 1):
            x[k] = first if k < shear_from else 0.0
        x[STRAINS] = 0.0
        strained(metric[row], kind, x, g)
        render(hkl[low:high], strength[low:high], g, 0.0, sigma, grid[0], grid[1], polarisation, grid[2], out)
        top = cosine(out, target, covered)
        size = 0.004
        for _ in range(4):
            for k in range(STRAINS + 1):
                if k >= used and k < STRAINS:
                    continue
                step = size * 10.0 if k == STRAINS else size
                for direction in (1.0, -1.0):
                    moved = False
                    for _ in range(3):
                        old = x[k]
                        x[k] = old + direction * step
                        middle = first if k < shear_from else 0.0
                        bound = limits[1] if k == STRAINS else limits[0]
                        value = -1.0
                        if abs(x[k] - middle) <= bound:
                            strained(metric[row], kind, x, g)
                            render(hkl[low:high], strength[low:high], g, x[STRAINS], sigma, grid[0], grid[1],
                                   polarisation, grid[2], out)  # fmt: skip
                            value = cosine(out, target, covered)
                        if value > top + 1e-6:
                            top, moved = value, True
                        else:
                            x[k] = old
                            break
                    if moved:
                        break
            size *= 0.5
        best[i] = top
        for k in range(STRAINS):
            strain[i, k] = x[k] if k < used else 0.0
        zero[i] = x[STRAINS]
