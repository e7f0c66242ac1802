"""Placing the sites of many crystals on a CPU, compiled by numba: crystal after crystal, no padding.

The same choices as `placing.Placing` makes for whole batches: of a few candidates the first one that is
far enough from all atoms, or else the one with the most room. Here a candidate is left as soon as one
atom is nearer than the best one before had it, and no candidate is tried after one that is good.

Axes: B crystal, S site, A atom placed so far (in blocks that are whole numbers of vectors).
"""

from __future__ import annotations

import numba
import numpy as np

from simulators.counter_kernels import uniform

#: Atoms that are looked at at once.
BLOCK = 16
#: As in `factor_kernels`.
_FLAGS = {"contract", "nnan", "ninf", "nsz", "arcp"}
_ONE, _TWO, _ZERO = np.float32(1.0), np.float32(2.0), np.float32(0.0)


@numba.njit(cache=True, fastmath=_FLAGS)
def _right_angles(x, y, z, site, g, near, best):  # type: ignore[no-untyped-def]
    for j in range(BLOCK):
        p, q, r = x[j] - site[0], y[j] - site[1], z[j] - site[2]
        p, q, r = p - np.rint(p), q - np.rint(q), r - np.rint(r)
        best[j] = min(best[j], (p * p * g[0] + q * q * g[1] + r * r * g[2]) * near[j])


@numba.njit(cache=True, fastmath=_FLAGS)
def _one_skew_pair(x, y, z, site, gx, gy, gz, gxy, near, best):  # type: ignore[no-untyped-def]
    """x and y are the axes that are not at right angles; one step back along one of them may be shorter."""
    for j in range(BLOCK):
        p, q, r = x[j] - site[0], y[j] - site[1], z[j] - site[2]
        p, q, r = p - np.rint(p), q - np.rint(q), r - np.rint(r)
        cross = p * q * gxy
        squared = p * p * gx + q * q * gy + r * r * gz + _TWO * cross
        u, v = abs(p), abs(q)
        # the sign of the cross term decides whether a step back makes it grow or shrink
        lever = _TWO * abs(gxy)
        lever = lever if cross >= _ZERO else -lever
        step = min((_ONE - _TWO * u) * gx - lever * v, (_ONE - _TWO * v) * gy - lever * u)
        best[j] = min(best[j], (squared + min(step, _ZERO)) * near[j])


@numba.njit(cache=True, fastmath=_FLAGS)
def _all_skew(x, y, z, site, g, near, best):  # type: ignore[no-untyped-def]
    """The eight corners around a difference, as `placing._nearest_corner`."""
    for j in range(BLOCK):
        p, q, r = x[j] - site[0], y[j] - site[1], z[j] - site[2]
        p, q, r = p - np.rint(p), q - np.rint(q), r - np.rint(r)
        a = g[0] * p + g[5] * q + g[4] * r
        b = g[5] * p + g[1] * q + g[3] * r
        c = g[4] * p + g[3] * q + g[2] * r
        s = _ONE if p >= _ZERO else -_ONE
        t = _ONE if q >= _ZERO else -_ONE
        w = _ONE if r >= _ZERO else -_ONE
        one, two, three = g[0] - _TWO * s * a, g[1] - _TWO * t * b, g[2] - _TWO * w * c
        st, tw, ws = _TWO * s * t * g[5], _TWO * t * w * g[3], _TWO * w * s * g[4]
        step = min(one, two, three, one + two + st, two + three + tw, one + three + ws)
        step = min(step, one + two + three + st + tw + ws)
        best[j] = min(best[j], (p * a + q * b + r * c + min(step, _ZERO)) * near[j])


@numba.njit(cache=True)
def _least(atoms, count, site, shifts, g, skew, near, bound, moved, best):  # type: ignore[no-untyped-def]
    """Least of near d^2 over `count` atoms and all lattice shifts; stops once it is not above `bound`."""
    x, y, z = atoms[0], atoms[1], atoms[2]
    least = np.float32(1e9)
    for start in range(0, count, BLOCK):
        stop = start + BLOCK
        best[:] = np.float32(1e9)
        for shift in shifts:
            for i in range(3):
                moved[i] = site[i] + shift[i]
            if skew == 0:
                _right_angles(x[start:stop], y[start:stop], z[start:stop], moved, g, near[start:stop], best)
            elif skew == 3:
                _all_skew(x[start:stop], y[start:stop], z[start:stop], moved, g, near[start:stop], best)
            elif skew == 1:
                _one_skew_pair(
                    x[start:stop], y[start:stop], z[start:stop], moved,
                    g[0], g[1], g[2], g[5], near[start:stop], best,
                )  # fmt: skip
            else:
                moved[1], moved[2] = moved[2], moved[1]
                _one_skew_pair(
                    x[start:stop], z[start:stop], y[start:stop], moved,
                    g[0], g[2], g[1], g[4], near[start:stop], best,
                )  # fmt: skip
        for j in range(BLOCK):
            least = min(least, best[j])
        if least <= bound:
            break
    return least


@numba.njit(cache=True)
def _expand(site, rows, size, rotation, translation, out, start):  # type: ignore[no-untyped-def]
    """Images of a site, into the columns of out [3, A] from `start`; the block is filled up with the last."""
    for m in range(size):
        o = rows[m]
        for i in range(3):
            value = translation[o, i]
            for j in range(3):
                value += rotation[o, i, j] * site[j]
            out[i, start + m] = value
    end = start + size
    for m in range(end, (end + BLOCK - 1) // BLOCK * BLOCK):
        for i in range(3):
            out[i, m] = out[i, end - 1]


@numba.njit(cache=True)
def _crystal(key, recipe, g, shifts, skew, tables, limits, atoms, work, free, kept):  # type: ignore[no-untyped-def]
    """Place one crystal; returns its room, the least of near d^2 over what is kept."""
    position, sites, anchors, slot, element, near = recipe
    shape, origin, rotation, translation, orbit, orbit_size = tables
    tries, comfort = limits
    site, chosen, moved, kind, factor, best, own, images = work
    cap = np.float32(comfort * 8)
    room, used = np.float32(1e9), 0
    for step in range(sites):
        w = position[step]
        mine = element[slot[step]]
        for a in range(used):
            factor[a] = near[mine, kind[a]]
        # what fills up the last block repeats the last atom
        for a in range(used, (used + BLOCK - 1) // BLOCK * BLOCK):
            factor[a] = factor[used - 1]
        own[:] = near[mine, mine]
        value, which = np.float32(-1.0), 0
        for t in range(tries):
            for i in range(3):
                site[i] = origin[w, i]
            for j in range(3):
                u = uniform(key, (step * tries + t) * 3 + j)
                for i in range(3):
                    site[i] += shape[w, i, j] * u
            least = cap
            if orbit_size[w] > 1:
                _expand(site, orbit[w, 1:], orbit_size[w] - 1, rotation, translation, images, 0)
                found = _least(images, orbit_size[w] - 1, site, shifts, g, skew, own, value, moved, best)
                least = min(least, found)
            if used and least > value:
                least = min(least, _least(atoms, used, site, shifts, g, skew, factor, value, moved, best))
            if least > value:
                value, which = least, t
                for i in range(3):
                    chosen[i] = site[i]
                if value >= comfort:
                    break
        if value < _ONE and step >= anchors:
            continue
        kept[step] = True
        room = min(room, value)
        for j in range(3):
            free[step, j] = uniform(key, (step * tries + which) * 3 + j)
        kind[used : used + orbit_size[w]] = mine
        _expand(chosen, orbit[w], orbit_size[w], rotation, translation, atoms, used)
        used += orbit_size[w]
    return room


@numba.njit(cache=True, nogil=True)
def place(key, recipe, metric, near, lattice, tables, limits, width, free, kept, room):  # type: ignore[no-untyped-def]
    """Fill free [B, S, 3], kept [B, S] and room [B]; the first two hold zeros before.

    key: int64 [B] of `CounterRandom.key`. recipe: space_group, sites, anchors, organic [B], position, slot
    [B, S], element [B, E]. metric: [B, 6]. near: [2, E, E] one over least distances squared.
    lattice: centring [230, 4, 3], centring_count, skew [230] (as `placing._SKEW`). tables: shape, origin,
    rotation, translation, orbit [W, 48] (rows of these), orbit_size. limits: candidates, and the room,
    squared, that a good one has. width: atoms at the most.
    """
    space_group, sites, anchors, organic, position, slot, element = recipe
    centring, centring_count, skew = lattice
    atoms = np.zeros((3, width + BLOCK), np.float32)
    work = (
        np.zeros(3), np.zeros(3), np.zeros(3, np.float32), np.zeros(width + BLOCK, np.int64),
        np.zeros(width + BLOCK, np.float32), np.zeros(BLOCK, np.float32), np.zeros(48, np.float32),
        np.zeros((3, 48), np.float32),
    )  # fmt: skip
    for b in range(space_group.size):
        group = space_group[b]
        shifts = centring[group, : centring_count[group]]
        one = (position[b], sites[b], anchors[b], slot[b], element[b], near[organic[b]])
        room[b] = _crystal(
            key[b], one, metric[b], shifts, skew[group], tables, limits, atoms, work, free[b], kept[b]
        )
