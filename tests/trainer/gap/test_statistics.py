"""Statistics of a pattern: known inputs give the known width, background, noise and lines."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import voigt_profile

from trainer.gap.statistics import NAMES, STATISTICS, baseline, line_widths, statistics

X = np.linspace(5.0, 90.0, 4096)
STEP = X[1] - X[0]
POSITIONS = np.array([15.2, 22.7, 31.1, 39.4, 47.3, 58.8, 66.1, 74.5, 81.9])


def gaussian(fwhm: float, heights=1.0, positions=POSITIONS) -> np.ndarray:
    sigma = fwhm / np.sqrt(8 * np.log(2))
    return np.sum(
        np.broadcast_to(heights, np.shape(positions))[:, None]
        * np.exp(-0.5 * ((X - np.asarray(positions)[:, None]) / sigma) ** 2),
        axis=0,
    )


def of(y: np.ndarray, covered: np.ndarray | None = None) -> dict[str, float]:
    covered = np.ones(X.size, bool) if covered is None else covered
    return {name: float(value[0]) for name, value in statistics(y, covered, X).items()}


def test_every_statistic_is_named_once_and_given():
    assert len(set(NAMES)) == len(NAMES)
    assert set(of(gaussian(0.2) + 0.1)) == set(NAMES)
    assert {s.family for s in STATISTICS} == {"widths", "background", "noise", "lines"}


@pytest.mark.parametrize("fwhm", [0.08, 0.15, 0.4])
def test_width_of_gaussian_lines(fwhm):
    found = of(gaussian(fwhm) + 0.02)
    for name in ("fwhm_low", "fwhm_middle", "fwhm_high"):
        assert found[name] == pytest.approx(fwhm, rel=0.04)
    # between the points of a narrow line straight lines are drawn, which makes its foot a little wider
    assert found["tail_ratio"] == pytest.approx(np.sqrt(np.log(5) / np.log(2)), rel=0.04)


def test_tail_ratio_tells_a_lorentzian():
    line = voigt_profile(X - POSITIONS[:, None], 0.0, 0.1).sum(axis=0)
    found = of(line / line.max() + 0.001)
    assert found["fwhm_low"] == pytest.approx(0.2, rel=0.05)
    assert found["tail_ratio"] == pytest.approx(2.0, rel=0.06)


def test_widths_that_grow_with_angle():
    fwhm = np.where(POSITIONS < 35, 0.1, np.where(POSITIONS < 55, 0.2, 0.3))
    y = np.sum([gaussian(w, 1.0, [p]) for w, p in zip(fwhm, POSITIONS)], axis=0)
    found = of(y + 0.01)
    assert [found[n] for n in ("fwhm_low", "fwhm_middle", "fwhm_high")] == pytest.approx(
        [0.1, 0.2, 0.3], rel=0.05
    )
    angle, width, number = line_widths(y + 0.01, np.ones((1, X.size)), X)
    np.testing.assert_allclose(angle, POSITIONS, atol=STEP)
    np.testing.assert_allclose(width, fwhm, rtol=0.05)
    assert not number.any()


def test_overlapped_lines_give_no_width():
    pairs = np.concatenate([POSITIONS, POSITIONS + 0.14])
    found = of(gaussian(0.12, 1.0, pairs) + 0.01)
    assert np.isnan(found["fwhm_low"])
    assert found["lines"] == len(pairs)


def test_background_share_and_where_it_lies():
    lines = gaussian(0.2)
    for level in (0.02, 0.3):
        found = of(lines + level)
        share = level * X.size / (lines.sum() + level * X.size)
        assert found["background_share"] == pytest.approx(share, rel=0.05)
        assert found["background_low"] == pytest.approx((30 - 5) / 85, rel=0.05)
    slope = np.linspace(0.4, 0.0, X.size)
    wanted = slope[X < 30].sum() / slope.sum()
    assert of(lines + slope)["background_low"] == pytest.approx(wanted, rel=0.05)
    hump = 0.3 * np.exp(-0.5 * ((X - 24) / 5) ** 2) + 0.05
    np.testing.assert_allclose(baseline(lines + hump, STEP)[0], hump, atol=0.06)


@pytest.mark.parametrize("sigma", [0.001, 0.01, 0.05])
def test_noise_is_its_standard_deviation_over_the_highest_point(sigma):
    rng = np.random.default_rng(0)
    y = gaussian(0.2) + 0.3 + sigma * rng.standard_normal(X.size)
    found = of(y)
    assert found["noise"] * y.max() == pytest.approx(sigma, rel=0.08)
    assert found["roughness"] == pytest.approx(-0.5, abs=0.03)


def test_roughness_tells_smoothed_and_interpolated_noise():
    rng = np.random.default_rng(1)
    white = 0.3 + 0.01 * rng.standard_normal(X.size)
    smooth = np.convolve(white, [0.1, 0.8, 0.1], mode="same")
    coarse = np.interp(X, X[::3], white[::3])
    lines = gaussian(0.2)
    found = [of(lines + noise)["roughness"] for noise in (white, smooth, coarse)]
    # weights 0.1, 0.8, 0.1: (2 c1 - c0 - c2) / (2 c0 - 2 c1) of its autocovariance
    c0, c1, c2 = 0.66, 0.16, 0.01
    assert found[1] == pytest.approx((2 * c1 - c0 - c2) / (2 * c0 - 2 * c1), abs=0.03)
    assert found[0] < found[1] < 0 < found[2]


def test_lines_and_how_strong_they_are():
    heights = np.array([1.0, 0.5, 0.3, 0.25, 0.1, 0.08, 0.06, 0.04, 0.005])
    rng = np.random.default_rng(2)
    found = of(gaussian(0.15, heights) + 0.05 + 0.0005 * rng.standard_normal(X.size))
    assert found["lines"] == 8  # the last is below 1 % of the highest
    assert found["strong_lines"] == 4
    assert found["median_line"] == pytest.approx(0.175, rel=0.05)
    wanted = heights[POSITIONS < 30].sum() / heights.sum()
    assert found["low_angle_share"] == pytest.approx(wanted, rel=0.05)


def test_zeros_coverage_and_scale():
    y = gaussian(0.2)
    y[y < 1e-3] = 0.0
    assert of(y)["zero_share"] == pytest.approx(np.mean(y == 0))
    assert of(y)["covered"] == 1.0
    covered = (X >= 10) & (X <= 70)
    part = of(np.where(covered, gaussian(0.2) + 0.1, 0.0), covered)
    assert part["covered"] == pytest.approx(60 / 85, abs=0.006)
    assert part["zero_share"] == 0.0
    assert part["lines"] == np.sum((POSITIONS > 10) & (POSITIONS < 70))
    noisy = gaussian(0.2) + 0.1 + 0.003 * np.random.default_rng(3).standard_normal(X.size)
    assert of(7.0 * noisy) == pytest.approx(of(noisy))


def test_nothing_measured_gives_nothing():
    found = of(np.zeros(X.size), np.zeros(X.size, bool))
    assert found.pop("covered") == 0.0
    assert all(np.isnan(value) for value in found.values())
    assert len(line_widths(np.zeros((2, X.size)), np.zeros((2, X.size)), X)[0]) == 0
