"""How unlike its training a pattern is to the network: a distance among the features it decides by.

The features are what the auxiliary head reads. Of simulated patterns of structures that were not trained
on, their mean and their leading principal components are kept; a pattern's distance is the Mahalanobis
distance within these components together with what lies outside of them (Ndiour, Ahuja and Tickoo,
arXiv:2012.04250, feature reconstruction), its logarithm counted in standard deviations of simulated
patterns. The threshold for "out of distribution" is a quantile of the same simulated patterns: no
measured pattern takes part.

numpy only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict

from eg_agent.errors import BadInput
from eg_agent.values import VALUE_CONFIG, FloatArray

#: Principal components that are kept.
COMPONENTS = 32
#: Digits of a stored feature; the card stays below 100 kB.
DIGITS = 5


@dataclass(frozen=True, eq=False)
class NoveltyReference:
    """What the features of ordinary patterns look like.

    mean: [R] of the features. components: [k R] directions divided by their standard deviations, row by
    row. residual: standard deviation of a feature vector's length outside the components.
    middle, spread: mean and standard deviation of the log distance. threshold: novelty above which a
    pattern is out of distribution; quantile: of simulated patterns, that it was taken at.
    fitted_on: which patterns.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    mean: FloatArray
    components: FloatArray
    residual: float
    middle: float
    spread: float
    threshold: float
    quantile: float
    fitted_on: str = ""

    def __post_init__(self) -> None:
        size = len(self.mean)
        good = size and len(self.components) % size == 0
        if not good or not (self.residual > 0 and self.spread > 0):
            raise BadInput("the novelty reference of this card is damaged: run eg-train calibrate again.")

    def log_distance(self, features: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """[n] logarithm of the distance of features [n, R]."""
        x = np.atleast_2d(np.asarray(features, dtype=np.float64))
        if x.shape[1] != len(self.mean):
            raise BadInput(
                f"the card's novelty reference is for {len(self.mean)} features, this network has "
                f"{x.shape[1]}: run eg-train calibrate again."
            )
        x = x - self.mean
        scaled = np.asarray(self.components).reshape(-1, x.shape[1])
        inside = x @ scaled.T
        length = np.linalg.norm(scaled, axis=1)
        outside = (x**2).sum(1) - ((inside / length) ** 2).sum(1)
        return 0.5 * np.log((inside**2).sum(1) + np.maximum(outside, 0.0) / self.residual**2 + 1e-12)

    def novelty(self, features: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """[n] z of features [n, R]: 0 for an ordinary simulated pattern, in its standard deviations."""
        return (self.log_distance(features) - self.middle) / self.spread


def fit_novelty(
    features: npt.ArrayLike,
    *,
    components: int = COMPONENTS,
    quantile: float = 0.99,
    fitted_on: str = "",
) -> NoveltyReference:
    """A reference from features [n, R] of simulated patterns of structures that were not trained on.

    Even rows give mean and components, odd rows the scale and the threshold: of rows that the components
    were fitted to the distance is too small.
    """
    x = np.asarray(features, dtype=np.float64)
    if x.ndim != 2 or len(x) < 40:
        raise BadInput(f"a novelty reference needs at least 40 patterns, not {len(x)}: give more.")
    fit, judge = x[::2], x[1::2]
    mean = np.round(fit.mean(0), DIGITS)
    _, deviation, directions = np.linalg.svd(fit - mean, full_matrices=False)
    kept = min(components, len(fit) // 4, x.shape[1])
    deviation = deviation / np.sqrt(len(fit))
    kept = min(kept, int((deviation > 1e-6 * deviation[0]).sum()))
    scaled = directions[:kept] / deviation[:kept, None]
    digits = DIGITS - 1 - np.floor(np.log10(np.abs(scaled).max())).astype(int)
    # One number for all directions outside: so much that these together weigh as one more component.
    residual = max(float(np.sqrt((deviation[kept:] ** 2).sum())), 1e-3 * float(deviation[0]))
    bare = NoveltyReference(mean, np.round(scaled, digits).ravel(), residual, 0.0, 1.0, 0.0, quantile)
    log_distance = bare.log_distance(judge)
    middle, spread = float(log_distance.mean()), float(log_distance.std())
    threshold = float(np.quantile((log_distance - middle) / spread, quantile))
    return NoveltyReference(
        bare.mean, bare.components, residual, middle, spread, threshold, quantile, fitted_on
    )
