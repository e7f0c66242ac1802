"""Instruments and specimens for patterns at full quality: widths, shifts, background, texture."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadInput
from simulators.crystal import Crystal, Operations, metric

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Instrument:
    """A powder diffractometer; angles in degrees of 2-theta, widths as full widths at half maximum.

    u, v, w: Gaussian width^2 = u tan^2 + v tan + w, degrees^2 (Caglioti, Paoletti and Ricci, 1958).
    x, y: Lorentzian width = x / cos + y tan, degrees (size and strain; Thompson, Cox and Hastings, 1987).
    zero: added to every angle. displacement: added times cos(theta) (flat sample too high or low).
    monochromator: cos^2 of twice the angle of a crystal monochromator, 1 for none (0.800 for graphite
    with Cu). polarised: Lorentz factor alone (synchrotron in vertical geometry; neutrons always).
    """

    u: float = 0.004
    v: float = -0.002
    w: float = 0.005
    x: float = 0.03
    y: float = 0.03
    zero: float = 0.0
    displacement: float = 0.0
    monochromator: float = 1.0
    polarised: bool = False

    def __post_init__(self) -> None:
        if self.w <= 0 or self.u < 0 or self.v * self.v > 4 * self.u * self.w:
            raise BadInput(
                f"Gaussian width^2 with u={self.u:g}, v={self.v:g}, w={self.w:g} is not positive at every "
                "angle: use w > 0, u >= 0 and v^2 <= 4 u w."
            )
        if self.x < 0 or self.y < 0:
            raise BadInput(f"Lorentzian widths x={self.x:g}, y={self.y:g} must not be negative.")
        if not 0.0 <= self.monochromator <= 1.0:
            raise BadInput(f"monochromator {self.monochromator:g} is a squared cosine: 0 to 1.")

    def widths(self, two_theta: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Gaussian and Lorentzian full width at half maximum at the angles, degrees."""
        theta = np.radians(np.asarray(two_theta, dtype=np.float64)) / 2
        tangent = np.tan(theta)
        gauss = np.sqrt(self.u * tangent**2 + self.v * tangent + self.w)
        return gauss, self.x / np.cos(theta) + self.y * tangent

    def shifted(self, two_theta: npt.ArrayLike) -> FloatArray:
        """Where peaks at the true angles (degrees) are seen."""
        angle = np.asarray(two_theta, dtype=np.float64)
        return angle + self.zero + self.displacement * np.cos(np.radians(angle) / 2)


def laboratory() -> Instrument:
    """A laboratory diffractometer: 0.09 degrees at 30 degrees, growing slowly, no monochromator."""
    return Instrument()


def synchrotron() -> Instrument:
    """A synchrotron powder diffractometer: 0.02 degrees at low angle, polarised beam."""
    return Instrument(u=1e-4, v=-2e-5, w=1e-4, x=0.008, y=0.02, polarised=True)


@dataclass(frozen=True)
class Background:
    """Slow parts of a pattern, each against the highest peak of the sample.

    flat: everywhere. air: at 5 degrees, falling as 2-theta to the power -1.5 (scatter of the direct
    beam). hump: height of an amorphous halo at spacing hump_d (angstrom), of relative width hump_width.
    """

    flat: float = 0.01
    air: float = 0.03
    hump: float = 0.0
    hump_d: float = 4.0
    hump_width: float = 0.15

    def __post_init__(self) -> None:
        if min(self.flat, self.air, self.hump) < 0 or self.hump_d <= 0 or self.hump_width <= 0:
            raise BadInput("background heights must not be negative, and hump_d and hump_width be above 0.")

    def at(self, two_theta: npt.ArrayLike, wavelength: float) -> FloatArray:
        """Background at angles in degrees, relative to the highest peak."""
        angle = np.asarray(two_theta, dtype=np.float64)
        total = self.flat + self.air * (5.0 / np.maximum(angle, 0.5)) ** 1.5
        if self.hump > 0:
            inverse_d = 2 * np.sin(np.radians(angle) / 2) / wavelength
            off = (inverse_d * self.hump_d - 1) / self.hump_width
            total = total + self.hump * np.exp(-0.5 * off**2)
        return total


@dataclass(frozen=True)
class Texture:
    """March-Dollase preferred orientation (Dollase, J. Appl. Cryst. 19 (1986) 267).

    axis: hkl of the planes that lie along the specimen's normal. r: 1 for none, below 1 for plates
    lying flat in reflection, above 1 for needles.
    """

    axis: tuple[int, int, int] = (0, 0, 1)
    r: float = 1.0

    def __post_init__(self) -> None:
        if not self.r > 0:
            raise BadInput(f"March r {self.r:g} must be above 0 (1 is no texture).")
        if not any(self.axis):
            raise BadInput("the texture axis 0 0 0 is no direction.")

    def factors(
        self, cell: tuple[float, ...], operations: Operations, hkl: npt.NDArray[np.int64]
    ) -> FloatArray:
        """Factor [k] on the intensity of each orbit, averaged over its members under the Laue class."""
        g_star = np.linalg.inv(metric(cell))
        axis = np.array(self.axis, dtype=np.float64)
        images = np.einsum("kj,njl->knl", hkl.astype(np.float64), operations.laue_rotations)
        along = np.einsum("knl,lm,m->kn", images, g_star, axis)
        length2 = np.einsum("kj,jl,kl->k", hkl.astype(np.float64), g_star, hkl.astype(np.float64))
        cos2 = np.minimum(along**2 / (length2[:, None] * (axis @ g_star @ axis)), 1.0)
        return ((self.r**2 * cos2 + (1 - cos2) / self.r) ** -1.5).mean(axis=1)


@dataclass(frozen=True, eq=False)
class Specimen:
    """What lies on the sample holder besides the perfect powder.

    texture: preferred orientation, or none. impurities: other crystals with the height of their
    strongest peak against the main phase's. background: slow parts.
    """

    texture: Texture | None = None
    impurities: tuple[tuple[Crystal, float], ...] = ()
    background: Background = Background()

    def __post_init__(self) -> None:
        for crystal, share in self.impurities:
            if not 0 <= share < math.inf:
                raise BadInput(f"impurity {crystal.name!r} has a share of {share:g}: give 0 or more.")
