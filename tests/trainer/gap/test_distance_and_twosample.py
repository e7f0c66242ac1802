"""Distances between samples against scipy and closed forms; two-sample tests where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from trainer.gap.distance import auc, distance
from trainer.gap.twosample import convolutional, cross_validated_auc, folds, linear, perceptron, ranked
from trainer.halves import half

VALUES = st.lists(st.integers(-5, 5), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None)
@given(VALUES, VALUES)
def test_auc_is_the_mann_whitney_statistic(a, b):
    wanted = stats.mannwhitneyu(a, b).statistic / (len(a) * len(b))
    assert auc(a, b) == pytest.approx(wanted)
    assert auc(a, b) + auc(b, a) == pytest.approx(1.0)


def test_distance_of_shifted_normals():
    rng = np.random.default_rng(0)
    s, m = rng.standard_normal(4000), rng.standard_normal(3000) - 0.5
    found = distance(s, m, [str(i) for i in range(3000)])
    assert found.auc == pytest.approx(stats.norm.cdf(0.5 / np.sqrt(2)), abs=0.02)
    assert found.auc_low < found.auc < found.auc_high
    assert found.ks == pytest.approx(stats.ks_2samp(s, m).statistic)
    assert found.wasserstein == pytest.approx(0.5 / np.concatenate([s, m]).std(), rel=0.1)


def test_many_patterns_of_one_compound_widen_the_interval():
    rng = np.random.default_rng(1)
    s, m = rng.standard_normal(2000), np.repeat(rng.standard_normal(20), 20)
    apart = distance(s, m, np.arange(400))
    together = distance(s, m, np.repeat(np.arange(20), 20))
    assert together.auc_high - together.auc_low > 2.5 * (apart.auc_high - apart.auc_low)


def test_patterns_without_a_statistic_are_counted():
    s, m = np.array([1.0, np.nan, 2.0, 3.0]), np.array([0.0, np.nan])
    found = distance(s, m, ["a", "b"])
    assert (found.auc, found.n, found.missing) == (1.0, 1, (0.5, 0.25))


def test_folds_keep_a_compound_together():
    names = [f"c{i % 40}" for i in range(400)]
    found = folds(names)
    assert set(found) <= set(range(5))
    assert len({(n, f) for n, f in zip(names, found)}) == 40


def test_ranks_are_normal_scores_with_a_flag_for_missing_values():
    reference = np.array([[1.0], [2.0], [3.0], [np.nan]])
    found = ranked(np.array([[2.0], [np.nan], [100.0]]), reference)
    np.testing.assert_allclose(found[:, 0], [0.0, 0.0, stats.norm.ppf(3.5 / 4)], atol=1e-12)
    np.testing.assert_array_equal(found[:, 1], [0, 1, 0])


def tables(shift: float) -> tuple[np.ndarray, np.ndarray]:
    """Two samples of four statistics; the second differs in what a line through them tells."""
    rng = np.random.default_rng(3)
    s, m = rng.standard_normal((600, 4)), rng.standard_normal((300, 4))
    s[::7, 2] = np.nan
    m[::7, 2] = np.nan
    return s, m + shift * np.array([1.0, -1.0, 0.0, 0.0])


NAMES = [f"s{i}" for i in range(600)], [f"m{i // 2}" for i in range(300)]


@pytest.mark.parametrize("fit", [linear, perceptron])
def test_classifiers_on_statistics(fit):
    value, _, _ = cross_validated_auc(*tables(0.0), *NAMES, fit)
    assert value == pytest.approx(0.5, abs=0.07)
    value, low, high = cross_validated_auc(*tables(0.5), *NAMES, fit)
    assert low < value < high
    best = stats.norm.cdf(0.5 * np.sqrt(2) / np.sqrt(2))  # of the direction (1, -1)
    assert best - 0.06 < value < best + 0.05


def test_the_perceptron_sees_what_no_single_statistic_tells():
    rng = np.random.default_rng(4)
    s, m = rng.standard_normal((600, 2)), rng.standard_normal((300, 2))
    m[:, 1] = m[:, 0] * np.sign(m[:, 1]) * 1.0  # on two diagonals: margins as before
    assert cross_validated_auc(s, m, *NAMES, perceptron)[0] > 0.85
    assert cross_validated_auc(s, m, *NAMES, linear)[0] < 0.6


def test_the_network_sees_patterns():
    rng = np.random.default_rng(5)
    s, m = (rng.random((n, 2, 256)).astype(np.float32) for n in (300, 150))
    names = NAMES[0][:300], NAMES[1][:150]
    assert cross_validated_auc(s, m, *names, convolutional)[0] == pytest.approx(0.5, abs=0.12)
    m[:, 0] = 0.5 * (m[:, 0] + np.roll(m[:, 0], 1, axis=1))  # smoother, as wide a range
    assert cross_validated_auc(s, m, *names, convolutional)[0] > 0.9


def test_halves_are_fixed():
    # CRC-32 of these texts by another implementation: 0xe8b7be43, 0x71beeff9, 0x352441c2
    assert [half(name) for name in ("a", "b", "abc")] == ["B", "B", "A"]
    share = np.mean([half(f"c{i:04d}") == "A" for i in range(2000)])
    assert share == pytest.approx(0.5, abs=0.04)
