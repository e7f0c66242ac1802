"""`--what composition`: measured patterns with nothing, elements, or amounts told of their chemistry.

Rows: none (the network alone), elements, exact; beside them what the composition says without ever seeing
the pattern (elements_alone, exact_alone), and the prior. All are calibrated the same way, by folds of
compounds. The steps up from one row to the next are paired, pattern by pattern.

A pattern without a formula has the one that its name ends in, or the ideal one of the mineral that it is
named after (`mineral_formulas.json`): a name is all that most people write down. Steps are given for both
kinds apart, too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt

from eg_agent.chemistry import Composition
from eg_agent.errors import BadInput, BadPattern
from eg_agent.model import Classifier
from eg_agent.model.composition import CompositionCard, CompositionWeights
from eg_agent.model.fusion import apply
from eg_agent.model.prior import normalised
from eg_agent.patterns import check
from trainer.benchmark import nulls
from trainer.benchmark.classification import compounds_of, labels_of, paired, row_as_json
from trainer.benchmark.data import Case, Folder
from trainer.benchmark.predictors import PRIOR_STRENGTH
from trainer.calibrate import calibrate_folds, fold_prior
from trainer.library.weighing import fit_weights
from trainer.metrics import Bootstrap, FloatMatrix, negative_log_likelihood, score

#: Rows as they are read, with what people call them.
COMPOSITION_ROWS = {
    "none": "pattern alone",
    "elements": "with elements",
    "exact": "with composition",
    "elements_alone": "elements alone",
    "exact_alone": "composition alone",
    "prior_only": "prior only",
}
#: Paired differences: the row, and the one below it.
STEPS = (("elements", "none"), ("exact", "elements"), ("exact", "none"), ("exact", "exact_alone"))


@dataclass(frozen=True, eq=False)
class Told:
    """Measured patterns whose composition is known, and what a checkpoint makes of them.

    cases, compositions: n each. features: [n, R]. split, aux: [n, 99] of the network. added: [n, 99] of the
    composition head, by "elements" and "exact"; match: [n] log-odds by the same. stated: [n] whose formula
    the data state; of the others a name says it. looked_up: [n] whose formula the checkpoint has entries of.
    """

    cases: list[Case]
    compositions: list[Composition]
    features: FloatMatrix
    split: FloatMatrix
    aux: FloatMatrix
    added: dict[str, FloatMatrix]
    match: dict[str, FloatMatrix]
    stated: npt.NDArray[np.bool_]
    looked_up: npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Wrong:
    """Compositions of other compounds: added as `Told` has it; believed: [n] by the same names, those that
    are not noticed to contradict the pattern."""

    added: dict[str, FloatMatrix]
    believed: dict[str, npt.NDArray[np.bool_]]


@cache
def mineral_formulas() -> Mapping[str, str]:
    """Ideal formulas by the mineral's name, lower case."""
    text = files("trainer.benchmark").joinpath("mineral_formulas.json").read_text(encoding="utf-8")
    return {name.lower(): formula for name, formula in json.loads(text)["formulas"].items()}


def formula_of(row: Mapping[str, str]) -> str:
    """The formula that a row of `index.csv` states, or its name ends in ("hematite Fe2O3"), else that of the
    mineral that it is named after, else ""."""
    name = (row.get("name") or "").strip()
    stated = (row.get("formula") or "").strip() or _formula_at_the_end(name)
    return stated or mineral_formulas().get(name.lower(), "")


def _formula_at_the_end(name: str) -> str:
    """The last word of a name where it is a formula of two elements or more, else ""."""
    word = name.split()[-1] if name else ""
    try:
        return word if len(Composition.of_formula(word).amounts) > 1 else ""
    except BadInput:
        return ""


def told(
    folder: Folder, cases: list[Case], classifier: Classifier, progress: Callable[[int, int], None] | None
) -> Told:
    """Rows of `cases` with a formula that can be read, and that the product does not refuse."""
    formula = {row["id"]: formula_of(row) for row in folder.rows}
    data_state = {row["id"] for row in folder.rows if (row.get("formula") or "").strip()}
    kept, compositions, features, split, aux = [], [], [], [], []
    with_formula = [case for case in cases if formula[case.id]]
    for place, case in enumerate(with_formula):
        try:
            composition = Composition.of_formula(formula[case.id])
            out = classifier.outputs([check(folder.pattern(case))])
        except (BadInput, BadPattern):
            continue
        finally:
            if progress is not None:
                progress(place + 1, len(with_formula))
        kept.append(case)
        compositions.append(composition)
        features.append(out.features[0])
        split.append(out.split[0])
        aux.append(out.aux[0])
    if len({case.compound for case in kept}) < 10:
        raise BadInput(f"{folder.path} has fewer than 10 compounds with a formula: fill that column in.")
    feature_BR = np.stack(features)
    added, match = {}, {}
    for name, given in (("elements", [c.without_amounts() for c in compositions]), ("exact", compositions)):
        added[name], match[name] = classifier.composition_logits(feature_BR, given)
    stated = np.array([case.id in data_state for case in kept])
    reader = classifier.composition
    assert reader is not None, "read compositions above"
    # Half an entry: its amounts are those of the formula within what they are given to.
    looked_up = np.array([reader.entries(one).sum() >= 0.5 for one in compositions])
    outputs = np.stack(split), np.stack(aux)
    return Told(kept, compositions, feature_BR, *outputs, added, match, stated, looked_up)


def by_folds(
    known: Told, classifier: Classifier, *, folds: int, seed: int = 0, wrong: Wrong | None = None
) -> dict[str, FloatMatrix]:
    """Log-probabilities [n, 99] by row, calibrated on the other folds' compounds.

    wrong: adds the rows "exact_wrong" and "elements_wrong", whose composition is another compound's.
    """
    labels, compounds = labels_of(known.cases), compounds_of(known.cases)
    fold = nulls.folds_by_compound(compounds, folds, seed)
    clusters = np.asarray(compounds, dtype=str)
    train = classifier.log_train_prior
    network = calibrate_folds(
        known.split,
        known.aux,
        train,
        {"shipped": classifier.log_prior},
        labels,
        fold,
        strength=PRIOR_STRENGTH,
        clusters=clusters,
    )
    found: dict[str, FloatMatrix] = {"none": normalised(network.log_prob)}
    for name in ("elements", "exact"):
        found[name] = np.empty_like(known.split)
        found[f"{name}_alone"] = np.empty_like(known.split)
        if wrong is not None:
            found[f"{name}_wrong"] = np.empty_like(known.split)
    for one, fit in zip(np.unique(fold), network.fits, strict=True):
        out, rest = fold == one, fold != one
        # Each compound of the fit is judged with a prior that has not counted it, as those outside are.
        prior: FloatMatrix = np.broadcast_to(fit.log_prior, (int(rest.sum()), len(fit.log_prior)))
        if fit.prior_name.endswith("+counts"):
            prior = fold_prior(labels[rest], classifier.log_prior, PRIOR_STRENGTH, clusters[rest])[0]
        inside = apply(fit.calibration, known.split[rest], known.aux[rest], train, prior)
        outside = found["none"][out]
        nothing = np.broadcast_to(fit.log_prior, outside.shape)
        for name in ("elements", "exact"):
            added = known.added[name]
            weights = fitted_weights(inside, prior, added[rest], labels[rest])
            found[name][out] = weights.joined(outside, fit.log_prior, added[out])
            if wrong is not None:
                misled = weights.joined(outside, fit.log_prior, wrong.added[name][out])
                found[f"{name}_wrong"][out] = np.where(wrong.believed[name][out][:, None], misled, outside)
            # Without a pattern the network's posterior is its prior.
            weights = fitted_weights(prior, prior, added[rest], labels[rest])
            found[f"{name}_alone"][out] = weights.joined(nothing, fit.log_prior, added[out])
    return found


def fitted_weights(
    log_probability: FloatMatrix, log_prior: FloatMatrix, added: FloatMatrix, labels: npt.NDArray[np.int64]
) -> CompositionWeights:
    """Weights of labelled patterns: the same logistic regression as for a library."""
    found = fit_weights(log_probability, log_prior, added, labels)
    return CompositionWeights(found.network, found.lookup, found.prior)


def run_composition(
    folder: Folder,
    cases: list[Case],
    checkpoint: str,
    prior: str,
    *,
    folds: int,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """The rows with a formula, as JSON types: metrics of each, the steps between them, contradictions."""
    classifier = Classifier.load(checkpoint, prior)
    known = told(folder, cases, classifier, progress)
    labels, compounds = labels_of(known.cases), compounds_of(known.cases)
    about = classifier.card.composition
    assert about is not None, "checked with the head"
    wrong, others = _of_others(known, classifier, about, compounds, seed)
    found = by_folds(known, classifier, folds=folds, seed=seed, wrong=wrong)
    null = nulls.prior_only(labels, compounds, classifier.log_prior, prior, seed=seed)
    found["prior_only"] = null.log_probability
    reference = negative_log_likelihood(null.log_probability, labels)
    boot = Bootstrap(compounds, seed=seed)
    rows = {name: row_as_json(score(found[name], labels, reference, boot)) for name in COMPOSITION_ROWS}
    steps = {
        f"{upper} - {lower}": row_as_json(paired(found[upper], found[lower], labels, boot))
        for upper, lower in STEPS
    }

    def apart(parts: Mapping[str, npt.NDArray[np.bool_]]) -> dict[str, Any]:
        return {
            kind: _steps_of(found, labels, compounds, part, seed)
            for kind, part in parts.items()
            if part.any()
        }

    noticed = {}
    between = Bootstrap([c for c, other in zip(compounds, others, strict=True) if other], seed=seed)
    for place, name in enumerate(("exact", "elements")):
        misled = paired(found[f"{name}_wrong"][others], found["none"][others], labels[others], between)
        noticed[name] = {
            "right_doubted": float((known.match[name] < about.contradiction[place]).mean()),
            "wrong_noticed": float((~wrong.believed[name][others]).mean()),
            "wrong - none": row_as_json(misled),
        }
    return {
        "n": len(labels),
        "compounds": boot.n_compounds,
        "rows": rows,
        "steps": steps,
        "by_formula": apart({"stated": known.stated, "named": ~known.stated}),
        "by_entries": apart({"looked up": known.looked_up, "not known": ~known.looked_up}),
        "contradictions": noticed,
        "settings": {
            "what": "composition",
            "data": folder.path.name,
            "checkpoint": classifier.checkpoint_hash,
            "calibration": f"out of fold, {folds} folds by compound",
            "composition": asdict(about) | {"config": asdict(about.config)},
        },
    }


def _of_others(
    known: Told, classifier: Classifier, about: CompositionCard, compounds: list[str], seed: int
) -> tuple[Wrong, npt.NDArray[np.bool_]]:
    """Compositions of other patterns, and [n] of which patterns they are another compound's."""
    # Far enough away in a random order that no compound meets itself often.
    other = np.random.default_rng(seed).permutation(len(compounds))
    swapped = [known.compositions[i] for i in other]
    others = np.array([compounds[i] != compounds[j] for i, j in enumerate(other)])
    added, believed = {}, {}
    for place, name in enumerate(("exact", "elements")):
        said = swapped if name == "exact" else [c.without_amounts() for c in swapped]
        added[name], match = classifier.composition_logits(known.features, said)
        believed[name] = match >= about.contradiction[place]
    return Wrong(added, believed), others


def _steps_of(
    found: Mapping[str, FloatMatrix],
    labels: npt.NDArray[np.int64],
    compounds: list[str],
    part: npt.NDArray[np.bool_],
    seed: int,
) -> dict[str, Any]:
    """Paired steps of some of the patterns, [n] bool."""
    boot = Bootstrap([c for c, inside in zip(compounds, part, strict=True) if inside], seed=seed)
    steps = {
        f"{upper} - {lower}": row_as_json(paired(found[upper][part], found[lower][part], labels[part], boot))
        for upper, lower in STEPS
    }
    return {"n": int(part.sum()), "compounds": boot.n_compounds, "steps": steps}
