"""Is a compound unseen? By formula, by reduced cell, by name, and by the pattern itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from pydantic import ConfigDict

from eg_agent.library.cells import near_cells, niggli
from eg_agent.library.formula import reduced_formula
from eg_agent.library.library import Library
from eg_agent.patterns import Pattern
from eg_agent.values import VALUE_CONFIG

Criterion = Literal["formula", "name", "cell", "pattern"]

#: A pattern of this similarity or more, after scaling the cell, is of a known structure's kind.
SIMILAR = 0.8
#: Niggli cells are the same within this: relative for lengths; 3 % of a right angle, in degrees, for angles.
CELL_TOLERANCE = 0.03
ANGLE_TOLERANCE = 2.7


@dataclass(frozen=True, slots=True)
class Novelty:
    """Whether a compound is unseen, and by what.

    unseen: none of the criteria that could be tried found it. seen_by: those that did. tried: those
    that could be (a formula or a cell may not be known).
    similarity: of the most similar pattern, 0 to 1: cosine of intensities after scaling the cell.
    score: 1 - similarity. nearest: id of that structure. matches: id of one structure by criterion.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    unseen: bool
    seen_by: tuple[Criterion, ...]
    tried: tuple[Criterion, ...]
    similarity: float
    score: float
    nearest: str
    matches: dict[str, str]


def novelty(
    library: Library,
    pattern: Pattern,
    *,
    formula: str | None = None,
    name: str | None = None,
    cell: Sequence[float] | None = None,
    centring: str = "P",
) -> Novelty:
    """Whether a library (or the structures that a network was trained on) holds a compound.

    Seen is a compound of which the library holds the reduced formula, or the name (ids of minerals are
    names), or a Niggli cell within 3 %, or a structure whose pattern, after scaling its cell, has a
    cosine of at least 0.8 with the measured one, background off. formula, name, cell: as far as known;
    the cell conventional, with its centring letter. Raises BadPattern for a pattern that cannot be
    compared, BadInput for neutrons or an impossible cell.
    """
    matches: dict[str, str] = {}
    tried: list[Criterion] = []
    wanted = None if formula is None else reduced_formula(formula)
    if wanted is not None:
        tried.append("formula")
        row = library.row_of_formula.get(wanted)
        if row is not None:
            matches["formula"] = library.ids[row]
    if name:
        tried.append("name")
        row = library.row_of_name.get(name.strip().lower())
        if row is not None:
            matches["name"] = library.ids[row]
    if cell is not None:
        tried.append("cell")
        rows = near_cells(
            niggli(cell, centring), library.entries.niggli, length=CELL_TOLERANCE, angle=ANGLE_TOLERANCE
        )
        if len(rows):
            matches["cell"] = library.ids[int(rows[0])]
    tried.append("pattern")
    similarity, row = library.similarity(pattern)
    nearest = library.ids[row]
    if similarity >= SIMILAR:
        matches["pattern"] = nearest
    return Novelty(
        unseen=not matches,
        seen_by=tuple(c for c in tried if c in matches),
        tried=tuple(tried),
        similarity=similarity,
        score=float(np.clip(1.0 - similarity, 0.0, 1.0)),
        nearest=nearest,
        matches=matches,
    )
