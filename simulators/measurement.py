"""One sample at full quality: any wavelength, any angles, exact Voigt profiles, Poisson counts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import voigt_profile

from eg_agent.errors import BadInput
from eg_agent.patterns import Pattern, Radiation, Source
from simulators.crystal import Crystal
from simulators.instrument import Instrument
from simulators.scattering import lorentz_polarisation, peak_list
from simulators.specimen import Specimen

FloatArray = npt.NDArray[np.float64]

#: Peaks weaker than this against the strongest are left out of a pattern.
WEAKEST = 1e-7
#: Points times peaks evaluated at once: bounds memory to some tens of MB.
_BLOCK = 2_000_000


@dataclass(frozen=True, eq=False)
class Rate:
    """Expected counts a second of one sample on one instrument, as a function of the angle.

    position: [k] where peaks are seen, degrees. area: [k] counts a second times degrees.
    sigma, gamma: [k] Gaussian standard deviation and Lorentzian half width, degrees.
    peak_rate: counts a second at the highest peak, without background. Calling it is exact and needs
    nothing but the angle, so a diffractometer can ask point by point.
    """

    position: FloatArray
    area: FloatArray
    sigma: FloatArray
    gamma: FloatArray
    peak_rate: float
    wavelength: float
    specimen: Specimen

    def peaks(self, two_theta: npt.ArrayLike) -> FloatArray:
        """Counts a second from Bragg peaks at angles [n] in degrees."""
        angle = np.atleast_1d(np.asarray(two_theta, dtype=np.float64))
        total = np.zeros(len(angle))
        step = max(1, _BLOCK // max(1, len(self.position)))
        for start in range(0, len(angle), step):
            offset = angle[start : start + step, None] - self.position
            total[start : start + step] = voigt_profile(offset, self.sigma, self.gamma) @ self.area
        return total

    def background(self, two_theta: npt.ArrayLike) -> FloatArray:
        """Counts a second from everything else at angles [n] in degrees."""
        angle = np.atleast_1d(np.asarray(two_theta, dtype=np.float64))
        return self.peak_rate * self.specimen.background.at(angle, self.wavelength)

    def __call__(self, two_theta: npt.ArrayLike) -> FloatArray:
        """Counts a second [n] at angles [n] in degrees."""
        return self.peaks(two_theta) + self.background(two_theta)


def expected_rate(
    crystal: Crystal,
    radiation: Radiation,
    *,
    instrument: Instrument | None = None,
    specimen: Specimen | None = None,
    peak_rate: float = 1000.0,
    two_theta_max: float = 120.0,
) -> Rate:
    """The rate of a sample, in counts a second, to be called with angles.

    peak_rate: counts a second at the highest peak of the sample below two_theta_max, background not
    counted. two_theta_max: degrees; the highest angle that will be asked for.

    Raises BadInput when no peak lies below two_theta_max.
    """
    instrument = instrument or Instrument()
    specimen = specimen or Specimen()
    if not 0 < peak_rate < math.inf:
        raise BadInput(f"peak_rate {peak_rate:g} must be above 0: give counts a second at the highest peak.")
    if not 0 < two_theta_max < 180:
        raise BadInput(f"two_theta_max {two_theta_max:g} is not between 0 and 180 degrees.")
    position, area = _lines(crystal, radiation, instrument, specimen, two_theta_max)
    own = _rate(position, area, instrument, peak_rate, radiation, specimen)
    scale = peak_rate / own.peaks(position).max()
    positions, areas = [position], [area * scale]
    for other, share in specimen.impurities:
        if share <= 0:
            continue
        position, area = _lines(other, radiation, instrument, Specimen(), two_theta_max)
        height = _rate(position, area, instrument, peak_rate, radiation, specimen).peaks(position).max()
        positions.append(position)
        areas.append(area * (share * peak_rate / height))
    return _rate(np.concatenate(positions), np.concatenate(areas), instrument, peak_rate, radiation, specimen)


def _rate(
    position: FloatArray,
    area: FloatArray,
    instrument: Instrument,
    peak_rate: float,
    radiation: Radiation,
    specimen: Specimen,
) -> Rate:
    gauss, lorentz = instrument.widths(position)
    sigma = gauss / math.sqrt(8 * math.log(2))
    return Rate(position, area, sigma, lorentz / 2, peak_rate, radiation.wavelength, specimen)


def _lines(
    crystal: Crystal, radiation: Radiation, instrument: Instrument, specimen: Specimen, two_theta_max: float
) -> tuple[FloatArray, FloatArray]:
    """Positions (degrees, as seen) and areas (arbitrary units) of all lines of all wavelengths."""
    # Peaks a little beyond the end reach into the range with their tails.
    reach = min(two_theta_max + 2.0, 175.0)
    sine = math.sin(math.radians(reach) / 2)
    anomalous = radiation.wavelength if radiation.kind == "x-ray" else None
    peaks = peak_list(crystal, radiation.wavelength / (2 * sine), radiation.kind, wavelength=anomalous)
    strength = peaks.f2 * peaks.multiplicity
    if not len(peaks) or strength.max() <= 0:
        raise BadInput(
            f"{crystal.name or 'the crystal'} has no peak below {two_theta_max:g} degrees at "
            f"{radiation.wavelength:g} angstrom: extend the range."
        )
    if specimen.texture is not None:
        strength = strength * specimen.texture.factors(crystal.cell, crystal.operations, peaks.hkl)
    polarised = instrument.polarised or radiation.kind == "neutron"
    ratio = 0.0 if radiation.wavelength2 is None else radiation.ratio
    positions, areas = [], []
    for wavelength, share in zip(radiation.wavelengths, (1 / (1 + ratio), ratio / (1 + ratio))):
        sines = wavelength / (2 * peaks.d)
        seen = sines < sine
        theta = np.arcsin(sines[seen])
        factor = lorentz_polarisation(theta, monochromator=instrument.monochromator, polarised=polarised)
        positions.append(instrument.shifted(np.degrees(2 * theta)))
        areas.append(strength[seen] * factor * share)
    position, area = np.concatenate(positions), np.concatenate(areas)
    keep = area > WEAKEST * area.max()
    return position[keep], area[keep]


def expected_counts(
    crystal: Crystal,
    radiation: Radiation,
    two_theta: npt.ArrayLike,
    *,
    seconds: npt.ArrayLike = 1.0,
    instrument: Instrument | None = None,
    specimen: Specimen | None = None,
    peak_rate: float = 1000.0,
) -> FloatArray:
    """Noise-free counts [n] at angles [n] (degrees) in a counting time (seconds, one or [n]).

    The default of one second makes this the rate. The other arguments are those of `expected_rate`.
    """
    angle = _checked(two_theta)
    rate = expected_rate(
        crystal,
        radiation,
        instrument=instrument,
        specimen=specimen,
        peak_rate=peak_rate,
        two_theta_max=float(angle.max()),
    )
    return rate(angle) * _times(seconds, len(angle))


def simulate(
    crystal: Crystal,
    radiation: Radiation,
    two_theta: npt.ArrayLike,
    rng: np.random.Generator,
    *,
    seconds: npt.ArrayLike = 1.0,
    instrument: Instrument | None = None,
    specimen: Specimen | None = None,
    peak_rate: float = 1000.0,
) -> Pattern:
    """A measured pattern: raw Poisson counts at angles [n] (degrees), `seconds` a point.

    peak_rate: counts a second at the highest peak of the sample in this range, without background.
    Raises BadInput for angles that do not increase or lie outside 0-180 degrees, for negative times,
    and when no peak lies in reach.
    """
    angle = _checked(two_theta)
    mean = expected_counts(
        crystal,
        radiation,
        angle,
        seconds=seconds,
        instrument=instrument,
        specimen=specimen,
        peak_rate=peak_rate,
    )
    return Pattern(
        two_theta=angle,
        intensity=rng.poisson(mean).astype(np.float64),
        radiation=radiation,
        counting_time=_times(seconds, len(angle)),
        raw_counts=True,
        geometry="bragg-brentano",
        source=Source(kind="simulation", name=crystal.name, sample=crystal.formula),
    )


def _checked(two_theta: npt.ArrayLike) -> FloatArray:
    angle = np.asarray(two_theta, dtype=np.float64)
    if angle.ndim != 1 or angle.size == 0:
        raise BadInput("the range of angles is empty: give at least one angle in degrees of 2-theta.")
    if not (
        np.isfinite(angle).all() and angle.min() > 0 and angle.max() < 180 and (np.diff(angle) > 0).all()
    ):
        raise BadInput("angles must increase and lie between 0 and 180 degrees of 2-theta.")
    return angle


def _times(seconds: npt.ArrayLike, count: int) -> FloatArray:
    times = np.broadcast_to(np.asarray(seconds, dtype=np.float64), (count,)).copy()
    if not (np.isfinite(times).all() and (times >= 0).all()):
        raise BadInput("counting times must be 0 seconds or more.")
    return times
