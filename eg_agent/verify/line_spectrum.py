"""All lines of a fit as curves over their place in the lattice: what a whole pattern looks like, whatever it
was measured with.

A line's place is the logarithm of the cube root of the cell's volume over its d (`line_features`), so that
isotypic structures have their lines in about the same places. Intensities are those over what is expected at
an angle (no Lorentz-polarisation factor and no decay is left in them), times the reflections of a line, and
over the square of the place, so that the first lines count as much as a diffractometer shows them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eg_agent.verify.line_features import FEATURES

Floats = npt.NDArray[np.float64]

#: Places of the curves' points, and by how much a line is spread over them (standard deviation).
PLACES = np.arange(-0.9, 1.8, 0.03)
SPREAD = 0.018
#: Three curves: roots of the intensities over the highest; logarithms of their errors over that, where there
#: are lines; how many lines there are (at most `MOST`).
N_SPECTRUM = 3 * PLACES.size
#: Least and most error over the highest intensity, and lines at a place that count.
ERRORS, MOST = (1e-4, 1.0), 3.0
#: Factors that bring the last two curves to about one, and lines from which on a place has one.
BY_ERROR, BY_LINES, THERE = 0.2, 0.3, 0.05

_ERROR, _STANDING, _INTENSITY, _BLENDED, _PLACE = (
    FEATURES.index(name) for name in ("error", "standing", "intensity", "blended", "place")
)


def line_spectrum(values: Floats) -> Floats:
    """[N_SPECTRUM] of the features of lines [k, 15] (`LineFeatures.values`)."""
    values = np.asarray(values, dtype=np.float64)
    place = values[:, _PLACE]
    unit = np.exp(values[:, _BLENDED] - 2.0 * place)
    # features are halves of logarithms; a line below zero has its error as intensity there
    intensity = np.exp(2.0 * values[:, _INTENSITY]) * (values[:, _STANDING] > 0.0) * unit
    error = np.exp(2.0 * values[:, _ERROR]) * unit
    near = np.exp(-0.5 * ((PLACES[:, None] - place) / SPREAD) ** 2)
    height, lines = near @ intensity, near.sum(axis=1)
    highest = max(float(height.max()), 1e-12)
    uncertain = np.sqrt(near**2 @ error**2) / highest
    return np.concatenate(
        [
            np.sqrt(height / highest),
            BY_ERROR * np.log(np.clip(uncertain, *ERRORS)) * (lines > THERE),
            BY_LINES * np.minimum(lines, MOST),
        ]
    )
