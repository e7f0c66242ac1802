"""The lines of a fit in numbers, as the absence network reads them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eg_agent.patterns.radiation import Radiation
from eg_agent.verify import wilson
from eg_agent.verify.lattice_shape import lattice_shape
from eg_agent.verify.likelihood import Likelihood
from eg_agent.verify.line_kinds import N_PARITIES, kinds_of, parities_of
from eg_agent.verify.metric import Cell, MetricSystem

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Of a line: log of its standard error over its expected intensity; intensity over standard error, as a
#: signed logarithm and cut at 4; log of intensity (at least its standard error) over what is expected, and
#: over the strongest; log of its standard error over the strongest; log of what overlap leaves of what is
#: known of it; log of the reflections that are blended in it; log of the share of its variance that is
#: counting noise; log of the cube root of the cell's volume over its d; then `parities_of`.
FEATURES = (
    "error", "standing", "cut", "intensity", "of_strongest", "error_of_strongest", "apart", "blended",
    "counting", "place", *(f"parity {i}" for i in range(N_PARITIES)),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class LineFeatures:
    """values: [k, 15] in the order of `FEATURES`; kinds: [k] (`line_kinds`); family: place in FAMILIES;
    shape: [4] numbers of the lattice (`LatticeShape`)."""

    values: Floats
    kinds: Ints
    family: int
    shape: Floats


def line_features(
    likelihood: Likelihood, cell: Cell, system: MetricSystem, radiation: Radiation
) -> LineFeatures:
    """What the absence network reads of a likelihood; cell: angstrom and degrees, refined. Raises ValueError
    for a triclinic one, which leaves nothing to tell."""
    shape = lattice_shape(cell, system)
    if shape is None:
        raise ValueError("a triclinic lattice has no features.")
    lines = likelihood.lines
    at = np.interp(likelihood.two_theta, likelihood.problem.data.grid, likelihood.inflation)
    precision = np.diag(likelihood.precision)
    values = features_of(
        two_theta=likelihood.two_theta,
        wavelength=float(likelihood.problem.wavelengths[0]),
        radiation=radiation,
        intensity=unconstrained(likelihood.precision, likelihood.moment),
        sigma=likelihood.sigma,
        precision=precision,
        reflections=lines.multiplicity,
        counting=1.0 / np.maximum(at, 1.0),
        volume=math.exp(shape.log_volume),
        parities=parities_of(lines.representative, system),
    )
    kinds = kinds_of(lines.representative, system)
    return LineFeatures(values, kinds, shape.family, shape.numbers)


def features_of(
    *,
    two_theta: Floats,
    wavelength: float,
    radiation: Radiation,
    intensity: Floats,
    sigma: Floats,
    precision: Floats,
    reflections: Floats,
    counting: Floats,
    volume: float,
    parities: Floats,
) -> Floats:
    """[k, 15] in the order of `FEATURES`.

    two_theta: [k] degrees; wavelength: angstrom. intensity: [k] unconstrained, with standard errors sigma;
    precision: [k] inverse variance of each line if it stood alone. reflections: [k] in a line, both of each
    Friedel pair. counting: [k] share of the variance that is counting noise. volume: of the conventional
    cell, angstrom^3; parities: [k, 5] (`parities_of`).
    """
    at = np.nan_to_num(two_theta, nan=170.0)
    sigma = np.maximum(sigma, 1e-12)
    s2 = (np.sin(np.radians(0.5 * at)) / wavelength) ** 2
    unit = wilson.lorentz_polarisation(at, radiation)
    expected = wilson.expected_unit(s2, unit, reflections, np.maximum(intensity, 0.0), sigma) * reflections
    expected = np.maximum(expected, 1e-12)
    strongest = max(float(intensity.max(initial=0.0)), 1e-9)
    standing = intensity / sigma
    seen = np.maximum(intensity, sigma)
    apart = 1.0 / (np.maximum(precision, 1e-30) * sigma**2)
    return np.stack(
        [
            0.5 * np.log(np.clip(sigma / expected, 1e-4, 1e2)),
            np.sign(standing) * np.log1p(np.abs(standing)),
            0.5 * np.clip(standing, -4.0, 4.0),
            0.5 * np.log(np.clip(seen / expected, 1e-4, 1e2)),
            0.5 * np.log(np.clip(seen / strongest, 1e-4, 1.0)),
            0.5 * np.log(np.clip(sigma / strongest, 1e-5, 1.0)),
            0.5 * np.log(np.clip(apart, 1e-4, 1.0)),
            np.log(np.maximum(0.5 * reflections, 1.0)),
            np.log(np.clip(counting, 1e-3, 1.0)),
            np.log(2.0 * np.sqrt(s2)) + math.log(volume) / 3.0,
            *parities.T,
        ],
        axis=1,
    )


def unconstrained(precision: Floats, moment: Floats) -> Floats:
    """[k] intensities of either sign that fit best; a small ridge keeps lines that overlap wholly finite."""
    scale = 1.0 / np.sqrt(np.maximum(np.diag(precision), 1e-300))
    unit = precision * np.outer(scale, scale)
    return scale * np.linalg.solve(unit + 1e-6 * np.eye(scale.size), scale * moment)
