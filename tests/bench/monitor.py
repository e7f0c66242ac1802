"""`python tests/bench/monitor.py --structures DIR [--known] [--realdata DIR] [--json]`: delays, false alarms.

Simulated series (`tests/bench/monitor_series.py`) of structures that training held out: without a transition,
with a distorted lattice, a superstructure, a lost glide or centring, and with a foreign phase that grows. The
monitor sees each from its first frame; its scores are kept, so that any threshold can be judged.

--calibrate makes the shipped table of thresholds from series without a transition; the false-alarm rate is
then judged on others, of other seeds. --known judges the lattice with a known cell, on series without a
change and with distortions. Rows are kept in --out, so that a stopped run goes on.

On the measured series nothing is fitted: they judge. See `tests/bench/monitor_measured.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(_name, "1")
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from eg_agent.errors import BadInput
from eg_agent.monitor import MonitorSettings, SymmetryMonitor
from eg_agent.monitor.change import Kind
from eg_agent.monitor.distortion import setting_for, ways
from eg_agent.monitor.thresholds import Table, thresholds
from eg_agent.reporting import reported
from eg_agent.verify.metric import metric_system
from simulators import Crystal
from tests.bench.monitor_rates import judged, table_for
from tests.bench.monitor_series import KINDS, Series, largest_atoms, story_of

FRAMES = 30
#: Frames of the series with a known cell, which take a second each.
FRAMES_KNOWN = 18
#: Scores that need no cell.
SCORES: tuple[Kind, ...] = ("widths", "new lines", "lost lines")
#: Seeds of the series that the table is made of, and of the calm ones that judge it; changes begin at 0.
CALIBRATION, FRESH = 100_000, 200_000
#: Small enough that a frame takes a fraction of a second to simulate.
MOST_ATOMS, MOST_VOLUME = 28, 600.0
#: Frames between false alarms that the curve is drawn over.
RATES = (20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0)


def parents(folder: Path, number: int) -> list[Crystal]:
    """Structures that training held out, small ones."""
    from tests.bench.study_fusion import crystals

    found = crystals(folder, np.random.default_rng(3), number, held_out_only=True)
    return [c for c in found if largest_atoms(c) <= MOST_ATOMS and c.volume < MOST_VOLUME]


def make(crystals: list[Crystal], kind: str, seed: int, frames: int = FRAMES) -> Series:
    """The series of a seed."""
    rng = np.random.default_rng([0x57, seed])
    parent, other = rng.choice(len(crystals), 2, replace=False)
    return Series(crystals[parent], crystals[other], story_of(kind, rng, frames), seed)


def known_cell(crystal: Crystal) -> bool:
    """Whether a crystal stands in the standard setting of its extinction group, and can be distorted."""
    try:
        setting = setting_for(crystal.group, metric_system(crystal.cell))
    except BadInput:
        return False
    hkl = np.array([v for v in np.ndindex(5, 5, 5) if any(v)])
    absent = crystal.operations.gemmi_ops().systematic_absences(hkl.astype(np.int32))
    return bool(np.array_equal(setting.absent(hkl), absent)) and bool(ways(metric_system(crystal.cell)))


def trace(series: Series, *, known: bool) -> dict[str, Any]:
    """Scores of every frame when no alarm is ever raised; with the cell known, the evidence too.

    The known cell is that of the first frame but for 0.2 %, as from another temperature.
    """
    if known:
        off = 1.0 + 0.002 * float(np.random.default_rng([0xCE, series.seed]).uniform(-1, 1))
        a, b, c, *angles = series.parent.cell
        monitor = SymmetryMonitor(
            MonitorSettings(kinds=("lattice",)),
            cell=(a * off, b * off, c * off, *angles),
            group=series.parent.group,
        )
    else:
        monitor = SymmetryMonitor(MonitorSettings(kinds=SCORES))
    monitor.thresholds = dict.fromkeys(monitor.thresholds, float("inf"))
    scores, evidence = [], []
    for pattern in series.patterns():
        scores.append({k: float(v) for k, v in monitor.ingest(pattern).scores.items()})
        if known:
            evidence.append([[d.way, d.log_evidence, d.strain] for d in monitor.distortions[-1]])
    return {"scores": scores, "evidence": evidence}


def rows_of(
    out: Path, wanted: Iterable[tuple[str, int]], crystals: list[Crystal], *, known: bool = False
) -> Iterator[dict[str, Any]]:
    """A row a series; those that `out` has are not made again."""
    made = {}
    if out.is_file():
        made = {(r["kind"], r["seed"]): r for r in map(json.loads, out.read_text().splitlines())}
    out.parent.mkdir(parents=True, exist_ok=True)
    for kind, seed in wanted:
        row = made.get((kind, seed))
        if row is None:
            series = make(crystals, kind, seed, FRAMES_KNOWN if known else FRAMES)
            story = series.story
            row = {
                "kind": kind,
                "seed": seed,
                "name": series.parent.name,
                "group": series.parent.group,
                "onset": story.onset,
                "sudden": story.sudden,
                "amplitude": story.amplitude,
                "counts": series.counts,
                **trace(series, known=known),
            }
            with out.open("a") as file:
                file.write(json.dumps(row) + "\n")
        yield row


def at_rates(rows: list[dict[str, Any]], *, known: bool) -> list[dict[str, Any]]:
    """What comes of the shipped thresholds at each stated number of frames between false alarms."""
    kinds: tuple[Kind, ...] = ("lattice",) if known else SCORES
    return [{"stated": rate, **judged(rows, thresholds(rate, kinds))} for rate in RATES]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--structures", type=Path, help="folder with the parquet tables")
    parser.add_argument("--realdata", type=Path, help="folder of measured patterns, with series/")
    parser.add_argument("--number", type=int, default=24, help="series of each kind of change")
    parser.add_argument("--calm", type=int, default=120, help="series without a change")
    parser.add_argument("--known", action="store_true", help="with a known cell: the lattice alone")
    parser.add_argument("--out", type=Path, default=Path("monitor"))
    parser.add_argument("--calibrate", type=Path, metavar="JSON", help="write the table of thresholds here")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if not arguments.structures and not arguments.realdata:
        parser.error("give --structures for simulated series, --realdata for measured ones, or both.")
    result: dict[str, Any] = {}
    if arguments.structures:
        crystals = parents(arguments.structures, 60)
        if arguments.calibrate:
            calm = [("none", CALIBRATION + i) for i in range(arguments.calm)]
            made = list(rows_of(arguments.out / "calibration.jsonl", calm, crystals))
            write_tables(made, arguments.calibrate)
            return
        for known in (False, True)[: 1 + arguments.known]:
            kinds = ("distortion",) if known else KINDS[1:]
            wanted = [("none", FRESH + i) for i in range(arguments.calm)]
            wanted += [(kind, i) for i in range(arguments.number) for kind in kinds]
            chosen = [c for c in crystals if known_cell(c)] if known else crystals
            name = "known" if known else "unknown"
            rows = list(rows_of(arguments.out / f"{name}.jsonl", wanted, chosen, known=known))
            result[name] = at_rates(rows, known=known)
    if arguments.realdata:
        from tests.bench.monitor_measured import measured

        result["measured"] = measured(arguments.realdata)
    if arguments.plot:
        from tests.bench.monitor_plot import draw

        draw(result, arguments.plot)
    if arguments.json:
        sys.stdout.write(json.dumps(result, indent=1) + "\n")
        return
    for name in ("unknown", "known"):
        for row in result.get(name, []):
            told = {k: v for k, v in row.items() if k != "kinds"}
            sys.stdout.write(f"cell {name}: {told}\n")
            for kind, part in row["kinds"].items():
                sys.stdout.write(f"    {kind:15s} {part}\n")
    for name, value in result.get("measured", {}).items():
        sys.stdout.write(f"{name:30s} {value}\n")


def write_tables(rows: list[dict[str, Any]], path: Path) -> None:
    """The table that is shipped, with what it was made of."""
    # lines that come and lines that go are looked for by one filter with two signs: one table for both
    tables: dict[str, Table] = {"widths": table_for(rows, ("widths",))}
    tables |= dict.fromkeys(("new lines", "lost lines"), table_for(rows, ("new lines", "lost lines")))
    stored = {
        "made_of": f"{len(rows)} simulated series of {FRAMES} frames without a transition, "
        f"seeds {rows[0]['seed']} to {rows[-1]['seed']}, tests/bench/monitor.py --calibrate",
        "settings": {"windows": list(MonitorSettings().windows), "before": MonitorSettings().before},
        "tables": {
            kind: {
                "level": [round(float(v), 3) for v in table.level],
                "rate": [float(f"{v:.4g}") for v in table.rate],
                "tail": round(table.tail, 3),
            }
            for kind, table in tables.items()
        },
    }
    path.write_text(json.dumps(stored, indent=1) + "\n")


if __name__ == "__main__":
    reported(main, "tests.bench.monitor")
