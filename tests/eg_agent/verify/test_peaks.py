"""Peak search on simulated counts where every line is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from eg_agent.patterns.pattern import Pattern
from eg_agent.patterns.radiation import Radiation
from eg_agent.verify.peaks import find_peaks, noise_of

CU1, CU2 = 1.540593, 1.544427
LINES = np.array([12.31, 18.052, 21.4, 25.66, 26.02, 31.117, 36.5, 44.203, 52.71, 63.333, 74.08, 85.5])
HEIGHTS = np.array([0.3, 1.0, 0.08, 0.5, 0.3, 0.7, 0.05, 0.4, 0.2, 0.3, 0.15, 0.2])


def curve(two_theta: np.ndarray, *, doublet: bool, fwhm: float = 0.09) -> np.ndarray:
    total = np.zeros_like(two_theta)
    for wavelength, share in ((CU1, 1.0), (CU2, 0.5 if doublet else 0.0)):
        at = 2 * np.degrees(np.arcsin(np.sin(np.radians(LINES / 2)) * wavelength / CU1))
        u = (two_theta[:, None] - at) / fwhm
        shape = 0.5 / (1 + 4 * u * u) + 0.5 * np.exp(-4 * np.log(2) * u * u)
        total += share * shape @ HEIGHTS
    return total + 0.02 + 0.1 * np.exp(-two_theta / 12)


def pattern(*, doublet: bool, counts: float, seed: int = 0, radiation: Radiation | None = None) -> Pattern:
    two_theta = np.arange(8.0, 95.0, 0.02)
    rate = counts * curve(two_theta, doublet=doublet)
    found = np.random.default_rng(seed).poisson(rate).astype(float)
    return Pattern(two_theta, found, radiation or Radiation(CU1, CU2 if doublet else None), raw_counts=True)


@pytest.mark.parametrize("doublet", [False, True])
@pytest.mark.parametrize("counts", [3000.0, 100000.0])
def test_every_line_is_found_where_it_is_and_nothing_else(doublet: bool, counts: float) -> None:
    peaks = find_peaks(pattern(doublet=doublet, counts=counts))
    assert peaks.doublet is doublet
    assert len(peaks) == len(LINES)
    np.testing.assert_allclose(peaks.two_theta, LINES, atol=0.012)
    np.testing.assert_allclose(peaks.d, CU1 / (2 * np.sin(np.radians(LINES / 2))), rtol=2e-3)


def test_at_few_counts_the_strong_lines_are_found_and_no_others() -> None:
    peaks = find_peaks(pattern(doublet=True, counts=100.0))
    off = np.abs(peaks.two_theta[:, None] - LINES).min(axis=1)
    assert np.all(off < 0.05)
    strong = LINES[HEIGHTS >= 0.4]
    assert np.all(np.abs(strong[:, None] - peaks.two_theta).min(axis=1) < 0.05)


@pytest.mark.slow
def test_standard_errors_are_honest() -> None:
    pulls = []
    for seed in range(12):
        peaks = find_peaks(pattern(doublet=True, counts=3000.0, seed=seed))
        if len(peaks) == len(LINES):
            pulls.append((peaks.two_theta - LINES) / peaks.sigma)
    assert len(pulls) >= 8
    spread = float(np.std(np.concatenate(pulls)))
    assert 0.6 < spread < 1.4


def test_the_pattern_decides_about_a_second_line_at_kalpha1() -> None:
    stated = Radiation(1.5406)
    assert find_peaks(pattern(doublet=True, counts=20000, radiation=stated)).doublet
    assert not find_peaks(pattern(doublet=False, counts=20000, radiation=stated)).doublet
    assert find_peaks(pattern(doublet=True, counts=20000, radiation=Radiation(1.5418))).wavelength == CU1


def test_noise_of_scaled_counts_is_found() -> None:
    counted = pattern(doublet=True, counts=2000)
    scaled = replace(counted, intensity=counted.intensity * 0.037, raw_counts=False)
    quiet = counted.intensity < np.percentile(counted.intensity, 60)
    ratio = noise_of(scaled)[quiet] / (0.037 * np.sqrt(2000 * curve(counted.two_theta, doublet=True)[quiet]))
    assert np.median(ratio) == pytest.approx(1.0, abs=0.15)
    assert len(find_peaks(scaled)) == len(LINES)


@pytest.mark.parametrize("seed", range(5))
def test_background_and_noise_have_no_lines(seed: int) -> None:
    two_theta = np.arange(8.0, 95.0, 0.02)
    halo = 400 * np.exp(-0.5 * ((two_theta - 22) / 5) ** 2) + 2000 * np.exp(-two_theta / 10) + 50
    noise = np.random.default_rng(seed).poisson(halo)
    assert len(find_peaks(Pattern(two_theta, noise, Radiation(CU1, CU2), raw_counts=True))) <= 1


def asymmetric(two_theta: np.ndarray, axial: float, fwhm: float = 0.09) -> np.ndarray:
    """Lines smeared by axial divergence: rays of many heights, cos(2 phi) = cos(2 theta) sqrt(1 + h^2)."""
    total = np.zeros_like(two_theta)
    h = axial * (np.arange(200) + 0.5) / 200
    weight = 1 - h / axial  # sample and detector equally long
    for at, height in zip(LINES, HEIGHTS, strict=True):
        cosine = np.clip(np.cos(np.radians(at)) * np.sqrt(1 + h * h), -1, 1)
        u = (two_theta[:, None] - np.degrees(np.arccos(cosine))) / fwhm
        shape = 0.5 / (1 + 4 * u * u) + 0.5 * np.exp(-4 * np.log(2) * u * u)
        total += height * (shape @ weight) / weight.sum()
    return total + 0.02 + 0.1 * np.exp(-two_theta / 12)


@pytest.mark.parametrize(
    "counts",
    [
        100.0,
        pytest.param(1000.0, marks=pytest.mark.slow),
        pytest.param(10000.0, marks=pytest.mark.slow),
        100000.0,
    ],
)
def test_positions_are_unbiased_and_errors_honest_from_few_to_many_counts(counts: float) -> None:
    pulls, noise, seen = [], 0, 0
    for seed in range(6):
        peaks = find_peaks(pattern(doublet=True, counts=counts, seed=seed))
        off = peaks.two_theta[:, None] - LINES
        nearest = np.abs(off).argmin(axis=1)
        real = np.abs(off).min(axis=1) < 0.1
        noise += int((~real).sum())
        seen += int(real.sum())
        pulls.append(off[np.arange(len(off)), nearest][real] / peaks.sigma[real])
    pull = np.concatenate(pulls)
    assert seen >= 6 * (4 if counts < 500 else 10)
    assert noise <= 2
    assert abs(float(np.median(pull))) < 4 / np.sqrt(len(pull))
    assert 0.5 < float(np.median(np.abs(pull))) / 0.6745 < 1.5


def test_axial_divergence_does_not_pull_lines_to_low_angle() -> None:
    two_theta = np.arange(8.0, 95.0, 0.02)
    curve_ = asymmetric(two_theta, 0.06)
    counts = np.random.default_rng(1).poisson(30000 * curve_)
    peaks = find_peaks(Pattern(two_theta, counts, Radiation(CU1), raw_counts=True))
    assert peaks.axial == pytest.approx(0.06, abs=0.02)
    off = peaks.two_theta[:, None] - LINES
    nearest = np.abs(off).argmin(axis=0)
    found = off[nearest, np.arange(len(LINES))]
    # the apex of the first line is pulled down by 0.03 degrees
    strong = HEIGHTS >= 0.3
    assert np.abs(found[strong]).max() < 0.01


def test_a_line_twice_as_wide_as_the_others_is_found() -> None:
    two_theta = np.arange(20.0, 60.0, 0.02)
    rate = np.full_like(two_theta, 200.0)
    for at, fwhm, height in ((25.0, 0.2, 300.0), (32.0, 0.2, 500.0), (45.0, 0.2, 250.0), (53.0, 0.55, 120.0)):
        rate += height / (1 + 4 * ((two_theta - at) / fwhm) ** 2)
    peaks = find_peaks(
        Pattern(two_theta, np.random.default_rng(3).poisson(rate), Radiation(CU1), raw_counts=True)
    )
    assert len(peaks) == 4
    assert peaks.two_theta[-1] == pytest.approx(53.0, abs=0.06)


@pytest.mark.parametrize("seed", range(3))
def test_smoothed_noise_has_no_lines(seed: int) -> None:
    """Smoothing takes the scatter between neighbours away and leaves bumps as wide as lines."""
    counted = pattern(doublet=False, counts=5000, seed=seed)
    kernel = np.exp(-0.5 * (np.arange(-8, 9) / 3.0) ** 2)
    smooth = np.convolve(counted.intensity, kernel / kernel.sum(), "same")[20:-20]
    peaks = find_peaks(Pattern(counted.two_theta[20:-20], smooth, Radiation(CU1)))
    off = np.abs(peaks.two_theta[:, None] - LINES).min(axis=1)
    assert (off > 0.1).sum() <= 2
    strong = LINES[HEIGHTS >= 0.2]
    assert np.all(np.abs(strong[:, None] - peaks.two_theta).min(axis=1) < 0.05)


def test_a_deadline_ends_the_fits() -> None:
    assert len(find_peaks(pattern(doublet=True, counts=3000.0), deadline=0.0)) == 0
