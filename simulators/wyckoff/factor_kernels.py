"""Structure factors of many crystals on a CPU, compiled by numba: crystal after crystal, no padding.

The same sums as `structure_factors` makes by matrix products on other devices. Here only the unique
reflections within the sphere are listed, and each atom adds its wave to blocks of them: cosines are
polynomials, so that a processor takes 8 or 16 reflections at once. In groups with a centre at the
origin one atom of each pair is enough, and no sine is needed.

Axes: B crystal, S site, E element slot, N reflections of one crystal, K reflections of a block.
"""

from __future__ import annotations

import math

import numba
import numpy as np

#: Reflections that an atom adds its wave to at once: a whole number of vectors on any processor.
BLOCK = 128
#: No reassociation: what a crystal gives must not depend on how a loop was cut.
_FLAGS = {"contract", "nnan", "ninf", "nsz", "arcp"}
#: sin(2 pi y) for |y| <= 1/4, odd minimax polynomial, off by 4e-9.
_S1, _S3, _S5, _S7, _S9 = (
    np.float32(c) for c in (6.2831851601, -41.3416550312, 81.6010040636, -76.5497820884, 39.5367046059)
)
_QUARTER, _ONE = np.float32(0.25), np.float32(1.0)
#: Coordinates and phases are int32 in units of this many turns: they wrap where a phase does, exactly.
_TURN = np.float32(2.0**-32)
_QUARTER_TURN = np.int32(2**30)


@numba.njit(cache=True, fastmath=_FLAGS)
def _cosine(phase):  # type: ignore[no-untyped-def]
    """cos(2 pi phase 2^-32), float32."""
    y = _QUARTER - abs(np.float32(phase) * _TURN)
    z = y * y
    return (((_S9 * z + _S7) * z + _S5) * z + _S3) * z * y + _S1 * y


@numba.njit(cache=True, fastmath=_FLAGS)
def _cosines(h, k, l, x, y, z, weight, out):  # type: ignore[no-untyped-def]  # noqa: E741
    for j in range(BLOCK):
        out[j] += weight * _cosine(np.int32(h[j] * x + k[j] * y + l[j] * z))


@numba.njit(cache=True, fastmath=_FLAGS)
def _waves(h, k, l, x, y, z, real, imaginary):  # type: ignore[no-untyped-def]  # noqa: E741
    for j in range(BLOCK):
        phase = np.int32(h[j] * x + k[j] * y + l[j] * z)
        real[j] += _cosine(phase)
        imaginary[j] += _cosine(np.int32(phase - _QUARTER_TURN))


@numba.njit(cache=True, fastmath=_FLAGS)
def _factors(q, form, first, scale, b_iso, out, damping):  # type: ignore[no-untyped-def]
    """Fill out and damping [K]: (f0 + f') exp(-B s^2) of one element and exp(-B s^2) at q = 4 s^2."""
    rate = np.float32(-b_iso / 64.0)
    for j in range(BLOCK):
        # exp(x) = exp(x / 16)^16; x / 16 stays above -1, where six terms are enough for 1e-6
        x = max(q[j] * rate, -_ONE)
        e = np.float32(1 / 720)
        e = e * x + np.float32(1 / 120)
        e = e * x + np.float32(1 / 24)
        e = e * x + np.float32(1 / 6)
        e = e * x + np.float32(0.5)
        e = (e * x + _ONE) * x + _ONE
        e *= e
        e *= e
        e *= e
        damping[j] = e * e
    for j in range(BLOCK):
        node = q[j] * scale
        low = int(node)
        value = form[first + low]
        out[j] = (value + (form[first + low + 1] - value) * (node - np.float32(low))) * damping[j]


@numba.njit(cache=True)
def _reflections(g, extent, negative, table, middle, limit, h, k, l, q, multiplicity):  # type: ignore[no-untyped-def]  # noqa: E741
    """List the unique reflections within the sphere 1/d^2 <= limit; returns how many there are.

    g: [6] reciprocal metric. negative: which indices go below 0. table: [h, k, l] multiplicities, 0 for what
    is not unique; middle: where its indices are 0.
    """
    count = 0
    c = g[2]
    for i in range(-extent[0] if negative[0] else 0, extent[0] + 1):
        for j in range(-extent[1] if negative[1] else 0, extent[1] + 1):
            # c l^2 + 2 s l + p <= limit
            slope = g[4] * i + g[3] * j
            plane = i * (g[0] * i + 2.0 * g[5] * j) + g[1] * j * j
            inside = slope * slope - c * (plane - limit)
            if inside < 0.0:
                continue
            root = math.sqrt(inside)
            low = max(math.ceil((-slope - root) / c), -extent[2] if negative[2] else 0)
            high = min(math.floor((-slope + root) / c), extent[2])
            row = table[i + middle[0], j + middle[1]]
            for m in range(low, high + 1):
                times = row[m + middle[2]]
                if times > 0:
                    h[count], k[count], l[count] = i, j, m
                    q[count] = m * (c * m + 2.0 * slope) + plane
                    multiplicity[count] = times
                    count += 1
    return count


@numba.njit(cache=True)
def _atoms(site, position, free, kept, slot, tables, x, kind, weight):  # type: ignore[no-untyped-def]
    """List the atoms of one primitive cell, those of one element after another; returns how many there are.

    With a centre at the origin one of each pair, of weight 2.
    """
    shape, origin, rotation, translation, images, image_count, image_weight = tables
    count = 0
    last = -1
    for s in range(kept.size):
        if kept[s]:
            last = max(last, slot[s])
    for e in range(last + 1):
        for s in range(kept.size):
            if not kept[s] or slot[s] != e:
                continue
            w = position[s]
            for i in range(3):
                site[i] = origin[w, i]
                for j in range(3):
                    site[i] += shape[w, i, j] * free[s, j]
            for m in range(image_count[w]):
                o = images[w, m]
                for i in range(3):
                    value = translation[o, i]
                    for j in range(3):
                        value += rotation[o, i, j] * site[j]
                    x[i, count] = np.int32(np.int64(math.floor((value - math.floor(value)) * 2.0**32 + 0.5)))
                kind[count] = e
                weight[count] = image_weight[w, m]
                count += 1
    return count


@numba.njit(cache=True, fastmath=_FLAGS)
def _block(h, k, l, q, atoms, centric, contents, form, sums, f2):  # type: ignore[no-untyped-def]  # noqa: E741
    """Fill f2 [K]: |F|^2 of one block of reflections, averaged over Friedel pairs.

    The real and the imaginary part of f scatter separately: sums holds the totals of both [4, K] and
    the sums and factors of one element [4, K].
    """
    x, kind, weight, count = atoms
    element, b_iso, imaginary, scale, steps = contents
    sums[:] = 0.0
    at = 0
    while at < count:
        e = kind[at]
        sums[4:6] = 0.0
        while at < count and kind[at] == e:
            if centric:
                _cosines(h, k, l, x[0, at], x[1, at], x[2, at], weight[at], sums[4])
            else:
                _waves(h, k, l, x[0, at], x[1, at], x[2, at], sums[4], sums[5])
            at += 1
        _factors(q, form, element[e] * steps, scale, b_iso[e], sums[6], sums[7])
        other = imaginary[element[e]]
        for j in range(BLOCK):
            sums[0, j] += sums[6, j] * sums[4, j]
            sums[1, j] += sums[6, j] * sums[5, j]
            sums[2, j] += other * sums[7, j] * sums[4, j]
            sums[3, j] += other * sums[7, j] * sums[5, j]
    for j in range(BLOCK):
        f2[j] = sums[0, j] ** 2 + sums[1, j] ** 2 + sums[2, j] ** 2 + sums[3, j] ** 2


@numba.njit(cache=True)
def _strongest(h, k, l, q, f2, multiplicity, count, quarter_wave2, absent, seen, hkl, strength):  # type: ignore[no-untyped-def]  # noqa: E741
    """The strongest peaks as a diffractometer sees them, strongest first; the rest of the row is zero."""
    least = np.float32(0.0)
    for j in range(count):
        least = max(least, f2[j])
    least *= absent
    present = 0
    for j in range(count):
        if f2[j] > least:
            sine2 = q[j] * quarter_wave2
            polarisation = _ONE + (_ONE - (sine2 + sine2)) * (_ONE - (sine2 + sine2))
            seen[present] = -f2[j] * multiplicity[j] * polarisation / (sine2 * math.sqrt(_ONE - sine2))
            # what comes before j is done with
            h[present], k[present], l[present] = h[j], k[j], l[j]
            f2[present] = f2[j] * multiplicity[j]
            present += 1
    order = np.argsort(seen[:present])
    for i in range(min(present, strength.size)):
        j = order[i]
        hkl[i, 0], hkl[i, 1], hkl[i, 2] = h[j], k[j], l[j]
        strength[i] = f2[j]


@numba.njit(cache=True, nogil=True)
def peaks(structure, cell, tables, lattice, scattering, room, hkl, strength):  # type: ignore[no-untyped-def]
    """Fill hkl [B, P, 3] and strength [B, P], |F|^2 m, with the strongest peaks; both hold zeros before.

    structure: space_group [B], position, kept, slot [B, S], free [B, S, 3], element, b_iso [B, E].
    cell: metric [B, 6] reciprocal and extent [B, 3], largest indices. tables: of
    `compiled.position_tables`.
    lattice: box, row, centric [230], negative [4, 3], middle [4, 3], tables of multiplicities by box.
    scattering: form table, imaginary [elements], steps of 1/d^2 a 1/angstrom^2, nodes an element,
    limit of 1/d^2, (wavelength / 2)^2, part of the strongest |F|^2 below which a reflection is absent.
    room: reflections and atoms at the most.
    """
    space_group, position, kept, slot, free, element, b_iso = structure
    metric, extent = cell
    box, row, centric, negative, middle, multiplicities = lattice
    form, imaginary, scale, steps, limit, quarter_wave2, absent = scattering
    size = room[0] + BLOCK
    h, k, l = np.zeros(size, np.int32), np.zeros(size, np.int32), np.zeros(size, np.int32)  # noqa: E741
    q, f2, seen = np.zeros(size, np.float32), np.zeros(size, np.float32), np.zeros(size, np.float32)
    times = np.zeros(size, np.float32)
    x, weight = np.zeros((3, room[1]), np.int32), np.zeros(room[1], np.float32)
    kind, site, sums = np.zeros(room[1], np.int64), np.zeros(3), np.zeros((8, BLOCK), np.float32)
    for b in range(space_group.size):
        group = space_group[b]
        where = box[group]
        n = _reflections(
            metric[b], extent[b], negative[where], multiplicities[where][row[group]], middle[where], limit,
            h, k, l, q, times,
        )  # fmt: skip
        count = _atoms(site, position[b], free[b], kept[b], slot[b], tables, x, kind, weight)
        for start in range(0, n, BLOCK):
            stop = start + BLOCK
            _block(
                h[start:stop], k[start:stop], l[start:stop], q[start:stop], (x, kind, weight, count),
                centric[group], (element[b], b_iso[b], imaginary, scale, steps), form, sums, f2[start:stop],
            )  # fmt: skip
        _strongest(h, k, l, q, f2, times, n, quarter_wave2, absent, seen, hkl[b], strength[b])
