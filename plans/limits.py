"""Limits, checked where a message is emitted: nothing outside leaves the plan, whoever asked for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
from bluesky.preprocessors import msg_mutator
from bluesky.utils import Msg

from eg_agent.decide.limits import Limits
from eg_agent.errors import EgAgentError
from plans.devices import Diffractometer


class OutsideLimits(EgAgentError):
    """A message would have left the limits; it was not emitted."""


def within(
    limits: Limits,
    diffractometer: Diffractometer,
    plan: Generator[Msg, Any, Any],
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Generator[Msg, Any, Any]:
    """The same plan, whose messages to this diffractometer are checked one by one.

    Angles (`two_theta_min`, `two_theta_max`, `arm`, `windows`) against `limits.two_theta`,
    `seconds_per_point` against `max_seconds_per_point`, runs between two moves of `sample` against
    1 + `max_repeats` (a failed run counts), and at every new run the time since the plan began
    against `max_total_seconds`, since the sample came against `max_seconds_per_sample`. Raises
    OutsideLimits into the plan before the message is emitted.
    """
    check = _Check(limits, diffractometer, clock)
    return msg_mutator(plan, check)


class _Check:
    def __init__(self, limits: Limits, diffractometer: Diffractometer, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._device = diffractometer
        self._began: float | None = None
        self._sample_began: float | None = None
        self._runs = 0

    def __call__(self, msg: Msg) -> Msg:
        now = self._clock()
        if self._began is None or self._sample_began is None:
            self._began = self._sample_began = now
        if msg.command == "set":
            self._set(msg, now)
        elif msg.command == "open_run":
            self._open_run(now)
        return msg

    def _set(self, msg: Msg, now: float) -> None:
        device, value = self._device, msg.args[0]
        if msg.obj is device.sample:
            self._sample_began, self._runs = now, 0
        elif msg.obj is device.seconds_per_point:
            if not 0.0 < float(value) <= self._limits.max_seconds_per_point:
                raise OutsideLimits(
                    f"{value} s a point is not between 0 and {self._limits.max_seconds_per_point:g} s."
                )
        elif msg.obj is device.step:
            if not float(value) > 0.0:
                raise OutsideLimits(f"a step of {value} degrees is not above 0.")
        elif any(
            msg.obj is getattr(device, name, device)
            for name in ("two_theta_min", "two_theta_max", "arm", "windows")
        ):
            low, high = self._limits.two_theta
            angles = np.ravel(np.asarray(value, dtype=float))
            if not np.all((angles >= low) & (angles <= high)):  # NaN is outside, too
                said = ", ".join(f"{angle:g}" for angle in angles)
                raise OutsideLimits(f"{said} deg on {msg.obj.name} leaves {low:g}-{high:g} deg.")

    def _open_run(self, now: float) -> None:
        assert self._began is not None
        assert self._sample_began is not None
        limits = self._limits
        self._runs += 1
        if self._runs > 1 + limits.max_repeats:
            raise OutsideLimits(
                f"the sample would be measured {self._runs} times, 1 + {limits.max_repeats} allowed."
            )
        for spent, most, what in (
            (now - self._began, limits.max_total_seconds, "plan"),
            (now - self._sample_began, limits.max_seconds_per_sample, "sample"),
        ):
            if spent >= most:
                raise OutsideLimits(f"the {what} has taken {spent:.0f} s of {most:.0f} s.")
