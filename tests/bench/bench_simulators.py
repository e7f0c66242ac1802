"""Speed of the simulators on one core, on random crystals of all 99 groups, beside pymatgen."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from statistics import median

import numpy as np

from eg_agent.patterns import Grid, Radiation
from eg_agent.symmetry import groups
from simulators.corpus import D_MIN, RANDOM, Corpus, pack
from simulators.crystal import Crystal
from simulators.measurement import simulate
from simulators.random_crystals import random_crystal
from simulators.scattering import peak_list
from simulators.stream import PatternStream
from simulators.stream_config import stage1, stage2
from tests.bench import Row

BATCH = 64


def _crystals() -> list[Crystal]:
    found = []
    for group in groups():
        rng = np.random.default_rng(group.number)
        found.append(random_crystal(int(rng.choice(group.space_groups)), rng, max_atoms=60))
    return found


def _seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """Median wall time of one call, after one that warms up."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return median(times)


def _pymatgen_seconds(crystals: list[Crystal]) -> float:
    """Seconds a crystal that pymatgen needs for the peaks alone (median of a spread of small ones)."""
    from pymatgen.analysis.diffraction.xrd import XRDCalculator
    from pymatgen.core import Lattice, Structure

    calculator = XRDCalculator(1.540593)
    times = []
    for crystal in crystals:
        positions, elements, _ = crystal.expanded()
        structure = Structure(Lattice.from_parameters(*crystal.cell), elements, positions)
        start = time.perf_counter()
        calculator.get_pattern(structure, two_theta_range=(5, 90))
        times.append(time.perf_counter() - start)
    return median(times)


def rows() -> Iterator[Row]:
    """Rates of both stages, of packing, and times of one crystal."""
    crystals = _crystals()
    start = time.perf_counter()
    corpus: Corpus = pack((c, RANDOM) for c in crystals)
    packing = len(crystals) / (time.perf_counter() - start)
    grid = Grid(5.0, 90.0, 4096)
    sample = sorted(crystals, key=lambda c: c.volume)[:60:6]
    pymatgen = 1.0 / _pymatgen_seconds(sample)
    for name, config, bound in (("stage 1", stage1(), 1500.0), ("stage 2", stage2(), 500.0)):
        stream = PatternStream(corpus, config, 1, grid)
        seconds = _seconds(lambda stream=stream: stream.batch(0, BATCH))
        yield Row(f"patterns of {name}, {grid.length} points", BATCH / seconds, "patterns/s", bound)
    ours = median(_seconds(lambda c=c: peak_list(c, D_MIN), 1) for c in sample)
    yield Row(
        "peaks of one crystal (pymatgen: peaks to 90 degrees)", 1.0 / ours, "crystals/s", None, pymatgen
    )
    yield Row("packing of crystals", packing, "crystals/s", 30.0)
    axis = np.arange(5.0, 90.0, 0.02)
    rng = np.random.default_rng(0)
    radiation = Radiation.anode("Cu")
    single = median(_seconds(lambda c=c: simulate(c, radiation, axis, rng), 1) for c in sample)
    yield Row("one sample with counts, 4250 points", 1e3 * single, "ms", 500.0)
