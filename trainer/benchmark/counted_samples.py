"""Samples with a counting rate, and the diffractometer that they are counted on, point by point."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from eg_agent.chemistry import Composition
from eg_agent.decide import Costs, Interleaving, opening
from eg_agent.decide.opening import EVERY_LINE
from eg_agent.patterns import Pattern, Radiation, Source
from eg_agent.records.merging import merge
from eg_agent.symmetry import group
from simulators import Crystal, computed_crystals, mineral_crystals
from simulators.corpus import held_out
from simulators.existing import Made
from simulators.measurement import expected_rate
from simulators.preparation import confirmed_random_crystal
from simulators.realistic import realistic_instrument, realistic_specimen
from simulators.structures import count_rows

#: What the simulated samples are measured with.
COPPER = Radiation.anode("Cu")
#: Degrees that the goniometer reaches, and the agent's step: coarse, because what it counts again it counts
#: between the points of before (`eg_agent.decide.interleaving`).
RANGE, STEP = (5.0, 90.0), 0.08
#: Counts a second at the highest peak, least and most, log-uniform.
PeakRates = tuple[float, float]
#: What the sample table says of the chemistry.
Told = Literal["nothing", "elements", "amounts"]
#: Structures that were made, those of the databases, or the paper's random crystals in the latter's space
#: groups.
Crystals = Literal["made", "databases", "random"]
#: Dim samples: milligrams in a capillary or a neutron beam, to a strong flat sample.
DIM: PeakRates = (2.0, 2000.0)
#: What stage 2 records of laboratory patterns (`StreamConfig`, counts at the maximum), at 1 s a point.
STAGE_TWO: PeakRates = (80.0, 8e4)
#: Relative error of the cell that the sample table gives (standard deviation).
CELL_ERROR = 1e-3
#: Longest cell edge drawn, angstrom: stacked polytypes are no powder question.
LONGEST = 60.0
#: Seconds a point of the first glance (docs/explanations/deciding.md has others). Up to which angle it
#: looks, at all lines: with the first 40 lines alone, one answer in seven at 0.95 was wrong.
GLANCE, FIRST_END = 0.15, 60.0
#: Counts in all below which the glance is repeated, three times as long, before anybody looks at it.
LEAST_COUNTS = 300.0
#: Seconds a sample may take in all: a shift.
BUDGET = 28800.0
#: A step scan through Bluesky: a motor that settles and a detector that is read in 0.2 s a point, 10 s to
#: open and close a run, 2 degrees a second where nothing is counted. The same for every strategy.
COSTS = Costs(overhead=10.0, move_per_point=0.2, slew=0.5)

Floats = npt.NDArray[np.float64]
Windows = tuple[tuple[float, float], ...]


class Counted(Protocol):
    """Counts a second at angles [n] in degrees, and at the highest peak."""

    @property
    def peak_rate(self) -> float: ...

    def __call__(self, two_theta: Floats, /) -> Floats: ...


@dataclass(frozen=True, eq=False)
class Sample:
    """One sample: the true group, its rate at an angle, the cell that the table says, and its own seed.

    radiation, two_theta: what it is measured with, and the degrees that can be measured. composition: what
    the sample table says of its chemistry.
    """

    group: int
    name: str
    rate: Counted
    cell: tuple[float, ...]
    seed: int
    radiation: Radiation = COPPER
    two_theta: tuple[float, float] = RANGE
    composition: Composition | None = None

    def reached(self, copper: float) -> float:
        """The angle, at most the last one, that is to be what `copper` degrees are with Cu K-alpha."""
        return min(copper, self.two_theta[1])

    def axis(self, step: float) -> tuple[Floats, float, float]:
        """Angles that can be measured in about this step (degrees), their step, and how many times coarser
        than asked for that is, in degrees of copper."""
        return np.arange(*self.two_theta, step), step, 1.0

    def between(self, step: float) -> Floats | None:
        """Angles half a step above those of `axis`; None where there are none to be measured."""
        angles, step, _ = self.axis(step)
        return angles[:-1] + 0.5 * step


def crystals(folder: Path, seed: int) -> Iterator[Crystal]:
    """Structures as databases have them (one in six a mineral, the others computed), of formulas that
    training never sees, none twice, none triclinic (there a cell leaves but one group)."""
    rng = np.random.default_rng([0xADA, seed])
    tables = [
        (mineral_crystals, folder / "minerals.parquet"),
        (computed_crystals, folder / "materials_project.parquet"),
    ]
    formulas: set[str] = set()
    while True:
        read, path = tables[int(rng.integers(2))]
        start = int(rng.integers(count_rows(path) - 40))
        block = [c for c in read(path, start, start + 40) if held_out(c.formula)]
        block = [
            c
            for c in block
            if c.formula not in formulas
            and group(c.group).crystal_system != "triclinic"
            and max(c.cell[:3]) <= LONGEST
        ]
        if block:
            chosen = block[int(rng.integers(len(block)))]
            formulas.add(chosen.formula)
            yield chosen


def made_crystals(folder: Path, seed: int) -> Iterator[Crystal]:
    """Those of `crystals` that somebody has made, as far as one can know (`simulators.existing.Made`)."""
    made = Made.of(folder)
    return (crystal for crystal in crystals(folder, seed) if made(crystal.name))


def random_crystals(folder: Path, seed: int) -> Iterator[Crystal]:
    """Random crystals (`simulators.random_crystals`: realistic cells, an atom in a general place at least,
    and spglib finds the group in each) as the paper has them, in the space groups of `crystals`, one after
    another: nothing near a higher symmetry, which real structures often are."""
    for number, real in enumerate(crystals(folder, seed)):
        rng = np.random.default_rng([0xADB, seed, number])
        while True:
            crystal = confirmed_random_crystal(real.space_group, rng, "inorganic")
            if max(crystal.cell[:3]) <= LONGEST:
                yield crystal
                break


SOURCES: dict[Crystals, Callable[[Path, int], Iterator[Crystal]]] = {
    "made": made_crystals,
    "databases": crystals,
    "random": random_crystals,
}


@dataclass(frozen=True, eq=False)
class Drawn:
    """A sample that is made when it is needed: its crystal, its seed, where foreign phases come from, between
    which counts a second its highest peak is, and what the sample table says of its chemistry."""

    crystal: Crystal
    seed: int
    others: list[Crystal]
    peak_rate: PeakRates = DIM
    told: Told = "nothing"

    def sample(self) -> Sample:
        """The sample; a function of the crystal and the seed."""
        rng = np.random.default_rng([0x5A3, self.seed])
        sample = make_sample(self.crystal, self.others, rng, self.seed, self.peak_rate)
        if self.told == "nothing":
            return sample
        composition = Composition.of_formula(self.crystal.formula)
        return replace(
            sample, composition=composition if self.told == "amounts" else composition.without_amounts()
        )


def draw(
    folder: Path,
    number: int,
    tuning: int,
    seed: int,
    peak_rate: PeakRates = DIM,
    told: Told = "nothing",
    kind: Crystals = "made",
) -> tuple[list[Drawn], list[Drawn]]:
    """`number` samples to measure and `tuning` other ones, none twice; a function of the arguments."""
    source = SOURCES[kind](folder, seed)
    chosen = [next(source) for _ in range(number + tuning)]
    drawn = [Drawn(crystal, seed * 100_000 + i, chosen, peak_rate, told) for i, crystal in enumerate(chosen)]
    return drawn[:number], drawn[number:]


def make_sample(
    crystal: Crystal,
    others: list[Crystal],
    rng: np.random.Generator,
    seed: int,
    peak_rate: PeakRates = DIM,
) -> Sample:
    """A crystal as a powder on a diffractometer of stage 2."""
    rate = expected_rate(
        crystal,
        COPPER,
        instrument=realistic_instrument(rng),
        specimen=realistic_specimen(rng, others),
        peak_rate=float(np.exp(rng.uniform(*np.log(peak_rate)))),
        two_theta_max=RANGE[1],
    )
    scale = 1.0 + CELL_ERROR * float(rng.standard_normal())
    a, b, c, *angles = crystal.cell
    return Sample(crystal.group, crystal.name, rate, (scale * a, scale * b, scale * c, *angles), seed)


class Measuring:
    """A sample on the diffractometer: what was counted so far, and what that took.

    interleaved: what is counted again is counted half a step beside, where the sample allows it.
    """

    def __init__(
        self,
        sample: Sample,
        costs: Costs = COSTS,
        step: float = STEP,
        stream: int = 0,
        *,
        interleaved: bool = False,
    ) -> None:
        self.sample, self.costs = sample, costs
        self.angles, self.step, self.coarser = sample.axis(step)
        self._between = sample.between(step) if interleaved else None
        self._so_far = Interleaving()
        self._rng = np.random.default_rng([0xC0, sample.seed, stream])
        self.pattern: Pattern | None = None
        self.seconds = 0.0

    @property
    def counts(self) -> float:
        """Counts so far, in all."""
        return 0.0 if self.pattern is None else float(self.pattern.intensity.sum())

    def measure(self, windows: Windows, seconds: float) -> float:
        """Count the points inside the windows (degrees) for `seconds` each; the seconds that it took."""
        turn = 0 if self._between is None else self._so_far.turn(windows)
        self._so_far.add(turn, windows, seconds)
        angles = self.angles if turn == 0 or self._between is None else self._between
        inside = np.zeros(angles.size, dtype=bool)
        for low, high in windows:
            inside |= (angles >= low - 1e-6) & (angles <= high + 1e-6)
        x = np.round(angles[inside], 6)
        new = Pattern(
            two_theta=x,
            intensity=self._rng.poisson(self.sample.rate(x) * seconds).astype(np.float64),
            radiation=self.sample.radiation,
            counting_time=np.full(x.size, seconds),
            raw_counts=True,
            covered=tuple(windows) if len(windows) > 1 else (),
            source=Source(kind="simulation", name=self.sample.name),
        )
        self.pattern = new if self.pattern is None else merge(self.pattern, new)
        took = self.costs.of(windows, self.step, seconds).seconds
        self.seconds += took
        return took

    def glance(self, seconds: float = GLANCE) -> tuple[Windows, float]:
        """A first look at the lines of the cell, long enough to count anything: windows, last seconds.

        seconds: a point, at first.
        """
        sample = self.sample
        until = (sample.two_theta[0], sample.reached(FIRST_END))
        first = opening(sample.cell, sample.radiation, until, self.step, lines=EVERY_LINE)
        self.measure(first, seconds)
        while self.counts < LEAST_COUNTS and self.seconds < 0.1 * BUDGET:
            seconds *= 3.0
            self.measure(first, seconds)
        return first, seconds
