"""What a lattice looks like, whatever axes it is written in: for who asks what lattices such structures have.

Databases write a monoclinic cell in the axes of its space group's standard setting, and an orthorhombic one
with the axes where its symbol wants them: the order of a, b and c would tell the group. So the axes of an
orthorhombic cell are sorted, and the two oblique ones of a monoclinic cell reduced (the shortest two of their
net). What is left is convention only in that the cell is the conventional one of its centring.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eg_agent.verify.line_kinds import FAMILIES
from eg_agent.verify.metric import (
    Cell,
    MetricSystem,
    hexagonal_axes,
    is_rhombohedral,
    metric_system,
    symmetrized,
    volume,
)

Floats = npt.NDArray[np.float64]

#: Bumps on a scale: lowest and highest centre, number, and width. Of the log of the volume (angstrom^3), the
#: logs of two ratios of axes, and the cosine between the oblique axes.
BUMPS = ((3.0, 9.0, 31, 0.2), (-1.2, 1.6, 57, 0.05), (-1.2, 2.0, 65, 0.05), (0.0, 0.5, 13, 0.04))
#: Middle and half width of the log of the volume.
VOLUME = (6.0, 1.5)
#: The same of the log of the formula units in the cell.
UNITS = (-1.0, 4.0, 64, 0.08)
#: Features of a lattice: its family, the four numbers and their bumps; and with what is known of its formula
#: units (whether it is, their number and its bumps).
N_SHAPE = len(FAMILIES) + len(BUMPS) + sum(count for _, _, count, _ in BUMPS)
N_FEATURES = N_SHAPE + 2 + UNITS[2]


@dataclass(frozen=True, slots=True)
class LatticeShape:
    """family: place in `FAMILIES`. log_volume: of the conventional cell, angstrom^3. second, third: logs of
    the second and the third axis over the first (orthorhombic: ascending; monoclinic: the shorter oblique
    axis, the unique one, the longer oblique one). oblique: cosine between the oblique axes, 0 to 0.5."""

    family: int
    log_volume: float
    second: float
    third: float
    oblique: float

    @property
    def numbers(self) -> Floats:
        """[4] log_volume, second, third, oblique."""
        return np.array([self.log_volume, self.second, self.third, self.oblique])


def lattice_shape(cell: Cell, system: MetricSystem | None = None) -> LatticeShape | None:
    """The shape of a conventional cell (angstrom, degrees; rhombohedral axes are allowed); None where it is
    triclinic, which leaves nothing to tell. system: what the cell is taken for, where its refined lengths
    might look like a higher one."""
    if system is None:
        cell = hexagonal_axes(cell) if is_rhombohedral(cell) else cell
        system = metric_system(cell)
    if system.name not in FAMILIES:
        return None
    cell = symmetrized(cell, system)
    a, b, c = cell[:3]
    oblique = 0.0
    if system.unique_axis is not None:
        at = [i for i in range(3) if i != system.unique_axis]
        b = cell[system.unique_axis]
        a, c, oblique = reduced(cell[at[0]], cell[at[1]], cell[3 + system.unique_axis])
    elif system.name == "orthorhombic":
        a, b, c = sorted((a, b, c))
    family = FAMILIES.index(system.name)
    return LatticeShape(family, math.log(volume(cell)), math.log(b / a), math.log(c / a), oblique)


def reduced(a: float, c: float, angle: float) -> tuple[float, float, float]:
    """The two shortest vectors of a plane net, ascending, and the cosine between them (0 to 0.5); degrees."""
    short = np.array([a, 0.0])
    long = c * np.array([math.cos(math.radians(angle)), math.sin(math.radians(angle))])
    while True:
        if short @ short > long @ long:
            short, long = long, short
        times = round(float(short @ long / (short @ short)))
        if times == 0:
            break
        long = long - times * short
    lengths = math.sqrt(short @ short), math.sqrt(long @ long)
    return *lengths, min(abs(float(short @ long)) / (lengths[0] * lengths[1]), 0.5)


def shape_features(family: npt.NDArray[np.int64], numbers: Floats) -> Floats:
    """[n, N_SHAPE] of families [n] and log_volume, second, third, oblique [n, 4]."""
    middle, half = VOLUME
    plain = numbers.copy()
    plain[:, 0] = (plain[:, 0] - middle) / half
    parts = [np.eye(len(FAMILIES))[family], plain]
    parts += [_bumps(column, scale) for column, scale in zip(numbers.T, BUMPS, strict=True)]
    return np.concatenate(parts, axis=1)


def features(family: npt.NDArray[np.int64], numbers: Floats, units: Floats) -> Floats:
    """[n, N_FEATURES]: `shape_features`, and what is known of the logs of the formula units in the cell [n],
    nan where they are not known."""
    known = np.isfinite(units)[:, None]
    inside = np.clip(np.nan_to_num(units), *UNITS[:2])
    parts = [known * 1.0, known * inside[:, None], known * _bumps(inside, UNITS)]
    return np.concatenate([shape_features(family, numbers), *parts], axis=1)


def _bumps(values: Floats, scale: tuple[float, float, int, float]) -> Floats:
    """[n, count] how near values [n] are to each centre of a scale."""
    low, high, count, width = scale
    inside = np.clip(values, low, high)[:, None]
    return np.exp(-0.5 * ((inside - np.linspace(low, high, count)) / width) ** 2)
