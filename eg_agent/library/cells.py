"""Cells and reciprocal metrics in bulk. Cells in angstrom and degrees; metrics as in `reciprocal_metric`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

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
    return np.ascontiguousarray(_six(np.linalg.inv(metric_tensors(cells))))


def cells_of_metrics(metrics: npt.ArrayLike) -> Floats:
    """[n, 6] cells of reciprocal metrics [n, 6]."""
    direct = np.linalg.inv(_tensors(np.asarray(metrics, dtype=np.float64)))
    lengths = np.sqrt(np.einsum("...ii->...i", direct))
    cosines = np.stack(
        [direct[..., i, j] / (lengths[..., i] * lengths[..., j]) for i, j in ((1, 2), (0, 2), (0, 1))], axis=-1
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
