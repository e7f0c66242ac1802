"""Line profiles on the points of a pattern: pseudo-Voigt, axial divergence and the K-alpha doublet.

A line is the Thompson-Cox-Hastings pseudo-Voigt (J. Appl. Cryst. 20 (1987) 79), area 1 in degrees
2-theta, smeared towards low angle by axial divergence: an axial ray of normalised height z in [0, 1]
is recorded shifted by -axial * cot(2 theta) * z^2 (Finger, Cox & Jephcoat, J. Appl. Cryst. 27 (1994)
892, to second order), integrated over z by three Gauss-Legendre points. Each wavelength adds a copy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

Floats = npt.NDArray[np.float64]

_GAUSS = 2.0 * math.sqrt(math.log(2.0) / math.pi)
_FOUR_LN2 = 4.0 * math.log(2.0)
_NODES = 0.5 * (np.polynomial.legendre.leggauss(3)[0] + 1.0)
_WEIGHTS = 0.5 * np.polynomial.legendre.leggauss(3)[1]
#: Half-width of the window of a line, in FWHM: a Lorentzian's tails beyond hold 2 % of its area.
WINDOW = 14.0
_MIN_WIDTH = 1e-3


@dataclass(frozen=True, slots=True)
class Shape:
    """Profile parameters. FWHM in degrees 2-theta: Gauss^2 = u tan^2 + v tan + w; Lorentz = x/cos + y tan.

    axial: (S/L + H/L)^2 / 2 in degrees, the scale of the shift by axial divergence.
    ratio: intensity of the second wavelength over the first; None with one wavelength.
    """

    u: float = 0.0
    v: float = 0.0
    w: float = 0.01
    x: float = 0.02
    y: float = 0.0
    axial: float = 0.0
    ratio: float | None = None


@dataclass(frozen=True, slots=True)
class Widths:
    """FWHM [k] and Lorentzian fraction [k] of lines, and their derivatives [k, 5] by u, v, w, x, y."""

    fwhm: Floats
    eta: Floats
    fwhm_by: Floats
    eta_by: Floats


def widths(theta: Floats, shape: Shape, *, derivatives: bool = True) -> Widths:
    """Widths of lines at Bragg angles theta [k], radians."""
    tan, cos = np.tan(theta), np.cos(theta)

    def tch(gauss2: Floats, lorentz: Floats) -> tuple[Floats, Floats]:
        a = np.sqrt(np.maximum(gauss2, _MIN_WIDTH**2))
        b = np.maximum(lorentz, 1e-6)
        total = (
            a**5
            + 2.69269 * a**4 * b
            + 2.42843 * a**3 * b**2
            + 4.47163 * a**2 * b**3
            + 0.07842 * a * b**4
            + b**5
        ) ** 0.2
        q = b / total
        return total, 1.36603 * q - 0.47719 * q**2 + 0.11116 * q**3

    gauss2 = shape.u * tan**2 + shape.v * tan + shape.w
    lorentz = shape.x / cos + shape.y * tan
    fwhm, eta = tch(gauss2, lorentz)
    fwhm_by = np.zeros((theta.size, 5))
    eta_by = np.zeros((theta.size, 5))
    if derivatives:
        step = 1e-5 * np.maximum(fwhm, 1e-3)
        step2 = step * np.maximum(fwhm, 1e-3)
        f1, e1 = tch(gauss2 + step2, lorentz)
        f2, e2 = tch(gauss2, lorentz + step)
        fg, eg = (f1 - fwhm) / step2, (e1 - eta) / step2
        fl, el = (f2 - fwhm) / step, (e2 - eta) / step
        factors = (tan**2, tan, np.ones_like(tan))
        for j, factor in enumerate(factors):
            fwhm_by[:, j], eta_by[:, j] = fg * factor, eg * factor
        for j, factor in enumerate((1.0 / cos, tan), start=3):
            fwhm_by[:, j], eta_by[:, j] = fl * factor, el * factor
    return Widths(fwhm, eta, fwhm_by, eta_by)


@dataclass(frozen=True, slots=True)
class Profiles:
    """Profiles [n_points, n_lines] as CSC data on shared `indices`, `indptr`, with derivatives.

    value: area-1 profile; by_position, by_fwhm, by_eta, by_axial, by_ratio: its derivatives, None
    where not asked for.
    """

    indices: npt.NDArray[np.intp]
    indptr: npt.NDArray[np.intp]
    columns: npt.NDArray[np.intp]
    shape: tuple[int, int]
    value: Floats
    by_position: Floats | None = None
    by_fwhm: Floats | None = None
    by_eta: Floats | None = None
    by_axial: Floats | None = None
    by_ratio: Floats | None = None

    def matrix(self, data: Floats) -> sparse.csc_matrix:
        """A sparse [n_points, n_lines] matrix of `data` on the shared pattern."""
        return sparse.csc_matrix((data, self.indices, self.indptr), shape=self.shape)

    def dense(self, data: Floats) -> Floats:
        """A dense [n_points, n_lines] matrix, Fortran order."""
        out = np.zeros(self.shape, order="F")
        out[self.indices, self.columns] = data
        return out


def _windows(grid: Floats, low: Floats, high: Floats) -> tuple[npt.NDArray[np.intp], ...]:
    first = np.searchsorted(grid, low)
    count = np.maximum(np.searchsorted(grid, high) - first, 0)
    indptr = np.concatenate([[0], np.cumsum(count)])
    columns = np.repeat(np.arange(low.size), count)
    indices = np.arange(indptr[-1]) - np.repeat(indptr[:-1] - first, count)
    return indices, indptr, columns


def profiles(
    grid: Floats, positions: Floats, width: Widths, shape: Shape, *, derivatives: bool = False
) -> Profiles:
    """Profiles of lines on the points `grid` [n] (degrees).

    positions: [n_wavelengths, k] degrees 2-theta, NaN where a wavelength does not reach the line.
    """
    half = WINDOW * width.fwhm
    smear = abs(shape.axial) / np.tan(np.radians(np.clip(positions[0], 1.0, 89.0)))
    indices, indptr, columns = _windows(
        grid, np.nanmin(positions, axis=0) - half - smear, np.nanmax(positions, axis=0) + half
    )
    points = grid[indices]
    inverse = (1.0 / width.fwhm)[columns]
    eta = width.eta[columns]
    nodes = list(zip(_NODES**2, _WEIGHTS)) if shape.axial != 0.0 else [(0.0, 1.0)]
    if derivatives and shape.axial == 0.0:
        nodes = list(zip(_NODES**2, _WEIGHTS))
    ratio = 0.0 if shape.ratio is None else shape.ratio
    n_waves = positions.shape[0]
    total = np.zeros(points.size)
    per_wave: list[Floats] = []
    by_x, by_w, by_eta, by_axial = (np.zeros(points.size if derivatives else 0) for _ in range(4))
    for wave in range(n_waves):
        part = 1.0 / (1.0 + ratio) if wave == 0 else ratio / (1.0 + ratio)
        centre = positions[wave]
        cot = 1.0 / np.tan(np.radians(np.nan_to_num(centre, nan=90.0)))
        own = np.zeros(points.size)
        for z2, weight in nodes:
            at = np.nan_to_num(centre - shape.axial * cot * z2, nan=1e3)
            u = (points - at[columns]) * inverse
            lorentz = (2.0 / math.pi) * inverse / (1.0 + 4.0 * u * u)
            gauss = _GAUSS * inverse * np.exp(-_FOUR_LN2 * u * u)
            value = eta * lorentz + (1.0 - eta) * gauss
            own += weight * value
            if derivatives:
                slope = (
                    -inverse
                    * u
                    * (eta * lorentz * 8.0 / (1.0 + 4.0 * u * u) + (1.0 - eta) * gauss * 2.0 * _FOUR_LN2)
                )
                scale = part * weight
                by_x -= scale * slope
                by_w -= scale * (value * inverse + slope * u)
                by_eta += scale * (lorentz - gauss)
                by_axial += scale * slope * cot[columns] * z2
        total += part * own
        per_wave.append(own)
    if not derivatives:
        return Profiles(indices, indptr, columns, (grid.size, width.fwhm.size), total)
    by_ratio = (per_wave[1] - per_wave[0]) / (1.0 + ratio) ** 2 if n_waves > 1 else None
    return Profiles(
        indices, indptr, columns, (grid.size, width.fwhm.size), total, by_x, by_w, by_eta, by_axial, by_ratio
    )
