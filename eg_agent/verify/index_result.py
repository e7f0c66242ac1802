"""What indexing says, as values: `IndexedCell`, `IndexResult`, and its `IndexSettings`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import ConfigDict

from eg_agent.values import VALUE_CONFIG
from eg_agent.verify.metric import Cell

Origin = Literal["search", "library"]

_SYSTEMS = {
    "a": "triclinic",
    "m": "monoclinic",
    "o": "orthorhombic",
    "t": "tetragonal",
    "h": "hexagonal",
    "c": "cubic",
}


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """Bounds of indexing.

    time_limit: seconds for the whole of it, peaks and evidence included.
    systems: Bravais lattices ("oP") in the order to search; those that are not named are left out. None:
        all 14, those of few parameters first, or in the order that a posterior gives.
    cells: most cells in the answer. compared: of the best ones, so many are compared on all lines.
    library_cells: most cells taken from a library; library_similarity: of the structures that give them.
    lattice_floor: nats below the most probable lattice at which what a posterior says of lattices ends.
    """

    time_limit: float = 30.0
    systems: tuple[str, ...] | None = None
    cells: int = 20
    compared: int = 12
    library_cells: int = 5
    library_similarity: float = 0.6
    lattice_floor: float = 4.0


@dataclass(frozen=True, slots=True)
class IndexedCell:
    """A cell that indexes a pattern's lines.

    cell: conventional a b c (angstrom) alpha beta gamma (degrees); primitive: Niggli-reduced. lattice:
    Bravais symbol, e.g. "mC". volume: of `cell`, angstrom^3.
    probability: weight of this lattice (the cells of an answer and "none of these" share 1). It ranks and
      is not calibrated: of lattices of weight 0.9 not nine in ten need be right.
    log_odds: nats by which it is less probable than the first cell (0 or below).
    score: nats by which the lines are more probable than by chance, parameters paid for.
    pattern_score: nats that the lines after the first 40 add to it (or take from it).
    m20, f20: de Wolff's and Smith and Snyder's figures of merit, f20 in 1/degrees, over the indexed lines
    among the first 20; wu: Wu's, which asks how likely it is that so many lines are missing (see `indexing`).
    n_indexed of n_lines lines lie on a line of the lattice.
    zero_shift: degrees 2-theta that the pattern reads too high.
    origin: found by the search, or a structure of a library strained to fit (source: its id).
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    cell: Cell
    lattice: str
    score: float
    m20: float
    f20: float
    n_indexed: int
    n_lines: int
    volume: float
    zero_shift: float
    primitive: Cell = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    wu: float = 0.0
    pattern_score: float = 0.0
    probability: float = 0.0
    log_odds: float = 0.0
    origin: Origin = "search"
    source: str = ""

    @property
    def system(self) -> str:
        """Crystal system of the lattice; "hexagonal" also for rhombohedral ones."""
        return _SYSTEMS[self.lattice[0]]

    @property
    def rank_score(self) -> float:
        """Nats that the search orders cells by: of the first lines, so many for every cell."""
        return self.score

    @property
    def total_score(self) -> float:
        """Nats that the answer orders cells by: of the first lines and of those after."""
        return self.score + self.pattern_score


@dataclass(frozen=True, slots=True)
class IndexResult:
    """The cells of a pattern, best first; iterating, len() and [] go over `cells`.

    status: "indexed", "no cell" (a search without a find) or "refused" (too few lines to search with).
    reason: a sentence for a person. none_probability: weight of none of `cells` being right.
    n_lines: lines found; n_stray: those that look like another wavelength's. complete: the search ended
    before the time limit. seconds: wall clock.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    status: Literal["indexed", "no cell", "refused"]
    reason: str
    cells: tuple[IndexedCell, ...] = ()
    none_probability: float = 1.0
    n_lines: int = 0
    n_stray: int = 0
    complete: bool = True
    seconds: float = 0.0

    def __iter__(self) -> Iterator[IndexedCell]:
        return iter(self.cells)

    def __len__(self) -> int:
        return len(self.cells)

    def __getitem__(self, place: int) -> IndexedCell:
        return self.cells[place]

    @property
    def best(self) -> IndexedCell | None:
        """The most probable cell, or None."""
        return self.cells[0] if self.cells else None
