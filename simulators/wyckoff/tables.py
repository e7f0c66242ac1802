"""Wyckoff positions, operations and multiplicities of all space groups, as plain arrays.

tables.npz is made by `simulators.wyckoff.generate`; multiplicities are computed when first asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files

import numpy as np
import numpy.typing as npt

from simulators.crystal import TRANSLATION_DENOMINATOR, Operations, operations_from_hall

#: Largest index in the multiplicity tables.
MOST_INDEX = 40

#: Which of h, k, l take negative values in the unique part of reciprocal space, by kind of box:
#: octant; trigonal (-3, -3m); monoclinic, unique axis b; triclinic.
BOXES: tuple[tuple[bool, bool, bool], ...] = (
    (False, False, False),
    (False, False, True),
    (True, False, False),
    (True, True, False),
)
_HEXAGONAL_31M = (149, 151, 153, 157, 159, 162, 163)


@dataclass(frozen=True, eq=False)
class Tables:
    """Rows of G = 230 space groups (number minus 1) and W = 1731 Wyckoff positions.

    hall [G]: Hall number of the setting. operation_count [G], rotation [G, 48, 3, 3], translation
    [G, 48, 3]: one operation for each rotation, the identity first, translations in 1/24.
    centring_count [G], centring [G, 4, 3]: lattice points of the cell, the origin first, in 1/24.
    first [G + 1]: positions of group g are first[g] to first[g + 1], the general one first.
    shape [W, 3, 3], origin [W, 3]: a site is shape u + origin / 24 for any u.
    orbit_size [W]: sites of the primitive cell. orbit [W, 48]: operations that make them, -1 after the
    last. freedom [W]: free parameters. letter [W]: code of the Wyckoff letter.
    needed [W]: orbits of this position alone that show the whole space group, generic coordinates
    given; 0 where three do not.
    """

    hall: npt.NDArray[np.int16]
    operation_count: npt.NDArray[np.int8]
    rotation: npt.NDArray[np.int8]
    translation: npt.NDArray[np.int8]
    centring_count: npt.NDArray[np.int8]
    centring: npt.NDArray[np.int8]
    first: npt.NDArray[np.int16]
    shape: npt.NDArray[np.int8]
    origin: npt.NDArray[np.int8]
    orbit_size: npt.NDArray[np.int8]
    orbit: npt.NDArray[np.int8]
    freedom: npt.NDArray[np.int8]
    needed: npt.NDArray[np.int8]
    letter: npt.NDArray[np.int8]

    def operations(self, space_group: int) -> Operations:
        """All operations of a space group (1-230) in the setting of the tables, centring included."""
        return operations_from_hall(int(self.hall[space_group - 1]))


@cache
def tables() -> Tables:
    """The packaged tables, read once."""
    with files("simulators.wyckoff").joinpath("tables.npz").open("rb") as handle, np.load(handle) as data:
        return Tables(**{f.name: data[f.name] for f in fields(Tables)})


def laue_class(space_group: int) -> int:
    """0-11: -1, 2/m, mmm, 4/m, 4/mmm, -3, -31m, -3m1, 6/m, 6/mmm, m-3, m-3m."""
    bounds = (2, 15, 74, 88, 142, 148, 167, 176, 194, 206, 230)
    place = int(np.searchsorted(bounds, space_group))
    if place <= 5:
        return place
    if place == 6:
        return 6 if space_group in _HEXAGONAL_31M else 7
    return place + 1


def box_kind(laue: int) -> int:
    """Index into BOXES of a Laue class."""
    return {0: 3, 1: 2, 5: 1, 6: 1, 7: 1}.get(laue, 0)


def _in_unique_part(laue: int, hkl: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """One reflection of each orbit: the reciprocal asymmetric units of the CCP4 convention."""
    h, k, l_ = np.moveaxis(hkl, -1, 0)
    return (
        (l_ > 0) | ((l_ == 0) & ((h > 0) | ((h == 0) & (k >= 0)))),
        (k >= 0) & ((l_ > 0) | ((l_ == 0) & (h >= 0))),
        (h >= 0) & (k >= 0) & (l_ >= 0),
        (l_ >= 0) & (((h >= 0) & (k > 0)) | ((h == 0) & (k == 0))),
        (h >= k) & (k >= 0) & (l_ >= 0),
        ((h >= 0) & (k > 0)) | ((h == 0) & (k == 0) & (l_ >= 0)),
        (h >= k) & (k >= 0) & ((k > 0) | (l_ >= 0)),
        (h >= k) & (k >= 0) & ((h > k) | (l_ >= 0)),
        (l_ >= 0) & (((h >= 0) & (k > 0)) | ((h == 0) & (k == 0))),
        (h >= k) & (k >= 0) & (l_ >= 0),
        (h >= 0) & (((l_ >= h) & (k > h)) | ((l_ == h) & (k == h))),
        (k >= l_) & (l_ >= h) & (h >= 0),
    )[laue]


@dataclass(frozen=True, eq=False)
class Multiplicities:
    """How many reflections share a powder line with hkl; 0 outside the unique part or where centring forbids.

    row [230]: of each space group in the table of its kind of box. box [230]: that kind. table: one
    array [rows, h, k, l] a kind; indices start at -MOST_INDEX where BOXES says so, else at 0.
    """

    box: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]
    table: tuple[npt.NDArray[np.uint8], ...]


@cache
def multiplicities() -> Multiplicities:
    """Multiplicity tables of all space groups (about 3 MB, a fraction of a second)."""
    t = tables()
    box = np.zeros(230, np.int64)
    row = np.zeros(230, np.int64)
    keys: list[dict[tuple[int, bytes], int]] = [{} for _ in BOXES]
    parts: list[list[npt.NDArray[np.uint8]]] = [[] for _ in BOXES]
    by_laue: dict[int, npt.NDArray[np.uint8]] = {}
    for number in range(1, 231):
        laue = laue_class(number)
        kind = box_kind(laue)
        vectors = t.centring[number - 1, : t.centring_count[number - 1]].astype(np.int64)
        key = (laue, vectors.tobytes())
        box[number - 1] = kind
        if key not in keys[kind]:
            hkl = _box_indices(kind)
            if laue not in by_laue:
                by_laue[laue] = _counts(laue, hkl, t.operations(number).laue_rotations)
            allowed = ((hkl @ vectors.T) % TRANSLATION_DENOMINATOR == 0).all(axis=-1)
            keys[kind][key] = len(parts[kind])
            parts[kind].append(by_laue[laue] * allowed)
        row[number - 1] = keys[kind][key]
    return Multiplicities(box, row, tuple(np.stack(p) for p in parts))


def _box_indices(kind: int) -> npt.NDArray[np.int64]:
    axes = [np.arange(-MOST_INDEX if negative else 0, MOST_INDEX + 1) for negative in BOXES[kind]]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


def _counts(laue: int, hkl: npt.NDArray[np.int64], rotations: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Orbit sizes in the unique part, 0 elsewhere and at the origin."""
    weights = np.array([1, 1 << 10, 1 << 20])
    own = hkl @ weights
    fixed = np.zeros(hkl.shape[:-1], np.int64)
    for rotation in rotations:
        image = hkl @ (rotation @ weights)
        fixed += (image == own).astype(np.int64) + (image == -own)
    count = 2 * len(rotations) // fixed
    count[(hkl == 0).all(axis=-1)] = 0
    return (count * _in_unique_part(laue, hkl)).astype(np.uint8)
