"""The helpers that keep pictures readable."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eg_agent.view import style
from eg_agent.view.reflections import spell_hkl, spell_odds, spread


@given(
    st.lists(st.floats(0, 100), min_size=1, max_size=12),
    st.floats(0.5, 30),
)
def test_spread_labels_keep_apart_and_in_order(positions: list[float], separation: float) -> None:
    true = np.sort(np.array(positions))
    placed = spread(true, separation, 0.0, 100.0)
    assert placed.min() >= -1e-9
    assert placed.max() <= 100 + 1e-9
    fits = (len(true) - 1) * separation < 100
    if fits:
        assert (np.diff(placed) >= separation - 1e-9).all()
    if len(true) == 1 or (np.diff(true) >= separation).all():
        np.testing.assert_allclose(placed, true, atol=1e-9)  # nothing moves that need not


def test_gaps_are_breaks_and_finer_windows_are_not() -> None:
    x = np.concatenate([np.arange(5, 30, 0.1), np.arange(30, 40, 0.01), np.arange(50, 60, 0.1)])
    gapped_x, gapped_y = style.with_gaps(x, x * 2)
    assert np.isnan(gapped_x).sum() == 1
    assert gapped_x[np.flatnonzero(np.isnan(gapped_x))[0] + 1] == pytest.approx(50.0)
    np.testing.assert_array_equal(gapped_y[~np.isnan(gapped_x)], x * 2)


def test_running_mean_only_of_noisy_patterns_and_within_windows() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([np.arange(10, 30, 0.01), np.arange(40, 60, 0.01)])
    quiet = 1e5 * np.exp(-(((x - 20) / 0.1) ** 2)) + 1e3
    assert style.smoothing_window(x, rng.poisson(quiet).astype(float)) == 1
    noisy = rng.poisson(5.0, x.size).astype(float)
    window = style.smoothing_window(x, noisy)
    assert 3 <= window <= 6
    mean_x, mean_y = style.running_mean(x, noisy, window)
    assert not ((mean_x > 30.1) & (mean_x < 39.9)).any()
    assert np.nanstd(mean_y) < 0.7 * noisy.std()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, ">99.9 %"),
        (0.9996, ">99.9 %"),
        (0.995, "99.5 %"),
        (0.92, "92 %"),
        (0.061, "6.1 %"),
        (0.0, "<0.1 %"),
    ],
)
def test_percent(value: float, text: str) -> None:
    assert style.percent(value) == text


@pytest.mark.parametrize("top", [0.3, 7.0, 1.3e3, 5.5e6, 2e12])
def test_square_root_ticks_are_few_and_round(top: float) -> None:
    ticks = style.sqrt_ticks(top)
    assert 3 <= len(ticks) <= 8
    assert max(ticks) <= top
    assert all(f"{t:.0e}"[0] in "0125" for t in ticks)


def test_text_that_fits() -> None:
    assert style.shorten("short.xy", 20) == "short.xy"
    long = style.shorten("a" * 40 + "_042.xye", 20)
    assert len(long) == 20
    assert long.endswith("042.xye")
    assert style.wrap("word " * 100, 20, 2).count("\n") == 1
    assert style.escape("a$b$") == r"a\$b\$"


def test_spelling_of_reflections() -> None:
    assert spell_hkl((1, -2, 0)) == r"$1\,\bar{2}\,0$"
    assert spell_hkl((10, 0, 2)) == r"$10\;0\;2$"
    assert spell_odds(4.21) == "+4.2"
    assert spell_odds(-0.5) == "−0.5"
    assert spell_odds(153.2) == "+153"
