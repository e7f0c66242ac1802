"""`python tests/bench/monitor.py --structures DIR --realdata DIR [--json]`: delay against false alarms.

Simulated series (`tests/bench/monitor_series.py`) of structures that training held out: without a transition,
with a distorted lattice, a superstructure, a lost glide or centring, and with a foreign phase that grows. The
monitor sees each from its first frame; its scores are kept, so that any threshold can be judged.

--calibrate makes the shipped table of thresholds from series without a transition, other ones than those
that are judged. Rows are kept in --out, so that a stopped run goes on.

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

from eg_agent.monitor import MonitorSettings, SymmetryMonitor
from eg_agent.monitor.thresholds import Table, table_of
from eg_agent.patterns import Pattern
from simulators import Crystal
from tests.bench.monitor_series import KINDS, Series, largest_atoms, story_of

FRAMES = 30
#: Scores that need no cell.
SCORES = ("widths", "new lines", "lost lines")
#: Small enough that a frame takes a fraction of a second to simulate.
MOST_ATOMS, MOST_VOLUME = 28, 600.0
#: Frames between false alarms that the curve is drawn over.
RATES = (20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0)


def parents(folder: Path, number: int) -> list[Crystal]:
    """Structures that training held out, small ones."""
    from tests.bench.study_fusion import crystals

    found = crystals(folder, np.random.default_rng(3), number, held_out_only=True)
    return [c for c in found if largest_atoms(c) <= MOST_ATOMS and c.volume < MOST_VOLUME]


def make(crystals: list[Crystal], kind: str, seed: int) -> Series:
    """The series of a seed."""
    rng = np.random.default_rng([0x57, seed])
    parent, other = rng.choice(len(crystals), 2, replace=False)
    return Series(crystals[parent], crystals[other], story_of(kind, rng, FRAMES), seed)


def trace(
    patterns: Iterable[Pattern], at: Iterable[float] | None = None
) -> tuple[list[dict[str, float]], Any]:
    """Scores of every frame when no alarm is ever raised, and the first alarm at the shipped threshold."""
    kinds = MonitorSettings(kinds=SCORES)
    silent, loud = SymmetryMonitor(kinds), SymmetryMonitor(kinds)
    silent.thresholds = dict.fromkeys(silent.thresholds, float("inf"))
    where = iter(at) if at is not None else None
    scores: list[dict[str, float]] = []
    change = None
    for pattern in patterns:
        place = None if where is None else next(where)
        scores.append({k: float(v) for k, v in silent.ingest(pattern, place).scores.items()})
        if change is None:
            change = loud.ingest(pattern, place).change
    return scores, change


def rows_of(
    out: Path, wanted: Iterable[tuple[str, int]], crystals: list[Crystal]
) -> Iterator[dict[str, Any]]:
    """A row a series; those that `out` has are not made again."""
    known = {}
    if out.is_file():
        known = {(r["kind"], r["seed"]): r for r in map(json.loads, out.read_text().splitlines())}
    out.parent.mkdir(parents=True, exist_ok=True)
    for kind, seed in wanted:
        row = known.get((kind, seed))
        if row is None:
            series = make(crystals, kind, seed)
            scores, change = trace(series.patterns())
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
                "scores": scores,
                "alarm": None if change is None else {"frame": change.frame, "kind": change.kind},
            }
            with out.open("a") as file:
                file.write(json.dumps(row) + "\n")
            sys.stderr.write(f"{kind} {seed}\n")
        yield row


def excursions(rows: list[dict[str, Any]], kind: str) -> tuple[list[float], int]:
    """The highest score of each stretch of frames above a low level, and the number of frames judged.

    One alarm is raised in a stretch: frames in a row that see the same thing are one false alarm.
    """
    peaks: list[float] = []
    frames = 0
    for row in rows:
        highest = None
        for scores in row["scores"]:
            if kind not in scores:
                continue
            frames += 1
            value = scores[kind]
            if value > 1.0:
                highest = value if highest is None else max(highest, value)
            elif highest is not None:
                peaks.append(highest)
                highest = None
        if highest is not None:
            peaks.append(highest)
    return peaks, frames


def calibrated(rows: list[dict[str, Any]]) -> dict[str, Table]:
    """A table for each kind of score, from series without a transition."""
    # lines that come and lines that go are looked for by one filter with two signs: one table for both
    found = {}
    for kinds in (("widths",), ("new lines", "lost lines")):
        judged = [excursions(rows, kind) for kind in kinds]
        peaks = [peak for part, _ in judged for peak in part]
        rare = max(3, min(10, len(peaks) // 3))
        table = table_of(peaks, sum(frames for _, frames in judged), rarest=rare)
        found.update(dict.fromkeys(kinds, table))
    return found


def first_alarm(row: dict[str, Any], thresholds: dict[str, float], start: int = 0) -> int | None:
    """The first frame from `start` on at which a score exceeds its threshold."""
    for k, scores in enumerate(row["scores"]):
        if k >= start and any(scores.get(kind, -np.inf) > level for kind, level in thresholds.items()):
            return k
    return None


def judged(rows: list[dict[str, Any]], tables: dict[str, Table], frames_between: float) -> dict[str, Any]:
    """False alarms a frame, and of each kind of series the share found and the delay in frames."""
    thresholds = {k: t.threshold(1.0 / (frames_between * len(SCORES))) for k, t in tables.items()}
    calm = alarms = 0
    found: dict[str, dict[str, Any]] = {}
    for kind in KINDS:
        delays, early, of = [], 0, 0
        for row in (r for r in rows if r["kind"] == kind):
            first = first_alarm(row, thresholds)
            onset = len(row["scores"]) if kind == "none" else row["onset"]
            judged_from = next((k for k, s in enumerate(row["scores"]) if s), 0)
            calm += max(0, (onset if first is None else min(onset, first + 1)) - judged_from)
            if first is not None and first < onset:
                alarms += 1
                early += 1
                continue
            of += 1
            if first is not None:
                delays.append(first - onset)
        if kind != "none":
            found[kind] = {
                "n": of,
                "found": len(delays) / max(of, 1),
                "median_delay": float(np.median(delays)) if delays else None,
                "early": early,
            }
    return {"frames_between": frames_between, "calm_frames": calm, "false_alarms": alarms, "kinds": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--structures", type=Path, help="folder with the parquet tables")
    parser.add_argument("--realdata", type=Path, help="folder of measured patterns, with series/")
    parser.add_argument("--number", type=int, default=12, help="series of each kind")
    parser.add_argument("--first", type=int, default=0, help="the first of them: several runs share the work")
    parser.add_argument("--calm", type=int, default=40, help="series without a transition, to calibrate on")
    parser.add_argument("--out", type=Path, default=Path("monitor"))
    parser.add_argument("--calibrate", type=Path, metavar="JSON", help="write the table of thresholds here")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    result: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    if arguments.structures:
        crystals = parents(arguments.structures, 60)
        if arguments.calibrate:
            calm = [("none", 10_000 + i) for i in range(arguments.calm)]
            made = list(rows_of(arguments.out / "calm.jsonl", calm, crystals))
            write_tables(calibrated(made), made, arguments.calibrate)
            return
        wanted = [
            (kind, i) for i in range(arguments.first, arguments.first + arguments.number) for kind in KINDS
        ]
        rows = list(rows_of(arguments.out / "rows.jsonl", wanted, crystals))
        from eg_agent.monitor.thresholds import tables

        result["simulated"] = [judged(rows, tables(), rate) for rate in RATES]
    if arguments.realdata:
        from tests.bench.monitor_measured import measured

        result["measured"] = measured(arguments.realdata)
    if arguments.plot:
        from tests.bench.monitor_plot import draw

        draw(result, arguments.plot)
    if arguments.json:
        sys.stdout.write(json.dumps(result, indent=1) + "\n")
        return
    for row in result.get("simulated", []):
        sys.stdout.write(f"{row}\n")
    for name, value in result.get("measured", {}).items():
        sys.stdout.write(f"{name:30s} {value}\n")


def write_tables(tables: dict[str, Table], rows: list[dict[str, Any]], path: Path) -> None:
    """The table that is shipped, with what it was made of."""
    stored = {
        "made_of": f"{len(rows)} simulated series of {FRAMES} frames without a transition, "
        "tests/bench/monitor.py --calibrate",
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
    main()
