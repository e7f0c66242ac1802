"""The canonical grid: same d-spacing, same point; exact coverage; means that neither gain nor lose."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from eg_agent.errors import BadInput
from eg_agent.patterns import (
    CU_KALPHA1,
    Grid,
    Pattern,
    Radiation,
    change_wavelength,
    d_of_two_theta,
    two_theta_of_d,
)
from eg_agent.values import from_json, to_json

WAVELENGTHS = st.sampled_from([0.2073, 0.4592, 0.7093, 1.0, 1.540593, 1.788996, 2.0])


def curve(x: np.ndarray, wavelength: float = CU_KALPHA1, **changes: object) -> Pattern:
    y = 10.0 + 3.0 * np.sin(x / 7.0) + 100.0 * np.exp(-0.5 * ((x - 33.0) / 0.1) ** 2)
    return replace(Pattern(x, y, Radiation(wavelength)), **changes)  # type: ignore[arg-type]


@given(d=st.floats(0.8, 20.0), wavelength=WAVELENGTHS)
def test_bragg_and_back(d: float, wavelength: float) -> None:
    angle = two_theta_of_d([d], wavelength)
    if wavelength > 2.0 * d:
        assert np.isnan(angle[0])
        return
    assert d_of_two_theta(angle, wavelength)[0] == pytest.approx(d, rel=1e-9)
    # Bragg's law, written out
    assert 2.0 * d * np.sin(np.radians(angle[0] / 2.0)) == pytest.approx(wavelength, rel=1e-12)


@given(two_theta=st.floats(1.0, 100.0), wavelength=WAVELENGTHS)
def test_changing_the_wavelength_keeps_d(two_theta: float, wavelength: float) -> None:
    moved = change_wavelength([two_theta], wavelength)
    if np.isfinite(moved[0]):
        assert d_of_two_theta(moved, CU_KALPHA1)[0] == pytest.approx(
            d_of_two_theta([two_theta], wavelength)[0], rel=1e-9
        )


@settings(max_examples=40, deadline=None)
@given(
    ds=st.lists(st.floats(1.2, 12.0), min_size=1, max_size=5),
    wavelength=WAVELENGTHS,
    second=st.booleans(),
    fineness=st.floats(0.3, 1.5),
)
def test_the_same_d_spacings_land_on_the_same_points_for_any_wavelength(
    ds: list[float], wavelength: float, second: bool, fineness: float
) -> None:
    """Peaks put where Bragg's law says, with their widths in 1/d, at two wavelengths: the same grid curve."""
    grid = Grid(5.0, 90.0, 2048)
    radiation = Radiation(wavelength, wavelength * 1.0025 if second else None)
    lit = radiation.mean_wavelength
    ends = two_theta_of_d(d_of_two_theta(np.array([5.0, 90.0]), CU_KALPHA1), lit)
    last = ends[1] if np.isfinite(ends[1]) else 178.0

    def peaks(angle: np.ndarray, used: float) -> np.ndarray:
        s = 2.0 * np.sin(np.radians(angle) / 2.0) / used
        return sum((np.exp(-0.5 * ((s - 1.0 / d) / 0.002) ** 2) for d in ds), np.zeros(angle.size)) + 0.01

    x = np.arange(ends[0], last, (last - ends[0]) / (8000 * fineness))
    reference = np.arange(5.0, 90.0, 0.01)
    found = grid.project(Pattern(x, peaks(x, lit), radiation))
    wanted = grid.project(Pattern(reference, peaks(reference, CU_KALPHA1), Radiation(CU_KALPHA1)))
    both = found.coverage & wanted.coverage
    assert both.sum() > 0.95 * found.coverage.sum()
    seen = two_theta_of_d(ds, CU_KALPHA1)
    if seen.min() > 5.5 and seen.max() < 89.5:
        scale = wanted.intensity[both].max() / found.intensity[both].max()
        np.testing.assert_allclose(found.intensity[both] * scale, wanted.intensity[both], atol=0.02)
    for d in ds:
        at = grid.position(two_theta_of_d([d], lit), lit)[0]
        wanted_at = (two_theta_of_d([d], CU_KALPHA1)[0] - 5.0) / grid.step
        assert at == pytest.approx(wanted_at, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    low=st.floats(1.0, 40.0),
    length=st.floats(11.0, 80.0),
    step=st.floats(0.01, 0.2),
    wavelength=WAVELENGTHS,
    hole=st.one_of(st.none(), st.tuples(st.floats(0.1, 0.8), st.floats(0.01, 0.5))),
)
@example(low=1.0, length=48.0, step=0.14719089045715553, wavelength=0.2073, hole=(0.25, 0.01171875))
@example(low=1.0, length=11.0, step=0.125, wavelength=0.2073, hole=(0.546875, 0.4453125))  # one point behind
def test_coverage_is_exactly_what_was_measured(
    low: float, length: float, step: float, wavelength: float, hole: tuple[float, float] | None
) -> None:
    x = np.arange(low, min(low + length, 175.0), step)
    if hole is not None:
        first = low + hole[0] * (x[-1] - low)
        x = x[(x < first) | (x > first + hole[1] * (x[-1] - low))]
    grid = Grid(5.0, 120.0, 1500)
    found = grid.project(Pattern(x, np.ones_like(x), Radiation(wavelength)))
    # brute force, in measured angles
    at = change_wavelength(grid.two_theta, CU_KALPHA1, wavelength)
    expected = np.zeros(grid.length, dtype=bool)
    near = np.zeros(grid.length, dtype=bool)
    for a, b in pairwise(x):
        if b - a <= 5.0 * step * (1 + 1e-9):
            expected |= (at >= a) & (at <= b)
        near |= (np.abs(at - a) < 1e-8) | (np.abs(at - b) < 1e-8)
    assert np.array_equal(found.coverage[~near], expected[~near])
    assert np.all(found.intensity[~found.coverage] == 0.0)
    np.testing.assert_allclose(found.intensity[found.coverage], 1.0, rtol=1e-6)


def test_declared_windows_are_covered_and_nothing_else() -> None:
    grid = Grid()
    pattern = curve(np.arange(5.0, 90.0, 0.02), covered=((10.0, 20.0), (20.02, 40.0), (60.0, 70.0)))
    covered = grid.two_theta[grid.project(pattern).coverage]
    inside = ((covered >= 10.0) & (covered <= 40.0)) | ((covered >= 60.0) & (covered <= 70.0))
    assert inside.all()
    # windows a step apart are one; the ends are those of the points inside
    assert covered.size == pytest.approx((30.0 + 10.0) / grid.step, abs=4)


@pytest.mark.parametrize("step", [0.003, 0.02, 0.05, 0.3])
def test_a_grid_value_is_the_mean_of_the_measured_curve_over_its_cell(step: float) -> None:
    """Against scipy's quadrature of the straight lines through the points."""
    x = np.arange(8.0, 60.0, step)
    pattern = curve(x)
    grid = Grid(9.0, 59.0, 401)
    found = grid.project(pattern)
    means = np.array(
        [
            quad(lambda t: np.interp(t, x, pattern.intensity), a, a + grid.step, limit=400)[0] / grid.step
            for a in grid.two_theta[10:-10:17] - grid.step / 2
        ]
    )
    scale = found.intensity[10] / means[0]
    np.testing.assert_allclose(found.intensity[10:-10:17], means * scale, rtol=2e-4)


@settings(max_examples=25, deadline=None)
@given(cut=st.lists(st.floats(6.0, 89.0), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_extra_points_on_the_same_curve_change_nothing(cut: list[float], seed: int) -> None:
    """Uneven steps: the projection belongs to the curve and not to how densely it was sampled."""
    x = np.arange(5.0, 90.0, 0.02)
    pattern = curve(x)
    rng = np.random.default_rng(seed)
    extra = np.concatenate([rng.uniform(c - 0.5, c + 0.5, 40) for c in cut])
    uneven = np.unique(np.concatenate([x, np.clip(extra, 5.0, x[-1])]))
    grid = Grid()
    found = grid.project(replace(curve(uneven), intensity=np.interp(uneven, x, pattern.intensity)))
    wanted = grid.project(pattern)
    assert np.array_equal(found.coverage, wanted.coverage)
    np.testing.assert_allclose(found.intensity, wanted.intensity, atol=2e-6)


def test_parts_counted_longer_do_not_stand_out() -> None:
    x = np.arange(5.0, 90.0, 0.02)
    seconds = np.where((x > 30.0) & (x < 40.0), 8.0, 1.0)
    rate = curve(x)
    counted = replace(rate, intensity=rate.intensity * seconds, counting_time=seconds, raw_counts=True)
    grid = Grid()
    np.testing.assert_allclose(
        grid.project(counted).intensity, grid.project(rate).intensity, atol=3e-3
    )  # a cell at the edge weighs its two parts by their times


def test_area_and_height_are_kept() -> None:
    """A sharp peak measured finely keeps its area on the grid, a broad one its height."""
    x = np.arange(5.0, 90.0, 0.002)
    grid = Grid(5.0, 90.0, 4096)
    for width in (0.03, 0.5):
        y = np.exp(-0.5 * ((x - 41.37) / width) ** 2) + 1e-9
        on_grid = grid.project(Pattern(x, y, Radiation(CU_KALPHA1))).intensity.astype(float)
        area = on_grid.sum() * grid.step
        assert area * y.max() == pytest.approx(width * np.sqrt(2 * np.pi), rel=0.05 if width < 0.1 else 1e-3)
    assert on_grid.argmax() == round((41.37 - 5.0) / grid.step)


def test_negative_background_stays_and_the_maximum_is_one() -> None:
    x = np.arange(10.0, 60.0, 0.02)
    found = Grid().project(replace(curve(x), intensity=curve(x).intensity - 12.0))
    assert found.intensity.dtype == np.float32
    assert found.intensity.max() == 1.0
    assert found.intensity.min() < 0.0
    assert np.isfinite(found.intensity).all()


def test_out_of_reach_gives_no_coverage_and_no_nan() -> None:
    # neutrons of 5 angstrom measured to 60 degrees end at d = 5
    found = Grid(20.0, 90.0, 512).project(Pattern(*_ones(5.0, 60.0), Radiation(5.0, kind="neutron")))
    assert not found.coverage.any()
    assert not found.intensity.any()
    # and a wavelength so short that the pattern goes on behind the canonical 180 degrees
    far = Grid(5.0, 175.0, 2048).project(Pattern(*_ones(5.0, 100.0), Radiation(0.7)))
    assert far.coverage.any()
    assert np.isfinite(far.intensity).all()


def _ones(low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    x = np.arange(low, high, 0.02)
    return x, np.ones_like(x)


def test_a_grid_is_a_value() -> None:
    grid = Grid(4.0, 100.0, 3000)
    assert from_json(Grid, to_json(grid)) == grid
    assert grid == Grid(4.0, 100.0, 3000)
    assert hash(grid) == hash(Grid(4.0, 100.0, 3000))
    assert (grid.two_theta[0], grid.two_theta[-1]) == (4.0, pytest.approx(100.0))
    np.testing.assert_allclose(grid.sin2theta, np.sin(np.radians(grid.two_theta / 2)) ** 2)
    assert not grid.two_theta.flags.writeable
    back = grid.position(grid.measured_two_theta(0.5), 0.5)
    np.testing.assert_allclose(back, np.arange(3000), atol=1e-6)
    with pytest.raises(BadInput, match="range"):
        Grid(90.0, 5.0)
    with pytest.raises(BadInput, match="short"):
        Grid(5.0, 90.0, 1)


def test_it_is_fast() -> None:
    grid, pattern = Grid(), curve(np.arange(5.0, 90.0, 0.01))
    grid.project(pattern)
    times = []
    for _ in range(9):
        started = time.process_time()
        for _ in range(10):
            grid.project(pattern)
        times.append((time.process_time() - started) / 10)
    assert min(times) < 2e-3
