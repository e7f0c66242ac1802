"""`monitor` with a real RunEngine, real devices and the real monitor: a lattice that splits on cooling."""

from __future__ import annotations

import numpy as np
import pytest
from bluesky.simulators import summarize_plan
from bluesky.utils import RunEngineInterrupted

from eg_agent.decide import Limits
from eg_agent.monitor import MonitorSettings, SymmetryMonitor
from plans import OutsideLimits, SeriesWatcher, monitor

SCAN = {"two_theta": (15.0, 55.0), "step": 0.05, "seconds_per_point": 1.0}
CENTRES = (20.0, 24.0, 28.5, 32.0, 37.0, 41.0, 45.0, 50.0)
TRANSITION = 150.0


def rate(two_theta, kelvin):
    """Counts a second: lines that move with temperature, every second of them split below the transition."""
    split = 0.25 if kelvin < TRANSITION else 0.0
    total = np.full(two_theta.shape, 30.0)
    for i, centre in enumerate(CENTRES):
        at = centre * (1.0 - 1e-6 * (kelvin - 300.0))
        for part in (-1.0, 1.0):
            apart = part * split * (i % 2) * centre / 50.0
            total += 2000.0 * np.exp(-0.5 * ((two_theta - at - apart) / 0.08) ** 2)
    return total


@pytest.fixture
def furnace():
    """A diffractometer whose sample is as hot as its `temperature` says."""
    from beamline import Diffractometer
    from ophyd import Component as Cpt
    from ophyd import Kind, Signal

    class Furnace(Diffractometer):
        temperature = Cpt(Signal, value=300.0, kind=Kind.config)

        def count(self, angles):
            rng = np.random.default_rng(int(1e3 * self.temperature.get()))
            seconds = float(self.seconds_per_point.get())
            return rng.poisson(rate(angles, float(self.temperature.get())) * seconds).astype(np.int64)

    return Furnace(name="diff")


@pytest.fixture
def starts(engine):
    documents: list[dict] = []
    engine.subscribe(lambda name, doc: documents.append(doc), "start")
    return documents


@pytest.fixture
def watcher(engine):
    watching = SeriesWatcher(SymmetryMonitor(MonitorSettings(frames_between_false_alarms=500.0)))
    engine.subscribe(watching)
    yield watching
    watching.close()


COOLING = [float(t) for t in np.linspace(300.0, 100.0, 9)]


def test_an_alarm_where_the_lines_split_and_nowhere_else(engine, furnace, watcher, starts):
    engine(
        monitor(
            furnace, watcher, "bright", conditions=COOLING, controller=furnace.temperature,
            range_of_conditions=(80.0, 320.0), answer_timeout=60.0, **SCAN,
        )
    )  # fmt: skip
    assert [s["eg_at"] for s in starts] == COOLING
    assert [s["eg_frame"] for s in starts] == list(range(9))
    first = next(t for t in COOLING if t < TRANSITION)
    (change,) = watcher.monitor.changes
    assert change.between[1] == first
    assert change.false_alarm_rate == pytest.approx(1 / 500)
    told = [s for s in starts if "eg_change" in s]
    assert len(told) == 1, "the run after the alarm says so"
    assert told[0]["eg_change"]["since"] == COOLING.index(first)
    assert {s["eg_series"] for s in starts} == {starts[0]["eg_series"]}
    assert starts[0]["eg_monitor"]["windows"] == [1, 2, 4, 8]
    assert "not on the cell" in starts[0]["eg_monitor_caveat"], "without a cell the runs say what that means"
    assert starts[0]["eg_monitor_caveat"] in change.reason


def test_stopping_and_pausing_at_an_alarm(engine, furnace, watcher, starts):
    scan = {**SCAN, "conditions": COOLING, "controller": furnace.temperature, "answer_timeout": 60.0}
    engine(monitor(furnace, watcher, "bright", on_change="stop", **scan))
    assert starts[-1]["eg_at"] < TRANSITION
    assert len(starts) < len(COOLING)


def test_a_person_is_waited_for(engine, furnace, watcher, starts):
    scan = {**SCAN, "conditions": COOLING, "controller": furnace.temperature, "answer_timeout": 60.0}
    with pytest.raises(RunEngineInterrupted):
        engine(monitor(furnace, watcher, "bright", on_change="pause", **scan))
    seen = len(starts)
    engine.resume()
    assert len(starts) == len(COOLING) > seen


def test_a_temperature_outside_its_range_is_never_set(engine, furnace, watcher, starts):
    with pytest.raises(OutsideLimits, match="leaves 80-320"):
        engine(
            monitor(
                furnace, watcher, "bright", conditions=[300.0, 900.0], controller=furnace.temperature,
                range_of_conditions=(80.0, 320.0), **SCAN,
            )
        )  # fmt: skip
    assert len(starts) == 1
    assert furnace.temperature.get() == 300.0


def test_a_time_series_and_its_limits(engine, furnace, watcher, starts):
    engine(monitor(furnace, watcher, "bright", frames=2, every=0.05, **SCAN))
    assert starts[1]["eg_at"] >= 0.05
    with pytest.raises(OutsideLimits, match="3 times"):
        engine(monitor(furnace, watcher, "bright", frames=5, limits=Limits(max_repeats=1), **SCAN))


def test_a_dry_run(furnace, watcher, capsys):
    scan = {**SCAN, "conditions": [300.0, 200.0], "controller": furnace.temperature}
    summarize_plan(monitor(furnace, watcher, "bright", **scan))
    assert capsys.readouterr().out.count("Open Run") == 2
    assert furnace.triggered == 0


def test_a_frame_that_cannot_be_read_does_not_end_the_series(engine, furnace, watcher, starts):
    broken = furnace.count
    furnace.count = lambda angles: broken(angles) * (0 if len(starts) == 2 else 1)
    engine(monitor(furnace, watcher, "bright", frames=4, answer_timeout=60.0, **SCAN))
    assert len(starts) == 4
    assert watcher.monitor.frames == 3
