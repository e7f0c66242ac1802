"""Measuring one pattern: as a whole trace or point by point, everywhere or in windows."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, Literal

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import numpy as np
import numpy.typing as npt
from bluesky.utils import Msg

from eg_agent.errors import BadInput
from plans.devices import Diffractometer, StepDiffractometer, TraceDiffractometer

Window = tuple[float, float]
Shape = Literal["auto", "trace", "step"]
Plan = Generator[Msg, Any, Any]


def measure(
    diffractometer: Diffractometer,
    *,
    two_theta: Window,
    step: float,
    seconds_per_point: float,
    windows: Sequence[Window] = (),
    shape: Shape = "auto",
    md: dict[str, Any] | None = None,
) -> Plan:
    """One run with one pattern, in the shape the diffractometer has (whole trace, where it has both).

    two_theta: (low, high), step: degrees; seconds_per_point: seconds; windows: count only there.
    Returns the run's uid (None in a dry run). Raises BadInput when the device has not that shape.
    """
    if shape == "auto":
        shape = "trace" if isinstance(diffractometer, TraceDiffractometer) else "step"
    scan = trace_scan if shape == "trace" else step_scan
    wanted = TraceDiffractometer if shape == "trace" else StepDiffractometer
    if not isinstance(diffractometer, wanted):
        raise BadInput(
            f"{getattr(diffractometer, 'name', diffractometer)} cannot measure as a {shape} scan: "
            "see plans.devices for what it must offer."
        )
    return (
        yield from scan(
            diffractometer,  # type: ignore[arg-type]
            two_theta=two_theta,
            step=step,
            seconds_per_point=seconds_per_point,
            windows=windows,
            md=md,
        )
    )


def trace_scan(
    diffractometer: TraceDiffractometer,
    *,
    two_theta: Window,
    step: float,
    seconds_per_point: float,
    windows: Sequence[Window] = (),
    md: dict[str, Any] | None = None,
) -> Plan:
    """One event that holds a whole pattern; arguments as in `measure`.

    A device without a `windows` signal measures from the lowest window to the highest.
    """
    has_windows = getattr(diffractometer, "windows", None) is not None
    if windows and not has_windows:
        two_theta = (min(low for low, _ in windows), max(high for _, high in windows))
    low, high = _range(two_theta)
    settings = [
        diffractometer.two_theta_min,
        low,
        diffractometer.two_theta_max,
        high,
        diffractometer.step,
        step,
        diffractometer.seconds_per_point,
        seconds_per_point,
    ]
    if has_windows:
        settings += [diffractometer.windows, np.array(windows, dtype=float).ravel()]  # type: ignore[attr-defined]
    metadata = {
        "plan_name": "trace_scan",
        "detectors": [diffractometer.name],
        "num_points": 1,
        "seconds_per_point": seconds_per_point,
        **(md or {}),
    }

    def inner() -> Plan:
        # The settings are moved inside the run's checkpoint, so that a pause and resume repeats them.
        yield from bps.checkpoint()
        yield from bps.mv(*settings)
        yield from bps.trigger_and_read([diffractometer])

    def staged() -> Plan:
        return (yield from bpp.run_wrapper(inner(), md=metadata))

    return (yield from bpp.stage_wrapper(staged(), [diffractometer]))


def step_scan(
    diffractometer: StepDiffractometer,
    *,
    two_theta: Window,
    step: float,
    seconds_per_point: float,
    windows: Sequence[Window] = (),
    md: dict[str, Any] | None = None,
) -> Plan:
    """One event a point; arguments as in `measure`. A pause or an abort is honoured at every point."""
    angles = positions(two_theta, step, windows)
    arm, point = diffractometer.arm, diffractometer.point
    fields = [_field(arm)]
    metadata = {
        "plan_name": "step_scan",
        "detectors": [point.name],
        "motors": [arm.name],
        "num_points": len(angles),
        "seconds_per_point": seconds_per_point,
        "hints": {"dimensions": [(fields, "primary")]},
        "eg_keys": {"two_theta": fields[0], "intensity": _field(point)},
        **(md or {}),
    }

    def inner() -> Plan:
        for angle in angles:
            yield from bps.checkpoint()
            yield from bps.mv(arm, float(angle))
            yield from bps.trigger_and_read([point, arm])

    def staged() -> Plan:
        yield from bps.mv(diffractometer.seconds_per_point, seconds_per_point)
        return (yield from bpp.run_wrapper(inner(), md=metadata))

    return (yield from bpp.stage_wrapper(staged(), [point]))


def _field(device: Any) -> str:
    """The data key that a device hints at, else its name."""
    fields = list(getattr(device, "hints", {}).get("fields", []))
    return fields[0] if fields else device.name


def positions(two_theta: Window, step: float, windows: Sequence[Window] = ()) -> npt.NDArray[np.float64]:
    """[n] degrees: low + i * step inside the range, and inside the windows when there are any.

    Windows keep to the same grid, so that what is counted there can be added to a whole scan.
    """
    low, high = _range(two_theta)
    if not 0.0 < step <= high - low:
        raise BadInput(f"a step of {step:g} deg does not fit into {low:g}-{high:g} deg.")
    # Rounding to a microdegree keeps repeated scans on equal angles; no goniometer resolves it.
    number = int(np.floor((high - low) / step + 1e-6)) + 1
    angles: npt.NDArray[np.float64] = np.round(low + step * np.arange(number, dtype=np.float64), 6)
    if not windows:
        return angles
    inside = np.zeros(angles.size, dtype=bool)
    for first, last in windows:
        inside |= (angles >= first - 1e-6) & (angles <= last + 1e-6)
    if not inside.any():
        raise BadInput(f"no point of {low:g}-{high:g} deg with a step of {step:g} deg lies in the windows.")
    return angles[inside]


def _range(two_theta: Window) -> Window:
    low, high = (float(value) for value in two_theta)
    if not low < high:
        raise BadInput(f"two_theta ({low:g}, {high:g}) is not a range: give (low, high) in degrees.")
    return low, high
