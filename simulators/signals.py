"""Signals and the positioner of the simulated diffractometers: with units, limits, and times of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from ophyd import Signal
from ophyd.positioner import SoftPositioner
from ophyd.status import DeviceStatus, Status

from eg_agent.errors import BadInput


def later(
    status: DeviceStatus | Status, seconds: float, work: Callable[[], None], stop: threading.Event
) -> None:
    """Do `work` after `seconds` of real time on a thread of its own, and finish the status with it.

    With `stop` set before that, the status fails; with an error in `work`, it carries the error.
    """

    def run() -> None:
        try:
            if stop.wait(seconds) or stop.is_set():
                raise RuntimeError("stopped before it was done")
            work()
        except Exception as error:
            status.set_exception(error)
        else:
            status.set_finished()

    threading.Thread(target=run, name="simulated-device", daemon=True).start()


def number(signal: Any) -> float:
    """The value of a signal as a float."""
    return float(signal.get())


class Setting(Signal):
    """A number that a person or a plan sets: units in its description, refused outside its limits."""

    def __init__(
        self,
        *args: Any,
        units: str = "",
        low: float | None = None,
        high: float | None = None,
        above: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._units, self._low, self._high, self._above = units, low, high, above

    def set(self, value: Any, **kwargs: Any) -> Status:
        """Set at once; the status is done. Raises BadInput for a value outside the limits."""
        self.check_value(value)
        self.put(value)
        status = Status(self)
        status.set_finished()
        return status

    def check_value(self, value: Any, **kwargs: Any) -> None:
        number = float(value)
        too_low = self._low is not None and number < self._low
        too_low = too_low or (self._above is not None and number <= self._above)
        if not np.isfinite(number) or too_low or (self._high is not None and number > self._high):
            bound = f"above {self._above:g}" if self._above is not None else f"at least {self._low}"
            upper = "" if self._high is None else f" and at most {self._high:g}"
            raise BadInput(f"{self.name} = {number:g} {self._units} is refused: it must be {bound}{upper}.")

    def put(self, value: Any, **kwargs: Any) -> None:
        super().put(float(value), **kwargs)

    def describe(self) -> dict[str, Any]:
        described = super().describe()
        described[self.name].update(units=self._units, dtype="number")
        return described


class ReadOnly(Signal):
    """A number or a text that the device states and nobody sets."""

    def __init__(self, *args: Any, units: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._units = units
        self._metadata["write_access"] = False

    def state(self, value: Any) -> None:
        """Change what the device states (for the device alone)."""
        Signal.put(self, value, force=True)

    def put(self, value: Any, *, force: bool = False, **kwargs: Any) -> None:
        if not force:
            raise BadInput(f"{self.name} is stated by the device and cannot be set.")
        super().put(value, force=True, **kwargs)

    def set(self, value: Any, **kwargs: Any) -> Status:
        raise BadInput(f"{self.name} is stated by the device and cannot be set.")

    def describe(self) -> dict[str, Any]:
        described = super().describe()
        if self._units:
            described[self.name]["units"] = self._units
        return described


class Trace(ReadOnly):
    """A 1-D array of float64, described with its length."""

    def describe(self) -> dict[str, Any]:
        described = super().describe()
        values: Any = self.get()
        length = int(np.size(values))
        described[self.name].update(dtype="array", shape=[length], dtype_numpy="<f8")
        return described

    def state(self, value: npt.ArrayLike) -> None:
        super().state(np.ascontiguousarray(value, dtype="<f8"))


class Windows(Signal):
    """Windows to count in, a flat array (low, high, low, high, ...) in degrees; empty for everything."""

    def set(self, value: npt.ArrayLike, **kwargs: Any) -> Status:
        """Set at once; the status is done. Raises BadInput when the numbers are not pairs (low, high)."""
        self.put(value)
        status = Status(self)
        status.set_finished()
        return status

    def put(self, value: npt.ArrayLike, **kwargs: Any) -> None:
        flat = np.asarray(value, dtype=np.float64).ravel()
        if flat.size % 2 or not np.all(np.isfinite(flat)) or np.any(flat[::2] >= flat[1::2]):
            raise BadInput(f"{self.name} must be pairs low, high in degrees, with low below high.")
        super().put(flat, **kwargs)

    def pairs(self) -> list[tuple[float, float]]:
        flat = np.asarray(self.get(), dtype=np.float64)
        return [(float(a), float(b)) for a, b in zip(flat[::2], flat[1::2])]


class Arm(SoftPositioner):
    """The 2-theta arm: moves at a speed (degrees a second of simulated time), inside its limits.

    A position outside raises ophyd's LimitError; `stop` leaves it where it is. `snap` gives the angle
    the arm really takes for one that is asked for, `spent` is told the simulated seconds of a move.
    """

    def __init__(self, *args: Any, speed: float = 10.0, **kwargs: Any) -> None:
        super().__init__(*args, egu="deg", source="SIM:arm", **kwargs)
        self.speed = speed
        self.time_scale = 0.0
        self.snap: Callable[[float], float] = float
        self.spent: Callable[[float], None] = lambda seconds: None
        self._halt = threading.Event()

    def set_limits(self, low: float, high: float) -> None:
        """Soft limits in degrees; an arm outside them is put at the low one."""
        self._limits = (float(low), float(high))
        if self.position is None or not low <= self.position <= high:
            self._set_position(float(low))

    def _setup_move(self, position: float, status: Any) -> None:
        self._run_subs(sub_type=self.SUB_START)
        self._started_moving = self._moving = True
        self._halt = halt = threading.Event()
        target = self.snap(float(position))
        here: Any = self.position
        seconds = abs(target - float(here)) / self.speed

        def move() -> None:
            stopped = halt.wait(seconds * self.time_scale) or halt.is_set()
            if not stopped:
                self._set_position(target)
                self.spent(seconds)
            self._moving = False
            if not stopped:  # a stop has told the status already
                self._done_moving()

        threading.Thread(target=move, name="simulated-arm", daemon=True).start()

    def move(
        self, position: float, wait: bool = False, timeout: float | None = None, moved_cb: Any = None
    ) -> Any:
        return super().move(position, wait=wait, timeout=timeout, moved_cb=moved_cb)

    def stop(self, *, success: bool = False) -> None:
        was_moving, self._moving = self._moving, False
        self._halt.set()
        if was_moving:
            self._done_moving(success=success)
