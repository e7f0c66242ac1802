"""What a reader found in a file, before it is a `Pattern`; and how it becomes one."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eg_agent.patterns.axis import Axis, to_two_theta
from eg_agent.patterns.pattern import Geometry, Pattern, Source
from eg_agent.patterns.peaktest import noise_level
from eg_agent.patterns.radiation import Radiation
from eg_agent.patterns.stated import choose

Array = npt.NDArray[np.float64]

#: Variance of the noise over its Poisson expectation, between which unlabelled integers pass for counts.
FANO = (0.5, 2.0)
#: Largest ratio between low, middle and high levels of that.
FANO_SPREAD = 1.6
_ROUND_TOPS = {10.0**k for k in range(1, 8)}


@dataclass(slots=True)
class Measured:
    """The content of a file.

    x: [n] abscissa as written; axis: what it says it is, None where it says nothing. intensity: [n].
    sigma: [n] or None. counting_time: [n] seconds a point, or None. counts_stated: the format or a
    label says that intensities are detector counts. per_second: they are counts a second. corrected: they
    were corrected, so that they are not counts even where they are whole numbers.
    radiation: what the file states, or None. notes: what reading changed or assumed.
    """

    format: str
    x: Array
    intensity: Array
    axis: Axis | None = None
    sigma: Array | None = None
    counting_time: Array | None = None
    counts_stated: bool = False
    per_second: bool = False
    corrected: bool = False
    radiation: Radiation | None = None
    geometry: Geometry = "unknown"
    sample: str = ""
    notes: list[str] = field(default_factory=list)


def to_pattern(found: Measured, path: Path, wavelength: float | None, wavelength2: float | None) -> Pattern:
    """The pattern of a file's content; raises BadPattern without a wavelength or with a wrong axis."""
    radiation, notes = choose(path, found.radiation, wavelength, wavelength2)
    two_theta, index, axis_notes = to_two_theta(found.x, found.axis, radiation)
    intensity = found.intensity[index]
    time = None if found.counting_time is None else found.counting_time[index]
    sigma = None if found.sigma is None else found.sigma[index]
    notes = [*found.notes, *notes, *axis_notes]

    if found.per_second and time is not None:
        counts = intensity * time
        if _whole(counts, tolerance=0.02):
            intensity = np.round(counts)
            sigma = None if sigma is None else sigma * time
            found.counts_stated, found.per_second = True, False
            notes.append("counts a second multiplied by the counting time")
    raw = _raw_counts(found, intensity, sigma, notes)
    return Pattern(
        two_theta=two_theta,
        intensity=intensity,
        radiation=radiation,
        sigma=sigma,
        counting_time=time,
        raw_counts=raw,
        geometry=found.geometry,
        source=Source(
            kind="file", name=str(path), sample=found.sample, format=found.format, notes=tuple(notes)
        ),
    )


def _raw_counts(found: Measured, intensity: Array, sigma: Array | None, notes: list[str]) -> bool:
    if found.per_second:
        notes.append("intensities are counts a second and not counts")
        return False
    if found.corrected or not (
        intensity.size and np.all(np.isfinite(intensity)) and np.all(intensity >= 0.0)
    ):
        return False
    if not _whole(intensity):
        if found.counts_stated:
            notes.append("intensities are called counts but are not whole numbers: not taken as raw counts")
        return False
    if sigma is not None:
        # standard errors that are not the square root of the counts tell of a correction in between
        poisson = (
            np.abs(sigma - np.sqrt(np.maximum(intensity, 1.0)))
            <= 0.05 * np.sqrt(np.maximum(intensity, 1.0)) + 1e-3
        )
        if np.mean(poisson) < 0.9:
            return False
        if not found.counts_stated:
            notes.append("whole numbers with standard errors of their square root: taken as counts")
        return True
    if found.counts_stated:
        return True
    if float(intensity.max()) in _ROUND_TOPS:
        notes.append(f"whole numbers scaled to a maximum of {intensity.max():g}: not taken as raw counts")
        return False
    # only counts have a variance like their level at every level; a scale or a subtraction shows at one end
    fano = fano_factors(intensity)
    if fano and all(FANO[0] <= value <= FANO[1] for value in fano) and max(fano) < FANO_SPREAD * min(fano):
        typical = float(np.median(fano))
        notes.append(f"whole numbers with noise {typical:.2f} times Poisson's variance: taken as counts")
        return True
    return False


def fano_factors(intensity: Array) -> list[float]:
    """Noise variance over level, in the lowest, middle and highest third of levels above 4; [] where too few.

    1 at each for counts. The noise is that of second differences, so a pattern smoothed or scaled
    afterwards gives other values, and one whose background was subtracted gives more at low levels.
    """
    if intensity.size < 300:
        return []
    level = np.convolve(intensity, np.ones(9) / 9.0, mode="valid")
    noise = noise_level(intensity)[4:-4] ** 2
    good = np.flatnonzero(level > 4.0)
    if good.size < 300:
        return []
    thirds = np.array_split(good[np.argsort(level[good], kind="stable")], 3)
    return [float(np.median(noise[third] / level[third])) for third in thirds]


def _whole(values: Array, tolerance: float = 1e-6) -> bool:
    return bool(np.all(np.abs(values - np.round(values)) <= tolerance))
