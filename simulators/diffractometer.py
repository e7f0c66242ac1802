"""`SimDiffractometer`: an ophyd device that counts photons of simulated samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from ophyd import Component as Cpt
from ophyd import Kind, Signal
from ophyd.status import Status

from eg_agent.errors import BadInput
from eg_agent.patterns.radiation import Radiation
from simulators.counting import Detector
from simulators.powder_device import PowderDevice
from simulators.signals import Setting, number

Array = npt.NDArray[np.float64]

#: Expected counts a second [n] at angles [n] in degrees; `simulators.expected_rate` makes one.
RateFunction = Callable[[Array], npt.ArrayLike]


class Shutter(Signal):
    """`open` or `closed`; with it closed the detector sees its dark rate."""

    def set(self, value: str, **kwargs: Any) -> Status:
        """Set at once; the status is done. Raises BadInput for anything but open and closed."""
        self.put(value)
        status = Status(self)
        status.set_finished()
        return status

    def put(self, value: str, **kwargs: Any) -> None:
        if value not in ("open", "closed"):
            raise BadInput(f"{self.name} is 'open' or 'closed', not {value!r}.")
        super().put(value, **kwargs)


class SimDiffractometer(PowderDevice):
    """Counts the photons of simulated samples: Poisson counts of expected rate times counting time.

    samples: names, in the order of the changer's positions, and their expected rates: callables that
        give counts a second [n] at angles [n] in degrees (`simulators.expected_rate`).
    radiation: what the samples are lit with; it must be what the rates were made for.
    limits: degrees that the 2-theta arm can reach.
    seed: the same triggers in the same order give the same counts.
    time_scale: real seconds a simulated second; 0 measures at once, on another thread.
    dead_time: seconds after each photon in which the detector sees none; paralysable: photons within it
        extend it. dark_rate: counts a second without a beam. full_scale: counts a point at which the
        counter saturates. See `simulators.counting.Detector`.
    change_seconds: time to change the sample. speed, overhead, settle: see `PowderDevice`.

    Data keys: see `PowderDevice`. Two scans with the same settings count different photons.
    """

    shutter = Cpt(Shutter, value="open", kind=Kind.config)
    dead_time = Cpt(Setting, value=0.0, kind=Kind.config, units="s", low=0.0)

    def __init__(
        self,
        *,
        name: str,
        samples: Mapping[str, RateFunction],
        radiation: Radiation,
        limits: tuple[float, float] = (2.0, 160.0),
        seed: int = 0,
        time_scale: float = 0.0,
        dead_time: float = 0.0,
        paralysable: bool = False,
        dark_rate: float = 0.0,
        full_scale: float | None = None,
        change_seconds: float = 20.0,
        **kwargs: Any,
    ) -> None:
        self._rates = dict(samples)
        self._known: tuple[tuple[str, bytes], Array] | None = None
        self._detector = Detector(dead_time, paralysable, float(dark_rate), full_scale)
        super().__init__(
            name=name,
            samples=tuple(self._rates),
            limits=limits,
            seed=seed,
            time_scale=time_scale,
            change_seconds=change_seconds,
            **kwargs,
        )
        self.light(radiation)
        self.dead_time.put(dead_time)
        self.origin.state("simulated photons")

    def rate(self, two_theta: npt.ArrayLike) -> Array:
        """Photons a second [n] at angles [n] in degrees from the sample in the beam; none if it is shut."""
        angles = np.atleast_1d(np.asarray(two_theta, dtype=np.float64))
        if self.shutter.get() == "closed":
            return np.zeros(angles.size)
        sample = str(self.sample.get())
        key = (sample, angles.tobytes())
        if self._known is None or self._known[0] != key:
            rate = np.asarray(self._rates[sample](angles), dtype=np.float64)
            if rate.shape != angles.shape or not np.all(np.isfinite(rate)) or np.any(rate < 0.0):
                raise BadInput(
                    f"the rate of sample {sample!r} must be a number of counts a second, 0 or more, at "
                    "each angle."
                )
            self._known = (key, rate)
        return self._known[1]

    def count(self, two_theta: Array, seconds: float, rng: np.random.Generator) -> tuple[Array, Array, Array]:
        detector = replace(self._detector, dead_time=number(self.dead_time))
        counts = detector.count(self.rate(two_theta), seconds, rng)
        return two_theta, counts, np.full(two_theta.size, seconds)
