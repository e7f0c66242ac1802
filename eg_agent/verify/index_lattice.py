"""What indexing needs of lattices: free parameters, coefficients, conventional and reduced cells."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import gemmi
import numpy as np
import numpy.typing as npt

from eg_agent.verify.metric import Cell, cell_of, reciprocal

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Form:
    """A lattice system's quadratic form 1/d^2 = row(hkl) . parameters.

    n_parameters: free parameters; holohedry: order of its point group, so many reflections make a line.
    """

    system: str
    n_parameters: int
    holohedry: int


#: Rows: cubic h2+k2+l2; tetragonal h2+k2, l2; hexagonal h2+hk+k2, l2; orthorhombic h2, k2, l2;
#: monoclinic h2, k2, l2, hl; triclinic h2, k2, l2, kl, hl, hk.
FORMS = {
    "cubic": Form("cubic", 1, 48),
    "tetragonal": Form("tetragonal", 2, 16),
    "hexagonal": Form("hexagonal", 2, 24),
    "orthorhombic": Form("orthorhombic", 3, 8),
    "monoclinic": Form("monoclinic", 4, 4),
    "triclinic": Form("triclinic", 6, 2),
}
_SYSTEMS = {
    "c": "cubic",
    "t": "tetragonal",
    "h": "hexagonal",
    "o": "orthorhombic",
    "m": "monoclinic",
    "a": "triclinic",
}
#: Lattice points in the conventional cell.
POINTS = {"P": 1, "A": 2, "B": 2, "C": 2, "I": 2, "R": 3, "F": 4}


def form_of(lattice: str) -> Form:
    """The form of a Bravais lattice, "oP", "hR" (hexagonal axes), ..."""
    form = FORMS[_SYSTEMS[lattice[0]]]
    # A rhombohedral lattice has half the rotations of its hexagonal axes.
    return Form(form.system, form.n_parameters, 12) if lattice == "hR" else form


def design(hkl: Ints, system: str) -> Floats:
    """[n, p] rows of the form for reflections [n, 3]."""
    h, k, l = np.asarray(hkl, dtype=np.float64).T  # noqa: E741
    columns = {
        "cubic": (h * h + k * k + l * l,),
        "tetragonal": (h * h + k * k, l * l),
        "hexagonal": (h * h + h * k + k * k, l * l),
        "orthorhombic": (h * h, k * k, l * l),
        "monoclinic": (h * h, k * k, l * l, h * l),
        "triclinic": (h * h, k * k, l * l, k * l, h * l, h * k),
    }[system]
    return np.stack(columns, axis=1)


def cell_from_parameters(parameters: Floats, system: str) -> Cell:
    """The cell of a form's parameters; raises ValueError when they are no metric."""
    p = [float(v) for v in parameters]
    metric = {
        "cubic": lambda: [p[0], p[0], p[0], 0, 0, 0],
        "tetragonal": lambda: [p[0], p[0], p[1], 0, 0, 0],
        "hexagonal": lambda: [p[0], p[0], p[1], 0, 0, p[0] / 2],
        "orthorhombic": lambda: [p[0], p[1], p[2], 0, 0, 0],
        "monoclinic": lambda: [p[0], p[1], p[2], 0, p[3] / 2, 0],
        "triclinic": lambda: [p[0], p[1], p[2], p[3] / 2, p[4] / 2, p[5] / 2],
    }[system]()
    try:
        return cell_of(np.array(metric, dtype=np.float64))
    except np.linalg.LinAlgError as error:
        raise ValueError("the parameters span no cell") from error


#: Changes of axes (rows: new axes) to a conventional cell from other settings of a lattice.
_UNIQUE_B = {3: ((0, 1, 0), (-1, 0, 0), (0, 0, 1)), 5: ((1, 0, 0), (0, 0, -1), (0, 1, 0))}
_SAME = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
_SETTINGS = {
    "mC": (_SAME, ((0, 0, 1), (0, -1, 0), (1, 0, 0)), ((-1, 0, -1), (0, 1, 0), (1, 0, 0))),  # C, A, I
    "oC": (_SAME, ((0, 1, 0), (0, 0, 1), (1, 0, 0)), ((0, 0, 1), (1, 0, 0), (0, 1, 0))),  # C, A, B
}


def parameters_of(cell: Cell, lattice: str) -> list[Floats]:
    """Free parameters of the form of a lattice, one for each setting that a cell may be in.

    A monoclinic cell may have any unique axis; of mC and oC the centred face is not known from the cell.
    """
    system = form_of(lattice).system
    g = reciprocal(cell)
    star = np.array([[g[0], g[5], g[4]], [g[5], g[1], g[3]], [g[4], g[3], g[2]]])
    if system == "monoclinic":
        unique = int(np.argmax(np.abs(np.asarray(cell[3:]) - 90.0)))
        change = np.array({0: _UNIQUE_B[3], 1: _SAME, 2: _UNIQUE_B[5]}[unique], dtype=np.float64)
        star = _changed(star, change)
    found = []
    for change in _SETTINGS.get(lattice, (_SAME,)):
        a, f, e, _, b, d, _, _, c = _changed(star, np.array(change, dtype=np.float64)).ravel()
        row = {
            "cubic": [(a + b + c) / 3],
            "tetragonal": [(a + b) / 2, c],
            "hexagonal": [(a + b) / 2, c],
            "orthorhombic": [a, b, c],
            "monoclinic": [a, b, c, 2 * e],
            "triclinic": [a, b, c, 2 * d, 2 * e, 2 * f],
        }[system]
        found.append(np.array(row, dtype=np.float64))
    return found


def _changed(star: Floats, axes: Floats) -> Floats:
    """A reciprocal metric [3, 3] in new direct axes (rows of `axes`)."""
    change = np.linalg.inv(axes).T
    return np.asarray(change @ star @ change.T, dtype=np.float64)


def conventional(cell: Cell, lattice: str) -> Cell:
    """The same lattice in the axes that people expect, as long as the symbol stays.

    Monoclinic: b unique, beta obtuse, a and c as short together as the centring of C allows; a < c for P.
    Orthorhombic: a < b < c for P, I and F; for C
    the centred face stays C, a < b. Other lattices are returned as they are.
    """
    if lattice in ("oP", "oI", "oF"):
        a, b, c = sorted(cell[:3])
        return (a, b, c, 90.0, 90.0, 90.0)
    if lattice == "oC":
        a, b = sorted(cell[:2])
        return (a, b, cell[2], 90.0, 90.0, 90.0)
    if lattice[0] != "m":
        return cell
    plane = _plane(cell)
    best: tuple[float, Cell] | None = None
    reach = range(-3, 4)
    for u, v, w, x in product(reach, repeat=4):
        if abs(u * x - v * w) != 1:
            continue
        # a = (x a' - v c') / det, so (a + b)/2 stays the C centring when x is odd and v even.
        if lattice == "mC" and (x % 2 == 0 or v % 2 != 0):
            continue
        new = np.array([[u, v], [w, x]])
        g = new @ plane @ new.T
        cosine = g[0, 1] / np.sqrt(g[0, 0] * g[1, 1])
        if cosine > 1e-9:
            continue
        beta = float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
        length = float(np.sqrt(g[0, 0]) + np.sqrt(g[1, 1]))
        if best is None or length < best[0] - 1e-6:
            best = (length, (float(np.sqrt(g[0, 0])), cell[1], float(np.sqrt(g[1, 1])), 90.0, beta, 90.0))
    if best is None:
        return cell
    a, b, c, _, beta, _ = best[1]
    if lattice == "mP" and a > c:
        a, c = c, a
    return (a, b, c, 90.0, beta, 90.0)


def _plane(cell: Cell) -> Floats:
    """[2, 2] metric of a and c."""
    a, c = cell[0], cell[2]
    cross = a * c * np.cos(np.radians(cell[4]))
    return np.array([[a * a, cross], [cross, c * c]])


def niggli(cell: Cell, centring: str) -> Floats:
    """[6] Niggli-reduced primitive cell, angstrom and degrees (gemmi)."""
    gruber = gemmi.GruberVector(gemmi.UnitCell(*cell), centring)
    gruber.niggli_reduce(1e-6)
    return np.array(gruber.cell_parameters(), dtype=np.float64)


def primitive_volume(cell: Cell, centring: str) -> float:
    """Volume of the primitive cell, angstrom^3."""
    return gemmi.UnitCell(*cell).volume / POINTS[centring]
