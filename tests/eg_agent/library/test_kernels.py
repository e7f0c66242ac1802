"""The compiled loops against plain numpy."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eg_agent.library import kernels
from eg_agent.library.cells import cells_of_metrics, metric_tensors, reciprocal_metric, strained_metrics

CELLS = (
    (5.0, 5.0, 5.0, 90.0, 90.0, 90.0),
    (4.9, 4.9, 5.4, 90.0, 90.0, 120.0),
    (9.66, 8.8, 5.29, 90.0, 107.4, 90.0),
    (6.1, 7.2, 8.3, 81.0, 95.0, 104.0),
)


@pytest.mark.parametrize("cell", CELLS)
def test_d_spacings_are_those_of_gemmi(cell) -> None:
    g = reciprocal_metric(np.array([cell]))[0]
    for hkl in ((1, 0, 0), (1, 2, -3), (0, 4, 1), (-2, 1, 5)):
        expected = gemmi.UnitCell(*cell).calculate_1_d2(list(hkl))
        assert kernels.inverse_d2(g, *hkl) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("cell", CELLS)
def test_metric_and_cell_are_inverse(cell) -> None:
    np.testing.assert_allclose(cells_of_metrics(reciprocal_metric(np.array([cell])))[0], cell, rtol=1e-9)
    assert np.linalg.det(metric_tensors(cell)) ** 0.5 == pytest.approx(gemmi.UnitCell(*cell).volume)


def test_rendering_is_a_sum_of_gaussians() -> None:
    g = reciprocal_metric(np.array([CELLS[2]]))[0]
    hkl = np.array([(1, 1, 0), (2, 0, 0), (2, 2, -1), (0, 0, 2), (3, 1, 0)], dtype=np.int8)
    strength = np.array([1.0, 0.4, 0.8, 0.3, 0.6])
    start, step, sigma, zero = 5.0, 0.0415, 0.11, 0.03
    x = start + step * np.arange(2048)
    out = np.empty(x.size)
    kernels.render(hkl, strength, g, zero, sigma, start, step, np.ones(x.size), 1.540593, out)
    inverse = np.array([gemmi.UnitCell(*CELLS[2]).calculate_1_d2(h.tolist()) for h in hkl])
    at = np.degrees(2 * np.arcsin(1.540593 / 2 * np.sqrt(inverse))) + zero
    exact = (strength * np.exp(-0.5 * ((x[:, None] - at) / sigma) ** 2)).sum(axis=1)
    np.testing.assert_allclose(out, exact, atol=0.006)  # tails end at 3.2 standard deviations


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_coarse_comparison_is_a_cosine_over_what_was_measured(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, most, n_bins = 7, 5, 60
    bins = np.array([rng.choice(n_bins, most, replace=False) for _ in range(n)]).astype(np.uint16)
    weight = np.sort(rng.integers(0, 256, (n, most)))[:, ::-1].astype(np.uint8)
    weight[:, 0] = 255
    height = rng.random((n_bins, 16)).astype(np.float32)
    covered = (rng.random((n_bins, 16)) < 0.8).astype(np.float32)
    best, shift = np.empty(n, np.float32), np.empty(n, np.uint8)
    kernels.coarse(bins, weight, height, covered, best, shift)
    for i in range(n):
        w = weight[i].astype(float)
        dot, norm = w @ height[bins[i]], w**2 @ covered[bins[i]]
        value = np.where(norm > 0.2 * (w @ w), dot / np.sqrt(np.maximum(norm, 1e-9)), 0.0)
        assert best[i] == pytest.approx(value.max(), rel=1e-4)
        if value.max() > 0:
            assert value[shift[i]] == pytest.approx(value.max(), rel=1e-4)


def test_strain_keeps_what_the_system_ties_together() -> None:
    hexagonal = np.array([[0, 0, 1, -1, -1, -1]])
    g = reciprocal_metric(np.array([CELLS[1]]))
    cell = cells_of_metrics(strained_metrics(g, hexagonal, np.array([[0.01, -0.02, 0, 0, 0, 0]])))[0]
    assert cell[0] == pytest.approx(cell[1])
    assert cell[5] == pytest.approx(120.0)
    assert cell[0] == pytest.approx(4.9 / 0.99)
    assert cell[2] == pytest.approx(5.4 / 1.02)


def test_snip_lies_under_the_curve_and_keeps_a_straight_line() -> None:
    x = np.linspace(0.0, 1.0, 400)
    line = 2.0 + 3.0 * x
    np.testing.assert_allclose(kernels.snip(line, 30), line, atol=1e-12)
    peak = line + np.exp(-0.5 * ((x - 0.5) / 0.01) ** 2)
    floor = kernels.snip(peak, 30)
    assert (floor <= peak + 1e-12).all()
    np.testing.assert_allclose(floor, line, atol=0.02)
