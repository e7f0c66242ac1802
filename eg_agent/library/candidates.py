"""Cells to start a fit from: those of the structures that a pattern resembles, strained to fit it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pydantic import ConfigDict

from eg_agent.library.cells import Cell, near_cells, niggli
from eg_agent.library.library import Matches
from eg_agent.values import VALUE_CONFIG

#: Two strained cells this near are one start: relative for lengths, degrees for angles.
_SAME_LENGTH = 0.005
_SAME_ANGLE = 0.5


@dataclass(frozen=True, slots=True)
class CandidateCell:
    """A cell of a known structure, strained to fit a pattern.

    cell: angstrom and degrees, in the axes of the structure, which keep its system exactly.
    similarity: of the structure's pattern, 0 to 1. group, id, formula: of the structure.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    cell: Cell
    similarity: float
    group: int
    id: str
    formula: str


def candidate_cells(matches: Matches, count: int = 5, *, least: float = 0.6) -> tuple[CandidateCell, ...]:
    """At most `count` different cells, of the most similar structure first.

    least: similarity below which a structure's cell is no start. Structures of one lattice (isotypic
    ones, above all) give one cell, the best fitting one.
    """
    found: list[CandidateCell] = []
    reduced: list[Cell] = []
    for index in range(len(matches)):
        if len(found) == count or matches.similarity[index] < least:
            break
        match = matches[index]
        own = niggli(match.cell)
        if reduced and len(near_cells(own, np.array(reduced), length=_SAME_LENGTH, angle=_SAME_ANGLE)):
            continue
        reduced.append(own)
        found.append(CandidateCell(match.cell, match.similarity, match.group, match.id, match.formula))
    return tuple(found)
