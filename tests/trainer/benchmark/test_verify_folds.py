"""Fusing network and evidence by folds: weights are learned elsewhere, and nobody is beaten for boasting."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax

from trainer.benchmark.verify_folds import calibrate_verifier, temperature


def answers(n: int, gain: float, boast: float, seed: int, labels: np.ndarray) -> np.ndarray:
    """Log-posteriors whose odds are `boast` times what `gain` nats of true information are worth."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(n, 99)) * np.sqrt(gain)
    noise[np.arange(n), labels] += gain
    return log_softmax(boast * noise, axis=1)


@pytest.fixture(scope="module")
def made() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    prior = np.log(rng.dirichlet(np.full(99, 0.3)) * 0.99 + 0.01 / 99)
    labels = rng.choice(99, 400, p=np.exp(prior) / np.exp(prior).sum())
    return {
        "prior": log_softmax(prior),
        "labels": labels,
        "network": log_softmax(answers(400, 2.0, 1.0, 1, labels) + prior, axis=1),
        "evidence": answers(400, 5.0, 1.0, 2, labels),
        "bic": answers(400, 5.0, 6.0, 2, labels),
        "nothing": log_softmax(rng.normal(size=(400, 99)) + prior, axis=1),
    }


def nll(log_p: np.ndarray, labels: np.ndarray) -> float:
    return float(-log_p[np.arange(len(labels)), labels].mean())


def folded(made: dict[str, np.ndarray], network: str = "network"):
    compounds = [str(i // 2) for i in range(400)]
    return calibrate_verifier(
        made[network], made["evidence"], made["bic"], made["prior"], made["labels"], compounds, folds=5
    )


def test_both_together_know_more_than_either(made):
    found = folded(made)
    labels = made["labels"]
    assert nll(found.log_probability, labels) < nll(found.evidence, labels) < nll(made["network"], labels)
    np.testing.assert_allclose(np.exp(found.log_probability).sum(1), 1.0)
    for weights in found.weights:  # independent witnesses, honestly calibrated: each counts in full
        assert (weights.network, weights.lookup) == pytest.approx((1.0, 1.0), abs=0.25)
    assert 0.82 < found.in_set.mean() < 0.97


def test_a_network_that_knows_nothing_is_left_out(made):
    found = folded(made, "nothing")
    assert max(weights.network for weights in found.weights) < 0.25
    assert nll(found.log_probability, made["labels"]) < nll(found.evidence, made["labels"]) + 0.02


def test_odds_that_are_too_large_are_tempered_and_then_as_good(made):
    """The "BIC" here is the evidence with its nats six times too large."""
    found, labels = folded(made), made["labels"]
    assert temperature(made["bic"], labels) / temperature(made["evidence"], labels) == pytest.approx(
        6, rel=0.1
    )
    assert nll(found.bic, labels) == pytest.approx(nll(found.evidence, labels), abs=0.05)
    np.testing.assert_array_equal(found.bic.argmax(1), made["bic"].argmax(1))
