"""Fitting the constants of the lookup as an expert, on simulated searches. numpy and scipy only."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from eg_agent.library.expert import Expert
from trainer.library.simulating import Searches
from trainer.metrics import FloatMatrix


def normalised(log_weight: npt.ArrayLike) -> FloatMatrix:
    """[n, 99] log-probabilities of log-weights."""
    value = np.asarray(log_weight, dtype=np.float64)
    value = value - value.max(axis=1, keepdims=True)
    return value - np.log(np.exp(value).sum(axis=1, keepdims=True))


def fit_expert(
    by_group: FloatMatrix,
    group_sizes: npt.NDArray[np.int64],
    log_prior: FloatMatrix,
    label: npt.NDArray[np.int64],
    held: npt.NDArray[np.bool_],
) -> Expert:
    """The `Expert` with the smallest mean negative log-probability of the labels, times a prior.

    by_group: [n, 99] best similarity of each group. log_prior: [99] or [n, 99] nats, what the expert is
    multiplied with. label: [n] group minus 1. held: [n] whether the library holds the structure, for
    `known_probability`.
    """
    rows = np.arange(len(label))

    def make(x: FloatMatrix) -> Expert:
        return Expert(float(x[0]), float(x[1]), float(1.0 / (1.0 + np.exp(-x[2]))))

    def loss(x: FloatMatrix) -> float:
        answer = normalised(make(x).log_scores(by_group, group_sizes) + log_prior)
        return float(-answer[rows, label].mean())

    bounds = [(0.0, 60.0), (0.0, 2.0), (-6.0, -0.5)]
    x = minimize(loss, np.array([6.0, 0.5, -3.0]), method="L-BFGS-B", bounds=bounds).x
    best = by_group.max(axis=1)

    def misjudged(y: FloatMatrix) -> float:
        z = y[1] * (best - y[0])
        return float(np.logaddexp(0.0, np.where(held, -z, z)).mean())

    y = minimize(misjudged, np.array([0.86, 10.0]), method="Nelder-Mead").x
    found = make(x)
    return Expert(found.sharpness, found.crowding, found.misled, float(y[0]), float(y[1]))


def fit_of_searches(searches: Searches) -> Expert:
    """`fit_expert` on simulated searches, with the prior of the stream that they come from."""
    prior = searches.log_prior - np.log(np.exp(searches.log_prior).sum())
    return fit_expert(searches.by_group, searches.group_sizes, prior, searches.label, searches.held)


def bits_over_prior(expert: Expert, searches: Searches) -> dict[str, float]:
    """Mean log2 gain of the true group's probability over the prior: all, held and not held structures."""
    rows = np.arange(len(searches.label))
    prior = searches.log_prior - np.log(np.exp(searches.log_prior).sum())
    answer = normalised(expert.log_scores(searches.by_group, searches.group_sizes) + prior)
    gain = (answer[rows, searches.label] - prior[searches.label]) / np.log(2.0)
    parts = {"all": np.ones(len(rows), dtype=bool), "held": searches.held, "not held": ~searches.held}
    return {name: float(gain[of].mean()) for name, of in parts.items() if of.any()}
