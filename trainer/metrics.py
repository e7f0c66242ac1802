"""Every metric of a classifier over the 99 extinction groups, each with a 95 % interval by compound.

All metrics are ratios of sums of per-pattern contributions (ECE: a sum of absolute values of such sums),
so one matrix product resamples them all. Patterns of one compound are not independent: whole compounds
are resampled (cluster bootstrap), with the same resamples for every row of a table, so that rows and
differences are paired.

Ties are shared: where k groups have the same highest probability, each counts as the answer with weight
1/k, and a true group tied with others is in the first K with the share of orderings that put it there. A
predictor that gives every group the same probability so has a Top-1 of 1/99, not of 0 or 1.

| metric | meaning |
|---|---|
| top1 top3 top5 | share of patterns with the true group among the first 1, 3, 5 |
| nll | mean negative log-probability of the true group, nats |
| ece | expected calibration error of the first answer: 10 bins of equal mass, |confidence - accuracy| |
| brier | mean over patterns of the sum over groups of (p - [true])^2, between 0 and 2 |
| bits_over_prior | (nll of the reference prior - nll) / ln 2, bits a pattern |
| graph_distance_wrong | mean undirected hops on the subgroup graph, over wrong answers |
| within_2_hops | share of wrong answers at most 2 hops from the true group |
| descendant ancestor branch | share of wrong answers that are a subgroup, a supergroup, or neither |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

FloatMatrix = npt.NDArray[np.float64]

METRICS = (
    "top1",
    "top3",
    "top5",
    "nll",
    "ece",
    "brier",
    "bits_over_prior",
    "graph_distance_wrong",
    "within_2_hops",
    "descendant",
    "ancestor",
    "branch",
)

#: Codes of `Topology.relation`.
RELATIONS = ("same", "descendant", "ancestor", "branch")

ECE_BINS = 10
RESAMPLES = 2000

#: Log-probabilities are floored here (nats), so that a predictor that calls the truth impossible has a
#: finite, and bad, score: e^-30 is 1e-13.
LOG_FLOOR = -30.0


@dataclass(frozen=True, slots=True)
class Interval:
    """A value and the 2.5 and 97.5 percentiles of its bootstrap; NaN where it is not defined."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Topology:
    """A subgroup graph seen from metrics.

    distance: [99, 99] undirected hops between group indices.
    relation: [99, 99] code of the predicted group (column) seen from the true one (row), an index into
        RELATIONS: the prediction is a descendant (subgroup), an ancestor, or on another branch.
    """

    distance: npt.NDArray[np.int64]
    relation: npt.NDArray[np.int64]


@cache
def subgroup_topology() -> Topology:
    """The topology of eg_agent's own subgroup graph (translationengleiche, 99 groups)."""
    from eg_agent import symmetry

    distance = np.asarray(symmetry.distance_matrix(), dtype=np.int64)
    numbers = range(1, len(distance) + 1)
    relation = np.array([[RELATIONS.index(symmetry.relation(t, p)) for p in numbers] for t in numbers])
    return Topology(distance, relation)


def topology_of(edges: Iterable[tuple[int, int]], merged: Mapping[int, int] | None = None) -> Topology:
    """The topology of another directed graph of (parent, child) group numbers.

    merged: number -> number of the group that it is counted as. Groups out of reach of each other are
    99 hops apart.
    """
    size = 99
    down = np.eye(size, dtype=bool)
    for parent, child in edges:
        down[parent - 1, child - 1] = True
    both = down | down.T
    distance, reached, hops = np.full((size, size), size, dtype=np.int64), np.eye(size, dtype=bool), 0
    while (reached & (distance == size)).any():
        distance[reached & (distance == size)] = hops
        reached = (reached.astype(np.int64) @ both.astype(np.int64)) > 0
        hops += 1
    while True:
        longer = (down.astype(np.int64) @ down.astype(np.int64)) > 0
        if np.array_equal(longer, down):
            break
        down = longer
    relation = np.full((size, size), RELATIONS.index("branch"), dtype=np.int64)
    relation[down] = RELATIONS.index("descendant")
    relation[down.T & ~down] = RELATIONS.index("ancestor")
    np.fill_diagonal(relation, RELATIONS.index("same"))
    index = np.arange(size)
    for number, into in (merged or {}).items():
        index[number - 1] = into - 1
    return Topology(distance[np.ix_(index, index)], relation[np.ix_(index, index)])


@dataclass(frozen=True, eq=False)
class Contributions:
    """Per-pattern contributions: each metric is sum(numerator) / sum(denominator).

    numerator, denominator: name -> [n].
    confidence, correct: [n] of the first answer, for calibration.
    """

    numerator: dict[str, FloatMatrix]
    denominator: dict[str, FloatMatrix]
    confidence: FloatMatrix
    correct: FloatMatrix


def normalise(log_score: npt.ArrayLike) -> FloatMatrix:
    """Log-probabilities [n, 99] from any log scores, floored at LOG_FLOOR and summing to 1."""
    scores = np.atleast_2d(np.asarray(log_score, dtype=np.float64))
    scores = scores - scores.max(axis=1, keepdims=True)
    scores = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    scores = np.maximum(scores, LOG_FLOOR)
    return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))


def negative_log_likelihood(log_probability: npt.ArrayLike, labels: npt.ArrayLike) -> FloatMatrix:
    """[n] nats, of the true group."""
    log_probability = np.asarray(log_probability, dtype=np.float64)
    labels = np.asarray(labels)
    return -log_probability[np.arange(len(labels)), labels]


def _in_first(log_probability: FloatMatrix, labels: npt.NDArray[np.int64], k: int) -> FloatMatrix:
    """[n] probability, over orderings of ties, that the true group is among the first k."""
    true = log_probability[np.arange(len(labels)), labels][:, None]
    better = (log_probability > true).sum(axis=1)
    tied = (log_probability == true).sum(axis=1)  # the true group is one of them
    return np.clip((k - better) / tied, 0.0, 1.0)


def contributions(
    log_probability: npt.ArrayLike, labels: npt.ArrayLike, topology: Topology | None = None
) -> Contributions:
    """What each pattern adds to each metric (except bits_over_prior, which needs a reference).

    log_probability: [n, 99] normalised, nats; labels: [n] group index, 0 to 98.
    """
    logp = np.asarray(log_probability, dtype=np.float64)
    labels = np.asarray(labels, dtype=np.int64)
    if logp.ndim != 2 or logp.shape[0] != labels.shape[0]:
        raise ValueError(f"log_probability {logp.shape} and labels {labels.shape} do not go together")
    topology = subgroup_topology() if topology is None else topology
    rows = np.arange(len(labels))
    best = logp.max(axis=1, keepdims=True)
    answer = (logp == best).astype(np.float64)
    answer /= answer.sum(axis=1, keepdims=True)
    correct = answer[rows, labels]
    ones = np.ones(len(labels))
    wrong = 1.0 - correct
    probability = np.exp(logp)
    distance = topology.distance[labels].astype(np.float64)
    relation = topology.relation[labels]
    elsewhere = answer.copy()
    elsewhere[rows, labels] = 0.0
    numerator = {f"top{k}": _in_first(logp, labels, k) for k in (1, 3, 5)}
    numerator["nll"] = -logp[rows, labels]
    numerator["brier"] = (probability**2).sum(axis=1) - 2 * probability[rows, labels] + 1.0
    denominator = dict.fromkeys(numerator, ones)
    numerator["graph_distance_wrong"] = (elsewhere * distance).sum(axis=1)
    numerator["within_2_hops"] = (elsewhere * (distance <= 2)).sum(axis=1)
    for name in ("descendant", "ancestor", "branch"):
        numerator[name] = (elsewhere * (relation == RELATIONS.index(name))).sum(axis=1)
    for name in ("graph_distance_wrong", "within_2_hops", "descendant", "ancestor", "branch"):
        denominator[name] = wrong
    return Contributions(numerator, denominator, np.exp(best[:, 0]), correct)


def mass_bins(confidence: npt.ArrayLike, bins: int = ECE_BINS) -> npt.NDArray[np.int64]:
    """[n] bin of each confidence, edges at equally spaced quantiles; equal confidences share a bin."""
    confidence = np.asarray(confidence, dtype=np.float64)
    edges = np.unique(np.quantile(confidence, np.arange(1, bins) / bins))
    return np.searchsorted(edges, confidence, side="left")


def expected_calibration_error(
    confidence: npt.ArrayLike, correct: npt.ArrayLike, bins: int = ECE_BINS
) -> float:
    """Mean |confidence - accuracy| over bins of equal mass, weighted by their counts."""
    gap = np.asarray(confidence, dtype=np.float64) - np.asarray(correct, dtype=np.float64)
    sums = np.bincount(mass_bins(confidence, bins), weights=gap)
    return float(np.abs(sums).sum() / len(gap))


class Bootstrap:
    """Cluster bootstrap by compound: one matrix of resampling weights, shared by all rows of a table.

    compounds: [n] the compound of each pattern.
    """

    def __init__(self, compounds: Sequence[str], *, resamples: int = RESAMPLES, seed: int = 0) -> None:
        self.compounds = list(compounds)
        names, self.cluster = np.unique(np.asarray(self.compounds, dtype=str), return_inverse=True)
        self.n_compounds = len(names)
        rng = np.random.default_rng(seed)
        uniform = np.full(self.n_compounds, 1.0 / self.n_compounds)
        #: [resamples + 1, compounds] how often each compound is drawn; row 0 is the sample itself.
        self.weights = np.vstack(
            [np.ones(self.n_compounds), rng.multinomial(self.n_compounds, uniform, size=resamples)]
        )

    def sums(self, per_pattern: FloatMatrix, cluster: npt.NDArray[np.int64] | None = None) -> FloatMatrix:
        """[resamples + 1, m] resampled sums of per-pattern columns [n, m]."""
        cluster = self.cluster if cluster is None else cluster
        by_compound = np.zeros((self.n_compounds, per_pattern.shape[1]))
        np.add.at(by_compound, cluster, per_pattern)
        return self.weights @ by_compound

    def interval(self, draws: FloatMatrix) -> Interval:
        """Row 0 of `draws` with the percentiles of the others; resamples without a value are left out."""
        rest = draws[1:][np.isfinite(draws[1:])]
        if not np.isfinite(draws[0]) or not rest.size:
            return Interval(float("nan"), float("nan"), float("nan"))
        low, high = np.percentile(rest, [2.5, 97.5])
        return Interval(float(draws[0]), float(low), float(high))


def score(
    log_probability: npt.ArrayLike,
    labels: npt.ArrayLike,
    reference_nll: npt.ArrayLike,
    bootstrap: Bootstrap,
    *,
    topology: Topology | None = None,
    repeats: int = 1,
) -> dict[str, Interval]:
    """All metrics of one predictor.

    log_probability: [repeats * n, 99] nats, normalised; labels: [repeats * n]. With repeats > 1 the rows
    are several passes over the same patterns in the same order (as a permutation null is), averaged.
    reference_nll: [n] nats, of the reference prior at the true groups, for bits_over_prior.

    The interval of ECE is of the resampled statistic, which noise can only raise: for a well calibrated
    predictor its low end may lie above the value.
    """
    parts = contributions(log_probability, labels, topology)
    cluster = np.tile(bootstrap.cluster, repeats)
    reference = np.tile(np.asarray(reference_nll, dtype=np.float64), repeats)
    numerator = dict(parts.numerator)
    denominator = dict(parts.denominator)
    numerator["bits_over_prior"] = (reference - numerator["nll"]) / np.log(2.0)
    denominator["bits_over_prior"] = np.ones_like(reference)
    names = list(numerator)
    top = bootstrap.sums(np.column_stack([numerator[name] for name in names]), cluster)
    bottom = bootstrap.sums(np.column_stack([denominator[name] for name in names]), cluster)
    # Sums of shared ties may leave 1e-16 in place of 0: fewer than 1e-9 wrong answers are none.
    draws = np.divide(top, bottom, out=np.full_like(top, np.nan), where=bottom > 1e-9)
    found = {name: bootstrap.interval(draws[:, i]) for i, name in enumerate(names)}
    bins = mass_bins(parts.confidence)
    gaps = np.zeros((len(bins), int(bins.max()) + 1))
    gaps[np.arange(len(bins)), bins] = parts.confidence - parts.correct
    total = bootstrap.sums(np.ones((len(bins), 1)), cluster)[:, 0]
    found["ece"] = bootstrap.interval(np.abs(bootstrap.sums(gaps, cluster)).sum(axis=1) / total)
    return {name: found[name] for name in METRICS}


@dataclass(frozen=True, slots=True)
class Reliability:
    """Confidence against accuracy of the first answer.

    confidence, accuracy: [bins] means in bins of equal mass; low, high: [bins] 95 % of the accuracy by
    compound; count: [bins]. ece, and expected_low, expected_high: the 2.5 and 97.5 percentiles of the ECE
    when labels are drawn from the model's own probabilities: inside, nothing speaks against it being
    calibrated. Patterns of one compound are right or wrong together there, as they nearly are
    (they are no independent chances, here as little as in any interval); independent_low,
    independent_high: the narrower range as if they were.
    """

    confidence: tuple[float, ...]
    accuracy: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    count: tuple[int, ...]
    ece: float
    expected_low: float
    expected_high: float
    independent_low: float
    independent_high: float

    @property
    def calibrated(self) -> bool:
        """Whether the ECE is not above what a calibrated model would show."""
        return self.ece <= self.expected_high


def reliability(
    log_probability: npt.ArrayLike, labels: npt.ArrayLike, bootstrap: Bootstrap, *, seed: int = 0
) -> Reliability:
    """Reliability of the first answer of [n, 99] log-probabilities, ties shared."""
    logp = np.asarray(log_probability, dtype=np.float64)
    parts = contributions(logp, labels)
    bins = mass_bins(parts.confidence)
    used = np.unique(bins)
    inside = (bins[:, None] == used).astype(np.float64)
    draws = np.divide(
        bootstrap.sums(inside * parts.correct[:, None]), np.maximum(bootstrap.sums(inside), 1e-9)
    )
    accuracy = [bootstrap.interval(draws[:, i]) for i in range(len(used))]
    count = inside.sum(0)
    # Drawn labels: the first answer is right with its own confidence.
    rng = np.random.default_rng(seed)
    of_pattern = rng.random((RESAMPLES, len(bins)))
    of_compound = rng.random((RESAMPLES, bootstrap.n_compounds))[:, bootstrap.cluster]
    ranges = []
    for chance in (of_compound, of_pattern):
        gaps = np.abs((parts.confidence - (chance < parts.confidence)) @ inside).sum(1) / len(bins)
        ranges += np.percentile(gaps, [2.5, 97.5]).tolist()
    return Reliability(
        tuple((parts.confidence @ inside / count).tolist()),
        tuple(a.value for a in accuracy),
        tuple(a.low for a in accuracy),
        tuple(a.high for a in accuracy),
        tuple(int(c) for c in count),
        expected_calibration_error(parts.confidence, parts.correct),
        *ranges,
    )


def set_metrics(in_set: npt.ArrayLike, size: npt.ArrayLike, bootstrap: Bootstrap) -> dict[str, Interval]:
    """`set_coverage`, the share of prediction sets with the true group, and `set_size`, their mean size."""
    columns = np.column_stack([np.asarray(in_set, np.float64), np.asarray(size, np.float64)])
    draws = bootstrap.sums(columns) / bootstrap.sums(np.ones((len(columns), 1)))
    return {"set_coverage": bootstrap.interval(draws[:, 0]), "set_size": bootstrap.interval(draws[:, 1])}
