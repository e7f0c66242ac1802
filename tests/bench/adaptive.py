"""`python tests/bench/adaptive.py --structures DIR [--json]`: what the agent's decisions save in time.

Samples are structures of formulas that training held out and that somebody has made, as far as one can know
(`simulators.existing`; with --crystals databases all that the databases hold), with the
nuisances of stage 2, the brightness that stage 2 records at 1 s a point (--peak-rate for another one: dim
samples are 2 2000), and a cell from the sample table that is 0.1 % off; with --crystals random they are
random crystals in the space groups of those structures, as the paper has them. All strategies have the same
identifier and stop when the calibrated posterior of one group reaches 0.95; a wrong or an unfinished answer
is charged the whole budget. Seconds count, moves and overheads
included (`trainer.benchmark.counted_samples.COSTS`):

fixed       one scan; its counting time, last angle and step have the least mean time on other samples
everywhere  the range and step of the fixed scan again and again, each time as long as all before together
lines       the agent's first glance again and again, each time as long as all before together
random      as the agent, but each window that it decides on is put at a random angle
adaptive    a glance at the lines of the cell below 60 degrees, then what `Decider` asks for

The posterior counts as it is: its own power was fitted out of fold, where claims of 95 % and more are made
with 0.991 and right in 99.0 % (docs/decisions/0026). power_of_tuning is what the fixed scans of the other
samples alone would have; calibration_at_the_stop is what came of it.
median_ratio, mean_ratio: time of fixed over adaptive, of a sample in the median, and of the means.
Intervals: bootstrap over samples. Rows are kept in --out, so that a stopped run goes on; --shard 1/2 makes
every second row only, into the same folder. --overhead and the like change the costs of all strategies.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

if __name__ == "__main__":
    for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(_name, "1")
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from eg_agent.errors import BadInput
from eg_agent.identify import Identifier, IdentifySettings
from eg_agent.model import Classifier
from eg_agent.reporting import reported
from tests.bench.adaptive_report import drawn_curve, of, summary
from tests.bench.adaptive_strategies import FIXED_STEP, FixedScan, Outcome, Sample, Trial, fitted_power
from tests.bench.telling import positive, some, tell
from tests.bench.telling import shard as shard_of
from trainer.benchmark.counted_samples import COSTS, RANGE, STAGE_TWO, Drawn, draw

Strategy = Callable[[Sample], Outcome]

#: What the fixed scan is tuned over: counting time for two ranges first, then the step at the best of them.
TIMES, ENDS, STEPS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0), (60.0, RANGE[1]), (0.02, 0.06, 0.08)


class Made(Protocol):
    """A sample that is made when it is needed, and its seed, by which its row is known."""

    @property
    def seed(self) -> int: ...

    def sample(self) -> Sample: ...


def run(
    drawn: Sequence[Made], strategies: dict[str, Strategy], out: Path, shard: tuple[int, int] = (1, 1)
) -> list[Any]:
    """A row a sample; what `out` (any file of its stem) has of it is not made again."""
    known: dict[int, dict[str, Any]] = {}
    for path in sorted(out.parent.glob(f"{out.stem}*.jsonl")):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            known.setdefault(row["seed"], {}).update(row)
    part, parts = shard
    rows = []
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.with_stem(f"{out.stem}-{part}-of-{parts}").open("a") as file:
        for i, one in enumerate(drawn):
            row = known.get(one.seed, {})
            missing = [name for name in strategies if name not in row]
            if missing and i % parts == part - 1:
                sample = one.sample()
                row |= {"seed": one.seed, "name": sample.name, "group": sample.group}
                row["peak_rate"] = sample.rate.peak_rate
                row |= {name: asdict(strategies[name](sample)) for name in missing}
                file.write(json.dumps(row) + "\n")
                file.flush()
                sys.stderr.write(f"{out.name}: {i + 1} of {len(drawn)}\n")
            if all(name in row for name in strategies):
                rows.append(row)
    return rows


def tuned(
    drawn: list[Drawn], trial: Trial, out: Path, shard: tuple[int, int]
) -> tuple[FixedScan, float, list[Any]]:
    """The fixed scan with the least mean time on the tuning samples, and the power that calibrates there."""
    scans = [FixedScan(seconds, end) for end in ENDS for seconds in TIMES]

    def strategies(chosen: list[FixedScan]) -> dict[str, Strategy]:
        return {scan.name: (lambda sample, scan=scan: trial.fixed(sample, scan)) for scan in chosen}

    rows = run(drawn, strategies(scans), out, shard)
    best = cheapest(rows, scans, trial.power)
    scans += [replace(best, step=step, seconds=best.seconds * step / FIXED_STEP) for step in STEPS]
    rows = run(drawn, strategies(scans), out, shard)
    return cheapest(rows, scans, trial.power), power_of(rows, scans), rows


def power_of(rows: list[Any], scans: list[FixedScan]) -> float:
    """The power of the posterior with the most likelihood on scans of samples whose group is known."""
    pairs = [(row[scan.name]["log_probability"], row["group"]) for row in rows for scan in scans]
    pairs = [(np.array(said), group) for said, group in pairs if said]
    return fitted_power([said for said, _ in pairs], [group for _, group in pairs])


def cheapest(rows: list[Any], scans: list[FixedScan], power: float) -> FixedScan:
    """The scan with the least mean charged time."""

    def mean(scan: FixedScan) -> float:
        return float(np.mean([of(row[scan.name], power).charged(row["group"]) for row in rows]))

    return min(scans, key=mean)


def own_folder(out: Path, about: dict[str, Any]) -> None:
    """Rows are known by their seeds alone: BadInput where OUT has those of other settings."""
    note = out / "about.json"
    if note.is_file() and json.loads(note.read_text("utf-8")) != about:
        raise BadInput(f"{out} has rows of other settings ({note}): give another --out.")
    if note.is_file():
        return
    out.mkdir(parents=True, exist_ok=True)
    # another shard may be doing the same: whole or not at all
    part = out / f"about-{os.getpid()}.part"
    part.write_text(json.dumps(about) + "\n", "utf-8")
    part.replace(note)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--structures", type=Path, required=True, help="folder with the parquet tables")
    parser.add_argument("--number", type=some, default=200)
    parser.add_argument("--tuning", type=some, default=40, help="other samples, for the fixed scan")
    parser.add_argument(
        "--scan",
        type=positive,
        nargs=3,
        metavar=("SECONDS", "END", "STEP"),
        help="a fixed scan that was tuned before, instead of tuning one: seconds a point, last angle, step",
    )
    parser.add_argument("--others", type=int, default=200, help="samples for random and everywhere, at most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--peak-rate",
        type=float,
        nargs=2,
        default=STAGE_TWO,
        metavar=("LOW", "HIGH"),
        help="counts a second at the highest peak, log-uniform between these (default: %(default)s)",
    )
    parser.add_argument(
        "--crystals",
        choices=("made", "databases", "random"),
        default="made",
        help="structures of held-out formulas that were made, all of the databases, or random crystals in the"
        " space groups of the latter",
    )
    parser.add_argument(
        "--told",
        choices=("nothing", "elements", "amounts"),
        default="nothing",
        help="what the sample table says of the chemistry (known entries are left out: these are among them)",
    )
    parser.add_argument("--power", type=float, default=1.0, help="of the posterior, before it is compared")
    parser.add_argument("--checkpoint", default="default")
    parser.add_argument("--out", type=Path, default=Path("adaptive"))
    parser.add_argument("--shard", type=shard_of, default=(1, 1), help="I/N: make every N-th row only")
    parser.add_argument("--overhead", type=float, default=COSTS.overhead, help="seconds a measurement")
    parser.add_argument("--move", type=float, default=COSTS.move_per_point, help="seconds a point")
    parser.add_argument("--picture", type=Path, help="draw the posterior against time")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    costs = replace(COSTS, overhead=arguments.overhead, move_per_point=arguments.move)
    # the bench stops by the calibrated posterior: the verdict must not do so before
    classifier = Classifier.load(arguments.checkpoint, "inorganic")
    if classifier.composition is not None:
        # the samples' own entries are among the known ones, and would tell their groups
        classifier = replace(classifier, composition=replace(classifier.composition, known=None))
    identifier = Identifier(classifier, settings=IdentifySettings(identified=0.9999))
    low, high = arguments.peak_rate
    if not 0 < low <= high < math.inf:
        raise BadInput(
            f"--peak-rate {low:g} {high:g}: give two counts a second above 0, the smaller one first."
        )
    if not 0 < arguments.power < math.inf:
        raise BadInput(f"--power {arguments.power:g}: give a number above 0; 1 takes the posterior as it is.")
    about = {"seed": arguments.seed, "tuning": arguments.tuning, "peak_rate": [low, high]}
    about |= {
        "crystals": arguments.crystals,
        "power": arguments.power,
        "told": arguments.told,
        "checkpoint": str(arguments.checkpoint),
        "costs": asdict(costs),
    }
    if arguments.scan:
        if arguments.scan[1] <= RANGE[0]:
            raise BadInput(f"--scan ends at {arguments.scan[1]:g} degrees: give an angle above {RANGE[0]:g}.")
        about["scan"] = arguments.scan
    own_folder(arguments.out, about)
    samples, others = draw(
        arguments.structures,
        arguments.number,
        arguments.tuning,
        arguments.seed,
        (low, high),
        arguments.told,
        arguments.crystals,
    )
    out, shard = arguments.out, arguments.shard
    trial = Trial(identifier, arguments.power, costs=costs)
    told: dict[str, Any] = {"told": arguments.told, "crystals": arguments.crystals}
    if arguments.scan:
        scan = FixedScan(*arguments.scan)
    else:
        scan, told["power_of_tuning"], rows = tuned(others, trial, out / "tuning.jsonl", shard)
        if len(rows) < len(others):
            sys.exit(
                f"{len(rows)} of {len(others)} tuning samples are made: run the other shards, then again."
            )
    strategies: dict[str, Strategy] = {"fixed": lambda sample: trial.fixed(sample, scan)}
    strategies |= {"adaptive": trial.adaptive, "lines": trial.lines}
    made = run(samples, strategies, out / "rows.jsonl", shard)
    strategies["everywhere"] = lambda sample: trial.everywhere(sample, scan)
    strategies["random"] = trial.random
    further = run(samples[: arguments.others], strategies, out / "rows.jsonl", shard)
    result = summary(made, further, scan, arguments.power)
    result |= told
    if arguments.picture:
        drawn_curve(further or made, arguments.picture)
    tell(result, as_json=arguments.json)


if __name__ == "__main__":
    reported(main, "tests.bench.adaptive")
