"""Symmetry operators as exact integers, and the reflections that they make absent.

Coordinates transform as x' = R x + t, so a reflection (a row vector h) goes to h R and
F(hR) = F(h) exp(-2 pi i h.t). Where hR = h and h.t is not an integer, F(h) is zero for every crystal
of that space group: a systematic absence of the general position (International Tables for
Crystallography A, section 1.6.3). Translations are integers in units of 1/24, as in gemmi, so
nothing here depends on a floating-point tolerance.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import gemmi
import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

#: Denominator of translations (gemmi.Op.DEN).
DEN = 24


@dataclass(frozen=True, eq=False)
class Operators:
    """Symmetry operations modulo lattice translations, centring vectors included.

    rotations: int [m, 3, 3], acting on fractional coordinates (columns).
    translations: int [m, 3] in units of 1/24, in [0, 24).
    """

    rotations: IntArray
    translations: IntArray

    def __len__(self) -> int:
        return len(self.rotations)

    def transformed(self, basis: npt.ArrayLike) -> Operators:
        """The same operations in the axes (a', b', c') = (a, b, c) P, for an integer P of determinant +-1."""
        matrix = np.asarray(basis, dtype=np.int64)
        inverse = np.rint(np.linalg.inv(matrix)).astype(np.int64)
        if not np.array_equal(inverse @ matrix, np.eye(3, dtype=np.int64)):
            raise ValueError("the change of basis must be integral with determinant +1 or -1")
        return Operators(inverse @ self.rotations @ matrix, (self.translations @ inverse.T) % DEN)

    def where(self, keep: BoolArray) -> Operators:
        """The operations selected by a mask; not necessarily a group."""
        return Operators(self.rotations[keep], self.translations[keep])

    @property
    def point_group(self) -> IntArray:
        """int [k, 3, 3]: the distinct rotation parts."""
        return np.unique(self.rotations, axis=0)

    @property
    def centring_vectors(self) -> IntArray:
        """int [c, 3] in 1/24: translations of the identity, (0, 0, 0) included."""
        pure = (self.rotations == np.eye(3, dtype=np.int64)).all(axis=(1, 2))
        return self.translations[pure]

    def absent(self, hkl: npt.ArrayLike) -> BoolArray:
        """bool [n]: systematically absent reflections among hkl, int [n, 3]."""
        return AbsenceTable(hkl).absent(self)

    def rules(self) -> Operators:
        """A few of these operations that make exactly the same reflections absent.

        Most operations forbid nothing, or nothing that others do not: a full cubic group shrinks
        from 192 operations to at most a dozen, so that `absent` costs microseconds a reflection.
        """
        left = self.absent(GRID)
        order = np.argsort([not np.array_equal(r, np.eye(3)) for r in self.rotations], kind="stable")
        keep = np.zeros(len(self), dtype=bool)
        for i in order:
            new = self.where(np.arange(len(self)) == i).absent(GRID) & left
            if new.any():
                keep[i] = True
                left &= ~new
        return self.where(keep)


class AbsenceTable:
    """Reflections that many groups are asked about: what an operation does to them is worked out once.

    hkl: int [n, 3].
    """

    def __init__(self, hkl: npt.ArrayLike) -> None:
        self.hkl = np.asarray(hkl, dtype=np.int64)
        self._kept: dict[bytes, BoolArray] = {}
        self._shifted: dict[bytes, BoolArray] = {}

    def absent(self, operators: Operators) -> BoolArray:
        """bool [n]: those that are systematically absent."""
        result = np.zeros(len(self.hkl), dtype=bool)
        for rotation, translation in zip(operators.rotations, operators.translations):
            if translation.any():
                result |= self._shifts(translation) & self._keeps(rotation)
        return result

    def _shifts(self, translation: IntArray) -> BoolArray:
        """Whose phase the translation changes."""
        key = translation.tobytes()
        found = self._shifted.get(key)
        if found is None:
            found = self._shifted[key] = (self.hkl @ translation) % DEN != 0
        return found

    def _keeps(self, rotation: IntArray) -> BoolArray:
        """Which the rotation leaves in place."""
        key = rotation.tobytes()
        found = self._kept.get(key)
        if found is None:
            first, second, third = (self.hkl @ (rotation - np.eye(3, dtype=np.int64))).T
            found = self._kept[key] = (first | second | third) == 0
        return found


def from_gemmi(group: gemmi.GroupOps) -> Operators:
    """All operations of a gemmi group, centring expanded."""
    operations = list(group)
    rotations = np.array([op.rot for op in operations], dtype=np.int64) // DEN
    translations = np.array([op.tran for op in operations], dtype=np.int64) % DEN
    return Operators(rotations, translations)


@cache
def of_space_group(number: int) -> Operators:
    """Operations of a space group (1-230) in gemmi's reference setting.

    That is the standard setting of International Tables A: unique axis b and cell choice 1, origin
    choice 2, hexagonal axes (obverse) for R. Absences do not depend on the origin.
    """
    if not 1 <= number <= 230:
        raise ValueError(f"space groups are numbered 1 to 230, not {number}")
    return from_gemmi(gemmi.get_spacegroup_reference_setting(number).operations())


def _grid(limit: int) -> IntArray:
    line = np.arange(-limit, limit + 1)
    grid = np.stack(np.meshgrid(line, line, line, indexing="ij"), axis=-1).reshape(-1, 3)
    grid.flags.writeable = False
    return grid


#: All h, k, l from -6 to 6. Absence conditions are congruences modulo 2, 3, 4 or 6 of h, k, l within a
#: plane or line of reciprocal space; 13 consecutive values meet every residue modulo 12, so two
#: groups with the same absences here have the same absences everywhere.
GRID: IntArray = _grid(6)
