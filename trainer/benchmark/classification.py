"""From predictions to the benchmark's result: the model's row and its nulls, overall and by source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
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
    reference = negative_log_likelihood(prior.log_probability, labels)
    permuted = nulls.permutation(compounds, seed=seed)
    predictions = {"model": log_probability}
    if evidence_only is not None:
        predictions["evidence_only"] = evidence_only
    if network is not None:
        predictions["network"] = network
    if bic is not None:
        predictions["bic"] = bic
    predictions["prior_only"] = prior.log_probability
    predictions["constant"] = nulls.constant(labels)

    def rows_of(keep: npt.NDArray[np.int64]) -> dict[str, Any]:
        boot = Bootstrap([compounds[i] for i in keep], seed=seed, resamples=resamples)
        here, ref = labels[keep], reference[keep]
        rows = {
            name: score(logp[keep], here, ref, boot, topology=topology) for name, logp in predictions.items()
        }
        shuffled = log_probability[permuted[:, keep]].reshape(-1, log_probability.shape[1])
        rows["permutation"] = score(
            shuffled, np.tile(here, len(permuted)), ref, boot, topology=topology, repeats=len(permuted)
        )
        found: dict[str, Any] = {"n": len(keep), "compounds": boot.n_compounds}
        found |= {n: row_as_json(r) for n, r in rows.items()}
        if network is not None:
            found["gain"] = row_as_json(paired(log_probability[keep], network[keep], here, boot))
        if bic is not None:
            found["gain_over_bic"] = {
                name: row_as_json(paired(predictions[name][keep], bic[keep], here, boot))
                for name in ("model", "evidence_only")
                if name in predictions
            }
        if sets is not None:
            found["sets"] = row_as_json(set_metrics(sets[0][keep], sets[1][keep], boot))
        return found

    result = rows_of(np.arange(len(cases)))
    boot = Bootstrap(compounds, seed=seed, resamples=resamples)
    result["reliability"] = asdict(reliability(log_probability, labels, boot, seed=seed))
    shuffled = log_probability[permuted].reshape(-1, log_probability.shape[1])
    repeated = np.tile(labels, len(permuted))
    result["errors"] = error_flow(log_probability, labels, shuffled, repeated)
    if published is not None:
        rows = {n: score(p, labels, reference, boot, topology=published) for n, p in predictions.items()}
        rows["permutation"] = score(
            shuffled, repeated, reference, boot, topology=published, repeats=len(permuted)
        )
        result["published_graph"] = {
            name: {metric: row[metric] for metric in GRAPH} for name, row in _as_json(rows).items()
        }
    groups = {"source": [case.source for case in cases], **(strata or {})}
    for name, values in groups.items():
        values = np.asarray(values, dtype=str)
        result[f"by_{name}"] = {
            value: rows_of(np.flatnonzero(values == value))
            for value in sorted(set(values), key=lambda v: (-int((values == v).sum()), v))
        }
    seconds = np.asarray(seconds, dtype=np.float64)
    result["seconds_median"] = float(np.median(seconds))
    result["settings"] = {
        **(settings or {}),
        "prior_only": prior.name,
        "bootstrap": {"resamples": resamples, "by": "compound", "seed": seed},
        "ece": {"bins": ECE_BINS, "kind": "equal mass"},
        "permutations": len(permuted),
        "seconds": {"p95": float(np.percentile(seconds, 95)), "max": float(seconds.max())},
    }
    return result


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
