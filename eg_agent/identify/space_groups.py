"""The space groups of an extinction group in the axes of a fitted cell, with the way to the standard axes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import ClassVar

from pydantic import ConfigDict

from eg_agent.symmetry import settings, standard
from eg_agent.symmetry.space_groups import space_groups_of
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

    symbol: None for the standard setting. A space group with several symbols in these axes has its first.
    """
    wanted = symbol or standard(number).symbol
    setting = next(setting for setting in settings(number) if setting.symbol == wanted)
    found: dict[int, SpaceGroupSetting] = {}
    for entry in space_groups_of(setting):
        found.setdefault(entry.number, SpaceGroupSetting(entry.number, entry.symbol, entry.transformation))
    return tuple(found.values())
