"""Both shapes of measurement, from real Tiled and from the documents, ophyd and ophyd-async."""

from __future__ import annotations

import bluesky.plans as bp
import numpy as np
import pytest
from bluesky.callbacks.tiled_writer import TiledWriter
from ophyd import Component as Cpt
from ophyd import Device, Signal
from ophyd.sim import SynAxis
from tiled.client import from_uri

from eg_agent.errors import BadInput, BadPattern
from eg_agent.records import DataKeys, NotAPattern, RunDocuments, pattern_of, read_pattern
from eg_agent.records.reader import _column
from plans import step_scan, trace_scan


@pytest.fixture
def measured(engine, tiled_uri):
    """Run a plan into Tiled by bluesky's own writer; returns the run's client and its documents."""
    client = from_uri(tiled_uri)

    def run(plan, **md):
        documents: list = []
        tokens = [
            engine.subscribe(TiledWriter(client, batch_size=10_000)),
            engine.subscribe(lambda name, doc: documents.append((name, doc))),
        ]
        (uid,) = engine(plan, **md)
        for token in tokens:
            engine.unsubscribe(token)
        collected = RunDocuments()
        for name, doc in documents:
            collected.add(name, doc)
        return client[uid], collected.data()

    return run


def same(first, second):
    assert first.uid == second.uid
    np.testing.assert_array_equal(first.two_theta, second.two_theta)
    np.testing.assert_array_equal(first.intensity, second.intensity)
    assert first.radiation == second.radiation
    assert first.raw_counts == second.raw_counts
    if first.counting_time is None or second.counting_time is None:
        assert first.counting_time is second.counting_time
    else:
        np.testing.assert_array_equal(first.counting_time, second.counting_time)


def test_step_scan_and_whole_trace_are_the_same_pattern(measured):
    from beamline import Diffractometer

    device = Diffractometer(name="diff", seed=3)
    settings = {"two_theta": (10.0, 40.0), "step": 0.1, "seconds_per_point": 2.0}
    trace_run, trace_documents = measured(trace_scan(device, **settings, md={"sample": "bright"}))
    step_run, step_documents = measured(
        step_scan(device, **settings, md={"sample": "bright", "wavelength": 1.540593})
    )
    trace = read_pattern(trace_run)
    same(trace, pattern_of(trace_documents))
    step = read_pattern(step_run)
    same(step, pattern_of(step_documents))
    same(trace, step)
    assert len(trace) == 301
    assert trace.two_theta.dtype == np.float64
    assert trace.raw_counts
    assert trace.source.sample == "bright"
    np.testing.assert_array_equal(trace.counting_time, 2.0)
    expected = np.array(device.intensity.get(), dtype=float)
    np.testing.assert_array_equal(trace.intensity, expected)


def test_several_whole_traces_are_added(measured):
    from beamline import TraceDetector

    run, _ = measured(bp.count([TraceDetector(name="det", n=501)], num=3))
    rows = run["primary"]["det_intensity"].read()
    assert rows.shape == (3, 501)
    pattern = read_pattern(run)
    np.testing.assert_array_equal(pattern.intensity, rows.sum(axis=0))
    np.testing.assert_array_equal(pattern.counting_time, 3.0)


def test_somebodys_step_scan(measured):
    from beamline import PointDetector

    tth, det = SynAxis(name="tth"), PointDetector(name="det")
    det.motor = tth
    run, documents = measured(bp.scan([det], tth, 30, 10, 201), wavelength=[1.540593, 1.544427])
    pattern = read_pattern(run)
    same(pattern, pattern_of(documents))
    assert np.all(np.diff(pattern.two_theta) > 0), "scanned downwards, sorted upwards"
    assert pattern.radiation.wavelengths == (1.540593, 1.544427)
    assert pattern.counting_time is None
    assert pattern.raw_counts


def test_ophyd_async_keys_have_a_hyphen(measured):
    from ophyd_async.core import Array1D, AsyncStatus, StandardReadable, init_devices, soft_signal_rw
    from ophyd_async.core import StandardReadableFormat as Format

    class Async(StandardReadable):
        def __init__(self, name: str = "") -> None:
            with self.add_children_as_readables():
                self.two_theta = soft_signal_rw(Array1D[np.float64], np.linspace(5, 50, 451))
                self.intensity = soft_signal_rw(Array1D[np.float64], np.zeros(451))
            with self.add_children_as_readables(Format.CONFIG_SIGNAL):
                self.wavelength = soft_signal_rw(float, 0.04592, units="nm")
            super().__init__(name)

        @AsyncStatus.wrap
        async def trigger(self) -> None:
            await self.intensity.set(np.arange(451.0))

    async def make() -> Async:
        async with init_devices():
            diff = Async(name="diff")
        return diff

    from bluesky.run_engine import call_in_bluesky_event_loop

    device = call_in_bluesky_event_loop(make())
    run, documents = measured(bp.count([device]))
    assert "diff-intensity" in run["primary"].metadata["data_keys"]
    pattern = read_pattern(run)
    same(pattern, pattern_of(documents))
    np.testing.assert_array_equal(pattern.intensity, np.arange(451.0))
    assert pattern.radiation.wavelength == pytest.approx(0.4592)


class Odd(Device):
    """Data keys that say nothing, an axis in the configuration, a table beside the trace."""

    q1 = Cpt(Signal, value=np.linspace(10, 20, 101), kind="config")
    y1 = Cpt(Signal, value=np.arange(101.0), kind="normal")
    y2 = Cpt(Signal, value=np.ones(101), kind="normal")


def test_keys_can_be_named_and_the_axis_may_be_configuration(measured):
    device = Odd(name="odd")
    run, documents = measured(bp.count([device], num=2), wavelength=1.0, seconds_per_point=5)
    with pytest.raises(NotAPattern, match="odd_y1"):
        read_pattern(run)
    keys = DataKeys(two_theta="odd_q1", intensity="odd_y1")
    pattern = read_pattern(run, keys=keys)
    same(pattern, pattern_of(documents, keys=keys))
    np.testing.assert_array_equal(pattern.intensity, 2 * np.arange(101.0))
    np.testing.assert_array_equal(pattern.counting_time, 10.0)
    with pytest.raises(NotAPattern, match="several keys"):
        read_pattern(run, keys=DataKeys(two_theta="odd_q1"))


def test_other_scans_are_no_patterns(measured):
    from ophyd.sim import det, motor

    run, _ = measured(bp.scan([det], motor, 0, 1, 3), wavelength=1.0)
    with pytest.raises(NotAPattern, match="no 2-theta"):
        read_pattern(run)


def test_a_missing_wavelength_is_refused(measured):
    from beamline import PointDetector

    tth, det = SynAxis(name="tth"), PointDetector(name="det")
    det.motor = tth
    run, _ = measured(bp.scan([det], tth, 10, 30, 21))
    with pytest.raises(BadInput, match=r"RE\.md\['wavelength'\]"):
        read_pattern(run)
    assert read_pattern(run, radiation=0.7).radiation.wavelength == 0.7


@pytest.mark.parametrize("wavelength", ["1.54 A", [1.0, 2.0, 3.0], {"anode": "Cu"}, -1.0])
def test_an_unreadable_wavelength_is_refused(wavelength):
    from eg_agent.records import RunData
    from eg_agent.records.reader import radiation_of

    with pytest.raises(BadInput, match="wavelength"):
        radiation_of(RunData({"uid": "x", "wavelength": wavelength}, {}, "primary", {}))


def test_truncated_strings_are_never_taken_for_data():
    """What Tiled gives for a whole-table read: the reader must not accept it from anywhere."""

    class Column:
        def __init__(self, value):
            self.value = value

        def read(self):
            return self.value

    description = {"dtype": "array", "shape": [4096]}
    text = np.array(["[5.0 5.02 5.04 ... 89.98]"])
    with pytest.raises(BadPattern, match="not as numbers"):
        _column({"det": Column(text)}, "det", description, "uid")
    with pytest.raises(BadPattern, match="shape"):
        _column({"det": Column(np.zeros((2, 100)))}, "det", description, "uid")
