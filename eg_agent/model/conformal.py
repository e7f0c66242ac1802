"""Prediction sets: the groups that a posterior cannot rule out, with a coverage that was measured.

A group's score is the probability of all groups that are more probable than it (the deterministic form of
Romano, Sesia and Candes, NeurIPS 2020, "adaptive prediction sets", with the group's own mass left out).
Split conformal prediction takes the ceil((n + 1) coverage)-th smallest score of the true groups of n
labelled patterns as the threshold; the set of a new pattern is every group with a score of at most that.
The most probable group has the score 0, so no set is empty. Of patterns that are exchangeable with the
labelled ones (so, measured ones, not simulated ones: those lose 25 points of coverage on measured data)
at least the stated share of the sets hold the true group.

numpy only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict

from eg_agent.errors import BadInput
from eg_agent.model.prior import FloatArray
from eg_agent.symmetry import ancestors, descendants
from eg_agent.values import VALUE_CONFIG


@dataclass(frozen=True, slots=True)
class ConformalSets:
    """How sets are made: groups with a score (see the module) of at most `threshold` are in.

    coverage: share of sets that are to hold the true group, 0 to 1. threshold: 0 (the first answer alone)
        to 1 (all groups). The default is what a posterior that is right about itself would need.
    patterns: number of labelled patterns that the threshold comes from; 0: none, it is nominal.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    coverage: float = 0.9
    threshold: float = 0.9
    patterns: int = 0

    def __post_init__(self) -> None:
        if not (0.0 < self.coverage < 1.0 and 0.0 <= self.threshold <= 1.0):
            raise BadInput("a prediction set needs a coverage between 0 and 1 and a threshold from 0 to 1.")

    def sets(self, log_probability: npt.ArrayLike) -> list[tuple[int, ...]]:
        """Group numbers of each row of [n, 99] log-probabilities, most probable first; none is empty."""
        logp = np.atleast_2d(np.asarray(log_probability, dtype=np.float64))
        order = np.argsort(-logp, axis=1, kind="stable")
        inside = mass_before(logp) <= self.threshold
        return [tuple(int(g) + 1 for g in row if keep[g]) for row, keep in zip(order, inside, strict=True)]

    def covered(self, log_probability: npt.ArrayLike, labels: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """[n] whether the set of each row holds its true group index (number - 1)."""
        return true_scores(log_probability, labels) <= self.threshold

    def sizes(self, log_probability: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """[n] number of groups in each set, 1 to 99."""
        return (mass_before(log_probability) <= self.threshold).sum(axis=1)


def mass_before(log_probability: npt.ArrayLike) -> FloatArray:
    """[n, 99] for each group the probability of all groups before it, most probable first.

    Of equally probable groups the one with the lower number comes first.
    """
    probability = np.exp(np.atleast_2d(np.asarray(log_probability, dtype=np.float64)))
    order = np.argsort(-probability, axis=1, kind="stable")
    sorted_p = np.take_along_axis(probability, order, axis=1)
    before = np.zeros_like(sorted_p)
    np.cumsum(sorted_p[:, :-1], axis=1, out=before[:, 1:])
    found = np.empty_like(before)
    np.put_along_axis(found, order, np.minimum(before, 1.0), axis=1)
    return found


def true_scores(log_probability: npt.ArrayLike, labels: npt.ArrayLike) -> FloatArray:
    """[n] scores of the true groups; labels: [n] group index (number - 1)."""
    scores = mass_before(log_probability)
    return scores[np.arange(len(scores)), np.asarray(labels, dtype=np.int64)]


def fit_sets(log_probability: npt.ArrayLike, labels: npt.ArrayLike, coverage: float = 0.9) -> ConformalSets:
    """Sets that hold the true group with at least the given probability, from labelled patterns.

    log_probability: [n, 99] out of fold: a posterior that has seen the labels makes sets too small.
    With fewer than coverage / (1 - coverage) patterns no threshold can promise that much; then every
    set holds all groups.
    """
    if not 0.0 < coverage < 1.0:
        raise BadInput(f"a coverage of {coverage:g} cannot be asked for: give one between 0 and 1.")
    scores = np.sort(true_scores(log_probability, labels))
    n = len(scores)
    if n == 0:
        raise BadInput("prediction sets need at least one labelled pattern.")
    rank = int(np.ceil((n + 1) * coverage - 1e-9))
    return ConformalSets(coverage, float(scores[rank - 1]) if rank <= n else 1.0, n)


def closed_set(groups: Iterable[int]) -> tuple[int, ...]:
    """The smallest set on the subgroup graph that holds these groups and all between any two of them.

    A group is between two others when it is a subgroup of one and a supergroup of the other. Sets that
    are closed in this sense can be given by their highest and lowest members alone; the intersection of
    two is closed again, so the smallest one exists. Numbers ascending.
    """
    given = frozenset(groups)
    below = frozenset().union(*(descendants(g) for g in given))
    above = frozenset().union(*(ancestors(g) for g in given))
    return tuple(sorted(given | (below & above)))


def ends(groups: Iterable[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Highest and lowest members of a set: those without a supergroup, and without a subgroup, in it."""
    given = frozenset(groups)
    highest = tuple(sorted(g for g in given if not ancestors(g) & given))
    lowest = tuple(sorted(g for g in given if not descendants(g) & given))
    return highest, lowest
