"""From verified runs to a promoted checkpoint, on real servers; the figures of docs/log.md come from here.

    python tests/bench/retrain.py make --structures STRUCTURES --replay REALDATA --folder F
    python tests/bench/retrain.py serve --folder F          # prints the URI; Ctrl-C ends it

`make` writes simulated runs on an instrument unlike those of training (an iron tube, broad lines, a strong
background) and replayed measured patterns into a Tiled, with cells and formulas in their start documents, and
lets `eg-agent archive --write` identify them. What is verified then is for `eg-train retrain` to find.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "beamline"))
from stored import insert, write

from eg_agent.model import log_prior
from eg_agent.patterns import Pattern, Radiation
from eg_agent.patterns.radiation import ANODES
from eg_agent.records import EmbeddedTiled

#: Range and step of the simulated runs, degrees; background against the highest peak; counts at the maximum.
START, END, STEP = 15.0, 95.0, 0.05
FLAT, COUNTS = 0.35, (3e4, 3e5)


def simulated(folder: Path, count: int, seed: int) -> Iterator[tuple[Pattern, dict[str, Any]]]:
    """Patterns of structures whose formula training never sees, and what their start documents say."""
    from simulators import Background, Instrument, Specimen, simulate
    from trainer.benchmark.simulated_samples import draw

    rng = np.random.default_rng(seed)
    often = np.exp(0.5 * log_prior("mineral"))
    wanted = [int(n) for n in rng.choice(np.arange(1, 99), size=count, p=often[:98] / often[:98].sum())]
    first, second, _ = ANODES["Fe"]
    radiation, two_theta = Radiation(first, second), np.round(np.arange(START, END, STEP), 6)
    for place, drawn in enumerate(draw(folder, wanted, seed)):
        width = 0.32 * np.exp(0.15 * rng.normal())
        instrument = Instrument(
            u=0.02,
            v=-0.01,
            w=(0.7 * width) ** 2,
            x=0.35 * width,
            y=0.1,
            zero=rng.normal(0, 0.03),
            s_l=0.02,
            h_l=0.02,
        )
        specimen = Specimen(background=Background(flat=FLAT * np.exp(0.3 * rng.normal()), air=0.6))
        peak = float(np.exp(rng.uniform(*np.log(COUNTS))))
        try:
            pattern = simulate(
                drawn.crystal,
                radiation,
                two_theta,
                rng,
                instrument=instrument,
                specimen=specimen,
                peak_rate=peak,
            )
        except Exception as error:  # a structure without a line in the range
            sys.stderr.write(f"{drawn.crystal.name}: {error}\n")
            continue
        cell = [float(v) for v in drawn.crystal.cell]
        yield (
            pattern,
            {
                "sample": f"s{place:03d}",
                "formula": drawn.crystal.formula,
                "cell": cell,
                "true_group": drawn.crystal.group,
                "kind_of_run": "simulated",
            },
        )


def replayed(folder: Path, seconds: float = 1.0) -> Iterator[tuple[Pattern, dict[str, Any]]]:
    """Measured patterns with a reference cell, dealt out again: outside the benchmark, and some inside it."""
    from simulators import ReplayDiffractometer
    from trainer.benchmark.data import CELL_COLUMNS, Folder

    source = Folder(folder)
    rows = {row["id"]: row for row in source.rows}
    inside = 0
    for case in source.cases("all"):
        row = rows[case.id]
        cell = [row.get(name) or "" for name in CELL_COLUMNS]
        in_benchmark = row["benchmark"] == "True"
        if not all(cell) or (in_benchmark and (inside >= 12 or row["known_cell"] != "True")):
            continue
        inside += in_benchmark
        try:
            device = ReplayDiffractometer(
                name="det",
                samples={"it": source.pattern(case)},
                peak_rate=3000.0,
                beyond="resample",
                seed=inside,
            )
            device.seconds_per_point.put(seconds)
            device.trigger().wait(60)
        except Exception as error:
            sys.stderr.write(f"{case.id}: {error}\n")
            continue
        pattern = Pattern(
            np.asarray(device.two_theta.get(), dtype=float),
            np.asarray(device.intensity.get(), dtype=float),
            source.pattern(case).radiation,
            counting_time=np.asarray(device.counting_time.get(), dtype=float),
            raw_counts=True,
        )
        told = {"sample": row["name"] or case.id, "cell": [float(v) for v in cell], "true_group": case.group}
        if row.get("formula"):
            told["formula"] = row["formula"]
        yield pattern, {**told, "kind_of_run": "replayed"}


def make(given: argparse.Namespace) -> None:
    """Write the runs, have them identified, and say how many are verified and rightly so."""
    from tiled.client import from_uri

    given.folder.mkdir(parents=True, exist_ok=True)
    truth = given.folder / "truth.json"
    if not truth.is_file():
        runs = list(simulated(given.structures, given.runs, given.seed))
        runs += list(replayed(given.replay)) if given.replay else []
        with EmbeddedTiled(given.folder / "tiled", start_timeout=900.0) as tiled:
            write(from_uri(tiled.uri), runs[0][0], **runs[0][1])
        uids = insert(given.folder / "tiled", runs[1:])
        truth.write_text(json.dumps(dict(zip(uids, (start for _, start in runs)))))
    with EmbeddedTiled(given.folder / "tiled", start_timeout=900.0) as tiled:
        command = [sys.executable, "-m", "eg_agent.cli.main", "archive", f"--tiled={tiled.uri}", "--write"]
        subprocess.run([*command, f"--out={given.folder / 'archive'}", "--workers=2"], check=True)
        from eg_agent.records.verified import entries_in, verified

        found = verified(entries_in(tiled.uri))
    known = json.loads(truth.read_text())
    right = sum(known[one.run]["true_group"] == one.group for one in found.runs)
    said = {
        "runs": len(known),
        "verified": len(found.runs),
        "replayed": sum(known[one.run]["kind_of_run"] == "replayed" for one in found.runs),
        "rightly": right,
        "passed": found.passed,
    }
    sys.stdout.write(json.dumps(said) + "\n")


def serve(given: argparse.Namespace) -> None:
    """Serve what was made until interrupted."""
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with EmbeddedTiled(given.folder / "tiled", start_timeout=900.0) as tiled:
        sys.stdout.write(tiled.uri + "\n")
        sys.stdout.flush()
        ended.wait()


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    commands = parser.add_subparsers(required=True)
    making = commands.add_parser("make")
    making.add_argument("--structures", type=Path, required=True)
    making.add_argument("--replay", type=Path)
    making.add_argument("--runs", type=int, default=280)
    making.add_argument("--seed", type=int, default=11)
    making.set_defaults(run=make)
    serving = commands.add_parser("serve")
    serving.set_defaults(run=serve)
    for one in (making, serving):
        one.add_argument("--folder", type=Path, required=True)
    given = parser.parse_args()
    given.run(given)


if __name__ == "__main__":
    main()
