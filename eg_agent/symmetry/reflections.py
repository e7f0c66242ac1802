"""Unique reflections of a cell: the lines that a powder pattern of it can show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadInput
from eg_agent.symmetry.operators import GRID, IntArray, of_space_group
from eg_agent.symmetry.setting import Setting, absence_free

# A space group whose rotations are the Laue class.
_LAUE_CLASSES = {
    "-1": 2,
    "2/m": 10,
    "mmm": 47,
    "4/m": 83,
    "4/mmm": 123,
    "-3": 147,
    "-31m": 162,
    "-3m1": 164,
    "6/m": 175,
    "6/mmm": 191,
    "m-3": 200,
    "m-3m": 221,
}
_HOLOHEDRY = {"a": "-1", "m": "2/m", "o": "mmm", "t": "4/mmm", "h": "6/mmm", "c": "m-3m"}

# A cell may break the metric of its lattice by this much: rounding, or a free refinement.
_LENGTH_TOLERANCE = 0.01  # relative
_ANGLE_TOLERANCE = 0.5  # degrees

# Reflections whose orbits are held at once, so that large cells need little memory.
_CHUNK = 20_000


@dataclass(frozen=True, eq=False)
class Reflections:
    """Reflections, one an orbit, by descending d.

    hkl: int [k, 3]; multiplicity: int [k], Friedel mates included; d: float [k], angstrom.
    """

    hkl: IntArray
    multiplicity: IntArray
    d: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.d)


def reciprocal_metric(cell: Sequence[float]) -> npt.NDArray[np.float64]:
    """Reciprocal metric tensor [3, 3] in 1/angstrom^2, so that 1/d^2 = h G* h.

    cell: a b c (angstrom) alpha beta gamma (degrees). Raises BadInput for an impossible cell.
    """
    if len(cell) != 6 or not np.all(np.isfinite(cell)) or min(cell) <= 0 or max(cell[3:]) >= 180:
        raise BadInput(
            f"impossible cell {tuple(cell)}: give a, b, c in angstrom and three angles between 0 and 180."
        )
    a, b, c = cell[:3]
    cos_alpha, cos_beta, cos_gamma = np.cos(np.radians(cell[3:]))
    metric = np.array(
        [
            [a * a, a * b * cos_gamma, a * c * cos_beta],
            [a * b * cos_gamma, b * b, b * c * cos_alpha],
            [a * c * cos_beta, b * c * cos_alpha, c * c],
        ]
    )
    if np.linalg.det(metric) <= 1e-6 * (a * b * c) ** 2:
        raise BadInput(f"impossible cell {tuple(cell)}: no three axes meet at these angles.")
    return np.linalg.inv(metric)


def d_spacings(cell: Sequence[float], hkl: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """d in angstrom [n] of reflections int [n, 3]; infinite for (0, 0, 0)."""
    h = np.asarray(hkl, dtype=np.float64)
    with np.errstate(divide="ignore"):
        return 1.0 / np.sqrt(np.einsum("ni,ij,nj->n", h, reciprocal_metric(cell), h))


def unique_reflections(
    cell: Sequence[float],
    setting: Setting | str,
    d_min: float,
    d_max: float = np.inf,
    *,
    laue: str | None = None,
) -> Reflections:
    """Reflections that a setting allows with d_min <= d <= d_max, one for each orbit.

    cell: a b c (angstrom) alpha beta gamma (degrees), in the axes of the setting.
    setting: a `Setting`, or a lattice such as "oP" for its absence-free one.
    laue: Laue class whose orbits are counted ("4/m", "-3m1", "m-3", ...). By default the point symmetry of
        the cell's metric: reflections that coincide in a powder pattern are then one, with the
        multiplicity of its allowed members (they are a part of the orbit for R lattices and P a -3).

    The reflection that stands for an orbit is an allowed one with the fewest negative indices.
    Raises BadInput when the cell does not fit the lattice, d_min is not positive, or the Laue class is
    not one of the crystal family.
    """
    if isinstance(setting, str):
        setting = absence_free(setting)
    if not d_min > 0:
        raise BadInput(f"d_min must be a positive length in angstrom, not {d_min:g}.")
    _check_metric(cell, setting)
    family = setting.lattice[0]
    unique = setting.unique_axis or "b"
    asymmetric, d = _asymmetric_unit(cell, family, unique, d_min, d_max)
    cosets, orbit = _coset_representatives(family, laue or _HOLOHEDRY[family], unique)
    full = laue is None or laue == _HOLOHEDRY[family]
    invariant = full and _keeps_absences(setting)
    if invariant:
        allowed = ~setting.absent(asymmetric)
        asymmetric, d = asymmetric[allowed], d[allowed]
    if not len(asymmetric):
        return Reflections(np.zeros((0, 3), dtype=np.int64), np.zeros(0, dtype=np.int64), d)
    hkl, multiplicity, source = [], [], []
    for rotation in cosets:
        for start in range(0, len(asymmetric), _CHUNK):
            part = slice(start, start + _CHUNK)
            chosen, count = _orbits(asymmetric[part] @ rotation, orbit, None if invariant else setting)
            kept = np.flatnonzero(count)
            hkl.append(chosen[kept])
            multiplicity.append(count[kept])
            source.append(kept + start)
    merged = _merge(np.concatenate(hkl), np.concatenate(multiplicity), d[np.concatenate(source)])
    order = np.lexsort((*merged.hkl.T[::-1], -merged.d))
    return Reflections(merged.hkl[order], merged.multiplicity[order], merged.d[order])


def _check_metric(cell: Sequence[float], setting: Setting) -> None:
    reciprocal_metric(cell)  # refuses impossible cells
    a, b, c, alpha, beta, gamma = cell
    equal: list[tuple[float, float]] = []
    family = setting.lattice[0]
    if family in "thc":
        equal.append((a, b))
    if family == "c":
        equal.append((a, c))
    right: dict[str, list[float]] = {
        "a": [],
        "m": [v for axis, v in zip("abc", (alpha, beta, gamma)) if axis != setting.unique_axis],
        "h": [alpha, beta, gamma - 30.0],
    }
    lengths = all(abs(x - y) <= _LENGTH_TOLERANCE * max(x, y) for x, y in equal)
    angles = all(abs(v - 90.0) <= _ANGLE_TOLERANCE for v in right.get(family, [alpha, beta, gamma]))
    if not (lengths and angles):
        raise BadInput(
            f"cell {', '.join(f'{v:g}' for v in cell)} does not fit lattice {setting.lattice}"
            + (f" with unique axis {setting.unique_axis}" if setting.unique_axis else "")
            + (" on hexagonal axes" if family == "h" else "")
            + ": name another lattice, or transform the cell."
        )


def _asymmetric_unit(
    cell: Sequence[float], family: str, unique: str, d_min: float, d_max: float
) -> tuple[IntArray, npt.NDArray[np.float64]]:
    """One reflection for each orbit of the holohedry, centring ignored, and their d."""
    metric = reciprocal_metric(cell)
    # |h| = |a . s| <= a / d for any reciprocal vector s of length 1/d, however oblique the cell.
    limits = [int(length / d_min * (1 + 1e-12)) for length in cell[:3]]
    axis = "abc".index(unique)
    free = {"a": (0, 1), "m": tuple(i for i in range(3) if i != axis)[:1]}.get(family, ())
    lines = [np.arange(-n if i in free else 0, n + 1) for i, n in enumerate(limits)]
    h, k, m = index = np.meshgrid(*lines, indexing="ij", sparse=True)
    s2 = np.zeros((1, 1, 1))
    for i, j in np.ndindex(3, 3):
        s2 = s2 + metric[i, j] * index[i] * index[j]
    keep = (s2 <= 1 / d_min**2 * (1 + 1e-9)) & (s2 > 0) & (s2 >= 1 / d_max**2 * (1 - 1e-9))
    if family == "a":
        keep &= (m > 0) | ((m == 0) & ((k > 0) | ((k == 0) & (h >= 0))))
    elif family == "m":
        first, last = (x for i, x in enumerate(index) if i != axis)
        keep &= (last > 0) | (first >= 0)
    elif family in "th":
        keep &= h >= k
    elif family == "c":
        keep &= (h >= k) & (k >= m)
    indices = np.argwhere(keep) + [line[0] for line in lines]
    return indices, 1.0 / np.sqrt(s2[keep])


@cache
def _laue_rotations(laue: str, unique: str) -> IntArray:
    rotations = of_space_group(_LAUE_CLASSES[laue]).point_group
    if laue == "2/m":
        order = [("abc".index(unique) + shift) % 3 for shift in (2, 0, 1)]  # new places of a, b, c
        permutation = np.eye(3, dtype=np.int64)[order]
        rotations = permutation.T @ rotations @ permutation
    return rotations


@cache
def _coset_representatives(family: str, laue: str, unique: str) -> tuple[IntArray, IntArray]:
    """Rotations [c, 3, 3] from a holohedral orbit's first member to each Laue orbit, and the Laue class."""
    holohedry = _laue_rotations(_HOLOHEDRY[family], unique)
    known = {rotation.tobytes() for rotation in holohedry}
    if laue not in _LAUE_CLASSES:
        raise BadInput(f"unknown Laue class {laue!r}: one of {', '.join(_LAUE_CLASSES)}.")
    group = _laue_rotations(laue, unique)
    if not {rotation.tobytes() for rotation in group} <= known:
        raise BadInput(f"Laue class {laue} is not a symmetry of the lattice's crystal family.")
    representatives, seen = [], set()
    for rotation in holohedry:
        if rotation.tobytes() not in seen:
            representatives.append(rotation)
            seen |= {(rotation @ other).tobytes() for other in group}
    return np.array(representatives), group


@cache
def _keeps_absences(setting: Setting) -> bool:
    """Whether the metric's symmetry maps absent reflections on absent ones."""
    absent = setting.absent(GRID)
    rotations = _laue_rotations(_HOLOHEDRY[setting.lattice[0]], setting.unique_axis or "b")
    # Hexagonal operations lead out of the cube of indices, so each image is tested anew.
    return all(np.array_equal(setting.absent(GRID @ rotation), absent) for rotation in rotations)


def _orbits(hkl: IntArray, rotations: IntArray, setting: Setting | None) -> tuple[IntArray, IntArray]:
    """For each reflection its orbit's representative [n, 3] and the number of allowed members [n]."""
    members = np.einsum("ni,gij->ngj", hkl, rotations)
    largest = int(np.abs(members).max(initial=0))
    base = 2 * largest + 1
    negatives = (members < 0).sum(axis=2)
    code = (3 - negatives) * 2 + (members[..., 2] >= 0)
    for i in range(3):
        code = code * base + members[..., i] + largest
    if setting is not None:
        absent = setting.absent(members.reshape(-1, 3)).reshape(code.shape)
        code = np.where(absent, -1, code)
    best = code.argmax(axis=1)
    code.sort(axis=1)
    first = np.ones(code.shape, dtype=bool)
    first[:, 1:] = code[:, 1:] != code[:, :-1]
    count = (first & (code >= 0)).sum(axis=1)
    return members[np.arange(len(hkl)), best], count


def _merge(hkl: IntArray, multiplicity: IntArray, d: npt.NDArray[np.float64]) -> Reflections:
    """Drop orbits that several cosets reached."""
    _, first = np.unique(hkl, axis=0, return_index=True)
    return Reflections(hkl[first], multiplicity[first], d[first])
