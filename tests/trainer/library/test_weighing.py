"""Weights of network and library: what one experiment says twice counts once."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax

from eg_agent.model.fusion import LibraryWeights
from trainer.library.weighing import fit_weights

PRIOR = log_softmax(np.random.default_rng(0).normal(0, 1, 99))


def seen(n: int, seed: int, shared: float):
    """What two experts say of the same patterns, `shared` of their evidence being the same, and labels."""
    rng = np.random.default_rng(seed)
    one, two, same = (rng.normal(0, 1.3, (n, 99)) for _ in range(3))
    network, lookup = (shared * same + (1 - shared) * own for own in (one, two))
    truth = log_softmax(shared * same + (1 - shared) * (one + two) + PRIOR, axis=1)
    labels = np.array([rng.choice(99, p=row) for row in np.exp(truth)])
    return log_softmax(network + PRIOR, axis=1), log_softmax(lookup, axis=1), labels


def test_independent_experts_are_multiplied_and_twins_count_once():
    network, lookup, labels = seen(3000, 1, 0.0)
    found = fit_weights(network, PRIOR, lookup, labels)
    assert [found.network, found.lookup, found.prior] == pytest.approx([1.0, 1.0, 1.0], abs=0.12)
    network, lookup, labels = seen(3000, 2, 1.0)
    found = fit_weights(network, PRIOR, lookup, labels)
    assert found.network + found.lookup == pytest.approx(1.0, abs=0.12)
    assert found.prior == pytest.approx(1.0, abs=0.12)


def test_it_is_the_minimum():
    network, lookup, labels = seen(200, 3, 0.5)
    found = fit_weights(network, PRIOR, lookup, labels)

    def cost(x):
        log_p = LibraryWeights(*x).joined(network, PRIOR, lookup)
        return -log_p[np.arange(200), labels].sum() + 0.5 * (((np.asarray(x) - 1) / 0.5) ** 2).sum()

    brute = minimize(cost, [1.0, 1.0, 1.0], method="Nelder-Mead", options={"xatol": 1e-5, "fatol": 1e-6})
    assert cost([found.network, found.lookup, found.prior]) <= brute.fun + 1e-3


def test_the_default_is_the_product_and_no_lookup_leaves_the_network():
    network, lookup, _ = seen(4, 4, 0.3)
    lookup[2] = 0.0
    product = log_softmax(network + lookup, axis=1)
    np.testing.assert_allclose(LibraryWeights().joined(network, PRIOR, lookup), product, atol=1e-12)
    found = LibraryWeights(0.6, 0.5, 0.9).joined(network, PRIOR, lookup)
    np.testing.assert_allclose(found[2], network[2], atol=1e-12)
    by_hand = 0.6 * (network[0] - PRIOR) + 0.5 * lookup[0] + 0.9 * PRIOR
    np.testing.assert_allclose(found[0], log_softmax(by_hand), atol=1e-12)
