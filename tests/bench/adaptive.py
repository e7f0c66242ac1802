"""`python tests/bench/adaptive.py --structures DIR [--json]`: what the agent's decisions save in time.

Samples are structures that training held out, with the nuisances of stage 2, a brightness drawn over two
decades, and a cell from the sample table that is 0.1 % off. All strategies stop when the fused posterior
of one group reaches 0.95 (the same identifier); a wrong or an unfinished answer is charged the whole
budget. Seconds count, moves and overheads included (`Costs`):

fixed       one scan of the whole range; its counting time is the best for the mean on other samples
everywhere  the whole range again and again, each time as long as all before together
random      as the agent, but each window of the agent's is put at a random angle
adaptive    a glance of the whole range, then what `Decider` asks for

median_ratio, mean_ratio: time of fixed over adaptive, of a sample in the median, and of the means.
Intervals: bootstrap over samples. Rows are kept in --out, so that a stopped run goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(_name, "1")
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import numpy.typing as npt

from eg_agent.decide import Costs, Decider, DecideSettings, Decision, Limits, State
from eg_agent.identify import Identifier, IdentifySettings
from eg_agent.identify.identification import Identification
from eg_agent.patterns import Pattern, Radiation, Source
from eg_agent.records.merging import merge
from simulators import Crystal
from simulators.measurement import Rate, expected_rate
from simulators.realistic import realistic_instrument, realistic_specimen

RANGE = (5.0, 90.0)
STEP = 0.02
#: Counts a second at the highest peak: a weak sample on an old tube to a strong one on a strip detector.
PEAK_RATE = (20.0, 2000.0)
CELL_ERROR = 1e-3
STOP_AT = 0.95
#: Seconds a sample may take in all: a night.
BUDGET = 28800.0
#: Counting times that the fixed scan is tuned over, seconds a point.
FIXED = (0.1, 0.2, 0.4, 0.8, 1.5, 3.0, 6.0)
GLANCE = 0.05
COSTS = Costs()
LIMITS = Limits(
    two_theta=RANGE,
    max_seconds_per_point=300.0,
    max_seconds_per_sample=BUDGET,
    max_total_seconds=1e9,
    max_repeats=30,
)


@dataclass(frozen=True, eq=False)
class Sample:
    """One sample: the true group, its rate at an angle, the cell that the table says, and its own seed."""

    group: int
    name: str
    rate: Rate
    cell: tuple[float, ...]
    seed: int


@dataclass(frozen=True)
class Outcome:
    """What a strategy came to: seconds spent, the group it stopped at (0: unfinished), its probability."""

    seconds: float
    answer: int
    probability: float
    looks: tuple[tuple[float, float], ...] = ()

    def charged(self, group: int) -> float:
        """Seconds, or the whole budget for a wrong or an unfinished answer."""
        return min(self.seconds, BUDGET) if self.answer == group else BUDGET


def draw(folder: Path, number: int, seed: int) -> list[Sample]:
    """`number` samples of structures that training held out, a function of the seed."""
    from tests.bench.study_fusion import crystals

    rng = np.random.default_rng([0xADA, seed])
    chosen = crystals(folder, rng, number, held_out_only=True)
    return [make_sample(crystal, chosen, rng, seed * 100_000 + i) for i, crystal in enumerate(chosen)]


def make_sample(crystal: Crystal, others: list[Crystal], rng: np.random.Generator, seed: int) -> Sample:
    """A crystal as a powder on a diffractometer of stage 2."""
    rate = expected_rate(
        crystal,
        Radiation.anode("Cu"),
        instrument=realistic_instrument(rng),
        specimen=realistic_specimen(rng, others),
        peak_rate=float(np.exp(rng.uniform(*np.log(PEAK_RATE)))),
        two_theta_max=RANGE[1],
    )
    scale = 1.0 + CELL_ERROR * float(rng.standard_normal())
    a, b, c, *angles = crystal.cell
    return Sample(crystal.group, crystal.name, rate, (scale * a, scale * b, scale * c, *angles), seed)


class Measuring:
    """A sample on the diffractometer: what was counted so far, and what that took."""

    def __init__(self, sample: Sample) -> None:
        self.sample = sample
        self.angles = np.arange(RANGE[0], RANGE[1], STEP)
        self._rate = sample.rate(self.angles)
        self._rng = np.random.default_rng([0xC0, sample.seed])
        self.pattern: Pattern | None = None
        self.seconds = 0.0

    def measure(self, windows: tuple[tuple[float, float], ...], seconds: float) -> None:
        """Count the points inside the windows (degrees) for `seconds` each."""
        inside = np.zeros(self.angles.size, dtype=bool)
        for low, high in windows:
            inside |= (self.angles >= low - 1e-6) & (self.angles <= high + 1e-6)
        x = np.round(self.angles[inside], 6)
        new = Pattern(
            two_theta=x,
            intensity=self._rng.poisson(self._rate[inside] * seconds).astype(np.float64),
            radiation=Radiation.anode("Cu"),
            counting_time=np.full(x.size, seconds),
            raw_counts=True,
            covered=tuple(windows) if len(windows) > 1 else (),
            source=Source(kind="simulation", name=self.sample.name),
        )
        self.pattern = new if self.pattern is None else merge(self.pattern, new)
        self.seconds += COSTS.measurement(x.size, seconds)


class Trial:
    """The strategies, with one identifier for all of them."""

    def __init__(self, identifier: Identifier, settings: DecideSettings | None = None) -> None:
        self.identifier = identifier
        self.decider = Decider(LIMITS, settings, COSTS)

    def look(self, at: Measuring) -> Identification:
        """The identification of all that was measured."""
        assert at.pattern is not None
        return self.identifier.identify(at.pattern, at.sample.cell)

    def fixed(self, sample: Sample, seconds: float) -> Outcome:
        """One scan."""
        at = Measuring(sample)
        at.measure((RANGE,), seconds)
        return outcome(at, self.look(at), [])

    def everywhere(self, sample: Sample) -> Outcome:
        """The whole range, doubled until it is enough."""
        at, looks, counted = Measuring(sample), [], 0.0
        while True:
            per_point = counted or GLANCE
            at.measure((RANGE,), per_point)
            counted += per_point
            found = self.look(at)
            looks.append((at.seconds, top(found)[1]))
            next_one = COSTS.measurement(at.angles.size, counted)
            if top(found)[1] >= STOP_AT or at.seconds + next_one > BUDGET:
                return outcome(at, found, looks)

    def adaptive(self, sample: Sample, move: Callable[[Decision], Decision] = lambda d: d) -> Outcome:
        """The agent's own decisions; move: what is done to each before it is carried out."""
        at, looks = Measuring(sample), []
        at.measure((RANGE,), GLANCE)
        state = State(sample=sample.name).measured(at.seconds, seconds_per_point=GLANCE)
        while True:
            found = self.look(at)
            looks.append((at.seconds, top(found)[1]))
            if top(found)[1] >= STOP_AT:
                return outcome(at, found, looks)
            state = state.seen(found)
            decision = self.decider.decide(found, state)
            if not decision.windows or decision.seconds_per_point is None:
                return outcome(at, found, looks)
            decision = move(decision)
            before = at.seconds
            at.measure(decision.windows, decision.seconds_per_point or 0.0)
            state = state.spent(decision, at.seconds - before)

    def random(self, sample: Sample) -> Outcome:
        """Windows as wide and as long as the agent's, put anywhere."""
        rng = np.random.default_rng([0xA4D, sample.seed])

        def moved(decision: Decision) -> Decision:
            windows = []
            for low, high in decision.windows:
                width = min(high - low, RANGE[1] - RANGE[0])
                start = float(rng.uniform(RANGE[0], RANGE[1] - width)) if width < 60 else low
                windows.append((start, start + width))
            return replace(decision, windows=tuple(sorted(windows)))

        return self.adaptive(sample, moved)


def top(found: Identification) -> tuple[int, float]:
    """Most probable group and its probability; (0, 0) when refused."""
    return (found.top[0].group, found.top[0].probability) if found.top else (0, 0.0)


def outcome(at: Measuring, found: Identification, looks: list[tuple[float, float]]) -> Outcome:
    """Stopped here: an answer only where it is sure enough."""
    group, probability = top(found)
    return Outcome(at.seconds, group if probability >= STOP_AT else 0, probability, tuple(looks))


def run(samples: list[Sample], trial: Trial, strategies: dict[str, Any], out: Path) -> list[dict[str, Any]]:
    """A row a sample; those that `out` has are not made again."""
    known = {}
    if out.is_file():
        known = {row["seed"]: row for row in map(json.loads, out.read_text().splitlines())}
    rows = []
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("a") as file:
        for i, sample in enumerate(samples):
            row = known.get(sample.seed)
            if row is None or set(strategies) - set(row):
                row = {"seed": sample.seed, "name": sample.name, "group": sample.group}
                for name, strategy in strategies.items():
                    row[name] = asdict(strategy(sample))
                file.write(json.dumps(row) + "\n")
                file.flush()
            rows.append(row)
            sys.stderr.write(f"{out.name}: {i + 1} of {len(samples)}\r")
    return rows


def charged(rows: list[dict[str, Any]], name: str) -> npt.NDArray[np.float64]:
    """[n] seconds of a strategy, wrong and unfinished answers at the whole budget."""
    return np.array([of(row[name]).charged(row["group"]) for row in rows])


def of(row: dict[str, Any]) -> Outcome:
    """An outcome as it was stored."""
    return Outcome(row["seconds"], row["answer"], row["probability"], tuple(map(tuple, row["looks"])))


def tuned(rows: list[dict[str, Any]]) -> float:
    """The counting time of the fixed scan with the least mean time on the tuning samples."""
    return min(FIXED, key=lambda s: float(charged(rows, f"fixed {s:g}").mean()))


def summary(rows: list[dict[str, Any]], fixed_seconds: float, seed: int = 0) -> dict[str, Any]:
    """The figures, with 95 % intervals of a bootstrap over samples."""
    truth = np.array([row["group"] for row in rows])
    time = {name: charged(rows, name) for name in ("fixed", "everywhere", "random", "adaptive")}
    right = {name: np.array([row[name]["answer"] for row in rows]) == truth for name in time}
    wrong = {name: (np.array([row[name]["answer"] for row in rows]) > 0) & ~right[name] for name in time}
    pick = np.random.default_rng(seed).integers(len(rows), size=(2000, len(rows)))

    def interval(figure: Callable[[Any], float]) -> dict[str, float]:
        draws = [figure(index) for index in pick]
        low, high = np.quantile(draws, (0.025, 0.975))
        return {"value": figure(slice(None)), "low": float(low), "high": float(high)}

    def against(name: str) -> dict[str, Any]:
        return {
            "median_ratio": interval(lambda i: float(np.median(time[name][i] / time["adaptive"][i]))),
            "mean_ratio": interval(lambda i: float(time[name][i].mean() / time["adaptive"][i].mean())),
        }

    stopped = [of(row["adaptive"]) for row in rows if row["adaptive"]["answer"]]
    return {
        "n": len(rows),
        "fixed_seconds_per_point": fixed_seconds,
        "median_ratio": against("fixed")["median_ratio"]["value"],
        "mean_ratio": against("fixed")["mean_ratio"]["value"],
        "accuracy_adaptive": float(right["adaptive"].mean()),
        "accuracy_fixed": float(right["fixed"].mean()),
        "worse_share": float((time["adaptive"] > time["fixed"]).mean()),
        "against": {name: against(name) for name in ("fixed", "everywhere", "random")},
        "accuracy_difference": interval(
            lambda i: float(right["adaptive"][i].mean() - right["fixed"][i].mean())
        ),
        "accuracy": {name: interval(lambda i, r=r: float(r[i].mean())) for name, r in right.items()},
        "wrong": {name: float(w.mean()) for name, w in wrong.items()},
        "mean_seconds": {name: float(t.mean()) for name, t in time.items()},
        "median_seconds": {name: float(np.median(t)) for name, t in time.items()},
        "claimed_when_stopped": float(np.mean([o.probability for o in stopped])) if stopped else None,
        "right_when_stopped": float(right["adaptive"].sum() / max(1, len(stopped))),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--structures", type=Path, required=True, help="folder with the parquet tables")
    parser.add_argument("--number", type=int, default=200)
    parser.add_argument("--tuning", type=int, default=40, help="other samples, for the fixed scan")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--checkpoint", default="default")
    parser.add_argument("--out", type=Path, default=Path("adaptive"))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    settings = IdentifySettings(identified=STOP_AT)
    trial = Trial(Identifier(arguments.checkpoint, "inorganic", settings))
    others = draw(arguments.structures, arguments.tuning, arguments.seed + 1000)
    grid = {f"fixed {s:g}": (lambda sample, s=s: trial.fixed(sample, s)) for s in FIXED}
    seconds = tuned(run(others, trial, grid, arguments.out / "tuning.jsonl"))
    strategies = {
        "fixed": lambda sample: trial.fixed(sample, seconds),
        "everywhere": trial.everywhere,
        "random": trial.random,
        "adaptive": trial.adaptive,
    }
    samples = draw(arguments.structures, arguments.number, arguments.seed)
    result = summary(run(samples, trial, strategies, arguments.out / "rows.jsonl"), seconds)
    if arguments.json:
        sys.stdout.write(json.dumps(result, indent=1) + "\n")
        return
    for name, value in result.items():
        sys.stdout.write(f"{name:26s} {value}\n")


if __name__ == "__main__":
    main()
