"""`python tests/bench/survey.py --structures DIR [--json]`: shifts of many samples, spent two ways.

The samples of `adaptive.py` (held-out structures, stage 2, three decades of brightness), one identifier,
which knows the cells.

equal     every sample gets the same share of the shift, in one scan (--scan END STEP)
in_turn   every sample in its turn is measured by the agent, for its share of what is left at most: what
          one sample does not need is shared by those that follow
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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

if __name__ == "__main__":
    for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(_name, "1")
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from eg_agent.decide import Decider, Decision, State, whose_turn
from eg_agent.decide.limits import MEASURING
from eg_agent.decide.opening import EVERY_LINE, opening
from eg_agent.decide.turns import SPREAD, check_spread, seconds_of
from eg_agent.errors import BadInput
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

#: What the equal shares are spent on: last angle and step, degrees; the best of eight on 320 other samples.
SCAN = (60.0, 0.08)
#: What a glance looks at: the lines of the cell, or all angles up to the last of them.
FirstAt = Literal["lines", "range"]
WAYS = ("equal", "in_turn", "survey")


@dataclass
class Waiting:
    """A sample whose next measurement is known."""

    number: int
    decision: Decision
    state: State


def first_windows(at: Measuring, first_at: FirstAt = "lines") -> Windows:
    """What is measured of a sample first."""
    sample = at.sample
    until = (sample.two_theta[0], sample.reached(FIRST_END))
    if first_at == "range":
        return (until,)
    return opening(sample.cell, sample.radiation, until, at.step, lines=EVERY_LINE)


class Shift:
    """One shift: what was measured of each sample, what is said of it, seconds spent, and its course."""

    def __init__(
        self, trial: Trial, samples: list[Sample], seconds: float, first_at: FirstAt = "lines"
    ) -> None:
        self.first_at: FirstAt = first_at
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

    def equal(self, end: float, step: float) -> dict[str, Any]:
        """The same time for each; end, step: of the scan, degrees."""
        share = self.budget / len(self.samples) - COSTS.sample_change
        windows = ((self.samples[0].two_theta[0], end),)
        fixed = COSTS.of(windows, step, 0.0).seconds
        per_point = (share - fixed) / (COSTS.of(windows, step, 1.0).seconds - fixed)
        if not per_point > 0.0:
            raise BadInput(
                f"a share of {max(share, 0.0):.0f} s is less than moves of a scan take: give more --hours."
            )
        for number, at in enumerate(self.at):
            self._to(number)
            at.angles, at.step, at.coarser = at.sample.axis(step)
            self.spent += at.measure(windows, per_point)
            self._look(number)
        return self.summary()

    def in_turn(self) -> dict[str, Any]:
        """The agent at each sample until it is known or its share is used up."""
        for number in range(len(self.at)):
            share = (self.budget - self.spent) / (len(self.at) - number) - COSTS.sample_change
            limits = replace(self.trial.limits, max_seconds_per_sample=share)
            decider = Decider(limits, self.trial.settings, self.trial.costs)
            self._to(number)
            waiting = self._glanced(number, decider)
            while waiting:
                waiting = self._carried_out(waiting[0], decider)
        return self.summary()

    def survey(self, spread: float = SPREAD) -> dict[str, Any]:
        """A glance at each, then where information is."""
        decider = self.trial.decider
        waiting = []
        for number in range(len(self.at)):
            self._to(number)
            waiting += self._glanced(number, decider)
        while waiting:
            in_beam = self.states[self.in_beam].sample
            best = whose_turn(waiting, in_beam, COSTS, spread=spread)
            waiting.remove(best)
            if self.spent + seconds_of(best, in_beam, COSTS) <= self.budget:
                self._to(best.number)
                waiting += self._carried_out(best, decider)
        return self.summary()

    def _glanced(self, number: int, decider: Decider) -> list[Waiting]:
        """A sample's first measurement, and what it asks for."""
        at = self.at[number]
        took = at.measure(first_windows(at, self.first_at), GLANCE)
        self.spent += took
        self.states[number] = self.states[number].measured(took, seconds_per_point=GLANCE, step=at.step)
        return self._decided(number, decider)

    def _carried_out(self, waiting: Waiting, decider: Decider) -> list[Waiting]:
        """A decision measured, and what the sample asks for then."""
        number, decision = waiting.number, waiting.decision
        took = self.at[number].measure(decision.windows, decision.seconds_per_point or 0.0)
        self.spent += took
        self.states[number] = self.states[number].spent(decision, took)
        return self._decided(number, decider)

    def _look(self, number: int) -> Any:
        found = self.trial.look(self.at[number])
        self.said[number] = self.trial.top(found)
        right = sum(
            group == sample.group and p >= STOP_AT
            for (group, p), sample in zip(self.said, self.samples, strict=True)
        )
        self.course.append((self.spent, right))
        return found

    def _decided(self, number: int, decider: Decider) -> list[Waiting]:
        """The sample's next measurement; none when it is known or the agent gives it up."""
        found = self._look(number)
        if self.said[number][1] >= STOP_AT:
            return []
        self.states[number] = self.states[number].seen(found)
        decision = decider.decide(found, self.states[number])
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
    scan: tuple[float, float] = SCAN,
) -> dict[str, dict[str, Any]]:
    """All ways, on the same samples; seconds: of the shift."""

    def shift() -> Shift:
        return Shift(trial, samples, seconds, first_at)

    return {"equal": shift().equal(*scan), "in_turn": shift().in_turn(), "survey": shift().survey(spread)}


def report(shifts: list[dict[str, dict[str, Any]]], seconds: float) -> dict[str, Any]:
    """What all ways decided of all shifts, and the shifts themselves."""
    right = {name: np.concatenate([shift[name]["right_of"] for shift in shifts]) for name in WAYS}
    rng = np.random.default_rng(0)
    again = rng.integers(right["survey"].size, size=(2000, right["survey"].size))
    more = {}
    for name in WAYS[:-1]:
        difference = right["survey"].astype(float) - right[name]
        low, high = np.quantile(difference[again].mean(axis=1), (0.025, 0.975))
        more[name] = {"value": float(difference.mean()), "low": float(low), "high": float(high)}
    totals = {
        name: {key: sum(shift[name][key] for shift in shifts) for key in ("decided", "right", "wrong")}
        for name in WAYS
    }
    return {
        "shifts": len(shifts),
        "n": int(right["survey"].size),
        "shift_seconds": seconds,
        **totals,
        "more_right_than": more,
        "each": shifts,
    }


def draw_course(result: dict[str, Any], path: Path) -> None:
    """Samples of a shift decided and right against its time, the mean of all shifts."""
    from eg_agent.view import style

    figure = style.new_figure(4.8, 3.2)
    axes = figure.subplots()
    end, number = result["shift_seconds"], result["n"] / result["shifts"]
    hours = np.linspace(0.0, end, 500) / 3600.0
    labels = {"equal": "equal shares, one scan", "in_turn": "agent, one after another", "survey": "survey"}
    colours = (style.RESIDUAL, style.BACKGROUND, style.FIT)
    for name, colour in zip(WAYS, colours, strict=True):
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
    parser.add_argument(
        "--scan",
        type=positive,
        nargs=2,
        default=SCAN,
        metavar=("END", "STEP"),
        help="of equal shares: last angle and step, degrees (default: %(default)s)",
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
        arguments.structures, number * arguments.shifts, 2, arguments.seed, tuple(sorted(arguments.peak_rate))
    )
    shifts = []
    for first in range(0, len(drawn), number):
        samples = [one.sample() for one in drawn[first : first + number]]
        shifts.append(
            run(samples, trial, seconds, arguments.first_at, arguments.spread, tuple(arguments.scan))
        )
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
