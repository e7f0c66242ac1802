"""Powder diffractometers: widths and shapes of lines, where they are seen, and what the beam is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadInput

FloatArray = npt.NDArray[np.float64]
Geometry = Literal["bragg-brentano", "debye-scherrer", "transmission"]


@dataclass(frozen=True)
class Instrument:
    """A powder diffractometer; angles in degrees of 2-theta, widths as full widths at half maximum.

    Shape: a true Voigt function whose parts follow Thompson, Cox and Hastings (J. Appl. Cryst. 20 (1987)
    79); it needs none of their pseudo-Voigt's approximations.
      u, v, w: Gaussian width^2 = u tan^2 + v tan + w, degrees^2 (Caglioti, Paoletti and Ricci, Nucl.
        Instrum. 3 (1958) 223).
      x, y: Lorentzian width = x / cos + y tan, degrees (x as of size, y as of strain and of the spread
        of wavelengths; GSAS's use of the letters).
      s_l, h_l: half heights of the illuminated sample and of the detector's slit over the radius of the
        diffractometer: axial divergence after Finger, Cox and Jephcoat (J. Appl. Cryst. 27 (1994) 892).
      transparency: mean depth of the beam in the sample as an angle, 1/(2 mu R) in degrees: an exponential
        tail of decay transparency times sin(2-theta) on the low side (Alexander, J. Appl. Phys. 21 (1950)
        126; flat sample in reflection only).
    Position: zero is added to every angle. displacement: degrees; added times cos(theta) for a flat sample
      in reflection (too high or low), times sin(2-theta) else (capillary too far up or down the beam).
    Beam: monochromator: cos^2 of twice the angle of a crystal monochromator, 1 for none (0.800 for
      graphite with Cu). polarised: degree of linear polarisation perpendicular to the plane of scattering:
      0 (tube) to 1 (synchrotron, vertical plane); neutrons have no polarisation factor. kbeta, tungsten:
      see `simulators.spectrum.emission`. overspill: below this angle the beam is longer than the flat sample
      and intensity falls as sin(theta); 0 for never.
    geometry: "bragg-brentano" (flat sample in reflection), "debye-scherrer" (capillary), "transmission".
    """

    u: float = 0.004
    v: float = -0.002
    w: float = 0.005
    x: float = 0.03
    y: float = 0.03
    s_l: float = 0.0
    h_l: float = 0.0
    transparency: float = 0.0
    zero: float = 0.0
    displacement: float = 0.0
    monochromator: float = 1.0
    polarised: float = 0.0
    kbeta: float = 0.0
    tungsten: float = 0.0
    overspill: float = 0.0
    geometry: Geometry = "bragg-brentano"

    def __post_init__(self) -> None:
        numbers = {name: value for name, value in vars(self).items() if name != "geometry"}
        for name, value in numbers.items():
            if not math.isfinite(value):
                raise BadInput(f"{name}={value} of the instrument is not a number.")
        if self.w <= 0 or self.u < 0 or (self.v < 0 and self.v * self.v >= 4 * self.u * self.w):
            raise BadInput(
                f"Gaussian width^2 with u={self.u:g}, v={self.v:g}, w={self.w:g} is not positive at every "
                "angle: use w > 0, u >= 0 and v^2 < 4 u w."
            )
        if self.x < 0 or self.y < 0:
            raise BadInput(f"Lorentzian widths x={self.x:g}, y={self.y:g} must not be negative.")
        for name in ("s_l", "h_l", "transparency", "kbeta", "tungsten", "overspill"):
            if numbers[name] < 0:
                raise BadInput(f"{name} {numbers[name]:g} must not be negative.")
        if self.s_l + self.h_l > 0.5:
            raise BadInput(
                f"s_l + h_l = {self.s_l + self.h_l:g} is no axial divergence: give heights over the radius, "
                "0.001 to 0.05 as a rule."
            )
        if self.transparency > 0 and self.geometry != "bragg-brentano":
            raise BadInput(
                "transparency is of flat samples in reflection: set it to 0 or use bragg-brentano."
            )
        if not 0.0 <= self.monochromator <= 1.0:
            raise BadInput(f"monochromator {self.monochromator:g} is a squared cosine: 0 to 1.")
        if not 0.0 <= self.polarised <= 1.0:
            raise BadInput(f"polarised {self.polarised:g} is a degree of polarisation: 0 to 1.")
        if self.geometry not in ("bragg-brentano", "debye-scherrer", "transmission"):
            raise BadInput(
                f"geometry {self.geometry!r} is unknown: bragg-brentano, debye-scherrer or transmission."
            )

    def widths(self, two_theta: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Gaussian and Lorentzian full width at half maximum at the angles, degrees."""
        theta = np.radians(np.asarray(two_theta, dtype=np.float64)) / 2
        tangent = np.tan(theta)
        gauss = np.sqrt(self.u * tangent**2 + self.v * tangent + self.w)
        return gauss, self.x / np.cos(theta) + self.y * tangent

    def shifted(self, two_theta: npt.ArrayLike) -> FloatArray:
        """Where peaks at the true angles (degrees) are seen, but for asymmetry."""
        angle = np.asarray(two_theta, dtype=np.float64)
        flat = self.geometry == "bragg-brentano"
        lever = np.cos(np.radians(angle) / 2) if flat else np.sin(np.radians(angle))
        return angle + self.zero + self.displacement * lever

    def decay(self, two_theta: npt.ArrayLike) -> FloatArray:
        """Decay of the tail that transparency gives towards low angles, degrees."""
        return self.transparency * np.sin(np.radians(np.asarray(two_theta, dtype=np.float64)))


def laboratory() -> Instrument:
    """A laboratory diffractometer: 0.09 degrees at 30 degrees, growing slowly, no monochromator.

    Widths: the median of the RRUFF archive (0.08-0.10 degrees, analysis in arXiv:2604.23811), above the
    0.053 degrees of the Gaussian part of GSAS-II's default "CuKa lab data". Axial divergence with Soller
    slits: a fifth of what a diffractometer has without any (sample and slit 12 and 15 mm long at 217 mm;
    Cheary and Coelho, J. Appl. Cryst. 31 (1998) 851).
    """
    return Instrument(s_l=0.012, h_l=0.012)


def synchrotron() -> Instrument:
    """A synchrotron powder diffractometer: 0.013 degrees at low angle, polarised beam, capillary.

    u, v, w, polarisation, and (S + H)/L = 0.002: GSAS-II's defaults for 11-BM at 30 keV. x, y: what a
    good sample adds.
    """
    return Instrument(
        u=6.4e-4, v=-7e-5, w=3.5e-5, x=0.008, y=0.02, s_l=0.001, h_l=0.001, polarised=0.99,
        geometry="debye-scherrer",
    )  # fmt: skip


def neutron_reactor() -> Instrument:
    """A constant-wavelength neutron powder diffractometer: 0.3 degrees at its best.

    u, v, w: GSAS-II's default "1.9A ILL D1A CW data" as full widths. Axial divergence of detectors
    100 mm high at 1.3 m.
    """
    return Instrument(
        u=0.1426, v=-0.3552, w=0.3157, x=0.02, y=0.02, s_l=0.02, h_l=0.038, geometry="debye-scherrer"
    )
