"""The product as predictors: each a small picklable recipe that a worker process builds once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from eg_agent.errors import BadInput
from eg_agent.patterns.pattern import Pattern
from trainer.benchmark.data import Case
from trainer.benchmark.nulls import GROUPS, folds_by_compound, frequencies
from trainer.benchmark.running import Answer, Predictions, Predictor
from trainer.metrics import FloatMatrix, normalise

What = Literal["network", "verify", "index", "pipeline"]

#: Pseudo-counts of the shipped prior in a prior that is fitted on folds: one a group on average.
PRIOR_STRENGTH = 99.0


def _single_thread() -> None:
    """One thread, so that seconds a pattern are of one core and workers do not share cores."""
    import torch

    torch.set_num_threads(1)


@dataclass(frozen=True)
class NetworkRecipe:
    """The network alone, with its shipped calibration. Raw outputs of both heads are kept."""

    checkpoint: str
    prior: str

    def __call__(self) -> Predictor:
        from eg_agent.model import Classifier
        from eg_agent.model.fusion import apply
        from eg_agent.patterns import check

        _single_thread()
        classifier = Classifier.load(self.checkpoint, self.prior)

        def predictor(pattern: Pattern, case: Case) -> Answer:
            split, aux = classifier.scores([check(pattern)])
            fused = apply(
                classifier.calibration, split, aux, classifier.log_train_prior, classifier.log_prior
            )
            return Answer(fused[0], raw={"split": split[0], "aux": aux[0]})

        return predictor


@dataclass(frozen=True)
class IdentifierRecipe:
    """The whole product: with the known cell (`verify`) or from the pattern alone (`pipeline`)."""

    checkpoint: str
    prior: str
    with_cell: bool

    def __call__(self) -> Predictor:
        from eg_agent.identify import Identifier

        _single_thread()
        identifier = Identifier(self.checkpoint, self.prior)

        def predictor(pattern: Pattern, case: Case) -> Answer:
            found = identifier.identify(pattern, cell=case.cell if self.with_cell else None)
            if found.verdict == "refused" or found.log_probability is None:
                return Answer(None, reason=found.reason)
            return Answer(np.asarray(found.log_probability), found.evidence_only, found.reason)

        return predictor


@dataclass(frozen=True)
class IndexRecipe:
    """Indexing of the pattern alone. Cells are kept in `raw["cells"]` as rows of 6, letters in `reason`."""

    time_limit: float

    def __call__(self) -> Predictor:
        from eg_agent.patterns import check
        from eg_agent.verify.indexing import index

        def predictor(pattern: Pattern, case: Case) -> Answer:
            found = index(check(pattern), time_limit=self.time_limit)
            cells = np.array([c.cell for c in found], dtype=np.float64).reshape(-1, 6)
            return Answer(None, reason="".join(c.lattice[1] for c in found), raw={"cells": cells})

        return predictor


def describe(checkpoint: str, prior: str) -> tuple[dict[str, Any], FloatMatrix]:
    """What a result says of the model, and the prior [99] that it answers with."""
    from eg_agent.model import Classifier

    classifier = Classifier.load(checkpoint, prior)
    settings = {
        "checkpoint": checkpoint,
        "checkpoint_hash": classifier.checkpoint_hash,
        "prior": classifier.prior,
        "temperature": classifier.calibration.temperature,
    }
    return settings, np.asarray(classifier.log_prior)


def calibrated_by_folds(
    predictions: Predictions,
    labels: np.ndarray,
    compounds: Sequence[str],
    *,
    log_train_prior: FloatMatrix,
    log_prior: FloatMatrix,
    folds: int,
    seed: int = 0,
) -> tuple[FloatMatrix, list[dict[str, float]]]:
    """Out-of-fold predictions [n, 99]: T and prior of each fold are fitted on the other folds' compounds.

    With raw outputs of the two heads (network) the calibration is the network's own, and the prior is the
    class frequencies of the other folds with PRIOR_STRENGTH pseudo-counts of the shipped one. Without
    (verify, pipeline) one temperature is fitted on the fused log-probabilities, where the prior is inside.
    Refused patterns get the fold's prior and take no part in fitting. Also returns what was fitted.
    """
    from eg_agent.model.fusion import apply
    from trainer.calibrate import fit_temperature

    if len(set(compounds)) < folds or folds < 2:
        raise BadInput(
            f"{len(set(compounds))} compounds cannot make {folds} folds: "
            "give --calibrate-folds between 2 and the number of compounds."
        )
    fold = folds_by_compound(compounds, folds, seed)
    answered = np.array([a.log_probability is not None for a in predictions.answers])
    has_heads = any(a.raw is not None and "split" in a.raw for a in predictions.answers)
    split, aux = np.zeros((2, len(labels), GROUPS))
    for i, answer in enumerate(predictions.answers):
        if answer.log_probability is None:
            continue
        if has_heads:
            assert answer.raw is not None, "a predictor gives raw outputs for all patterns or for none"
            split[i], aux[i] = answer.raw["split"], answer.raw["aux"]
        else:
            split[i] = aux[i] = normalise(answer.log_probability)[0]
    found = np.empty((len(labels), GROUPS))
    fitted = []
    flat = np.full(GROUPS, -np.log(GROUPS))
    for k in range(folds):
        inside, fit = fold == k, (fold != k) & answered
        prior = frequencies(labels[fold != k], np.exp(log_prior), PRIOR_STRENGTH)
        train_prior, used_prior = (log_train_prior, prior) if has_heads else (flat, flat)
        calibration = fit_temperature(split[fit], aux[fit], train_prior, used_prior, labels[fit])
        found[inside] = apply(calibration, split[inside], aux[inside], train_prior, used_prior)
        found[inside & ~answered] = prior
        fitted.append({"temperature": calibration.temperature, "split_weight": calibration.split_weight})
    return normalise(found), fitted
