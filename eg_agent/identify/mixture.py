"""One probability over the 99 groups when no cell is given: a mixture over what indexing proposed.

    p(g) ~ network(g) [ missed(g) + sum over cells c of  O_c  99 evidence_c(g) ]

`evidence_c` is what a fit with cell c says of the groups, with a uniform prior: tempered, and with a share
`floor` spread over all groups that the metric of c allows, those of lower symmetry included (a metric may be
special by chance; the fit may be misled). O_c are the odds that c is the right cell against "none of them
is", as the pattern's lines and the fit tell before any group is preferred. The first term is that last
hypothesis: the network's posterior, times how likely indexing is to miss a cell of the group's family. A cell
of few parameters is rarely missed, so that a search without a find speaks for low symmetry. The network has
its say about cells, too: a cell whose evidence falls on groups that it finds probable gains by it.

O_c is log-linear in figures of merit (`CellMerit.features`). All constants were fitted by the probability of
the true group on simulated measurements (`tests/bench/study_pipeline.py`), never on measured ones; the
benchmark refits them by folds of compounds for its calibrated row. Pure numpy.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from eg_agent.symmetry import N_GROUPS, groups

Floats = npt.NDArray[np.float64]

#: Names of the features of a cell, in the order of the coefficients.
FEATURES = ("constant", "score", "behind", "unindexed", "log_m20", "worse_fit", "log_lines")
#: Crystal families in the order of `MixtureConstants.missed`; the letters of Bravais lattices.
FAMILIES = "cthoma"
#: Families of lower or equal symmetry that the metric of a family allows.
BELOW = {"c": "cthoma", "t": "toma", "h": "homa", "o": "oma", "m": "ma", "a": "a"}


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
                # M20 is over the indexed lines alone: of few it is large for any cell.
                np.log(np.clip(self.m20, 1.0, 300.0)) / 2.0 * self.n_indexed / n,
                np.log(np.clip(self.rwp / max(self.best_rwp, 0.1), 1.0, 10.0)),
                np.log(np.clip(self.lattice_lines / n, 0.3, 30.0)),
            ]
        )


@dataclass(frozen=True)
class MixtureConstants:
    """Constants of the mixture. The defaults were fitted on 72 simulated measurements.

    coefficients: of the log-odds of a cell, in the order of `FEATURES`. missed: log of how likely indexing is
    to miss a cell of each family, in the order of `FAMILIES`, relative to the first.
    power: of the evidence. floor: share of it that is spread over all groups that the metric allows.
    temperature: of an answer that cells have part in.
    """

    coefficients: tuple[float, ...] = (0.32, 0.35, -2.43, -2.54, 1.77, -0.6, -1.06)
    missed: tuple[float, ...] = (0.0, 0.0, 0.16, 0.62, 0.68, 1.89)
    power: float = 0.8
    floor: float = 0.03
    temperature: float = 1.48


@dataclass(frozen=True, eq=False)
class Cells:
    """Cells of n patterns, padded to the most that one has.

    features: [n, m, 7]. evidence: [n, m, 99] nats on any scale, -inf for groups that were not weighed.
    family: [n, m] index into `FAMILIES` of the metric. there: [n, m] whether there is such a cell.
    searched: [n] whether there were lines enough to look for a cell at all.
    """

    features: Floats
    evidence: Floats
    family: npt.NDArray[np.int64]
    there: npt.NDArray[np.bool_]
    searched: npt.NDArray[np.bool_]

    def __getitem__(self, rows: npt.NDArray[np.bool_]) -> Cells:
        return Cells(
            self.features[rows],
            self.evidence[rows],
            self.family[rows],
            self.there[rows],
            self.searched[rows],
        )


@dataclass(frozen=True, eq=False)
class Mixture:
    """log_probability [n, 99] nats, fused; cells [n, m], none [n]: probability of each cell, and of none."""

    log_probability: Floats
    cells: Floats
    none: Floats


@cache
def family_of_group() -> npt.NDArray[np.int64]:
    """[99] index into `FAMILIES`."""
    found = np.array([FAMILIES.index(entry.bravais[0]) for entry in groups()])
    found.flags.writeable = False
    return found


@cache
def _allowed() -> Floats:
    """[6, 99] nats: uniform over the groups that the metric of a family allows, -inf elsewhere."""
    inside = np.array([[FAMILIES[f] in BELOW[name] for f in family_of_group()] for name in FAMILIES])
    with np.errstate(divide="ignore"):
        found = np.log(inside / inside.sum(axis=1, keepdims=True))
    found.flags.writeable = False
    return found


def cell_evidence(evidence: Floats, family: npt.NDArray[np.int64], constants: MixtureConstants) -> Floats:
    """[..., 99] nats, normalised: `evidence` [..., 99] tempered, with its floor; family: [...]."""
    tempered = constants.power * evidence
    tempered = tempered - logsumexp(tempered, axis=-1, keepdims=True)
    return np.logaddexp(np.log1p(-constants.floor) + tempered, np.log(constants.floor) + _allowed()[family])


def mix(before: Floats, cells: Cells, constants: MixtureConstants) -> Mixture:
    """The mixture of the cells of each pattern and of none.

    before: [n, 99] nats, normalised: what network and library believe.
    """
    odds = np.where(cells.there, cells.features @ np.asarray(constants.coefficients), -np.inf)
    alone = cell_evidence(cells.evidence, cells.family, constants) + np.log(N_GROUPS)
    missed = np.asarray(constants.missed)[family_of_group()]
    none = before + np.where(cells.searched[:, None], missed, 0.0)
    joint = np.concatenate([none[:, None, :], before[:, None, :] + odds[:, :, None] + alone], axis=1)
    joint = joint - logsumexp(joint, axis=(1, 2), keepdims=True)
    share = np.exp(logsumexp(joint, axis=2))
    # Without a cell the answer is the network's, which is calibrated already.
    temperature = np.where(cells.there.any(axis=1), constants.temperature, 1.0)
    fused = logsumexp(joint, axis=1) / temperature[:, None]
    return Mixture(fused - logsumexp(fused, axis=1, keepdims=True), share[:, 1:], share[:, 0])
