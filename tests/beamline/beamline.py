"""A small beamline for tests: ophyd and ophyd-async diffractometers, an identifier, a Tiled server.

Importable from the tests and, by its module path, from worker processes. The diffractometers count
photons of three peaks by a seeded generator and take no time, so that only the software is timed.
"""

from __future__ import annotations

import math
import os
import time
from functools import cache
from typing import Any

import numpy as np
from ophyd import Component as Cpt
from ophyd import Device, DeviceStatus, Kind, Signal
from ophyd.sim import SynAxis

from eg_agent import __version__
from eg_agent.identify import GroupProbability, Identification, Measured, Provenance, Settle
from eg_agent.identify.identification import ProposedCell
from eg_agent.patterns import Pattern
from eg_agent.records import EmbeddedTiled

WAVELENGTH = 1.540593
LOW, HIGH, STEP = 10.0, 60.0, 0.1

#: Rates of the peaks (counts a second at the top) of each sample, at 20, 32 and 45 degrees.
SAMPLES = {"bright": (4000.0, 2500.0, 1500.0), "dim": (40.0, 25.0, 15.0), "faint": (2.0, 1.0, 0.5)}


def rate(sample: str, two_theta: np.ndarray) -> np.ndarray:
    """Expected counts a second."""
    heights = SAMPLES.get(sample, SAMPLES["bright"])
    peaks = sum(
        h * np.exp(-0.5 * ((two_theta - x) / 0.15) ** 2)
        for h, x in zip(heights, (20.0, 32.0, 45.0), strict=True)
    )
    return np.asarray(peaks) + 0.02 * heights[0] + 0.5


class _Point(Device):
    """Counts at the angle of its parent's arm."""

    counts = Cpt(Signal, value=0, kind=Kind.hinted)

    def trigger(self) -> DeviceStatus:
        diffractometer = self.parent
        angle = np.array([diffractometer.arm.readback.get()])
        self.counts.put(int(diffractometer.count(angle)[0]))
        return _done(self)


class Diffractometer(Device):
    """Whole traces and step scans; `seed` fixes the counts of each angle, so both shapes agree."""

    two_theta = Cpt(Signal, value=np.zeros(2), kind=Kind.normal)
    intensity = Cpt(Signal, value=np.zeros(2, dtype=int), kind=Kind.hinted)
    sample = Cpt(Signal, value="bright", kind=Kind.config)
    two_theta_min = Cpt(Signal, value=LOW, kind=Kind.config)
    two_theta_max = Cpt(Signal, value=HIGH, kind=Kind.config)
    step = Cpt(Signal, value=STEP, kind=Kind.config)
    seconds_per_point = Cpt(Signal, value=1.0, kind=Kind.config)
    wavelength = Cpt(Signal, value=WAVELENGTH, kind=Kind.config)
    windows = Cpt(Signal, value=np.array([]), kind=Kind.omitted)
    arm = Cpt(SynAxis, kind=Kind.omitted)
    point = Cpt(_Point, kind=Kind.omitted)

    def __init__(self, *args: Any, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seed = seed
        self.triggered = 0
        self.fail_next = 0  #: this many triggers fail

    def count(self, angles: np.ndarray) -> np.ndarray:
        """Counts at these angles; a function of seed, angle and counting time."""
        seconds = float(self.seconds_per_point.get())
        expected = rate(self.sample.get(), angles) * seconds
        return np.array(
            [
                np.random.default_rng([self.seed, round(1e4 * a), round(1e3 * seconds)]).poisson(r)
                for a, r in zip(angles, expected, strict=True)
            ],
            dtype=np.int64,
        )

    def inside(self, axis: np.ndarray) -> np.ndarray:
        """The angles inside the windows; all, where there are none."""
        windows = np.reshape(self.windows.get(), (-1, 2))
        if not windows.size:
            return axis
        chosen = np.zeros(axis.size, dtype=bool)
        for first, last in windows:
            chosen |= (axis >= first - 1e-9) & (axis <= last + 1e-9)
        return axis[chosen]

    def trigger(self) -> DeviceStatus:
        self.triggered += 1
        if self.fail_next > 0:
            self.fail_next -= 1
            status = DeviceStatus(self)
            status.set_exception(RuntimeError("the shutter did not open"))
            return status
        low, high, step = (s.get() for s in (self.two_theta_min, self.two_theta_max, self.step))
        axis = np.round(low + step * np.arange(math.floor((high - low) / step + 1e-6) + 1), 6)
        axis = self.inside(axis)
        self.two_theta.put(axis)
        self.intensity.put(self.count(axis))
        return _done(self)


def _done(device: Device) -> DeviceStatus:
    status = DeviceStatus(device)
    status.set_finished()
    return status


class TraceDetector(Device):
    """Somebody's detector: an axis and a trace, nothing of our plans' protocol; `n` points."""

    tth = Cpt(Signal, value=np.zeros(2), kind=Kind.normal)
    intensity = Cpt(Signal, value=np.zeros(2), kind=Kind.hinted)
    wavelength = Cpt(Signal, value=WAVELENGTH, kind=Kind.config)
    exposure_time = Cpt(Signal, value=1.0, kind=Kind.config)

    def __init__(self, *args: Any, n: int = 2001, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        axis = np.linspace(LOW, HIGH, n)
        self.tth.put(axis)
        self._rng = np.random.default_rng(1)

    def trigger(self) -> DeviceStatus:
        self.intensity.put(self._rng.poisson(rate("bright", self.tth.get())).astype(float))
        return _done(self)


class PointDetector(Device):
    """Somebody's point detector: counts at the angle of a motor."""

    counts = Cpt(Signal, value=0, kind=Kind.hinted)
    motor: Any = None

    def trigger(self) -> DeviceStatus:
        angle = np.array([self.motor.readback.get()])
        self.counts.put(int(np.random.default_rng(round(1e4 * angle[0])).poisson(rate("bright", angle)[0])))
        return _done(self)


#: What the search for a cell finds.
CELL = ProposedCell((4.0, 5.0, 6.0, 90.0, 90.0, 90.0), "oP", 0.9, 30.0, 20.0, 18, 20, 120.0)


class FastIdentifier:
    """Identifies one of two groups by how many photons were counted: quick, and it can really fail.

    Signal to noise n of the strongest point: the probability of group 7 is 1 - 0.5 exp(-n / 30); it is
    `identified` from 0.9. Samples steer faults: "explodes" raises, "hangs" does not return, "dies" ends
    the process. index_seconds: a search for the cell that takes so long, and always finds the same.
    """

    def __init__(self, delay: float = 0.0, index_seconds: float = 0.0) -> None:
        self.delay = delay
        self.index_seconds = index_seconds

    def identify(self, pattern: Pattern, cell: Any = None) -> Identification:
        sample = pattern.source.sample
        time.sleep(self.delay + self.index_seconds)
        if sample == "explodes":
            raise RuntimeError("a fault in the network")
        if sample == "hangs":
            time.sleep(3600)
        if sample == "dies":
            os._exit(9)
        from eg_agent.identify.measured import measured

        best = int(np.argmax(pattern.intensity))
        sigma = (
            float(pattern.sigma[best])
            if pattern.sigma is not None
            else math.sqrt(pattern.intensity[best] + 1)
        )
        n = float(pattern.intensity[best]) / sigma
        p = 1.0 - 0.5 * math.exp(-n / 30.0)
        log_p = np.full(99, math.log(1e-6))
        log_p[6], log_p[7] = math.log(p), math.log(1 - p)
        log_p -= np.log(np.exp(log_p).sum())
        verdict = "identified" if p > 0.9 else "undecided"
        what: Measured = measured(pattern)
        window = (31.0, 33.0)
        settle = Settle(
            hkl=(1, 1, 0),
            two_theta=window,
            seconds=10.0,
            between=(7, 8),
            reason="test",
            intensity=1.0,
            sigma=2.0,
            absent_in=7,
            counted=what.seconds_per_point,
            counting=True,
        )
        return Identification(
            verdict=verdict,
            reason=f"signal to noise {n:.0f}",
            provenance=Provenance(pattern.uid, pattern.source, __version__, "fast", "uniform", cell),
            top=(
                GroupProbability(7, "P - - -", "orthorhombic", p, ("P222",)),
                GroupProbability(8, "P - - a", "orthorhombic", 1 - p, ("Pmma",)),
            ),
            log_probability=log_p,
            prediction_set=(7, 8),
            would_settle=() if verdict == "identified" else (settle,),
            measured=what,
            evidence_only=log_p,
            cells=(CELL,) if self.index_seconds else (),
        )


#: What an Agent of the tests is given, so that its worker finds the identifier above.
FAST = "beamline:FastIdentifier"


@cache
def shared_tiled() -> EmbeddedTiled:
    """One Tiled server for the whole test session; its process ends with this one."""
    server = EmbeddedTiled()
    server.start()
    return server
