"""Recordings: Poisson counts, dead time, coarse steps, backgrounds and what people do with them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from simulators.counter_random import CounterRandom, Table
from simulators.stream_config import RecordingRanges, stage1, stage2
from simulators.stream_recording import Recorder, snip

X = torch.linspace(5.0, 90.0, 1701)
CLEAN = stage1().recording
FAR = 180.0


def record(config: RecordingRanges, rate: torch.Tensor, seed: int = 1):
    random = CounterRandom(seed, torch.arange(len(rate)))
    return Recorder(config, X)(random, 80, rate, torch.full((len(rate),), FAR))


def flat(count: int, level: float = 0.5) -> torch.Tensor:
    rate = torch.full((count, len(X)), level)
    rate[:, 100] = 1.0
    return rate


def test_noise_is_poisson():
    """Variance over mean of many recordings of one pattern, in counts."""
    recorder = Recorder(replace(CLEAN, counts=(1000.0, 1000.001)), X)
    random = CounterRandom(1, torch.arange(600))
    counts = recorder._counted(Table(random, 80, 4), random, 81, flat(600))[0] * 1000
    ratio = counts[:, 200:].var(0) / counts[:, 200:].mean(0)
    assert float(ratio.mean()) == pytest.approx(1.0, abs=0.02)


def test_the_range_is_one_window_and_holds_a_peak():
    config = replace(CLEAN, full_range_share=0.3)
    intensity, coverage = record(config, flat(300))
    assert float(coverage.all(1).float().mean()) == pytest.approx(0.3, abs=0.1)
    assert int(coverage.int().diff(dim=1).abs().sum(1).max()) <= 2
    assert torch.allclose(intensity.amax(1), torch.ones(300))
    assert (intensity[~coverage] == 0).all()
    short, _ = Recorder(CLEAN, X)(CounterRandom(1, torch.arange(2)), 80, flat(2), torch.tensor([60.0, FAR]))
    assert (short[0, X > 60.0] == 0).all()


def test_dead_time_loses_the_stated_share_at_the_maximum():
    intensity, _ = record(replace(CLEAN, dead_time=(0.2, 0.2)), flat(1, 0.1))
    # r / (1 + a r) with a = 0.25: 0.8 at the maximum, 0.1 / 1.025 elsewhere
    assert float(intensity[0, 500]) == pytest.approx(0.1 / 1.025 / 0.8, rel=1e-4)


def test_coarse_steps_are_interpolated_by_straight_lines():
    rate = torch.exp(-0.5 * ((X - 40.0) / 0.5) ** 2)[None]
    intensity, _ = record(replace(CLEAN, coarse_share=1.0, coarse_step=(2.0, 2.0)), rate)
    expected = np.interp(np.arange(len(X)), np.arange(0, len(X), 2), rate[0, ::2].numpy())
    assert np.allclose(intensity[0].numpy(), expected / expected.max(), atol=2e-4)


def test_a_background_follows_its_level_and_wanders_as_slowly_as_stated():
    config = replace(
        stage2().recording, background_sigma=0.0, background_median=0.1, chebyshev=0.0, air=0.0,
        hump_share=0.0, gp_sigma=0.1, gp_length=(20.0, 20.0),
    )  # fmt: skip
    background = Recorder(config, X).background(CounterRandom(1, torch.arange(3000)), 80) / 0.1 - 1
    assert float(background.mean()) == pytest.approx(0.0, abs=0.01)
    assert float(background.std()) == pytest.approx(0.1, rel=0.05)
    for lag in (100, 400):  # 5 and 20 degrees
        seen = (background[:, :-lag] * background[:, lag:]).mean() / background.square().mean()
        expected = np.exp(-0.5 * (lag * 0.05 / 20.0) ** 2)
        assert float(seen) == pytest.approx(expected, abs=0.05)


def test_snip_finds_a_slow_background_under_peaks():
    slow = 0.2 + 0.1 * torch.cos(X / 20.0)
    peaks = sum(torch.exp(-0.5 * ((X - centre) / 0.1) ** 2) for centre in (20.0, 35.0, 36.0, 60.0))
    estimate = snip((slow + peaks)[None], torch.tensor([[7.0]]), 10)[0]
    inner = slice(100, -100)
    assert (estimate - slow)[inner].abs().max() < 0.03
    assert estimate.shape == X.shape


def test_subtraction_leaves_nothing_of_a_known_background_and_clipping_no_negative_value():
    config = replace(
        CLEAN,
        background_median=0.2,
        background_sigma=0.0,
        subtract_share=1.0,
        estimated_share=0.0,
        clip_share=1.0,
    )
    intensity, _ = record(config, flat(50, 0.0))
    assert float(intensity.min()) >= 0.0
    assert float(intensity[:, 500:].abs().max()) < 0.2 * 0.15 * 10
    offset, _ = record(replace(CLEAN, subtract_share=0.01, offset_share=1.0), flat(50, 0.3))
    assert float(offset[:, 500].median()) == 0.0


def test_saturated_patterns_have_flat_tops():
    rate = torch.exp(-0.5 * ((X - 40.0) / 0.5) ** 2)[None].expand(40, -1)
    intensity, _ = record(replace(CLEAN, saturation_share=1.0), rate)
    assert ((intensity > 0.9999).sum(1) > 2).float().mean() > 0.8
