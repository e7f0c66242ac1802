"""The space groups with the absences of a setting, in its own axes, with the way to the standard axes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

import gemmi

from eg_agent.symmetry.extinction_group import group
from eg_agent.symmetry.operators import GRID, from_gemmi
from eg_agent.symmetry.setting import Setting
from eg_agent.symmetry.symbols import unique_axis

# Origins shifted without a name of their own in International Tables: "I 2 2 2a", "C 2 2 21a)".
_SHIFTED = re.compile(r"[0-9][a-z]\)?$")


@dataclass(frozen=True, slots=True)
class SpaceGroup:
    """A space group in given axes.

    symbol: Hermann-Mauguin, in these axes; hall: Hall symbol; transformation: coordinates in these axes from
    those in the standard setting of International Tables (gemmi's `basisop`), "x,y,z" for the standard axes:
    with "z,x,y" the first coordinate here is the third there.
    """

    number: int
    symbol: str
    hall: str
    transformation: str


@cache
def space_groups_of(setting: Setting) -> tuple[SpaceGroup, ...]:
    """The space groups with the absences of a setting, in its own axes, by number; one origin each.

    A space group that has several symbols in these axes comes with each, in the order of gemmi's table (that
    of International Tables, table A1.4.2.7).
    """
    absences = setting.absent(GRID).tobytes()
    found: dict[tuple[int, str], SpaceGroup] = {}
    for entry in gemmi.spacegroup_table():
        if entry.number not in group(setting.group).space_groups:
            continue
        if entry.ext == "R" or _SHIFTED.search(entry.hm):
            continue
        operators = from_gemmi(entry.operations())
        axis = "abc"[unique_axis(operators)] if setting.unique_axis is not None else None
        if axis == setting.unique_axis and operators.absent(GRID).tobytes() == absences:
            # a later entry of the same symbol has its origin at a centre of symmetry
            found[entry.number, entry.hm] = SpaceGroup(
                entry.number, entry.hm, entry.hall, entry.basisop.triplet()
            )
    return tuple(sorted(found.values(), key=lambda entry: entry.number))
