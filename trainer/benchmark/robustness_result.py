"""From answers to all variants of the patterns to the rows of `--what robustness`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from eg_agent.model import Classifier
from eg_agent.model.fusion import apply
from trainer.benchmark import nulls
from trainer.benchmark.classification import compounds_of, labels_of, row_as_json
from trainer.benchmark.data import Case
from trainer.benchmark.predictors import PRIOR_STRENGTH
from trainer.benchmark.robustness import VARIANTS
from trainer.benchmark.running import Predictions
from trainer.calibrate import calibrate_folds
from trainer.metrics import Bootstrap, Interval, negative_log_likelihood, normalise, score

if TYPE_CHECKING:
    from trainer.benchmark.benchmark import Options


def share_of(bits: np.ndarray, whole: np.ndarray, boot: Bootstrap) -> Interval:
    """Sum of `bits` [n] over that of `whole` [n], in the same resamples; undefined where that is not > 0."""
    part, all_of_it = boot.sums(np.column_stack([bits, whole])).T
    return boot.interval(np.divide(part, all_of_it, out=np.full_like(part, np.nan), where=all_of_it > 0))


def robust_result(
    cases: Sequence[Case],
    found: Predictions,
    options: Options,
    settings: Mapping[str, Any],
    log_prior: np.ndarray,
) -> dict[str, Any]:
    """Variant -> rows model and permutation, `share_of_bits` of the whole pattern's, and `refused`.

    share_of_bits_95: its interval; numerator and denominator are resampled together, by compound.
    The calibration of each fold is fitted on whole patterns of the other folds and used on all variants
    of its own, as a shipped one is. Refused variants count with the prior as their answer.
    """
    labels, compounds = labels_of(cases), compounds_of(cases)
    classifier = Classifier.load(options.checkpoint, options.prior)
    train = classifier.log_train_prior
    n = len(cases)
    split, aux = np.zeros((2, len(VARIANTS), n, log_prior.size))
    novelty, answered = np.zeros((len(VARIANTS), n)), np.zeros((len(VARIANTS), n), dtype=bool)
    for i, answer in enumerate(found.answers):
        if answer.raw is not None:
            split[:, i], aux[:, i] = answer.raw["split"], answer.raw["aux"]
            novelty[:, i], answered[:, i] = answer.raw["novelty"], answer.raw["answered"] > 0
    calibration = [classifier.calibration]
    priors = np.repeat(log_prior[None], n, axis=0)
    fold = np.zeros(n, dtype=np.int64)
    if options.calibrate_folds is not None:
        fold = nulls.folds_by_compound(compounds, options.calibrate_folds, options.seed)
        result = calibrate_folds(
            split[0],
            aux[0],
            train,
            {"shipped": log_prior},
            labels,
            fold,
            fusion=options.fusion,
            strength=PRIOR_STRENGTH,
            novelty=novelty[0] if novelty.any() else None,
            answered=answered[0],
            clusters=np.asarray(compounds, dtype=str),
        )
        calibration, priors = list(result.calibrations), result.log_prior
    prior = nulls.prior_only(labels, compounds, log_prior, options.prior, seed=options.seed)
    reference = negative_log_likelihood(prior.log_probability, labels)
    boot = Bootstrap(compounds, seed=options.seed)
    permuted = nulls.permutation(compounds, seed=options.seed)
    repeated = np.tile(labels, len(permuted))
    rows: dict[str, Any] = {}
    whole = np.zeros(n)
    for v, name in enumerate(VARIANTS):
        logp = priors.copy()
        for k in np.unique(fold):
            here = (fold == k) & answered[v]
            if here.any():
                logp[here] = apply(
                    calibration[k], split[v, here], aux[v, here], train, priors[here], novelty[v, here]
                )
        logp = normalise(logp)
        model = row_as_json(score(logp, labels, reference, boot))
        shuffled = logp[permuted].reshape(-1, logp.shape[1])
        null = score(shuffled, repeated, reference, boot, repeats=len(permuted))
        bits = (reference - negative_log_likelihood(logp, labels)) / np.log(2.0)
        whole = bits if v == 0 else whole
        share = row_as_json({"share": share_of(bits, whole, boot)})["share"]
        rows[name] = {
            "n": n,
            "compounds": boot.n_compounds,
            "refused": int((~answered[v]).sum()),
            "model": model,
            "permutation": row_as_json(null),
            "share_of_bits": share["value"],
            "share_of_bits_95": None if share["low"] is None else [share["low"], share["high"]],
        }
    only = row_as_json(score(prior.log_probability, labels, reference, boot))
    return {
        "n": n,
        "compounds": boot.n_compounds,
        "variants": rows,
        "prior_only": only,
        "settings": dict(settings) | {"prior_only": prior.name, "calibrate_folds": options.calibrate_folds},
    }
