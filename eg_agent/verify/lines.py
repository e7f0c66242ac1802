"""The powder lines of a lattice: orbits of reflections under its holohedry, merged where they coincide."""

from __future__ import annotations

import math
from dataclasses import dataclass

import gemmi
import numpy as np
import numpy.typing as npt

from eg_agent.verify.metric import Cell, Floats, MetricSystem, cell_of, reciprocal, tensor

Ints = npt.NDArray[np.int64]

_HOLOHEDRY = {
    "cubic": "P m -3 m",
    "tetragonal": "P 4/m m m",
    "orthorhombic": "P m m m",
    "hexagonal": "P 6/m m m",
    "monoclinic": ("P 2/m 1 1", "P 1 2/m 1", "P 1 1 2/m"),
    "triclinic": "P -1",
}


@dataclass(frozen=True, slots=True)
class Lines:
    """Powder lines, in order of descending d.

    members: [m, 3] hkl of all reflections, one of each Friedel pair; line: [m] the line that each is in.
    tensor: [n, 6], multiplicity-weighted mean of the coefficients of 1/d^2 (see `metric.tensor`).
    multiplicity: [n] reflections in a line, both of each Friedel pair.
    representative: [n, 3] hkl that names the line (the one of largest indices in its first orbit).
    """

    members: Ints
    line: Ints
    tensor: Floats
    multiplicity: Floats
    representative: Ints

    def __len__(self) -> int:
        return int(self.multiplicity.size)

    def d(self, metric: Floats) -> Floats:
        """[n] spacings in angstrom for a reciprocal metric."""
        return 1.0 / np.sqrt(np.maximum(self.tensor @ metric, 1e-12))

    def head(self, n: int) -> Lines:
        """The first n lines."""
        kept = self.line < n
        return Lines(
            self.members[kept],
            self.line[kept],
            self.tensor[:n],
            self.multiplicity[:n],
            self.representative[:n],
        )

    def tail(self, n: int) -> Lines:
        """The lines after the first n."""
        kept = self.line >= n
        return Lines(
            self.members[kept],
            self.line[kept] - n,
            self.tensor[n:],
            self.multiplicity[n:],
            self.representative[n:],
        )


def _half_sphere(metric: Floats, d_min: float) -> Ints:
    """All hkl with d >= d_min, one of each Friedel pair."""
    limits = np.array(cell_of(metric)[:3]) / d_min
    h_max, k_max, l_max = (math.floor(v + 1e-9) for v in limits)
    axes = np.meshgrid(
        np.arange(-h_max, h_max + 1), np.arange(-k_max, k_max + 1), np.arange(0, l_max + 1), indexing="ij"
    )
    hkl = np.stack([axis.ravel() for axis in axes], axis=1)
    upper = (hkl[:, 2] > 0) | ((hkl[:, 2] == 0) & ((hkl[:, 1] > 0) | ((hkl[:, 1] == 0) & (hkl[:, 0] > 0))))
    hkl = hkl[upper]
    return hkl[tensor(hkl) @ metric <= 1.0 / d_min**2 * (1 + 1e-9)]


def _orbit_keys(hkl: Ints, system: MetricSystem) -> Ints:
    """[m] a number that reflections equivalent under the holohedry share, unique to their orbit."""
    name = _HOLOHEDRY[system.name]
    symbol = name if isinstance(name, str) else name[system.unique_axis or 0]
    group = gemmi.SpaceGroup(symbol)
    key = np.full(len(hkl), np.iinfo(np.int64).min)
    base = 4 * int(np.abs(hkl).max(initial=1)) + 1
    for operation in group.operations().sym_ops:
        rotation = np.array(operation.rot, dtype=np.int64) // operation.DEN
        image = hkl @ rotation
        # the triplet of largest (l, k, h) names the orbit
        code = (image[:, 2] * base + image[:, 1]) * base + image[:, 0]
        np.maximum(key, np.abs(code), out=key)
    return key


def dimensions(hkl: Ints, system: MetricSystem) -> Ints:
    """[m] 3 for general reflections, 2 for those on a mirror of the holohedry (hk0, hhl), 1 on an axis."""
    name = _HOLOHEDRY[system.name]
    symbol = name if isinstance(name, str) else name[system.unique_axis or 0]
    kept = np.zeros(len(hkl))
    trace = np.zeros(len(hkl))
    for operation in gemmi.SpaceGroup(symbol).operations().sym_ops:
        rotation = np.array(operation.rot, dtype=np.int64) // operation.DEN
        same = np.all(hkl @ rotation == hkl, axis=1)
        kept += same
        trace += same * np.trace(rotation)
    # the trace of the mean over a reflection's stabiliser is the dimension of what it leaves in place
    return np.round(trace / kept).astype(np.int64)


def lattice_lines(cell: Cell, system: MetricSystem, d_min: float) -> Lines:
    """The lines of the primitive lattice of a cell down to d_min (angstrom), equal spacings merged."""
    metric = reciprocal(cell)
    hkl = _half_sphere(metric, d_min)
    keys = _orbit_keys(hkl, system)
    q = tensor(hkl) @ metric
    order = np.lexsort((-hkl[:, 0], -hkl[:, 1], -hkl[:, 2], keys, np.round(q, 9)))
    hkl, q, keys = hkl[order], q[order], keys[order]
    new = np.ones(q.size, dtype=bool)
    new[1:] = (keys[1:] != keys[:-1]) & (q[1:] - q[:-1] > 1e-7 * q[1:])
    return _gather(hkl, np.cumsum(new) - 1)


def merge(lines: Lines, groups: Ints) -> Lines:
    """Lines with the same number in `groups` [n] (ascending) put together."""
    return _gather(lines.members, groups[lines.line])


def _gather(members: Ints, line: Ints) -> Lines:
    order = np.argsort(line, kind="stable")
    members, line = members[order], line[order]
    n = int(line[-1]) + 1 if line.size else 0
    count = np.bincount(line, minlength=n).astype(float)
    coefficients = tensor(members)
    mean = np.stack([np.bincount(line, coefficients[:, j], minlength=n) for j in range(6)], axis=1)
    first = np.searchsorted(line, np.arange(n))
    return Lines(members, line, mean / np.maximum(count, 1)[:, None], 2.0 * count, members[first])


def blended(two_theta: Floats, fwhm: Floats, fraction: float) -> Ints:
    """[n] group numbers: ascending positions closer than `fraction` FWHM to their group's first are one."""
    groups = np.zeros(two_theta.size, dtype=np.int64)
    start = 0
    for i in range(1, two_theta.size):
        if two_theta[i] - two_theta[start] > fraction * fwhm[i]:
            start = i
            groups[i] = groups[i - 1] + 1
        else:
            groups[i] = groups[i - 1]
    return groups
