"""`monitor`: a temperature or time series of one sample, which notices a change of symmetry."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, Literal, Protocol

import bluesky.plan_stubs as bps

from eg_agent.decide.limits import Costs, Limits
from eg_agent.errors import BadInput
from eg_agent.values import to_dict
from plans.asking import Asks, wait_for
from plans.devices import Diffractometer, Signal
from plans.job import Job
from plans.limits import within
from plans.scan import Plan, Shape, Window

OnChange = Literal["go on", "stop", "pause", "identify"]


class Watches(Protocol):
    """What is asked about each frame (`plans.SeriesWatcher`)."""

    def ask(self, run_uid: str) -> Future[Any]:
        """A future of the monitor's `FrameReport` of a run."""
        ...


def monitor(
    diffractometer: Diffractometer,
    watcher: Watches,
    sample: str | int,
    *,
    conditions: Sequence[float] | None = None,
    controller: Signal | None = None,
    readback: Signal | None = None,
    range_of_conditions: Window | None = None,
    frames: int | None = None,
    every: float = 0.0,
    limits: Limits | None = None,
    costs: Costs | None = None,
    two_theta: Window | None = None,
    step: float = 0.02,
    seconds_per_point: float = 1.0,
    shape: Shape = "auto",
    wavelength: float | None = None,
    agent: Asks | None = None,
    on_change: OnChange = "go on",
    answer_timeout: float = 30.0,
    clock: Callable[[], float] = time.time,
    md: dict[str, Any] | None = None,
) -> Plan:
    """Measure a sample again and again, at each condition in turn or as time passes, and watch its symmetry.

    watcher: a `SeriesWatcher` that is subscribed to the RunEngine.
    conditions: values for `controller` (a temperature, a field: anything a plan can set), one a frame;
        range_of_conditions: (low, high) that is never left, whatever the list says. readback: signal that
        says what the condition is (default: the controller's own).
    frames, every: without conditions, how many frames and seconds from the start of one to the next.
    limits: as in `identify`; max_repeats is one less than the frames that may be measured (default: all).
    on_change: when the monitor raises an alarm: go on, stop the series, pause the RunEngine for a person, or
        identify the new phase: the agent decides on what to count, as in `identify`, then the series goes on.
    answer_timeout: seconds that the plan waits for the monitor, once a frame; without an answer it goes on.

    A monitor without a cell takes lines that move past each other for a change: the runs then carry this as
    `eg_monitor_caveat`, and each alarm's reason says it. Where the cell is known, prefer
    `SymmetryMonitor(MonitorSettings(kinds=("lattice",)), cell=..., group=...)`.

    Every frame's metadata: `sample`, `eg_series`, `eg_frame`, `eg_at` (the condition, or seconds since the
    beginning), `eg_limits`, `eg_monitor` (settings), `eg_false_alarm_rate`; the run after an alarm carries
    it as `eg_change`, and decisions on it carry all that those of `identify` carry.
    Returns the alarms, as dicts, in order.
    """
    number = len(conditions) if conditions is not None else frames
    if not number or number < 1:
        raise BadInput("give conditions, or frames of at least 1.")
    if conditions is not None and controller is None:
        raise BadInput("conditions need a controller: the signal that they are set on.")
    if on_change == "identify" and agent is None:
        raise BadInput('on_change="identify" needs an agent.')
    limits = limits or replace(Limits(), max_repeats=number + 20, max_seconds_per_sample=1e9)
    series = _Series(
        job=Job(
            diffractometer=diffractometer,
            agent=agent,  # type: ignore[arg-type]  # asked only with on_change="identify"
            limits=limits,
            two_theta=two_theta or limits.two_theta,
            step=step,
            seconds_per_point=seconds_per_point,
            shape=shape,
            wavelength=wavelength,
            answer_timeout=answer_timeout,
            approval_timeout=answer_timeout,
            retries=0,
            shift=uuid.uuid4().hex[:12],
            md=md or {},
        ),
        watcher=watcher,
        controller=controller,
        readback=readback,
        every=every,
        on_change=on_change,
        clock=clock,
    )
    ranges = {}
    if controller is not None and range_of_conditions is not None:
        ranges[controller] = range_of_conditions
    plan = series.plan(sample, conditions, number)
    return (yield from within(limits, diffractometer, plan, costs=costs, ranges=ranges))


class _Series:
    """One call of `monitor`."""

    def __init__(
        self,
        *,
        job: Job,
        watcher: Watches,
        controller: Signal | None,
        readback: Signal | None,
        every: float,
        on_change: OnChange,
        clock: Callable[[], float],
    ) -> None:
        self.job, self.watcher, self.on_change = job, watcher, on_change
        self.controller, self.readback, self.every, self.clock = controller, readback, every, clock
        self.alarms: list[dict[str, Any]] = []
        self._told: dict[str, Any] = {}

    def plan(self, sample: str | int, conditions: Sequence[float] | None, number: int) -> Plan:
        yield from bps.mv(self.job.diffractometer.sample, sample)
        lit = yield from self.job.lit()
        began = self.clock()
        for k in range(number):
            if conditions is not None:
                yield from bps.mv(self.controller, float(conditions[k]))
            elif k > 0:
                yield from bps.sleep(max(0.0, began + k * self.every - self.clock()))
            at = yield from self._at(conditions, k, began)
            context = self._context(sample, lit, k, at, number)
            first = replace(
                self.job.first(str(sample), k),
                decision_id=f"first-{self.job.shift}-frame-{k}",
                reason=f"Frame {k} of a series.",
            )
            uid = yield from self.job.measure(first, context, whole=True)
            self._told = {}
            if uid is None:  # a dry run
                continue
            report = yield from wait_for(self.watcher.ask(uid), self.job.answer_timeout)
            change = getattr(report, "change", None)
            if change is not None:
                self.alarms.append(to_dict(change))
                self._told = {"eg_change": self.alarms[-1]}
                ended = yield from self._changed(uid, str(sample), context)
                if ended:
                    break
        return self.alarms

    def _at(self, conditions: Sequence[float] | None, k: int, began: float) -> Plan:
        """The frame's coordinate: what the sensor says, the condition, or seconds since the beginning."""
        signal = self.readback if self.readback is not None else self.controller
        if signal is None:
            return self.clock() - began
        default = float(conditions[k]) if conditions is not None else float(k)
        value = yield from bps.rd(signal, default_value=default)
        return float(value)

    def _context(
        self, sample: str | int, lit: dict[str, Any], k: int, at: float, number: int
    ) -> dict[str, Any]:
        monitor = getattr(self.watcher, "monitor", None)
        told = getattr(monitor, "settings", None)
        watched: dict[str, Any] = {} if told is None else {"eg_monitor": to_dict(told)}
        if told is not None:
            watched["eg_false_alarm_rate"] = 1.0 / told.frames_between_false_alarms
        caveat = getattr(monitor, "caveat", "")
        if caveat:
            watched["eg_monitor_caveat"] = caveat
        return {
            **self.job.context(str(sample), number - k - 1, lit),
            **watched,
            **self._told,
            "eg_series": self.job.shift,
            "eg_frame": k,
            "eg_at": at,
        }

    def _changed(self, uid: str, sample: str, context: dict[str, Any]) -> Plan:
        """What follows an alarm; whether the series ends."""
        if self.on_change == "stop":
            return True
        if self.on_change == "pause":
            yield from bps.checkpoint()
            yield from bps.pause()
        if self.on_change == "identify":
            context = {**context, **self._told, "eg_monitor_frame": False}
            run: str | None = uid
            while run is not None:
                decision, state = yield from self.job.ask(run, sample)
                run = yield from self.job.carried_out(decision, state, context)
        return False
