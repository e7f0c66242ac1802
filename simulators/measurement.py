"""One sample at full quality: any wavelength, any angles, exact profiles, counts as a detector gives them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadInput
from eg_agent.patterns import Pattern, Radiation, Source
from simulators.absorption import cylinder_transmission, plate_transmission
from simulators.counting import Detector
from simulators.crystal import Crystal
from simulators.instrument import Instrument
from simulators.profile import FWHM, Lines, axial_extent, joined, sum_of_lines, voigt_width
from simulators.scattering import lorentz_polarisation, peak_list
from simulators.specimen import Impurity, Specimen, texture_factors
from simulators.spectrum import emission

FloatArray = npt.NDArray[np.float64]

#: Lines weaker than this against the strongest are left out of a pattern.
WEAKEST = 1e-6
#: Degrees beyond the last angle from which lines still reach in with their tails.
_BEYOND = 3.0
#: Lines among which the highest peak is looked for, and points on each.
_CANDIDATES, _ON_EACH = 40, 12


@dataclass(frozen=True, eq=False)
class Rate:
    """Expected counts a second of one sample on one instrument, as a function of the angle.

    lines: of all phases and wavelengths. peak_rate: counts a second at the highest peak of the main phase,
    without background. Calling it needs nothing but the angle, so a diffractometer can ask point by point.
    """

    lines: Lines
    peak_rate: float
    wavelength: float
    specimen: Specimen

    @property
    def position(self) -> FloatArray:
        """[k] where lines are seen but for asymmetry, degrees."""
        return self.lines.position

    @property
    def area(self) -> FloatArray:
        """[k] counts a second times degrees."""
        return self.lines.area

    @property
    def sigma(self) -> FloatArray:
        """[k] Gaussian standard deviation, degrees."""
        return self.lines.gauss / FWHM

    @property
    def gamma(self) -> FloatArray:
        """[k] Lorentzian half width at half maximum, degrees."""
        return self.lines.lorentz / 2

    def peaks(self, two_theta: npt.ArrayLike) -> FloatArray:
        """Counts a second from Bragg peaks at angles [n] in degrees."""
        return sum_of_lines(self.lines, np.atleast_1d(np.asarray(two_theta, dtype=np.float64)))

    def background(self, two_theta: npt.ArrayLike) -> FloatArray:
        """Counts a second from everything else at angles [n] in degrees."""
        angle = np.atleast_1d(np.asarray(two_theta, dtype=np.float64))
        rough = self.specimen.roughness
        factor = 1.0 if rough is None else rough.factor(np.radians(angle) / 2)
        return self.peak_rate * self.specimen.background.at(angle, self.wavelength, factor)

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

    Raises BadInput when no peak lies below two_theta_max, for an element without scattering factor, and for
    a specimen that does not go with the instrument's geometry.
    """
    instrument = instrument or Instrument()
    specimen = specimen or Specimen()
    if not 0 < peak_rate < math.inf:
        raise BadInput(f"peak_rate {peak_rate:g} must be above 0: give counts a second at the highest peak.")
    if not 0 < two_theta_max < 180:
        raise BadInput(f"two_theta_max {two_theta_max:g} is not between 0 and 180 degrees.")
    check_geometry(instrument, specimen)
    main = Impurity(crystal, 1.0, specimen.textures, specimen.broadening)
    lines = []
    for index, phase in enumerate((main, *specimen.phases)):
        if phase.share > 0:
            own = phase_lines(phase, radiation, instrument, specimen, two_theta_max, index)
            height = _highest(own, two_theta_max)
            lines.append(own.scaled(phase.share * peak_rate / height))
    return Rate(joined(lines), peak_rate, radiation.wavelength, specimen)


def check_geometry(instrument: Instrument, specimen: Specimen) -> None:
    """Raise BadInput for roughness or absorption that the instrument's geometry does not have."""
    if specimen.roughness is not None and instrument.geometry != "bragg-brentano":
        raise BadInput(
            f"roughness is of flat samples in reflection, not of {instrument.geometry}: leave it out."
        )
    if specimen.mu_r > 0 and instrument.geometry == "bragg-brentano":
        raise BadInput("mu_r is of capillaries and transmission: in bragg-brentano absorption is constant.")


def intensity_factor(
    theta: FloatArray, radiation: Radiation, instrument: Instrument, specimen: Specimen
) -> FloatArray:
    """Factor [k] on |F|^2 times multiplicity at Bragg angles theta [k] in radians.

    Lorentz, polarisation, absorption, surface roughness, and beam lost beside the sample.
    """
    polarised = 1.0 if radiation.kind == "neutron" else instrument.polarised
    factor = lorentz_polarisation(theta, monochromator=instrument.monochromator, polarised=polarised)
    if specimen.roughness is not None:
        factor = factor * specimen.roughness.factor(theta)
    if instrument.overspill > 0 and instrument.geometry == "bragg-brentano":
        factor = factor * np.minimum(np.sin(theta) / math.sin(math.radians(instrument.overspill) / 2), 1.0)
    if instrument.geometry == "debye-scherrer":
        factor = factor * cylinder_transmission(theta, specimen.mu_r)
    elif instrument.geometry == "transmission":
        factor = factor * plate_transmission(theta, 2 * specimen.mu_r)
    return factor


def phase_lines(
    phase: Impurity,
    radiation: Radiation,
    instrument: Instrument,
    specimen: Specimen,
    two_theta_max: float,
    index: int = 0,
) -> Lines:
    """All lines of one phase below two_theta_max (and a little beyond), areas in arbitrary units.

    index: 0 for the main phase, 1, 2, 3 for impurities: tells their grains apart.
    """
    crystal, broadening = phase.crystal, phase.broadening or specimen.broadening
    if phase.broadening is None and index > 0:  # the terms of one Laue class mean nothing in another
        broadening = replace(broadening, anisotropic=None)
    spectrum = emission(radiation, kbeta=instrument.kbeta, tungsten=instrument.tungsten)
    sine = math.sin(math.radians(min(two_theta_max + _BEYOND, 175.0)) / 2)
    anomalous = radiation.wavelength if radiation.kind == "x-ray" else None
    shortest = min(line.wavelength for line in spectrum)
    peaks = peak_list(crystal, shortest / (2 * sine), radiation.kind, wavelength=anomalous)
    strength = peaks.f2 * peaks.multiplicity
    if phase.textures:
        strength = strength * texture_factors(phase.textures, crystal.cell, crystal.operations, peaks.hkl)
    if specimen.grains is not None:
        theta = np.arcsin(np.minimum(radiation.wavelength / (2 * peaks.d), 1.0))
        strength = strength * specimen.grains.factors(peaks.multiplicity, theta, index)
    parts = []
    for line in spectrum:
        seen = line.wavelength / (2 * peaks.d) < sine
        theta = np.arcsin(line.wavelength / (2 * peaks.d[seen]))
        area = strength[seen] * intensity_factor(theta, radiation, instrument, specimen) * line.share
        angle = np.degrees(2 * theta)
        gauss, lorentz = instrument.widths(angle)
        cell, operations = crystal.cell, crystal.operations
        more = broadening.widths(angle, line.wavelength, cell, operations, peaks.hkl[seen])
        parts.append(
            Lines(
                instrument.shifted(angle), area, np.hypot(gauss, more[0]), lorentz + more[1],
                instrument.decay(angle), instrument.s_l, instrument.h_l,
            )
        )  # fmt: skip
    lines = joined(parts)
    strongest = lines.area.max(initial=0.0)
    if not strongest > 0 or not (lines.position[lines.area > 0] <= two_theta_max).any():
        raise BadInput(
            f"{crystal.name or 'the crystal'} has no peak below {two_theta_max:g} degrees at "
            f"{radiation.wavelength:g} angstrom: extend the range."
        )
    return lines[lines.area > WEAKEST * strongest]


def _highest(lines: Lines, two_theta_max: float) -> float:
    """Height of the highest peak below two_theta_max, within 1 % where lines are asymmetric."""
    near = np.flatnonzero(lines.position <= two_theta_max)
    width = voigt_width(lines.gauss, lines.lorentz)
    near = near[np.argsort(-lines.area[near] / width[near])[:_CANDIDATES]]
    # An asymmetric line is highest somewhere on the side of its tail.
    tail = axial_extent(lines.position[near], lines.s_l, lines.h_l) - lines.decay[near]
    reach = np.sign(tail) * np.minimum(np.abs(tail), width[near])
    where = lines.position[near, None] + np.multiply.outer(reach, np.linspace(0, 1, _ON_EACH))
    return float(sum_of_lines(lines, where.ravel() if reach.any() else lines.position[near]).max())


def expected_counts(
    crystal: Crystal,
    radiation: Radiation,
    two_theta: npt.ArrayLike,
    *,
    seconds: npt.ArrayLike = 1.0,
    instrument: Instrument | None = None,
    specimen: Specimen | None = None,
    detector: Detector | None = None,
    peak_rate: float = 1000.0,
) -> FloatArray:
    """Noise-free counts [n] at angles [n] (degrees) in a counting time (seconds, one or [n]).

    The default of one second makes this the rate. detector: its dead time and dark rate; none counts all.
    The other arguments are those of `expected_rate`.
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
    return (detector or Detector()).seen(rate(angle)) * _times(seconds, len(angle))


def simulate(
    crystal: Crystal,
    radiation: Radiation,
    two_theta: npt.ArrayLike,
    rng: np.random.Generator,
    *,
    seconds: npt.ArrayLike = 1.0,
    instrument: Instrument | None = None,
    specimen: Specimen | None = None,
    detector: Detector | None = None,
    peak_rate: float = 1000.0,
) -> Pattern:
    """A measured pattern: raw counts at angles [n] (degrees), `seconds` a point.

    peak_rate: counts a second at the highest peak of the sample below the last angle, without background.
    detector: dead time, dark rate and saturation; none counts every photon (Poisson). Processing, as people
    do it before they archive a pattern, is a step of its own: `simulators.process`.

    Raises BadInput for angles that do not increase or lie outside 0-180 degrees, for negative times,
    and as `expected_rate`.
    """
    angle, instrument = _checked(two_theta), instrument or Instrument()
    times = _times(seconds, len(angle))
    rate = expected_rate(
        crystal,
        radiation,
        instrument=instrument,
        specimen=specimen,
        peak_rate=peak_rate,
        two_theta_max=float(angle.max()),
    )
    return Pattern(
        two_theta=angle,
        intensity=(detector or Detector()).count(rate(angle), times, rng),
        radiation=radiation,
        counting_time=times,
        raw_counts=True,
        geometry=instrument.geometry,
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
