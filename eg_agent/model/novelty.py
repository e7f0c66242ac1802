"""How unlike its training a pattern is to the network, from the features that it decides by.

The features are what the auxiliary head reads. Two scores, each in standard deviations of simulated patterns
of structures that were not trained on; the novelty is the higher one:

- the logarithm of a distance: Mahalanobis within the leading principal components of those patterns
  together with what lies outside of them (Ndiour, Ahuja and Tickoo, arXiv:2012.04250, feature
  reconstruction);
- a direction in which simulated patterns of what the network was not made for lie (outlier exposure,
  Hendrycks, Mazeika and Dietterich, ICLR 2019; here a linear probe of a trained network).

The threshold for "out of distribution" is a quantile of ordinary simulated patterns: no measured pattern
takes part. What it refuses, kind by kind, is in `refused`. Mixtures of crystalline phases are not refused:
in these features they look like patterns of one phase.

numpy only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict

from eg_agent.errors import BadInput
from eg_agent.values import VALUE_CONFIG, FloatArray

#: Principal components that are kept. Of 8 to 64, 8 refuse a kind of simulated foreign pattern best that the
#: direction has not seen (chosen on simulated patterns alone).
COMPONENTS = 8
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
    direction: [R] towards foreign patterns, its projection having the standard deviation 1; empty: none.
    direction_middle: mean projection. refused: share out of distribution by kind of simulated pattern, of
    patterns that nothing was fitted on.
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
    direction: FloatArray = field(default_factory=lambda: np.zeros(0))
    direction_middle: float = 0.0
    refused: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        size = len(self.mean)
        good = size and len(self.components) % size == 0 and len(self.direction) in (0, size)
        if not good or not (self.residual > 0 and self.spread > 0):
            raise BadInput("the novelty reference of this card is damaged: run eg-train calibrate again.")

    def log_distance(self, features: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """[n] logarithm of the distance of features [n, R]."""
        x = self._centred(features)
        scaled = np.asarray(self.components).reshape(-1, x.shape[1])
        inside = x @ scaled.T
        length = np.linalg.norm(scaled, axis=1)
        outside = (x**2).sum(1) - ((inside / length) ** 2).sum(1)
        return 0.5 * np.log((inside**2).sum(1) + np.maximum(outside, 0.0) / self.residual**2 + 1e-12)

    def novelty(self, features: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """[n] z of features [n, R]: 0 for an ordinary simulated pattern, in its standard deviations."""
        distant = (self.log_distance(features) - self.middle) / self.spread
        if not len(self.direction):
            return distant
        return np.maximum(distant, self._centred(features) @ self.direction - self.direction_middle)

    def _centred(self, features: npt.ArrayLike) -> npt.NDArray[np.float64]:
        x = np.atleast_2d(np.asarray(features, dtype=np.float64))
        if x.shape[1] != len(self.mean):
            raise BadInput(
                f"the card's novelty reference is for {len(self.mean)} features, this network has "
                f"{x.shape[1]}: run eg-train calibrate again."
            )
        return x - self.mean


def fit_novelty(
    features: npt.ArrayLike,
    *,
    components: int = COMPONENTS,
    quantile: float = 0.99,
    fitted_on: str = "",
    direction: npt.ArrayLike | None = None,
    foreign: Mapping[str, npt.ArrayLike] | None = None,
) -> NoveltyReference:
    """A reference from features [n, R] of simulated patterns of structures that were not trained on.

    Even rows give mean and components, odd rows the scale and the threshold: of rows that the components
    were fitted to the distance is too small.
    direction: [R] towards foreign patterns, of any length, fitted without the odd rows.
    foreign: kind -> features [m, R] that nothing was fitted on, for `refused`.
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
    # One number for all directions outside: so much that these together weigh as one more component.
    residual = max(float(np.sqrt((deviation[kept:] ** 2).sum())), 1e-3 * float(deviation[0]))
    scaled = _rounded(directions[:kept] / deviation[:kept, None]).ravel()
    found = NoveltyReference(mean, scaled, residual, 0.0, 1.0, 0.0, quantile, fitted_on)
    log_distance = found.log_distance(judge)
    found = replace(found, middle=float(log_distance.mean()), spread=float(log_distance.std()))
    if direction is not None:
        towards = np.asarray(direction, dtype=np.float64)
        towards = _rounded(towards / max(float(((judge - mean) @ towards).std()), 1e-12))
        found = replace(found, direction=towards, direction_middle=float(((judge - mean) @ towards).mean()))
    found = replace(found, threshold=float(np.quantile(found.novelty(judge), quantile)))
    refused = {
        kind: float((found.novelty(rows) > found.threshold).mean()) for kind, rows in (foreign or {}).items()
    }
    return replace(found, refused=refused)


def _rounded(value: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The largest element to DIGITS digits, the others to the same decimal."""
    largest = float(np.abs(value).max(initial=0.0))
    if largest == 0.0:
        return value
    return np.round(value, DIGITS - 1 - int(np.floor(np.log10(largest))))
