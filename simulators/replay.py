"""`ReplayDiffractometer`: an ophyd device that measures again what was measured before."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadInput
from eg_agent.patterns import Pattern, check, read
from simulators.powder_device import PowderDevice
from simulators.recording import Recording
from simulators.signals import number

Array = npt.NDArray[np.float64]


class ReplayDiffractometer(PowderDevice):
    """Serves measured patterns at the counting time that is asked for.

    samples: measured patterns by name (`eg_agent.patterns.read`), in the order of the changer's positions.
    seconds: recorded time a point, for patterns that do not know theirs (else taken as 1 s).
    peak_rate: counts a second at the highest point, for patterns that are no raw counts.
    beyond: what to do when more is asked for than was recorded: "limit" serves what is left and says so in
        the counting times, leaves out points that are used up, and refuses when all are; "resample"
        goes on with Poisson counts of a smooth fit.
    seed, time_scale, change_seconds: as in `SimDiffractometer`.

    Raw counts are dealt out photon by photon (see `Recording`): two scans hold different photons, and
    together no more than the file. Anything else is fitted and Poisson-resampled. `origin` in the
    configuration says which, and of what file. Points are those that were recorded: a longer step takes
    every second, third, ... of them; the arm goes to the nearest one.
    """

    def __init__(
        self,
        *,
        name: str,
        samples: Mapping[str, Pattern],
        seconds: float | None = None,
        peak_rate: float | None = None,
        beyond: Literal["limit", "resample"] = "limit",
        seed: int = 0,
        time_scale: float = 0.0,
        change_seconds: float = 20.0,
        **kwargs: Any,
    ) -> None:
        self._recordings = {
            sample: Recording(check(pattern), seconds=seconds, peak_rate=peak_rate, beyond=beyond)
            for sample, pattern in samples.items()
        }
        ends = [(float(p.two_theta[0]), float(p.two_theta[-1])) for p in samples.values()]
        limits = (min(low for low, _ in ends), max(high for _, high in ends)) if ends else (1.0, 2.0)
        super().__init__(
            name=name,
            samples=tuple(samples),
            limits=limits,
            seed=seed,
            time_scale=time_scale,
            change_seconds=change_seconds,
            **kwargs,
        )
        self.arm.snap = self._nearest

    @classmethod
    def from_file(
        cls,
        path: str | Path,
        *,
        name: str = "diffractometer",
        wavelength: float | None = None,
        wavelength2: float | None = None,
        **kwargs: Any,
    ) -> ReplayDiffractometer:
        """A device with one sample, from a file; the other arguments are those of the class and of `read`."""
        pattern = read(path, wavelength=wavelength, wavelength2=wavelength2)
        return cls(name=name, samples={pattern.source.sample or Path(path).stem: pattern}, **kwargs)

    @property
    def recording(self) -> Recording:
        """What was recorded of the sample in the beam."""
        return self._recordings[str(self.sample.get())]

    def rewind(self) -> None:
        """Start again: all recorded photons are there to be counted."""
        for recording in self._recordings.values():
            recording.rewind()

    def sample_changed(self, name: str) -> None:
        recording = self._recordings[name]
        pattern = recording.pattern
        self.light(pattern.radiation)
        file = Path(pattern.source.name).name if pattern.source.kind == "file" else pattern.source.name
        self.origin.state(f"{recording.origin}; replayed from {file}" if file else recording.origin)
        low, high = float(pattern.two_theta[0]), float(pattern.two_theta[-1])
        self.limits = (low, high)
        self.two_theta_min.put(low)
        self.two_theta_max.put(high)
        self.step.put(float(np.median(np.diff(pattern.two_theta))))
        self.arm.set_limits(low, high)

    def angles(self) -> Array:
        low, high, step = self.range()
        recorded = self.recording.pattern.two_theta
        every = max(1, round(step / float(np.median(np.diff(recorded)))))
        # counted from the first recorded point, so that every scan of this step takes the same points
        chosen = recorded[::every]
        chosen = chosen[(chosen >= low - 1e-9) & (chosen <= high + 1e-9)]
        return self.inside_windows(chosen)

    def range(self) -> tuple[float, float, float]:
        low, high, step = number(self.two_theta_min), number(self.two_theta_max), number(self.step)
        # a plan for many samples may ask for more than this one was recorded over
        low, high = max(low, self.limits[0]), min(high, self.limits[1])
        if not low < high:
            raise BadInput(
                f"{self.name}: {self.sample.get()} was recorded from {self.limits[0]:g} to "
                f"{self.limits[1]:g} degrees, not in the range that is asked for."
            )
        return low, high, step

    def times(self, two_theta: Array, seconds: float) -> Array:
        recording = self.recording
        times = recording.available(self._index(two_theta), seconds)
        if not np.any(times > 0.0):
            raise BadInput(
                f"{self.name}: all of the {np.median(recording.time):g} s a point that were recorded of "
                f"{self.sample.get()} are used up: rewind() it, or allow beyond='resample'."
            )
        return times

    def count(self, two_theta: Array, seconds: float, rng: np.random.Generator) -> tuple[Array, Array, Array]:
        index = self._index(two_theta)
        counts, times = self.recording.deal(index, seconds, rng)
        counted = times > 0.0
        return self.recording.pattern.two_theta[index][counted], counts[counted], times[counted]

    def _index(self, two_theta: Array) -> npt.NDArray[np.int64]:
        recorded = self.recording.pattern.two_theta
        after = np.clip(np.searchsorted(recorded, two_theta), 1, recorded.size - 1)
        nearer = two_theta - recorded[after - 1] < recorded[after] - two_theta
        return np.where(nearer, after - 1, after).astype(np.int64)

    def _nearest(self, two_theta: float) -> float:
        return float(self.recording.pattern.two_theta[self._index(np.array([two_theta]))[0]])
