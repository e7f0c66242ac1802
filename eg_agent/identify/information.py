"""How much a further measurement is expected to tell, in closed form.

Two hypotheses about one reflection: it is absent (forbidden), or it is allowed with an intensity of
which the data so far say N(intensity, sigma^2) on intensity >= 0 (a flat prior: the prior's scale is
far above sigma where the question is open at all). Counting `ratio` times the exposure so far gives
a new, independent estimate with standard error s = sigma / sqrt(ratio), Poisson noise of a steady
background. Its density under either hypothesis is known exactly, so the mutual information between
hypothesis and outcome is one integral.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import log_ndtr

_POINTS = 301  #: of the outcome grid, per density
_FAR = 1e3  #: standard errors that stand for "no doubt"


def entropy(log_probability: npt.NDArray[np.float64]) -> float:
    """Shannon entropy in nats of [n] normalised log-probabilities."""
    probability = np.exp(log_probability)
    return float(-np.sum(probability * np.maximum(log_probability, -1e3)))


def binary_entropy(p: float) -> float:
    """Entropy in nats of a yes-or-no question with probability p."""
    if p <= 0.0 or p >= 1.0:
        return 0.0
    return float(-p * np.log(p) - (1.0 - p) * np.log1p(-p))


def _log_normal(x: npt.NDArray[np.float64], mean: float, sd: float) -> npt.NDArray[np.float64]:
    return -0.5 * ((x - mean) / sd) ** 2 - np.log(sd * np.sqrt(2.0 * np.pi))


def present_mean(intensity: float, sigma: float) -> float:
    """Mean intensity of an allowed reflection: N(intensity, sigma^2) cut off below zero.

    Same units as `intensity`; never zero, so that an allowed reflection always has something to show.
    """
    with np.errstate(over="ignore"):
        ratio = float(np.clip(np.divide(intensity, sigma), -_FAR, _FAR))
    inverse_mills = np.exp(-0.5 * ratio**2 - 0.5 * np.log(2.0 * np.pi) - log_ndtr(ratio))
    return float(max(intensity + sigma * inverse_mills, 1e-3 * sigma))


def absence_information(intensity: float, sigma: float, ratio: float, p_absent: float) -> float:
    """Expected information about "absent or allowed" from counting `ratio` times longer on top.

    intensity, sigma: the estimate so far, any unit; p_absent: probability that it is absent.
    Returns nats, between 0 and the binary entropy of p_absent.
    """
    if not (sigma > 0.0 and ratio > 0.0 and np.isfinite(intensity) and 0.0 < p_absent < 1.0):
        return 0.0
    # In units of sigma from here on. Beyond 1000 of them nothing changes but the floating-point range.
    with np.errstate(over="ignore"):
        intensity, sigma = float(np.clip(np.divide(intensity, sigma), -_FAR, _FAR)), 1.0
    s = float(1.0 / np.sqrt(ratio))
    wide = float(np.hypot(sigma, s))
    # One outcome grid that resolves both densities: around zero at width s, around the estimate at
    # the predictive width.
    present = present_mean(intensity, sigma)
    grid = np.unique(
        np.concatenate(
            [
                np.linspace(-8.0 * s, 8.0 * s, _POINTS),
                np.linspace(min(intensity, 0.0) - 8.0 * wide, max(intensity, present) + 8.0 * wide, _POINTS),
                present + np.linspace(-8.0 * s, 8.0 * s, _POINTS),
            ]
        )
    )
    log_absent = _log_normal(grid, 0.0, s)
    # Integral over I >= 0 of N(I; intensity, sigma) N(y; I, s), over the mass of the cut-off normal.
    product_sd = sigma * s / wide
    product_mean = (intensity * s**2 + grid * sigma**2) / wide**2
    log_allowed = (
        _log_normal(grid, intensity, wide) + log_ndtr(product_mean / product_sd) - log_ndtr(intensity / sigma)
    )
    log_mixture = np.logaddexp(np.log(p_absent) + log_absent, np.log1p(-p_absent) + log_allowed)
    integrand = p_absent * np.exp(log_absent) * (log_absent - log_mixture)
    integrand += (1.0 - p_absent) * np.exp(log_allowed) * (log_allowed - log_mixture)
    information = float(np.trapezoid(np.nan_to_num(integrand), grid))
    return min(max(information, 0.0), binary_entropy(p_absent))


def combined_information(parts: list[float], total: float) -> float:
    """Information of independent reflections on the same question of entropy `total` (nats).

    Each leaves the share 1 - part/total of the entropy; the shares multiply. Never above `total`.
    """
    if total <= 0.0:
        return 0.0
    left = 1.0
    for part in parts:
        left *= 1.0 - min(max(part / total, 0.0), 1.0)
    return total * (1.0 - left)
