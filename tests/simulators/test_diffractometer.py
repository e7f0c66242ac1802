"""The simulated diffractometer under a real RunEngine: documents, statistics, limits, stopping."""

from __future__ import annotations

import threading
import time
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import bluesky.preprocessors as bpp
import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.utils import FailedStatus
from event_model import DocumentNames, schema_validators
from ophyd.utils import LimitError
from scipy import stats

from eg_agent.errors import BadInput
from eg_agent.patterns import CU_KALPHA1, Grid, Radiation, check, two_theta_of_d
from eg_agent.records.reader import pattern_of
from eg_agent.records.run_data import RunDocuments
from plans.devices import StepDiffractometer, TraceDiffractometer
from plans.scan import measure
from simulators import SimDiffractometer, expected_rate
from simulators.textbook import textbook


def rate(two_theta: np.ndarray) -> np.ndarray:
    """Counts a second: a line of 800 at 30 degrees, 0.1 wide, on 40."""
    return 40.0 + 800.0 * np.exp(-4.0 * np.log(2.0) * ((two_theta - 30.0) / 0.1) ** 2)


def flat(two_theta: np.ndarray) -> np.ndarray:
    return np.full(two_theta.size, 25.0)


def device(**changes: Any) -> SimDiffractometer:
    settings: dict[str, Any] = {"samples": {"one": rate, "two": flat}, "radiation": Radiation.anode("Cu")}
    return SimDiffractometer(name="diff", **{**settings, **changes})


@pytest.fixture
def engine() -> RunEngine:
    return RunEngine({})


def collect(engine: RunEngine, plan: Any) -> list[tuple[str, dict[str, Any]]]:
    documents: list[tuple[str, dict[str, Any]]] = []
    engine(plan, lambda name, doc: documents.append((name, doc)))
    return documents


def pattern(documents: list[tuple[str, dict[str, Any]]]) -> Any:
    run = RunDocuments()
    for name, document in documents:
        run.add(name, document)
    return pattern_of(run.data())


def test_it_is_what_the_plans_ask_for() -> None:
    assert isinstance(device(), TraceDiffractometer)
    assert isinstance(device(), StepDiffractometer)


def test_a_trace_is_one_event_of_arrays_with_their_lengths(engine: RunEngine) -> None:
    documents = collect(engine, measure(device(), two_theta=(10, 60), step=0.02, seconds_per_point=2.0))
    for name, document in documents:
        schema_validators[DocumentNames[name]].validate(document)
    descriptor = next(d for n, d in documents if n == "descriptor")
    events = [d for n, d in documents if n == "event"]
    assert len(events) == 1
    for key in ("diff_two_theta", "diff_intensity", "diff_counting_time"):
        described = descriptor["data_keys"][key]
        assert (described["dtype"], described["shape"], described["dtype_numpy"]) == ("array", [2501], "<f8")
        assert events[0]["data"][key].shape == (2501,)
    assert set(descriptor["data_keys"]) == {"diff_two_theta", "diff_intensity", "diff_counting_time"}
    configured = descriptor["configuration"]["diff"]["data"]
    assert configured["diff_wavelength"] == 1.540593
    assert configured["diff_wavelength2"] == 1.544427
    assert configured["diff_radiation"] == "x-ray"
    assert configured["diff_seconds_per_point"] == 2.0
    assert configured["diff_sample"] == "one"
    assert configured["diff_origin"] == "simulated photons"
    np.testing.assert_allclose(events[0]["data"]["diff_two_theta"], np.linspace(10, 60, 2501), atol=1e-9)


def test_both_shapes_become_patterns_with_everything_known(engine: RunEngine) -> None:
    for shape in ("trace", "step"):
        plan = measure(device(), two_theta=(29, 31), step=0.02, seconds_per_point=3.0, shape=shape)
        found = pattern(collect(engine, plan))
        assert len(found) == 101
        assert found.raw_counts
        assert found.radiation.wavelengths == (1.540593, 1.544427)
        assert np.all(found.counting_time == 3.0)
        assert found.two_theta[int(np.argmax(found.intensity))] == pytest.approx(30.0, abs=0.05)


def test_counts_are_poisson(engine: RunEngine) -> None:
    """Chi-square of Poisson counts against the rate, and their variance, with a fixed seed."""
    diff = device(seed=5)
    x, y, _ = diff.count(np.arange(10.0, 60.0, 0.005), 2.0, np.random.default_rng(1))
    mean = 2.0 * rate(x)
    chi_square = float(np.sum((y - mean) ** 2 / mean))
    assert stats.chi2(x.size).cdf(chi_square) == pytest.approx(0.5, abs=0.499)
    trigger_counts = []
    diff.sample.put("two")
    diff.step.put(0.1)
    for _ in range(5):
        diff.trigger().wait(5)
        trigger_counts.append(diff.intensity.get())
    together = np.concatenate(trigger_counts)
    low, high = stats.chi2(together.size - 1).ppf([0.001, 0.999]) / (together.size - 1)
    assert low < together.var(ddof=1) / together.mean() < high
    # and two scans hold different photons
    assert abs(np.corrcoef(trigger_counts[0], trigger_counts[1])[0, 1]) < 4.0 / np.sqrt(
        trigger_counts[0].size
    )


def test_the_same_seed_counts_the_same_photons_and_another_does_not() -> None:
    def counted(seed: int) -> np.ndarray:
        diff = device(seed=seed)
        diff.trigger().wait(5)
        return np.asarray(diff.intensity.get())

    np.testing.assert_array_equal(counted(1), counted(1))
    assert np.any(counted(1) != counted(2))


def test_windows_are_counted_alone_and_on_the_grid_of_the_whole_scan(engine: RunEngine) -> None:
    diff = device()
    whole = pattern(collect(engine, measure(diff, two_theta=(10, 60), step=0.02, seconds_per_point=1.0)))
    windows = [(29.5, 30.5), (41.01, 42.0)]
    plan = measure(diff, two_theta=(10, 60), step=0.02, seconds_per_point=8.0, windows=windows)
    part = pattern(collect(engine, plan))
    assert np.all(np.isin(part.two_theta, whole.two_theta))
    inside = np.zeros(len(whole), dtype=bool)
    for low, high in windows:
        inside |= (whole.two_theta >= low) & (whole.two_theta <= high)
    np.testing.assert_array_equal(part.two_theta, whole.two_theta[inside])
    assert np.all(part.counting_time == 8.0)
    assert part.intensity.max() > 4.0 * whole.intensity.max()


def test_samples_by_name_and_by_position(engine: RunEngine) -> None:
    diff = device()

    def plan() -> Any:
        yield from bps.mv(diff.sample, 2)
        return (yield from measure(diff, two_theta=(20, 40), step=0.02, seconds_per_point=1.0))

    found = pattern(collect(engine, plan()))
    assert diff.sample.get() == "two"
    assert found.intensity.mean() == pytest.approx(25.0, rel=0.05)
    for wrong in ("three", 0, 3):
        with pytest.raises(BadInput, match="diff"):
            diff.sample.set(wrong)
    assert diff.sample.get() == "two"


def test_shutter_dead_time_and_saturation() -> None:
    diff = device(samples={"hot": lambda x: np.full(x.size, 1e5)}, dark_rate=3.0, dead_time=1e-5)
    angles = np.arange(10.0, 60.0, 0.01)
    rng = np.random.default_rng(0)
    # a detector that is dead 10 microseconds after each of 1e5 photons a second sees half of them
    assert diff.count(angles, 1.0, rng)[1].mean() == pytest.approx(1e5 / 2.0, rel=1e-3)
    diff.shutter.put("closed")
    assert diff.count(angles, 1.0, rng)[1].mean() == pytest.approx(3.0, rel=0.05)
    with pytest.raises(BadInput, match="open"):
        diff.shutter.set("ajar")
    full = device(samples={"hot": lambda x: np.full(x.size, 1e5)}, full_scale=65535.0)
    assert np.all(full.count(angles, 1.0, rng)[1] == 65535.0)


def test_it_never_goes_outside_its_limits(engine: RunEngine) -> None:
    diff = device(limits=(5.0, 90.0))
    with pytest.raises(LimitError):
        engine(bps.mv(diff.arm, 91.0))
    with pytest.raises(BadInput, match="limits"):
        engine(measure(diff, two_theta=(3, 60), step=0.02, seconds_per_point=1.0))
    with pytest.raises(BadInput, match="step"):
        diff.step.set(0.0)
    with pytest.raises(BadInput, match="seconds_per_point"):
        diff.seconds_per_point.set(-1.0)
    with pytest.raises(BadInput, match="pairs"):
        diff.windows.set([30.0, 20.0])
    with pytest.raises(BadInput, match="stated by the device"):
        diff.wavelength.set(1.0)


def test_a_trigger_takes_its_time_on_another_thread() -> None:
    # 51 points of 2 s at 1/1000 of real time
    diff = device(time_scale=1e-3)
    for signal, value in (
        (diff.two_theta_min, 20.0),
        (diff.two_theta_max, 21.0),
        (diff.seconds_per_point, 2.0),
    ):
        signal.set(value).wait(1)
    started = time.monotonic()
    status = diff.trigger()
    assert not status.done
    seen: list[str] = []
    status.add_callback(lambda _: seen.append(threading.current_thread().name))
    status.wait(5)
    assert 0.1 < time.monotonic() - started < 1.0
    assert status.success


def test_everything_costs_simulated_time(engine: RunEngine) -> None:
    diff = device(speed=5.0, overhead=3.0, settle=0.5, change_seconds=40.0, limits=(5.0, 90.0))
    engine(measure(diff, two_theta=(10, 20), step=0.1, seconds_per_point=2.0))
    # from 5 to 20 degrees at 5 degrees a second, 101 points of 2 s, opening and closing
    assert diff.elapsed.get() == pytest.approx(15.0 / 5.0 + 101 * 2.0 + 3.0)
    before = diff.elapsed.get()
    diff.windows.set([(12.0, 13.0), (18.0, 19.0)]).wait(1)
    diff.trigger().wait(5)
    # back from 20 to 12, and on to 19, over the gap
    assert diff.elapsed.get() - before == pytest.approx((8.0 + 7.0) / 5.0 + 22 * 2.0 + 3.0)
    before = diff.elapsed.get()
    engine(bps.mv(diff.sample, "two"))
    assert diff.elapsed.get() - before == pytest.approx(40.0)
    before = diff.elapsed.get()
    engine(bps.mv(diff.arm, 55.0))
    diff.point.trigger().wait(5)
    assert diff.elapsed.get() - before == pytest.approx(50.0 / 5.0 + 0.5 + 2.0)
    with pytest.raises(BadInput, match="speed"):
        device(speed=0.0)


def test_dead_time_may_be_paralysable_and_spaces_counts_out() -> None:
    diff = device(samples={"hot": lambda x: np.full(x.size, 1e5)}, dead_time=1e-5, paralysable=True)
    counts = diff.count(np.arange(10.0, 60.0, 0.01), 1.0, np.random.default_rng(0))[1]
    assert counts.mean() == pytest.approx(1e5 * np.exp(-1.0), rel=1e-3)
    assert counts.var() / counts.mean() == pytest.approx(1 - 2 * np.exp(-1.0), rel=0.1)


def test_a_stopped_trace_fails_and_counts_nothing() -> None:
    diff = device(time_scale=1.0)
    status = diff.trigger()
    diff.stop()
    with pytest.raises(RuntimeError, match="stopped"):
        status.wait(5)
    assert diff.intensity.get().size == 0


def test_a_stopped_arm_stays_and_its_move_fails() -> None:
    diff = device(time_scale=1.0)
    here = diff.arm.position
    status = diff.arm.set(60.0)
    assert diff.arm.moving
    diff.arm.stop()
    with pytest.raises(Exception, match=r".*"):
        status.wait(5)
    assert diff.arm.position == here
    assert not diff.arm.moving


def test_a_rate_that_is_none_fails_the_run_and_not_the_process(engine: RunEngine) -> None:
    diff = device(samples={"broken": lambda x: -1.0 * x})
    with pytest.raises(FailedStatus) as caught:
        engine(measure(diff, two_theta=(10, 60), step=0.02, seconds_per_point=1.0))
    assert "rate of sample" in str(caught.value.__cause__)


def test_staging_and_plain_bluesky_plans(engine: RunEngine) -> None:
    diff = device()
    documents = collect(engine, bp.count([diff], num=2))
    assert sum(name == "event" for name, _ in documents) == 2
    staged = bpp.stage_wrapper(bps.trigger_and_read([diff.point]), [diff.point])
    documents = collect(engine, bpp.run_wrapper(staged))
    event = next(d for n, d in documents if n == "event")
    assert set(event["data"]) == {"diff_point_counts", "diff_point_counting_time"}
    documents = collect(engine, bp.scan([diff.point], diff.arm, 29.0, 31.0, 11))
    assert [d["data"]["diff_arm_two_theta"] for n, d in documents if n == "event"][-1] == 31.0


def test_a_textbook_structure_through_scan_check_and_grid(engine: RunEngine) -> None:
    """From a crystal to the network's input; the strongest line is where Bragg's law puts it."""
    crystal = next(c for c in textbook() if c.name == "zinc oxide")
    lit = Radiation.anode("Cu")
    samples = {crystal.name: expected_rate(crystal, lit, peak_rate=500.0)}
    diff = device(samples=samples, radiation=lit)
    found = pattern(collect(engine, measure(diff, two_theta=(10, 90), step=0.02, seconds_per_point=2.0)))
    grid = Grid()
    projected = grid.project(check(found))
    assert projected.coverage.sum() == pytest.approx(80.0 / grid.step, abs=5)
    # PDF 36-1451: the strongest line of zinc oxide is 101 at d = 2.4759 angstrom
    strongest = grid.two_theta[int(np.argmax(projected.intensity))]
    assert strongest == pytest.approx(two_theta_of_d([2.4759], CU_KALPHA1)[0], abs=0.1)


def test_the_same_crystal_at_two_wavelengths_projects_to_the_same_lines(engine: RunEngine) -> None:
    crystal = next(c for c in textbook() if c.name == "zinc oxide")
    grid, seen = Grid(), []
    for lit, ends in ((Radiation.anode("Cu"), (15, 88)), (Radiation(0.4592), (4.5, 24))):
        diff = device(samples={"it": expected_rate(crystal, lit, peak_rate=5000.0)}, radiation=lit)
        step = 0.02 if lit.wavelength > 1.0 else 0.005
        plan = measure(diff, two_theta=ends, step=step, seconds_per_point=2.0)
        seen.append(grid.project(pattern(collect(engine, plan))))
    both = seen[0].coverage & seen[1].coverage
    assert both.sum() > 2500
    # lines narrower than one grid cell and different widths: compare what is left after a blur of 0.4 degrees
    blurred = [np.convolve(p.intensity * both, np.hanning(21), mode="same")[both] for p in seen]
    assert np.corrcoef(blurred[0], blurred[1])[0, 1] > 0.9
