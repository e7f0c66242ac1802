"""Limits, checked where a message is emitted: nothing outside leaves the plan, whoever asked for it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Mapping
from typing import Any

import numpy as np
from bluesky.preprocessors import msg_mutator
from bluesky.utils import Msg

from eg_agent.decide.limits import Costs, Limits
from eg_agent.errors import EgAgentError
from plans.devices import Diffractometer

#: Signals of a diffractometer that hold angles in degrees.
ANGLES = ("two_theta_min", "two_theta_max", "arm", "windows")


class OutsideLimits(EgAgentError):
    """A message would have left the limits; it was not emitted."""


def within(
    limits: Limits,
    diffractometer: Diffractometer,
    plan: Generator[Msg, Any, Any],
    *,
    costs: Costs | None = None,
    ranges: Mapping[Any, tuple[float, float]] | None = None,
    revisits: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> Generator[Msg, Any, Any]:
    """The same plan, whose messages to this diffractometer are checked one by one.

    - Angles (`two_theta_min`, `two_theta_max`, `arm`, `windows`) against `limits.two_theta`,
      `seconds_per_point` against `max_seconds_per_point`, `step` against `smallest_step`.
    - Other signals against `ranges`: (low, high) each, a temperature say; what is no number there
      is outside.
    - Moves of the arm in one run against `max_moves`; the dose of a sample (`costs.dose_rate` times the
      time of each trigger, before it) against `max_dose_per_sample`.
    - A run's `eg_action` against `limits.actions`; runs of a sample against 1 + `max_repeats` (a failed run
      counts); at every new run the time since the plan began against `max_total_seconds`, that spent on
      the sample against `max_seconds_per_sample`.

    revisits: samples come back: what was spent on each is added up; without it, a sample that comes again
    begins anew (a changer's position may hold another specimen by then).

    Raises OutsideLimits into the plan before the message is emitted.
    """
    check = _Check(limits, diffractometer, costs or Costs(), dict(ranges or {}), revisits, clock)
    return msg_mutator(plan, check)


class _Spent:
    """What one sample has taken so far."""

    def __init__(self) -> None:
        self.seconds, self.runs, self.dose = 0.0, 0, 0.0


class _Check:
    def __init__(
        self,
        limits: Limits,
        diffractometer: Diffractometer,
        costs: Costs,
        ranges: dict[Any, tuple[float, float]],
        revisits: bool,
        clock: Callable[[], float],
    ) -> None:
        self._limits, self._costs, self._clock = limits, costs, clock
        self._device, self._ranges, self._revisits = diffractometer, ranges, revisits
        self._began: float | None = None
        self._since = 0.0
        self._spent = _Spent()
        self._samples: dict[str, _Spent] = {}
        self._moves = 0
        self._values: dict[str, Any] = {}

    def __call__(self, msg: Msg) -> Msg:
        now = self._clock()
        if self._began is None:
            self._began = self._since = now
        self._spent.seconds += now - self._since
        self._since = now
        if msg.command == "set":
            self._set(msg)
        elif msg.command == "open_run":
            self._open_run(now, msg.kwargs)
        elif msg.command in ("trigger", "kickoff"):
            self._trigger(msg)
        return msg

    def _set(self, msg: Msg) -> None:
        device, value = self._device, msg.args[0]
        if msg.obj is device.sample:
            fresh = _Spent()
            self._spent = self._samples.setdefault(str(value), fresh) if self._revisits else fresh
            return
        for signal, (low, high) in self._ranges.items():
            if msg.obj is signal:
                self._inside(msg.obj, value, low, high, "")
        for name in ("seconds_per_point", "step", *ANGLES):
            if msg.obj is getattr(device, name, None):
                self._setting(name, msg.obj, value)

    def _setting(self, name: str, signal: Any, value: Any) -> None:
        limits = self._limits
        if name == "seconds_per_point":
            if not 0.0 < float(value) <= limits.max_seconds_per_point:
                raise OutsideLimits(
                    f"{value} s a point is not between 0 and {limits.max_seconds_per_point:g} s."
                )
        elif name == "step":
            if not limits.smallest_step <= float(value) < math.inf:
                raise OutsideLimits(f"a step of {value} deg is not at least {limits.smallest_step:g} deg.")
        else:
            self._inside(signal, value, *limits.two_theta, " deg")
            if name == "arm":
                self._moves += 1
                if limits.max_moves is not None and self._moves > limits.max_moves:
                    raise OutsideLimits(f"a run moved {self._moves} times, {limits.max_moves} are allowed.")
        self._values[name] = value

    @staticmethod
    def _inside(signal: Any, value: Any, low: float, high: float, unit: str) -> None:
        try:
            values = np.ravel(np.asarray(value, dtype=float))
        except (TypeError, ValueError):
            values = np.array([np.nan])
        if not np.all((values >= low) & (values <= high)):  # NaN is outside, too
            said = ", ".join(f"{v:g}" for v in values)
            name = getattr(signal, "name", "a signal")
            raise OutsideLimits(f"{said}{unit} on {name} leaves {low:g}-{high:g}{unit}.")

    def _trigger(self, msg: Msg) -> None:
        """Add the dose of a trigger, if it may be given."""
        most, rate = self._limits.max_dose_per_sample, self._costs.dose_rate
        if most is None or rate == 0.0:
            return
        device = self._device
        if msg.obj is device:
            exposures = 1 if self._costs.whole_trace else self._points()
        elif msg.obj is getattr(device, "point", None):
            exposures = 1
        else:
            return
        seconds = self._values.get("seconds_per_point")
        if seconds is None or exposures is None:
            raise OutsideLimits(
                "the dose is limited, but the plan has not set range, step and time before a trigger."
            )
        dose = rate * float(seconds) * exposures
        if self._spent.dose + dose > most * (1.0 + 1e-9):
            raise OutsideLimits(
                f"the sample would get a dose of {self._spent.dose + dose:g}, {most:g} are allowed."
            )
        self._spent.dose += dose

    def _points(self) -> int | None:
        """Points of a whole trace at the present settings, at most; None when they are not known."""
        known = [self._values.get(name) for name in ("two_theta_min", "two_theta_max", "step")]
        if any(value is None for value in known):
            return None
        low, high, step = (float(value) for value in known)  # type: ignore[arg-type]
        windows = np.reshape(np.asarray(self._values.get("windows", ()), dtype=float), (-1, 2))
        pairs = [(max(a, low), min(b, high)) for a, b in windows] if windows.size else [(low, high)]
        return sum(int((b - a) / step + 1e-6) + 1 for a, b in pairs if b >= a)

    def _open_run(self, now: float, md: Mapping[str, Any]) -> None:
        assert self._began is not None
        limits, spent = self._limits, self._spent
        action = md.get("eg_action")
        first = str(md.get("eg_decision_id", "")).startswith("first-")
        if action is not None and not first and action not in limits.actions:
            raise OutsideLimits(f"the action {action!r} is not allowed.")
        spent.runs += 1
        self._moves = 0
        if spent.runs > 1 + limits.max_repeats:
            raise OutsideLimits(
                f"the sample would be measured {spent.runs} times, 1 + {limits.max_repeats} allowed."
            )
        for seconds, most, what in (
            (now - self._began, limits.max_total_seconds, "plan"),
            (spent.seconds, limits.max_seconds_per_sample, "sample"),
        ):
            if seconds >= most:
                raise OutsideLimits(f"the {what} has taken {seconds:.0f} s of {most:.0f} s.")
