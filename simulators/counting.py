"""Photons to counts: dead time, saturation, and the statistics that they leave."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadInput

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Detector:
    """A photon counter.

    dead_time: seconds after a photon in which none is seen. paralysable: photons inside the dead time
    extend it (pulse pile-up), or do not. dark_rate: counts a second without any beam, electronic or
    cosmic. full_scale: counts a point at which the counter saturates, or none.
    """

    dead_time: float = 0.0
    paralysable: bool = False
    dark_rate: float = 0.0
    full_scale: float | None = None

    def __post_init__(self) -> None:
        if not (0 <= self.dead_time < math.inf and 0 <= self.dark_rate < math.inf):
            raise BadInput(
                f"dead_time {self.dead_time:g} s and dark_rate {self.dark_rate:g} 1/s must be 0 or more."
            )
        if self.full_scale is not None and not self.full_scale > 0:
            raise BadInput(f"full_scale {self.full_scale:g} must be above 0 counts, or none.")

    def seen(self, rate: npt.ArrayLike) -> FloatArray:
        """Counts a second [n] seen of true rates [n] (Knoll, Radiation Detection and Measurement, 4.VII)."""
        true = np.asarray(rate, dtype=np.float64) + self.dark_rate
        load = true * self.dead_time
        return true * np.exp(-load) if self.paralysable else true / (1.0 + load)

    def dispersion(self, rate: npt.ArrayLike) -> FloatArray:
        """Variance over mean [n] of the counts: 1 for Poisson, less where dead time spaces them out.

        Many dead times in a counting time: 1/(1 + n tau)^2 and 1 - 2 n tau exp(-n tau) (Mueller, Nucl.
        Instrum. Methods 112 (1973) 47).
        """
        load = (np.asarray(rate, dtype=np.float64) + self.dark_rate) * self.dead_time
        return 1.0 - 2.0 * load * np.exp(-load) if self.paralysable else (1.0 + load) ** -2.0

    def count(self, rate: npt.ArrayLike, seconds: npt.ArrayLike, rng: np.random.Generator) -> FloatArray:
        """Counts [n] in `seconds` (one or [n]) of true rates [n] a second.

        Poisson without dead time; else binomial, of the right mean and variance (the exact renewal
        distribution differs in its third moment only).
        """
        mean = self.seen(rate) * np.asarray(seconds, dtype=np.float64)
        counts = poisson(mean, rng)
        if self.dead_time > 0:
            p = 1.0 - self.dispersion(rate)
            trials = np.ceil(np.divide(mean, p, out=np.zeros_like(mean), where=p > 1e-6)).astype(np.int64)
            p = np.divide(mean, trials, out=np.zeros_like(mean), where=trials > 0)
            counts = np.where(trials > 0, rng.binomial(trials, np.minimum(p, 1.0)), counts)
        return counts if self.full_scale is None else np.minimum(counts, self.full_scale)


def poisson(mean: npt.ArrayLike, rng: np.random.Generator) -> FloatArray:
    """Poisson counts [n] of expectations [n]."""
    return rng.poisson(np.asarray(mean, dtype=np.float64)).astype(np.float64)


def scintillation_counter() -> Detector:
    """A NaI point detector: 1 microsecond, paralysable, 0.3 counts a second without a beam.

    Typical of laboratory point detectors (Jenkins and Snyder, Introduction to X-ray Powder Diffractometry,
    1996, chapter 5).
    """
    return Detector(dead_time=1e-6, paralysable=True, dark_rate=0.3)
