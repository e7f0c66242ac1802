"""The space groups of an extinction group in the axes of a fitted cell, with the way to the standard axes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import gemmi
from pydantic import ConfigDict

from eg_agent.errors import BadInput
from eg_agent.symmetry import group, setting_of_space_group, standard
from eg_agent.values import VALUE_CONFIG


@dataclass(frozen=True, slots=True)
class SpaceGroupSetting:
    """A space group in given axes.

    number: 1-230. symbol: Hermann-Mauguin, in these axes. transformation: coordinates in these axes from
    those in the standard setting of International Tables (gemmi's `basisop`), "x,y,z" for the standard axes:
    with "z,x,y" the first coordinate here is the third there.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    number: int
    symbol: str
    transformation: str


@cache
def in_axes(number: int, symbol: str | None = None) -> tuple[SpaceGroupSetting, ...]:
    """The space groups of a group in the axes of an extinction symbol of it ("P b n -"), by ascending number.

    symbol: None for the standard setting. Each space group has one entry, the first of gemmi's table (the
    order of International Tables, table A1.4.2.7) whose absences are those of the symbol in these axes.
    """
    wanted = symbol or standard(number).symbol
    found = []
    for space_group in group(number).space_groups:
        reference = gemmi.get_spacegroup_reference_setting(space_group)
        match = next((s for s in _settings(space_group) if _symbol(s) == wanted), reference)
        found.append(SpaceGroupSetting(space_group, match.hm, match.basisop.triplet()))
    return tuple(found)


@cache
def _settings(space_group: int) -> tuple[gemmi.SpaceGroup, ...]:
    """gemmi's settings of a space group, the reference setting first."""
    every = [s for s in gemmi.spacegroup_table() if s.number == space_group]
    return tuple(sorted(every, key=lambda s: not s.is_reference_setting()))


def _symbol(setting: gemmi.SpaceGroup) -> str | None:
    try:
        return setting_of_space_group(setting).symbol
    except BadInput:
        return None  # axes that are no conventional setting
