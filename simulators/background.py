"""What a detector counts besides Bragg peaks: air, fluorescence, the holder, glass, and slow wandering."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadInput

FloatArray = npt.NDArray[np.float64]

#: Cosines in a draw of a Gaussian process: its covariance is right within 1 / sqrt(this) in one draw,
#: and exactly in the mean over draws.
_FEATURES = 64


@dataclass(frozen=True)
class Hump:
    """A halo of amorphous matter (glass, polymer, a capillary): a Gaussian in 1/d.

    height: against the highest peak. d: spacing at its middle, angstrom (4.0 for silica glass, 4.2-4.6
    for polymers). width: standard deviation of 1/d over 1/d at the middle.
    """

    height: float
    d: float = 4.0
    width: float = 0.15

    def __post_init__(self) -> None:
        if not (0 <= self.height < math.inf and self.d > 0 and self.width > 0):
            raise BadInput(
                f"a hump of height {self.height:g}, d {self.d:g} and width {self.width:g} is none: "
                "the height must not be negative, d and width be above 0."
            )

    def at(self, two_theta: FloatArray, wavelength: float) -> FloatArray:
        """Height [n] at angles [n] in degrees."""
        off = (2 * np.sin(np.radians(two_theta) / 2) / wavelength * self.d - 1) / self.width
        return self.height * np.exp(-0.5 * off**2)


@dataclass(frozen=True)
class Wandering:
    """Slow drift of a background that no formula has: a factor exp(f), f a draw of a Gaussian process.

    sd: standard deviation of f (its mean is -sd^2/2, so that the factor is 1 on average). length: degrees
    over which it changes (squared-exponential covariance). seed: which draw. The draw is a sum of
    random cosines (Rahimi and Recht, NIPS 2007), so it has a value at any angle.
    """

    sd: float = 0.1
    length: float = 15.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not (0 <= self.sd < math.inf and self.length > 0):
            raise BadInput(
                f"wandering by {self.sd:g} over {self.length:g} degrees: give sd >= 0 and length > 0."
            )

    def at(self, two_theta: FloatArray) -> FloatArray:
        """Factor [n] at angles [n] in degrees."""
        rng = np.random.default_rng([0xB6, self.seed])
        rate, phase = rng.standard_normal(_FEATURES) / self.length, rng.uniform(0, 2 * math.pi, _FEATURES)
        draw = np.cos(np.multiply.outer(two_theta, rate) + phase).sum(axis=-1) * math.sqrt(2 / _FEATURES)
        return np.exp(self.sd * draw - self.sd**2 / 2)


@dataclass(frozen=True)
class Background:
    """Slow parts of a pattern, each against the highest peak of the sample; angles in degrees of 2-theta.

    flat: everywhere, as fluorescence of the sample and cosmic rays are.
    air: at 5 degrees, falling as 2-theta to the power -air_power (scatter of the direct beam by air).
    beam_stop: below this angle the beam stop takes the scatter of air away (half of it there; 0 for none).
    fluorescence: as flat, but scaled by the path out of the sample: all of it at high angles, and at low
      ones less, as the Suortti roughness of a `Specimen`.
    holder: coefficients of Chebyshev polynomials T1, T2, ... on holder_range, a factor
      1 + sum c_n T_n(t) (at least 0.05) on flat and fluorescence.
    humps: halos of amorphous matter. wandering: a slow random factor on the whole background, or none.
    """

    flat: float = 0.01
    air: float = 0.03
    air_power: float = 1.5
    beam_stop: float = 0.0
    fluorescence: float = 0.0
    holder: tuple[float, ...] = ()
    holder_range: tuple[float, float] = (0.0, 120.0)
    humps: tuple[Hump, ...] = ()
    wandering: Wandering | None = None

    def __post_init__(self) -> None:
        heights = (self.flat, self.air, self.air_power, self.beam_stop, self.fluorescence)
        if not all(0 <= height < math.inf for height in heights):
            raise BadInput(
                f"background heights must not be negative: flat={self.flat:g}, air={self.air:g}, "
                f"air_power={self.air_power:g}, beam_stop={self.beam_stop:g}, "
                f"fluorescence={self.fluorescence:g}."
            )
        if not np.isfinite(self.holder).all() or not self.holder_range[0] < self.holder_range[1]:
            raise BadInput("holder needs numbers, and holder_range two angles with the lower one first.")

    def at(
        self, two_theta: npt.ArrayLike, wavelength: float, fluorescence_factor: FloatArray | float = 1.0
    ) -> FloatArray:
        """Background [n] at angles [n] in degrees, relative to the highest peak.

        wavelength: angstrom, for the humps. fluorescence_factor: [n] on what the sample fluoresces.
        """
        angle = np.asarray(two_theta, dtype=np.float64)
        level = self.flat + self.fluorescence * fluorescence_factor + np.zeros_like(angle)
        if self.holder:
            low, high = self.holder_range
            t = np.clip((2 * angle - low - high) / (high - low), -1.0, 1.0)
            level = level * np.maximum(
                np.polynomial.chebyshev.chebval(t, np.array([1.0, *self.holder])), 0.05
            )
        air = self.air * (5.0 / np.maximum(angle, 0.5)) ** self.air_power
        if self.beam_stop > 0:
            air = air / (1 + (self.beam_stop / np.maximum(angle, 1e-6)) ** 8)
        level = level + air
        for hump in self.humps:
            level = level + hump.at(angle, wavelength)
        return level if self.wandering is None else level * self.wandering.at(angle)
