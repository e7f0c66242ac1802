"""`eg-train calibrate`: from a checkpoint and labelled measured patterns to a new card of the same weights.

What is shipped is fitted on all patterns. What the card promises of it (`Card.expected`) is judged out of
fold, by compound. The novelty reference and its threshold come from simulated patterns of structures that
were not trained on, never from measured ones.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from eg_agent.errors import BadInput, BadPattern
from eg_agent.library import Library
from eg_agent.model.checkpoint import Card, composition_file, find_checkpoint, write_atomically
from eg_agent.model.classifier import Classifier
from eg_agent.model.fusion import apply
from eg_agent.model.prior import log_prior
from eg_agent.patterns import Pattern, check
from eg_agent.values import to_json
from trainer.benchmark.classification import compounds_of, labels_of
from trainer.benchmark.data import Case, Folder
from trainer.benchmark.nulls import folds_by_compound
from trainer.benchmark.predictors import PRIOR_STRENGTH
from trainer.calibrate import FoldResult, Fusion, calibrate_folds, fit_calibration
from trainer.library.weighing import fit_weights, join_folds
from trainer.metrics import Bootstrap, negative_log_likelihood, reliability, set_metrics
from trainer.novelty import novelty_reference


@dataclass(frozen=True)
class Request:
    """What to calibrate: see `eg-train calibrate`. novelty_slope: whether T may depend on novelty.

    library: file to fit the weights of network and library with; without one they stay as they are.
    """

    data: Path
    out: Path
    checkpoint: str = "default"
    corpus: Path | None = None
    prior: str = "mineral"
    fusion: Fusion = "log-pool"
    folds: int = 5
    coverage: float = 0.9
    novelty_slope: bool = True
    seed: int = 0
    library: Path | None = None


def recalibrate(request: Request) -> Card:
    """Fit, judge out of fold, and write OUT.json and OUT.safetensors; returns the new card."""
    if not request.out.absolute().parent.is_dir():
        raise BadInput(f"{request.out.absolute().parent} is not a folder: make it first.")
    classifier = Classifier.load(request.checkpoint, request.prior)
    folder = Folder(request.data)
    cases, patterns = _answered(folder)
    labels, compounds = labels_of(cases), compounds_of(cases)
    if not 2 <= request.folds <= len(set(compounds)):
        raise BadInput(f"{len(set(compounds))} compounds cannot make {request.folds} folds.")
    if request.corpus is not None:
        reference = novelty_reference(classifier, request.corpus)
        classifier = replace(classifier, card=replace(classifier.card, novelty=reference))
    library = None if request.library is None else Library.load(request.library)
    outputs = classifier.outputs(patterns)
    fold = folds_by_compound(compounds, request.folds, request.seed)
    priors = {request.prior: log_prior(request.prior)}

    def folds_with(novelty: np.ndarray | None) -> FoldResult:
        return calibrate_folds(
            outputs.split,
            outputs.aux,
            classifier.log_train_prior,
            priors,
            labels,
            fold,
            fusion=request.fusion,
            strength=PRIOR_STRENGTH,
            novelty=novelty,
            clusters=np.asarray(compounds, dtype=str),
            coverage=request.coverage,
        )

    judged, novelty = folds_with(None), None
    if request.novelty_slope and outputs.novelty.any():
        sloped = folds_with(outputs.novelty)
        better = negative_log_likelihood(sloped.log_prob, labels) < negative_log_likelihood(
            judged.log_prob, labels
        )
        if _mean_nll(sloped, labels) < _mean_nll(judged, labels) and better.mean() > 0.5:
            judged, novelty = sloped, outputs.novelty
    fitted = fit_calibration(
        outputs.split,
        outputs.aux,
        classifier.log_train_prior,
        priors,
        labels,
        fusion=request.fusion,
        strength=PRIOR_STRENGTH,
        novelty=novelty,
        clusters=np.asarray(compounds, dtype=str),
        coverage=request.coverage,
    )
    expected = _expected(request, judged, labels, compounds) | {"data": folder.path.name}
    weights = classifier.card.library
    if library is not None:
        lookup = lookups(library, patterns)
        train = classifier.log_train_prior
        said = [
            apply(fit.calibration, outputs.split, outputs.aux, train, fit.log_prior, outputs.novelty)
            for fit in (*judged.fits, fitted)
        ]
        name = f"{library.name}, {len(library)} structures, {library.hash}"
        weights = fit_weights(said[-1], fitted.log_prior, lookup, labels, name)
        joined = join_folds(judged, said[:-1], lookup, labels, fold, request.coverage)
        expected["with_library"] = _promised(
            joined.log_prob,
            judged.log_prior,
            (joined.in_set, joined.set_size),
            labels,
            compounds,
            request.seed,
        ) | {"library": name, "weights": [asdict(w) for w in joined.weights]}
    elif "with_library" in classifier.card.expected:
        expected["with_library"] = classifier.card.expected["with_library"]
    card = replace(
        classifier.card,
        library=weights,
        calibration=fitted.calibration,
        calibrated_on=f"{len(cases)} measured patterns of {len(set(compounds))} compounds "
        f"({folder.path.name})",
        sets=fitted.sets,
        log_prior=tuple(float(v) for v in np.round(fitted.log_prior, 5)),
        prior=fitted.prior_name,
        expected=expected,
    )
    _write(request, card)
    return card


def _answered(folder: Folder) -> tuple[list[Case], list[Pattern]]:
    """The benchmark rows that the product does not refuse; a refused one has nothing to be fitted on."""
    cases, patterns = [], []
    for case in folder.cases("benchmark"):
        try:
            patterns.append(check(folder.pattern(case)))
        except BadPattern:
            continue
        cases.append(case)
    return cases, patterns


def _mean_nll(result: FoldResult, labels: np.ndarray) -> float:
    return float(negative_log_likelihood(result.log_prob, labels).mean())


def _expected(request: Request, judged: FoldResult, labels: np.ndarray, compounds: list[str]) -> dict:
    """What out-of-fold answers promise, as JSON types."""
    sets = judged.in_set, judged.set_size
    return {
        "judged": f"out of fold, {request.folds} folds by compound, seed {request.seed}",
        "date": datetime.now(UTC).date().isoformat(),
        "patterns": len(labels),
        "compounds": len(set(compounds)),
        **_promised(judged.log_prob, judged.log_prior, sets, labels, compounds, request.seed),
        "folds": [asdict(c) | {"prior": p} for c, p in zip(judged.calibrations, judged.priors, strict=True)],
    }


def _promised(
    log_prob: np.ndarray,
    log_prior: np.ndarray,
    sets: tuple[np.ndarray, np.ndarray],
    labels: np.ndarray,
    compounds: list[str],
    seed: int,
) -> dict:
    """Coverage and size of sets, ECE and what is expected of it, bits over the fold's prior."""
    boot = Bootstrap(compounds, seed=seed)
    measured = set_metrics(*sets, boot)
    diagram = reliability(log_prob, labels, boot, seed=seed)
    gain = log_prior - log_prob
    return {
        "coverage": measured["set_coverage"].value,
        "coverage_interval": [measured["set_coverage"].low, measured["set_coverage"].high],
        "set_size": measured["set_size"].value,
        "ece": diagram.ece,
        "ece_expected": [diagram.expected_low, diagram.expected_high],
        "bits_over_fold_prior": float(-gain[np.arange(len(labels)), labels].mean() / np.log(2.0)),
    }


def lookups(library: Library, patterns: list[Pattern]) -> np.ndarray:
    """[n, 99] nats of what a library says of each pattern; 0 for one that cannot be compared with it."""
    found = np.zeros((len(patterns), 99))
    for i, pattern in enumerate(patterns):
        try:
            found[i] = library.log_scores(pattern)
        except BadPattern:
            continue
    return found


def _write(request: Request, card: Card) -> None:
    """Weights first, then the card that names their hash, each atomically."""
    source = find_checkpoint(request.checkpoint).with_suffix(".safetensors")
    target = request.out.with_name(request.out.name.removesuffix(".json") + ".json")
    weights = target.with_suffix(".safetensors")
    if weights.resolve() != source.resolve():
        write_atomically(weights, source.read_bytes())
        if card.composition is not None:
            write_atomically(
                composition_file(target), composition_file(source.with_suffix(".json")).read_bytes()
            )
    write_atomically(target, (to_json(card, indent=1) + "\n").encode())
