from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eg_agent.errors import BadInput
from eg_agent.patterns import Pattern, Radiation, evened
from eg_agent.records import merge

CU = Radiation(1.540593)


def pattern(x, y, seconds=None, raw=True, sigma=None):
    x = np.asarray(x, dtype=float)
    time = None if seconds is None else np.full(x.size, float(seconds))
    return Pattern(x, np.asarray(y, dtype=float), CU, counting_time=time, raw_counts=raw, sigma=sigma)


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.lists(st.integers(0, 1000), min_size=12, max_size=12), min_size=2, max_size=4),
    seconds=st.lists(st.floats(0.1, 100.0), min_size=4, max_size=4),
)
def test_counts_and_times_add_up_in_any_order(counts, seconds):
    x = np.linspace(10, 20, 12)
    parts = [pattern(x, c, t) for c, t in zip(counts, seconds, strict=False)]
    forward, backward = parts[0], parts[-1]
    for part in parts[1:]:
        forward = merge(forward, part)
    for part in parts[-2::-1]:
        backward = merge(backward, part)
    np.testing.assert_array_equal(forward.intensity, np.sum(counts[: len(parts)], axis=0))
    np.testing.assert_allclose(forward.counting_time, sum(seconds[: len(parts)]))
    np.testing.assert_allclose(forward.intensity, backward.intensity)
    assert forward.raw_counts


def test_a_window_counted_longer_leaves_the_rate_flat():
    x = np.linspace(10, 20, 101)
    whole = pattern(x, np.full(101, 10), 1.0)
    window = pattern(x[40:61], np.full(21, 90), 9.0)
    both = merge(whole, window)
    assert both.intensity[50] == 100
    assert both.counting_time[50] == 10.0
    assert both.counting_time[0] == 1.0
    level = evened(both)
    np.testing.assert_allclose(level.intensity, 10.0)
    assert not level.raw_counts
    # Poisson: sqrt(10) after one second, sqrt(100)/10 after ten.
    assert level.sigma[0] == pytest.approx(np.sqrt(10.0))
    assert level.sigma[50] == pytest.approx(1.0)


def test_even_counting_times_stay_raw_counts():
    x = np.linspace(10, 20, 11)
    both = merge(pattern(x, np.full(11, 4), 2.0), pattern(x, np.full(11, 6), 2.0))
    assert evened(both) is both


def test_measurements_without_seconds_are_counted():
    x = np.linspace(10, 20, 11)
    total = merge(merge(pattern(x, np.full(11, 4)), pattern(x, np.full(11, 6))), pattern(x, np.full(11, 8)))
    np.testing.assert_array_equal(total.intensity, 18)
    level = evened(total)
    assert level.counting_time is None
    np.testing.assert_allclose(level.intensity, 18)


def test_seconds_and_none_are_not_added():
    x = np.linspace(10, 20, 11)
    with pytest.raises(BadInput, match="seconds_per_point"):
        merge(pattern(x, np.ones(11), 2.0), pattern(x, np.ones(11)))


def test_interleaved_and_jittered_axes():
    x = np.linspace(10, 20, 101)
    both = merge(pattern(x, np.ones(101), 1.0), pattern(x + 0.05, np.ones(101), 1.0))
    assert len(both) == 202
    jittered = merge(pattern(x, np.ones(101), 1.0), pattern(x + 1e-4, np.ones(101), 1.0))
    assert len(jittered) == 101
    np.testing.assert_array_equal(jittered.intensity, 2)


def test_an_extension_keeps_both_parts_and_their_windows():
    both = merge(
        pattern(np.linspace(10, 20, 101), np.ones(101), 1.0),
        pattern(np.linspace(30, 40, 101), np.ones(101), 1.0),
    )
    assert len(both) == 202
    assert both.covered == ((10.0, 20.0), (30.0, 40.0))


def test_other_units_are_weighted_by_their_errors():
    x = np.linspace(10, 20, 11)
    first = pattern(x, np.full(11, 1.0), raw=False, sigma=np.full(11, 1.0))
    second = pattern(x, np.full(11, 4.0), raw=False, sigma=np.full(11, 0.5))
    both = merge(first, second)
    np.testing.assert_allclose(both.intensity, (1.0 + 4 * 4.0) / 5)
    np.testing.assert_allclose(both.sigma, 1 / np.sqrt(5))


def test_two_wavelengths_are_not_put_together():
    x = np.linspace(10, 20, 11)
    with pytest.raises(BadInput, match="one wavelength"):
        merge(pattern(x, np.ones(11), 1.0), Pattern(x, np.ones(11), Radiation(0.4592)))
