"""The average of two networks lies between them at any share and is a checkpoint with a prior of its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eg_agent.model.checkpoint import load_checkpoint, save_checkpoint
from trainer.retrain.averaging import averaged


@pytest.fixture
def pair(random_checkpoint, tmp_path):
    """A champion, and the same with other weights and another prior of training."""
    network, card = load_checkpoint(random_checkpoint)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for value in network.state_dict().values():
            if value.is_floating_point():
                value.add_(0.01 * torch.rand(value.shape, generator=generator))
    prior = np.log(np.random.default_rng(5).dirichlet(np.ones(99)))
    from dataclasses import replace

    trained = tmp_path / "trained.json"
    save_checkpoint(trained, network, replace(card, log_train_prior=tuple(prior), held_out={"nll": 1.0}))
    return random_checkpoint, trained


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0.0, 1.0))
def test_every_weight_lies_between_and_the_prior_is_one(pair, tmp_path, keep):
    champion, trained = pair
    target = averaged(champion, trained, keep, tmp_path / "averaged.json")
    (first, begun), (second, ended), (found, card) = map(load_checkpoint, (champion, trained, target))
    for name, value in found.state_dict().items():
        if value.is_floating_point():
            expected = keep * first.state_dict()[name] + (1.0 - keep) * second.state_dict()[name]
            # matrices are stored in half precision
            torch.testing.assert_close(value, expected, rtol=2e-3, atol=1e-4)
    assert np.exp(card.log_train_prior).sum() == pytest.approx(1.0)
    # odds of two classes lie between, too
    odds = [np.subtract(*np.array(c.log_train_prior)[[3, 70]]) for c in (begun, card, ended)]
    assert min(odds[0], odds[2]) - 1e-9 <= odds[1] <= max(odds[0], odds[2]) + 1e-9
    assert card.held_out == {}


def test_nothing_kept_is_the_trained_one_and_all_is_the_champion(pair, tmp_path):
    champion, trained = pair
    for keep, like in ((0.0, trained), (1.0, champion)):
        found, card = load_checkpoint(averaged(champion, trained, keep, tmp_path / "a.json"))
        network, other = load_checkpoint(like)
        for name, value in network.state_dict().items():
            torch.testing.assert_close(found.state_dict()[name], value)
        np.testing.assert_allclose(card.log_train_prior, other.log_train_prior, atol=1e-6)
