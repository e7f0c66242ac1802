"""Settings: an extinction group in one choice of axes, as tests on h, k, l.

A cell from indexing or a database has its axes in some order. A candidate for it is therefore not a
group but a setting: P n a - and P b n - belong to one group and forbid different lines of one cell.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import gemmi
import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadInput
from eg_agent.symmetry.conditions import Conditions
from eg_agent.symmetry.derive import DerivedSetting, settings_of_space_group, standard_setting
from eg_agent.symmetry.extinction_group import group, group_of_space_group, groups
from eg_agent.symmetry.operators import GRID, BoolArray, Operators, from_gemmi
from eg_agent.symmetry.symbols import unique_axis

#: The 14 Bravais lattices, by crystal family and centring.
BRAVAIS_LATTICES: tuple[str, ...] = (
    *("aP", "mP", "mC", "oP", "oC", "oI", "oF"),
    *("tP", "tI", "hP", "hR", "cP", "cI", "cF"),
)

# Lattice symbols by the centring in the given axes: those of Bravais and the unconventional ones.
_AXES_SYMBOLS = (*BRAVAIS_LATTICES, "mA", "mB", "mI", "oA", "oB")

_AXIS_NAMES = "abc"


@dataclass(frozen=True, slots=True)
class Setting:
    """One extinction group in one choice of axes.

    group: number, 1-99.
    symbol: extinction symbol in these axes, e.g. "P b n -".
    lattice: Bravais lattice, one of `BRAVAIS_LATTICES`.
    centring: centring letter in these axes (A, B and I settings of mC, A and B of oC included).
    unique_axis: "a", "b" or "c" in the monoclinic system, otherwise None.
    rules: operations whose absences are those of the whole group.
    """

    group: int
    symbol: str
    lattice: str
    centring: str
    unique_axis: str | None
    rules: Operators = field(compare=False, repr=False)

    def absent(self, hkl: npt.ArrayLike) -> BoolArray:
        """bool [n]: systematically absent reflections among hkl, int [n, 3]; exact for any size."""
        indices = np.asarray(hkl)
        if indices.ndim != 2 or indices.shape[1] != 3 or indices.dtype.kind not in "iu":
            raise ValueError(f"hkl must be integers of shape [n, 3], got {indices.dtype} {indices.shape}")
        return self.rules.absent(indices)

    def conditions(self) -> tuple[str, ...]:
        """Reflection conditions in words, e.g. ("0kl: k+l=2n", "hk0: h=2n"); () when there are none."""
        return Conditions(self.absent(GRID)).words(group(self.group).crystal_system)


@cache
def _make(number: int, index: int | None) -> Setting:
    """Setting by index into `settings_of_space_group`, or the standard one for None."""
    first = group(number).space_groups[0]
    derived = standard_setting(first) if index is None else settings_of_space_group(first)[index]
    return _from_derived(number, derived)


def _from_derived(number: int, derived: DerivedSetting) -> Setting:
    entry = group(number)
    # The published spelling of an R group is kept; in other systems the symbol is that of the axes.
    symbol = entry.symbol if entry.lattice == "R" else derived.symbol
    axis = None if derived.unique_axis is None else _AXIS_NAMES[derived.unique_axis]
    return Setting(number, symbol, entry.bravais, derived.centring, axis, derived.operators.rules())


@cache
def settings(number: int) -> tuple[Setting, ...]:
    """All settings of a group with distinct absences, in the order of its equivalent symbols.

    Axis permutations in the orthorhombic system; unique axes and cell choices in the monoclinic one;
    hexagonal axes, obverse, for R. Raises BadInput outside 1-99.
    """
    first = group(number).space_groups[0]
    return tuple(_make(number, index) for index in range(len(settings_of_space_group(first))))


def standard(number: int) -> Setting:
    """The setting of International Tables for the lowest space group of a group."""
    wanted = _make(group(number).number, None)
    return next(s for s in settings(number) if s == wanted)


@cache
def settings_of_lattice(lattice: str, unique_axis: str = "b") -> tuple[Setting, ...]:
    """All candidates for a cell of this lattice, in the cell's own axes, by ascending group number.

    lattice: a Bravais lattice ("oP", "mC", ...), or "oA", "oB", "mA", "mB", "mI" for a cell in
        unconventional axes. The letter is the centring in the cell's axes.
    unique_axis: of a monoclinic cell; other systems ignore it.

    Raises BadInput for another lattice or axis.
    """
    if lattice not in _AXES_SYMBOLS:
        raise BadInput(f"unknown lattice {lattice!r}: one of {', '.join(_AXES_SYMBOLS)}.")
    if unique_axis not in tuple(_AXIS_NAMES):
        raise BadInput(f"unique axis {unique_axis!r}: one of a, b, c.")
    family, centring = lattice
    axis = unique_axis if family == "m" else None
    found = tuple(
        setting
        for entry in groups()
        if entry.bravais[0] == family
        for setting in settings(entry.number)
        if setting.centring == centring and setting.unique_axis == axis
    )
    if not found:
        raise BadInput(f"a monoclinic cell with unique axis {unique_axis} cannot be {centring}-centred.")
    return found


def absence_free(lattice: str, unique_axis: str = "b") -> Setting:
    """The setting of a lattice that forbids nothing but what the centring does.

    Arguments as in `settings_of_lattice`.
    """
    candidates = settings_of_lattice(lattice, unique_axis)
    return min(candidates, key=lambda setting: int(setting.absent(GRID).sum()))


def setting_of_space_group(space_group: int | str | gemmi.SpaceGroup) -> Setting:
    """The setting with the absences of a space group in its own axes.

    space_group: a number (its standard setting), a Hermann-Mauguin symbol that gemmi knows ("P b n m"), or
        a gemmi space group. R groups are expected on hexagonal axes (obverse), the others on
        conventional ones.

    Raises BadInput for an unknown symbol, and for axes that are no conventional setting of the group.
    """
    if isinstance(space_group, int):
        group_of_space_group(space_group)  # refuses other numbers than 1 to 230
        space_group = gemmi.get_spacegroup_reference_setting(space_group)
    if isinstance(space_group, str):
        found = gemmi.find_spacegroup_by_name(space_group)
        if found is None:
            raise BadInput(f"unknown space group {space_group!r}: give a number or a Hermann-Mauguin symbol.")
        space_group = found
    operators = from_gemmi(space_group.operations())
    absences = operators.absent(GRID)
    for setting in settings(group_of_space_group(space_group.number)):
        # Without a glide or screw the absences do not show the unique axis.
        same_axis = setting.unique_axis is None or setting.unique_axis == "abc"[unique_axis(operators)]
        if same_axis and np.array_equal(setting.absent(GRID), absences):
            return setting
    raise BadInput(
        f"the axes of {space_group.xhm()} are not a conventional setting: "
        "transform the cell to the standard setting of International Tables first."
    )
