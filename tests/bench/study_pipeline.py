"""Where the mixture's constants come from: `python -m tests.bench.study_pipeline STRUCTURES --out FILE`.

Simulated measurements (stage 2: instruments, impurities, texture, counts of 500 to 100,000 in the strongest
point) of real structures whose formula no training sees, as frequent as they are in the tables, triclinic
ones included, are identified without a cell. What was found is kept in FILE, one line a measurement, so that
a stopped run goes on. The constants are fitted by the probability of the true group around round numbers;
how far they may leave them is chosen by 5-fold cross-validation on these measurements. No measured pattern
is touched.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from eg_agent.errors import BadPattern
from eg_agent.identify import Identifier, IdentifySettings
from eg_agent.identify.mixture import Cells, MixtureConstants, mix
from eg_agent.identify.unknown_cell import as_arrays, try_cells
from eg_agent.patterns import Pattern, Radiation, check
from eg_agent.reporting import reported
from simulators import Crystal, computed_crystals, mineral_crystals
from simulators.corpus import held_out
from simulators.measurement import simulate
from simulators.realistic import realistic_instrument, realistic_specimen
from simulators.structures import count_rows
from trainer.benchmark.pipeline_folds import cells_of_raw, fit_constants, raw_of_cells, stacked

#: What is expected before any fit.
AROUND = MixtureConstants(
    coefficients=(0.0, 0.8, -2.0, -2.4, 0.2, -0.3, -0.9),
    missed=(0.0, 0.3, 0.3, 0.6, 0.9, 1.2),
    power=0.8,
    floor=0.05,
    temperature=1.0,
)
WIDTHS = (0.15, 0.3, 0.6, 1.0)
FOLDS = 5
#: Share of minerals among the structures; longest edge, angstrom (stacked polytypes are no powder question).
MINERALS, LONGEST = 0.35, 45.0


def crystals(folder: Path, number: int, seed: int) -> list[Crystal]:
    """Held-out structures, minerals and computed ones."""
    rng = np.random.default_rng([0x1DF, seed])
    tables = folder / "minerals.parquet", folder / "materials_project.parquet"
    minerals = [c for c in mineral_crystals(tables[0], 0, count_rows(tables[0])) if _usable(c)]
    computed: list[Crystal] = []
    starts = rng.permutation(np.arange(0, count_rows(tables[1]) - 200, 200))
    for start in starts:
        if len(computed) >= number:
            break
        computed += [c for c in computed_crystals(tables[1], int(start), int(start) + 200) if _usable(c)]
    pools = [[pool[i] for i in rng.permutation(len(pool))] for pool in (minerals, computed)]
    found: list[Crystal] = []
    while len(found) < number and any(pools):
        pool = pools[0] if pools[0] and (rng.random() < MINERALS or not pools[1]) else pools[1]
        found.append(pool.pop())
    return found


def _usable(crystal: Crystal) -> bool:
    return held_out(crystal.formula) and max(crystal.cell[:3]) < LONGEST


def measurements(folder: Path, number: int, seed: int) -> Iterator[tuple[int, Pattern]]:
    """(group, pattern) of each structure; a function of the arguments."""
    drawn = crystals(folder, number, seed)
    for i, crystal in enumerate(drawn):
        rng = np.random.default_rng([seed, 31, i])
        foreign = [drawn[int(j)] for j in rng.integers(len(drawn), size=3)]
        start, end = float(rng.uniform(5.0, 12.0)), float(rng.uniform(70.0, 90.0))
        pattern = simulate(
            crystal,
            Radiation.anode("Cu"),
            np.arange(start, end, float(rng.choice([0.01, 0.02]))),
            rng,
            instrument=realistic_instrument(rng),
            specimen=realistic_specimen(rng, foreign),
            peak_rate=float(10.0 ** rng.uniform(2.7, 5.0)),
        )
        yield crystal.group, pattern


def collect(folder: Path, out: Path, number: int, seed: int, seconds: float) -> None:
    """Identify each measurement and append what was found to `out`; those that are there are left out."""
    settings = IdentifySettings(index_seconds=seconds)
    identifier = Identifier(prior="inorganic", settings=settings)
    done = len(out.read_text("utf-8").splitlines()) if out.exists() else 0
    for i, (group, pattern) in enumerate(measurements(folder, number, seed)):
        if i < done:
            continue
        sys.stderr.write(f"{i + 1} of {number}\r")
        row: dict[str, object] = {"group": group}
        try:
            network = identifier.classifier.predict(check(pattern)).log_probability
            cells = as_arrays(try_cells(check(pattern), network, settings))
            raw = raw_of_cells(cells)
            row |= {"network": network.tolist()} | {name: values.tolist() for name, values in raw.items()}
        except BadPattern as error:
            row["refused"] = str(error)
        with out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def load(out: Path) -> tuple[np.ndarray, Cells, np.ndarray]:
    """(network [n, 99], cells, labels [n]) of what was collected; refused patterns are left out."""
    rows = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    rows = [row for row in rows if "refused" not in row]
    names = {"features": (-1, 7), "evidence": (-1, 99), "family": (-1,), "searched": (1,)}
    cells = stacked(
        [
            cells_of_raw({n: np.array(row[n], dtype=float).reshape(s) for n, s in names.items()})
            for row in rows
        ]
    )
    labels = np.array([row["group"] - 1 for row in rows])
    return np.array([row["network"] for row in rows]), cells, labels


def loss(before: np.ndarray, cells: Cells, labels: np.ndarray, constants: MixtureConstants) -> np.ndarray:
    """[n] nats."""
    return -mix(before, cells, constants).log_probability[np.arange(len(labels)), labels]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("structures", type=Path, help="folder with the parquet tables of structures")
    parser.add_argument("--out", type=Path, required=True, help="file of what was found, gone on with")
    parser.add_argument("--number", type=int, default=240)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=20.0, help="of indexing and fits, a measurement")
    arguments = parser.parse_args()
    collect(arguments.structures, arguments.out, arguments.number, arguments.seed, arguments.seconds)
    before, cells, labels = load(arguments.out)
    fold = np.arange(len(labels)) % FOLDS
    out = sys.stdout
    out.write(
        f"{len(labels)} measurements; network {-before[np.arange(len(labels)), labels].mean():.3f} nats\n"
    )
    scores = {}
    for widen in WIDTHS:
        parts = [
            loss(
                before[fold == k],
                cells[fold == k],
                labels[fold == k],
                fit_constants(before[fold != k], cells[fold != k], labels[fold != k], AROUND, widen),
            )
            for k in range(FOLDS)
        ]
        scores[widen] = float(np.concatenate(parts).mean())
        out.write(f"widths times {widen}: {scores[widen]:.3f} nats out of fold\n")
    best = min(scores, key=lambda widen: scores[widen])
    out.write(f"{fit_constants(before, cells, labels, AROUND, best)}\n")


if __name__ == "__main__":
    reported(main, "tests.bench.study_pipeline")
