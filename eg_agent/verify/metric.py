"""Unit cells as reciprocal metrics: a crystal system's free parameters, and cells from and to them.

A reciprocal metric is the six numbers g = (a*^2, b*^2, c*^2, b*c* cos alpha*, a*c* cos beta*,
a*b* cos gamma*) in 1/angstrom^2, and 1/d^2 of a reflection is linear in it: 1/d^2 = t . g with
t = (h^2, k^2, l^2, 2kl, 2hl, 2hk). Cells are (a, b, c, alpha, beta, gamma) in angstrom and degrees.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadInput

Floats = npt.NDArray[np.float64]
Cell = tuple[float, float, float, float, float, float]

#: Cells are called equal in two lengths (relative) or two angles (degrees) within these.
LENGTH_TOLERANCE = 3e-4
ANGLE_TOLERANCE = 0.02

_SHARED = {
    "cubic": [(0, 1, 2)],
    "tetragonal": [(0, 1), (2,)],
    "orthorhombic": [(0,), (1,), (2,)],
    "monoclinic-a": [(0,), (1,), (2,), (3,)],
    "monoclinic-b": [(0,), (1,), (2,), (4,)],
    "monoclinic-c": [(0,), (1,), (2,), (5,)],
    "triclinic": [(0,), (1,), (2,), (3,), (4,), (5,)],
}


@dataclass(frozen=True, slots=True)
class MetricSystem:
    """The metric of a cell in its axes.

    name: crystal system of the metric ("hexagonal" serves trigonal and hexagonal groups).
    primitive: Bravais symbol of the lattice without absences, e.g. "oP".
    lattices: Bravais symbols whose conventional cell can be this one, `primitive` first.
    unique_axis: 0, 1 or 2 in the monoclinic system, None elsewhere.
    """

    name: str
    primitive: str
    lattices: tuple[str, ...]
    unique_axis: int | None = None

    @property
    def basis(self) -> Floats:
        """[6, n_free] matrix from the free parameters to the reciprocal metric."""
        if self.name == "hexagonal":
            basis = np.zeros((6, 2))
            basis[[0, 1], 0] = 1.0
            basis[5, 0] = 0.5
            basis[2, 1] = 1.0
            return basis
        key = self.name if self.unique_axis is None else f"monoclinic-{'abc'[self.unique_axis]}"
        shared = _SHARED[key]
        basis = np.zeros((6, len(shared)))
        for column, rows in enumerate(shared):
            basis[list(rows), column] = 1.0
        return basis


def check_cell(cell: tuple[float, ...]) -> Cell:
    """The cell as six floats; raises BadInput when no lattice has it."""
    if len(cell) != 6:
        raise BadInput(f"a cell is a, b, c, alpha, beta, gamma; got {len(cell)} numbers.")
    values = tuple(float(v) for v in cell)
    if not all(math.isfinite(v) for v in values):
        raise BadInput(f"the cell {values} has a number that is not finite: give six numbers.")
    if min(values[:3]) < 1.0 or max(values[:3]) > 200.0:
        raise BadInput(
            f"the cell lengths {values[:3]} are not between 1 and 200 angstrom: give a, b, c in angstrom."
        )
    if min(values[3:]) <= 20.0 or max(values[3:]) >= 160.0:
        raise BadInput(f"the cell angles {values[3:]} are not between 20 and 160 degrees: give degrees.")
    cosines = np.cos(np.radians(values[3:]))
    if 1.0 - float(cosines @ cosines) + 2.0 * float(np.prod(cosines)) < 1e-4:
        raise BadInput(f"the cell angles {values[3:]} span no volume: check alpha, beta, gamma.")
    return values  # type: ignore[return-value]


def volume(cell: Cell) -> float:
    """Cell volume, angstrom^3."""
    cosines = np.cos(np.radians(cell[3:]))
    root = 1.0 - float(cosines @ cosines) + 2.0 * float(np.prod(cosines))
    return float(np.prod(cell[:3]) * math.sqrt(max(root, 0.0)))


def _metric_tensor(lengths: Floats, cosines: Floats) -> Floats:
    a, b, c = lengths
    ca, cb, cg = cosines
    return np.array(
        [[a * a, a * b * cg, a * c * cb], [a * b * cg, b * b, b * c * ca], [a * c * cb, b * c * ca, c * c]]
    )


def reciprocal(cell: Cell) -> Floats:
    """[6] reciprocal metric of a cell, 1/angstrom^2."""
    star = np.linalg.inv(_metric_tensor(np.array(cell[:3]), np.cos(np.radians(cell[3:]))))
    return np.array([star[0, 0], star[1, 1], star[2, 2], star[1, 2], star[0, 2], star[0, 1]])


def cell_of(metric: Floats) -> Cell:
    """The cell of a reciprocal metric; raises ValueError when it is not positive definite."""
    g = metric
    star = np.array([[g[0], g[5], g[4]], [g[5], g[1], g[3]], [g[4], g[3], g[2]]])
    np.linalg.cholesky(star)
    direct = np.linalg.inv(star)
    lengths = np.sqrt(np.diag(direct))

    def angle(i: int, j: int) -> float:
        return math.degrees(math.acos(float(np.clip(direct[i, j] / (lengths[i] * lengths[j]), -1, 1))))

    a, b, c = (float(v) for v in lengths)
    return (a, b, c, angle(1, 2), angle(0, 2), angle(0, 1))


def tensor(hkl: npt.NDArray[np.integer]) -> Floats:
    """[n, 6] coefficients t of 1/d^2 = t . g for reflections [n, 3]."""
    x, y, z = np.asarray(hkl, dtype=np.float64).T
    return np.stack([x * x, y * y, z * z, 2 * y * z, 2 * x * z, 2 * x * y], axis=1)


def metric_system(
    cell: Cell, *, rtol: float = LENGTH_TOLERANCE, atol: float = ANGLE_TOLERANCE
) -> MetricSystem:
    """The highest crystal system whose conventional axes the cell can be (hexagonal axes for R).

    rtol: relative difference under which two lengths are equal; atol: degrees, for angles.
    """
    a, b, c = cell[:3]
    right = [abs(v - 90.0) < atol for v in cell[3:]]

    def same(x: float, y: float) -> bool:
        return abs(x - y) < rtol * max(x, y)

    if all(right):
        if same(a, b) and same(b, c):
            return MetricSystem("cubic", "cP", ("cP", "cI", "cF"))
        if same(a, b):
            return MetricSystem("tetragonal", "tP", ("tP", "tI"))
        return MetricSystem("orthorhombic", "oP", ("oP", "oC", "oI", "oF"))
    if right[0] and right[1] and abs(cell[5] - 120.0) < atol and same(a, b):
        return MetricSystem("hexagonal", "hP", ("hP", "hR"))
    if sum(right) == 2:
        return MetricSystem("monoclinic", "mP", ("mP", "mC"), unique_axis=right.index(False))
    return MetricSystem("triclinic", "aP", ("aP",))


def is_rhombohedral(cell: Cell, *, rtol: float = LENGTH_TOLERANCE, atol: float = ANGLE_TOLERANCE) -> bool:
    """Whether the cell is given in rhombohedral axes (a = b = c, equal angles other than 90)."""
    a, b, c, al, be, ga = cell
    lengths = max(a, b, c) - min(a, b, c) < rtol * max(a, b, c)
    angles = max(al, be, ga) - min(al, be, ga) < atol
    return lengths and angles and abs(al - 90.0) > atol and al < 120.0 - atol


def hexagonal_axes(cell: Cell) -> Cell:
    """The triple hexagonal cell of a rhombohedral one (ITA vol. A, table 1.5.1.1)."""
    a, alpha = float(np.mean(cell[:3])), math.radians(float(np.mean(cell[3:])))
    return (
        2 * a * math.sin(alpha / 2),
        2 * a * math.sin(alpha / 2),
        a * math.sqrt(3.0 + 6.0 * math.cos(alpha)),
        90.0,
        90.0,
        120.0,
    )


def symmetrized(cell: Cell, system: MetricSystem) -> Cell:
    """The cell with the constraints of its system put in exactly."""
    basis = system.basis
    g = reciprocal(cell)
    free = np.linalg.lstsq(basis, g, rcond=None)[0]
    return cell_of(basis @ free)
