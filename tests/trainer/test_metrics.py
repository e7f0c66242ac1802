"""Golden values computed by hand or by plain scipy, and what must hold of any predictor."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import log_softmax

from trainer.metrics import (
    METRICS,
    Bootstrap,
    Topology,
    contributions,
    expected_calibration_error,
    mass_bins,
    normalise,
    score,
)

#: A chain 0 -> 1 -> 2 with a branch 0 -> 3: hops by hand, relation of the prediction (column).
CHAIN = Topology(
    distance=np.array([[0, 1, 2, 1], [1, 0, 1, 2], [2, 1, 0, 3], [1, 2, 3, 0]]),
    relation=np.array([[0, 1, 1, 1], [2, 0, 1, 3], [2, 2, 0, 3], [2, 3, 3, 0]]),
)
#: Four patterns of true group 0, 1, 1, 2.
PROBABILITY = np.array(
    [[0.7, 0.1, 0.1, 0.1], [0.6, 0.3, 0.06, 0.04], [0.1, 0.2, 0.3, 0.4], [0.1, 0.2, 0.3, 0.4]]
)
LABELS = np.array([0, 1, 1, 2])


def _score(probability: np.ndarray, labels: np.ndarray, compounds: list[str], **kwargs: int):
    prior = np.full(len(labels), np.log(4.0))
    return score(np.log(probability), labels, prior, Bootstrap(compounds, **kwargs), topology=CHAIN)


def test_every_metric_by_hand() -> None:
    found = {name: m.value for name, m in _score(PROBABILITY, LABELS, ["a", "b", "c", "d"]).items()}
    assert tuple(found) == METRICS
    assert found["top1"] == pytest.approx(1 / 4)  # only the first
    assert found["top3"] == pytest.approx(1.0)  # third pattern: 0.4, 0.3, then the true 0.2
    assert found["top5"] == pytest.approx(1.0)
    assert found["nll"] == pytest.approx(-(np.log(0.7) + np.log(0.3) + np.log(0.2) + np.log(0.3)) / 4)
    assert found["bits_over_prior"] == pytest.approx((np.log(4) - found["nll"]) / np.log(2))
    brier = [
        0.3**2 + 3 * 0.1**2,
        0.6**2 + 0.7**2 + 0.06**2 + 0.04**2,
        0.1**2 + 0.8**2 + 0.3**2 + 0.4**2,
        0.1**2 + 0.2**2 + 0.7**2 + 0.4**2,
    ]
    assert found["brier"] == pytest.approx(np.mean(brier))
    # Wrong answers: (true 1, said 0: an ancestor, 1 hop), (1, 3: a branch, 2), (2, 3: a branch, 3).
    assert found["graph_distance_wrong"] == pytest.approx(2.0)
    assert found["within_2_hops"] == pytest.approx(2 / 3)
    assert found["ancestor"] == pytest.approx(1 / 3)
    assert found["descendant"] == 0.0
    assert found["branch"] == pytest.approx(2 / 3)
    # Confidences .4 .4 share a bin: gaps |.7 - 1|, |.6 - 0|, |.8 - 0|, over four patterns.
    assert found["ece"] == pytest.approx((0.3 + 0.6 + 0.8) / 4)


def test_ties_are_shared_in_every_metric() -> None:
    found = _score(np.full((2, 4), 0.25), np.array([0, 2]), ["a", "b"])
    assert found["top1"].value == pytest.approx(1 / 4)
    assert found["top3"].value == pytest.approx(3 / 4)
    assert found["top5"].value == 1.0
    assert found["bits_over_prior"].value == pytest.approx(0.0)
    # Mean hops over the three other groups: from 0 (1+2+1)/3, from 2 (2+1+3)/3.
    assert found["graph_distance_wrong"].value == pytest.approx((4 / 3 + 2) / 2)


def test_no_wrong_answer_leaves_graph_metrics_undefined() -> None:
    found = _score(np.array([[0.97, 0.01, 0.01, 0.01]]), np.array([0]), ["a"])
    assert found["top1"].value == 1.0
    assert np.isnan(found["graph_distance_wrong"].value)
    assert np.isnan(found["branch"].low)


def test_bootstrap_interval_agrees_with_scipy() -> None:
    rng = np.random.default_rng(5)
    log_probability = log_softmax(rng.normal(size=(300, 4)), axis=1)
    labels = rng.integers(0, 4, 300)
    nll = -log_probability[np.arange(300), labels]
    boot = Bootstrap([f"c{i}" for i in range(300)], resamples=4000)
    found = score(log_probability, labels, nll, boot, topology=CHAIN)["nll"]
    reference = stats.bootstrap(
        (nll,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert found.value == pytest.approx(nll.mean())
    assert found.low == pytest.approx(reference.low, abs=0.02)
    assert found.high == pytest.approx(reference.high, abs=0.02)


def test_copies_of_a_pattern_do_not_narrow_the_interval() -> None:
    """Twenty copies of each pattern are one compound: the interval is that of the single patterns."""
    rng = np.random.default_rng(2)
    log_probability = log_softmax(rng.normal(size=(60, 4)), axis=1)
    labels = rng.integers(0, 4, 60)
    names = [f"c{i:03d}" for i in range(60)]
    zero = np.zeros(60)
    once = score(log_probability, labels, zero, Bootstrap(names), topology=CHAIN)
    copied = score(
        np.repeat(log_probability, 20, axis=0),
        np.repeat(labels, 20),
        np.repeat(zero, 20),
        Bootstrap([n for n in names for _ in range(20)]),
        topology=CHAIN,
    )
    for name in ("top1", "nll", "branch"):
        assert copied[name].value == pytest.approx(once[name].value)
        assert copied[name].low == pytest.approx(once[name].low)
        assert copied[name].high == pytest.approx(once[name].high)


def test_repeats_average_several_passes() -> None:
    boot = Bootstrap(["a", "b", "c", "d"])
    prior = np.zeros(4)
    other = PROBABILITY[::-1]
    both = score(
        np.log(np.vstack([PROBABILITY, other])), np.tile(LABELS, 2), prior, boot, topology=CHAIN, repeats=2
    )
    first = score(np.log(PROBABILITY), LABELS, prior, boot, topology=CHAIN)
    second = score(np.log(other), LABELS, prior, boot, topology=CHAIN)
    assert both["nll"].value == pytest.approx((first["nll"].value + second["nll"].value) / 2)
    assert both["top1"].value == pytest.approx((first["top1"].value + second["top1"].value) / 2)


def test_seed_decides_the_interval() -> None:
    compounds = ["a", "b", "c", "d"]
    one = _score(PROBABILITY, LABELS, compounds, seed=3)
    assert one == _score(PROBABILITY, LABELS, compounds, seed=3)
    assert one["nll"].value == _score(PROBABILITY, LABELS, compounds, seed=4)["nll"].value


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_a_calibrated_predictor_has_a_small_ece_and_an_overconfident_one_has_not(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = 2.0 * rng.normal(size=(4000, 6))
    probability = np.exp(log_softmax(logits, axis=1))
    labels = (probability.cumsum(axis=1) > rng.random((4000, 1))).argmax(axis=1)
    sharp = np.exp(log_softmax(3.0 * logits, axis=1))

    def ece(p: np.ndarray) -> float:
        return expected_calibration_error(p.max(axis=1), p.argmax(axis=1) == labels)

    assert ece(probability) < 0.04
    assert ece(sharp) > 0.1


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=200))
def test_equal_confidences_share_a_bin(values: list[float]) -> None:
    confidence = np.array(values)
    bins = mass_bins(confidence)
    assert bins.max() < 15
    for value in np.unique(confidence):
        assert len(np.unique(bins[confidence == value])) == 1
    assert np.all(np.diff(bins[np.argsort(confidence)]) >= 0)


def test_an_impossible_truth_has_a_finite_score() -> None:
    with np.errstate(divide="ignore"):
        logp = normalise(np.log(np.array([[1.0, 0.0, 0.0, 0.0]])))
    assert np.exp(logp).sum() == pytest.approx(1.0)
    assert contributions(logp, np.array([3]), CHAIN).numerator["nll"][0] == pytest.approx(30.0)


def test_shapes_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(ValueError, match="do not go together"):
        contributions(np.zeros((3, 4)), np.array([0, 1]), CHAIN)
