"""Cells to start from that no search found: those of known structures that the pattern resembles."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from eg_agent.errors import BadPattern
from eg_agent.patterns.pattern import Pattern
from eg_agent.symmetry import group
from eg_agent.verify.index_lattice import parameters_of
from eg_agent.verify.index_result import IndexedCell, IndexSettings
from eg_agent.verify.index_search import Observed, refined
from eg_agent.verify.metric import hexagonal_axes, is_rhombohedral

if TYPE_CHECKING:
    from eg_agent.library import Library, Matches


def cells_of_library(
    library: Library | Matches, pattern: Pattern, observed: Observed, settings: IndexSettings
) -> list[IndexedCell]:
    """Cells of the most similar structures, strained to fit and refined on the lines as any other trial."""
    from eg_agent.library import Library, candidate_cells

    if isinstance(library, Library):
        if pattern.radiation.kind != "x-ray":
            return []
        try:
            matches = library.search(pattern)
        except BadPattern:
            return []
    else:
        matches = library
    found = []
    for candidate in candidate_cells(matches, settings.library_cells, least=settings.library_similarity):
        lattice = group(candidate.group).bravais
        cell = hexagonal_axes(candidate.cell) if is_rhombohedral(candidate.cell) else candidate.cell
        trials = [refined(observed, lattice, start) for start in parameters_of(cell, lattice)]
        good = [trial for trial in trials if trial is not None and trial.score > 0]
        if good:
            best = max(good, key=lambda trial: trial.score)
            found.append(replace(best, origin="library", source=candidate.id))
    return found
