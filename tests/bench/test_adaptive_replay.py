"""The replay of measured patterns: what is counted, where, and that no photon is dealt out twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eg_agent.patterns import Pattern, Radiation
from tests.bench.adaptive_replay import replay_summary, thinned
from tests.bench.adaptive_replay_pairs import EXPOSURE, NEIGHBOURS, SHORT, Pair, Photons
from tests.bench.adaptive_replay_samples import BACKGROUND, MeasuredSample, rate_of, replayed
from tests.bench.adaptive_report import picks
from tests.bench.adaptive_strategies import FixedScan
from trainer.benchmark.counted_samples import Measuring


def pattern(y: list[float], step: float = 0.01) -> Pattern:
    return Pattern(
        np.linspace(10.0, 10.0 + step * (len(y) - 1), len(y)),
        np.array(y, dtype=np.float64),
        Radiation(1.5406),
    )


def sample(wavelength: float, step: float, points: int = 4000) -> MeasuredSample:
    y = 100.0 + 900.0 * (np.arange(points) % 500 == 250)
    rate = rate_of(pattern(y.tolist(), step), 20.0)
    return MeasuredSample(
        group=81,
        name="made",
        rate=rate,
        cell=(4.0, 4.0, 4.0, 90.0, 90.0, 90.0),
        seed=1,
        radiation=Radiation(wavelength),
        two_theta=(float(rate.angles[0]), float(rate.angles[-1])),
        angles=rate.angles,
    )


def test_the_highest_peak_counts_as_asked_whatever_the_air_scatters() -> None:
    y = [9000.0, 4000.0, 1000.0, 200.0, 200.0, 1200.0, 200.0, 200.0]
    rate = rate_of(pattern(y), 50.0)
    assert not rate.bare
    assert rate(np.array([10.05]))[0] - rate(np.array([10.06]))[0] == pytest.approx(50.0)
    assert rate.whole == pytest.approx(1000.0 / 50.0)  # seconds until as many are counted as were at first


def test_a_pattern_without_background_gets_one_and_no_rate_is_negative() -> None:
    rate = rate_of(pattern([0.0, -3.0, 0.0, 1000.5, 0.0, 0.0, 0.0]), 100.0)
    assert rate.bare
    assert rate.whole is None
    assert rate.rate.min() == pytest.approx(BACKGROUND * 100.0)


def test_copper_keeps_angles_and_a_short_wavelength_shrinks_them_at_equal_d() -> None:
    copper, short = sample(1.5418, 0.02), sample(0.5, 0.002, points=6000)
    assert copper.reached(60.0) == pytest.approx(60.0)
    assert copper.reached(120.0) == copper.two_theta[1]  # no further than was measured
    d = 1.540593 / (2.0 * np.sin(np.radians(30.0)))
    assert 0.5 / (2.0 * np.sin(np.radians(0.5 * short.reached(60.0)))) == pytest.approx(d)
    angles, step, coarser = copper.axis(0.04)
    assert step == pytest.approx(0.04)
    assert coarser == pytest.approx(1.0)
    np.testing.assert_allclose(np.diff(angles), 0.04)
    _, step, coarser = sample(1.5418, 0.06).axis(0.04)  # never finer than it was measured
    assert (step, coarser) == (pytest.approx(0.06), pytest.approx(1.5))
    # between them there are measured points, or none are invented
    between = copper.between(0.04)
    assert between is not None
    assert set(np.round(between, 6)) <= set(np.round(copper.angles, 6)) - set(np.round(angles, 6))
    assert sample(1.5418, 0.06).between(0.04) is None


def test_what_is_counted_is_poisson_of_the_stored_rate() -> None:
    made = sample(1.5418, 0.02)
    at = Measuring(made, step=0.02)
    at.measure((made.two_theta,), 30.0)
    assert at.pattern is not None
    z = (at.pattern.intensity - 30.0 * made.rate(at.pattern.two_theta)) / np.sqrt(
        30.0 * made.rate(at.pattern.two_theta)
    )
    assert abs(float(z.mean())) < 5.0 / np.sqrt(z.size)
    assert float(z.var()) == pytest.approx(1.0, abs=5.0 * np.sqrt(2.0 / z.size))


def test_photons_are_dealt_out_once() -> None:
    rng = np.random.default_rng(3)
    long = Pattern(
        np.linspace(10.0, 49.99, 4000),
        rng.poisson(200.0, 4000).astype(np.float64),
        Radiation(1.5406),
        raw_counts=True,
    )
    short = pattern([1.0] * 900, 0.04)
    photons = Photons(Pair("made", short, long, frozenset({1})), 0)
    there = photons.counts.copy()
    unit = SHORT / len(short)
    first = photons.measure(((10.0, 20.0),), unit)
    inside = short.two_theta <= 20.0 + 1e-6
    expected = NEIGHBOURS * 200.0 * inside.sum() / EXPOSURE
    assert first.intensity.sum() == pytest.approx(expected, abs=5.0 * np.sqrt(expected))
    assert not photons.short
    second = photons.measure(((10.0, 20.0),), 100.0 * unit)  # more than is left: all of that, and no more
    assert photons.short
    np.testing.assert_array_equal(first.intensity + second.intensity, there[inside])
    assert second.counting_time is not None
    np.testing.assert_allclose(second.counting_time, (EXPOSURE - 1.0) * unit)
    np.testing.assert_array_equal(photons.counts[~inside], there[~inside])


def test_all_patterns_of_a_compound_are_picked_together() -> None:
    rows = [{"compound": c} for c in "aabccc"]
    for pick in picks(rows, 0)[:50]:
        count = np.bincount(pick, minlength=6)
        assert count[0] == count[1]
        assert count[3] == count[4] == count[5]
        assert count[0] + count[2] + count[3] == 3
    assert all(pick.size == 2 for pick in picks([{}, {}], 0))


def row(number: int, fixed: float, adaptive: float, answer: int, longest: float = 1.0) -> dict[str, Any]:
    def outcome(seconds: float, answer: int) -> dict[str, Any]:
        return {
            "seconds": seconds,
            "answer": answer,
            "leading": 7,
            "probability": 0.96,
            "looks": [(seconds, 7, 0.96)],
            "log_probability": [],
            "longest": longest,
        }

    return {
        "seed": number,
        "group": 7,
        "peak_rate": 5.0,
        "compound": f"c{number // 2}",
        "source": "made",
        "copper": True,
        "bare": False,
        "whole": 2.0,
        "fixed": outcome(fixed, 7),
        "adaptive": outcome(adaptive, answer),
        "lines": outcome(adaptive, answer),
    }


def test_a_wrong_answer_is_charged_the_budget() -> None:
    rows = [row(i, 1000.0, 100.0, 7) for i in range(10)]
    made = replay_summary(rows, [], FixedScan(3.0), 1.0)
    assert (made["median_ratio"], made["worse_share"], made["compounds"]) == (pytest.approx(10.0), 0.0, 5)
    rows[0] = row(0, 1000.0, 100.0, 6)
    made = replay_summary(rows, [], FixedScan(3.0), 1.0)
    assert made["mean_ratio"] == pytest.approx(10_000.0 / (9 * 100.0 + 28_800.0))
    assert made["worse_share"] == pytest.approx(0.1)
    assert made["by_source"]["made"]["accuracy_adaptive"] == pytest.approx(0.9)


def test_a_replay_is_a_thinning_only_as_far_as_was_counted() -> None:
    assert thinned(row(0, 1.0, 1.0, 7, longest=2.0))
    assert not thinned(row(0, 1.0, 1.0, 7, longest=2.1))
    assert not thinned(row(0, 1.0, 1.0, 7) | {"whole": None})


def test_measured_rows_are_samples_of_their_own_range(realdata: Path) -> None:
    chosen, left_out = replayed(realdata)
    assert len(chosen) == left_out["rows"] - sum(n for name, n in left_out.items() if name != "rows")
    for one in chosen[:10]:
        made = one.sample()
        angles, step, _ = made.axis(0.04)
        assert angles[0] == made.two_theta[0]
        assert float(np.median(np.diff(angles))) == pytest.approx(step, rel=0.02)
        assert 2.0 <= made.rate.peak_rate <= 2000.0
        assert np.array_equal(one.sample().rate(angles), made.rate(angles))
