"""Absorption in capillaries and in flat samples in transmission."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

#: Points of quadrature along the radius and around half a circle, and Chebyshev nodes over the angles.
_RADIAL, _AROUND, _ANGLES = 48, 96, 24


def cylinder_transmission(theta: npt.ArrayLike, mu_r: float) -> FloatArray:
    """Share of the beam that a cylinder bathed in it lets through, at Bragg angles theta (radians).

    mu_r: absorption coefficient times radius. The integral of exp(-mu (path in + path out)) over the
    cross section (International Tables C, 6.3.3) by quadrature over the disc, interpolated in theta;
    right within 1e-5 up to mu_r = 5 and 1e-3 up to 10.
    """
    angle = np.asarray(theta, dtype=np.float64)
    if mu_r == 0:
        return np.ones_like(angle)
    nodes = np.cos(math.pi * (np.arange(_ANGLES) + 0.5) / _ANGLES)
    fit = np.polynomial.chebyshev.Chebyshev.fit(
        (nodes + 1) * math.pi / 4, np.log(_disc(mu_r, (nodes + 1) * math.pi / 4)), _ANGLES - 1,
        domain=[0.0, math.pi / 2],
    )  # fmt: skip
    return np.exp(fit(angle))


def _disc(mu_r: float, theta: FloatArray) -> FloatArray:
    node, weight = np.polynomial.legendre.leggauss(_RADIAL)
    # Strong absorption leaves a skin: nodes that crowd at the rim.
    s = 0.5 * (node + 1)
    radius = 1 - (1 - s) ** 2
    area = 0.5 * weight * 2 * (1 - s) * radius
    around = 2 * math.pi * (np.arange(2 * _AROUND) + 0.5) / (2 * _AROUND)
    x, y = radius[:, None] * np.cos(around), radius[:, None] * np.sin(around)
    inside = np.sqrt(1 - y * y) + x  # from the rim at -x, where the beam comes in
    result = np.empty(len(theta))
    for i, two_theta in enumerate(2 * theta):
        cosine, sine = math.cos(two_theta), math.sin(two_theta)
        along, across = x * cosine + y * sine, y * cosine - x * sine
        outside = np.sqrt(np.maximum(1 - across * across, 0.0)) - along
        result[i] = (np.exp(-mu_r * (inside + outside)) * area[:, None]).sum()
    return result * (2 * math.pi / (2 * _AROUND)) / math.pi


def plate_transmission(theta: npt.ArrayLike, mu_t: float) -> FloatArray:
    """Factor of a flat sample in symmetric transmission at Bragg angles theta (radians).

    mu_t: absorption coefficient times thickness. exp(-mu t / cos) / cos: path and illuminated volume grow
    together (International Tables C, 6.3.3).
    """
    cosine = np.cos(np.asarray(theta, dtype=np.float64))
    return np.exp(-mu_t / cosine) / cosine
