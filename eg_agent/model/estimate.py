"""What a multimodal network expects of a sample's properties, as it stands beside an identification."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import ConfigDict

from eg_agent.values import VALUE_CONFIG


@dataclass(frozen=True, slots=True)
class Quantity:
    """A value and the interval that it lies in with the stated probability, in one unit."""

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class PropertyEstimate:
    """Formation energy (eV/atom), band gap (eV) and crystal system; no part of the symmetry evidence.

    composition, inputs: what it was made of. coverage: probability of the intervals, on computed structures
    whose formulas were not trained on. crystal_systems: (name, probability), most probable first.
    checkpoint: hash of the network's weights.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    composition: str
    inputs: Literal["both", "composition", "xrd"]
    formation_energy: Quantity
    band_gap: Quantity
    crystal_systems: tuple[tuple[str, float], ...]
    coverage: float
    checkpoint: str

    def __str__(self) -> str:
        # Not the crystal system: of measured patterns it is hardly right more often than by guessing, and
        # beside an identification it would be read as evidence.
        parts = [
            f"{name} {q.value:.2f} {unit} ({q.low:.2f} to {q.high:.2f})"
            for name, q, unit in (
                ("formation energy", self.formation_energy, "eV/atom"),
                ("band gap", self.band_gap, "eV"),
            )
        ]
        return ", ".join(parts)
