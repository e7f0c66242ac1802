"""Each kind of bad input is refused with a sentence that says what to do; good patterns pass."""

from __future__ import annotations

import csv
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter1d
from scipy.signal import savgol_filter

from eg_agent.errors import BadInput, BadPattern, TooWeak
from eg_agent.patterns import Pattern, Radiation, check
from eg_agent.patterns.peaktest import noise_level, strongest_excess

X = 10.0 + 0.02 * np.arange(3001)


def background(x: np.ndarray, kind: str = "slope") -> np.ndarray:
    """Around 1: what a beamline sees where no Bragg peak is."""
    return {
        "flat": np.ones_like(x),
        "slope": 0.2 + 3.0 * np.exp(-x / 12.0),
        "halo": 0.3 + np.exp(-0.5 * ((x - 24.0) / 3.0) ** 2),
    }[kind]


def peak(x: np.ndarray, centre: float, width: float) -> np.ndarray:
    return np.exp(-4.0 * np.log(2.0) * ((x - centre) / width) ** 2)


def counted(rate: np.ndarray, seed: int = 0, x: np.ndarray = X) -> Pattern:
    y = np.random.default_rng(seed).poisson(rate).astype(float)
    return Pattern(x, y, Radiation(1.5406), raw_counts=True)


def good(seed: int = 0) -> Pattern:
    return counted(100.0 * background(X) + 500.0 * peak(X, 31.0, 0.15), seed)


def changed(**fields: object) -> Pattern:
    return replace(good(), **fields)  # type: ignore[arg-type]


def refused(pattern: Pattern, message: str) -> None:
    with pytest.raises(BadPattern, match=message) as caught:
        check(pattern)
    text = str(caught.value)
    assert text.endswith(".")
    assert len(text.splitlines()) == 1
    assert ":" in text or ";" in text  # what was wrong: what to do


def test_a_good_pattern_passes_unchanged() -> None:
    pattern = good()
    assert check(pattern) is pattern


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity(bad: float) -> None:
    y = good().intensity.copy()
    y[1234] = bad
    refused(changed(intensity=y), "1 of 3001 intensities are NaN or infinite")
    x = X.copy()
    x[7] = bad
    refused(changed(two_theta=x), "angles are NaN or infinite")


def test_too_few_points_and_too_short_a_range() -> None:
    part = slice(0, 199)
    refused(changed(two_theta=X[part], intensity=good().intensity[part]), "199 points are too few")
    x = 30.0 + 0.003 * np.arange(3001)
    refused(changed(two_theta=x), "too short a range")
    refused(changed(two_theta=0.4 + 0.002 * np.arange(3001)), "name the axis, if it is Q or d")
    assert check(
        changed(two_theta=X[::6], intensity=np.maximum.reduceat(good().intensity, range(0, 3001, 6)))
    )


def test_angles_that_do_not_increase_or_are_no_angles() -> None:
    x = X.copy()
    x[100] = x[99]
    refused(changed(two_theta=x), "does not increase after point 100")
    refused(changed(two_theta=X[::-1]), "does not increase")
    for axis in (X - 10.0, X + 115.0, 50.0 * X):
        refused(changed(two_theta=axis), "not 2-theta between 0 and 180")


def test_nothing_counted() -> None:
    refused(changed(intensity=np.zeros(X.size)), "All intensities are zero")
    refused(changed(intensity=np.full(X.size, 17.0)), "All intensities are the same")


def test_negative_beyond_noise() -> None:
    y = good().intensity.copy()
    y[5] = -1.0
    refused(changed(intensity=y), "1 counts are negative")
    noise = np.random.default_rng(1).normal(0.0, 10.0, X.size)
    bragg = 500.0 * peak(X, 31.0, 0.15)
    assert check(changed(intensity=bragg + noise, raw_counts=False))
    difference = bragg - 400.0 * peak(X, 44.0, 0.15) + noise
    refused(changed(intensity=difference, raw_counts=False), "negative beyond noise")


@pytest.mark.parametrize("counts_at_top", [3000.0, 65535.0, 1e6])
def test_a_saturated_detector(counts_at_top: float) -> None:
    rate = counts_at_top * (0.02 * background(X) + 2.5 * peak(X, 31.0, 0.2) + 0.3 * peak(X, 40.0, 0.2))
    refused(changed(intensity=np.minimum(counted(rate).intensity, counts_at_top)), "saturated")
    below = counted(rate / 3.0)
    assert check(below)


def test_rounded_tops_are_not_saturated() -> None:
    # a well-sampled smooth peak in whole numbers, as archives scale them to 100 or 1000
    for top in (100.0, 1000.0):
        y = np.round(top * (0.05 + 0.95 * peak(X, 31.0, 0.5)))
        assert check(changed(intensity=y, raw_counts=False))
    for seed in range(20):  # few counts are often equal
        assert check(counted(1.0 + 8.0 * peak(X, 31.0, 1.0) + 40.0 * peak(X, 50.0, 0.2), seed))


NULLS: dict[str, Callable[[np.random.Generator, np.ndarray], Pattern]] = {
    "counts": lambda rng, b: Pattern(X, rng.poisson(b).astype(float), Radiation(1.5406), raw_counts=True),
    "scaled": lambda rng, b: Pattern(X, rng.poisson(b) / 3.7, Radiation(1.5406)),
    "subtracted": lambda rng, b: Pattern(X, rng.normal(0.0, np.sqrt(b)), Radiation(1.5406)),
    "clipped": lambda rng, b: Pattern(X, np.maximum(rng.normal(0.0, np.sqrt(b)), 0.0), Radiation(1.5406)),
    "smoothed": lambda rng, b: Pattern(
        X, np.asarray(savgol_filter(rng.poisson(b).astype(float), 11, 2)), Radiation(1.5406)
    ),
    "blurred": lambda rng, b: Pattern(
        X, np.asarray(gaussian_filter1d(rng.poisson(b).astype(float), 3.0)), Radiation(1.5406)
    ),
}


@pytest.mark.parametrize("kind", ["flat", "slope", "halo"])
@pytest.mark.parametrize("form", NULLS)
def test_noise_and_glass_have_no_peak(form: str, kind: str) -> None:
    """None of 6 x 3 x 3 x 12 patterns without a peak passes for one with."""
    for level in (1.0 if form == "counts" else 30.0, 1e3, 1e6):
        for seed in range(12):
            found = strongest_excess(NULLS[form](np.random.default_rng(seed), level * background(X, kind)))
            assert not found.is_peak, (form, kind, level, seed, found)
    refused(NULLS[form](np.random.default_rng(0), 1e3 * background(X, kind)), "No peak stands above")


@pytest.mark.parametrize("width", [0.06, 0.15, 0.5])
@pytest.mark.parametrize("level", [0.2, 10.0, 1e3, 1e5])
def test_one_peak_is_enough(width: float, level: float) -> None:
    """A single peak of 20 standard deviations is found every time, as counts and scaled."""
    behind = 2.0 * width / 0.02 * level
    area = 0.5 * (20.0**2 + np.sqrt(20.0**4 + 4.0 * 20.0**2 * behind))
    height = area / (width / 0.02 * 1.0645)
    for seed in range(10):
        centre = np.random.default_rng(seed).uniform(15.0, 65.0)
        b = level * background(X) / background(np.array([centre]))
        pattern = counted(b + height * peak(X, centre, width), seed)
        found = strongest_excess(pattern)
        assert found.is_peak
        assert abs(found.two_theta - centre) < width + 0.5 * found.width
        if level > 1.0:
            assert strongest_excess(
                replace(pattern, intensity=pattern.intensity / 3.7, raw_counts=False)
            ).is_peak


def test_one_hot_pixel_is_no_peak() -> None:
    y = counted(100.0 * background(X)).intensity.copy()
    y[1500] = 5000.0
    refused(changed(intensity=y), "No peak stands above")


def test_a_change_of_counting_time_is_no_peak() -> None:
    seconds = np.where((X > 30.0) & (X < 31.0), 8.0, 1.0)
    pattern = replace(counted(100.0 * background(X) * seconds), counting_time=seconds)
    refused(pattern, "No peak stands above")


def test_noise_free_patterns_pass() -> None:
    assert check(changed(intensity=20.0 * background(X) + 100.0 * peak(X, 31.0, 0.2), raw_counts=False))
    assert check(changed(intensity=100.0 * peak(X, 31.0, 0.2), raw_counts=False))


def test_noise_level_is_that_of_white_noise() -> None:
    y = 100.0 + np.random.default_rng(0).normal(0.0, 7.0, 5000)
    assert np.median(noise_level(y)) == pytest.approx(7.0, rel=0.03)


@pytest.mark.slow
def test_measured_patterns_are_not_refused_without_reason(realdata: Path) -> None:
    """Of the archive's single-phase patterns, only the one whose lines are 4 degrees wide is refused."""
    with (realdata / "index.csv").open() as file:
        rows = list(csv.DictReader(file))
    patterns = np.load(realdata / "patterns.npz")
    names: list[str] = []
    for row in rows:
        x, y = patterns[row["id"]].astype(np.float64)
        pattern = Pattern(x, y, Radiation(float(row["wavelength"])))
        reason = ""
        try:
            check(pattern)
        except (BadPattern, BadInput) as error:
            reason = str(error)
        if reason:
            names.append(row["id"])
            assert "No peak stands above" in reason
    assert names == ["xredx_Tibcc"]


def _windows(rate: np.ndarray, seed: int, seconds: float = 1.0) -> Pattern:
    """Counts in ten windows of a degree and a half, of the given expected counts [38] in each."""
    starts = 10.0 + 5.0 * np.arange(10)
    x = np.concatenate([start + 0.04 * np.arange(rate.size) for start in starts])
    counts = np.random.default_rng(seed).poisson(np.tile(rate, 10) * seconds).astype(float)
    spans = tuple((float(start), float(start + 0.04 * (rate.size - 1))) for start in starts)
    return Pattern(
        x,
        counts,
        Radiation.anode("Cu"),
        counting_time=np.full(x.size, seconds),
        raw_counts=True,
        covered=spans,
    )


def test_lines_in_narrow_windows_are_seen_together() -> None:
    """Windows that hold little but a line have no flanks; together they show that something is there."""
    line = 1.0 + 14.0 * np.exp(-0.5 * ((np.arange(38) - 19.0) / 2.5) ** 2)
    for seed in range(20):
        check(_windows(line, seed))


@pytest.mark.parametrize("level", [0.3, 3.0, 100.0])
def test_windows_without_lines_are_too_weak(level: float) -> None:
    sloping = level * (1.0 + 0.2 * np.linspace(-0.5, 0.5, 38))
    refused = 0
    for seed in range(40):
        try:
            check(_windows(sloping, seed))
        except TooWeak:
            refused += 1
    assert refused == 40


#: How long points of a scan of everything are counted again, in units of that: windows of a degree or less.
AGAIN = st.lists(st.tuples(st.floats(11.0, 68.0), st.floats(0.3, 1.2), st.floats(0.5, 200.0)), max_size=25)


def _counted_again(rate: np.ndarray, windows: list[tuple[float, float, float]], seed: int) -> Pattern:
    """Counts of a rate [n] at `X` in 0.2 s a point, and in windows (degrees, width, times) longer."""
    seconds = np.full(X.size, 0.2)
    for start, width, times in windows:
        seconds[(start <= X) & (start + width >= X)] += 0.2 * times
    counts = np.random.default_rng(seed).poisson(rate * seconds).astype(float)
    return Pattern(X, counts, Radiation(1.5406), raw_counts=True, counting_time=seconds)


@settings(max_examples=40, deadline=None)
@given(AGAIN, st.integers(0, 1000), st.sampled_from(["flat", "slope", "halo"]), st.sampled_from([3.0, 300.0]))
def test_counting_somewhere_longer_makes_no_peak(windows, seed, kind, level) -> None:
    excess = strongest_excess(_counted_again(level * background(X, kind), windows, seed))
    assert not excess.is_peak, excess


@settings(max_examples=40, deadline=None)
@given(AGAIN, st.integers(0, 1000))
def test_counting_somewhere_longer_hides_no_peak(windows, seed) -> None:
    """Each line was counted again in a window of its own, of which nothing is left but the line."""
    lines = (15.3, 22.1, 22.9, 34.0, 47.7, 61.2)
    rate = 20.0 * background(X) + sum(400.0 * peak(X, at, 0.2) for at in lines)
    own = [(at - 0.3, 0.6, 5.0 * (1 + i)) for i, at in enumerate(lines)]
    assert strongest_excess(_counted_again(rate, [*own, *windows], seed)).is_peak


def test_few_counts_that_happen_to_be_alike_are_no_saturation() -> None:
    counts = np.random.default_rng(1).poisson(1.0, size=1000).astype(float)
    counts[500:504] = 11.0
    x = np.arange(10.0, 50.0, 0.04)[:1000]
    with suppress(TooWeak):  # what it may be called, but not saturated
        check(Pattern(x, counts, Radiation.anode("Cu"), raw_counts=True))
    with pytest.raises(BadPattern, match="saturated"):  # 1,100 of them are
        check(Pattern(x, 100.0 * counts, Radiation.anode("Cu"), raw_counts=True))
