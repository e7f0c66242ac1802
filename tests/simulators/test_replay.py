"""Replaying: photons dealt out with the right statistics, labels, and what happens when they are used up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bluesky.plan_stubs as bps
import numpy as np
import pytest
from bluesky import RunEngine
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from eg_agent.errors import BadInput, BadPattern
from eg_agent.patterns import Pattern, Radiation, Source, write_xye
from plans.scan import measure
from simulators import ReplayDiffractometer
from simulators.recording import Recording, smooth

ANGLES = 10.0 + 0.02 * np.arange(3001)


def rate(x: np.ndarray) -> np.ndarray:
    """Counts a second: three lines on a falling background."""
    y = 5.0 + 10.0 * np.exp(-(x - 10.0) / 20.0)
    for centre, height in ((21.0, 80.0), (30.0, 200.0), (45.0, 30.0)):
        y = y + height * np.exp(-4.0 * np.log(2.0) * ((x - centre) / 0.15) ** 2)
    return y


def measured(seconds: float = 40.0, seed: int = 0, **changes: Any) -> Pattern:
    counts = np.random.default_rng(seed).poisson(rate(ANGLES) * seconds).astype(float)
    fields: dict[str, Any] = {
        "two_theta": ANGLES,
        "intensity": counts,
        "radiation": Radiation.anode("Cu"),
        "counting_time": np.full(ANGLES.size, seconds),
        "raw_counts": True,
        "source": Source(kind="file", name="/data/corundum.xrdml", sample="corundum"),
    }
    return Pattern(**{**fields, **changes})


def everything(pattern: Pattern) -> np.ndarray:
    return np.arange(len(pattern))


def test_dealt_counts_have_poisson_variance_over_recordings() -> None:
    """Recordings of one truth, each dealt a tenth: mean and variance those of a tenth of the time."""
    index = everything(measured())
    rng = np.random.default_rng(3)
    dealt = np.array([Recording(measured(seed=s)).deal(index, 4.0, rng)[0] for s in range(200)])
    mean = 4.0 * rate(ANGLES)
    n = dealt.shape[0]
    # sum over recordings and points of (y - mean)^2 / mean is chi-square, for means of 20 and more
    high = mean > 20.0
    chi_square = float(np.sum((dealt[:, high] - mean[high]) ** 2 / mean[high]))
    freedom = n * int(high.sum())
    assert abs(chi_square / freedom - 1.0) < 5.0 * np.sqrt(2.0 / freedom) + 0.002
    dispersion = dealt.var(axis=0, ddof=1) / dealt.mean(axis=0)
    assert dispersion.mean() == pytest.approx(1.0, abs=5.0 * np.sqrt(2.0 / (n * ANGLES.size)) + 0.002)


def test_parts_of_one_recording_are_independent() -> None:
    """Over recordings, what two scans count is uncorrelated: each is a Poisson count of its own."""
    index = np.array([500, 1000, 2500])
    rng = np.random.default_rng(4)
    pairs = []
    for seed in range(1500):
        recording = Recording(measured(seed=seed))
        pairs.append([recording.deal(index, 10.0, rng)[0], recording.deal(index, 10.0, rng)[0]])
    first, second = np.array(pairs).transpose(1, 2, 0)
    for a, b in zip(first, second):
        assert abs(np.corrcoef(a, b)[0, 1]) < 4.0 / np.sqrt(len(pairs))
        assert stats.ttest_ind(a, b).pvalue > 1e-4


@settings(max_examples=20, deadline=None)
@given(parts=st.lists(st.floats(0.05, 30.0), min_size=1, max_size=8), seed=st.integers(0, 10**6))
def test_no_photon_is_invented_and_none_is_lost(parts: list[float], seed: int) -> None:
    pattern = measured()
    recording = Recording(pattern)
    index, rng = everything(pattern), np.random.default_rng(seed)
    total, time = np.zeros(len(pattern)), np.zeros(len(pattern))
    for seconds in parts:
        counts, given_time = recording.deal(index, seconds, rng)
        assert np.all(given_time <= seconds + 1e-12)
        total, time = total + counts, time + given_time
    assert np.all(total <= pattern.intensity)
    assert np.all(time <= 40.0 + 1e-9)
    counts, rest = recording.deal(index, 1e6, rng)
    np.testing.assert_array_equal(total + counts, pattern.intensity)
    np.testing.assert_allclose(time + rest, 40.0)


def test_a_device_serves_less_when_less_is_left_and_refuses_when_nothing_is() -> None:
    diff = ReplayDiffractometer(name="diff", samples={"corundum": measured(40.0)})
    diff.seconds_per_point.put(30.0)
    diff.trigger().wait(5)
    assert np.all(diff.counting_time.get() == 30.0)
    first = np.array(diff.intensity.get())
    diff.trigger().wait(5)
    assert np.allclose(diff.counting_time.get(), 10.0)
    np.testing.assert_array_equal(first + diff.intensity.get(), measured(40.0).intensity)
    with pytest.raises(BadInput, match="used up"):
        diff.trigger()
    diff.rewind()
    diff.trigger().wait(5)
    assert np.all(diff.counting_time.get() == 30.0)


def test_points_that_are_used_up_are_left_out() -> None:
    diff = ReplayDiffractometer(name="diff", samples={"corundum": measured(40.0)})
    diff.windows.put([20.0, 22.0])
    diff.seconds_per_point.put(40.0)
    diff.trigger().wait(5)
    assert diff.two_theta.get().size == 101
    diff.windows.put([])
    diff.trigger().wait(5)
    x = np.asarray(diff.two_theta.get())
    assert x.size == ANGLES.size - 101
    assert not np.any((x > 19.999) & (x < 22.001))


def test_beyond_the_recording_it_can_resample_and_says_so() -> None:
    diff = ReplayDiffractometer(name="diff", samples={"corundum": measured(10.0)}, beyond="resample")
    assert "beyond that Poisson counts of a fit" in diff.origin.get()
    diff.seconds_per_point.put(100.0)
    diff.trigger().wait(5)
    assert np.all(diff.counting_time.get() == 100.0)
    counts, mean = np.asarray(diff.intensity.get()), 100.0 * rate(ANGLES)
    # 10 s of photons and 90 s drawn from what 10 s can tell: unbiased, and a little over Poisson
    assert (counts - mean).mean() / mean.mean() == pytest.approx(0.0, abs=0.01)
    assert 1.0 < np.mean((counts - mean) ** 2 / mean) < 4.0


def test_a_stopped_trace_keeps_the_photons() -> None:
    diff = ReplayDiffractometer(name="diff", samples={"corundum": measured(40.0)}, time_scale=1.0)
    status = diff.trigger()
    diff.stop()
    with pytest.raises(RuntimeError, match="stopped"):
        status.wait(5)
    assert np.all(diff.recording.available(everything(measured()), 100.0) == 40.0)


def test_what_are_no_counts_is_fitted_resampled_and_labelled() -> None:
    seconds = 40.0
    counts = measured(seconds).intensity
    scaled = measured(intensity=counts / 7.3 - 3.0, raw_counts=False, counting_time=None)
    diff = ReplayDiffractometer(name="diff", samples={"x": scaled}, peak_rate=500.0)
    assert "resampled from a smooth fit" in diff.origin.get()
    assert "corundum.xrdml" in diff.origin.get()
    diff.seconds_per_point.put(50.0)
    diff.trigger().wait(5)
    first = np.asarray(diff.intensity.get())
    diff.trigger().wait(5)
    second = np.asarray(diff.intensity.get())
    mean = 50.0 * diff.recording.rate
    assert np.all(first == np.round(first))
    assert np.all(mean >= 0.0)
    assert mean.max() == pytest.approx(50.0 * 500.0)
    good = mean > 20.0
    for drawn in (first, second):
        chi_square = float(np.sum((drawn[good] - mean[good]) ** 2 / mean[good]))
        low, high = stats.chi2(good.sum()).ppf([1e-4, 1.0 - 1e-4])
        assert low < chi_square < high
    assert np.any(first != second)
    # the fit keeps the shape: against the truth at the same scale
    truth = rate(ANGLES) * seconds / 7.3 - 3.0
    shape = mean / mean.max() - truth / truth.max()
    assert np.abs(shape).max() < 0.05


def test_standard_errors_tell_how_many_counts_there_were() -> None:
    counts = measured(40.0).intensity
    scaled = measured(intensity=counts * 0.01, sigma=np.sqrt(counts) * 0.01, raw_counts=False)
    recording = Recording(scaled)
    assert np.median(recording.rate / rate(ANGLES)) == pytest.approx(1.0, abs=0.05)


def test_smoothing_keeps_peaks_and_quietens_the_rest() -> None:
    truth = 400.0 * rate(ANGLES)
    noisy = np.random.default_rng(8).poisson(truth).astype(float)
    fitted = smooth(noisy, np.sqrt(noisy))
    assert np.abs(fitted / truth - 1.0).max() < 0.06
    quiet = (ANGLES > 50.0) & (ANGLES < 65.0)
    before, after = np.std((noisy - truth)[quiet]), np.std((fitted - truth)[quiet])
    assert after < 0.45 * before


def test_steps_windows_and_the_arm_keep_to_recorded_points() -> None:
    diff = ReplayDiffractometer(name="diff", samples={"corundum": measured()})
    diff.step.put(0.06)
    diff.trigger().wait(5)
    np.testing.assert_array_equal(diff.two_theta.get(), ANGLES[::3])
    diff.arm.set(30.013).wait(5)
    assert diff.arm.position == pytest.approx(30.02)
    diff.two_theta_min.put(80.0)
    diff.two_theta_max.put(90.0)
    with pytest.raises(BadInput, match="was recorded from 10 to 70"):
        diff.trigger()


def test_from_a_file_through_a_real_plan(tmp_path: Path) -> None:
    path = write_xye(measured(), tmp_path / "corundum.xye")
    diff = ReplayDiffractometer.from_file(path, name="diff")
    assert diff.samples == ("corundum",)
    documents: list[tuple[str, dict[str, Any]]] = []
    plan = measure(diff, two_theta=(5, 90), step=0.02, seconds_per_point=5.0)
    RunEngine({})(plan, lambda name, doc: documents.append((name, doc)))
    event = next(d for n, d in documents if n == "event")
    descriptor = next(d for n, d in documents if n == "descriptor")
    assert event["data"]["diff_intensity"].size == ANGLES.size
    assert event["data"]["diff_intensity"].sum() == pytest.approx(measured().intensity.sum() / 8.0, rel=0.01)
    configured = descriptor["configuration"]["diff"]["data"]
    assert configured["diff_origin"].startswith("raw counts thinned binomially from 40 s a point")
    assert configured["diff_wavelength"] == pytest.approx(1.540593)


def test_samples_with_radiations_of_their_own() -> None:
    samples = {"lab": measured(), "beamline": measured(radiation=Radiation(0.82))}
    diff = ReplayDiffractometer(name="diff", samples=samples)
    assert diff.wavelength2.get() > 0.0
    RunEngine({})(bps.mv(diff.sample, "beamline"))
    assert (diff.wavelength.get(), diff.wavelength2.get()) == (0.82, 0.0)


def test_bad_recordings_are_refused() -> None:
    with pytest.raises(BadPattern, match="NaN"):
        ReplayDiffractometer(name="diff", samples={"x": measured(intensity=np.full(ANGLES.size, np.nan))})
    with pytest.raises(BadInput, match="beyond"):
        Recording(measured(), beyond="forever")
    with pytest.raises(BadInput, match="above 0"):
        Recording(measured(), seconds=0.0)
