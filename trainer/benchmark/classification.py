"""From predictions to the benchmark's result: the model's row and its nulls, overall and by source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.benchmark import nulls
from trainer.benchmark.data import Case
from trainer.metrics import (
    ECE_BINS,
    RESAMPLES,
    Bootstrap,
    FloatMatrix,
    Interval,
    Topology,
    contributions,
    negative_log_likelihood,
    reliability,
    score,
    set_metrics,
    subgroup_topology,
)

#: Metrics that depend on the graph.
GRAPH = ("graph_distance_wrong", "within_2_hops", "descendant", "ancestor", "branch")

#: A row of the table: metric -> interval.
Row = dict[str, Interval]


def labels_of(cases: Sequence[Case]) -> npt.NDArray[np.int64]:
    """[n] group index 0 to 98."""
    return np.array([case.group - 1 for case in cases], dtype=np.int64)


def compounds_of(cases: Sequence[Case]) -> list[str]:
    """[n] compound of each case: what folds and the bootstrap go by."""
    return [case.compound for case in cases]


def result_of(
    cases: Sequence[Case],
    log_probability: FloatMatrix,
    *,
    shipped_prior: npt.ArrayLike,
    prior_name: str,
    seconds: npt.ArrayLike,
    evidence_only: FloatMatrix | None = None,
    network: FloatMatrix | None = None,
    bic: FloatMatrix | None = None,
    settings: Mapping[str, Any] | None = None,
    strata: Mapping[str, Sequence[str]] | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
    topology: Topology | None = None,
    published: Topology | None = None,
    sets: tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]] | None = None,
) -> dict[str, Any]:
    """The benchmark's result as plain JSON types.

    log_probability: [n, 99] of the model, nats, normalised. shipped_prior: [99] nats.
    seconds: [n] a pattern. evidence_only: [n, 99], verifier with a uniform prior. network: [n, 99], the
        network alone; then "gain" holds what the model adds to it, pattern by pattern (`paired`).
    bic: [n, 99], plain BIC on the verifier's fit with a uniform prior; then "gain_over_bic" holds what the
        model and the evidence alone add to it.
    published: another graph; its hops and relations stand under "published_graph", model and nulls.
    sets: [n] whether a prediction set holds the true group, and [n] its size.
    strata: name -> [n] value of each case; each gives a `by_<name>` beside `by_source`, with the same rows.
    """
    labels, compounds = labels_of(cases), compounds_of(cases)
    prior = nulls.prior_only(labels, compounds, shipped_prior, prior_name, seed=seed)
    given = {"model": log_probability, "evidence_only": evidence_only, "network": network, "bic": bic}
    judged = _Judged(
        labels=labels,
        compounds=compounds,
        predictions={
            **{name: values for name, values in given.items() if values is not None},
            "prior_only": prior.log_probability,
            "constant": nulls.constant(labels),
        },
        reference=negative_log_likelihood(prior.log_probability, labels),
        permuted=nulls.permutation(compounds, seed=seed),
        sets=sets,
        topology=topology,
        seed=seed,
        resamples=resamples,
    )
    everything = np.arange(len(cases))
    result = judged.rows(everything)
    boot = judged.bootstrap(everything)
    result["reliability"] = asdict(reliability(log_probability, labels, boot, seed=seed))
    result["errors"] = error_flow(log_probability, labels, *judged.shuffled(everything))
    if published is not None:
        rows = _as_json(judged.scores(everything, boot, published))
        result["published_graph"] = {
            name: {metric: row[metric] for metric in GRAPH} for name, row in rows.items()
        }
    for name, values in {"source": [case.source for case in cases], **(strata or {})}.items():
        values = np.asarray(values, dtype=str)
        result[f"by_{name}"] = {
            value: judged.rows(np.flatnonzero(values == value))
            for value in sorted(set(values), key=lambda v: (-int((values == v).sum()), v))
        }
    seconds = np.asarray(seconds, dtype=np.float64)
    result["seconds_median"] = float(np.median(seconds))
    result["settings"] = {
        **(settings or {}),
        "prior_only": prior.name,
        "bootstrap": {"resamples": resamples, "by": "compound", "seed": seed},
        "ece": {"bins": ECE_BINS, "kind": "equal mass"},
        "permutations": len(judged.permuted),
        "seconds": {"p95": float(np.percentile(seconds, 95)), "max": float(seconds.max())},
    }
    return result


@dataclass(frozen=True, eq=False)
class _Judged:
    """Predictions with what they are judged by.

    labels: [n]; compounds: [n]. predictions: name -> [n, 99] nats. reference: [n] nats that the best prior
    costs. permuted: [repeats, n], whose answer a pattern is given in the null.
    """

    labels: npt.NDArray[np.int64]
    compounds: list[str]
    predictions: dict[str, FloatMatrix]
    reference: npt.NDArray[np.float64]
    permuted: npt.NDArray[np.int64]
    sets: tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]] | None
    topology: Topology | None
    seed: int
    resamples: int

    def bootstrap(self, keep: npt.NDArray[np.int64]) -> Bootstrap:
        """By the compounds of some cases."""
        return Bootstrap([self.compounds[i] for i in keep], seed=self.seed, resamples=self.resamples)

    def shuffled(self, keep: npt.NDArray[np.int64]) -> tuple[FloatMatrix, npt.NDArray[np.int64]]:
        """The null of some cases: the model's answers to other patterns, repeat after repeat, with labels."""
        model = self.predictions["model"]
        answers = model[self.permuted[:, keep]].reshape(-1, model.shape[1])
        return answers, np.tile(self.labels[keep], len(self.permuted))

    def scores(
        self, keep: npt.NDArray[np.int64], boot: Bootstrap, topology: Topology | None
    ) -> dict[str, Row]:
        """Every prediction's metrics on some cases, and those of the null."""
        here, reference = self.labels[keep], self.reference[keep]
        rows = {
            name: score(values[keep], here, reference, boot, topology=topology)
            for name, values in self.predictions.items()
        }
        repeats = len(self.permuted)
        rows["permutation"] = score(*self.shuffled(keep), reference, boot, topology=topology, repeats=repeats)
        return rows

    def rows(self, keep: npt.NDArray[np.int64]) -> dict[str, Any]:
        """All that is said of some cases: scores, what is gained over what, prediction sets."""
        boot, here, given = self.bootstrap(keep), self.labels[keep], self.predictions
        found: dict[str, Any] = {"n": len(keep), "compounds": boot.n_compounds}
        found |= _as_json(self.scores(keep, boot, self.topology))

        def gained(name: str, over: str) -> dict[str, dict[str, float | None]]:
            return row_as_json(paired(given[name][keep], given[over][keep], here, boot))

        if "network" in given:
            found["gain"] = gained("model", "network")
        if "bic" in given:
            names = [name for name in ("model", "evidence_only") if name in given]
            found["gain_over_bic"] = {name: gained(name, "bic") for name in names}
        if self.sets is not None:
            found["sets"] = row_as_json(set_metrics(self.sets[0][keep], self.sets[1][keep], boot))
        return found


def paired(
    log_probability: FloatMatrix, other: FloatMatrix, labels: npt.NDArray[np.int64], bootstrap: Bootstrap
) -> Row:
    """top1, top3, top5, nll and bits of [n, 99] less those of `other`, pattern by pattern, by compound.

    bits: by which the true group is more probable, so that more is better; of nll less is.
    """
    mine, others = contributions(log_probability, labels), contributions(other, labels)
    names = ("top1", "top3", "top5", "nll")
    gains = np.stack([mine.numerator[name] - others.numerator[name] for name in names], axis=1)
    gains = np.column_stack([gains, -gains[:, -1] / np.log(2.0)])
    draws = bootstrap.sums(gains) / bootstrap.sums(np.ones((len(labels), 1)))
    return {name: bootstrap.interval(draws[:, i]) for i, name in enumerate((*names, "bits"))}


def _as_json(rows: Mapping[str, Row]) -> dict[str, dict[str, dict[str, float | None]]]:
    return {name: row_as_json(row) for name, row in rows.items()}


def error_flow(
    log_probability: FloatMatrix,
    labels: npt.NDArray[np.int64],
    null: FloatMatrix,
    null_labels: npt.NDArray[np.int64],
) -> dict[str, Any]:
    """Wrong first answers: commonest confusions, and shares by hops on the subgroup graph, with the null.

    confusions: [true number, answered number, count], commonest first. hops, null_hops: share of the wrong
    answers at 0, 1, 2 ... hops; null: permuted answers.
    """
    distance = subgroup_topology().distance
    most = int(distance.max()) + 1

    def hops(answer: npt.NDArray[np.int64], true: npt.NDArray[np.int64]) -> list[float]:
        wrong = answer != true
        counts = np.bincount(distance[true[wrong], answer[wrong]], minlength=most)
        return (counts / max(int(wrong.sum()), 1)).tolist()

    answer = log_probability.argmax(axis=1)
    pairs = Counter((int(t) + 1, int(a) + 1) for t, a in zip(labels, answer, strict=True) if t != a)
    return {
        "confusions": [[t, a, count] for (t, a), count in pairs.most_common()],
        "hops": hops(answer, labels),
        "null_hops": hops(null.argmax(axis=1), null_labels),
    }


def row_as_json(row: Row) -> dict[str, dict[str, float | None]]:
    """Metric -> {"value", "low", "high"}; null where a metric is not defined."""
    return {
        name: {key: (value if np.isfinite(value) else None) for key, value in asdict(interval).items()}
        for name, interval in row.items()
    }
