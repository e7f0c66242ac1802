"""The fit of the expert's constants, on searches drawn from the expert's own model and on simulated ones."""

from __future__ import annotations

import numpy as np
import pytest

from eg_agent.library import Expert
from simulators.corpus import MINERAL, pack
from simulators.random_crystals import random_crystal
from trainer.library.calibrating import bits_over_prior, fit_expert, fit_of_searches, normalised
from trainer.library.simulating import half_library, simulate


def test_the_constants_that_made_the_labels_are_found_again() -> None:
    rng = np.random.default_rng(0)
    true = Expert(sharpness=5.0, crowding=0.4, misled=0.05)
    sizes = np.asarray(10 ** rng.uniform(0.5, 4.0, 99), dtype=np.int64)
    by_group = rng.uniform(0.2, 0.97, (3000, 99))
    prior = np.log(rng.dirichlet(np.ones(99)))
    answer = np.exp(normalised(true.log_scores(by_group, sizes) + prior))
    label = np.array([rng.choice(99, p=p / p.sum()) for p in answer])
    held = rng.random(3000) < 1.0 / (1.0 + np.exp(-40.0 * (by_group.max(axis=1) - 0.96)))
    found = fit_expert(by_group, sizes, prior, label, held)
    assert found.sharpness == pytest.approx(5.0, rel=0.2)
    assert found.crowding == pytest.approx(0.4, abs=0.1)
    assert found.misled == pytest.approx(0.05, abs=0.03)
    assert found.known_slope > 10
    rows = np.arange(3000)

    def loss(expert: Expert) -> float:
        return -normalised(expert.log_scores(by_group, sizes) + prior)[rows, label].mean()

    assert loss(found) <= loss(true) + 1e-6


def test_simulated_searches_of_a_small_corpus() -> None:
    from dataclasses import replace

    rng = np.random.default_rng(3)
    crystals = [random_crystal(n, rng, "inorganic") for n in (14, 62, 141, 194, 225) for _ in range(8)]
    corpus = pack((crystal, MINERAL) for crystal in crystals)
    corpus = replace(corpus, split=(np.arange(len(corpus)) % 2).astype(np.uint8))
    library, inside = half_library(corpus)
    assert len(library) == inside.sum() == 30
    found = simulate(corpus, 30)
    assert found.by_group.shape == (len(found.label), 99)
    assert len(found.label) >= 25
    assert found.held[found.trained].all()
    assert not found.held.all()
    again = simulate(corpus, 30)
    np.testing.assert_array_equal(found.by_group, again.by_group)
    assert bits_over_prior(fit_of_searches(found), found)["held"] > 0.3
