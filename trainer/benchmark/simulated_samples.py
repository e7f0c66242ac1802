"""Simulated measurements for studies of the verifier: crystals of chosen groups, as a laboratory sees them.

Crystals are structures whose formula training never sees (`simulators.corpus.held_out`); where a group has
none, random crystals of its space groups. Each is textured, has an impurity, the other nuisances of
`simulators.realistic` (stage 2), and is given with every cell length 0.1 % off. All follows from the seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from eg_agent.errors import BadInput, MissingExtra
from eg_agent.patterns import Pattern, Radiation, Source
from eg_agent.symmetry import group, groups
from eg_agent.verify.metric import metric_system
from simulators import Crystal
from simulators.corpus import held_out
from simulators.measurement import simulate
from simulators.preparation import confirmed_random_crystal
from simulators.realistic import realistic_instrument, realistic_specimen
from simulators.stream_config import StreamConfig, stage2
from simulators.structures import StructureFolder, no_structures

#: Longest cell edge, angstrom: stacked polytypes are no powder question.
LONGEST = 45.0
#: Share by which every cell length is off, up or down.
CELL_ERROR = 1e-3
#: Structures looked at for a group before it is filled by random crystals, per crystal wanted.
LOOKED_AT = 300
#: Groups without a candidate of equal metric beside them.
ALONE = frozenset({99})


@dataclass(frozen=True, eq=False)
class Drawn:
    """A crystal of a study. kind: "structure" or "random"."""

    crystal: Crystal
    kind: str


@dataclass(frozen=True, eq=False)
class Sample:
    """A measurement, the cell that it is given with (angstrom, degrees), and the truth: group 1-99."""

    pattern: Pattern
    cell: tuple[float, ...]
    group: int


def with_rivals() -> list[int]:
    """Groups that have candidates of equal metric."""
    return [entry.number for entry in groups() if entry.number not in ALONE]


def draw(folder: str | Path, wanted: Sequence[int], seed: int) -> list[Drawn]:
    """One crystal for each group in `wanted` (numbers 1-99, repeats allowed), all formulas different.

    folder: with the parquet tables of structures, or CIF files. Raises BadInput where there are none.
    """
    source = StructuresByGroup(Path(folder))
    known: set[str] = set()
    queues = {n: iter(source.numbers(n, seed)) for n in set(wanted)}
    found = []
    for place, number in enumerate(wanted):
        crystal = None
        for _, candidate in zip(range(LOOKED_AT), queues[number], strict=False):
            crystal = source.usable(candidate, number, known)
            if crystal is not None:
                break
        if crystal is not None:
            known.add(crystal.formula)
            found.append(Drawn(crystal, "structure"))
        else:
            found.append(Drawn(_random(number, np.random.default_rng([seed, 31, place])), "random"))
    return found


def measured(drawn: Sequence[Drawn], place: int, counts: float, seed: int) -> Sample:
    """The sample of crystal number `place` with `counts` in the strongest peak; impurities from the others.

    The instrument, the specimen and the cell's error are those of the crystal, whatever the counts.
    """
    crystal = drawn[place].crystal
    rng = np.random.default_rng([seed, 37, place])
    others = [i for i in range(len(drawn)) if i != place]
    foreign = [drawn[int(j)].crystal for j in rng.choice(others, size=min(3, len(others)), replace=False)]
    config = _config()
    instrument = realistic_instrument(rng, config)
    specimen = realistic_specimen(rng, foreign, config)
    cell = _off(crystal.cell, rng)
    start, end = float(rng.uniform(5.0, 12.0)), float(rng.uniform(70.0, 90.0))
    noise = np.random.default_rng([seed, 41, place, round(counts)])
    pattern = simulate(
        crystal,
        Radiation.anode("Cu"),
        np.arange(start, end, 0.02),
        noise,
        instrument=instrument,
        specimen=specimen,
        peak_rate=counts,
    )
    pattern = replace(pattern, source=Source(kind="simulation", name=crystal.name))
    return Sample(pattern, cell, crystal.group)


def _config() -> StreamConfig:
    base = stage2()
    return replace(base, sample=replace(base.sample, texture_share=1.0, impurity_share=1.0))


def _off(cell: Sequence[float], rng: np.random.Generator) -> tuple[float, ...]:
    """The cell with its lengths 0.1 % off, equal ones by the same factor, so that its symmetry stays."""
    signs = rng.choice([-1.0, 1.0], size=3)
    lengths = list(cell[:3])
    factor = [1.0 + CELL_ERROR * signs[next(j for j in range(3) if _same(lengths[j], v))] for v in lengths]
    return (*(float(v * f) for v, f in zip(lengths, factor, strict=True)), *cell[3:])


def _same(one: float, other: float) -> bool:
    return abs(one - other) < 3e-4 * other


def _random(number: int, rng: np.random.Generator) -> Crystal:
    for _ in range(10):
        crystal = confirmed_random_crystal(int(rng.choice(group(number).space_groups)), rng, "inorganic")
        if own_metric(crystal):
            return crystal
    raise BadInput(f"no random crystal of group {number} has the metric of its system in 10 attempts.")


def own_metric(crystal: Crystal) -> bool:
    """Whether the cell has no higher metric symmetry than the crystal's system."""
    system = group(crystal.group).crystal_system
    name = metric_system(crystal.cell).name
    return name == ("hexagonal" if system == "trigonal/hexagonal" else system)


class StructuresByGroup:
    """Structures of a folder by extinction group, found by the column of space groups where there is one.

    group: [n] number 1-99 of each.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = StructureFolder(folder)
        if not len(self._folder):
            raise no_structures(folder)
        first = self._computed_groups(folder / "materials_project.parquet")
        rest = [self._folder.crystal(i).group for i in range(len(first), len(self._folder))]
        self.group = np.concatenate([first, np.array(rest, dtype=np.int64)])

    def crystal(self, place: int) -> Crystal:
        """Structure number `place` of the folder."""
        return self._folder.crystal(place)

    @staticmethod
    def _computed_groups(path: Path) -> np.ndarray:
        if not path.is_file():
            return np.zeros(0, dtype=np.int64)
        try:
            import pyarrow.parquet as parquet
        except ImportError:
            raise MissingExtra("reading parquet tables of structures", "train") from None
        numbers = parquet.read_table(path, columns=["spacegroup_number"])["spacegroup_number"].to_numpy()
        of = np.zeros(231, dtype=np.int64)
        for entry in groups():
            of[list(entry.space_groups)] = entry.number
        return of[np.asarray(numbers, dtype=np.int64)]

    def numbers(self, number: int, seed: int) -> np.ndarray:
        """Numbers of the structures of a group, in random order."""
        rng = np.random.default_rng([seed, 29, number])
        return rng.permutation(np.flatnonzero(self.group == number))

    def usable(self, place: int, number: int, known: set[str]) -> Crystal | None:
        """The structure, when it can stand for its group in a study."""
        crystal = self._folder.crystal(int(place))
        if not held_out(crystal.formula) or crystal.formula in known or max(crystal.cell[:3]) > LONGEST:
            return None
        return crystal if crystal.group == number and own_metric(crystal) else None
