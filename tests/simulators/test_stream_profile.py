"""Drawn profiles against scipy's Voigt function, and the compiled kernels against tensor operations."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import voigt_profile

from eg_agent.patterns import Grid
from simulators.stream import PatternStream
from simulators.stream_config import beamline, stage1, stage2, texture
from simulators.stream_instrument import Points
from simulators.stream_profile import (
    DEGREES,
    SHARE_SPANS,
    SQUARE,
    WIDTH_SPANS,
    Profiles,
    frames,
    node_widths,
    voigt_width,
)
from simulators.wyckoff.source import WyckoffSource

CPU = torch.device("cpu")
START, STEP, LENGTH = 5.0, 0.02, 4251
X = START + STEP * np.arange(LENGTH)


def _parts(width: np.ndarray, share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Variance and Lorentzian FWHM of Voigt profiles of a total width and a Lorentzian share."""
    gauss = (1 - 0.5346 * share) ** 2 - 0.2166 * share**2
    return width**2 * np.maximum(gauss, 0.0) / SQUARE, width * share


def _points(position, area, variance, lorentz) -> Points:
    return Points(*(torch.tensor(x, dtype=torch.float32)[None] for x in (position, area, variance, lorentz)))


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("row", range(len(DEGREES)))
@pytest.mark.parametrize("lowest", [0.0, 0.3])
def test_every_degree_stays_within_its_bound(row, lowest, compiled):
    """Profiles anywhere within the largest spans of a degree: off by less than 0.8 % of their own height."""
    # the highest degree has no bound; 3 and all shares are more than a stage ever draws
    width_span = min(WIDTH_SPANS[row], 1.4)
    share_span = min(SHARE_SPANS[row], 1.0 - lowest)
    rng = np.random.default_rng([row, compiled])
    position = np.arange(12.0, 84.0, 6.0) + rng.random(12) * STEP
    width = 0.07 * np.exp(np.concatenate([[0.0, 1.0], rng.random(10)]) * width_span)
    share = lowest + np.concatenate([[0.0, 1.0], rng.random(10)]) * share_span
    variance, lorentz = _parts(width, share)
    drawn = Profiles(START, STEP, LENGTH, CPU, cell_mean=False, compiled=compiled)(
        _points(position, np.ones(12), variance, lorentz)
    )[0].numpy()
    exact = [STEP * voigt_profile(X - p, math.sqrt(v), g / 2) for p, v, g in zip(position, variance, lorentz)]
    total = np.sum(exact, axis=0)
    for p, one in zip(position, exact):
        near = np.abs(X - p) < 2.0
        assert np.abs(drawn[near] - total[near]).max() < 0.008 * one.max()


def test_the_degree_follows_from_the_spans():
    width = torch.tensor([0.1] * 5)
    factor = torch.exp(torch.tensor([0.0, 0.3, 0.3, 1.0, 1.5]))
    share = torch.tensor([0.0, 0.1, 0.5, 0.1, 0.1])
    _, degree = frames(torch.stack([width, width * factor, torch.zeros(5), share]))
    assert degree.tolist() == [0, 1, 2, 3, 4]


def test_nodes_at_the_corners_have_the_extreme_widths():
    span = torch.tensor([[0.05], [0.2], [0.1], [0.6]])
    frame, _ = frames(span)
    variance, lorentz = node_widths(torch.tensor([[-1.0, -1.0], [1.0, 1.0]]), frame)
    width = voigt_width(SQUARE * variance, lorentz)
    assert width[0].tolist() == pytest.approx([0.05, 0.2], rel=1e-5)
    assert (lorentz / width)[0].tolist() == pytest.approx([0.1, 0.6], rel=1e-5)


def test_both_ways_draw_the_same_profiles():
    rng = np.random.default_rng(4)
    rows = [
        (rng.uniform(0, 95, 300), rng.exponential(1.0, 300) * (rng.random(300) < share),
         rng.uniform(1e-6, high, 300), rng.uniform(-0.01, 0.2, 300))
        for share, high in ((1.0, 0.002), (0.3, 0.02), (0.0, 0.1), (0.01, 1e-5))
    ]  # fmt: skip
    points = Points(*(torch.tensor(np.stack(x), dtype=torch.float32) for x in zip(*rows)))
    ours, theirs = (Profiles(START, STEP, LENGTH, CPU, compiled=c)(points) for c in (True, False))
    assert (ours - theirs).abs().amax(1).max() < 1e-5 * theirs.max()
    assert ours[2].abs().max() == 0


@pytest.mark.parametrize("stage", [stage1, stage2, texture, beamline])
def test_compiled_streams_give_the_patterns_of_tensor_operations(stage):
    """Before counting; a count drawn from a mean that differs in its last bit may differ by one."""
    config = stage()
    config = replace(config, recording=replace(config.recording, counts=None))
    grid = Grid(5.0, 90.0, 4250)
    ours, theirs = (
        PatternStream(WyckoffSource(compiled=c), config, 5, grid, compiled=c).batch(0, 64)
        for c in (True, False)
    )
    assert torch.equal(ours.group, theirs.group)
    difference = (ours.intensity - theirs.intensity).abs().amax(1)
    # A least distance may be missed by one rounding, and an atom placed elsewhere: not in these crystals.
    assert difference.max() < 1e-4
