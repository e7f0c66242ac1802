"""`python tests/bench/survey.py --structures DIR [--json]`: shifts of many samples, spent two ways.

The samples of `adaptive.py` (held-out structures, stage 2, three decades of brightness), one identifier,
which knows the cells.

equal     every sample gets the same share of the shift, in one scan of the whole range
survey    a glance at the lines of each cell (`--first-at range`: at the whole range), then the agent's
          decisions in the order of `plans.survey` (`eg_agent.decide.whose_turn`); nothing begins that would
          not end in time

Shifts are of different samples; the interval is bootstrapped over samples, paired.
decided: the leading group has a probability of 0.95 at the end; right: and is the true one; wrong: is not.
Both pay for changing samples, moves and overheads (`trainer.benchmark.counted_samples.COSTS`).
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

if __name__ == "__main__":
    for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(_name, "1")
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from eg_agent.decide import Decision, State, whose_turn
from eg_agent.decide.limits import MEASURING
from eg_agent.decide.opening import EVERY_LINE, opening
from eg_agent.decide.turns import SPREAD, check_spread, seconds_of
from eg_agent.identify import Identifier, IdentifySettings
from eg_agent.reporting import reported
from tests.bench.adaptive_strategies import STOP_AT, Trial
from tests.bench.telling import positive, some, tell
from trainer.benchmark.counted_samples import (
    COSTS,
    DIM,
    FIRST_END,
    GLANCE,
    Measuring,
    Sample,
    Windows,
    draw,
)

#: What the equal shares are spent on: last angle and step, degrees.
RANGE_OF_SHARES, STEP_OF_SHARES = (5.0, 60.0), 0.04
#: What a glance looks at: the lines of the cell, or the range of the equal shares.
FirstAt = Literal["lines", "range"]
WAYS = ("equal", "survey")


@dataclass
class Waiting:
    """A sample whose next measurement is known."""

    number: int
    decision: Decision
    state: State


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

    def survey(self, first_at: FirstAt = "lines", spread: float = SPREAD) -> dict[str, Any]:
        """A glance at each, then where information is."""
        waiting = []
        for number, at in enumerate(self.at):
            self._to(number)
            took = at.measure(self._first(at, first_at), GLANCE)
            self.spent += took
            self.states[number] = self.states[number].measured(took, seconds_per_point=GLANCE, step=at.step)
            waiting += self._decided(number)
        while waiting:
            in_beam = self.states[self.in_beam].sample
            best = whose_turn(waiting, in_beam, COSTS, spread=spread)
            waiting.remove(best)
            if self.spent + seconds_of(best, in_beam, COSTS) > self.budget:
                continue
            self._to(best.number)
            took = self.at[best.number].measure(best.decision.windows, best.decision.seconds_per_point or 0.0)
            self.spent += took
            self.states[best.number] = self.states[best.number].spent(best.decision, took)
            waiting += self._decided(best.number)
        return self.summary()

    def _first(self, at: Measuring, first_at: FirstAt) -> Windows:
        """What is measured of a sample first."""
        if first_at == "range":
            return (RANGE_OF_SHARES,)
        sample = at.sample
        until = (sample.two_theta[0], sample.reached(FIRST_END))
        return opening(sample.cell, sample.radiation, until, at.step, lines=EVERY_LINE)

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
        return (
            [Waiting(number, decision, self.states[number])]
            if decision.action in MEASURING and decision.windows
            else []
        )

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
            "right_of": [bool(r) for r in right],
            "seconds": round(self.spent, 1),
            "measured_seconds": [round(at.seconds, 1) for at in self.at],
            "course": [(round(t, 1), n) for t, n in self.course],
        }


def run(
    samples: list[Sample],
    trial: Trial,
    seconds: float,
    first_at: FirstAt = "lines",
    spread: float = SPREAD,
) -> dict[str, dict[str, Any]]:
    """Both ways, on the same samples; seconds: of the shift."""
    return {
        "equal": Shift(trial, samples, seconds).equal(),
        "survey": Shift(trial, samples, seconds).survey(first_at, spread),
    }


def report(shifts: list[dict[str, dict[str, Any]]], seconds: float) -> dict[str, Any]:
    """What both ways decided of all shifts, and the shifts themselves."""
    right = {name: np.concatenate([shift[name]["right_of"] for shift in shifts]) for name in WAYS}
    more = right["survey"].astype(float) - right["equal"]
    rng = np.random.default_rng(0)
    drawn = more[rng.integers(more.size, size=(2000, more.size))].mean(axis=1)
    totals = {
        name: {key: sum(shift[name][key] for shift in shifts) for key in ("decided", "right", "wrong")}
        for name in WAYS
    }
    return {
        "shifts": len(shifts),
        "n": int(more.size),
        "shift_seconds": seconds,
        **totals,
        "more_right": {
            "value": float(more.mean()),
            "low": float(np.quantile(drawn, 0.025)),
            "high": float(np.quantile(drawn, 0.975)),
        },
        "each": shifts,
    }


def draw_course(result: dict[str, Any], path: Path) -> None:
    """Samples of a shift decided and right against its time, the mean of all shifts."""
    from eg_agent.view import style

    figure = style.new_figure(4.8, 3.2)
    axes = figure.subplots()
    end, number = result["shift_seconds"], result["n"] / result["shifts"]
    hours = np.linspace(0.0, end, 500) / 3600.0
    labels = {"equal": "equal shares", "survey": "survey"}
    for name, colour in (("equal", style.RESIDUAL), ("survey", style.FIT)):
        courses = [np.array([(0.0, 0.0), *shift[name]["course"]]) for shift in result["each"]]
        known = [c[np.searchsorted(c[:, 0] / 3600.0, hours, side="right") - 1, 1] for c in courses]
        axes.plot(hours, np.mean(known, axis=0), color=colour, label=labels[name])
    axes.set_xlabel("hours of the shift", fontsize=9)
    axes.set_ylabel(f"samples decided and right, of {number:g}", fontsize=9)
    axes.set_xlim(0.0, end / 3600.0)
    axes.set_ylim(0.0, number)
    axes.legend(frameon=False, fontsize=8)
    style.tidy(axes)
    figure.tight_layout()
    style.save(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--structures", type=Path, required=True, help="folder with the parquet tables")
    parser.add_argument("--shifts", type=some, default=1)
    parser.add_argument("--number", type=some, default=20, help="samples of a shift")
    parser.add_argument("--hours", type=positive, default=6.0, help="of a shift of 20 samples")
    parser.add_argument(
        "--peak-rate",
        type=positive,
        nargs=2,
        default=DIM,
        metavar=("LOW", "HIGH"),
        help="counts a second at the highest peak, log-uniform between these (default: %(default)s)",
    )
    parser.add_argument("--first-at", choices=get_args(FirstAt), default="lines")
    parser.add_argument("--spread", type=float, default=SPREAD, help="of `eg_agent.decide.whose_turn`")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--power", type=positive, default=1.0, help="of the posterior, as adaptive.py fits it"
    )
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    check_spread(arguments.spread)
    trial = Trial(Identifier("default", "inorganic", IdentifySettings(identified=STOP_AT)), arguments.power)
    number, seconds = arguments.number, 3600.0 * arguments.hours * arguments.number / 20.0
    drawn, _ = draw(
        arguments.structures, number * arguments.shifts, 2, arguments.seed, tuple(arguments.peak_rate)
    )
    shifts = []
    for first in range(0, len(drawn), number):
        samples = [one.sample() for one in drawn[first : first + number]]
        shifts.append(run(samples, trial, seconds, arguments.first_at, arguments.spread))
        said = {name: shifts[-1][name]["right"] for name in WAYS}
        sys.stderr.write(f"shift {len(shifts)}: right {said}\n")
    result = report(shifts, seconds)
    if arguments.plot:
        draw_course(result, arguments.plot)
    tell(
        result if arguments.json else {k: v for k, v in result.items() if k != "each"}, as_json=arguments.json
    )


if __name__ == "__main__":
    reported(main, "tests.bench.survey")
