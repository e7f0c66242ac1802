"""The loss against numpy, one pattern at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from eg_agent.model.network import Heads
from eg_agent.symmetry import published_codes
from trainer.loss import POS_WEIGHT_CAP, MultiTaskLoss


def test_loss_against_numpy():
    rng = np.random.default_rng(0)
    prior = log_softmax(rng.normal(0, 1, 99))
    split, aux = rng.normal(0, 2, (6, 37)), rng.normal(0, 2, (6, 99))
    label = rng.integers(0, 99, 6)
    codes = np.array(published_codes(), dtype=float)
    positive = np.exp(prior) @ codes[:, 12:]
    weight = np.minimum((1 - positive) / positive, POS_WEIGHT_CAP)
    system = lattice = bits = cross = 0.0
    for b, g in enumerate(label):
        system -= log_softmax(split[b, :7])[codes[g, :7].argmax()] / 6
        lattice -= log_softmax(split[b, 7:12])[codes[g, 7:12].argmax()] / 6
        p = 1 / (1 + np.exp(-split[b, 12:]))
        y = codes[g, 12:]
        bits -= np.mean(weight * y * np.log(p) + (1 - y) * np.log(1 - p)) / 6
        cross -= log_softmax(aux[b])[g] / 6
    loss = MultiTaskLoss(prior)
    parts = loss(Heads(torch.from_numpy(split), torch.from_numpy(aux)), torch.from_numpy(label))
    found = [float(v) for v in parts]
    np.testing.assert_allclose(
        found, [system + lattice + bits + cross, system, lattice, bits, cross], rtol=1e-5
    )


def test_rare_bits_are_capped():
    prior = np.full(99, -50.0)
    prior[98] = 0.0  # the triclinic group has no operator at all
    weights = MultiTaskLoss(prior).pos_weight_O
    assert float(weights.max()) == POS_WEIGHT_CAP
    assert torch.isfinite(weights).all()


def test_space_groups_are_taught_where_they_are_known():
    from eg_agent.symmetry import group_of_space_group

    generator = torch.Generator().manual_seed(1)
    space = torch.randn(3, 230, generator=generator)
    number = torch.tensor([225, 14, 0])
    group = torch.tensor([group_of_space_group(n) - 1 for n in (225, 14, 62)])
    of = torch.tensor([group_of_space_group(n) - 1 for n in range(1, 231)])
    aux = torch.stack([space[:, of == g].logsumexp(1) for g in range(99)], 1)
    loss = MultiTaskLoss(np.full(99, -np.log(99.0)))
    found = loss(Heads(torch.zeros(3, 37), aux, space), group, number).aux
    log_p = torch.log_softmax(space.double(), 1)
    third = torch.logsumexp(log_p[2, of == group[2]], 0)
    assert float(found) == pytest.approx(float(-(log_p[0, 224] + log_p[1, 13] + third) / 3), rel=1e-5)
