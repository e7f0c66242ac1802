"""Where the fusion's constants come from: `python -m tests.bench.study_fusion STRUCTURES [--number N]`.

Simulated patterns of real structures with what spoils real fits (an impurity, texture, a cell off by
0.1 %, zero shift, counts from 300 to 100,000) are fitted with their cell. Printed is the mean negative
log-probability of the true group and the rate of the true group first, evidence alone with a uniform
prior, for a grid of the two constants `evidence_weight` and `misled`; and how often a claimed
probability was right. No measured pattern is touched.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from eg_agent.identify.fusion import evidence_posterior
from eg_agent.identify.settings import IdentifySettings
from eg_agent.patterns import Pattern, Radiation
from eg_agent.reporting import reported
from eg_agent.symmetry import group
from eg_agent.verify import Evidence, verify
from simulators import Crystal, computed_crystals, mineral_crystals
from simulators.background import Background
from simulators.corpus import held_out
from simulators.instrument import Instrument
from simulators.measurement import simulate
from simulators.specimen import Specimen, Texture
from simulators.structures import count_rows

WEIGHTS = (0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)
#: Longest cell edge drawn, angstrom: stacked polytypes are no powder question.
LONGEST = 60.0
MISLED = (0.003, 0.01, 0.02, 0.05, 0.1, 0.2)


def crystals(
    folder: Path, rng: np.random.Generator, number: int, *, held_out_only: bool = False
) -> list[Crystal]:
    """A draw of structures, at most a few of each extinction group, none triclinic.

    held_out_only: only formulas that training never sees (`simulators.corpus.held_out`).
    """
    per_group, found = Counter[int](), []
    tables = [
        (mineral_crystals, folder / "minerals.parquet"),
        (computed_crystals, folder / "materials_project.parquet"),
    ]
    while len(found) < number:
        read, path = tables[int(rng.integers(2))]
        start = int(rng.integers(count_rows(path) - 40))
        for crystal in read(path, start, start + 40):
            system = group(crystal.group).crystal_system
            if system == "triclinic" or per_group[crystal.group] >= max(3, number // 30):
                continue
            if max(crystal.cell[:3]) > LONGEST or (held_out_only and not held_out(crystal.formula)):
                continue
            per_group[crystal.group] += 1
            found.append(crystal)
            break
    return found


def spoiled(crystal: Crystal, other: Crystal, rng: np.random.Generator) -> Pattern:
    """A measurement of a crystal with an impurity, texture and a zero shift, at random counts."""
    impurities = ((other, float(rng.uniform(0.0, 0.06))),) if rng.random() < 0.4 else ()
    texture = Texture((0, 0, 1), float(rng.uniform(0.7, 1.3))) if rng.random() < 0.3 else None
    return simulate(
        crystal,
        Radiation.anode("Cu"),
        np.arange(8.0, 80.0, 0.02),
        rng,
        instrument=replace(Instrument(), zero=float(rng.normal(0.0, 0.03)), x=float(rng.uniform(0.02, 0.12))),
        specimen=Specimen(
            texture=texture,
            impurities=impurities,
            background=Background(flat=float(rng.uniform(0.005, 0.1)), air=float(rng.uniform(0.0, 0.1))),
        ),
        peak_rate=float(10.0 ** rng.uniform(2.5, 5.0)),
    )


def fits(folder: Path, number: int, seed: int) -> Iterator[tuple[int, Evidence]]:
    """(true group, evidence) of simulated measurements."""
    rng = np.random.default_rng(seed)
    drawn = crystals(folder, rng, number)
    for i, crystal in enumerate(drawn):
        pattern = spoiled(crystal, drawn[i - 1], rng)
        scale = 1.0 + 0.001 * float(rng.standard_normal())
        cell = (*(scale * v for v in crystal.cell[:3]), *crystal.cell[3:])
        yield crystal.group, verify(pattern, cell)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("structures", type=Path, help="folder with the parquet tables of structures")
    parser.add_argument("--number", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    started, all_fits = time.perf_counter(), []
    for i, (true, evidence) in enumerate(fits(arguments.structures, arguments.number, arguments.seed)):
        sys.stderr.write(f"{i + 1} of {arguments.number}\r")
        if evidence.status == "fitted":
            all_fits.append((true, evidence))
        else:
            sys.stderr.write(f"group {true}: {evidence.reason}\n")
    out = sys.stdout
    out.write(f"{len(all_fits)} of {arguments.number} fitted, {time.perf_counter() - started:.0f} s\n")
    out.write("mean -ln p(true group)\nweight \\ misled " + " ".join(f"{m:7.3f}" for m in MISLED) + "\n")
    for weight in WEIGHTS:
        row = []
        for misled in MISLED:
            settings = IdentifySettings(evidence_weight=weight, misled=misled)
            row.append(-np.mean([_posterior(e, settings)[t - 1] for t, e in all_fits]))
        out.write(f"{weight:15.2f} " + " ".join(f"{v:7.3f}" for v in row) + "\n")
    default = IdentifySettings()
    for true, evidence in all_fits:
        posterior = _posterior(evidence, default)
        best = int(np.argmax(posterior)) + 1
        if best != true and posterior[best - 1] > np.log(0.9):
            scored = {c.group: c.log_evidence for c in evidence.candidates}
            out.write(
                f"wrong with {np.exp(posterior[best - 1]):.2f}: {group(true).symbol} ({true}) taken for "
                f"{group(best).symbol} ({best}), "
                f"evidence {scored.get(true, np.nan):.1f} and {scored[best]:.1f}, "
                f"Rwp {evidence.rwp:.0f} %, {evidence.goodness_of_fit:.1f} times the noise\n"
            )
    tops = [(np.argmax(p := _posterior(e, default)) + 1 == t, np.exp(p.max())) for t, e in all_fits]
    right, claimed = np.array([r for r, _ in tops]), np.array([c for _, c in tops])
    out.write(f"defaults {default.evidence_weight}, {default.misled}: true group first {right.mean():.3f}\n")
    for low, high in ((0.0, 0.5), (0.5, 0.8), (0.8, 0.9), (0.9, 0.95), (0.95, 1.0)):
        inside = (claimed >= low) & (claimed < high)
        if inside.any():
            out.write(
                f"claimed {low:.2f}-{high:.2f}: n {inside.sum()}, mean claim {claimed[inside].mean():.3f}, "
                f"right {right[inside].mean():.3f}\n"
            )


def _posterior(evidence: Evidence, settings: IdentifySettings) -> np.ndarray:
    found = evidence_posterior(evidence, settings)
    assert found is not None
    return found


if __name__ == "__main__":
    reported(main, "tests.bench.study_fusion")
