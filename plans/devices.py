"""What a diffractometer must offer to these plans: protocols only, no hardware and no base class.

An ophyd `Device`, an ophyd-async `StandardReadable` or the simulated devices of `simulators` fit as
they are. Signals are anything a plan may `bps.mv` and `bps.rd`: settable, readable, named by Bluesky's
rules. A device measures in one or both of two shapes:

- **whole trace** (`TraceDiffractometer`): one trigger measures a whole pattern, one event holds it as
  two 1-D arrays of float64 with the same length, under the data keys `<name>_two_theta` (degrees) and
  `<name>_intensity` (counts); optionally `<name>_counting_time` (seconds at each point, same length).
- **step scan** (`StepDiffractometer`): an axis and a point detector, one event a point, scalars under
  the data keys of `arm` (degrees) and `point` (counts in `seconds_per_point` seconds).

The range is called `two_theta_min` and `two_theta_max`, not `start` and `stop`: on an ophyd device
`stop` is the method that Bluesky calls when a run is aborted, and a signal of that name would hide it.

So that the agent can read what was measured without being told, a device lists these among its
configuration (`configuration_attrs` in ophyd): `wavelength` (angstrom), `wavelength2` (angstrom; 0 or
absent for one wavelength), `radiation` ("x-ray" or "neutron"; absent means x-ray), `seconds_per_point`.
The wavelength may come in the run's metadata instead (`RE(plan, wavelength=0.4592)`).
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

#: Anything a plan may set and read: an ophyd or ophyd-async signal or positioner.
Signal = Any


@runtime_checkable
class Diffractometer(Protocol):
    """The settings both shapes share; every one is settable and readable, units as given."""

    name: str

    @property
    def sample(self) -> Signal:
        """Sample changer: set to a sample's name (str) or position (int), as the device defines it."""
        ...

    @property
    def two_theta_min(self) -> Signal:
        """Low end of the range, degrees 2-theta."""
        ...

    @property
    def two_theta_max(self) -> Signal:
        """High end of the range, degrees 2-theta."""
        ...

    @property
    def step(self) -> Signal:
        """Step, degrees 2-theta."""
        ...

    @property
    def seconds_per_point(self) -> Signal:
        """Counting time at each point, seconds."""
        ...


@runtime_checkable
class TraceDiffractometer(Diffractometer, Protocol):
    """Measures a whole pattern on one trigger.

    `trigger()` returns a status that is done when the trace is counted; `read()` then gives the two
    (or three) arrays. A device may also have a settable `windows`: a flat 1-D float array (low, high,
    low, high, ...) in degrees; when it is not empty only points inside a window are counted and
    served, in increasing order, still inside two_theta_min to two_theta_max. Empty means everything.
    """

    def trigger(self) -> Any: ...

    def read(self) -> Any: ...

    def describe(self) -> Any: ...


@runtime_checkable
class StepDiffractometer(Diffractometer, Protocol):
    """Measures one point at a time."""

    @property
    def arm(self) -> Signal:
        """The 2-theta axis: settable and readable, degrees."""
        ...

    @property
    def point(self) -> Any:
        """The detector: triggerable and readable, counts in `seconds_per_point` seconds at `arm`."""
        ...
