"""`python tests/bench/verify.py [--data DIR] [--json] [--plot FILE]`: what the verifier costs, on one core.

Everything is measured in one run, in processor time of one thread (FOX in its own wall time where it is
installed), warm, as medians over patterns: measured ones with a known cell (--data, every so many rows),
or else simulated ones of textbook structures of all crystal systems.

fit_s            what is done once: Pawley fit in the cell, all starts, and the nuisances marginalised
per_symbol_ms    evidence of one extinction symbol on that fit, of all symbols of the crystal system
index_s          the cell from the pattern alone: peaks, search, comparison
fox_symbol_ms    pyobjcryst's SpaceGroupExplorer, a setting (no Le Bail profile fit in each)
fox_index_s      pyobjcryst's quick_index on its own peak search
peak_memory_mib  of this process

--plot draws the cost against the number of reflections (to 2,000) and of candidates, and nothing else.
Exit status 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

if __name__ == "__main__":
    for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[_name] = "1"
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import gemmi
import numpy as np

from eg_agent.patterns import Pattern, Radiation
from eg_agent.reporting import reported
from eg_agent.verify import VerifySettings
from eg_agent.verify.fitting import NotFitted
from eg_agent.verify.verifier import Weighed, weigh

SEED = 5
#: At most this much.
BARS = {"fit_s": 1.0, "per_symbol_ms": 3.0, "index_s": 10.0, "peak_memory_mib": 1024.0}
#: Nothing is stopped by the clock while it is measured.
UNHURRIED = 600.0
LINES = (50, 100, 200, 400, 800, 1400, 2000)
CANDIDATES = (5, 10, 20, 40, 80, 111)

Case = tuple[str, Pattern, tuple[float, ...]]


def simulated(number: int) -> list[Case]:
    """Textbook structures of all systems, textured by nothing, cell 0.1 % too long."""
    from simulators.measurement import simulate
    from simulators.textbook import textbook

    known = list(textbook())
    order = np.random.default_rng(SEED).permutation(len(known))
    found = []
    for i in order[:number]:
        crystal = known[int(i)]
        rng = np.random.default_rng([SEED, int(i)])
        pattern = simulate(crystal, Radiation.anode("Cu"), np.arange(8.0, 85.0, 0.02), rng, peak_rate=1e4)
        cell = (*(1.001 * v for v in crystal.cell[:3]), *crystal.cell[3:])
        found.append((crystal.name, pattern, cell))
    return found


def measured(folder: Path, number: int) -> list[Case]:
    """Rows with a known cell, evenly spread over the index; not triclinic ones, which have no absences."""
    from trainer.benchmark.data import Folder

    data = Folder(folder)
    cases = data.cases("known_cell", without_systems=("triclinic",))
    step = max(1, len(cases) // number)
    return [(c.id, data.pattern(c), c.cell) for c in cases[::step][:number] if c.cell is not None]


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Processor seconds of a call, and what it gave."""
    started = time.process_time()
    found = call()
    return time.process_time() - started, found


def measure(cases: list[Case]) -> dict[str, Any]:
    """All figures; warm, so that no compilation is counted."""
    settings = VerifySettings(time_limit=UNHURRIED)
    _parts(cases[0], settings)
    fits, symbols, indexings = [], [], []
    for case in cases:
        try:
            fit, shared, per, _ = _parts(case, settings)
        except NotFitted:
            continue
        fits.append(fit + shared[0])
        symbols.append(1e3 * per[0] / per[1])
    _index(cases[0][1])
    indexings = [_index(pattern) for _, pattern, _ in cases]
    found: dict[str, Any] = {
        "patterns": len(cases),
        "fitted": len(fits),
        "fit_s": median(fits),
        "per_symbol_ms": median(symbols),
        "index_s": median(indexings),
        "index_s_longest": max(indexings),
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0,
    }
    return found | _fox(cases)


def _parts(
    case: Case, settings: VerifySettings
) -> tuple[float, tuple[float, int], tuple[float, int], Weighed]:
    """Seconds of the fit; (seconds, candidates) of what is shared and of the scores; and the whole."""
    from eg_agent.verify.likelihood import marginal_likelihood
    from eg_agent.verify.score import score

    _, pattern, cell = case
    whole, weighed = timed(lambda: weigh(pattern, cell, settings=settings))
    shared, likelihood = timed(lambda: marginal_likelihood(weighed.fit))
    scores, _ = timed(lambda: score(likelihood, list(weighed.candidates), pattern.radiation))
    n = len(weighed.candidates)
    return max(whole - shared - scores, 0.0), (shared, n), (scores, n), weighed


def _index(pattern: Pattern) -> float:
    from eg_agent.verify.indexing import index

    return timed(lambda: index(pattern, time_limit=60.0))[0]


def _fox(cases: list[Case]) -> dict[str, float | None]:
    """The same patterns through pyobjcryst, where it is installed (it has no wheel: conda or Debian)."""
    try:
        from pyobjcryst.crystal import Crystal  # type: ignore[import-not-found]
        from pyobjcryst.indexing import quick_index  # type: ignore[import-not-found]
        from pyobjcryst.powderpattern import (  # type: ignore[import-not-found]
            PowderPattern,
            SpaceGroupExplorer,
        )
    except ImportError:
        return {"fox_symbol_ms": None, "fox_index_s": None}
    symbols, indexings = [], []
    for _, pattern, cell in cases:
        powder = PowderPattern()
        powder.SetWavelength(pattern.radiation.wavelength)
        powder.SetPowderPatternX(np.radians(pattern.two_theta))
        powder.SetPowderPatternObs(np.asarray(pattern.intensity, dtype=np.float64))
        started = time.perf_counter()
        quick_index(powder.FindPeaks(1.5, -1, 1000, verbose=False), verbose=False)
        indexings.append(time.perf_counter() - started)
        a, b, c, *angles = cell
        diffraction = powder.AddPowderPatternDiffraction(Crystal(a, b, c, *np.radians(angles), "P1"))
        powder.quick_fit_profile(auto_background=True, plot=False, verbose=False)
        explorer = SpaceGroupExplorer(diffraction)
        started = time.perf_counter()
        explorer.RunAll(False, False, True, False, True)
        symbols.append(1e3 * (time.perf_counter() - started) / max(len(list(explorer.GetScores())), 1))
    return {"fox_symbol_ms": median(symbols), "fox_index_s": median(indexings)}


def crowded(lines: int) -> Case:
    """A sharp orthorhombic pattern (0.4 angstrom radiation) with about so many lines in range."""
    cell = (17.13, 19.71, 23.37, 90.0, 90.0, 90.0)
    unit = gemmi.UnitCell(*cell)
    hkl = gemmi.make_miller_array(unit, gemmi.SpaceGroup("P 21 21 21"), 1.0)
    d = np.sort(unit.calculate_d_array(hkl))[::-1][:lines]
    wavelength = 0.4
    at = 2.0 * np.degrees(np.arcsin(0.5 * wavelength / d))
    rng = np.random.default_rng(SEED)
    x = np.arange(0.5, at[-1] + 0.05, 0.001)
    y = np.full(x.size, 50.0)
    fwhm = 0.006
    for centre, height in zip(at, 2e4 * rng.exponential(size=d.size) * (d / d[0]) ** 1.5):
        near = slice(*np.searchsorted(x, [centre - 10 * fwhm, centre + 10 * fwhm]))
        y[near] += height * np.exp(-4 * np.log(2) * ((x[near] - centre) / fwhm) ** 2)
    return (
        f"{lines} lines",
        Pattern(x, rng.poisson(y).astype(float), Radiation(wavelength), raw_counts=True),
        cell,
    )


def costs() -> dict[str, list[tuple[int, float]]]:
    """Seconds against lines (fit, what is shared, scores of 111 symbols), and scores against candidates."""
    from eg_agent.verify.score import score

    found: dict[str, list[tuple[int, float]]] = {"fit": [], "shared": [], "scores": [], "candidates": []}
    for lines in (LINES[0], *LINES):  # the first once more, to be warm
        settings = VerifySettings(
            time_limit=UNHURRIED, max_lines=lines, max_crowding=100.0, max_rwp=1e3, min_explained=0.0
        )
        case = crowded(lines)
        fit, shared, scores, weighed = _parts(case, settings)
        n = len(weighed.fit.problem.lines)
        for name, value in (("fit", fit), ("shared", shared[0]), ("scores", scores[0])):
            found[name].append((n, value))
        if lines == 200:
            for number in CANDIDATES:
                some = list(weighed.candidates)[:number]
                again = partial(score, weighed.likelihood, some, case[1].radiation)
                found["candidates"].append((number, median(timed(again)[0] for _ in range(3))))
    return {k: v[1:] if k != "candidates" else v for k, v in found.items()}


def plot(found: dict[str, list[tuple[int, float]]], path: Path) -> None:
    """Seconds against the number of reflections, and against that of candidates."""
    from eg_agent.view import style

    figure = style.new_figure(9.6, 3.4)
    left, right = figure.subplots(1, 2)
    names = {"fit": "Pawley fit", "shared": "shared by all symbols", "scores": "evidence of 111 symbols"}
    for (name, label), colour in zip(names.items(), (style.FIT, style.BACKGROUND, style.RESIDUAL)):
        n, seconds = zip(*found[name])
        left.plot(n, seconds, "o-", color=colour, linewidth=1.5, markersize=4, label=label)
    left.set_xscale("log")
    left.set_yscale("log")
    left.set_xticks(LINES, [f"{n:,}" for n in LINES], fontsize=8)
    left.minorticks_off()
    left.set_xlabel("lines of the lattice that are fitted", fontsize=9)
    left.set_ylabel("seconds of one core", fontsize=9)
    left.legend(frameon=False, fontsize=8)
    n, seconds = zip(*found["candidates"])
    right.plot(n, seconds, "o-", color=style.RESIDUAL, linewidth=1.5, markersize=4)
    right.set_xlabel("candidates (200 lines)", fontsize=9)
    right.set_ylabel("seconds for their evidence", fontsize=9)
    right.set_xlim(left=0)
    right.set_ylim(bottom=0)
    for axes in (left, right):
        style.tidy(axes)
    figure.tight_layout()
    style.save(figure, path)


def missed(found: dict[str, Any]) -> list[str]:
    """Bars that are missed."""
    return [name for name, bar in BARS.items() if found[name] > bar]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of measured patterns (index.csv, patterns.npz)")
    parser.add_argument("--number", type=int, default=12, help="patterns at most (default 12)")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument(
        "--plot", type=Path, help="draw cost against reflections and candidates, nothing else"
    )
    parser.add_argument("--no-bars", action="store_true", help="a missed bar is no failure")
    arguments = parser.parse_args()
    if arguments.plot:
        found = costs()
        plot(found, arguments.plot)
        if arguments.json:
            sys.stdout.write(json.dumps(found) + "\n")
        return 0
    cases = measured(arguments.data, arguments.number) if arguments.data else simulated(arguments.number)
    figures = measure(cases)
    short = missed(figures)
    if arguments.json:
        body = {k: round(v, 4) if isinstance(v, float) else v for k, v in figures.items()}
        sys.stdout.write(json.dumps(body | {"missed": short}, indent=1) + "\n")
    else:
        for name, value in figures.items():
            bar = f"   bar {BARS[name]:g}{', missed' if name in short else ''}" if name in BARS else ""
            shown = (
                "not installed" if value is None else f"{value:.3f}" if isinstance(value, float) else value
            )
            sys.stdout.write(f"{name:18}{shown!s:>14}{bar}\n")
    return 1 if short and not arguments.no_bars else 0


if __name__ == "__main__":
    sys.exit(reported(main, "tests.bench.verify"))
