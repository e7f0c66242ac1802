"""Detectors against streams of photons, one by one."""

from __future__ import annotations

import numpy as np
import pytest

from eg_agent.errors import BadInput
from simulators.counting import Detector, poisson, scintillation_counter


def stream(rate: float, dead_time: float, paralysable: bool, seconds: float, rng) -> np.ndarray:
    """Arrival times of the photons that are seen, of a Poisson stream."""
    arrival = np.cumsum(rng.exponential(1 / rate, int(rate * seconds * 1.02) + 100))
    arrival = arrival[arrival < seconds]
    if paralysable:
        return arrival[np.diff(arrival, prepend=-np.inf) > dead_time]
    seen, last = [], -np.inf
    for time in arrival.tolist():
        if time - last > dead_time:
            seen.append(time)
            last = time
    return np.array(seen)


@pytest.mark.parametrize("paralysable", [False, True])
@pytest.mark.parametrize("load", [0.05, 0.3, 1.0])
def test_dead_time_agrees_with_a_stream_of_photons(paralysable, load):
    rate, seconds, windows = 1e4, 60.0, 6000  # about 100 photons a window
    detector = Detector(dead_time=load / rate, paralysable=paralysable)
    seen = stream(rate, detector.dead_time, paralysable, seconds, np.random.default_rng(1))
    counted, _ = np.histogram(seen, bins=windows, range=(0, seconds))
    assert detector.seen(rate) == pytest.approx(len(seen) / seconds, rel=0.01)
    # windows of 100 dead times and more: what hangs over their edges is a percent of the variance
    assert detector.dispersion(rate) == pytest.approx(counted.var() / counted.mean(), rel=0.08)
    drawn = detector.count(np.full(40_000, rate), seconds / windows, np.random.default_rng(2))
    assert drawn.mean() == pytest.approx(counted.mean(), rel=0.01)
    assert drawn.var() / drawn.mean() == pytest.approx(float(detector.dispersion(rate)), rel=0.05)
    assert (drawn == np.rint(drawn)).all()


def test_without_dead_time_counts_are_poisson():
    rate = np.geomspace(0.05, 1e5, 12)
    counts = np.array([Detector().count(rate, 2.0, np.random.default_rng(i)) for i in range(20_000)])
    assert np.allclose(counts.mean(axis=0) / (2 * rate), 1.0, atol=0.03)
    assert (counts.var(axis=0) / counts.mean(axis=0)).mean() == pytest.approx(1.0, abs=0.02)
    assert np.allclose(counts.var(axis=0) / counts.mean(axis=0), 1.0, atol=0.05)


def test_small_dead_times_leave_poisson_as_it_is():
    detector = Detector(dead_time=1e-9)
    counts = detector.count(np.full(50_000, 100.0), 1.0, np.random.default_rng(0))
    assert counts.mean() == pytest.approx(100.0, rel=0.01)
    assert counts.var() / counts.mean() == pytest.approx(1.0, abs=0.02)
    assert (detector.count(np.zeros(5), 1.0, np.random.default_rng(0)) == 0).all()
    assert (detector.count(np.full(5, 100.0), 0.0, np.random.default_rng(0)) == 0).all()


def test_saturation_dark_counts_and_overload():
    detector = Detector(dark_rate=2.0, full_scale=50.0)
    counts = detector.count(np.array([0.0, 1e4]), np.array([10.0, 1.0]), np.random.default_rng(0))
    assert 5 < counts[0] < 45
    assert counts[1] == 50.0
    counter = scintillation_counter()
    # a paralysed counter shows less when there is more
    assert counter.seen(3e6) < counter.seen(1e6)
    assert poisson([3.0, 4.0], np.random.default_rng(0)).dtype == np.float64


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dead_time": -1e-6}, "dead_time"),
        ({"dark_rate": np.nan}, "dark_rate"),
        ({"full_scale": 0.0}, "full_scale"),
    ],
)
def test_wrong_input_is_one_sentence(settings, message):
    with pytest.raises(BadInput, match=message):
        Detector(**settings)
