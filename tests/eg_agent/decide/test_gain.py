"""Expected information against brute force and its limits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from eg_agent.decide.gain import clip, counting_gain, points_in, reflections_gain, uncovered
from eg_agent.decide.settings import DecideSettings
from eg_agent.identify.information import (
    absence_information,
    binary_entropy,
    combined_information,
    entropy,
    present_mean,
)


@pytest.mark.parametrize(("intensity", "ratio", "p"), [(0.5, 3.0, 0.5), (3.0, 1.0, 0.8), (-1.0, 10.0, 0.3)])
def test_information_agrees_with_simulated_outcomes(intensity: float, ratio: float, p: float) -> None:
    """Draw hypothesis, intensity and outcome; average the drop in entropy of the exact posterior."""
    rng = np.random.default_rng(1)
    n, sigma = 200_000, 2.0
    mean = intensity * sigma
    s = sigma / np.sqrt(ratio)
    absent = rng.random(n) < p
    allowed = stats.truncnorm.rvs(-mean / sigma, np.inf, mean, sigma, size=n, random_state=rng)
    outcome = np.where(absent, 0.0, allowed) + s * rng.standard_normal(n)
    # Density of the outcome when allowed, by summing over a fine grid of intensities.
    grid = np.linspace(0.0, max(mean, 0.0) + 8.0 * sigma, 1500)
    weight = stats.truncnorm.pdf(grid, -mean / sigma, np.inf, mean, sigma)
    table = np.linspace(outcome.min(), outcome.max(), 1200)
    density = np.trapezoid(weight * stats.norm.pdf(table[:, None], grid, s), grid, axis=1)
    log_odds = (
        np.log(p / (1 - p))
        + stats.norm.logpdf(outcome, 0.0, s)
        - np.log(np.interp(outcome, table, density) + 1e-300)
    )
    after = 1.0 / (1.0 + np.exp(-log_odds))
    left = np.mean([binary_entropy(float(v)) for v in after])
    got = absence_information(mean, sigma, ratio, p)
    assert got == pytest.approx(binary_entropy(p) - left, abs=0.01)


@given(st.floats(-20, 50), st.floats(1e-3, 1e6), st.floats(1e-3, 1e4), st.floats(1e-6, 1.0, exclude_max=True))
def test_information_is_bounded_and_has_no_unit(
    strength: float, sigma: float, ratio: float, p: float
) -> None:
    got = absence_information(strength * sigma, sigma, ratio, p)
    assert 0.0 <= got <= binary_entropy(p) + 1e-12
    assert got == pytest.approx(absence_information(strength, 1.0, ratio, p), abs=1e-6)
    more = absence_information(strength * sigma, sigma, 4.0 * ratio, p)
    assert more >= got - 2e-3


@pytest.mark.parametrize("intensity", [-5.0, -0.5, 0.0, 1.0, 30.0])
def test_mean_of_an_allowed_reflection(intensity: float) -> None:
    expected = stats.truncnorm.mean(-intensity / 2.0, np.inf, intensity, 2.0)
    assert present_mean(intensity, 2.0) == pytest.approx(expected, rel=1e-6)


def test_nothing_is_learnt_from_nothing() -> None:
    assert absence_information(1.0, 0.0, 3.0, 0.5) == 0.0
    assert absence_information(float("nan"), 1.0, 3.0, 0.5) == 0.0
    assert absence_information(1.0, 1.0, 3.0, 1.0) == 0.0
    assert combined_information([0.3], 0.0) == 0.0


@given(st.lists(st.floats(0.0, 0.69), max_size=6))
def test_parts_add_up_below_the_question(parts: list[float]) -> None:
    total = np.log(2.0)
    both = combined_information(parts, total)
    assert max(parts, default=0.0) - 1e-9 <= both <= min(sum(parts), total) + 1e-9


def test_entropy_of_known_distributions() -> None:
    assert entropy(np.full(99, -np.log(99))) == pytest.approx(np.log(99))
    sure = np.full(99, -np.inf)
    sure[3] = 0.0
    assert entropy(sure) == 0.0


def test_a_reflection_counts_with_the_pair_it_decides(make_answer, make_scan, make_weak) -> None:
    settles = (make_weak(2.0, 1.0),)
    likely = make_answer({10: 0.5, 11: 0.5 - 1e-9}, measured=make_scan(), settles=settles)
    unlikely = make_answer({10: 0.05, 11: 0.05}, measured=make_scan(), settles=settles)
    sure = reflections_gain(likely, settles, 3.0)
    assert sure == pytest.approx(absence_information(2.0, 1.0, 3.0, 0.5), rel=1e-6)
    assert reflections_gain(unlikely, settles, 3.0) == pytest.approx(0.1 * sure, rel=1e-6)


def test_counting_saturates(make_scan) -> None:
    settings = DecideSettings()
    gains = [counting_gain(2.0, make_scan(strongest_counts=n), 3.0, settings) for n in (1e3, 1e5, 1e7)]
    assert gains[0] > gains[1] > gains[2] > 0.0
    assert counting_gain(0.0, make_scan(), 3.0, settings) == 0.0
    # Never more than the share of the entropy that noise can explain.
    endless = counting_gain(2.0, make_scan(strongest_counts=1e-9), 1e18, settings)
    assert endless == pytest.approx(2.0 * settings.noise_share, rel=1e-3)


def test_windows() -> None:
    assert clip(((0.0, 10.0), (8.0, 12.0), (95.0, 99.0)), (5.0, 90.0)) == ((5.0, 12.0),)
    assert uncovered(((10.0, 20.0), (21.0, 50.0)), (5.0, 90.0), 2.0) == ((5.0, 10.0), (50.0, 90.0))
    assert uncovered(((5.0, 90.0),), (5.0, 90.0), 2.0) == ()
    assert points_in(((10.0, 11.0), (20.0, 20.5)), 0.1) == 11 + 6
