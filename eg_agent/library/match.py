"""What a search says, as values: `Match` and `Lookup`. No numba here, so that reading one is cheap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict

from eg_agent.values import VALUE_CONFIG, FloatArray

Cell = tuple[float, float, float, float, float, float]


@dataclass(frozen=True, slots=True)
class Match:
    """A structure of a library that a pattern resembles.

    id, formula: of the structure. group: extinction group 1-99; space_group: 1-230 (0: not known).
    similarity: 0 to 1, cosine of the square roots of the two patterns after the cell was strained to fit.
    scale: linear size of the sample's cell against the library's (1.01: 1 % larger), geometric mean.
    cell: the library's cell strained to fit, angstrom and degrees, in the library's axes.
    zero_shift: degrees 2-theta (canonical axis) that the fit moved the lines by.
    row: number of the entry.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    id: str
    formula: str
    group: int
    space_group: int
    similarity: float
    scale: float
    cell: Cell
    zero_shift: float
    row: int


@dataclass(frozen=True, eq=False)
class Lookup:
    """What a library says of a pattern.

    log_probability: [99] nats, of the groups, with a uniform prior. matches: the most similar structures,
    best first. novelty: 1 - the highest similarity. known_probability: that the library holds the
    structure, for the mix of known and unknown samples that the library's expert was calibrated on.
    library, hash: file name and hash of the library; entries: how many structures it holds.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    log_probability: FloatArray
    matches: tuple[Match, ...]
    novelty: float
    known_probability: float
    library: str
    hash: str
    entries: int
