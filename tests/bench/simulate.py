"""`python tests/bench/simulate.py [--json] [--plot FILE]`: patterns a second of the simulators, on one core.

Everything is measured in one run, in processor time of one thread, on random crystals of all 99 groups that
are made in the course of it (not read from a corpus), at 4,250 points from 5 to 90 degrees:

stage1_per_s, stage2_per_s    `PatternStream` in batches, from nothing to patterns as a network sees them
single_per_s                  `simulate`, one crystal at a time at full quality, the crystal given
pymatgen_per_s                XRDCalculator and Gaussian profiles on the same grid, the crystal given
pyxtal_per_s                  pyxtal.XRD with its profile, the crystal given

The last three take the very crystals that stage 1 draws. Exit status 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[_name] = "1"
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from eg_agent.patterns import Grid, Radiation
from eg_agent.patterns.radiation import CU_KALPHA1
from eg_agent.reporting import reported
from simulators.crystal import Crystal

POINTS = 4250
SEED = 11
BATCH = 1024
#: Seconds of processor time for each figure, and the least and most crystals of the slow ones.
SECONDS, LEAST, MOST = 8.0, 8, 60
#: At least this much (patterns a second; times pymatgen; MiB).
BARS = {
    "stage1_per_s": 1500.0,
    "stage2_per_s": 400.0,
    "stage1_over_pymatgen": 100.0,
    "peak_memory_mib": 2048.0,
}


def stream(stage: str, points: int = POINTS, *, atoms: float | None = None) -> Any:
    """A stream on random crystals of all groups; atoms: median number in the primitive cell."""
    from simulators import stream_config
    from simulators.stream import PatternStream
    from simulators.wyckoff.config import WyckoffConfig
    from simulators.wyckoff.source import WyckoffSource

    recipe = (
        WyckoffConfig() if atoms is None else WyckoffConfig(atoms_median=atoms, atoms_sigma=0.1, organic=0.0)
    )
    config = getattr(stream_config, stage)()
    return PatternStream(WyckoffSource(recipe), config, SEED, Grid(5.0, 90.0, points))


def batched_per_s(patterns: Any, batch: int = BATCH, seconds: float = SECONDS) -> float:
    """Patterns a second of processor time, batch after batch, after one that warms up."""
    patterns.batch(0, batch)
    done, started = 0, time.process_time()
    while (spent := time.process_time() - started) < seconds:
        patterns.batch(done, batch)
        done += batch
    return done / spent


def one_by_one_per_s(work: Callable[[Crystal], object], crystals: list[Crystal]) -> float:
    """Crystals a second of processor time, of as many as fit in SECONDS (at least LEAST)."""
    work(crystals[0])
    done, started = 0, time.process_time()
    for crystal in crystals:
        work(crystal)
        done += 1
        if done >= LEAST and time.process_time() - started > SECONDS:
            break
    return done / (time.process_time() - started)


def with_simulate() -> Callable[[Crystal], object]:
    """Ours, one at a time: peaks, profile and counts."""
    from simulators.measurement import simulate

    axis, rng, radiation = np.linspace(5.0, 90.0, POINTS), np.random.default_rng(0), Radiation(CU_KALPHA1)
    return lambda crystal: simulate(crystal, radiation, axis, rng)


def with_pymatgen() -> Callable[[Crystal], object]:
    """pymatgen's peaks, with a Gaussian of 0.1 degrees each on the grid."""
    from pymatgen.analysis.diffraction.xrd import XRDCalculator
    from pymatgen.core import Lattice, Structure

    calculator = XRDCalculator(CU_KALPHA1)
    axis = np.linspace(5.0, 90.0, POINTS)

    def work(crystal: Crystal) -> np.ndarray:
        positions, elements, _ = crystal.expanded()
        structure = Structure(Lattice.from_parameters(*crystal.cell), elements, positions)
        found = calculator.get_pattern(structure, two_theta_range=(5.0, 90.0))
        total = np.zeros(POINTS)
        for centre, height in zip(found.x, found.y):
            first, last = np.searchsorted(axis, (centre - 0.5, centre + 0.5))
            total[first:last] += height * np.exp(-0.5 * ((axis[first:last] - centre) / 0.0425) ** 2)
        return total

    return work


def with_pyxtal() -> Callable[[Crystal], object]:
    """pyxtal's peaks and its Gaussian profile, at the step of the grid."""
    from ase import Atoms
    from pyxtal.XRD import XRD

    def work(crystal: Crystal) -> object:
        positions, elements, _ = crystal.expanded()
        atoms = Atoms(elements, cell=list(crystal.cell), scaled_positions=positions, pbc=True)
        return XRD(atoms, wavelength=CU_KALPHA1, thetas=[5.0, 90.0]).get_profile(res=85.0 / (POINTS - 1))

    return work


def same_crystals(count: int = MOST) -> list[Crystal]:
    """The first crystals of the stream of stage 1."""
    import torch

    from simulators.counter_random import CounterRandom
    from simulators.stream import SOURCE
    from simulators.wyckoff.source import WyckoffSource

    return WyckoffSource().crystals(CounterRandom(SEED, torch.arange(count)), SOURCE)


def measure() -> dict[str, float]:
    """All figures, by the names of the module's docstring, with ratios and the highest memory in MiB."""
    import torch

    torch.set_num_threads(1)
    found = {f"{stage}_per_s": batched_per_s(stream(stage)) for stage in ("stage1", "stage2")}
    # ru_maxrss only grows, so it is read before other people's packages are imported
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
    crystals = same_crystals()
    found["single_per_s"] = one_by_one_per_s(with_simulate(), crystals)
    found["pymatgen_per_s"] = one_by_one_per_s(with_pymatgen(), crystals)
    found["pyxtal_per_s"] = one_by_one_per_s(with_pyxtal(), crystals)
    found["stage1_over_pymatgen"] = found["stage1_per_s"] / found["pymatgen_per_s"]
    found["stage2_over_pymatgen"] = found["stage2_per_s"] / found["pymatgen_per_s"]
    found["peak_memory_mib"] = peak
    return found


def missed(found: dict[str, float]) -> list[str]:
    """Names of the bars that are not kept."""
    return [
        name
        for name, bar in BARS.items()
        if (found[name] >= bar if name == "peak_memory_mib" else found[name] < bar)
    ]


def plot(path: Path) -> None:
    """Rates of both stages against batch size, atoms and points."""
    import torch

    from eg_agent.view import style

    torch.set_num_threads(1)
    sweeps: tuple[tuple[str, tuple[float, ...], Callable[[str, float], float]], ...] = (
        ("patterns a batch", (4, 16, 64, 256, 1024), lambda s, v: batched_per_s(stream(s), int(v), 1.0)),
        (
            "median atoms in the primitive cell",
            (4, 8, 16, 32, 64),
            lambda s, v: batched_per_s(stream(s, atoms=v), BATCH, 1.0),
        ),
        ("points", (1024, 2048, 4250, 8500), lambda s, v: batched_per_s(stream(s, int(v)), BATCH, 1.0)),
    )
    figure = style.new_figure(9.6, 2.9)
    for axes, (label, values, rate) in zip(figure.subplots(1, 3, sharey=True), sweeps):
        for stage, colour in (("stage1", style.RESIDUAL), ("stage2", style.FIT)):
            axes.plot(values, [rate(stage, v) for v in values], "o-", color=colour, lw=1.5, ms=4, label=stage)
        style.tidy(axes)
        axes.set_xscale("log", base=2)
        axes.set_xticks(values, [f"{v:g}" for v in values])
        axes.set_xlabel(label, fontsize=9)
    first = figure.axes[0]
    lines = [line for axes in figure.axes for line in axes.get_lines()]
    highest = max(float(np.max(np.asarray(line.get_ydata()))) for line in lines)
    first.set_ylim(0, 1.08 * highest)
    first.set_ylabel("patterns a second, one core", fontsize=9)
    first.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    style.save(figure, path)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument(
        "--plot", type=Path, help="draw rates against batch size, atoms and points, nothing else"
    )
    parser.add_argument("--no-bars", action="store_true", help="a missed bar is no failure")
    arguments = parser.parse_args()
    if arguments.plot:
        plot(arguments.plot)
        return 0
    found = measure()
    short = missed(found)
    if arguments.json:
        body = {name: round(value, 3) for name, value in found.items()}
        sys.stdout.write(json.dumps(body | {"points": POINTS, "missed": short}, indent=1) + "\n")
    else:
        for name, value in found.items():
            bar = f"   bar {BARS[name]:g}{', missed' if name in short else ''}" if name in BARS else ""
            sys.stdout.write(f"{name:24}{value:12.1f}{bar}\n")
    return 1 if short and not arguments.no_bars else 0


if __name__ == "__main__":
    sys.exit(reported(main, "tests.bench.simulate"))
