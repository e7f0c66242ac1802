"""One run of the benchmark, from a folder to its result as JSON types."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

import eg_agent
from eg_agent.errors import BadInput
from eg_agent.model import Calibration, Classifier
from trainer.benchmark import classification, indexing
from trainer.benchmark.composition import run_composition
from trainer.benchmark.data import Case, Cell, Folder, Subset
from trainer.benchmark.foreign import foreign_rows
from trainer.benchmark.nulls import FOLDS, folds_by_compound
from trainer.benchmark.pipeline import PipelineRecipe
from trainer.benchmark.pipeline_folds import calibrate_pipeline
from trainer.benchmark.predictors import (
    PRIOR_STRENGTH,
    IdentifierRecipe,
    IndexRecipe,
    NetworkRecipe,
    What,
    calibrated_by_folds,
    describe,
)
from trainer.benchmark.robustness import RobustRecipe
from trainer.benchmark.robustness_result import robust_result
from trainer.benchmark.running import Predictions, predict
from trainer.benchmark.strata import NOT_TRICLINIC, TRICLINIC, novelty_stratum, strata_of
from trainer.benchmark.verify_folds import calibrate_verifier
from trainer.calibrate import Fusion
from trainer.metrics import Topology, normalise, topology_of

#: The rows of a folder that each part of the product is judged on.
SUBSETS: dict[What, Subset] = {
    "network": "benchmark",
    "pipeline": "benchmark",
    "verify": "known_cell",
    "index": "known_cell",
    "robustness": "benchmark",
    "composition": "benchmark",
}


@dataclass(frozen=True, slots=True)
class Options:
    """What to run. `by`: extra strata, names in `strata.NAMES`. `time_limit`: seconds, for indexing (with the
    fits of the cells found, for the pipeline). cache: folder in which the pipeline keeps them.

    unseen: JSON file of ids (`eg-train unseen`), for strata seen and unseen. library: file, for the
    pipeline. graph: JSON file with `published_edges`. fusion: of the heads, for calibration by folds.
    """

    what: What
    checkpoint: str = "default"
    prior: str = "mineral"
    calibrate_folds: int | None = None
    limit: int | None = None
    workers: int = 1
    without: tuple[str, ...] = ()
    by: tuple[str, ...] = ()
    time_limit: float = 10.0
    unseen: Path | None = None
    library: str | None = None
    cache: str | None = None
    graph: Path | None = None
    fusion: Fusion = "log-pool"
    seed: int = 0


def run(
    data: str | Path, options: Options, progress: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """Run the benchmark on a folder; raises BadInput for a folder or options that cannot be used."""
    if options.what not in get_args(What):
        raise BadInput(f"--what {options.what} is not known: give one of {', '.join(get_args(What))}.")
    if options.library is not None and options.what != "pipeline":
        raise BadInput("a library takes part with --what pipeline only: leave out --library.")
    if options.cache is not None and options.what != "pipeline":
        raise BadInput("only the pipeline's cells are kept: leave out --cache, or give --what pipeline.")
    if options.what == "index" and options.calibrate_folds is not None:
        raise BadInput("indexing gives cells, not probabilities: leave out --calibrate-folds.")
    folder = Folder(data)
    subset = SUBSETS[options.what]
    cases = folder.cases(subset, limit=options.limit, without_systems=options.without, seed=options.seed)
    if options.calibrate_folds is not None:
        # Said now, not after the hours that the patterns may take.
        folds_by_compound(classification.compounds_of(cases), options.calibrate_folds)
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
    if options.what == "composition":
        # Weights of the composition are always fitted by folds: those of the card have seen these rows.
        return run_composition(
            folder,
            cases,
            options.checkpoint,
            options.prior,
            folds=options.calibrate_folds or FOLDS,
            seed=options.seed,
            progress=progress,
        )
    strata = strata_of(folder, cases, options.by)
    if options.unseen is not None:
        strata["novelty"] = novelty_stratum(options.unseen, cases)
        settings["unseen"] = options.unseen.name
    if options.what == "index":
        return _index(folder, cases, options, settings, strata, progress)
    described, log_prior = describe(options.checkpoint, options.prior)
    recipe = (
        NetworkRecipe(options.checkpoint, options.prior)
        if options.what == "network"
        else RobustRecipe(options.checkpoint, options.prior)
        if options.what == "robustness"
        else PipelineRecipe(
            options.checkpoint, options.prior, options.time_limit, options.library, options.cache
        )
        if options.what == "pipeline"
        else IdentifierRecipe(options.checkpoint, options.prior)
    )
    found = predict(folder, cases, recipe, workers=options.workers, progress=progress)
    if options.what == "robustness":
        return robust_result(cases, found, options, settings | described, log_prior)
    answered = _calibrated(found, cases, options, log_prior)
    calibration = answered.said
    uniform = np.full((1, log_prior.size), -np.log(log_prior.size))
    if options.what == "verify":
        strata["metric"] = [TRICLINIC if c.crystal_system == "triclinic" else NOT_TRICLINIC for c in cases]
    result = classification.result_of(
        cases,
        answered.log_probability,
        shipped_prior=log_prior,
        prior_name=options.prior,
        seconds=found.seconds,
        evidence_only=_of_evidence(found, answered, options.what),
        network=answered.network,
        bic=_of_bic(found, answered, uniform) if options.what == "verify" else None,
        strata=strata,
        settings=settings | described | calibration | {"refused": dict(found.refused)},
        sets=answered.sets,
        published=None if options.graph is None else published_topology(options.graph),
        seed=options.seed,
    )
    series = folder.path / "series"
    if options.what == "network" and (series / "index.csv").is_file():
        result["foreign"] = foreign_rows(
            series, Classifier.load(options.checkpoint, options.prior), answered.calibration, answered.prior
        )
    return result


def _of_evidence(found: Predictions, answered: _Answered, what: What) -> np.ndarray | None:
    """[n, 99] of the evidence alone where it has a say: calibrated by folds, or as it is."""
    if what not in ("verify", "pipeline"):
        return None
    return found.evidence_only() if answered.evidence is None else answered.evidence


def _of_bic(found: Predictions, answered: _Answered, uniform: np.ndarray) -> np.ndarray:
    """[n, 99] of plain BIC: with a temperature by folds, or as it is."""
    return found.raw("bic", uniform) if answered.bic is None else answered.bic


def published_topology(path: Path) -> Topology:
    """The graph under `published_edges` of a JSON file; 73 and 74 are one group in it."""
    try:
        edges = json.loads(path.read_text("utf-8"))["published_edges"]
        pairs = [(int(parent), int(child)) for parent, child in edges]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path} holds no published_edges ({error}): give subgroup_graph.json.") from None
    return topology_of(pairs, {74: 73})


@dataclass(frozen=True, eq=False)
class _Answered:
    """log_probability [n, 99]; prediction sets; what to say; a calibration and prior for other patterns.

    network: [n, 99] of the network alone, calibrated the same way, beside the pipeline. evidence, bic:
    [n, 99] of the evidence alone and of plain BIC, calibrated the same way, beside the verifier.
    """

    log_probability: np.ndarray
    sets: tuple[np.ndarray, np.ndarray]
    said: dict[str, Any]
    calibration: Calibration
    prior: np.ndarray
    network: np.ndarray | None = None
    evidence: np.ndarray | None = None
    bic: np.ndarray | None = None


def _calibrated(
    found: Predictions, cases: Sequence[Case], options: Options, log_prior: np.ndarray
) -> _Answered:
    """As shipped, or calibrated by folds."""
    classifier = Classifier.load(options.checkpoint, options.prior)
    labels = classification.labels_of(cases)
    if options.calibrate_folds is None:
        log_probability = found.log_probability(log_prior)
        sets = classifier.card.sets
        inside = (sets.covered(log_probability, labels), sets.sizes(log_probability))
        said = {"calibration": f"as shipped, fitted on {classifier.card.calibrated_on}"}
        network = found.raw("network", log_prior) if options.what == "pipeline" else None
        return _Answered(log_probability, inside, said, classifier.calibration, log_prior, network)
    if options.what == "pipeline":
        return _calibrated_pipeline(found, cases, options, classifier, log_prior)
    if options.what == "verify":
        return _calibrated_verifier(found, cases, options, log_prior)
    result = calibrated_by_folds(
        found,
        labels,
        classification.compounds_of(cases),
        log_train_prior=classifier.log_train_prior,
        log_prior=log_prior,
        folds=options.calibrate_folds,
        seed=options.seed,
        fusion=options.fusion,
    )
    said = {
        "calibration": f"out of fold, {options.calibrate_folds} folds by compound",
        "folds": [asdict(c) | {"prior": p} for c, p in zip(result.calibrations, result.priors, strict=True)],
    }
    first = result.fits[0]
    inside = (result.in_set, result.set_size)
    return _Answered(normalise(result.log_prob), inside, said, first.calibration, first.log_prior)


def _calibrated_verifier(
    found: Predictions, cases: Sequence[Case], options: Options, log_prior: np.ndarray
) -> _Answered:
    """Network, evidence and prior weighed by folds of compounds; BIC with a temperature by the same."""
    assert options.calibrate_folds is not None
    uniform = np.full((1, log_prior.size), -np.log(log_prior.size))
    evidence = found.evidence_only()
    result = calibrate_verifier(
        found.raw("network", log_prior),
        np.repeat(uniform, len(cases), axis=0) if evidence is None else evidence,
        found.raw("bic", uniform),
        log_prior,
        classification.labels_of(cases),
        classification.compounds_of(cases),
        folds=options.calibrate_folds,
        seed=options.seed,
    )
    said = {
        "calibration": f"out of fold, {options.calibrate_folds} folds by compound: weights of network, "
        "evidence and prior; temperatures of the evidence alone and of plain BIC",
        "folds": [asdict(weights) for weights in result.weights],
    }
    return _Answered(
        result.log_probability,
        (result.in_set, result.set_size),
        said,
        Calibration(),
        log_prior,
        evidence=result.evidence,
        bic=result.bic,
    )


def _calibrated_pipeline(
    found: Predictions,
    cases: Sequence[Case],
    options: Options,
    classifier: Classifier,
    log_prior: np.ndarray,
) -> _Answered:
    """Network and mixture over cells by folds of compounds."""
    folds = options.calibrate_folds
    assert folds is not None
    result = calibrate_pipeline(
        found,
        classification.labels_of(cases),
        classification.compounds_of(cases),
        log_train_prior=np.asarray(classifier.log_train_prior),
        log_prior=log_prior,
        folds=folds,
        strength=PRIOR_STRENGTH,
        seed=options.seed,
        fusion=options.fusion,
    )
    fits = result.network.fits
    said = {
        "calibration": f"out of fold, {folds} folds by compound, network and mixture",
        "folds": [
            asdict(fit.calibration) | {"prior": fit.prior_name, "mixture": asdict(constants)}
            for fit, constants in zip(fits, result.constants, strict=True)
        ],
    }
    return _Answered(
        normalise(result.log_probability),
        (result.in_set, result.set_size),
        said,
        fits[0].calibration,
        fits[0].log_prior,
        normalise(result.network.log_prob),
    )


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
