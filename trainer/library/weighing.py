"""Fitting how much a network and a library count together, on labelled patterns. numpy and scipy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from eg_agent.model.conformal import fit_sets
from eg_agent.model.fusion import LibraryWeights
from trainer.calibrate import FoldResult
from trainer.library.calibrating import normalised
from trainer.metrics import FloatMatrix

#: Standard deviation of what is expected of each weight about 1.
WIDTH = 0.5
#: Bounds of each weight.
BOUNDS = (0.0, 2.0)


def fit_weights(
    log_probability: FloatMatrix,
    log_prior: FloatMatrix,
    lookup: FloatMatrix,
    labels: npt.NDArray[np.int64],
    fitted_with: str = "",
) -> LibraryWeights:
    """Maximum a posteriori weights of labelled patterns: a logistic regression in three coefficients, convex.

    log_probability: [n, 99] of the network, calibrated. log_prior: [99] or [n, 99] inside it.
    lookup: [n, 99] nats of the library, with a uniform prior. labels: [n] index of the group.
    """
    prior_NG = np.broadcast_to(log_prior, log_probability.shape)
    features_3NG = np.stack([log_probability - prior_NG, lookup, prior_NG])
    rows, n = np.arange(len(labels)), len(labels)
    at_label_3N = features_3NG[:, rows, labels]

    def loss(x: FloatMatrix) -> tuple[float, FloatMatrix]:
        log_p = normalised(np.tensordot(x, features_3NG, 1))
        expected_3N = np.einsum("ng,kng->kn", np.exp(log_p), features_3NG)
        away = (x - 1.0) / WIDTH
        nats = -float(log_p[rows, labels].sum()) + 0.5 * float(away @ away)
        return nats / n, ((expected_3N - at_label_3N).sum(axis=1) + away / WIDTH) / n

    x = minimize(loss, np.ones(3), jac=True, method="L-BFGS-B", bounds=[BOUNDS] * 3).x
    return LibraryWeights(float(x[0]), float(x[1]), float(x[2]), fitted_with)


@dataclass(frozen=True, eq=False)
class Joined:
    """Network and library out of fold: log_prob [n, 99]; in_set, set_size [n]; the weights of each fold."""

    log_prob: FloatMatrix
    in_set: npt.NDArray[np.bool_]
    set_size: npt.NDArray[np.int64]
    weights: tuple[LibraryWeights, ...]


def join_folds(
    network: FoldResult,
    posteriors: Sequence[FloatMatrix],
    lookup: FloatMatrix,
    labels: npt.NDArray[np.int64],
    folds: npt.NDArray[np.int64],
    coverage: float = 0.9,
) -> Joined:
    """Join every pattern with weights that were fitted on the other folds.

    network: of `trainer.calibrate.calibrate_folds` with the same folds. posteriors: for each of its fits, the
    network's answers [n, 99] to all patterns with that fit.
    """
    log_prob = np.empty_like(lookup)
    in_set, set_size = np.zeros(len(labels), dtype=bool), np.zeros(len(labels), dtype=np.int64)
    found: list[LibraryWeights] = []
    for one, fit, said in zip(np.unique(folds), network.fits, posteriors, strict=True):
        out, rest = folds == one, folds != one
        weights = fit_weights(said[rest], fit.log_prior, lookup[rest], labels[rest])
        sets = fit_sets(weights.joined(said[rest], fit.log_prior, lookup[rest]), labels[rest], coverage)
        log_prob[out] = weights.joined(said[out], fit.log_prior, lookup[out])
        in_set[out], set_size[out] = sets.covered(log_prob[out], labels[out]), sets.sizes(log_prob[out])
        found.append(weights)
    return Joined(log_prob, in_set, set_size, tuple(found))
