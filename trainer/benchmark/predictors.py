"""The product as predictors: each a small picklable recipe that a worker process builds once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadInput
from eg_agent.patterns.pattern import Pattern
from trainer.benchmark.data import Case
from trainer.benchmark.nulls import GROUPS, folds_by_compound
from trainer.benchmark.running import Answer, Predictions, Predictor
from trainer.calibrate import FoldResult, Fusion, calibrate_folds
from trainer.metrics import FloatMatrix, normalise

if TYPE_CHECKING:
    from eg_agent.identify.settings import IdentifySettings

What = Literal["network", "verify", "index", "pipeline", "robustness", "composition"]

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
        from eg_agent.patterns import check

        _single_thread()
        classifier = Classifier.load(self.checkpoint, self.prior)

        def predictor(pattern: Pattern, case: Case) -> Answer:
            out = classifier.outputs([check(pattern)])
            raw = {"split": out.split[0], "aux": out.aux[0], "novelty": out.novelty}
            return Answer(classifier.log_probability(out)[0], raw=raw)

        return predictor


@dataclass(frozen=True)
class IdentifierRecipe:
    """The whole product with the known cell (`verify`); without one see `pipeline`.

    Raw: "network" [99], the network's posterior as shipped; "bic" [99], what plain BIC says on the same fit
    with a uniform prior, where there is a fit; its seconds are not counted.
    """

    checkpoint: str
    prior: str

    def __call__(self) -> Predictor:
        from eg_agent.identify import Identifier

        _single_thread()
        identifier = Identifier(self.checkpoint, self.prior)

        def predictor(pattern: Pattern, case: Case) -> Answer:
            started = time.perf_counter()
            found = identifier.identify(pattern, cell=case.cell)
            seconds = time.perf_counter() - started
            if found.verdict == "refused" or found.log_probability is None:
                return Answer(None, reason=found.reason)
            raw = {"network": np.asarray(found.network.log_probability)} if found.network else {}
            if found.evidence_only is not None:
                raw |= plain_bic(pattern, case, identifier.settings) or {}
            return Answer(np.asarray(found.log_probability), found.evidence_only, found.reason, raw, seconds)

        return predictor


def plain_bic(pattern: Pattern, case: Case, settings: IdentifySettings) -> dict[str, FloatMatrix] | None:
    """ "bic": [99] log-posterior -BIC/2 of plain BIC, uniform prior; None where the pattern is not fitted."""
    from eg_agent.patterns import check
    from eg_agent.verify import VerifySettings
    from eg_agent.verify.criteria import criteria
    from eg_agent.verify.fitting import NotFitted

    assert case.cell is not None
    try:
        found = criteria(check(pattern), case.cell, settings=VerifySettings(time_limit=settings.time_limit))
    except NotFitted:
        return None
    behind = 0.5 * (found.bic - found.bic.min())
    # odds of hundreds of nats are squeezed in order, so that the floor of the metrics makes no ties
    squeezed = np.where(behind > 20.0, 20.0 + 8.0 * (behind - 20.0) / (behind + 180.0), behind)
    out = np.full(GROUPS, -np.inf)
    out[found.group - 1] = -squeezed
    return {"bic": out}


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
    fusion: Fusion = "log-pool",
) -> FoldResult:
    """Out-of-fold answers: T, prior and sets of each fold are fitted on the other folds' compounds.

    With raw outputs of the two heads (network) the calibration is the network's own, with its novelty where
    the checkpoint has one, and the prior the shipped one or class frequencies of the other folds with
    PRIOR_STRENGTH pseudo-counts of it. Without (verify) one temperature is fitted on the fused
    log-probabilities, where the shipped prior is inside. Refused patterns get the prior as their answer
    and take no part in fitting.
    """
    if len(set(compounds)) < folds or folds < 2:
        raise BadInput(
            f"{len(set(compounds))} compounds cannot make {folds} folds: "
            "give --calibrate-folds between 2 and the number of compounds."
        )
    split, aux, novelty, answered, has_heads = raw_scores(predictions)
    flat = np.full(GROUPS, -np.log(GROUPS))
    # Where the prior is inside the answer already, no frequencies come on top: so many pseudo-counts.
    result = calibrate_folds(
        split,
        aux,
        log_train_prior if has_heads else flat,
        {"shipped": log_prior if has_heads else flat},
        labels,
        folds_by_compound(compounds, folds, seed),
        fusion=fusion if has_heads else "log-pool",
        strength=PRIOR_STRENGTH if has_heads else 1e9,
        novelty=novelty if has_heads and novelty.any() else None,
        answered=answered,
        clusters=np.asarray(compounds, dtype=str),
    )
    if not has_heads:
        result.log_prob[~answered] = log_prior
        result.log_prior[:] = log_prior
    return result


def raw_scores(
    predictions: Predictions,
) -> tuple[FloatMatrix, FloatMatrix, FloatMatrix, npt.NDArray[np.bool_], bool]:
    """Split scores and aux logits [n, 99], novelty and "answered" [n], and whether there are two heads."""
    n = len(predictions.answers)
    answered = np.array([a.log_probability is not None for a in predictions.answers])
    has_heads = any(a.raw is not None and "split" in a.raw for a in predictions.answers)
    split, aux, novelty = np.zeros((n, GROUPS)), np.zeros((n, GROUPS)), np.zeros(n)
    for i, answer in enumerate(predictions.answers):
        if answer.log_probability is None:
            continue
        if has_heads:
            assert answer.raw is not None, "a predictor gives raw outputs for all patterns or for none"
            split[i], aux[i], novelty[i] = answer.raw["split"], answer.raw["aux"], answer.raw["novelty"][0]
        else:
            split[i] = aux[i] = normalise(answer.log_probability)[0]
    return split, aux, novelty, answered, has_heads
