"""What people do to counts before they archive them, as one typed step that a pattern remembers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.signal import savgol_filter

from eg_agent.errors import BadInput
from eg_agent.patterns import Pattern, Radiation

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Processing:
    """Steps in the order in which they are done.

    strip_kalpha2: Rachinger's stripping of K-alpha2 (J. Sci. Instrum. 25 (1948) 254).
    smooth: points of a Savitzky-Golay filter of order 2, odd, 0 for none.
    background: "none"; "snip", clipped by peaks (Ryan et al., Nucl. Instrum. Methods B 34 (1988) 396);
      "polynomial", a Chebyshev polynomial fitted under the peaks (Gan, Ruan and Mo, Chemom. Intell. Lab.
      Syst. 82 (2006) 59).
    background_width: degrees, half window of snip. background_order: of the polynomial.
    clip: negative intensities become 0.
    normalise: the highest point becomes this, or none (1, 100, 1000 and 10000 are usual in archives).
    """

    strip_kalpha2: bool = False
    smooth: int = 0
    background: Literal["none", "snip", "polynomial"] = "none"
    background_width: float = 2.0
    background_order: int = 6
    clip: bool = False
    normalise: float | None = None

    def __post_init__(self) -> None:
        if self.smooth and (self.smooth < 5 or self.smooth % 2 == 0):
            raise BadInput(f"smoothing over {self.smooth} points: give an odd number from 5, or 0 for none.")
        if self.background not in ("none", "snip", "polynomial"):
            raise BadInput(f"background {self.background!r} is unknown: none, snip or polynomial.")
        if not self.background_width > 0 or not 1 <= self.background_order <= 30:
            raise BadInput("background_width must be above 0 degrees, background_order 1 to 30.")
        if self.normalise is not None and not self.normalise > 0:
            raise BadInput(f"normalise {self.normalise:g} must be above 0, or none.")


def process(pattern: Pattern, processing: Processing) -> Pattern:
    """The pattern after the steps of `processing`: no raw counts any more; source.notes names the steps.

    sigma is scaled by `normalise`, and dropped by the other steps (errors are correlated after them).
    Raises BadInput to strip K-alpha2 of a pattern that has none, and to smooth over more points than
    there are.
    """
    angle, y, radiation = pattern.two_theta, pattern.intensity, pattern.radiation
    sigma, notes = pattern.sigma, []
    if processing.strip_kalpha2:
        y, radiation, sigma = strip_kalpha2(angle, y, radiation), Radiation(radiation.wavelength), None
        notes.append("K-alpha2 stripped")
    if processing.smooth:
        if processing.smooth > len(y):
            raise BadInput(
                f"smoothing over {processing.smooth} points needs as many: the pattern has {len(y)}."
            )
        y, sigma = np.asarray(savgol_filter(y, processing.smooth, 2), dtype=np.float64), None
        notes.append(f"smoothed over {processing.smooth} points")
    if processing.background != "none":
        below = (
            snip(angle, y, processing.background_width)
            if processing.background == "snip"
            else polynomial_background(angle, y, processing.background_order)
        )
        y, sigma = y - below, None
        notes.append(f"background subtracted ({processing.background})")
    if processing.clip:
        y = np.maximum(y, 0.0)
        notes.append("negative intensities set to 0")
    if processing.normalise is not None and y.max() > 0:
        factor = processing.normalise / y.max()
        y, sigma = y * factor, None if sigma is None else sigma * factor
        notes.append(f"normalised to {processing.normalise:g}")
    source = replace(pattern.source, notes=(*pattern.source.notes, *notes))
    return replace(
        pattern, intensity=y, radiation=radiation, sigma=sigma, raw_counts=False, source=source
    )  # fmt: skip


def strip_kalpha2(two_theta: npt.ArrayLike, intensity: npt.ArrayLike, radiation: Radiation) -> FloatArray:
    """Intensities [n] of K-alpha1 alone, by Rachinger's recursion from low angles up.

    I1(x) = I(x) - ratio I1(x1), where x1 is the K-alpha1 angle of the spacing whose K-alpha2 stands at x.
    """
    if radiation.wavelength2 is None:
        raise BadInput("there is no K-alpha2 to strip: the pattern has one wavelength.")
    angle, y = np.asarray(two_theta, dtype=np.float64), np.asarray(intensity, dtype=np.float64)
    sines = np.sin(np.radians(angle) / 2) * (radiation.wavelength / radiation.wavelength2)
    partner = 2 * np.degrees(np.arcsin(sines))
    right = np.clip(np.searchsorted(angle, partner), 1, len(angle) - 1)
    share = np.clip((partner - angle[right - 1]) / (angle[right] - angle[right - 1]), 0.0, 1.0)
    alone = np.empty_like(y)
    for i in range(len(y)):  # each point needs those before it
        j, part = right[i], share[i]
        if partner[i] < angle[0]:
            alone[i] = y[i] / (1 + radiation.ratio)
        elif j < i:
            alone[i] = y[i] - radiation.ratio * ((1 - part) * alone[j - 1] + part * alone[j])
        else:  # the partner lies in the last step: the point itself is in the interpolation
            alone[i] = (y[i] - radiation.ratio * (1 - part) * alone[i - 1]) / (1 + radiation.ratio * part)
    return alone


def snip(two_theta: npt.ArrayLike, intensity: npt.ArrayLike, half_window: float) -> FloatArray:
    """Background [n] by clipping peaks: statistics-sensitive, on the log-log-square-root scale.

    half_window: degrees; wider than the half width of a peak, narrower than a halo.
    """
    angle, y = np.asarray(two_theta, dtype=np.float64), np.asarray(intensity, dtype=np.float64)
    low = y.min()
    v = np.log(np.log(np.sqrt(y - low + 1) + 1) + 1)
    widest = min(max(1, round(half_window / float(np.median(np.diff(angle))))), (len(y) - 1) // 2)
    for m in range(widest, 0, -1):  # from wide to narrow: less of a peak's foot is left (Morhac, 1997)
        v[m:-m] = np.minimum(v[m:-m], 0.5 * (v[: -2 * m] + v[2 * m :]))
    return (np.exp(np.exp(v) - 1) - 1) ** 2 - 1 + low


def polynomial_background(
    two_theta: npt.ArrayLike, intensity: npt.ArrayLike, order: int, rounds: int = 100
) -> FloatArray:
    """Background [n]: a Chebyshev polynomial, fitted again and again to what lies below the last one."""
    angle, y = np.asarray(two_theta, dtype=np.float64), np.asarray(intensity, dtype=np.float64)
    t = (2 * angle - angle[0] - angle[-1]) / max(float(angle[-1] - angle[0]), 1e-9)
    basis, _ = np.linalg.qr(np.polynomial.chebyshev.chebvander(t, min(order, len(y) - 1)))
    clipped = y.copy()
    for _ in range(rounds):
        fitted = basis @ (basis.T @ clipped)
        lower = np.minimum(clipped, fitted)
        if np.abs(lower - clipped).max() <= 1e-3 * (np.abs(fitted).max() + 1e-12):
            return fitted
        clipped = lower
    return basis @ (basis.T @ clipped)
