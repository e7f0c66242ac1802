"""Calibration of the pipeline by folds of compounds: network first, then what the cells found are worth.

For each fold, on the other folds' compounds: the network's temperature and prior, as for the network alone
(`trainer.calibrate`); then how much a library counts beside it (`trainer.library.weighing`); then, with that
posterior, the constants of the mixture (`eg_agent.identify.mixture`: the log-odds of a cell from its figures
of merit, what a search without a find says, power and floor of the evidence, temperature of the answer), by
maximum a posteriori around what ships.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit, logit

from eg_agent.identify.mixture import FAMILIES, FEATURES, N_GROUPS, Cells, MixtureConstants, mix
from eg_agent.model.conformal import fit_sets
from eg_agent.model.fusion import apply
from trainer.benchmark.nulls import folds_by_compound
from trainer.benchmark.running import Predictions
from trainer.calibrate import FoldResult, Fusion, calibrate_folds, fold_prior
from trainer.library.weighing import fit_weights

Floats = npt.NDArray[np.float64]

#: Standard deviations of what is expected of the constants around those that ship: coefficients of a cell's
#: log-odds, log of the chance to miss a family, log of the evidence's power, logit of the floor, log of the
#: temperature.
WIDTHS = {"coefficients": 1.5, "missed": 1.0, "power": 0.3, "floor": 1.0, "temperature": 0.2}


def as_vector(constants: MixtureConstants) -> Floats:
    """The constants as free numbers; the first of `missed` is the scale of the others."""
    return np.array(
        [
            *constants.coefficients,
            *constants.missed[1:],
            np.log(constants.power),
            logit(constants.floor),
            np.log(constants.temperature),
        ]
    )


def of_vector(vector: Floats) -> MixtureConstants:
    """The constants of free numbers, see `as_vector`."""
    k = len(FEATURES)
    return MixtureConstants(
        tuple(float(v) for v in vector[:k]),
        (0.0, *(float(v) for v in vector[k:-3])),
        float(np.exp(vector[-3])),
        float(expit(vector[-2])),
        float(np.exp(vector[-1])),
    )


def fit_constants(
    before: Floats,
    cells: Cells,
    labels: npt.NDArray[np.int64],
    around: MixtureConstants | None = None,
    widen: float = 1.0,
) -> MixtureConstants:
    """Maximum a posteriori constants of labelled patterns.

    before: [n, 99] nats, what is believed without cells. labels: [n] index of the group, 0 to 98.
    around: what is expected, with the standard deviations WIDTHS times `widen`.
    """
    start = as_vector(around or MixtureConstants())
    width = widen * np.concatenate(
        [
            np.full(len(FEATURES), WIDTHS["coefficients"]),
            np.full(len(FAMILIES) - 1, WIDTHS["missed"]),
            [WIDTHS["power"], WIDTHS["floor"], WIDTHS["temperature"]],
        ]
    )
    rows = np.arange(len(labels))

    def cost(vector: Floats) -> float:
        log_p = mix(before, cells, of_vector(vector)).log_probability
        return float(-log_p[rows, labels].sum() + 0.5 * (((vector - start) / width) ** 2).sum())

    bounds = list(zip(start - 4 * width, start + 4 * width, strict=True))
    return of_vector(minimize(cost, start, method="L-BFGS-B", bounds=bounds, options={"maxiter": 60}).x)


def stacked(found: Sequence[Cells]) -> Cells:
    """Cells of several patterns (n = 1 each) as one, padded to the most that one has."""
    most = max((one.there.shape[1] for one in found), default=0)
    n = len(found)
    cells = Cells(
        features=np.zeros((n, most, len(FEATURES))),
        evidence=np.zeros((n, most, N_GROUPS)),
        family=np.zeros((n, most), dtype=np.int64),
        there=np.zeros((n, most), dtype=bool),
        searched=np.array([bool(one.searched[0]) for one in found]),
    )
    for i, one in enumerate(found):
        m = one.there.shape[1]
        cells.features[i, :m], cells.evidence[i, :m] = one.features[0], one.evidence[0]
        cells.family[i, :m], cells.there[i, :m] = one.family[0], one.there[0]
    return cells


def raw_of_cells(cells: Cells) -> dict[str, Floats]:
    """Cells of one pattern as named arrays, for `Answer.raw`."""
    return {
        "features": cells.features[0],
        "evidence": cells.evidence[0],
        "family": cells.family[0].astype(np.float64),
        "searched": cells.searched.astype(np.float64),
    }


def cells_of_raw(raw: Mapping[str, Floats]) -> Cells:
    """The inverse of `raw_of_cells`; a pattern without them was not searched."""
    if "features" not in raw:
        empty = np.zeros((1, 0))
        return Cells(
            np.zeros((1, 0, len(FEATURES))),
            np.zeros((1, 0, N_GROUPS)),
            empty.astype(np.int64),
            empty.astype(bool),
            np.zeros(1, dtype=bool),
        )
    return Cells(
        raw["features"][None],
        raw["evidence"][None],
        raw["family"][None].astype(np.int64),
        np.ones((1, len(raw["features"])), dtype=bool),
        raw["searched"].astype(bool),
    )


@dataclass(frozen=True, eq=False)
class PipelineFolds:
    """log_probability: [n, 99] nats, out of fold; network: of the network alone, by the same folds.

    in_set: [n] whether the pipeline's prediction set holds the true group. set_size: [n]. constants: of each
        fold.
    """

    log_probability: Floats
    network: FoldResult
    in_set: npt.NDArray[np.bool_]
    set_size: npt.NDArray[np.int64]
    constants: tuple[MixtureConstants, ...]


def calibrate_pipeline(
    predictions: Predictions,
    labels: npt.NDArray[np.int64],
    compounds: Sequence[str],
    *,
    log_train_prior: Floats,
    log_prior: Floats,
    folds: int,
    strength: float,
    seed: int = 0,
    fusion: Fusion = "log-pool",
    coverage: float = 0.9,
) -> PipelineFolds:
    """Calibrate network and mixture on the other folds' compounds; see the module.

    predictions: of `PipelineRecipe`. strength: pseudo-counts of the shipped prior in one that is fitted.
    A refused pattern has the prior as its answer and takes no part in fitting.
    """
    answered = np.array([a.log_probability is not None for a in predictions.answers])
    raw = [a.raw or {} for a in predictions.answers]
    flat = np.zeros(N_GROUPS)
    split = np.array([r.get("split", flat) for r in raw])
    aux = np.array([r.get("aux", flat) for r in raw])
    novelty = np.array([float(r["novelty"][0]) if "novelty" in r else 0.0 for r in raw])
    lookup = np.array([r.get("lookup", flat) for r in raw])
    cells = stacked([cells_of_raw(r) for r in raw])
    clusters = np.asarray(compounds, dtype=str)
    fold = folds_by_compound(compounds, folds, seed)
    network = calibrate_folds(
        split,
        aux,
        log_train_prior,
        {"shipped": log_prior},
        labels,
        fold,
        fusion=fusion,
        strength=strength,
        novelty=novelty if novelty.any() else None,
        answered=answered,
        clusters=clusters,
        coverage=coverage,
    )
    log_p = np.empty_like(split)
    in_set, set_size = np.zeros(len(labels), dtype=bool), np.zeros(len(labels), dtype=np.int64)
    constants: list[MixtureConstants] = []
    for one, fit in zip(np.unique(fold), network.fits, strict=True):
        out, rest = fold == one, (fold != one) & answered
        prior: Floats = fit.log_prior
        if fit.prior_name.endswith("+counts"):
            prior = fold_prior(labels[rest], log_prior, strength, clusters[rest])[0]
        z = novelty[rest] if novelty.any() else None
        inside = apply(fit.calibration, split[rest], aux[rest], log_train_prior, prior, z)
        outside = network.log_prob[out]
        if lookup.any():
            weights = fit_weights(inside, prior, lookup[rest], labels[rest])
            inside = weights.joined(inside, prior, lookup[rest])
            outside = weights.joined(outside, fit.log_prior, lookup[out])
        found = fit_constants(inside, cells[rest], labels[rest])
        log_p[out] = mix(outside, cells[out], found).log_probability
        again = mix(inside, cells[rest], found).log_probability
        sets = fit_sets(again, labels[rest], coverage)
        in_set[out] = sets.covered(log_p[out], labels[out])
        set_size[out] = sets.sizes(log_p[out])
        constants.append(found)
    return PipelineFolds(log_p, network, in_set, set_size, tuple(constants))
