"""The verifier's fusion by folds of compounds: how much network, evidence and prior count together.

    log p = a (network - prior) + b evidence + c prior, normalised,

with a, b and c of the other folds' compounds: the same logistic regression as for a network and a library. Of
one fit the evidence says nearly all there is to say, and the network, which read the same pattern, is worth
less beside it than alone. Plain BIC beside it gets a temperature of its own by the same folds, so that it
is not beaten merely for taking misfit for knowledge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eg_agent.model.conformal import fit_sets
from eg_agent.model.fusion import LibraryWeights
from eg_agent.model.prior import normalised
from trainer.benchmark.nulls import folds_by_compound
from trainer.library.weighing import fit_weights
from trainer.metrics import FloatMatrix

#: Nats below the best at which a group counts as excluded: odds beyond that are no knowledge.
FLOOR = -60.0


@dataclass(frozen=True, eq=False)
class VerifyFolds:
    """Answers out of fold, nats, normalised.

    log_probability: [n, 99] of network and evidence. evidence, bic: [n, 99] alone, uniform prior, each with
    its own temperature. in_set: [n] whether the prediction set holds the true group; set_size: [n].
    weights: of each fold.
    """

    log_probability: FloatMatrix
    evidence: FloatMatrix
    bic: FloatMatrix
    in_set: npt.NDArray[np.bool_]
    set_size: npt.NDArray[np.int64]
    weights: tuple[LibraryWeights, ...]


def calibrate_verifier(
    network: FloatMatrix,
    evidence: FloatMatrix,
    bic: FloatMatrix,
    log_prior: FloatMatrix,
    labels: npt.NDArray[np.int64],
    compounds: Sequence[str],
    *,
    folds: int,
    seed: int = 0,
    coverage: float = 0.9,
) -> VerifyFolds:
    """Weigh every pattern with what was fitted on the other folds' compounds.

    network: [n, 99] with log_prior [99] inside. evidence, bic: [n, 99] with a uniform prior; rows of a
    pattern that was not fitted are uniform.
    """
    evidence, bic = (np.maximum(normalised(part), FLOOR) for part in (evidence, bic))
    fold = folds_by_compound(compounds, folds, seed)
    joined, alone, plain = (np.empty_like(network) for _ in range(3))
    in_set, set_size = np.zeros(len(labels), dtype=bool), np.zeros(len(labels), dtype=np.int64)
    found: list[LibraryWeights] = []
    for one in np.unique(fold):
        out, rest = fold == one, fold != one
        weights = fit_weights(network[rest], log_prior, evidence[rest], labels[rest])
        inside = weights.joined(network[rest], log_prior, evidence[rest])
        joined[out] = weights.joined(network[out], log_prior, evidence[out])
        for part, said in ((alone, evidence), (plain, bic)):
            part[out] = normalised(said[out] / temperature(said[rest], labels[rest]))
        sets = fit_sets(inside, labels[rest], coverage)
        in_set[out], set_size[out] = sets.covered(joined[out], labels[out]), sets.sizes(joined[out])
        found.append(weights)
    return VerifyFolds(joined, alone, plain, in_set, set_size, tuple(found))


def temperature(log_probability: FloatMatrix, labels: npt.NDArray[np.int64]) -> float:
    """T of [n, 99] nats with the smallest mean negative log-probability of the labels."""
    rows, grid = np.arange(len(labels)), np.geomspace(0.2, 20.0, 93)
    nats = [-normalised(log_probability / t)[rows, labels].mean() for t in grid]
    return float(grid[int(np.argmin(nats))])
