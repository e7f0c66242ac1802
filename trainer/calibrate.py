"""Fit temperature, fusion weight and prior weight on labelled scores. numpy and scipy only.

    calibration = fit_temperature(split_scores, aux_logits, log_train_prior, log_prior, labels)
    log_p = apply(calibration, split_scores, aux_logits, log_train_prior, log_prior)

Nothing here knows where the scores come from: the shipped calibration is fitted on simulated held-out
patterns, `eg-train benchmark --calibrate-folds` fits on folds of measured ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from eg_agent.errors import BadInput
from eg_agent.model.fusion import Calibration, apply, split_prior
from eg_agent.model.prior import N_GROUPS, FloatArray, normalised

__all__ = ["Calibration", "FoldResult", "apply", "calibrate_folds", "fit_temperature", "fold_prior"]

#: Temperatures that a fit may reach; with few labels an unbounded one runs away.
TEMPERATURES = (0.2, 20.0)


def fit_temperature(
    split_scores: npt.ArrayLike,
    aux_logits: npt.ArrayLike,
    log_train_prior: npt.ArrayLike,
    log_prior: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    fusion: Literal["log-pool", "linear"] = "log-pool",
    fit_prior_weight: bool = False,
    weights: npt.ArrayLike | None = None,
) -> Calibration:
    """The `Calibration` with the smallest mean negative log-probability of the labels.

    split_scores: [n, 99] from `Network.split_scores`. aux_logits: [n, 99]. log_train_prior: [99].
    log_prior: [99], or [n, 99] when each pattern has its own (left-out counts).
    labels: [n] number of the group - 1. weights: [n] of the patterns, equal unless given.
    fit_prior_weight: fit the prior's exponent too (log-pool only); otherwise it is 1.

    The log-pool is a logistic regression in two or three non-negative coefficients: convex, solved
    with its gradient. The linear pool is searched from several starts.
    """
    split, aux, train, prior = (
        np.asarray(v, dtype=np.float64) for v in (split_scores, aux_logits, log_train_prior, log_prior)
    )
    label = np.asarray(labels, dtype=np.int64)
    if split.shape != (len(label), N_GROUPS) or aux.shape != split.shape or len(label) == 0:
        raise BadInput(f"calibration needs [n, {N_GROUPS}] scores of n >= 1 labelled patterns.")
    weight = np.ones(len(label)) if weights is None else np.asarray(weights, dtype=np.float64)
    weight = weight / weight.sum()
    if fusion == "log-pool":
        return _fit_log_pool(split, aux, train, prior, label, weight, fit_prior_weight)
    return _fit_linear(split, aux, train, prior, label, weight)


def _fit_log_pool(
    split: FloatArray,
    aux: FloatArray,
    train: FloatArray,
    prior: FloatArray,
    label: npt.NDArray[np.int64],
    weight: FloatArray,
    fit_prior_weight: bool,
) -> Calibration:
    features_3NG = np.stack(
        [
            normalised(split) - split_prior(train),
            normalised(aux) - train,
            np.broadcast_to(prior, split.shape),
        ]
    )
    rows = np.arange(len(label))
    at_label_3N = features_3NG[:, rows, label]

    def loss(coefficients: FloatArray) -> tuple[float, FloatArray]:
        log_p_NG = normalised(np.tensordot(coefficients, features_3NG, 1))
        expected_3N = np.einsum("ng,kng->kn", np.exp(log_p_NG), features_3NG)
        return -float(weight @ log_p_NG[rows, label]), (expected_3N - at_label_3N) @ weight

    inverse = (1.0 / TEMPERATURES[1], 1.0 / TEMPERATURES[0])
    bounds = [(0.0, inverse[1]), (0.0, inverse[1]), (0.0, 2.0) if fit_prior_weight else (1.0, 1.0)]
    found = minimize(loss, np.array([0.3, 0.7, 1.0]), jac=True, method="L-BFGS-B", bounds=bounds).x
    total = float(np.clip(found[0] + found[1], *inverse))
    share = float(found[0] / max(found[0] + found[1], 1e-12))
    return Calibration(1.0 / total, share, float(found[2]), "log-pool")


def _fit_linear(
    split: FloatArray,
    aux: FloatArray,
    train: FloatArray,
    prior: FloatArray,
    label: npt.NDArray[np.int64],
    weight: FloatArray,
) -> Calibration:
    rows = np.arange(len(label))

    def loss(x: FloatArray) -> float:
        calibration = Calibration(float(np.exp(x[0])), float(x[1]), 1.0, "linear")
        return -float(weight @ apply(calibration, split, aux, train, prior)[rows, label])

    bounds = [(np.log(TEMPERATURES[0]), np.log(TEMPERATURES[1])), (0.0, 0.999)]
    fits = [
        minimize(loss, np.array([np.log(t), alpha]), method="Nelder-Mead", bounds=bounds)
        for t in (1.0, 3.0)
        for alpha in (0.1, 0.5)
    ]
    best = min(fits, key=lambda fit: fit.fun)
    return Calibration(float(np.exp(best.x[0])), float(best.x[1]), 1.0, "linear")


def fold_prior(
    labels: npt.NDArray[np.int64], base: npt.NDArray[np.float64], strength: float = 100.0
) -> tuple[FloatArray, FloatArray]:
    """Prior from counts of `labels` [n], with `strength` pseudo-counts spread as exp(`base`) [99].

    Returns log-priors: [n, 99] with each pattern's own label left out (to fit a temperature with:
    a prior that has counted the label it is judged on would look too good), and [99] from all (to
    apply elsewhere).
    """
    counts = np.bincount(labels, minlength=N_GROUPS) + strength * np.exp(base)
    left_out = np.tile(counts, (len(labels), 1))
    left_out[np.arange(len(labels)), labels] -= 1.0
    return normalised(np.log(left_out)), normalised(np.log(counts))


@dataclass(frozen=True)
class FoldResult:
    """Out-of-fold answers: log_prob [n, 99], and of each fold the prior's name and the calibration.

    log_prior: [n, 99], the prior inside each answer, for a prior-only row beside it.
    """

    log_prob: FloatArray
    log_prior: FloatArray
    priors: tuple[str, ...]
    calibrations: tuple[Calibration, ...]


def calibrate_folds(
    split_scores: npt.ArrayLike,
    aux_logits: npt.ArrayLike,
    log_train_prior: npt.ArrayLike,
    priors: Mapping[str, npt.NDArray[np.float64]],
    labels: npt.ArrayLike,
    folds: npt.ArrayLike,
    *,
    fusion: Literal["log-pool", "linear"] = "log-pool",
    strength: float = 100.0,
) -> FoldResult:
    """Answer every pattern with a calibration and a prior that were fitted on the other folds.

    priors: log-prior [99] by name. Beside each stands "NAME+counts": class counts of the other folds over
    it (`fold_prior`). In each fold the one that fits the other folds best is used.
    folds: [n] fold of each pattern; all patterns of a compound must share one.
    """
    split, aux = np.asarray(split_scores, dtype=np.float64), np.asarray(aux_logits, dtype=np.float64)
    label, fold = np.asarray(labels, dtype=np.int64), np.asarray(folds)
    if len(np.unique(fold)) < 2:
        raise BadInput("calibration by folds needs at least 2 folds.")
    log_prob, log_prior = np.empty_like(split), np.empty_like(split)
    names: list[str] = []
    calibrations: list[Calibration] = []
    for one in np.unique(fold):
        out, rest = fold == one, fold != one
        best: tuple[float, str, Calibration, FloatArray] | None = None
        for name, base in priors.items():
            left_out, counted = fold_prior(label[rest], base, strength)
            for kind, fitted, used in ((name, base, base), (f"{name}+counts", left_out, counted)):
                calibration = fit_temperature(
                    split[rest], aux[rest], log_train_prior, fitted, label[rest], fusion=fusion
                )
                log_p = apply(calibration, split[rest], aux[rest], log_train_prior, fitted)
                nll = -float(log_p[np.arange(rest.sum()), label[rest]].mean())
                if best is None or nll < best[0]:
                    best = (nll, kind, calibration, used)
        if best is None:
            raise BadInput("calibration by folds needs at least one prior.")
        _, kind, calibration, used = best
        log_prob[out] = apply(calibration, split[out], aux[out], log_train_prior, used)
        log_prior[out] = used
        names.append(kind)
        calibrations.append(calibration)
    return FoldResult(log_prob, log_prior, tuple(names), tuple(calibrations))
