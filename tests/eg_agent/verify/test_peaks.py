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
