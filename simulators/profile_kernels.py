"""The inner loops of `stream_profile.Profiles` on a CPU, compiled by numba.

Everything between the points of a pattern and the transforms of its bins, and between these and the
transform of the pattern; the transforms themselves are torch's. See `stream_profile` for the method.

Axes: B pattern, Q point, N node of a pattern, R node of all patterns of a tile, F frequency.
"""

from __future__ import annotations

import math

import numba
import numpy as np

#: As in `wyckoff.factor_kernels`.
_FLAGS = {"contract", "nnan", "ninf", "nsz", "arcp"}
#: Points whose weights are computed at once.
BLOCK = 64
_ZERO, _HALF, _ONE, _TWO = np.float32(0.0), np.float32(0.5), np.float32(1.0), np.float32(2.0)
#: A quartic B-spline at its five whole numbers, by powers of the offset (de Boor): outermost, next, middle.
_OUTER = np.float32(1 / 24)
_NEAR_0, _NEAR_1, _NEAR_2, _NEAR_4 = (np.float32(n) for n in (19 / 96, 11 / 24, 1 / 4, 1 / 6))
_MIDDLE_0, _MIDDLE_2, _MIDDLE_4 = (np.float32(n) for n in (115 / 192, 5 / 8, 1 / 4))
#: Olivero and Longbothum's width of a Voigt profile, as in `stream_profile.voigt_width`.
_LINEAR, _ROOT = np.float32(0.5346), np.float32(0.2166)
_LOG2_E = np.float32(math.log2(math.e))
#: 2^x for |x| <= 1/2, off by 1e-7.
_E1, _E2, _E3, _E4, _E5, _E6 = (np.float32(math.log(2.0) ** n / math.factorial(n)) for n in range(1, 7))


@numba.njit(cache=True, fastmath=_FLAGS - {"arcp"})
def widths(position, area, variance, lorentz, grid, packed, count):  # type: ignore[no-untyped-def]
    """Fill packed [4, B, Q] (place in bins, area, width, Lorentzian share) and count [B] with what is drawn.

    grid: start and step in degrees, bins before the start, number of bins, 8 ln 2, and the narrowest width
    that bins carry and its least Gaussian part, degrees. Places are rounded as torch rounds them: a step of
    float32 is a shift that shows in steep flanks.
    """
    start, step, margin, bins, square, narrowest, least = grid
    for b in range(position.shape[0]):
        used = 0
        for i in range(position.shape[1]):
            place = (position[b, i] - start) / step + margin
            if area[b, i] > _ZERO and place >= _TWO and place < bins - 3:
                packed[0, b, used] = place
                packed[1, b, used] = area[b, i]
                packed[2, b, used] = variance[b, i]
                packed[3, b, used] = lorentz[b, i]
                used += 1
        count[b] = used
        for i in range(used):
            broad = max(packed[3, b, i], _ZERO)
            gauss = max(narrowest - broad, least)
            gauss2 = max(square * packed[2, b, i], gauss * gauss)
            width = _LINEAR * broad + math.sqrt(_ROOT * broad * broad + gauss2)
            packed[2, b, i] = width
            packed[3, b, i] = broad / width


@numba.njit(cache=True, fastmath=_FLAGS)
def spans(packed, count, weak, span):  # type: ignore[no-untyped-def]
    """Fill span [4, B]: least and greatest width and share of each pattern; 1, 1, 0, 0 for none.

    Points of less than `weak` of the largest area do not count.
    """
    for b in range(count.size):
        least = _ZERO
        for i in range(count[b]):
            least = max(least, packed[1, b, i])
        least *= weak
        for kind in range(2):
            low, high = np.float32(1e30), np.float32(-1e30)
            for i in range(count[b]):
                value = packed[2 + kind, b, i]
                low = min(low, value if packed[1, b, i] >= least else low)
                high = max(high, value if packed[1, b, i] >= least else high)
            if not count[b]:
                low = high = np.float32(1 - kind)
            span[2 * kind, b], span[2 * kind + 1, b] = low, high


@numba.njit(cache=True, fastmath=_FLAGS)
def _weights(u, v, powers, matrix, monomial, weight):  # type: ignore[no-untyped-def]
    """Fill weight [N, BLOCK]: the share of each of a block of points at each node."""
    nodes = len(powers)
    for m in range(nodes):
        for j in range(BLOCK):
            monomial[m, j] = _ONE
        for _ in range(powers[m, 0]):
            for j in range(BLOCK):
                monomial[m, j] *= u[j]
        for _ in range(powers[m, 1]):
            for j in range(BLOCK):
                monomial[m, j] *= v[j]
    for n in range(nodes):
        for j in range(BLOCK):
            weight[n, j] = _ZERO
        for m in range(nodes):
            share = matrix[n, m]
            for j in range(BLOCK):
                weight[n, j] += share * monomial[m, j]


@numba.njit(cache=True, fastmath=_FLAGS)
def share_out(packed, count, frame, degree, powers, matrix, first, bins):  # type: ignore[no-untyped-def]
    """Fill bins [R, bins]: delta functions of all patterns shared out over their nodes.

    frame: [4, B] middle and reach of the widths (as tanh), middle and reach of the shares. degree: [B] row of
    powers [D, N, 2] and matrix [D, N, N], whose last rows may be padding. first: [B + 1] rows of bins of
    each pattern. A delta function is spread by a quartic spline over five bins.
    """
    most = powers.shape[1]
    u, v = np.zeros(BLOCK, np.float32), np.zeros(BLOCK, np.float32)
    monomial, weight = np.zeros((most, BLOCK), np.float32), np.zeros((most, BLOCK), np.float32)
    for b in range(count.size):
        rows = first[b + 1] - first[b]
        own = bins[first[b] : first[b + 1]]
        for n in range(rows):
            for i in range(own.shape[1]):
                own[n, i] = _ZERO
        middle, reach, centre, half = frame[0, b], frame[1, b], frame[2, b], frame[3, b]
        for start in range(0, count[b], BLOCK):
            size = min(BLOCK, count[b] - start)
            for j in range(size):
                width = packed[2, b, start + j]
                u[j] = max(-_ONE, min(_ONE, (width - middle) / ((width + middle) * reach)))
                v[j] = max(-_ONE, min(_ONE, (packed[3, b, start + j] - centre) / half))
            d = degree[b]
            _weights(u, v, powers[d, :rows], matrix[d, :rows, :rows], monomial, weight)
            for j in range(size):
                place, area = packed[0, b, start + j], packed[1, b, start + j]
                near = int(place + _HALF)
                part = place - np.float32(near)
                square = part * part
                left, right = (_HALF - part) * (_HALF - part), (_HALF + part) * (_HALF + part)
                even = _NEAR_0 + square * (_NEAR_2 - square * _NEAR_4)
                odd = part * (_NEAR_1 - square * _NEAR_4)
                first_, last = area * _OUTER * left * left, area * _OUTER * right * right
                before, after = area * (even - odd), area * (even + odd)
                mid = area * (_MIDDLE_0 - square * (_MIDDLE_2 - square * _MIDDLE_4))
                for n in range(rows):
                    share = weight[n, j]
                    own[n, near - 2] += first_ * share
                    own[n, near - 1] += before * share
                    own[n, near] += mid * share
                    own[n, near + 1] += after * share
                    own[n, near + 2] += last * share


@numba.njit(cache=True, fastmath=_FLAGS)
def convolve(spectra, first, node_variance, node_lorentz, frequency, sharpen, out):  # type: ignore[no-untyped-def]
    """Fill out [B, 2 F] with the transforms of patterns, real and imaginary parts in turn.

    spectra: [R, 2 F] of the nodes' bins. node_variance, node_lorentz: [R] degrees^2 and degrees. frequency:
    [2, F], -2 pi^2 f^2 and -pi f. sharpen: [F], a factor for all nodes.
    """
    length = sharpen.size
    kernel, bits = np.zeros(length, np.float32), np.zeros(length, np.int32)
    power = bits.view(np.float32)
    for b in range(out.shape[0]):
        for i in range(2 * length):
            out[b, i] = _ZERO
        for r in range(first[b], first[b + 1]):
            variance, lorentz = node_variance[r] * _LOG2_E, node_lorentz[r] * _LOG2_E
            for i in range(length):
                # exp(x) = 2^whole 2^part
                x = max(frequency[0, i] * variance + frequency[1, i] * lorentz, np.float32(-126.0))
                whole = np.rint(x)
                x -= whole
                kernel[i] = (
                    (((((_E6 * x + _E5) * x + _E4) * x + _E3) * x + _E2) * x + _E1) * x + _ONE
                ) * sharpen[i]
                bits[i] = np.int32((np.int32(whole) + np.int32(127)) << np.int32(23))
            for i in range(length):
                kernel[i] *= power[i]
            for i in range(length):
                out[b, 2 * i] += kernel[i] * spectra[r, 2 * i]
                out[b, 2 * i + 1] += kernel[i] * spectra[r, 2 * i + 1]
