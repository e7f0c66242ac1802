"""Measured patterns as samples of `tests/bench/adaptive_replay.py`: each is counted anew, as it was stored.

The stored intensity of a point, scaled, is its rate: nothing is smoothed, so what the original measurement
had of counting noise becomes part of the sample. That is a thinning where no point is counted for longer than
it was in the original measurement (`MeasuredRate.whole`); beyond it, the noise of the original is not removed
by counting on, as it would be at a real diffractometer.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.signal import find_peaks

from eg_agent.patterns import Pattern, Radiation
from eg_agent.patterns.radiation import CU_KALPHA1
from trainer.benchmark.counted_samples import DIM, Floats, Sample
from trainer.benchmark.data import Case, Folder

#: A pattern whose median is below this share of its highest peak, or that goes below zero, had its background
#: taken off. It gets this share of the highest peak back, as much as a clean diffractometer leaves.
BARE, BACKGROUND = 0.002, 0.01
#: Wavelengths within this of Cu K-alpha1 are taken for copper, K-alpha2 or the mean of both.
SAME = 0.01


@dataclass(frozen=True, eq=False)
class MeasuredRate:
    """Counts a second at the points of a measured pattern.

    angles, rate: [n] degrees, counts a second. peak_rate: of the highest peak, without background.
    whole: seconds a point after which as much was counted as in the original measurement; None where its
    intensities are no counts. bare: whether a background was added.
    """

    angles: Floats
    rate: Floats
    peak_rate: float
    whole: float | None
    bare: bool

    def __call__(self, two_theta: Floats, /) -> Floats:
        """Counts a second [n] at angles [n] in degrees, which must be points of the pattern."""
        found = np.interp(two_theta, self.angles, np.arange(self.angles.size))
        return self.rate[np.round(found).astype(np.intp)]


@dataclass(frozen=True, eq=False)
class MeasuredSample(Sample):
    """A measured pattern as a sample; angles: [n] degrees at which it was measured."""

    angles: Floats = field(default_factory=lambda: np.zeros(0))

    @property
    def scale(self) -> float:
        """Wavelength over that of Cu K-alpha; 1 where it is copper. Lines are about so much narrower."""
        ratio = self.radiation.wavelength / CU_KALPHA1
        return 1.0 if abs(ratio - 1.0) < SAME else ratio

    def reached(self, copper: float) -> float:
        """The angle of the d that copper has at `copper` degrees, or the last one that was measured."""
        sine = self.scale * np.sin(np.radians(0.5 * copper))
        angle = 2.0 * float(np.degrees(np.arcsin(min(sine, 1.0))))
        return min(angle, self.two_theta[1])

    def axis(self, step: float) -> tuple[Floats, float, float]:
        """Every k-th of the measured points, as near to `step` (of copper) as that comes."""
        own, wanted = float(np.median(np.diff(self.angles))), step * self.scale
        every = max(1, round(wanted / own))
        return self.angles[::every], every * own, every * own / wanted

    def between(self, step: float) -> Floats | None:
        """Measured points midway between those of `axis`, where every second one or less was taken."""
        every = max(1, round(step * self.scale / float(np.median(np.diff(self.angles)))))
        return self.angles[every // 2 :: every] if every > 1 else None


def rate_of(pattern: Pattern, peak_rate: float) -> MeasuredRate:
    """The rate at which a measured pattern would be counted, its highest peak at `peak_rate` counts a second.

    The highest peak is the one with the most prominence: air scatter at low angles is no peak.
    """
    y = np.maximum(pattern.intensity, 0.0)
    highest = float(find_peaks(y, prominence=0.0)[1]["prominences"].max())
    bare = bool(pattern.intensity.min() < 0.0 or np.median(y) < BARE * highest)
    if bare:
        y = y + BACKGROUND * highest
    counts = bool(np.all(pattern.intensity == np.round(pattern.intensity))) and highest > 50.0
    return MeasuredRate(
        angles=np.round(pattern.two_theta, 6),
        rate=y * (peak_rate / highest),
        peak_rate=peak_rate,
        whole=highest / peak_rate if counts else None,
        bare=bare,
    )


@dataclass(frozen=True)
class Replayed:
    """A row of the index that is made into a sample when it is needed."""

    folder: Folder
    case: Case

    @property
    def seed(self) -> int:
        """Of the id: the same whatever other rows there are."""
        return int(hashlib.sha256(self.case.id.encode()).hexdigest()[:8], 16)

    def rate(self) -> MeasuredRate:
        """What is counted; its brightness is a function of the id."""
        rng = np.random.default_rng([0x4EA1, self.seed])
        peak_rate = float(np.exp(rng.uniform(*np.log(DIM))))
        return rate_of(self.folder.pattern(self.case), peak_rate)

    def sample(self) -> MeasuredSample:
        """The sample."""
        case, rate = self.case, self.rate()
        assert case.cell is not None
        return MeasuredSample(
            group=case.group,
            name=case.id,
            rate=rate,
            cell=case.cell,
            seed=self.seed,
            radiation=Radiation(case.wavelength, case.wavelength2),
            two_theta=(float(rate.angles[0]), float(rate.angles[-1])),
            angles=rate.angles,
        )


def replayed(folder: Path) -> tuple[list[Replayed], dict[str, int]]:
    """The rows with a known cell that can be replayed, in an order drawn by the id, and how many rows there
    are, and were left out for which reason."""
    data = Folder(folder)
    cases = data.cases("known_cell")
    kept = [case for case in cases if case.cell is not None and case.crystal_system != "triclinic"]
    return sorted((Replayed(data, case) for case in kept), key=lambda one: one.seed), {
        "rows": len(cases),
        "triclinic: a cell leaves one group": sum(case.crystal_system == "triclinic" for case in cases),
    }
