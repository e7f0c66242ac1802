"""Where `eg_agent.decide.chance` has its weights: `python -m tests.bench.study_turns STRUCTURES --out DIR`.

Simulated samples (those of `survey.py`, other seeds) are measured by the agent alone, each up to a time that
no shift would give it. A sample's course does not depend on when it has its turns. So courses are recorded
once, in DIR, one file a set and a line a sample (a stopped run goes on), and then

- the weights are fitted: logistic regression of "this measurement brought an answer at 0.95" on what
  `eg_agent.decide.chance.features` says of it, with a ridge of 1;
- shifts of 20 samples are dealt out from the courses, 60 from each set, by chances whose weights were fitted
  on a set of each brightness other than the one that is dealt out, and by promises.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from eg_agent.decide import Decision, Look, State
from eg_agent.decide.chance import FEATURES, features
from eg_agent.decide.limits import MEASURING
from eg_agent.decide.turns import next_of, seconds_of
from eg_agent.identify import Identifier, IdentifySettings
from eg_agent.reporting import reported
from tests.bench.adaptive_strategies import STOP_AT, Trial
from tests.bench.survey import first_windows
from tests.bench.telling import some
from trainer.benchmark.counted_samples import COSTS, DIM, GLANCE, STAGE_TWO, Measuring, PeakRates, draw

Floats = npt.NDArray[np.float64]
Course = dict[str, Any]
Score = Callable[[Decision, State], float]


@dataclass(frozen=True)
class Set:
    """Samples of one brightness. until: seconds of a sample's course; shift: seconds of a shift of 20."""

    name: str
    seed: int
    peak_rate: PeakRates
    until: float
    shift: float


SETS = (
    Set("dim-31", 31, DIM, 6000.0, 21600.0),
    Set("bright-32", 32, STAGE_TWO, 2500.0, 7200.0),
    Set("dim-33", 33, DIM, 6000.0, 21600.0),
    Set("bright-34", 34, STAGE_TWO, 2500.0, 7200.0),
)
#: Samples of a shift, shifts of a set.
SAMPLES, SHIFTS = 20, 60


def course_of(at: Measuring, trial: Trial, until: float) -> Course:
    """One sample, measured by the agent: what was said after each measurement, and what was decided."""
    state = State(sample=at.sample.name)
    took = at.measure(first_windows(at), GLANCE)
    state = state.measured(took, seconds_per_point=GLANCE, step=at.step)
    steps: list[dict[str, Any]] = []
    while True:
        found = trial.look(at)
        group, probability = trial.top(found)
        state = state.seen(found)
        steps.append({"t": at.seconds, "took": took, "p": probability, "g": group})
        if probability >= STOP_AT or at.seconds > until:
            break
        decision = trial.decider.decide(found, state)
        if decision.action not in MEASURING or not decision.windows:
            break
        last = state.history[-1]
        steps[-1] |= {"H": last.entropy, "verdict": last.verdict}
        steps[-1] |= {"cost": decision.cost, "rate": decision.expected_gain}
        took = at.measure(decision.windows, decision.seconds_per_point or 0.0)
        state = state.spent(decision, took)
    return {"group": at.sample.group, "steps": steps}


def recorded(one: Set, number: int, structures: Path, out: Path) -> list[Course]:
    """The courses of a set, those that are missing measured now."""
    path = out / f"{one.name}.jsonl"
    done = path.read_text().splitlines() if path.is_file() else []
    if len(done) < number:
        trial = Trial(Identifier("default", "inorganic", IdentifySettings(identified=STOP_AT)))
        drawn, _ = draw(structures, number, 2, one.seed, one.peak_rate)
        with path.open("a") as file:
            for each in drawn[len(done) :]:
                at = Measuring(each.sample(), interleaved=True)
                file.write(json.dumps(course_of(at, trial, one.until)) + "\n")
                file.flush()
                sys.stderr.write(f"{one.name}: {each.crystal.name}\n")
        done = path.read_text().splitlines()
    return [json.loads(line) for line in done[:number]]


def asked(course: Course, number: int, name: str = "") -> tuple[Decision, State]:
    """What was decided after a look of a course, and the state of then."""
    steps = course["steps"][max(0, number - 1) : number + 1]
    looks = tuple(
        Look(
            step.get("verdict", "undecided"),
            probability=None if step.get("verdict") == "refused" else step["p"],
            entropy=step.get("H"),
        )
        for step in steps
    )
    now = steps[-1]
    decision = Decision(name, "count longer", "", cost=now["cost"], expected_gain=now["rate"], sample=name)
    return decision, State(name, sample_seconds=now["t"], repeats=number, history=looks)


def measurements(courses: Sequence[Course]) -> Iterator[tuple[Floats, bool]]:
    """Features of each measurement that was decided on, and whether it brought an answer."""
    for course in courses:
        for number, after in enumerate(course["steps"][1:]):
            yield features(*asked(course, number)), after["p"] >= STOP_AT


def fit(rows: Sequence[tuple[Floats, bool]], ridge: float = 1.0) -> tuple[Floats, float]:
    """Weights and intercept of the chance, by logistic regression; the ridge is on standardized features."""
    x = np.array([row for row, _ in rows])
    y = np.array([answered for _, answered in rows], dtype=np.float64)
    mean, scale = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-9)
    z = np.column_stack([(x - mean) / scale, np.ones(len(x))])

    def loss(w: Floats) -> tuple[float, Floats]:
        score = z @ w
        wanted = np.append(w[:-1], 0.0)
        value = float((np.logaddexp(0.0, score) - y * score).sum() + 0.5 * ridge * wanted @ wanted)
        return value, z.T @ (1.0 / (1.0 + np.exp(-score)) - y) + ridge * wanted

    w = minimize(loss, np.zeros(z.shape[1]), jac=True, method="L-BFGS-B").x
    return w[:-1] / scale, float(w[-1] - (w[:-1] / scale) @ mean)


def by_chance(weights: Floats, intercept: float) -> Score:
    """The chance with these weights."""
    return lambda decision, state: float(
        1.0 / (1.0 + np.exp(-(features(decision, state) @ weights + intercept)))
    )


def by_promise(decision: Decision, state: State) -> float:
    """Promised nats."""
    return decision.expected_gain * decision.cost


@dataclass(eq=False)
class Turn:
    """A sample of a dealt-out shift, after one of its looks."""

    course: Course
    number: int
    decision: Decision
    state: State


def shift(courses: Sequence[Course], budget: float, score: Score, spread: float) -> tuple[int, int]:
    """A shift dealt out from courses: decided and right, decided and wrong."""
    spent, in_beam, answers = 0.0, "", []
    waiting: list[Turn] = []

    def look(course: Course, number: int, name: str) -> None:
        step = course["steps"][number]
        if step["p"] >= STOP_AT:
            answers.append(step["g"] == course["group"])
        elif "cost" in step:
            waiting.append(Turn(course, number, *asked(course, number, name)))

    for number, course in enumerate(courses):
        spent, in_beam = spent + COSTS.sample_change + course["steps"][0]["t"], str(number)
        look(course, 0, in_beam)
    while waiting:
        best = next_of(waiting, in_beam, COSTS, score=score, spread=spread)
        waiting.remove(best)
        if spent + seconds_of(best, in_beam, COSTS) > budget or best.number + 1 >= len(best.course["steps"]):
            continue
        change = seconds_of(best, in_beam, COSTS) - best.decision.cost
        spent, in_beam = spent + change + best.course["steps"][best.number + 1]["took"], best.state.sample
        look(best.course, best.number + 1, in_beam)
    return sum(answers), len(answers) - sum(answers)


def dealt(courses: Sequence[Course], budget: float, score: Score, spread: float) -> list[float]:
    """Means of right and wrong over shifts of a set."""
    rng = np.random.default_rng(5)
    each = [
        shift([courses[i] for i in rng.choice(len(courses), SAMPLES, replace=False)], budget, score, spread)
        for _ in range(SHIFTS)
    ]
    return [round(float(value), 2) for value in np.mean(each, axis=0)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("structures", type=Path, help="folder with the parquet tables")
    parser.add_argument("--out", type=Path, required=True, help="folder of the courses")
    parser.add_argument("--number", type=some, default=160, help="samples of a set")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    courses = {one.name: recorded(one, arguments.number, arguments.structures, arguments.out) for one in SETS}
    rows = {name: list(measurements(found)) for name, found in courses.items()}
    for one in SETS:
        others = [
            row
            for other in SETS
            # one of each brightness: the other of this one, and the one of the other that shares its place
            if other is not one and (other.peak_rate == one.peak_rate or abs(other.seed - one.seed) == 1)
            for row in rows[other.name]
        ]
        chance = by_chance(*fit(others))
        for name, score in (("chances", chance), ("promises", by_promise)):
            for spread in (2.0, 5.0, 10.0, float("inf")):
                right, wrong = dealt(courses[one.name], one.shift, score, spread)
                sys.stdout.write(
                    f"{one.name:10s} {name:9s} spread {spread:4g}: right {right}, wrong {wrong}\n"
                )
    weights, intercept = fit([row for found in rows.values() for row in found])
    sys.stdout.write(f"{sum(map(len, rows.values()))} measurements\n")
    for name, weight in zip(FEATURES, weights, strict=True):
        sys.stdout.write(f"{name:10s} {weight:+.3f}\n")
    sys.stdout.write(f"intercept  {intercept:+.3f}\n")


if __name__ == "__main__":
    reported(main, "tests.bench.study_turns")
