"""What indexing needs of lattices: free parameters, coefficients, conventional and reduced cells."""

from __future__ import annotations

from dataclasses import dataclass

import gemmi
import numpy as np
import numpy.typing as npt

from eg_agent.verify.metric import Cell, cell_of

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
    h, k, l = np.asarray(hkl, dtype=np.float64).T
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


def niggli(cell: Cell, centring: str) -> Floats:
    """[6] Niggli-reduced primitive cell, angstrom and degrees (gemmi)."""
    gruber = gemmi.GruberVector(gemmi.UnitCell(*cell), centring)
    gruber.niggli_reduce(1e-6)
    return np.array(gruber.cell_parameters(), dtype=np.float64)


def primitive_volume(cell: Cell, centring: str) -> float:
    """Volume of the primitive cell, angstrom^3."""
    return gemmi.UnitCell(*cell).volume / POINTS[centring]
