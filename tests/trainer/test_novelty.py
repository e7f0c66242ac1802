"""Simulated foreign patterns are what they are called, and the direction finds what tells them apart."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.novelty import KINDS, amorphous, counted, direction_towards, no_lattice

X = np.linspace(5.0, 90.0, 4096)


@pytest.mark.parametrize("kind", KINDS)
def test_counted_patterns_are_what_a_network_takes(kind):
    rng = np.random.default_rng(0)
    coverage = (X > 10.0) & (X < 70.0)
    for _ in range(5):
        found = counted(KINDS[kind](X, rng), coverage, rng)
        assert found.dtype == np.float32
        assert found.max() == 1.0
        assert found.min() >= 0.0
        assert not found[~coverage].any()


def test_halos_are_wide_and_lines_sharp():
    rng = np.random.default_rng(1)
    for _ in range(20):
        halo, lines = amorphous(X, rng), no_lattice(X, rng)
        # Steepest change over one degree, against the whole range of the curve.
        per_degree = round(1.0 / (X[1] - X[0]))
        change = [np.abs(y[per_degree:] - y[:-per_degree]).max() / np.ptp(y) for y in (halo, lines)]
        assert change[0] < 0.5 < change[1]


def test_the_direction_is_the_one_that_differs_whatever_the_scale_of_a_feature():
    rng = np.random.default_rng(2)
    scale = np.array([1.0, 100.0, 0.01, 1.0])
    ordinary = rng.normal(size=(2000, 4)) * scale
    foreign = [(rng.normal(size=(200, 4)) + shift) * scale for shift in ([0, 0, 3, 0], [0, 2, 2, 0])]
    found = direction_towards(ordinary, foreign) * scale
    assert np.abs(found[[0, 3]]).max() < 0.1 * found[2]
    assert found[2] > found[1] > 0
    score = [(rows / scale) @ found for rows in (ordinary, *foreign)]
    assert np.mean(score[1][:, None] > score[0][None]) > 0.95
