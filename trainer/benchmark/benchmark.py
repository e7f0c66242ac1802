"""One run of the benchmark, from a folder to its result as JSON types."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

import eg_agent
from eg_agent.errors import BadInput
from trainer.benchmark import classification, indexing
from trainer.benchmark.data import Case, Cell, Folder, Subset
from trainer.benchmark.predictors import (
    IdentifierRecipe,
    IndexRecipe,
    NetworkRecipe,
    What,
    calibrated_by_folds,
    describe,
)
from trainer.benchmark.running import Predictions, predict

#: The rows of a folder that each part of the product is judged on.
SUBSETS: dict[What, Subset] = {
    "network": "benchmark",
    "pipeline": "benchmark",
    "verify": "known_cell",
    "index": "known_cell",
}


@dataclass(frozen=True, slots=True)
class Options:
    """What to run. `by`: extra strata, names of columns in STRATA. `time_limit`: seconds, for indexing."""

    what: What
    checkpoint: str = "default"
    prior: str = "mineral"
    calibrate_folds: int | None = None
    limit: int | None = None
    workers: int = 1
    without: tuple[str, ...] = ()
    by: tuple[str, ...] = ()
    time_limit: float = 10.0
    seed: int = 0


#: Strata beside the source.
STRATA: dict[str, Callable[[Case], str]] = {"system": lambda case: case.crystal_system}


def run(
    data: str | Path, options: Options, progress: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """Run the benchmark on a folder; raises BadInput for a folder or options that cannot be used."""
    if options.what not in get_args(What):
        raise BadInput(f"--what {options.what} is not known: give one of {', '.join(get_args(What))}.")
    unknown = [name for name in options.by if name not in STRATA]
    if unknown:
        raise BadInput(f"--by {unknown[0]} is not known: give one of {', '.join(STRATA)}.")
    if options.what == "index" and options.calibrate_folds is not None:
        raise BadInput("indexing gives cells, not probabilities: leave out --calibrate-folds.")
    folder = Folder(data)
    subset = SUBSETS[options.what]
    cases = folder.cases(subset, limit=options.limit, without_systems=options.without, seed=options.seed)
    if subset == "known_cell":
        lacking = [case.id for case in cases if case.cell is None]
        if lacking:
            raise BadInput(f"index.csv: {lacking[0]!r} has known_cell but no cell: fill in a to gamma.")
    settings: dict[str, Any] = {
        "what": options.what,
        "data": folder.path.name,
        "rows": subset,
        "limit": options.limit,
        "without": list(options.without),
        "workers": options.workers,
        "version": eg_agent.__version__,
    }
    strata = {name: [STRATA[name](case) for case in cases] for name in options.by}
    if options.what == "index":
        return _index(folder, cases, options, settings, strata, progress)
    described, log_prior = describe(options.checkpoint, options.prior)
    recipe = (
        NetworkRecipe(options.checkpoint, options.prior)
        if options.what == "network"
        else IdentifierRecipe(options.checkpoint, options.prior, with_cell=options.what == "verify")
    )
    found = predict(folder, cases, recipe, workers=options.workers, progress=progress)
    log_probability, calibration = _calibrated(found, cases, options, log_prior)
    return classification.result_of(
        cases,
        log_probability,
        shipped_prior=log_prior,
        prior_name=options.prior,
        seconds=found.seconds,
        evidence_only=found.evidence_only() if options.what == "verify" else None,
        strata=strata,
        settings=settings | described | calibration | {"refused": dict(found.refused)},
        seed=options.seed,
    )


def _calibrated(
    found: Predictions, cases: Sequence[Case], options: Options, log_prior: np.ndarray
) -> tuple[np.ndarray, dict[str, Any]]:
    """Log-probabilities [n, 99], as shipped or calibrated by folds, and what to say about it."""
    if options.calibrate_folds is None:
        return found.log_probability(log_prior), {"calibration": "shipped, nothing fitted on these rows"}
    from eg_agent.model import Classifier

    log_probability, fitted = calibrated_by_folds(
        found,
        classification.labels_of(cases),
        classification.compounds_of(cases),
        log_train_prior=np.asarray(Classifier.load(options.checkpoint, options.prior).log_train_prior),
        log_prior=log_prior,
        folds=options.calibrate_folds,
        seed=options.seed,
    )
    said = f"out of fold, {options.calibrate_folds} folds by compound"
    return log_probability, {"calibration": said, "folds": fitted}


def _index(
    folder: Folder,
    cases: Sequence[Case],
    options: Options,
    settings: dict[str, Any],
    strata: dict[str, list[str]],
    progress: Callable[[int, int], None] | None,
) -> dict[str, Any]:
    found = predict(
        folder, cases, IndexRecipe(options.time_limit), workers=options.workers, progress=progress
    )
    ranked: list[list[tuple[Cell, str]]] = []
    refused = {}
    for case, answer in zip(cases, found.answers, strict=True):
        if answer.raw is None:
            refused[case.id] = answer.reason
            ranked.append([])
            continue
        rows = answer.raw["cells"].tolist()
        ranked.append([((*row,), letter) for row, letter in zip(rows, answer.reason, strict=True)])
    return indexing.result_of(
        cases,
        ranked,
        seconds=found.seconds,
        strata=strata,
        settings=settings | {"time_limit": options.time_limit, "refused": refused},
        seed=options.seed,
    )
