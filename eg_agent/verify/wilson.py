"""Expected intensities: Wilson statistics whose mean depends on angle, multiplicity and polarisation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eg_agent.patterns.radiation import Radiation
from eg_agent.verify.ep import Mixtures, tilted

Floats = npt.NDArray[np.float64]

#: Means, relative to the local mean, and weights of the exponential components of allowed intensities:
#: maximum likelihood on the calculated lines of 1,723 mineral and computed structures. (Wilson's acentric law
#: alone, one component of mean 1, is worse by 0.23 nats a line: centric structures and heavy atoms on
#: special positions make many more weak lines.)
SCALES = np.array([0.0003, 0.003, 0.03, 0.2, 0.7, 1.6, 4.0])
WEIGHTS = np.array([0.024, 0.025, 0.092, 0.144, 0.193, 0.512, 0.010])


#: Lines that the general weights are worth against a pattern's own.
WEIGHT_STRENGTH = 60.0


def own_weights(relative: Floats, error: Floats, share: Floats) -> Floats:
    """[J] weights of the components for one structure, from its own lines.

    relative, error: [k] intensities and their standard errors over their expected values; share: [k] how
    much each line counts (0 to 1: chance that it is allowed and free of others). Expectation maximisation
    with a Dirichlet prior at `WEIGHTS`: light-atom structures have few weak lines, those with heavy atoms
    on special positions many.
    """
    general = WEIGHTS / WEIGHTS.sum()
    error = np.maximum(error, 1e-6)
    flat = np.broadcast_to(SCALES, (relative.size, SCALES.size))
    each = np.empty_like(flat)
    for j in range(SCALES.size):
        one = Mixtures(np.zeros((relative.size, 1)), flat[:, j : j + 1])
        each[:, j] = tilted(relative, error**2, one)[0]
    weights = general
    for _ in range(8):
        log_part = each + np.log(weights)
        part = np.exp(log_part - log_part.max(axis=1, keepdims=True))
        part *= (share / part.sum(axis=1))[:, None]
        weights = WEIGHT_STRENGTH * general + part.sum(axis=0)
        weights = weights / weights.sum()
    return weights


def lorentz_polarisation(two_theta: Floats, radiation: Radiation, *, polarised: bool = False) -> Floats:
    """[k] intensity factor of powder lines at two_theta (degrees) without the structure factor.

    X-rays: (1 + cos^2 2theta) / (sin^2 theta cos theta), without the polarisation term for a polarised
    (synchrotron) beam or neutrons.
    """
    theta = np.radians(np.clip(0.5 * np.nan_to_num(two_theta, nan=179.0), 0.2, 89.0))
    lorentz = 1.0 / (np.sin(theta) ** 2 * np.cos(theta))
    if radiation.kind == "neutron" or polarised:
        return lorentz
    return lorentz * (1.0 + np.cos(2.0 * theta) ** 2)


def expected_unit(s2: Floats, unit: Floats, multiplicity: Floats, intensity: Floats, sigma: Floats) -> Floats:
    """[k] expected intensity of one reflection of each line, falling smoothly with (sin theta / lambda)^2.

    s2: [k]; unit: [k] Lorentz-polarisation factor; multiplicity: [k] reflections that may contribute
    (0: left out); intensity and sigma: [k]. A gamma regression with a log link: mean = multiplicity *
    unit * exp(a + b s2 + c s2^2), damped towards a constant fall where there are few lines.
    """
    used = multiplicity > 0
    if not used.any() or intensity[used].max(initial=0.0) <= 0.0:
        return unit * max(float(intensity.max(initial=0.0)), 1e-12)
    x = s2 / max(float(s2.max()), 1e-12)
    design = np.stack([np.ones_like(x), x, x * x], axis=1)
    base = np.log(np.maximum(unit * multiplicity, 1e-300))
    ratio = intensity[used].sum() / np.exp(base[used]).sum()
    coefficients = np.array([np.log(max(ratio, 1e-300)), 0.0, 0.0])
    prior = np.array([1e-6, 0.3, 0.3])
    for _ in range(12):
        mean = np.exp(np.clip(base + design @ coefficients, -600, 600))[used]
        reliable = 1.0 / (1.0 + (sigma[used] / mean) ** 2)
        pull = reliable * (np.minimum(intensity[used] / mean, 30.0) - 1.0)
        columns = design[used]
        curvature = columns.T @ (reliable[:, None] * columns) + np.diag(prior)
        gradient = columns.T @ pull - prior * (coefficients - [coefficients[0], 0.0, 0.0])
        delta = np.clip(np.linalg.solve(curvature, gradient), -2.0, 2.0)
        coefficients = coefficients + delta
        if np.max(np.abs(delta)) < 1e-4:
            break
    return unit * np.exp(np.clip(design @ coefficients, -600, 600))
