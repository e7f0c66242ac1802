"""Cells and reciprocal metrics in bulk. Cells in angstrom and degrees; metrics as in `reciprocal_metric`."""

from __future__ import annotations

from functools import cache
from itertools import product

import gemmi
import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadInput
from eg_agent.library import kernels

Floats = npt.NDArray[np.float64]
Cell = tuple[float, float, float, float, float, float]


def _tensors(six: Floats) -> Floats:
    """[n, 3, 3] symmetric matrices of [n, 6] (11, 22, 33, 23, 13, 12)."""
    a, b, c, d, e, f = np.moveaxis(six, -1, 0)
    return np.stack([a, f, e, f, b, d, e, d, c], axis=-1).reshape(*six.shape[:-1], 3, 3)


def _six(tensors: Floats) -> Floats:
    i, j = (0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1)
    return tensors[..., i, j]


def metric_tensors(cells: npt.ArrayLike) -> Floats:
    """[n, 3, 3] metric tensors (angstrom^2) of cells [n, 6]."""
    cells = np.asarray(cells, dtype=np.float64)
    a, b, c = np.moveaxis(cells[..., :3], -1, 0)
    ca, cb, cg = np.moveaxis(np.cos(np.radians(cells[..., 3:])), -1, 0)
    return _tensors(np.stack([a * a, b * b, c * c, b * c * ca, a * c * cb, a * b * cg], axis=-1))


def reciprocal_metric(cells: npt.ArrayLike) -> Floats:
    """[n, 6] (a*a*, b*b*, c*c*, b*c*, a*c*, a*b*; scalar products, 1/angstrom^2) of cells [n, 6]."""
    return np.ascontiguousarray(_six(np.asarray(np.linalg.inv(metric_tensors(cells)), dtype=np.float64)))


def cells_of_metrics(metrics: npt.ArrayLike) -> Floats:
    """[n, 6] cells of reciprocal metrics [n, 6]."""
    direct = np.linalg.inv(_tensors(np.asarray(metrics, dtype=np.float64)))
    lengths = np.sqrt(np.einsum("...ii->...i", direct))
    cosines = np.stack(
        [direct[..., i, j] / (lengths[..., i] * lengths[..., j]) for i, j in ((1, 2), (0, 2), (0, 1))],
        axis=-1,
    )
    return np.concatenate([lengths, np.degrees(np.arccos(np.clip(cosines, -1.0, 1.0)))], axis=-1)


def cell_of_metric(metric: npt.ArrayLike) -> Cell:
    """The cell of one reciprocal metric [6]."""
    a, b, c, alpha, beta, gamma = (float(v) for v in cells_of_metrics(metric))
    return (a, b, c, alpha, beta, gamma)


def volume_of(metrics: npt.ArrayLike) -> Floats:
    """[n] cell volumes (angstrom^3) of reciprocal metrics [n, 6]."""
    return np.linalg.det(_tensors(np.asarray(metrics, dtype=np.float64))) ** -0.5


def strained_metrics(metrics: Floats, kinds: npt.NDArray[np.int64], strains: Floats) -> Floats:
    """[n, 6] metrics after `kernels.strained` with strains [n, 6] of kinds [n, 6]."""
    out = np.empty_like(metrics)
    for i in range(len(metrics)):
        kernels.strained(metrics[i], kinds[i], strains[i], out[i])
    return out


def niggli(cell: npt.ArrayLike, centring: str = "P") -> Cell:
    """Niggli-reduced primitive cell of a conventional one.

    centring: P A B C I F, or R (obverse, hexagonal axes; rhombohedral axes are taken as primitive).
    Raises BadInput for a cell that spans no volume.
    """
    values = tuple(float(v) for v in np.asarray(cell, dtype=np.float64).ravel())
    unit = gemmi.UnitCell(*values) if len(values) == 6 else gemmi.UnitCell()
    if len(values) != 6 or not np.all(np.isfinite(values)) or min(values[:3]) <= 0 or not unit.volume > 0:
        raise BadInput(f"the cell {values} spans no volume: give a b c in angstrom and three angles.")
    if centring not in tuple("PABCIFR"):
        raise BadInput(f"the centring {centring!r} is not known: give P, A, B, C, I, F or R.")
    if centring == "R" and abs(values[5] - 120.0) > 1.0:
        centring = "P"
    gruber = gemmi.GruberVector(unit, centring)
    gruber.niggli_reduce(1e-5)
    a, b, c, alpha, beta, gamma = gruber.cell_parameters()
    return (a, b, c, alpha, beta, gamma)


@cache
def _changes() -> Floats:
    """[k, 3, 3] all integer matrices with entries -1, 0, 1 and determinant 1."""
    rows = np.array(list(product((-1, 0, 1), repeat=3)))
    every = np.stack(
        np.broadcast_arrays(rows[:, None, None], rows[None, :, None], rows[None, None, :]), axis=-2
    )
    every = every.reshape(-1, 3, 3)
    return every[np.rint(np.linalg.det(every)) == 1].astype(np.float64)


def near_cells(
    cell: Cell, reduced: npt.NDArray[np.floating], *, length: float = 0.03, angle: float = 3.0
) -> npt.NDArray[np.int64]:
    """Rows of Niggli cells [N, 6] that agree with a Niggli cell: lengths relative, angles in degrees.

    Reduction is not continuous: where two bases are nearly equally short, a small error picks the other
    one, with other angles. So every basis that a change with entries -1, 0, 1 makes of `cell`, and whose
    lengths are near its own, is compared.
    """
    reduced = np.asarray(reduced, dtype=np.float64)
    lengths = np.asarray(cell[:3])
    ordered = np.abs(np.sort(reduced[:, :3], axis=1) / np.sort(lengths) - 1.0)
    rows = np.flatnonzero((ordered <= length).all(axis=1))
    if not len(rows):
        return rows.astype(np.int64)
    bases = _changes() @ metric_tensors(cell) @ _changes().transpose(0, 2, 1)
    own = np.sqrt(np.einsum("kii->ki", bases))
    bases = bases[(np.abs(np.sort(own, axis=1) / np.sort(lengths) - 1.0) <= 2 * length).all(axis=1)]
    own = np.sqrt(np.einsum("kii->ki", bases))
    cosines = [bases[:, i, j] / (own[:, i] * own[:, j]) for i, j in ((1, 2), (0, 2), (0, 1))]
    variants = np.column_stack([own, np.degrees(np.arccos(np.clip(np.stack(cosines, axis=1), -1.0, 1.0)))])
    variants = np.unique(variants.round(6), axis=0)
    same = np.zeros(len(rows), dtype=bool)
    target = reduced[rows]
    for variant in variants:
        same |= (np.abs(variant[:3] / target[:, :3] - 1.0) <= length).all(axis=1) & (
            np.abs(variant[3:] - target[:, 3:]) <= angle
        ).all(axis=1)
    return rows[same].astype(np.int64)
