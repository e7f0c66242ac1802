"""Parts of the range and other wavelengths: what is cut, where lines go, and the table in any width."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from eg_agent.errors import BadPattern
from eg_agent.patterns import Pattern, Radiation
from trainer.benchmark.benchmark import Options, run
from trainer.benchmark.report import print_report
from trainer.benchmark.robustness import RANGES, REACH, VARIANTS, variant_of
from trainer.benchmark.robustness_result import share_of
from trainer.metrics import Bootstrap


def pattern(low: float = 10.0, high: float = 100.0, points: int = 901) -> Pattern:
    two_theta = np.linspace(low, high, points)
    return Pattern(two_theta, 1.0 + np.arange(points, dtype=float), Radiation(1.5406, 1.5444))


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("first third", 10.0, 40.0),
        ("middle third", 40.0, 70.0),
        ("first two thirds", 10.0, 70.0),
        ("last two thirds", 40.0, 100.0),
    ],
)
def test_a_part_of_the_range_keeps_its_points_and_no_other(name: str, low: float, high: float) -> None:
    whole, part = pattern(), variant_of(pattern(), name)
    kept = (whole.two_theta >= low - 1e-9) & (whole.two_theta <= high + 1e-9)
    np.testing.assert_allclose(part.two_theta, whole.two_theta[kept])
    np.testing.assert_array_equal(part.intensity, whole.intensity[kept])
    assert part.radiation == whole.radiation


def test_what_belongs_to_a_point_stays_with_it() -> None:
    whole = pattern()
    whole = replace(whole, sigma=np.sqrt(whole.intensity), counting_time=np.full(len(whole.intensity), 0.5))
    for name in ("middle third", "0.4 angstrom"):
        part = variant_of(whole, name)
        assert part.sigma is not None
        assert part.counting_time is not None
        np.testing.assert_allclose(part.sigma**2, part.intensity)
        assert len(part.counting_time) == len(part.two_theta)


@settings(max_examples=25, deadline=None)
@given(
    wavelength=st.sampled_from([0.4, 0.7093, 1.0, 1.79, 2.29]), low=st.floats(5, 30), width=st.floats(20, 100)
)
def test_another_wavelength_keeps_every_d_spacing(wavelength: float, low: float, width: float) -> None:
    whole = pattern(low, low + width)
    moved = variant_of(whole, f"{wavelength:g} angstrom")
    d_before = whole.radiation.mean_wavelength / (2 * np.sin(np.radians(whole.two_theta / 2)))
    d_after = wavelength / (2 * np.sin(np.radians(moved.two_theta / 2)))
    # each point carries its own intensity (they differ), so the match is by point
    index = (moved.intensity - 1.0).astype(int)
    np.testing.assert_allclose(d_after, d_before[index], rtol=1e-9)
    assert moved.two_theta[0] >= REACH[0]
    assert moved.two_theta[-1] <= REACH[1]
    assert moved.radiation.wavelength == wavelength


def test_lines_that_no_longer_diffract_are_cut() -> None:
    # sin(theta) above 1 at 2.29 angstrom: d below 1.145 angstrom, 84.6 degrees of the doublet's mean
    moved = variant_of(pattern(20.0, 140.0), "2.29 angstrom")
    d_smallest = 2.29 / (2 * np.sin(np.radians(moved.two_theta[-1] / 2)))
    assert d_smallest > 2.29 / 2
    assert len(moved.two_theta) < 901
    with pytest.raises(BadPattern, match="nothing of the pattern is left"):
        variant_of(pattern(100.0, 140.0), "2.29 angstrom")


def test_the_rows_that_the_product_promises_are_there() -> None:
    assert set(RANGES) < set(VARIANTS)
    wavelengths = [float(name.split()[0]) for name in VARIANTS if name.endswith("angstrom")]
    assert min(wavelengths) == 0.4
    assert 2.2 < max(wavelengths) <= 2.3


def test_share_of_bits_by_hand_and_its_interval_by_resampling() -> None:
    rng = np.random.default_rng(3)
    compounds = [f"c{i // 2}" for i in range(60)]
    whole = rng.normal(2.0, 1.0, 60)
    boot = Bootstrap(compounds)
    same = share_of(whole, whole, boot)
    assert (same.value, same.low, same.high) == pytest.approx((1.0, 1.0, 1.0))  # paired: no width at all
    half = share_of(0.5 * whole + rng.normal(0, 0.3, 60), whole, boot)
    assert half.value == pytest.approx(0.5, abs=0.1)
    # an independent bootstrap of the ratio
    other = np.random.default_rng(11)
    part = 0.5 * whole + np.random.default_rng(5).normal(0, 0.3, 60)
    found = share_of(part, whole, boot)
    pairs = part.reshape(30, 2).sum(1), whole.reshape(30, 2).sum(1)
    drawn = [pairs[0][i].sum() / pairs[1][i].sum() for i in other.integers(0, 30, size=(4000, 30))]
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])), abs=0.02)
    nothing = share_of(whole, -np.abs(whole), boot)
    assert np.isnan(nothing.value)


@pytest.fixture(scope="module")
def result(tiny_folder):
    return run(tiny_folder, Options("robustness", calibrate_folds=3))


def test_the_whole_pattern_is_its_own_measure(result) -> None:
    rows = result["variants"]
    assert list(rows) == list(VARIANTS)
    assert rows["whole"]["share_of_bits"] in (None, pytest.approx(1.0))
    for row in rows.values():
        model = row["model"]["bits_over_prior"]["value"]
        whole = rows["whole"]["model"]["bits_over_prior"]["value"]
        if row["share_of_bits"] is not None:
            assert row["share_of_bits"] == pytest.approx(model / whole)
        interval = row["share_of_bits_95"]
        assert interval is None or interval[0] <= interval[1]


@pytest.mark.parametrize("width", [44, 60, 80, 100, 140])
def test_the_table_is_whole_in_any_width(result, width: int) -> None:
    written = io.StringIO()
    print_report(result, "robustness", Console(width=width, file=written))
    text = written.getvalue()
    assert all(len(line.rstrip()) <= width for line in text.splitlines())
    assert "…" not in text
    for name in VARIANTS:
        assert name.replace("angstrom", "Å") in text
    assert "bits over" in text
    assert "kept %" in text
    assert ("Too narrow" in text) == (width < 100)
