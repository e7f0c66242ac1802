"""Windows counted for different times on one scale, with errors that hold below one count a point too."""

from __future__ import annotations

import numpy as np
import pytest

from eg_agent.patterns import Pattern, Radiation, evened
from eg_agent.patterns.evening import expected_counts

CU = Radiation(1.5406)


def counted(rate: np.ndarray, seconds: np.ndarray, seed: int) -> Pattern:
    x = np.linspace(10.0, 10.0 + 0.02 * (rate.size - 1), rate.size)
    counts = np.random.default_rng(seed).poisson(rate * seconds).astype(float)
    return Pattern(x, counts, CU, counting_time=seconds, raw_counts=True)


@pytest.mark.parametrize("level", [0.3, 1.0, 10.0, 1000.0])
def test_errors_of_counts_are_neither_too_small_nor_too_large(level: float) -> None:
    """Goodness of fit of the truth: with one count as the least variance it would be `level` below one."""
    counts = np.random.default_rng(1).poisson(np.full(20_000, level)).astype(float)
    assert np.mean((counts - level) ** 2 / expected_counts(counts)) == pytest.approx(1.0, abs=0.35)
    assert np.mean(expected_counts(counts)) == pytest.approx(level, rel=0.15)


def test_a_peak_over_an_empty_background_has_its_own_error() -> None:
    x = np.arange(400)
    rate = 0.05 + 200.0 * np.exp(-0.5 * ((x - 200) / 3.0) ** 2)
    found = np.mean(
        [expected_counts(np.random.default_rng(seed).poisson(rate).astype(float)) for seed in range(100)],
        axis=0,
    )
    top, far = slice(197, 204), np.abs(x - 200) > 60
    assert found[top] == pytest.approx(rate[top], rel=0.12)
    assert found[far].mean() == pytest.approx(0.05, abs=0.05)
    assert found.min() > 0.0


def test_windows_counted_longer_have_smaller_errors_on_the_same_scale() -> None:
    rate, seconds = np.full(6000, 0.5), np.where(np.arange(6000) < 2000, 64.0, 1.0)
    pattern = evened(counted(rate, seconds, 2))
    assert pattern.sigma is not None
    assert not pattern.raw_counts
    long, short = slice(100, 1900), slice(2100, 5900)
    for part in (long, short):
        pull = (pattern.intensity[part] - 0.5) / pattern.sigma[part]
        assert np.mean(pull**2) == pytest.approx(1.0, abs=0.3)
    assert np.median(pattern.sigma[long]) == pytest.approx(np.median(pattern.sigma[short]) / 8.0, rel=0.25)


def test_even_counting_is_left_alone() -> None:
    pattern = counted(np.full(500, 3.0), np.full(500, 2.0), 3)
    assert evened(pattern) is pattern
