"""One probability over the 99 groups when no cell is given: a mixture over what indexing proposed.

    p(g) ~ network(g) [ 1 + sum over cells c of  O_c  99 evidence_c(g) ]

`evidence_c` is the evidence of a fit with cell c, a probability over the 99 groups with a uniform prior
(`eg_agent.identify.fusion.evidence_posterior`), and O_c are the odds that c is the right cell against "none
of them is", as the pattern's lines and the fit tell before any group is preferred. The 1 is that last
hypothesis: then the network's posterior stands as it is. The network has its say about cells, too: a cell
whose evidence falls on groups that the network finds probable gains by it. Pure numpy.

O_c is log-linear in figures of merit (`CellMerit.features`). Its coefficients were fitted by maximum
likelihood of the true group on simulated measurements (`tests/bench/study_pipeline.py`), never on
measured ones; the benchmark refits them by folds of compounds for its calibrated row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

Floats = npt.NDArray[np.float64]

N_GROUPS = 99

#: Names of the features of a cell, in the order of the coefficients.
FEATURES = ("constant", "score", "behind", "unindexed", "log_m20", "worse_fit", "log_lines")

#: Coefficients of the log-odds that a cell is right, in the order of FEATURES.
COEFFICIENTS = np.array([0.0, 1.0, -1.0, -2.0, 0.5, -1.0, 0.0])


@dataclass(frozen=True, slots=True)
class CellMerit:
    """What is known of a proposed cell before any group is preferred.

    score: nats by which the lines are better placed than by chance, parameters paid for. behind: nats that
    the best score of the pattern's cells is above. m20: de Wolff's figure of merit.
    n_indexed of n_lines lines were indexed. lattice_lines: lines of the lattice in the fitted range.
    rwp: per cent, of the fit; best_rwp: the smallest among the pattern's fitted cells.
    """

    score: float
    behind: float
    m20: float
    n_indexed: int
    n_lines: int
    lattice_lines: int
    rwp: float
    best_rwp: float

    def features(self) -> Floats:
        """[7], each of the order of 1, see `FEATURES`; clipped, so that an outlier is not believed more."""
        n = max(self.n_lines, 1)
        return np.array(
            [
                1.0,
                np.clip(self.score, 0.0, 80.0) / 20.0,
                np.clip(self.behind, 0.0, 40.0) / 10.0,
                1.0 - self.n_indexed / n,
                np.log(np.clip(self.m20, 1.0, 300.0)) / 2.0,
                np.log(np.clip(self.rwp / max(self.best_rwp, 0.1), 1.0, 10.0)),
                np.log(np.clip(self.lattice_lines / n, 0.3, 30.0)),
            ]
        )


@dataclass(frozen=True, eq=False)
class Mixture:
    """log_probability [99] nats, fused; cells [m] probability of each cell; none: of no right cell."""

    log_probability: Floats
    cells: Floats
    none: float


def log_odds(features: Floats, coefficients: Floats) -> Floats:
    """[m] log-odds of cells [m, 7] against "none is right"."""
    return np.asarray(features, dtype=np.float64) @ np.asarray(coefficients, dtype=np.float64)


def mix(network: Floats, evidence: Sequence[Floats], odds: Floats, network_weight: float = 1.0) -> Mixture:
    """The mixture of `m` cells and of none.

    network: [99] nats, normalised: what is believed before. evidence: m of [99] nats, normalised, with a
        uniform prior. odds: [m] nats. network_weight: power of `network` beside evidence.
    """
    parts = [network]
    for alone, odd in zip(evidence, odds, strict=True):
        parts.append(network_weight * network + alone + np.log(N_GROUPS) + odd)
    joint = np.array(parts)
    joint = joint - logsumexp(joint)
    weight = np.exp(logsumexp(joint, axis=1))
    return Mixture(logsumexp(joint, axis=0), weight[1:], float(weight[0]))
