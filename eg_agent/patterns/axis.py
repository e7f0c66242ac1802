"""What the abscissa is: Q and d are converted when it says so; what cannot be 2-theta is refused."""

from __future__ import annotations

import re
from typing import Literal

import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadPattern
from eg_agent.patterns.coordinate import two_theta_of_d, two_theta_of_q
from eg_agent.patterns.radiation import Radiation

Axis = Literal["2-theta", "Q (1/angstrom)", "Q (1/nm)", "d (angstrom)", "d (nm)", "theta", "other"]
Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]

_INVERSE = r"(?:\^?\s*[-−]\s*1|⁻¹|\*\*-1|\$\^\{-1\}\$)"
_PATTERNS: tuple[tuple[Axis, str], ...] = (
    ("2-theta", r"2[\s_*-]*(?:th|θ|ϑ)|two[\s_-]*theta|\btth\b|^ttheta|diffraction[\s_-]*angle"),
    ("Q (1/nm)", rf"\bq(?:[\W_].*)?(?:nm[\s_]*{_INVERSE}|1\s*/\s*nm|/\s*nm|inv(?:erse)?[\s_-]*n)"),
    (
        "Q (1/angstrom)",
        rf"^\W*q(?:$|[\W_])|momentum[\s_-]*transfer|scattering[\s_-]*vector|(?:\ba|å|ang\w*)[\s_]*{_INVERSE}|1\s*/\s*(?:a\b|å|ang)",
    ),
    ("d (nm)", r"^\W*d(?:[\s_-]*(?:spacing|value|hkl))?[\s_(\[,/]*nm\b"),
    (
        "d (angstrom)",
        r"^\W*d(?:[\s_-]*(?:spacing|value|hkl)\b|[\s_(\[,/]*(?:a|å|ang\w*)\b|\W*$)|\bd[\s_-]spacing",
    ),
    ("theta", r"^\W*(?:theta|θ|omega)\b"),
    ("2-theta", r"^\W*(?:angle|deg|degrees?|x|position|pos\b)"),
    ("other", r"energy|kev(?![a-z])|\btof(?![a-z])|time[\s_-]*of[\s_-]*flight|\bchannel|wavenumber|raman"),
)


def axis_of_name(name: str) -> Axis | None:
    """The kind of axis that a column name or axis label states, or None."""
    low = name.strip().lower()
    for axis, pattern in _PATTERNS:
        if re.search(pattern, low):
            return axis
    return None


def to_two_theta(x: Array, axis: Axis | None, radiation: Radiation) -> tuple[Array, Index, list[str]]:
    """Abscissa [n] as 2-theta in degrees, the order that sorts it, and notes on what was done.

    Q and d are converted with the mean wavelength when the axis says so. Returns (two_theta [k],
    index [k] into x, notes); points out of reach of the wavelength are left out and noted. Raises
    BadPattern when the axis is theta or something else, or does not say what it is and cannot be 2-theta.
    """
    notes: list[str] = []
    if axis in ("theta", "other"):
        what = "theta or omega, not 2-theta" if axis == "theta" else "not 2-theta, Q or d"
        raise BadPattern(f"The axis is called {what}: export the pattern against 2-theta, Q or d.")
    wavelength = radiation.mean_wavelength
    value = x
    if axis is None:
        _refuse_hidden_d(x)
        _refuse_hidden_q(x, wavelength)
    elif axis.startswith("Q"):
        value = two_theta_of_q(x * (0.1 if "nm" in axis else 1.0), wavelength)
    elif axis.startswith("d"):
        value = two_theta_of_d(x * (10.0 if "nm" in axis else 1.0), wavelength)
    index: Index = np.arange(x.size, dtype=np.int64)
    if axis not in (None, "2-theta"):
        notes.append(f"{axis} converted to 2-theta with {wavelength:.6g} angstrom")
    known = value[np.isfinite(value)]
    if known.size > 1 and np.all(np.diff(known) < 0.0):
        value, index = value[::-1], index[::-1]
        if axis in (None, "2-theta"):
            notes.append("points were in descending order and were reversed")
    if axis in (None, "2-theta"):
        return value, index, notes
    reach = np.isfinite(value)
    if not reach.all():
        notes.append(f"{np.count_nonzero(~reach)} points out of reach of this wavelength were left out")
    return value[reach], index[reach], notes


def _refuse_hidden_d(x: Array) -> None:
    steps = -np.diff(x)
    if x.size < 2 or not np.all(steps > 0.0):
        return
    uneven = steps.max() > 3.0 * max(steps.min(), 1e-12)
    # d of a scan even in angle falls by ever smaller steps
    shrinking = np.median(steps[: steps.size // 4 + 1]) > 2.0 * np.median(steps[-(steps.size // 4 + 1) :])
    if uneven and shrinking:
        raise BadPattern(
            f"The axis falls from {x[0]:g} to {x[-1]:g} by shrinking steps, which looks like d "
            "and not 2-theta: name the column 'd (A)', or give 2-theta in degrees."
        )


def _refuse_hidden_q(x: Array, wavelength: float) -> None:
    known = x[np.isfinite(x)]
    if known.size == 0:
        return
    low, top = float(known.min()), float(known.max())
    if low < 0.0 or top >= 180.0:
        raise BadPattern(
            f"The axis runs from {low:g} to {top:g}, which cannot be 2-theta in degrees: give "
            "2-theta, or name the column 'Q (1/A)', 'Q (1/nm)' or 'd (A)' so that it is converted."
        )
    # below 0.6 angstrom a whole pattern does fit under 15 degrees
    if top < 15.0 and wavelength > 0.6:
        d_min = wavelength / (2.0 * np.sin(np.radians(top) / 2.0))
        raise BadPattern(
            f"The axis ends at {top:g}, as 2-theta no more than d = {d_min:.2g} angstrom, and looks like "
            "Q: name the column 'Q (1/A)' so that it is converted, or measure a longer range."
        )
