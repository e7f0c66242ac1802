"""Lines of another wavelength: K-beta that the filter lets through, and tungsten L-alpha of an old tube."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eg_agent.patterns.radiation import ANODES, Radiation

Floats = npt.NDArray[np.floating]

#: Tungsten L-alpha1, angstrom (Deslattes et al., Rev. Mod. Phys. 75 (2003) 35).
TUNGSTEN = 1.476300
#: Largest share of the main line's area that such a line has.
SHARES = {"beta": 0.15, "tungsten": 0.08}
#: Strong lines that are asked for company, how many must have it, and their share at least.
_ASKED, _WITNESSES, _AGREE = 8, 2, 0.5


def stray_lines(
    two_theta: Floats,
    sigma: Floats,
    area: Floats,
    significance: Floats,
    fwhm: Floats,
    wavelength: float,
    radiation: Radiation,
) -> npt.NDArray[np.bool_]:
    """[k] whether a line is probably the K-beta or tungsten line of a stronger one.

    One line at such a place is chance; so the strongest lines are asked, and where at least half of those
    whose company could be seen have one, and at least two, and of about one share of the area, all such are
    stray. two_theta, sigma, fwhm: [k] degrees; area, significance: [k]. wavelength: angstrom of the lines.
    """
    stray = np.zeros(len(two_theta), dtype=bool)
    anode = next((a for a in ANODES.values() if abs(wavelength / a[0] - 1) < 1e-3), None)
    if anode is None or radiation.kind != "x-ray" or len(two_theta) < 4:
        return stray
    for name, other in (("beta", anode[2]), ("tungsten", TUNGSTEN)):
        if other < wavelength:
            stray |= _company(two_theta, sigma, area, significance, fwhm, other / wavelength, SHARES[name])
    return stray


def _company(
    two_theta: Floats,
    sigma: Floats,
    area: Floats,
    significance: Floats,
    fwhm: Floats,
    ratio: float,
    most: float,
) -> npt.NDArray[np.bool_]:
    stray = np.zeros(len(two_theta), dtype=bool)
    at = 2 * np.degrees(np.arcsin(np.sin(np.radians(two_theta / 2)) * ratio))
    strongest = np.argsort(-area)
    pairs: list[tuple[int, int, float]] = []
    for i in strongest:
        if at[i] < two_theta[0] - fwhm[0]:
            continue
        off = np.abs(two_theta - at[i])
        j = int(off.argmin())
        near = off[j] < 3 * np.hypot(sigma[i], sigma[j]) + 0.1 * fwhm[j]
        if near and area[j] < most * area[i]:
            pairs.append((int(i), j, float(area[j] / area[i])))
    if len(pairs) < _WITNESSES:
        return stray
    share = float(np.median([s for i, _, s in pairs if i in strongest[: 2 * _ASKED]] or [0.0]))
    # a line is asked when its company would stand out: by the error of areas, from significance
    error = float(np.median(area / np.maximum(significance, 1e-9)))
    asked = [i for i in strongest[:_ASKED] if share * area[i] > 6 * error and at[i] > two_theta[0] - fwhm[0]]
    having = [i for i, _, s in pairs if i in asked and share / 2.5 < s < 2.5 * share]
    if len(having) < _WITNESSES or len(having) < _AGREE * len(asked):
        return stray
    for _, j, s in pairs:
        if share / 3 < s < 3 * share:
            stray[j] = True
    return stray
