"""Evidence of a block of overlapped lines: a Gaussian likelihood of intensities times non-negative priors.

The likelihood of the intensities I of a block is exp(c.I - I.H.I/2) with H and c from the normal
equations. The prior of each intensity is a mixture of exponentials (`Mixtures`), which covers Wilson's
acentric law (one exponential), his centric law, accidental absences (small means) and foreign lines.
For one line the integral over I >= 0 is elementary (the singlet formula of ExtSym: Markvardsen et al.,
Acta Cryst. A57 (2001) 47, for each component); for overlapped lines it is found by expectation
propagation (Minka, UAI 2001), many blocks at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import erfc, erfcx, logsumexp

Floats = npt.NDArray[np.float64]

_SQRT2 = float(np.sqrt(2.0))
_LOG_2PI = float(np.log(2.0 * np.pi))


@dataclass(frozen=True, slots=True)
class Mixtures:
    """Priors of intensities: log_weight and mean of exponential components, both [..., J]."""

    log_weight: Floats
    mean: Floats


def tilted(cavity_mean: Floats, cavity_variance: Floats, prior: Mixtures) -> tuple[Floats, Floats, Floats]:
    """log Z, mean and variance of N(I; cavity) times a prior over I >= 0, all [...]."""
    m, v = np.expand_dims(cavity_mean, -1), np.expand_dims(cavity_variance, -1)
    root = np.sqrt(v)
    t = (m - v / prior.mean) / root
    # log Phi(t) = -t^2/2 + log(erfcx(-t/sqrt2)/2); the quadratic terms are joined before they cancel
    scaled = np.where(t < 5.0, erfcx(np.minimum(-t, 30.0 * np.abs(t) + 1.0) / _SQRT2), 0.0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        left = -0.5 * m * m / v + np.log(0.5 * scaled)
        right = (
            v / (2.0 * prior.mean**2) - m / prior.mean + np.log1p(-0.5 * erfc(np.maximum(t, 0.0) / _SQRT2))
        )
        hazard = np.where(t < 5.0, np.sqrt(2.0 / np.pi) / scaled, np.exp(-0.5 * t * t) / np.sqrt(2.0 * np.pi))
        log_z = prior.log_weight - np.log(prior.mean) + np.where(t < 5.0, left, right)
        deep = t < -30.0
        inverse = 1.0 / np.where(deep, t, -30.0)
        mean = np.where(deep, -root * inverse * (1.0 - 2.0 * inverse**2), m - v / prior.mean + root * hazard)
        ratio = np.where(deep, inverse**2 * (1.0 - 6.0 * inverse**2), 1.0 - hazard * (t + hazard))
    variance = v * np.clip(ratio, 1e-14, 1.0)
    total: Floats = np.asarray(logsumexp(log_z, axis=-1))
    share = np.exp(log_z - np.expand_dims(total, -1))
    first = (share * mean).sum(axis=-1)
    second = (share * (variance + (mean - first[..., None]) ** 2)).sum(axis=-1)
    return total, first, second


def block_evidence(
    h: Floats, c: Floats, prior: Mixtures, *, iterations: int = 30, damping: float = 0.7
) -> tuple[Floats, Floats]:
    """log of the integral over I >= 0 of exp(c.I - I.H.I/2) times the priors, for many blocks of one size.

    h: [b, d, d]; c: [b, d]; prior: [b, d, J]. Returns log-evidence [b] and posterior means [b, d].
    Exact for d = 1; expectation propagation with sites of non-negative precision for d > 1.
    """
    d = c.shape[1]
    diagonal = np.einsum("bii->bi", h)
    if d == 1:
        variance = 1.0 / diagonal[:, 0]
        centre = c[:, 0] * variance
        log_z, mean, _ = tilted(centre, variance, Mixtures(prior.log_weight[:, 0], prior.mean[:, 0]))
        # the Gaussian above is normalised; the likelihood here is not
        return log_z + 0.5 * (_LOG_2PI + np.log(variance)) + 0.5 * centre**2 / variance, mean[:, None]
    weight = np.exp(prior.log_weight)
    prior_mean = (weight * prior.mean).sum(-1) / weight.sum(-1)
    precision = np.maximum(1.0 / np.maximum(prior_mean, 1e-300) ** 2, 1e-6 * diagonal)
    shift = precision * prior_mean
    floor, ceiling = 1e-9 * diagonal, 1e10 * diagonal
    for step in range(iterations):
        covariance, mean = _posterior(h, c, precision, shift)
        marginal = np.einsum("bii->bi", covariance)
        cavity_precision = np.maximum(1.0 / marginal - precision, 1e-9 / marginal)
        cavity_variance = 1.0 / cavity_precision
        cavity_mean = cavity_variance * (mean / marginal - shift)
        _, first, second = tilted(cavity_mean, cavity_variance, prior)
        new = np.clip(1.0 / second - cavity_precision, floor, ceiling)
        # where the precision is clipped, the shift still gives the right mean
        new_shift = first * (new + cavity_precision) - cavity_mean * cavity_precision
        rate = 1.0 if step == 0 else damping
        change = np.max(np.abs(first - mean) * np.sqrt(diagonal))
        precision = precision + rate * (new - precision)
        shift = shift + rate * (new_shift - shift)
        if step > 3 and change < 1e-3:
            break
    return _ep_log_evidence(h, c, prior, precision, shift)


def _posterior(h: Floats, c: Floats, precision: Floats, shift: Floats) -> tuple[Floats, Floats]:
    total = h.copy()
    d = c.shape[1]
    total[:, np.arange(d), np.arange(d)] += precision
    scale = 1.0 / np.sqrt(np.einsum("bii->bi", total))
    inverse = np.linalg.inv(total * scale[:, :, None] * scale[:, None, :])
    covariance = inverse * scale[:, :, None] * scale[:, None, :]
    return covariance, np.einsum("bij,bj->bi", covariance, c + shift)


def _ep_log_evidence(
    h: Floats, c: Floats, prior: Mixtures, precision: Floats, shift: Floats
) -> tuple[Floats, Floats]:
    d = c.shape[1]
    covariance, mean = _posterior(h, c, precision, shift)
    marginal = np.einsum("bii->bi", covariance)
    cavity_precision = np.maximum(1.0 / marginal - precision, 1e-9 / marginal)
    variance = 1.0 / cavity_precision
    centre = variance * (mean / marginal - shift)
    log_z, _, _ = tilted(centre, variance, prior)
    joined = (centre * cavity_precision + shift) ** 2 / (cavity_precision + precision)
    site = log_z + 0.5 * np.log1p(precision * variance) - 0.5 * (joined - centre**2 * cavity_precision)
    total = h.copy()
    total[:, np.arange(d), np.arange(d)] += precision
    log_det = np.linalg.slogdet(total)[1]
    gaussian = 0.5 * (d * _LOG_2PI - log_det + np.einsum("bi,bi->b", c + shift, mean))
    return site.sum(axis=1) + gaussian, mean
