"""What the simulated and the replaying diffractometer share: settings, staging, triggering, both shapes.

The names are those that `plans.devices` asks for, the data keys those that a facility's detector would
have: `<name>_two_theta` (degrees), `<name>_intensity` (counts) and `<name>_counting_time` (seconds)
for a whole trace; `<name>_arm_two_theta` and `<name>_point_counts` for a step scan.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from ophyd import Component as Cpt
from ophyd import Device, Kind, Signal
from ophyd.status import DeviceStatus, Status

from eg_agent.errors import BadInput
from eg_agent.patterns.radiation import Radiation
from simulators.signals import Arm, ReadOnly, Setting, Trace, Windows, later, number

Array = npt.NDArray[np.float64]


class SampleChanger(Signal):
    """The sample in the beam: set to a name, or to a position in the changer (1 is the first)."""

    def set(self, value: str | int, **kwargs: Any) -> Status:
        """Change the sample; done after the changer's time. Raises BadInput for a sample it does not hold."""
        device: Any = self.parent
        name = device.sample_name(value)
        status = Status(self)
        seconds = 0.0 if name == self.get() else device.change_seconds

        def change() -> None:
            self._change(name)
            device.spend(seconds)

        later(status, seconds * device.time_scale, change, threading.Event())
        return status

    def put(self, value: str | int, **kwargs: Any) -> None:
        device: Any = self.parent
        self._change(device.sample_name(value))

    def _change(self, name: str) -> None:
        Signal.put(self, name)
        device: Any = self.parent
        device.sample_changed(name)


class PointDetector(Device):
    """One count in `seconds_per_point` seconds at the arm's position."""

    counts = Cpt(ReadOnly, value=0.0, kind=Kind.hinted, units="counts")
    counting_time = Cpt(ReadOnly, value=0.0, kind=Kind.normal, units="s")

    def trigger(self) -> DeviceStatus:
        """Count; the status is done after settling and the counting time."""
        device: Any = self.parent
        return device.trigger_point(self)

    def read_configuration(self) -> Any:
        device: Any = self.parent
        return device.read_configuration()

    def describe_configuration(self) -> Any:
        device: Any = self.parent
        return device.describe_configuration()


class PowderDevice(Device):
    """A powder diffractometer that counts photons, as a detector of whole traces and point by point.

    Set `sample`, `two_theta_min`, `two_theta_max`, `step` (degrees), `seconds_per_point`, `windows`, and
    trigger; or move `arm` and trigger `point`. `time_scale` is real seconds a simulated second: 0 is
    at once (still on another thread), 1 is real time.

    Whatever it does costs simulated time, which `elapsed` (seconds, read on its own) adds up: counting;
    moving at `speed` degrees a second, to the first angle and over the gaps between windows as well;
    `overhead` seconds a trace (opening, reading out, closing); `settle` seconds a point of a step scan;
    `change_seconds` a change of the sample.
    """

    sample = Cpt(SampleChanger, value="", kind=Kind.config)
    two_theta_min = Cpt(Setting, value=5.0, kind=Kind.config, units="deg", above=0.0, high=180.0)
    two_theta_max = Cpt(Setting, value=90.0, kind=Kind.config, units="deg", above=0.0, high=180.0)
    step = Cpt(Setting, value=0.02, kind=Kind.config, units="deg", above=0.0, high=10.0)
    seconds_per_point = Cpt(Setting, value=1.0, kind=Kind.config, units="s", above=0.0)
    windows = Cpt(Windows, value=np.zeros(0), kind=Kind.omitted)

    wavelength = Cpt(ReadOnly, value=0.0, kind=Kind.config, units="angstrom")
    wavelength2 = Cpt(ReadOnly, value=0.0, kind=Kind.config, units="angstrom")
    wavelength_ratio = Cpt(ReadOnly, value=0.0, kind=Kind.config)
    radiation = Cpt(ReadOnly, value="x-ray", kind=Kind.config)
    origin = Cpt(ReadOnly, value="", kind=Kind.config)

    two_theta = Cpt(Trace, value=np.zeros(0), kind=Kind.normal, units="deg")
    intensity = Cpt(Trace, value=np.zeros(0), kind=Kind.normal, units="counts")
    counting_time = Cpt(Trace, value=np.zeros(0), kind=Kind.normal, units="s")

    elapsed = Cpt(ReadOnly, value=0.0, kind=Kind.omitted, units="s")

    # read on their own in a step scan, and no part of a whole trace
    arm = Cpt(Arm, kind=Kind.omitted)
    point = Cpt(PointDetector, kind=Kind.omitted)

    def __init__(
        self,
        *,
        name: str,
        samples: Sequence[str],
        limits: tuple[float, float],
        seed: int,
        time_scale: float,
        change_seconds: float,
        speed: float = 10.0,
        overhead: float = 2.0,
        settle: float = 0.1,
        **kwargs: Any,
    ) -> None:
        if not samples:
            raise BadInput(f"{name} has no samples: give at least one.")
        if not 0.0 < limits[0] < limits[1] < 180.0:
            raise BadInput(f"limits {limits} are not a range inside 0-180 degrees of 2-theta.")
        if not (np.isfinite(time_scale) and time_scale >= 0.0):
            raise BadInput(f"time_scale {time_scale:g} must be 0 (at once) or more.")
        if not (speed > 0.0 and min(overhead, settle, change_seconds) >= 0.0):
            raise BadInput(
                f"{name}: speed {speed:g} must be above 0 degrees a second, overhead {overhead:g}, settle "
                f"{settle:g} and change_seconds {change_seconds:g} not negative."
            )
        super().__init__(name=name, **kwargs)
        self.samples = tuple(samples)
        self.limits = (float(limits[0]), float(limits[1]))
        self.time_scale = float(time_scale)
        self.change_seconds = float(change_seconds)
        self.overhead, self.settle = float(overhead), float(settle)
        self._seed = seed
        self._triggers = 0
        self._halt = threading.Event()
        self._lock = threading.Lock()
        self.arm.name = f"{name}_arm_two_theta"
        self.arm.set_limits(*self.limits)
        self.arm.time_scale = self.time_scale
        self.arm.speed = float(speed)
        self.arm.spent = self.spend
        self._at = self.limits[0]
        self.two_theta_min.put(self.limits[0])
        self.two_theta_max.put(self.limits[1])
        self.sample.put(self.samples[0])

    # what a diffractometer of each kind has to say

    def sample_changed(self, name: str) -> None:
        """Told after the changer has put another sample into the beam."""

    def angles(self) -> Array:
        """[n] degrees that a trace is asked for, from range, step and windows."""
        low, high, step = self.range()
        number = int(np.floor((high - low) / step + 1e-6)) + 1
        # microdegrees keep repeated scans on equal angles
        return self.inside_windows(np.round(low + step * np.arange(number, dtype=np.float64), 6))

    def times(self, two_theta: Array, seconds: float) -> Array:
        """[n] seconds that will be counted at angles [n]; raises BadInput when it cannot be."""
        return np.full(two_theta.size, seconds)

    def count(self, two_theta: Array, seconds: float, rng: np.random.Generator) -> tuple[Array, Array, Array]:
        """(angles [k], counts [k], seconds [k]) of what is counted when `two_theta` [n] is asked for."""
        raise NotImplementedError

    # shared

    def spend(self, seconds: float) -> None:
        """Add simulated seconds to `elapsed`."""
        with self._lock:
            self.elapsed.state(number(self.elapsed) + seconds)

    def trace_seconds(self, two_theta: Array, seconds: float) -> float:
        """Simulated seconds of a trace at angles [n], from where the last one ended."""
        travel = abs(float(two_theta[0]) - self._at) + float(two_theta[-1] - two_theta[0])
        counted = float(self.times(two_theta, seconds).sum())
        return self.overhead + travel / self.arm.speed + counted

    def light(self, radiation: Radiation) -> None:
        """State the radiation in the configuration."""
        self.wavelength.state(radiation.wavelength)
        self.wavelength2.state(radiation.wavelength2 or 0.0)
        self.wavelength_ratio.state(radiation.ratio if radiation.wavelength2 else 0.0)
        self.radiation.state(radiation.kind)

    def sample_name(self, value: str | int) -> str:
        """The name of a sample given by name or by position (1 is the first); raises BadInput."""
        if isinstance(value, int | np.integer) and not isinstance(value, bool):
            if 1 <= value <= len(self.samples):
                return self.samples[int(value) - 1]
            raise BadInput(f"{self.name} has positions 1 to {len(self.samples)}, not {value}.")
        if value in self.samples:
            return str(value)
        raise BadInput(f"{self.name} holds no sample {value!r}: it has {', '.join(self.samples)}.")

    def range(self) -> tuple[float, float, float]:
        """(low, high, step) in degrees; raises BadInput when they are no range inside the limits."""
        low, high, step = number(self.two_theta_min), number(self.two_theta_max), number(self.step)
        if not low < high:
            raise BadInput(f"{self.name}: two_theta_min {low:g} is not below two_theta_max {high:g}.")
        if low < self.limits[0] - 1e-9 or high > self.limits[1] + 1e-9:
            raise BadInput(
                f"{self.name} cannot go to {low:g}-{high:g} degrees: its limits are "
                f"{self.limits[0]:g}-{self.limits[1]:g}."
            )
        return low, high, step

    def inside_windows(self, angles: Array) -> Array:
        """The angles [k] in the windows, all when there are none; raises BadInput when none is inside."""
        pairs = self.windows.pairs()
        if pairs:
            keep = np.zeros(angles.size, dtype=bool)
            for low, high in pairs:
                keep |= (angles >= low - 1e-9) & (angles <= high + 1e-9)
            angles = angles[keep]
        if angles.size == 0:
            raise BadInput(f"{self.name}: no point of the range lies in the windows.")
        return angles

    def trigger(self) -> DeviceStatus:
        """Count a whole trace; the status is done after the time of all points, moves and overhead.

        Raises BadInput for settings that cannot be measured. Nothing is counted when it is stopped.
        """
        angles = self.angles()
        seconds, rng = number(self.seconds_per_point), self._next_rng()

        def finish() -> None:
            measured = self.count(angles, seconds, rng)
            traces = (self.two_theta, self.intensity, self.counting_time)
            for signal, values in zip(traces, measured):
                signal.state(values)
            self._at = float(angles[-1])
            self.spend(duration)

        duration = self.trace_seconds(angles, seconds)
        return self._counting(DeviceStatus(self), duration, finish)

    def trigger_point(self, point: PointDetector) -> DeviceStatus:
        """Count one point at the arm's position."""
        position: Any = self.arm.position
        where = np.array([float(position)])
        seconds, rng = number(self.seconds_per_point), self._next_rng()

        def finish() -> None:
            _, counts, times = self.count(where, seconds, rng)
            point.counts.state(float(counts[0]))
            point.counting_time.state(float(times[0]))
            self.spend(duration)

        duration = self.settle + float(self.times(where, seconds).sum())
        return self._counting(DeviceStatus(point), duration, finish)

    def stop(self, *, success: bool = False) -> None:
        """Stop counting and moving; what is under way fails."""
        self._halt.set()
        super().stop(success=success)

    def _counting(self, status: DeviceStatus, seconds: float, finish: Callable[[], None]) -> DeviceStatus:
        self._halt = threading.Event()
        later(status, seconds * self.time_scale, finish, self._halt)
        return status

    def _next_rng(self) -> np.random.Generator:
        # the same triggers in the same order give the same photons
        with self._lock:
            self._triggers += 1
            return np.random.default_rng([self._seed, self._triggers])
