"""Fit temperature and its slopes, fusion weight and prior weight on labelled scores. numpy and scipy only.

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
from eg_agent.model.conformal import ConformalSets, fit_sets
from eg_agent.model.fusion import Calibration, ambiguity, apply, split_prior
from eg_agent.model.prior import N_GROUPS, FloatArray, normalised

__all__ = [
    "Calibration",
    "Fitted",
    "FoldResult",
    "Fusion",
    "apply",
    "calibrate_folds",
    "fit_calibration",
    "fit_temperature",
    "fold_prior",
]

Fusion = Literal["log-pool", "linear", "auto"]

#: Temperatures that a fit may reach; with few labels an unbounded one runs away.
TEMPERATURES = (0.2, 20.0)
#: What is expected of the slopes of log T with novelty and with ambiguity, and of the prior's exponent about
#: 1: standard deviations of normal priors. They matter for few labels only.
NOVELTY_WIDTH, ENTROPY_WIDTH, PRIOR_WIDTH = 0.3, 2.0, 0.5
#: Nats of all labelled patterns together that a slope with novelty has to bring to be kept.
SLOPE_GAIN = 2.0
#: Bounds of the two slopes.
NOVELTY_SLOPES, ENTROPY_SLOPES = (-0.7, 0.7), (-4.0, 4.0)


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
    novelty: npt.ArrayLike | None = None,
    by_entropy: bool = False,
) -> Calibration:
    """The `Calibration` with the smallest mean negative log-probability of the labels.

    split_scores: [n, 99] from `Network.split_scores`. aux_logits: [n, 99]. log_train_prior: [99].
    log_prior: [99], or [n, 99] when each pattern has its own (left-out counts).
    labels: [n] number of the group - 1. weights: [n] of the patterns, equal unless given.
    novelty: [n] z of each pattern; then the slope of log T with it is fitted, too (log-pool only).
    by_entropy: fit the slope of log T with the pattern's `ambiguity`, too (log-pool only).
    fit_prior_weight: fit the prior's exponent too (log-pool only); otherwise it is 1.

    The log-pool is a logistic regression in two or three non-negative coefficients: convex, solved
    with its gradient. Slopes are fitted together with them, from 0. The linear pool is searched from
    several starts.
    """
    split, aux, train, prior = (
        np.asarray(v, dtype=np.float64) for v in (split_scores, aux_logits, log_train_prior, log_prior)
    )
    label = np.asarray(labels, dtype=np.int64)
    if split.shape != (len(label), N_GROUPS) or aux.shape != split.shape or len(label) == 0:
        raise BadInput(f"calibration needs [n, {N_GROUPS}] scores of n >= 1 labelled patterns.")
    weight = np.ones(len(label)) if weights is None else np.asarray(weights, dtype=np.float64)
    weight = weight / weight.sum()
    if fusion == "linear":
        return _fit_linear(split, aux, train, prior, label, weight)
    z = np.zeros(len(label)) if novelty is None else np.clip(np.asarray(novelty, np.float64), -3.0, 3.0)
    h = ambiguity(aux) if by_entropy else np.zeros(len(label))
    heads_2NG = np.stack([normalised(split) - split_prior(train), normalised(aux) - train])
    pool = _LogPool(heads_2NG, np.broadcast_to(prior, split.shape), np.stack([z, h], 1), label, weight)
    return pool.fit(fit_prior_weight)


@dataclass(frozen=True, eq=False)
class _LogPool:
    """log p = exp(-slopes . covariates) * (c1 split + c2 aux) + c3 prior, normalised.

    heads_2NG: what both heads say, their priors divided out. prior_NG. covariates_N2: novelty and ambiguity.
    """

    heads_2NG: FloatArray
    prior_NG: FloatArray
    covariates_N2: FloatArray
    label: npt.NDArray[np.int64]
    weight: FloatArray

    def loss(self, x: FloatArray) -> tuple[float, FloatArray]:
        """Nats a pattern with the penalties, and its gradient. x: c1, c2, c3, and both slopes."""
        rows = np.arange(len(self.label))
        cooled_N = np.exp(-self.covariates_N2 @ x[3:])
        heads_2NG = self.heads_2NG * cooled_N[:, None]
        said_NG = np.tensordot(x[:2], heads_2NG, 1)
        log_p_NG = normalised(said_NG + x[2] * self.prior_NG)
        p_NG = np.exp(log_p_NG)

        def surplus(feature_NG: FloatArray) -> FloatArray:
            return (p_NG * feature_NG).sum(1) - feature_NG[rows, self.label]

        by_said_N = surplus(said_NG)
        parts = [surplus(heads_2NG[0]), surplus(heads_2NG[1]), surplus(self.prior_NG)]
        parts += [-self.covariates_N2[:, 0] * by_said_N, -self.covariates_N2[:, 1] * by_said_N]
        # The penalties are normal priors, as one pattern of many sees them.
        away = np.array([0.0, 0.0, x[2] - 1.0, x[3], x[4]])
        width = np.array([1.0, 1.0, PRIOR_WIDTH, NOVELTY_WIDTH, ENTROPY_WIDTH])
        penalty = float(((away / width) ** 2).sum()) / (2 * len(rows))
        nll = -float(self.weight @ log_p_NG[rows, self.label])
        return nll + penalty, np.array([self.weight @ p for p in parts]) + away / width**2 / len(rows)

    def fit(self, fit_prior_weight: bool) -> Calibration:
        inverse = (1.0 / TEMPERATURES[1], 1.0 / TEMPERATURES[0])
        novel, ambiguous = bool(self.covariates_N2[:, 0].any()), bool(self.covariates_N2[:, 1].any())
        bounds = [
            (0.0, inverse[1]),
            (0.0, inverse[1]),
            (0.0, 2.0) if fit_prior_weight else (1.0, 1.0),
            NOVELTY_SLOPES if novel else (0.0, 0.0),
            ENTROPY_SLOPES if ambiguous else (0.0, 0.0),
        ]
        start = np.array([0.3, 0.7, 1.0, 0.0, 0.0])
        x = minimize(self.loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
        total = float(np.clip(x[0] + x[1], *inverse))
        share = float(x[0] / max(x[0] + x[1], 1e-12))
        return Calibration(1.0 / total, share, float(x[2]), "log-pool", float(x[3]), float(x[4]))


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
    labels: npt.NDArray[np.int64],
    base: npt.NDArray[np.float64],
    strength: float = 100.0,
    clusters: npt.ArrayLike | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Prior from counts of `labels` [n], with `strength` pseudo-counts spread as exp(`base`) [99].

    Returns log-priors: [n, 99] with each pattern's own label left out (to fit a temperature with:
    a prior that has counted the label it is judged on would look too good), and [99] from all (to
    apply elsewhere). clusters: [n] compound of each pattern; then all patterns of its compound are left out.
    """
    counts = np.bincount(labels, minlength=N_GROUPS) + strength * np.exp(base)
    own = np.eye(N_GROUPS)[labels]
    if clusters is not None:
        _, cluster = np.unique(np.asarray(clusters), return_inverse=True)
        by_cluster = np.zeros((cluster.max(initial=0) + 1, N_GROUPS))
        np.add.at(by_cluster, cluster, own)
        own = by_cluster[cluster]
    left_out = np.maximum(counts - own, 1e-12)
    return normalised(np.log(left_out)), normalised(np.log(counts))


@dataclass(frozen=True, eq=False)
class Fitted:
    """A calibration and what it was fitted with.

    prior_name, log_prior: [99], the prior to answer with. nll: nats a pattern, of the fit.
    sets: prediction sets, calibrated on the same patterns, each with its own label left out of the prior.
    """

    calibration: Calibration
    prior_name: str
    log_prior: FloatArray
    sets: ConformalSets
    nll: float


def fit_calibration(
    split_scores: npt.ArrayLike,
    aux_logits: npt.ArrayLike,
    log_train_prior: npt.ArrayLike,
    priors: Mapping[str, npt.NDArray[np.float64]],
    labels: npt.ArrayLike,
    *,
    fusion: Fusion = "log-pool",
    strength: float = 100.0,
    novelty: npt.ArrayLike | None = None,
    clusters: npt.ArrayLike | None = None,
    coverage: float = 0.9,
    simple: bool = False,
) -> Fitted:
    """Prior, fusion, temperature with its slopes, and prediction sets, chosen as in `calibrate_folds`.

    fusion: "auto" takes the one of the two pools that fits better.
    simple: one T for all patterns and the prior with the exponent 1, in place of a T that grows with
    ambiguity and a fitted exponent.
    """
    split, aux = np.asarray(split_scores, np.float64), np.asarray(aux_logits, np.float64)
    label = np.asarray(labels, np.int64)
    best: Fitted | None = None
    kinds: tuple[Literal["log-pool", "linear"], ...] = (
        ("log-pool", "linear") if fusion == "auto" else (fusion,)
    )
    for name, base in priors.items():
        left_out, counted = fold_prior(label, base, strength, clusters)
        for prior_name, fitting, used in ((name, base, base), (f"{name}+counts", left_out, counted)):
            for kind in kinds:
                for z in (None,) if novelty is None else (None, novelty):
                    found = fit_temperature(
                        split,
                        aux,
                        log_train_prior,
                        fitting,
                        label,
                        fusion=kind,
                        novelty=z,
                        by_entropy=not simple,
                        fit_prior_weight=not simple,
                    )
                    log_p = apply(found, split, aux, log_train_prior, fitting, novelty)
                    nll = -float(log_p[np.arange(len(label)), label].mean())
                    worth = 0.0 if z is None else SLOPE_GAIN / len(label)
                    if best is None or nll + worth < best.nll:
                        best = Fitted(found, prior_name, used, fit_sets(log_p, label, coverage), nll)
    if best is None:
        raise BadInput("a calibration needs at least one prior.")
    return best


@dataclass(frozen=True, eq=False)
class FoldResult:
    """Out-of-fold answers: log_prob [n, 99], and what was fitted for each fold on the others.

    log_prior: [n, 99], the prior inside each answer, for a prior-only row beside it.
    in_set: [n] whether the prediction set holds the true group. set_size: [n] its groups.
    """

    log_prob: FloatArray
    log_prior: FloatArray
    in_set: npt.NDArray[np.bool_]
    set_size: npt.NDArray[np.int64]
    fits: tuple[Fitted, ...]

    @property
    def priors(self) -> tuple[str, ...]:
        """Name of the prior of each fold."""
        return tuple(fit.prior_name for fit in self.fits)

    @property
    def calibrations(self) -> tuple[Calibration, ...]:
        """Calibration of each fold."""
        return tuple(fit.calibration for fit in self.fits)


def calibrate_folds(
    split_scores: npt.ArrayLike,
    aux_logits: npt.ArrayLike,
    log_train_prior: npt.ArrayLike,
    priors: Mapping[str, npt.NDArray[np.float64]],
    labels: npt.ArrayLike,
    folds: npt.ArrayLike,
    *,
    fusion: Fusion = "log-pool",
    strength: float = 100.0,
    novelty: npt.ArrayLike | None = None,
    answered: npt.ArrayLike | None = None,
    clusters: npt.ArrayLike | None = None,
    coverage: float = 0.9,
    simple: bool = False,
) -> FoldResult:
    """Answer every pattern with a calibration and a prior that were fitted on the other folds.

    priors: log-prior [99] by name. Beside each stands "NAME+counts": class counts of the other folds over
    it (`fold_prior`). In each fold the one that fits the other folds best is used.
    folds: [n] fold of each pattern; all patterns of a compound must share one.
    answered: [n] false for patterns that were refused: they take no part in fitting, and their answer is
    the prior.
    clusters: [n] compound of each pattern: within a fit a compound is judged with a prior that has not
    counted it, as it is outside.
    simple: see `fit_calibration`.
    """
    split, aux = np.asarray(split_scores, dtype=np.float64), np.asarray(aux_logits, dtype=np.float64)
    label, fold = np.asarray(labels, dtype=np.int64), np.asarray(folds)
    said = np.ones(len(label), dtype=bool) if answered is None else np.asarray(answered, dtype=bool)
    z = None if novelty is None else np.asarray(novelty, dtype=np.float64)
    if len(np.unique(fold)) < 2:
        raise BadInput("calibration by folds needs at least 2 folds.")
    log_prob, log_prior = np.empty_like(split), np.empty_like(split)
    in_set, set_size = np.zeros(len(label), dtype=bool), np.zeros(len(label), dtype=np.int64)
    fits: list[Fitted] = []
    for one in np.unique(fold):
        out, rest = fold == one, (fold != one) & said
        z_rest, z_out = (None, None) if z is None else (z[rest], z[out])
        fit = fit_calibration(
            split[rest],
            aux[rest],
            log_train_prior,
            priors,
            label[rest],
            fusion=fusion,
            strength=strength,
            novelty=z_rest,
            clusters=None if clusters is None else np.asarray(clusters)[rest],
            coverage=coverage,
            simple=simple,
        )
        log_prob[out] = apply(fit.calibration, split[out], aux[out], log_train_prior, fit.log_prior, z_out)
        log_prob[out & ~said] = fit.log_prior
        log_prior[out] = fit.log_prior
        in_set[out] = fit.sets.covered(log_prob[out], label[out])
        set_size[out] = fit.sets.sizes(log_prob[out])
        fits.append(fit)
    return FoldResult(log_prob, log_prior, in_set, set_size, tuple(fits))
