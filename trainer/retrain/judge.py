"""Challenger against champion: the same patterns and folds, calibrated the same way, paired by compound.

What calibrates is what judges, out of fold: the verified runs of the calibration side, and the rows of the
benchmark where a folder is given. What is put into use is calibrated on all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadInput, BadPattern
from eg_agent.model.classifier import Classifier
from eg_agent.model.prior import log_prior
from eg_agent.patterns import check
from trainer.benchmark.classification import paired, row_as_json
from trainer.benchmark.data import Folder
from trainer.benchmark.nulls import folds_by_compound
from trainer.benchmark.predictors import PRIOR_STRENGTH
from trainer.calibrate import Fitted, FoldResult, calibrate_folds, fit_calibration
from trainer.metrics import Bootstrap, normalise, reliability, score, set_metrics
from trainer.retrain.recent import Recent

FOLDS = 5


@dataclass(frozen=True, eq=False)
class Patterns:
    """Labelled patterns on a grid that judge. recent: [n] whether each is a verified run."""

    intensity: npt.NDArray[np.float32]
    coverage: npt.NDArray[np.bool_]
    labels: npt.NDArray[np.int64]
    compounds: tuple[str, ...]
    recent: npt.NDArray[np.bool_]


def gathered(recent: Recent, classifier: Classifier, folder: Folder | None) -> Patterns:
    """The calibration side of the verified runs, and the rows of the benchmark that are not refused."""
    parts: list[tuple[Any, Any, Any]] = [(recent.intensity, recent.coverage, recent.labels)]
    compounds = list(recent.compounds)
    if folder is not None:
        intensity, coverage, labels = [], [], []
        for case in folder.cases("benchmark"):
            try:
                projected = classifier.grid.project(check(folder.pattern(case)))
            except BadPattern:
                continue
            if projected.coverage.any():
                intensity.append(projected.intensity)
                coverage.append(projected.coverage)
                labels.append(case.group - 1)
                compounds.append(f"benchmark {case.compound}")
        parts.append((np.stack(intensity), np.stack(coverage), np.array(labels, dtype=np.int64)))
    joined: list[Any] = [np.concatenate([part[k] for part in parts]) for k in range(3)]
    return Patterns(
        joined[0], joined[1], joined[2], tuple(compounds), np.arange(len(compounds)) < len(recent)
    )


@dataclass(frozen=True, eq=False)
class Answers:
    """What a network says of the patterns: out of fold, as its card calibrates it, and what to ship."""

    folds: FoldResult
    deployed: npt.NDArray[np.float64]
    fitted: Fitted


def answers(classifier: Classifier, patterns: Patterns, *, prior: str, seed: int = 0) -> Answers:
    """Out-of-fold answers, those of the card's own calibration, and a calibration fitted on all patterns."""
    outputs = classifier.projected_outputs(patterns.intensity, patterns.coverage)
    compounds = np.asarray(patterns.compounds, dtype=str)
    count = len(set(patterns.compounds))
    if count < FOLDS:
        raise BadInput(
            f"{count} compounds are too few to calibrate on and to judge by: {FOLDS} at least; identify more "
            "samples, or raise --calibration-share."
        )
    said = (outputs.split, outputs.aux, classifier.log_train_prior, {prior: log_prior(prior)})
    folds = calibrate_folds(
        *said,
        patterns.labels,
        folds_by_compound(compounds.tolist(), FOLDS, seed),
        strength=PRIOR_STRENGTH,
        clusters=compounds,
        coverage=classifier.card.sets.coverage,
    )
    fitted = fit_calibration(
        *said,
        patterns.labels,
        strength=PRIOR_STRENGTH,
        clusters=compounds,
        coverage=classifier.card.sets.coverage,
    )
    return Answers(folds, classifier.log_probability(outputs), fitted)


def compare(
    challenger: Answers, champion: Answers, patterns: Patterns, *, coverage: float, seed: int = 0
) -> dict[str, Any]:
    """Figures of both on the recent runs and on the benchmark, and their paired differences, as JSON types.

    gain: challenger less champion, both out of fold. gain_over_deployed: less the champion as it is in use.
    """
    found: dict[str, Any] = {"coverage": coverage, "recent": {}}
    mine, theirs = normalise(challenger.folds.log_prob), normalise(champion.folds.log_prob)
    deployed = normalise(champion.deployed)
    for name, keep in (("recent", patterns.recent), ("benchmark", ~patterns.recent)):
        if not keep.any():
            continue
        labels = patterns.labels[keep]
        boot = Bootstrap([c for c, k in zip(patterns.compounds, keep, strict=True) if k], seed=seed)
        prior = -challenger.folds.log_prior[keep, labels]
        diagram = reliability(mine[keep], labels, boot, seed=seed)
        sets = set_metrics(challenger.folds.in_set[keep], challenger.folds.set_size[keep], boot)
        found[name] = {
            "n": int(keep.sum()),
            "compounds": boot.n_compounds,
            "challenger": _few(score(mine[keep], labels, prior, boot)),
            "champion": _few(score(theirs[keep], labels, prior, boot)),
            "champion_deployed": _few(score(deployed[keep], labels, prior, boot)),
            "gain": row_as_json(paired(mine[keep], theirs[keep], labels, boot)),
            "gain_over_deployed": row_as_json(paired(mine[keep], deployed[keep], labels, boot)),
            "sets": row_as_json(sets),
            "ece": [round(v, 4) for v in (diagram.ece, diagram.expected_low, diagram.expected_high)],
        }
    return found


def _few(row: dict[str, Any], names: Sequence[str] = ("top1", "top5", "nll", "bits_over_prior")) -> dict:
    return row_as_json({name: row[name] for name in names})
