"""Graphs, reliability and prediction sets of the benchmark, against networkx, scipy and counting by hand."""

from __future__ import annotations

import json
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from eg_agent import symmetry
from trainer.metrics import (
    RELATIONS,
    Bootstrap,
    contributions,
    expected_calibration_error,
    normalise,
    reliability,
    set_metrics,
    subgroup_topology,
    topology_of,
)


def by_networkx(edges: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """(distance, relation) of a directed graph on 1 to 99."""
    graph = nx.DiGraph()
    graph.add_nodes_from(range(1, 100))
    graph.add_edges_from(edges)
    distance = np.full((99, 99), 99)
    for start, reached in nx.all_pairs_shortest_path_length(graph.to_undirected()):
        for end, hops in reached.items():
            distance[start - 1, end - 1] = hops
    relation = np.full((99, 99), RELATIONS.index("branch"))
    for node in graph:
        for below in nx.descendants(graph, node):
            relation[node - 1, below - 1] = RELATIONS.index("descendant")
        for above in nx.ancestors(graph, node):
            relation[node - 1, above - 1] = RELATIONS.index("ancestor")
        relation[node - 1, node - 1] = RELATIONS.index("same")
    return distance, relation


def test_our_subgroup_graph_is_that_of_networkx() -> None:
    distance, relation = by_networkx(list(symmetry.edges()))
    found = subgroup_topology()
    np.testing.assert_array_equal(found.distance, distance)
    np.testing.assert_array_equal(found.relation, relation)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 98), st.integers(2, 99)).filter(lambda e: e[0] < e[1]), max_size=150)
)
def test_any_acyclic_graph_is_that_of_networkx(edges: list[tuple[int, int]]) -> None:
    distance, relation = by_networkx(edges)
    found = topology_of(edges)
    np.testing.assert_array_equal(found.distance, distance)
    np.testing.assert_array_equal(found.relation, relation)


def test_the_published_graph_counts_two_groups_as_one(symmetry_tables: Path) -> None:
    edges = [
        (p, c)
        for p, c in json.loads((symmetry_tables / "subgroup_graph.json").read_text())["published_edges"]
    ]
    distance, _ = by_networkx(edges)
    found = topology_of(edges, {74: 73})
    assert found.distance[73, 72] == 0
    np.testing.assert_array_equal(found.distance[73], found.distance[72])
    keep = np.delete(np.arange(99), 73)
    np.testing.assert_array_equal(found.distance[np.ix_(keep, keep)], distance[np.ix_(keep, keep)])


def test_wrong_answers_are_counted_along_the_graph() -> None:
    chain = topology_of([(i, i + 1) for i in range(1, 99)])
    logp = np.full((3, 99), -20.0)
    logp[[0, 1, 2], [12, 5, 40]] = 0.0  # answers 13, 6 and 41, one after another below 10
    parts = contributions(normalise(logp), np.array([9, 9, 40]), chain)
    assert parts.numerator["graph_distance_wrong"].tolist() == pytest.approx([3.0, 4.0, 0.0])
    assert parts.numerator["descendant"].tolist() == pytest.approx([1.0, 0.0, 0.0])
    assert parts.numerator["ancestor"].tolist() == pytest.approx([0.0, 1.0, 0.0])
    assert parts.denominator["graph_distance_wrong"].tolist() == pytest.approx([1.0, 1.0, 0.0])


def two_groups(confidence: np.ndarray) -> np.ndarray:
    """[n, 99] answers of group 1 with a confidence above one half, the rest on group 2."""
    logp = np.full((len(confidence), 99), -30.0)
    logp[:, 0], logp[:, 1] = np.log(confidence), np.log1p(-confidence)
    return normalise(logp)


def test_reliability_by_hand() -> None:
    confidence = np.linspace(0.51, 0.99, 200)
    labels = (np.random.default_rng(0).random(200) > 0.75).astype(
        np.int64
    )  # right with 0.75 whatever it says
    found = reliability(two_groups(confidence), labels, Bootstrap([str(i) for i in range(200)]))
    # ten bins of twenty, in order
    bins = confidence.reshape(10, 20)
    right = (labels == 0).reshape(10, 20)
    assert found.count == (20,) * 10
    assert found.confidence == pytest.approx(bins.mean(1), abs=1e-6)
    assert found.accuracy == pytest.approx(right.mean(1))
    assert found.ece == pytest.approx(np.abs(bins.mean(1) - right.mean(1)).mean(), abs=1e-6)
    assert found.ece == pytest.approx(expected_calibration_error(confidence, labels == 0))
    for low, accuracy, high in zip(found.low, found.accuracy, found.high, strict=True):
        exact = stats.binomtest(round(20 * accuracy), 20).proportion_ci(method="exact")
        assert exact.low - 0.05 <= low <= accuracy <= high <= exact.high + 0.05


@pytest.mark.parametrize(("power", "calibrated"), [(1.0, True), (4.0, False)])
def test_an_overconfident_model_is_outside_what_a_calibrated_one_shows(
    power: float, calibrated: bool
) -> None:
    rng = np.random.default_rng(4)
    honest = rng.uniform(0.5, 0.95, 1500)
    labels = (rng.random(1500) > honest).astype(np.int64)
    odds = (honest / (1 - honest)) ** power
    found = reliability(two_groups(odds / (1 + odds)), labels, Bootstrap([str(i) for i in range(1500)]))
    assert found.calibrated is calibrated
    assert 0 < found.expected_low < found.expected_high < 0.1
    assert (found.expected_low <= found.ece <= found.expected_high) is calibrated


def test_patterns_of_one_compound_are_no_independent_chances() -> None:
    confidence = np.repeat(np.random.default_rng(5).uniform(0.5, 0.95, 100), 6)
    labels = np.repeat(np.random.default_rng(6).random(100), 6) > confidence  # calibrated, by compound
    compounds = [str(i // 6) for i in range(600)]
    found = reliability(two_groups(confidence), labels.astype(np.int64), Bootstrap(compounds))
    # What 100 chances show, six times each, is what these 100 would show alone.
    alone = reliability(two_groups(confidence[::6]), labels[::6].astype(np.int64), Bootstrap(compounds[::6]))
    assert found.expected_low == pytest.approx(alone.expected_low, abs=0.005)
    assert found.expected_high == pytest.approx(alone.expected_high, abs=0.01)
    assert found.independent_high < 0.6 * found.expected_high
    assert found.calibrated


def test_coverage_and_size_of_sets_agree_with_scipy() -> None:
    rng = np.random.default_rng(2)
    inside, size = rng.random(120) < 0.9, rng.integers(1, 12, 120)
    found = set_metrics(inside, size, Bootstrap([str(i) for i in range(120)]))
    for name, values in (("set_coverage", inside.astype(float)), ("set_size", size.astype(float))):
        by_scipy = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=4000, rng=5)
        interval = by_scipy.confidence_interval
        width = interval.high - interval.low
        assert found[name].value == pytest.approx(values.mean())
        assert found[name].low == pytest.approx(interval.low, abs=0.15 * width)
        assert found[name].high == pytest.approx(interval.high, abs=0.15 * width)


def test_sets_of_one_compound_are_resampled_together() -> None:
    inside = np.repeat([True, False, True, True, True, True], 20)
    each = set_metrics(inside, inside, Bootstrap([str(i) for i in range(120)]))["set_coverage"]
    together = set_metrics(inside, inside, Bootstrap([str(i // 20) for i in range(120)]))["set_coverage"]
    assert each.value == together.value == pytest.approx(5 / 6)
    assert together.high - together.low > 3 * (each.high - each.low)
