"""From measured angle to the canonical coordinate, by sin(theta) / wavelength.

The canonical coordinate is the 2-theta at which a d-spacing would be seen with Cu K-alpha1: Bragg's
law, sin(theta) / wavelength = 1 / (2 d), makes it a property of the sample and not of the wavelength.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eg_agent.patterns.radiation import CU_KALPHA1

Array = npt.NDArray[np.float64]


def change_wavelength(two_theta: npt.ArrayLike, wavelength: float, to: float = CU_KALPHA1) -> Array:
    """Angles at which the same d-spacings are seen with another wavelength.

    two_theta: [n] degrees, measured with `wavelength` (angstrom). Returns [n] degrees for the
    wavelength `to`; NaN where the d-spacing is out of its reach (d < to / 2).
    """
    sine = np.sin(np.radians(np.asarray(two_theta, dtype=np.float64)) / 2.0) * (to / wavelength)
    sine = np.where(np.abs(sine) <= 1.0, sine, np.nan)
    return np.degrees(2.0 * np.arcsin(sine))


def two_theta_of_d(d: npt.ArrayLike, wavelength: float) -> Array:
    """Bragg angle 2-theta [n] in degrees of d-spacings [n] in angstrom; NaN where out of reach."""
    with np.errstate(divide="ignore", invalid="ignore"):
        sine = wavelength / (2.0 * np.asarray(d, dtype=np.float64))
    sine = np.where((sine > 0.0) & (sine <= 1.0), sine, np.nan)
    return np.degrees(2.0 * np.arcsin(sine))


def d_of_two_theta(two_theta: npt.ArrayLike, wavelength: float) -> Array:
    """d-spacings [n] in angstrom of angles [n] in degrees; infinite at 2-theta = 0."""
    with np.errstate(divide="ignore"):
        return wavelength / (2.0 * np.sin(np.radians(np.asarray(two_theta, dtype=np.float64)) / 2.0))


def two_theta_of_q(q: npt.ArrayLike, wavelength: float) -> Array:
    """2-theta [n] in degrees of q = 4 pi sin(theta) / wavelength [n] in 1/angstrom; NaN out of reach."""
    sine = np.asarray(q, dtype=np.float64) * wavelength / (4.0 * np.pi)
    sine = np.where((sine >= 0.0) & (sine <= 1.0), sine, np.nan)
    return np.degrees(2.0 * np.arcsin(sine))
