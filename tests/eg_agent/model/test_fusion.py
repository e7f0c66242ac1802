"""Prior algebra and both fusions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax

from eg_agent.model.architectures import tiny
from eg_agent.model.fusion import Calibration, apply, split_prior
from eg_agent.model.network import Network

UNIFORM = np.full(99, -np.log(99.0))


def scores(seed: int, n: int = 5):
    rng = np.random.default_rng(seed)
    return (
        log_softmax(rng.normal(0, 2, (n, 99)), axis=1),
        rng.normal(0, 2, (n, 99)),
        log_softmax(rng.normal(0, 1, 99)),
        log_softmax(rng.normal(0, 1, 99)),
    )


@settings(max_examples=30)
@given(
    seed=st.integers(0, 10_000),
    temperature=st.floats(0.2, 10),
    share=st.floats(0, 1),
    fusion=st.sampled_from(["log-pool", "linear"]),
)
def test_always_a_distribution(seed, temperature, share, fusion):
    split, aux, train, prior = scores(seed)
    log_p = apply(Calibration(temperature, share, 1.0, fusion), split, aux, train, prior)
    assert log_p.shape == (5, 99)
    np.testing.assert_allclose(np.exp(log_p).sum(1), 1.0)


def test_the_training_prior_is_divided_out_and_the_users_put_in():
    # Bayes by hand: p(x|g) from p(g|x) under the training prior, then p(g|x) under another one.
    _, aux, train, prior = scores(1)
    posterior = np.exp(log_softmax(aux, axis=1))
    expected = posterior / np.exp(train) * np.exp(prior)
    expected /= expected.sum(1, keepdims=True)
    found = apply(Calibration(1.0, 0.0), posterior * 0, aux, train, prior)
    np.testing.assert_allclose(np.exp(found), expected, rtol=1e-10)


def test_same_prior_as_in_training_changes_nothing():
    split, aux, train, _ = scores(2)
    np.testing.assert_allclose(
        apply(Calibration(1.0, 0.0), split, aux, train, train), log_softmax(aux, axis=1), atol=1e-12
    )


def test_split_head_that_knows_nothing_leaves_the_prior():
    _, aux, train, prior = scores(7)
    network = Network(tiny()).eval()
    network.start_from_prior(torch.from_numpy(train), torch.zeros(25))
    with torch.inference_mode():
        blank = network.split_scores(network.split_head.bias[None]).double().numpy()
    np.testing.assert_allclose(blank[0], split_prior(train), atol=1e-5)
    found = apply(Calibration(1.0, 1.0), blank, aux[:1], train, prior)
    np.testing.assert_allclose(found[0], prior, atol=1e-5)


def test_high_temperature_leaves_the_prior():
    split, aux, train, prior = scores(3)
    found = apply(Calibration(1e9, 0.5), split, aux, train, prior)
    np.testing.assert_allclose(found, np.broadcast_to(prior, found.shape), atol=1e-6)


def test_adding_a_constant_to_logits_changes_nothing():
    split, aux, train, prior = scores(4)
    calibration = Calibration(1.7, 0.4)
    np.testing.assert_allclose(
        apply(calibration, split + 3.0, aux - 5.0, train, prior), apply(calibration, split, aux, train, prior)
    )


@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
def test_linear_fusion_is_the_papers(alpha):
    # p = alpha p_split + (1 - alpha) softmax(logits / T + log prior), with a uniform training prior
    split, aux, _, prior = scores(5)
    T = 5.0
    p_aux = np.exp(log_softmax(log_softmax(aux, axis=1) / T + prior, axis=1))
    found = np.exp(apply(Calibration(T, alpha, 1.0, "linear"), split, aux, UNIFORM, prior))
    np.testing.assert_allclose(found, alpha * np.exp(split) + (1 - alpha) * p_aux, rtol=1e-9)


def test_a_prior_for_each_pattern():
    split, aux, train, prior = scores(6)
    each = np.stack([prior, UNIFORM, prior, UNIFORM, train])
    found = apply(Calibration(1.2, 0.3), split, aux, train, each)
    for i in range(5):
        alone = apply(Calibration(1.2, 0.3), split[i : i + 1], aux[i : i + 1], train, each[i])
        np.testing.assert_allclose(found[i], alone[0])
