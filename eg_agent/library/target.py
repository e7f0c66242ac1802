"""A measured pattern as the search sees it: background and noise off, square roots, on two axes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d, maximum_filter1d

from eg_agent.errors import BadPattern
from eg_agent.library import kernels
from eg_agent.patterns import Grid, Pattern, Projected, Radiation
from eg_agent.patterns.radiation import ANODES, CU_KALPHA1

Floats = npt.NDArray[np.float64]

#: Fine comparison: canonical 2-theta in steps of 0.0415 degrees.
FINE = Grid(5.0, 90.0, 2048)

#: Coarse comparison: bins of ln(1/d), from 5 to 90 degrees with Cu K-alpha1 and what strain moves there.
COARSE_STEP = 0.003
COARSE_START = float(np.log(2.0 * np.sin(np.radians(2.5)) / CU_KALPHA1)) - 0.06
COARSE_BINS = 1000
#: Peaks nearer than this (degrees; bins of the coarse axis at least) are one stick of the coarse comparison.
RESOLVED = 0.4
MERGED = 3
#: The 16 scales of the cell that are compared: ln of its growth, -4.5 % to +4.5 %.
SHIFTS: Floats = np.asarray((np.arange(16) - 7.5) * 2 * COARSE_STEP, dtype=np.float64)

#: Degrees: half width of the window under which the background is found, on the canonical axis.
_FLOOR_WINDOW = 1.6
#: Degrees, standard deviation: both sides are blurred by it, so that a slightly wrong cell still overlaps.
BLUR = 0.085
#: Noise taken off before the square root, in standard errors of a point of the fine grid.
_THRESHOLD = 1.5
#: Limits of the width of lines (FWHM) that is read off a pattern, degrees on the canonical axis.
_WIDTHS = (0.05, 1.0)
#: Relative distance from an anode's line within which a wavelength is a laboratory's, unpolarised.
_LABORATORY = 2e-3
#: Least covered points of the fine grid: 4 degrees.
_LEAST = 96


@dataclass(frozen=True, eq=False)
class Target:
    """A pattern prepared for comparison.

    fine: float64 [2048] square root of the intensity above background, 0 outside `covered` (float64, 0
    or 1). polarisation: [2048] Lorentz-polarisation factor at the fine points, for its radiation.
    width: degrees, full width at half maximum of its strong lines on the canonical axis.
    height, covered_bins: float32 [bins, 16] of the coarse comparison, see `kernels.coarse`.
    """

    fine: Floats
    covered: Floats
    polarisation: Floats
    width: float
    height: npt.NDArray[np.float32]
    covered_bins: npt.NDArray[np.float32]


def prepare(pattern: Pattern) -> Target:
    """A measured pattern, prepared; raises BadPattern where too little of it lies on the axis."""
    return prepare_projected(FINE.project(pattern), pattern.radiation, name=pattern.source.name)


def prepare_projected(projected: Projected, radiation: Radiation, *, name: str = "") -> Target:
    """A pattern on `FINE`, prepared. radiation: for the Lorentz-polarisation factor."""
    covered = projected.coverage.astype(np.float64)
    if covered.sum() < _LEAST:
        raise BadPattern(
            f"{name or 'the pattern'} covers less than 4 degrees of {FINE.two_theta_min:g}-"
            f"{FINE.two_theta_max:g} degrees (for Cu K-alpha1): too little to compare with a library."
        )
    signal = above_floor(np.asarray(projected.intensity, dtype=np.float64), projected.coverage)
    blurred = gaussian_filter1d(signal, BLUR / FINE.step, mode="nearest")
    fine = np.sqrt(np.maximum(blurred, 0.0)) * covered
    if not fine.any():
        raise BadPattern(f"{name or 'the pattern'} has no peak above its background: count longer.")
    height, bins = _coarse(signal, covered, radiation)
    return Target(
        fine, covered, polarisation_factor(radiation, FINE.two_theta), line_width(signal), height, bins
    )


def above_floor(intensity: Floats, coverage: npt.NDArray[np.bool_]) -> Floats:
    """[L] intensity above a rolling background and its noise, never negative, maximum 1.

    The background is found under a smoothed square root, where Poisson noise is even; the noise from
    second differences, locally. Patterns whose background was subtracted before keep what they have.
    """
    signal = np.zeros_like(intensity)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], coverage.astype(np.int8), [0]))))
    for low, high in zip(edges[::2], edges[1::2]):
        part = intensity[low:high]
        if part.size < 16:
            continue
        smooth = np.sqrt(np.maximum(gaussian_filter1d(part, 2.0, mode="nearest"), 0.0))
        floor = kernels.snip(smooth, round(_FLOOR_WINDOW / FINE.step)) ** 2
        rough = np.abs(part[2:] - 2.0 * part[1:-1] + part[:-2]) / np.sqrt(6.0)
        rough = np.concatenate(([rough[0]], rough, [rough[-1]]))
        noise = _running_median(rough, 61) / 0.6745
        signal[low:high] = np.maximum(part - floor - _THRESHOLD * noise, 0.0)
    top = signal.max()
    return signal / top if top > 0 else signal


def line_width(signal: Floats, lines: int = 12) -> float:
    """Degrees: median full width at half maximum of the strongest lines of a signal [L] on `FINE`.

    Lines that overlap look wider than they are, so that the narrower half of them counts.
    """
    smooth = gaussian_filter1d(signal, 0.8)
    peak = np.flatnonzero((smooth[1:-1] > smooth[:-2]) & (smooth[1:-1] >= smooth[2:])) + 1
    widths = []
    for at in peak[np.argsort(-smooth[peak], kind="stable")][:lines]:
        half = 0.5 * smooth[at]
        left = at - np.argmax(smooth[at::-1] < half) if (smooth[: at + 1] < half).any() else at
        right = at + np.argmax(smooth[at:] < half) if (smooth[at:] < half).any() else at
        if left == at or right == at:
            continue
        low = left + (half - smooth[left]) / (smooth[left + 1] - smooth[left])
        high = right - (half - smooth[right]) / (smooth[right - 1] - smooth[right])
        widths.append((high - low) * FINE.step)
    if not widths:
        return _WIDTHS[0]
    own = np.sort(widths)[: max(1, (len(widths) + 1) // 2)]
    square = float(np.median(own)) ** 2 - (0.8 * 2.3548 * FINE.step) ** 2
    return float(np.clip(np.sqrt(max(square, 0.0)), *_WIDTHS))


def _running_median(values: Floats, width: int) -> Floats:
    """[L] median over blocks of `width` points, straight lines between their centres."""
    if values.size <= width:
        return np.full(values.size, float(np.median(values)))
    count = values.size // width
    blocks = np.median(values[: count * width].reshape(count, width), axis=1)
    return np.interp(np.arange(values.size), (np.arange(count) + 0.5) * width, blocks)


def polarisation_factor(radiation: Radiation, two_theta: Floats) -> Floats:
    """[L] Lorentz-polarisation factor of a powder at canonical angles (degrees), for its wavelength.

    1 / (sin^2 theta cos theta), times (1 + cos^2 2theta) / 2 for the lines of an X-ray tube; other
    wavelengths are of a synchrotron, polarised in the plane that does not matter. 0 out of reach.
    """
    wavelength = radiation.mean_wavelength
    sine = np.sin(np.radians(two_theta) / 2.0) * (wavelength / CU_KALPHA1)
    inside = sine < 0.999
    sine = np.where(inside, sine, 0.5)
    factor = 1.0 / (sine**2 * np.sqrt(1.0 - sine**2))
    tubes = [(2 * a + b) / 3 for a, b, _ in ANODES.values()] + [a for a, _, _ in ANODES.values()]
    if any(abs(wavelength / line - 1.0) < _LABORATORY for line in tubes):
        factor *= 0.5 * (1.0 + (1.0 - 2.0 * sine**2) ** 2)
    return np.where(inside, factor, 0.0)


def coarse_polarisation() -> Floats:
    """[bins] Lorentz-polarisation factor of Cu K-alpha on the coarse axis: which peaks are strong at all."""
    inverse_d = np.exp(COARSE_START + COARSE_STEP * (np.arange(COARSE_BINS) + 0.5))
    angle = np.degrees(2.0 * np.arcsin(np.minimum(CU_KALPHA1 * inverse_d / 2.0, 0.75)))
    return polarisation_factor(Radiation(CU_KALPHA1), angle)


def coarse_reach() -> npt.NDArray[np.int64]:
    """[bins] bins within which two peaks make one line of a pattern: RESOLVED degrees, at least MERGED."""
    inverse_d = np.exp(COARSE_START + COARSE_STEP * (np.arange(COARSE_BINS) + 0.5))
    theta = np.arcsin(np.minimum(CU_KALPHA1 * inverse_d / 2.0, 0.75))
    return np.maximum(MERGED, np.rint(np.radians(RESOLVED / 2.0) / np.tan(theta) / COARSE_STEP)).astype(
        np.int64
    )


def _coarse(signal: Floats, covered: Floats, radiation: Radiation) -> tuple[np.ndarray, np.ndarray]:
    """height and covered_bins of `Target`: the highest point near each bin, for 16 scales of the cell."""
    wide = np.sqrt(gaussian_filter1d(signal, 0.06 / FINE.step, mode="nearest"))
    # The highest value within half a shift, so that a peak between two scales is not missed.
    centre = COARSE_START + COARSE_STEP * (np.arange(COARSE_BINS) + 0.5)
    sine = 0.5 * CU_KALPHA1 * np.exp(centre)
    angle = np.degrees(2.0 * np.arcsin(np.minimum(sine, 0.75)))
    index = (angle - FINE.two_theta_min) / FINE.step
    inside = (index >= 0) & (index <= FINE.length - 1)
    nearest = np.clip(np.rint(index).astype(np.int64), 0, FINE.length - 1)
    value = np.where(inside, maximum_filter1d(wide, 3)[nearest] * covered[nearest], 0.0)
    value = maximum_filter1d(value, 3)
    seen = np.where(inside, covered[nearest], 0.0)
    steps = np.rint(SHIFTS / COARSE_STEP).astype(np.int64)
    place = np.arange(COARSE_BINS)[:, None] - steps[None, :]  # a cell larger by s has its lines at ln q - s
    valid = (place >= 0) & (place < COARSE_BINS)
    place = np.clip(place, 0, COARSE_BINS - 1)
    height = np.where(valid, value[place], 0.0).astype(np.float32)
    return np.ascontiguousarray(height), np.where(valid, seen[place], 0.0).astype(np.float32)
