"""Simulated samples for the verifier's studies: crystals of every group, measured with real nuisances.

Crystals come from tables of real structures (only formulas that training never sees, on request) and,
for groups that these do not fill, from random crystals. Each is textured, has an impurity, and is given
with a cell 0.1 % off; instrument, background and the rest follow `simulators.realistic` (stage 2).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from eg_agent.patterns import Pattern, Radiation
from eg_agent.symmetry import groups
from simulators import Crystal, computed_crystals, mineral_crystals
from simulators.corpus import held_out
from simulators.measurement import simulate
from simulators.preparation import MOLECULAR_SPACE_GROUPS, confirmed_random_crystal
from simulators.realistic import realistic_instrument, realistic_specimen
from simulators.stream_config import StreamConfig, stage2

#: Counts in the strongest peak.
COUNTS = (1e3, 1e4, 1e5)
#: Longest cell edge, angstrom: stacked polytypes are no powder question.
LONGEST = 45.0
#: The triclinic group has no candidate of equal metric beside it.
TRICLINIC = 99


@dataclass(frozen=True, eq=False)
class Sample:
    """A pattern, the cell that it is given with, and what it is: group 1-99, counts, name and kind."""

    pattern: Pattern
    cell: tuple[float, ...]
    group: int
    counts: float
    name: str
    kind: str  #: "real", "random" or "molecular"


def samples(folder: Path, number: int, seed: int, *, held_out_only: bool) -> Iterator[Sample]:
    """Samples of all non-triclinic groups in turn, counts in turn; a function of the arguments alone."""
    drawn = crystals(folder, number, seed, held_out_only=held_out_only)
    base = stage2()
    config = replace(base, sample=replace(base.sample, texture_share=1.0, impurity_share=1.0))
    for i, (crystal, kind) in enumerate(drawn):
        rng = np.random.default_rng([seed, 17, i])
        foreign = [drawn[int(j)][0] for j in rng.integers(len(drawn), size=3)]
        counts = COUNTS[(i + i // len(_groups())) % len(COUNTS)]
        yield sample(crystal, kind, foreign, counts, rng, config)


def sample(
    crystal: Crystal,
    kind: str,
    foreign: list[Crystal],
    counts: float,
    rng: np.random.Generator,
    config: StreamConfig,
) -> Sample:
    """One measurement of a crystal; foreign: crystals to take an impurity from."""
    scale = 1.0 + 0.001 * float(rng.standard_normal())
    cell = (*(scale * v for v in crystal.cell[:3]), *crystal.cell[3:])
    start, end = float(rng.uniform(5.0, 12.0)), float(rng.uniform(70.0, 90.0))
    pattern = simulate(
        crystal,
        Radiation.anode("Cu"),
        np.arange(start, end, 0.02),
        rng,
        instrument=realistic_instrument(rng, config),
        specimen=realistic_specimen(rng, foreign, config),
        peak_rate=counts,
    )
    return Sample(pattern, cell, crystal.group, counts, crystal.name, kind)


def crystals(folder: Path, number: int, seed: int, *, held_out_only: bool) -> list[tuple[Crystal, str]]:
    """Crystals with their kinds, groups in turn: real ones first where there are any, else random ones."""
    rng = np.random.default_rng([seed, 5])
    rounds = -(-number // len(_groups()))
    real = real_crystals(folder, rounds, rng, held_out_only=held_out_only)
    molecular = {n for n in MOLECULAR_SPACE_GROUPS if n > 2}
    found: list[tuple[Crystal, str]] = []
    for turn in range(rounds):
        for group in _groups():
            if len(found) == number:
                break
            members = groups()[group - 1].space_groups
            soft = sorted(molecular.intersection(members))
            if soft and turn % 3 == 2:
                chosen, kind = int(rng.choice(soft)), "molecular"
                found.append((confirmed_random_crystal(chosen, rng, "molecular"), kind))
            elif real[group]:
                found.append((real[group].pop(), "real"))
            else:
                chosen = int(rng.choice(members))
                found.append((confirmed_random_crystal(chosen, rng, "inorganic"), "random"))
    return found


def real_crystals(
    folder: Path, each: int, rng: np.random.Generator, *, held_out_only: bool
) -> dict[int, list[Crystal]]:
    """Up to `each` structures of each group, formulas all different."""
    found: dict[int, list[Crystal]] = {group: [] for group in _groups()}
    known: set[str] = set()
    tables = [
        (mineral_crystals, folder / "minerals.parquet", 500),
        (computed_crystals, folder / "materials_project.parquet", 80_000),
    ]
    for read, path, stop in tables:
        every = list(read(path, 0, stop)) if held_out_only or stop < 1000 else list(read(path, 0, 20_000))
        for i in rng.permutation(len(every)):
            crystal = every[i]
            if crystal.group == TRICLINIC or len(found[crystal.group]) >= each or crystal.formula in known:
                continue
            if held_out_only != held_out(crystal.formula) or max(crystal.cell[:3]) > LONGEST:
                continue
            known.add(crystal.formula)
            found[crystal.group].append(crystal)
    return found


def _groups() -> list[int]:
    return [entry.number for entry in groups() if entry.number != TRICLINIC]
