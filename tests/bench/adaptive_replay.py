"""`python tests/bench/adaptive_replay.py --data DIR [--json]`: what deciding saves on measured patterns.

Rows with a known cell of a folder of labelled patterns (`index.csv`, `patterns.npz`), but triclinic ones,
whose cell leaves one group. Each is counted anew: its intensities as they are stored, scaled so that the
highest peak has 2 to 2,000 counts a second (log-uniform, by the id), are the rate, and what is counted is
Poisson of rate times seconds (`adaptive_replay_samples`). The cell is the table's; angles, wavelengths and
range are the row's own. Strategies, costs, budget and rule to stop are those of `adaptive.py`, and so is the
fixed scan (--scan), which was tuned on simulated dim samples: nothing is fitted on these rows. Angles and
steps that were chosen for copper are scaled to other wavelengths; a step is the multiple of the row's own
that comes nearest, with the same counting time a degree.

as_stored: what is said of the pattern as it was measured, all of it: about what a strategy can come to.
Intervals: bootstrap over compounds. Rows are kept in --out, so that a stopped run goes on; --shard 1/2 makes
every second row only, into the same folder. They are made in an order drawn by the id: the first so many are
a random part of all.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(_name, "1")
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from eg_agent.identify import Identifier, IdentifySettings
from eg_agent.reporting import reported
from tests.bench.adaptive import Strategy, run
from tests.bench.adaptive_replay_samples import Replayed, replayed
from tests.bench.adaptive_report import against, charged, drawn_curve, summary
from tests.bench.adaptive_strategies import STOP_AT, FixedScan, Outcome, Trial
from tests.bench.telling import positive, shard, some, tell

#: Names that a summary gives the sources of measured patterns: those with fewer rows are one.
FEWEST = 8


def described(rows: list[Any], chosen: list[Replayed]) -> list[Any]:
    """Rows with the compound, the source and the wavelength of their pattern, and how long it was counted."""
    by_seed = {one.seed: one for one in chosen}
    out = []
    for row in rows:
        one = by_seed[row["seed"]]
        rate = one.rate()
        out.append(
            row
            | {
                "compound": one.case.compound,
                "source": one.case.source,
                "copper": one.sample().scale == 1.0,
                "bare": rate.bare,
                "whole": rate.whole,
            }
        )
    return out


def as_stored(trial: Trial, one: Replayed) -> Outcome:
    """What is said of the whole pattern, by the same rule to stop; no seconds are counted."""
    found = trial.identifier.identify(one.folder.pattern(one.case), one.case.cell)
    group, probability = trial.top(found)
    return Outcome(0.0, group if probability >= STOP_AT else 0, group, probability)


def what_stored(rows: list[Any]) -> dict[str, Any]:
    """Shares of the patterns as they were measured: answered right and wrong, and the right group leading."""

    def share(name: str) -> float:
        return float(np.mean([row["stored"][name] == row["group"] for row in rows]))

    answered = float(np.mean([row["stored"]["answer"] > 0 for row in rows]))
    return {
        "n": len(rows),
        "right": share("answer"),
        "wrong": answered - share("answer"),
        "leading_group_right": share("leading"),
    }


def replay_summary(
    rows: list[Any], further: list[Any], scan: FixedScan, power: float, seed: int = 0
) -> dict[str, Any]:
    """The figures of the simulated benchmark, and those by source, wavelength and depth of the replay.

    further: rows with counting everywhere, too.
    """
    number = {source: sum(row["source"] == source for row in rows) for source in {r["source"] for r in rows}}
    named = {source for source, n in number.items() if n >= FEWEST}

    def part(chosen: list[Any]) -> dict[str, Any]:
        if len({row["compound"] for row in chosen}) < 2:
            return {"n": len(chosen)}
        time = {name: charged(chosen, name) for name in ("fixed", "adaptive")}
        right = {name: [row[name]["answer"] == row["group"] for row in chosen] for name in time}
        return {
            "n": len(chosen),
            **against(chosen, "fixed", seed),
            **{f"accuracy_{name}": float(np.mean(right[name])) for name in time},
            "worse_share": float((time["adaptive"] > time["fixed"]).mean()),
        }

    return {
        **summary(rows, further, scan, power, seed),
        "compounds": len({row["compound"] for row in rows}),
        "by_source": {
            **{source: part([r for r in rows if r["source"] == source]) for source in sorted(named)},
            "others": part([row for row in rows if row["source"] not in named]),
        },
        "copper": part([row for row in rows if row["copper"]]),
        "other_wavelengths": part([row for row in rows if not row["copper"]]),
        "thinned": part([row for row in rows if thinned(row)]),
        "background_added": sum(row["bare"] for row in rows),
        "counts_known": sum(row["whole"] is not None for row in rows),
    }


def thinned(row: Any) -> bool:
    """Whether neither the agent nor the fixed scan counted any point longer than it was at first."""
    return row["whole"] is not None and all(
        row[name]["longest"] <= row["whole"] for name in ("fixed", "adaptive")
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with index.csv and patterns.npz")
    parser.add_argument("--number", type=some, help="the first so many rows only")
    parser.add_argument("--others", type=some, help="rows for counting everywhere, at most")
    parser.add_argument(
        "--scan",
        type=float,
        nargs=3,
        default=(3.0, 60.0, 0.04),
        metavar=("SECONDS", "END", "STEP"),
        help="the fixed scan that adaptive.py tuned: seconds a point, last angle and step in degrees",
    )
    parser.add_argument("--power", type=positive, default=1.0, help="of the posterior, before it is compared")
    parser.add_argument("--checkpoint", default="default")
    parser.add_argument("--out", type=Path, default=Path("adaptive-replay"))
    parser.add_argument("--shard", type=shard, default=(1, 1), help="I/N: make every N-th row only")
    parser.add_argument("--picture", type=Path, help="draw the posterior against time")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    # the bench stops by the calibrated posterior: the verdict must not do so before
    identifier = Identifier(arguments.checkpoint, "inorganic", IdentifySettings(identified=0.9999))
    chosen, left_out = replayed(arguments.data)
    chosen = chosen[: arguments.number]
    scan, trial = FixedScan(*arguments.scan), Trial(identifier, arguments.power)
    strategies: dict[str, Strategy] = {
        "fixed": lambda sample: trial.fixed(sample, scan),
        "adaptive": trial.adaptive,
        "lines": trial.lines,
    }
    made = described(run(chosen, strategies, arguments.out / "rows.jsonl", arguments.shard), chosen)
    strategies["everywhere"] = lambda sample: trial.everywhere(sample, scan)
    further = run(chosen[: arguments.others], strategies, arguments.out / "rows.jsonl", arguments.shard)
    by_id = {one.case.id: one for one in chosen}
    stored: dict[str, Strategy] = {"stored": lambda sample: as_stored(trial, by_id[sample.name])}
    whole = run(chosen, stored, arguments.out / "stored.jsonl", arguments.shard)
    result = {
        **left_out,
        **replay_summary(made, described(further, chosen), scan, arguments.power),
        "as_stored": what_stored(whole),
    }
    if arguments.picture:
        drawn_curve(made, arguments.picture, "measured patterns, counted anew")
    tell(result, as_json=arguments.json)


if __name__ == "__main__":
    reported(main, "tests.bench.adaptive_replay")
