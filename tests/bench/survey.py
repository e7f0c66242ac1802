"""`python tests/bench/survey.py --structures DIR [--json]`: a shift of many samples, its time spent two ways.

The samples of `adaptive.py` (held-out structures, stage 2, three decades of brightness), one identifier.

equal     every sample gets the same share of the shift, in one scan of the whole range
survey    a glance at each, then always the decision of the agent with the most expected nats a second,
          the change of sample included, as `plans.survey` chooses; nothing begins that would not end in time

decided: the leading group has a probability of 0.95 at the end; right: and is the true one; wrong: is not.
Both pay for changing samples, moves and overheads (`trainer.benchmark.counted_samples.COSTS`).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(_name, "1")
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from eg_agent.decide import Decision, State
from eg_agent.decide.limits import MEASURING
from eg_agent.identify import Identifier, IdentifySettings
from eg_agent.reporting import reported
from tests.bench.adaptive_strategies import STOP_AT, Trial
from trainer.benchmark.counted_samples import COSTS, Drawn, Measuring, Sample, draw

#: What the equal shares are spent on: last angle and step, degrees.
RANGE_OF_SHARES, STEP_OF_SHARES = (5.0, 60.0), 0.04
#: Seconds a point of a glance, over the same range and step.
GLANCE = 0.1


@dataclass
class Waiting:
    """A sample whose next measurement is known."""

    number: int
    decision: Decision


class Shift:
    """One shift: what was measured of each sample, what is said of it, seconds spent, and its course."""

    def __init__(self, trial: Trial, samples: list[Sample], seconds: float) -> None:
        self.trial, self.samples, self.budget = trial, samples, seconds
        self.at = [Measuring(sample, interleaved=True) for sample in samples]
        self.states = [State(sample=sample.name, samples_left=len(samples)) for sample in samples]
        self.said: list[tuple[int, float]] = [(0, 0.0)] * len(samples)
        self.spent = 0.0
        self.in_beam = -1
        self.course: list[tuple[float, int]] = []

    def _to(self, number: int) -> None:
        if self.in_beam != number:
            self.spent += COSTS.sample_change
            self.in_beam = number

    def equal(self) -> dict[str, Any]:
        """The same time for each."""
        share = self.budget / len(self.samples) - COSTS.sample_change
        per_point = 0.0
        while COSTS.of((RANGE_OF_SHARES,), STEP_OF_SHARES, per_point + 0.005).seconds <= share:
            per_point += 0.005
        for number, at in enumerate(self.at):
            self._to(number)
            at.angles, at.step, at.coarser = at.sample.axis(STEP_OF_SHARES)
            self.spent += at.measure((RANGE_OF_SHARES,), per_point)
            self._look(number)
        return self.summary()

    def survey(self) -> dict[str, Any]:
        """A glance at each, then where information is."""
        waiting = []
        for number, at in enumerate(self.at):
            self._to(number)
            took = at.measure((RANGE_OF_SHARES,), GLANCE)
            self.spent += took
            self.states[number] = self.states[number].measured(took, seconds_per_point=GLANCE, step=at.step)
            waiting += self._decided(number)
        while waiting:
            best = max(waiting, key=self._rate)
            waiting.remove(best)
            change = 0.0 if best.number == self.in_beam else COSTS.sample_change
            if self.spent + change + best.decision.cost > self.budget:
                continue
            self._to(best.number)
            took = self.at[best.number].measure(best.decision.windows, best.decision.seconds_per_point or 0.0)
            self.spent += took
            self.states[best.number] = self.states[best.number].spent(best.decision, took)
            waiting += self._decided(best.number)
        return self.summary()

    def _rate(self, waiting: Waiting) -> float:
        change = 0.0 if waiting.number == self.in_beam else COSTS.sample_change
        gain = waiting.decision.expected_gain * waiting.decision.cost
        return gain / max(waiting.decision.cost + change, 1e-9)

    def _look(self, number: int) -> Any:
        found = self.trial.look(self.at[number])
        self.said[number] = self.trial.top(found)
        right = sum(
            group == sample.group and p >= STOP_AT
            for (group, p), sample in zip(self.said, self.samples, strict=True)
        )
        self.course.append((self.spent, right))
        return found

    def _decided(self, number: int) -> list[Waiting]:
        """The sample's next measurement; none when it is known or the agent gives it up."""
        found = self._look(number)
        if self.said[number][1] >= STOP_AT:
            return []
        self.states[number] = self.states[number].seen(found)
        decision = self.trial.decider.decide(found, self.states[number])
        return [Waiting(number, decision)] if decision.action in MEASURING and decision.windows else []

    def summary(self) -> dict[str, Any]:
        """How many were decided, right and wrong, and when."""
        decided = [p >= STOP_AT for _, p in self.said]
        right = [
            d and group == sample.group
            for d, (group, _), sample in zip(decided, self.said, self.samples, strict=True)
        ]
        return {
            "decided": sum(decided),
            "right": sum(right),
            "wrong": sum(decided) - sum(right),
            "seconds": round(self.spent, 1),
            "measured_seconds": [round(at.seconds, 1) for at in self.at],
            "course": [(round(t, 1), n) for t, n in self.course],
        }


def run(drawn: list[Drawn], trial: Trial, seconds: float) -> dict[str, Any]:
    """Both ways, on the same samples."""
    samples = [one.sample() for one in drawn]
    found = {name: getattr(Shift(trial, samples, seconds), name)() for name in ("equal", "survey")}
    return {"n": len(samples), "shift_seconds": seconds, **found}


def draw_course(result: dict[str, Any], path: Path) -> None:
    """Samples decided and right against the time of the shift."""
    from eg_agent.view import style

    figure = style.new_figure(4.8, 3.2)
    axes = figure.subplots()
    for name, colour in (("equal", style.RESIDUAL), ("survey", style.FIT)):
        course = [(0.0, 0), *result[name]["course"], (result["shift_seconds"], result[name]["right"])]
        axes.step(
            [t / 3600 for t, _ in course], [n for _, n in course], where="post", color=colour, label=name
        )
    axes.set_xlabel("hours of the shift", fontsize=9)
    axes.set_ylabel(f"samples decided and right, of {result['n']}", fontsize=9)
    axes.set_ylim(0, result["n"])
    axes.legend(frameon=False, fontsize=8)
    style.tidy(axes)
    figure.tight_layout()
    style.save(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--structures", type=Path, required=True, help="folder with the parquet tables")
    parser.add_argument("--number", type=int, default=20)
    parser.add_argument("--hours", type=float, default=6.0, help="of a shift of 20 samples")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--power", type=float, default=1.0, help="of the posterior, as adaptive.py fits it")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    identifier = Identifier("default", "inorganic", IdentifySettings(identified=STOP_AT))
    drawn, _ = draw(arguments.structures, arguments.number, 2, arguments.seed)
    seconds = 3600.0 * arguments.hours * arguments.number / 20.0
    result = run(drawn, Trial(identifier, arguments.power), seconds)
    if arguments.plot:
        draw_course(result, arguments.plot)
    if arguments.json:
        sys.stdout.write(json.dumps(result, indent=1) + "\n")
        return
    for name in ("equal", "survey"):
        row = {k: v for k, v in result[name].items() if k not in ("course", "measured_seconds")}
        sys.stdout.write(f"{name:8s} {row}\n")


if __name__ == "__main__":
    reported(main, "tests.bench.survey")
