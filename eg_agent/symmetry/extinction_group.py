"""The 99 extinction groups."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Literal

import gemmi
from pydantic import ConfigDict

from eg_agent.errors import BadInput
from eg_agent.symmetry.tables import tables
from eg_agent.values import VALUE_CONFIG

CrystalSystem = Literal[
    "triclinic", "monoclinic", "orthorhombic", "tetragonal", "trigonal/hexagonal", "cubic"
]

#: Number of extinction groups.
N_GROUPS = 99

_FAMILY_LETTER = {
    "triclinic": "a",
    "monoclinic": "m",
    "orthorhombic": "o",
    "tetragonal": "t",
    "trigonal/hexagonal": "h",
    "cubic": "c",
}


@dataclass(frozen=True, slots=True)
class ExtinctionGroup:
    """Space groups that no systematic absence can tell apart, whatever the choice of axes.

    number: 1-99, in the order of the published table.
    lattice: centring letter P, C, I, F or R (A and B are C in other axes).
    symbol: extinction symbol in the standard setting, e.g. "P n a -".
    equivalent_symbols: symbols of all its settings, in the order of `settings`; for R those of the
        obverse, reverse and rhombohedral axes.
    space_groups: space-group numbers, ascending.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    number: int
    crystal_system: CrystalSystem
    lattice: str
    symbol: str
    equivalent_symbols: tuple[str, ...]
    space_groups: tuple[int, ...]

    @property
    def bravais(self) -> str:
        """Bravais lattice, e.g. "oP", "hR"."""
        return _FAMILY_LETTER[self.crystal_system] + self.lattice


@cache
def groups() -> tuple[ExtinctionGroup, ...]:
    """The 99 groups; `groups()[n - 1]` has number n."""
    return tuple(
        ExtinctionGroup(
            number=entry["number"],
            crystal_system=entry["crystal_system"],
            lattice=entry["lattice"],
            symbol=entry["symbol"],
            equivalent_symbols=tuple(entry["equivalent_symbols"]),
            space_groups=tuple(entry["space_groups"]),
        )
        for entry in tables()["groups"]
    )


def group(number: int) -> ExtinctionGroup:
    """The extinction group of a number; raises BadInput outside 1-99."""
    if not 1 <= number <= N_GROUPS:
        raise BadInput(f"there is no extinction group {number}: they are numbered 1 to {N_GROUPS}.")
    return groups()[number - 1]


@cache
def _number_by_space_group() -> dict[int, int]:
    return {sg: entry.number for entry in groups() for sg in entry.space_groups}


def group_of_space_group(space_group: int) -> int:
    """Number of the extinction group of a space group; raises BadInput outside 1-230."""
    if not 1 <= space_group <= 230:
        raise BadInput(f"there is no space group {space_group}: they are numbered 1 to 230.")
    return _number_by_space_group()[space_group]


def space_group_symbols(number: int) -> tuple[str, ...]:
    """Short Hermann-Mauguin symbols of the space groups in a group, in their standard settings."""
    settings = (gemmi.get_spacegroup_reference_setting(sg) for sg in group(number).space_groups)
    # hm rather than short_name(), which writes R groups on hexagonal axes as "H".
    return tuple(_short(setting.hm) for setting in settings)


def _short(hermann_mauguin: str) -> str:
    """ "P 1 21/c 1" as "P21/c": the ones of monoclinic symbols and the spaces left out."""
    parts = hermann_mauguin.split()
    if len(parts) == 4 and parts[1] == parts[3] == "1":
        parts = [parts[0], parts[2]]
    return "".join(parts)
