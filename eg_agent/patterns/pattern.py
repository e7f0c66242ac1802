"""`Pattern`: a measured powder pattern, with what is needed to read it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
from pydantic import ConfigDict

from eg_agent.patterns.radiation import Radiation
from eg_agent.values import VALUE_CONFIG, FloatArray

Geometry = Literal["bragg-brentano", "debye-scherrer", "transmission", "unknown"]


@dataclass(frozen=True, slots=True)
class Source:
    """Where a pattern came from: a file, or a run in Tiled."""

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    kind: Literal["file", "run", "simulation", "memory"] = "memory"
    name: str = ""  #: file path, run uid, or name of the structure
    sample: str = ""
    format: str = ""  #: what the reader found, e.g. "xrdml", "xye"
    notes: tuple[str, ...] = ()  #: what reading changed, e.g. "Q converted to 2-theta"


@dataclass(frozen=True, eq=False)
class Pattern:
    """A measured powder pattern.

    two_theta: [n] degrees, strictly increasing; steps may be uneven.
    intensity: [n] counts, or arbitrary units when `raw_counts` is false.
    radiation: x-ray or neutron, with one or two wavelengths in angstrom. Never defaulted.
    sigma: [n] one standard error of `intensity` in its units, where known.
    counting_time: [n] seconds a point, where known.
    raw_counts: intensities are detector counts, so their variance is their expectation (Poisson).
    covered: windows (low, high) in degrees that were measured; empty means the whole of two_theta.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    two_theta: FloatArray
    intensity: FloatArray
    radiation: Radiation
    sigma: FloatArray | None = None
    counting_time: FloatArray | None = None
    raw_counts: bool = False
    geometry: Geometry = "unknown"
    covered: tuple[tuple[float, float], ...] = ()
    source: Source = field(default_factory=Source)

    def __post_init__(self) -> None:
        for name in ("two_theta", "intensity", "sigma", "counting_time"):
            value = getattr(self, name)
            if value is None:
                continue
            array = np.asarray(value, dtype=np.float64).view()
            if array.ndim != 1:
                raise ValueError(f"{name} must be 1-D, got shape {array.shape}")
            if array.shape != np.shape(self.two_theta):
                raise ValueError(
                    f"{name} has {array.shape[0]} points, two_theta has {np.size(self.two_theta)}"
                )
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    @property
    def uid(self) -> str:
        """16 hex digits of a hash over angles, intensities and wavelengths: the same data, the same uid."""
        digest = hashlib.sha256()
        digest.update(self.two_theta.tobytes())
        digest.update(self.intensity.tobytes())
        digest.update(repr((self.radiation.kind, *self.radiation.wavelengths)).encode())
        return digest.hexdigest()[:16]

    def __len__(self) -> int:
        return int(self.two_theta.size)
