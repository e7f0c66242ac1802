"""Simulated patterns whose misfit is as large as that of measured ones, for fitting how evidence is pooled.

A Pawley fit of a simulated pattern is too good: the line shapes are the model's own. Measured fits of known
cells miss 5 to 18 % of the intensity (10 to 90 % of half A; goodness of fit 1.1 to 14). Here misfit of the
same size comes from what a fit does not know: a second population of crystallites (another size, a cell some
0.1 % apart), anisotropic strain, impurities, K-beta, background bumps, a goniometer's errors, an uneven
detector, K-alpha2 stripped or not declared, smoothing, a background taken away. Ranges are set by hand,
beside half A's statistics (labels are used for lines that must be absent only;
docs/explanations/evidence.md). Formulas of the studies (held out) are left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d

from eg_agent.errors import BadInput
from eg_agent.patterns import Pattern, Radiation, Source
from eg_agent.symmetry import group
from simulators import Crystal
from simulators.background import Background, Hump, Wandering
from simulators.corpus import held_out
from simulators.instrument import Instrument
from simulators.measurement import Rate, expected_rate
from simulators.preparation import MOLECULAR_SPACE_GROUPS, confirmed_random_crystal
from simulators.processing import Processing, process
from simulators.realistic import realistic_instrument, realistic_specimen
from simulators.specimen import Broadening, Impurity, Specimen
from simulators.stephens import MONOMIALS, AnisotropicStrain, independent_terms, monomials
from simulators.stream_config import stage2
from trainer.benchmark.simulated_samples import (
    LONGEST,
    Sample,
    StructuresByGroup,
    own_metric,
    with_rivals,
)

Floats = npt.NDArray[np.float64]
Rng = np.random.Generator

#: Share of random molecular crystals, and of structures as they come (by the root of a group's number).
MOLECULAR, NATURAL = 0.25, 0.40
#: Standard deviation of each independent cell length, relative.
CELL_ERROR = 7e-4
STEPS = (0.01, 0.013, 0.017, 0.02, 0.03)


@dataclass(frozen=True, slots=True)
class Kinds:
    """Shares of random molecular crystals and of structures as they come (the rest: every group alike), and
    the power of the groups' frequencies with which those come."""

    molecular: float = MOLECULAR
    natural: float = NATURAL
    flatter: float = 0.5


@dataclass(frozen=True, eq=False)
class MisfitSample:
    """A sample, its crystal's name and formula, and where the crystal comes from."""

    sample: Sample
    name: str
    formula: str
    kind: str  #: "natural", "uniform" (over groups), "random" or "molecular"


class MisfitSamples:
    """Sample i of a seed, whatever was made before; BadInput for a folder without structures.

    allowed: formulas whose structures are used; by default those that are not held out.
    """

    def __init__(
        self,
        structures: Path,
        seed: int,
        *,
        kinds: Kinds | None = None,
        allowed: Callable[[str], bool] = lambda formula: not held_out(formula),
    ) -> None:
        self._source = StructuresByGroup(structures)
        self._seed = seed
        self._kinds = kinds or Kinds()
        self._allowed = allowed
        found = np.bincount(self._source.group, minlength=100).astype(float) ** self._kinds.flatter
        found[99] = 0.0
        if kinds is not None:  # a triclinic cell leaves nothing to tell
            found[[n for n in range(1, 100) if group(n).crystal_system == "triclinic"]] = 0.0
        self._natural = found / found.sum()

    def __call__(self, index: int) -> MisfitSample:
        """Sample `index`; raises BadInput where a crystal or its specimen cannot be made (a few in 1,000)."""
        rng = np.random.default_rng([self._seed, 91, index])
        crystal, kind = self._crystal(index, rng)
        count = int(rng.choice([0, 1, 2], p=[0.6, 0.3, 0.1]))
        foreign = [self._crystal(int(rng.integers(10_000)), rng)[0] for _ in range(count)]
        pattern = _pattern(crystal, foreign, rng)
        pattern = replace(pattern, source=Source(kind="simulation", name=crystal.name))
        sample = Sample(pattern, _off(crystal.cell, rng), crystal.group)
        return MisfitSample(sample, crystal.name, crystal.formula, kind)

    def _crystal(self, index: int, rng: Rng) -> tuple[Crystal, str]:
        kind = rng.random()
        molecular = self._kinds.molecular
        if kind < molecular:
            numbers = [n for n in MOLECULAR_SPACE_GROUPS if n > 2]
            share = np.array([MOLECULAR_SPACE_GROUPS[n] for n in numbers])
            for _ in range(10):
                try:
                    number = int(rng.choice(numbers, p=share / share.sum()))
                    crystal = confirmed_random_crystal(number, rng, "molecular")
                except BadInput:
                    continue
                if own_metric(crystal):
                    return crystal, "molecular"
        if kind < molecular + self._kinds.natural:
            crystal = self._real(int(rng.choice(100, p=self._natural)), rng)
            if crystal is not None:
                return crystal, "natural"
        rivals = with_rivals()
        number = rivals[index % len(rivals)]
        crystal = self._real(number, rng)
        if crystal is not None:
            return crystal, "uniform"
        for _ in range(10):
            crystal = confirmed_random_crystal(int(rng.choice(group(number).space_groups)), rng, "inorganic")
            if own_metric(crystal):
                return crystal, "random"
        raise BadInput(f"no random crystal of group {number} has the metric of its system in 10 attempts.")

    def _real(self, number: int, rng: Rng) -> Crystal | None:
        """A structure of a group; large cells, of which measured ones are many, are preferred."""
        members = np.flatnonzero(self._source.group == number)
        best: tuple[float, Crystal] | None = None
        for _ in range(12 if members.size else 0):
            crystal = self._source.crystal(int(rng.choice(members)))
            usable = self._allowed(crystal.formula) and max(crystal.cell[:3]) <= LONGEST
            if not (usable and crystal.group == number and own_metric(crystal)):
                continue
            size = crystal.cell[0] * crystal.cell[1] * crystal.cell[2]
            if best is None or size > best[0]:
                best = (size, crystal)
            if rng.random() < 0.4:
                break
        return None if best is None else best[1]


def _pattern(crystal: Crystal, foreign: list[Crystal], rng: Rng) -> Pattern:
    base = stage2()
    config = replace(base, sample=replace(base.sample, texture_share=0.4, impurity_share=0.0))
    instrument = realistic_instrument(rng, config)
    instrument = replace(instrument, zero=0.6 * instrument.zero, displacement=0.6 * instrument.displacement)
    specimen = realistic_specimen(rng, (), config)
    synchrotron = rng.random() < 0.12
    if rng.random() < 0.5:
        instrument = replace(instrument, kbeta=0.01 * float(rng.random()))
    specimen = _specimen(crystal, foreign, specimen, rng)
    counts = _log_uniform(rng, 1.5e3, 7e5)
    step = float(rng.choice(STEPS))
    start = float(rng.uniform(3, 10))
    end = float(rng.choice([rng.uniform(40, 60), rng.uniform(60, 90), rng.uniform(90, 125)]))
    if synchrotron:
        radiation = Radiation(float(rng.uniform(0.45, 0.85)))
        scale = 0.8 * radiation.wavelength / 1.5406
        start, end, step = scale * start, scale * min(end, 90.0), 0.005
        instrument = _narrow(instrument)
    elif rng.random() < 0.3:
        radiation = Radiation(1.54056)
    else:
        radiation = Radiation.anode("Cu")
    grid = np.arange(start, end, step)
    rate = expected_rate(
        crystal,
        radiation,
        instrument=instrument,
        specimen=specimen,
        peak_rate=counts,
        two_theta_max=float(grid[-1]) + 0.5,
    )
    counted = rng.poisson(np.maximum(_imperfect(rate, grid, step, radiation, rng), 0.0)).astype(float)
    return _archived(Pattern(two_theta=grid, intensity=counted, radiation=radiation, raw_counts=True), rng)


def _specimen(crystal: Crystal, foreign: list[Crystal], specimen: Specimen, rng: Rng) -> Specimen:
    """Two populations of crystallites, anisotropic strain, impurities, an uneven background."""
    phases = []
    if rng.random() < 0.5:
        scale = 1.0 + 1e-3 * float(rng.standard_normal()) * float(rng.random())
        lengths = (scale * v for v in crystal.cell[:3])
        other = replace(crystal, cell=(*lengths, *crystal.cell[3:]))  # pyright: ignore[reportArgumentType]
        share = float(rng.uniform(0.03, 0.5))
        broadening = Broadening(size=_log_uniform(rng, 250, 2500), strain=float(rng.uniform(0, 0.001)))
        phases.append(Impurity(other, share, specimen.textures, broadening))
    phases += [Impurity(other, 0.12 * float(rng.random()) ** 3) for other in foreign]
    broadening = Broadening(size=_log_uniform(rng, 700, 12_000), strain=float(rng.uniform(0, 0.0006)))
    if rng.random() < 0.5:
        broadening = replace(broadening, anisotropic=_strained(crystal, rng))
    return replace(
        specimen,
        impurities=tuple(phases),
        broadening=broadening,
        background=_background(specimen.background, rng),
    )


def _background(found: Background, rng: Rng) -> Background:
    found = replace(found, flat=min(found.flat, 0.3), air=min(found.air, 0.5))
    level = max(found.flat, 0.002)
    humps = list(found.humps)
    for _ in range(int(rng.integers(0, 4))):
        height = level * float(rng.uniform(0, 1))
        humps.append(Hump(height, d=float(rng.uniform(2, 9)), width=float(rng.uniform(0.05, 0.15))))
    wandering = Wandering(float(rng.uniform(0, 0.15)), float(rng.uniform(4, 20)), int(rng.integers(1 << 30)))
    return replace(found, humps=tuple(humps), wandering=wandering)


def _strained(crystal: Crystal, rng: Rng) -> AnisotropicStrain:
    """Stephens' strain of up to 0.15 degrees at tan(theta) = 1: fourth powers along two directions and what
    the Laue class makes of them, so that no reflection has a negative variance."""
    rotations = np.asarray(crystal.operations.laue_rotations).astype(float)
    points = np.random.default_rng(4).integers(-7, 8, size=(60, 3)).astype(float)
    total = np.zeros(60)
    for _ in range(2):
        along = rng.standard_normal(3) / np.array(crystal.cell[:3])
        total += ((np.einsum("pi,nij->npj", points, rotations) @ along) ** 4).mean(axis=0)
    coefficients = np.linalg.lstsq(monomials(points), total, rcond=None)[0]
    terms = tuple((p, float(coefficients[MONOMIALS.index(p)])) for p in independent_terms(crystal.operations))
    strain = AnisotropicStrain(terms, float(rng.random()))
    hkl = rng.integers(-5, 6, size=(200, 3))
    hkl = hkl[np.abs(hkl).sum(axis=1) > 0]
    largest = strain.spread(crystal.cell, crystal.operations, hkl).max()
    factor = (math.radians(float(rng.uniform(0.01, 0.15))) / largest) ** 2
    return replace(strain, terms=tuple((p, factor * value) for p, value in terms))


def _narrow(instrument: Instrument) -> Instrument:
    """The same at a synchrotron: narrow, polarised, no axial divergence."""
    return replace(
        instrument,
        u=0.1 * instrument.u,
        w=0.1 * instrument.w,
        x=0.3 * instrument.x,
        y=0.3 * instrument.y,
        polarised=0.95,
        s_l=0.0,
        h_l=0.0,
        kbeta=0.0,
        overspill=0.0,
        transparency=0.0,
    )


def _imperfect(rate: Rate, grid: Floats, step: float, radiation: Radiation, rng: Rng) -> Floats:
    """Expected counts [n] with slow errors of the goniometer's angles and an uneven detector."""
    off = np.zeros(grid.size)
    if rng.random() < 0.6:
        length = float(rng.uniform(3, 25))
        off = gaussian_filter1d(rng.standard_normal(grid.size), length / step, mode="wrap")
        off *= float(rng.exponential(0.004)) * (radiation.wavelength / 1.54) / max(off.std(), 1e-12)
    mean = rate(np.clip(grid + off, 0.5, 179.0))
    if rng.random() < 0.4:
        uneven = gaussian_filter1d(rng.standard_normal(grid.size), float(rng.uniform(1, 4)))
        mean = mean * np.exp(float(rng.exponential(0.01)) * uneven / uneven.std())
    return mean


def _archived(pattern: Pattern, rng: Rng) -> Pattern:
    """A quarter raw, the rest as archives have them; the wavelength is not always told in full."""
    radiation = declared = pattern.radiation
    told = rng.random()
    if radiation.wavelength2 is not None:
        declared = Radiation(1.5418) if told < 0.3 else Radiation(1.54056) if told < 0.55 else radiation
    if rng.random() < 0.25:
        return pattern
    treated = rng.random()
    done = Processing(normalise=float(rng.choice([100.0, 1000.0, 10000.0])))
    if treated < 0.3:
        width = float(rng.uniform(1.5, 4))
        done = replace(done, background="snip", background_width=width, clip=bool(rng.random() < 0.7))
    if rng.random() < 0.2:
        done = replace(done, smooth=int(rng.choice([5, 7, 9])))
    if radiation.wavelength2 is not None and declared is radiation and rng.random() < 0.25:
        return process(pattern, replace(done, strip_kalpha2=True))
    return replace(process(pattern, done), radiation=declared)


def _off(cell: tuple[float, ...], rng: Rng) -> tuple[float, ...]:
    """The cell with its independent lengths a little off."""
    factor = 1.0 + CELL_ERROR * rng.standard_normal(3)
    lengths = cell[:3]
    first = [next(j for j in range(3) if abs(lengths[j] - v) < 3e-4 * v) for v in lengths]
    return (*(float(v * factor[j]) for v, j in zip(lengths, first, strict=True)), *cell[3:])


def _log_uniform(rng: Rng, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
