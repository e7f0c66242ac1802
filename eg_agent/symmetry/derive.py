"""The 99 groups, their settings and codes, derived from symmetry operators.

Space groups are put into one extinction group when their general positions make the same reflections
absent in some choice of axes (axis permutations and cell choices in the monoclinic and orthorhombic
systems; trigonal and hexagonal together, on obverse hexagonal axes), and when the screw axis that no
glide plane explains is of the same kind. The second clause matters twice: 3_1 and 6_2, and the cubic
2_1 and 4_2, leave the same reflections but are counted apart, as in the published table.

Only the order of the 99 comes from a table. `generate.py` writes what this module finds to
tables.json, which is what the package reads.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from eg_agent.symmetry.operators import GRID, Operators, of_space_group
from eg_agent.symmetry.symbols import extinction_symbol, spell, unique_axis

#: The lowest space-group number of each extinction group, in the published order.
FIRST_SPACE_GROUPS: tuple[int, ...] = (
    *(3, 4, 7, 14, 5, 9),
    *(16, 17, 18, 19, 26, 31, 27, 29, 30, 32, 33, 34, 54, 50, 61, 60, 56, 52, 48),
    *(21, 20, 39, 36, 41, 37, 68, 23, 46, 45, 73, 22, 43, 70),
    *(75, 90, 77, 94, 76, 92, 105, 114, 100, 106, 101, 103, 102, 104),
    *(85, 86, 137, 125, 133, 138, 130, 134, 126),
    *(79, 80, 109, 108, 110, 88, 141, 142),
    *(143, 144, 159, 158, 146, 161, 173, 171, 169, 184),
    *(195, 198, 208, 212, 218, 205, 201, 222, 197, 214, 220, 206, 230, 196, 210, 219, 203, 228),
    1,
)

# The published table names the three choices of axes of R, and writes the c glide of 161 and 167 in the
# third place although it is perpendicular to a (h-h0l: l=2n), the second direction.
_PUBLISHED_RHOMBOHEDRAL = {
    146: ("R - - -", ("R (obv) - -", "R (rev) - -", "R - - -")),
    161: ("R - - c", ("R (obv)- - c", "R (rev)- - c", "R - - c")),
}

_CENTRING_ORDER = "PCBAIFR"


@dataclass(frozen=True, eq=False)
class DerivedSetting:
    """One choice of axes of an extinction group: its operators, symbol tokens and centring."""

    operators: Operators
    tokens: tuple[str, ...]
    unique_axis: int | None

    @property
    def centring(self) -> str:
        return self.tokens[0]

    @property
    def symbol(self) -> str:
        return spell(self.tokens)

    @property
    def sort_key(self) -> tuple[object, ...]:
        """Unique axis a, b, c; then centring C, B, A, I; then the symbol, "-" first, "(ab)" next."""
        rank = [(-1 if t == "-" else 0 if t.startswith("(") else 1, t) for t in self.tokens[1:]]
        return (self.unique_axis or 0, _CENTRING_ORDER.index(self.centring), *rank)


def crystal_system(space_group: int) -> str:
    """Crystal system of a space group (1-230); trigonal and hexagonal are one."""
    bounds = {2: "triclinic", 15: "monoclinic", 74: "orthorhombic", 142: "tetragonal"}
    bounds |= {194: "trigonal/hexagonal", 230: "cubic"}
    return next(name for last, name in bounds.items() if space_group <= last)


def _changes_of_axes(system: str) -> list[npt.NDArray[np.int64]]:
    """Right-handed integer changes of basis that reach every conventional setting of a system."""
    identity = np.eye(3, dtype=np.int64)
    if system == "monoclinic":
        cyclic = [identity[:, [i % 3 for i in range(k, k + 3)]] for k in range(3)]
        choice = np.array([[-1, 0, 1], [0, 1, 0], [-1, 0, 0]])  # (a, b, c) -> (-a-c, b, a)
        return [np.linalg.matrix_power(choice, n) @ turn for turn in cyclic for n in range(3)]
    if system == "orthorhombic":
        matrices = [identity[:, list(p)] for p in itertools.permutations(range(3))]
        return [m * round(np.linalg.det(m)) for m in matrices]
    return [identity]


@cache
def settings_of_space_group(space_group: int) -> tuple[DerivedSetting, ...]:
    """All settings of a space group with distinct absences, ordered by `DerivedSetting.sort_key`."""
    system = crystal_system(space_group)
    found: dict[bytes, DerivedSetting] = {}
    for basis in _changes_of_axes(system):
        operators = of_space_group(space_group).transformed(basis)
        unique = unique_axis(operators) if system == "monoclinic" else None
        tokens = extinction_symbol(operators, system)
        key = bytes([9 if unique is None else unique]) + operators.absent(GRID).tobytes()
        found.setdefault(key, DerivedSetting(operators, tokens, unique))
    return tuple(sorted(found.values(), key=lambda s: s.sort_key))


def standard_setting(space_group: int) -> DerivedSetting:
    """The setting of International Tables for a space group."""
    operators = of_space_group(space_group)
    system = crystal_system(space_group)
    unique = unique_axis(operators) if system == "monoclinic" else None
    return DerivedSetting(operators, extinction_symbol(operators, system), unique)


@cache
def extinction_groups() -> tuple[tuple[int, ...], ...]:
    """Space groups of the 99 extinction groups, in the published order."""
    classes: dict[tuple[object, ...], list[int]] = {}
    for number in range(1, 231):
        first = settings_of_space_group(number)[0]
        key = (crystal_system(number), first.tokens, first.operators.absent(GRID).tobytes())
        classes.setdefault(key, []).append(number)
    by_first = {members[0]: tuple(members) for members in classes.values()}
    if set(by_first) != set(FIRST_SPACE_GROUPS):
        raise AssertionError("the operators give other classes than the table of first space groups")
    return tuple(by_first[first] for first in FIRST_SPACE_GROUPS)


def display_symbols(space_group: int) -> tuple[str, tuple[str, ...]]:
    """(symbol, equivalent symbols) of the extinction group whose first space group is given.

    The symbol is that of the standard setting; a glide of two conditions is put perpendicular to c,
    so that C - - (ab) stands for the group of A e m 2.
    """
    if space_group in _PUBLISHED_RHOMBOHEDRAL:
        return _PUBLISHED_RHOMBOHEDRAL[space_group]
    settings = settings_of_space_group(space_group)
    symbols = [s.symbol for s in settings]
    standard = standard_setting(space_group).symbol
    basal = [s.symbol for s in settings if s.tokens[-1] == "(ab)"]
    return (standard if standard in basal or not basal else basal[0]), tuple(symbols)
