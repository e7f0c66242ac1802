"""The four ways of spending time in `tests/bench/adaptive.py`, with one identifier and one rule to stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from eg_agent.decide import Costs, Decider, DecideSettings, Decision, Limits, State
from eg_agent.identify import Identifier
from eg_agent.identify.fusion import normalise
from eg_agent.identify.identification import Identification
from trainer.benchmark.counted_samples import BUDGET, COSTS, GLANCE, RANGE, Measuring, Sample, Windows

#: Calibrated posterior of one group that stops every strategy.
STOP_AT = 0.95
#: Degrees, of the fixed scan before it is tuned.
FIXED_STEP = 0.04
#: Counting everywhere goes on by this factor.
GROWTH = 2.0


@dataclass(frozen=True)
class FixedScan:
    """A scan of everything: last angle and step in degrees, seconds a point."""

    seconds: float
    end: float = RANGE[1]
    step: float = FIXED_STEP

    @property
    def name(self) -> str:
        return f"fixed {self.seconds:g} s, {RANGE[0]:g}-{self.end:g} deg, step {self.step:g}"


@dataclass(frozen=True)
class Outcome:
    """What a strategy came to: seconds spent, the group it stopped at (0: unfinished), its leading group and
    that one's calibrated probability; looks: (seconds, leading group, probability) after each measurement;
    longest: seconds that the point that was counted longest was counted."""

    seconds: float
    answer: int
    leading: int
    probability: float
    looks: tuple[tuple[float, int, float], ...] = ()
    log_probability: tuple[float, ...] = ()
    longest: float = 0.0

    def charged(self, group: int) -> float:
        """Seconds, or the whole budget for a wrong or an unfinished answer."""
        return min(self.seconds, BUDGET) if self.answer == group else BUDGET


class Trial:
    """The strategies. power: of the fused posterior, before it is compared with `STOP_AT`."""

    def __init__(
        self,
        identifier: Identifier,
        power: float = 1.0,
        settings: DecideSettings | None = None,
        costs: Costs = COSTS,
    ) -> None:
        self.identifier, self.power, self.costs = identifier, power, costs
        # in raw probability: what a question of two groups has to reach
        odds = (STOP_AT / (1.0 - STOP_AT)) ** (1.0 / power)
        self.settings = settings or DecideSettings(
            # a sample that is given up is charged the whole budget all the same: no saving in giving up
            enough=odds / (1.0 + odds),
            wrong_stop=1e3 * BUDGET,
            smallest_gain=0.002,
        )
        self.limits = Limits(
            two_theta=RANGE,
            max_seconds_per_point=600.0,
            max_seconds_per_sample=BUDGET,
            max_total_seconds=1e9,
            max_repeats=32,
        )
        self.decider = self.decider_of(RANGE)

    def decider_of(self, two_theta: tuple[float, float]) -> Decider:
        """Who decides, where only these degrees can be measured."""
        return Decider(replace(self.limits, two_theta=two_theta), self.settings, self.costs)

    def look(self, at: Measuring) -> Identification:
        """The identification of all that was measured."""
        assert at.pattern is not None
        return self.identifier.identify(at.pattern, at.sample.cell, at.sample.composition)

    def top(self, found: Identification) -> tuple[int, float]:
        """Most probable group and its calibrated probability; (0, 0) when refused."""
        if found.log_probability is None:
            return 0, 0.0
        p = np.exp(normalise(self.power * found.log_probability))
        return int(np.argmax(p)) + 1, float(p.max())

    def outcome(self, at: Measuring, found: Identification, looks: list[Any]) -> Outcome:
        """Stopped here: an answer only where it is sure enough."""
        group, probability = self.top(found)
        answer = group if probability >= STOP_AT else 0
        said = () if found.log_probability is None else tuple(np.round(found.log_probability, 4).tolist())
        assert at.pattern is not None
        assert at.pattern.counting_time is not None
        longest = float(at.pattern.counting_time.max())
        return Outcome(at.seconds, answer, group, probability, tuple(looks), said, longest)

    def fixed(self, sample: Sample, scan: FixedScan) -> Outcome:
        """One scan; where the step is not the scan's, with its counting time a degree."""
        at = Measuring(sample, self.costs, scan.step)
        at.measure(((sample.two_theta[0], sample.reached(scan.end)),), scan.seconds * at.coarser)
        found = self.look(at)
        return self.outcome(at, found, [(at.seconds, *self.top(found))])

    def everywhere(self, sample: Sample, scan: FixedScan) -> Outcome:
        """The range of the fixed scan again and again, each time as long as all before together."""
        at, looks, counted = Measuring(sample, self.costs, scan.step), [], 0.0
        windows = ((sample.two_theta[0], sample.reached(scan.end)),)
        while True:
            per_point = (GROWTH - 1.0) * counted or GLANCE
            at.measure(windows, per_point)
            counted += per_point
            found = self.look(at)
            looks.append((at.seconds, *self.top(found)))
            next_one = self.costs.of(windows, at.step, (GROWTH - 1.0) * counted).seconds
            if looks[-1][2] >= STOP_AT or at.seconds + next_one > BUDGET:
                return self.outcome(at, found, looks)

    def adaptive(
        self,
        sample: Sample,
        move: Callable[[Decision], Decision] = lambda d: d,
        told: list[str] | None = None,
    ) -> Outcome:
        """A glance at the first lines, then the agent's own decisions; move: what is done to each before
        it is carried out."""
        at, looks = Measuring(sample, self.costs, interleaved=True), []
        _, seconds = at.glance()
        decider = self.decider_of(sample.two_theta)
        state = State(sample=sample.name).measured(at.seconds, seconds_per_point=seconds, step=at.step)
        while True:
            found = self.look(at)
            looks.append((at.seconds, *self.top(found)))
            if looks[-1][2] >= STOP_AT:
                return self.outcome(at, found, looks)
            state = state.seen(found)
            decision = decider.decide(found, state)
            if told is not None:
                told.append(f"{at.seconds:7.0f} s {looks[-1][1]:3d} {looks[-1][2]:.3f} {decision.reason}")
            if not decision.windows or decision.seconds_per_point is None:
                return self.outcome(at, found, looks)
            decision = move(decision)
            state = state.spent(decision, at.measure(decision.windows, decision.seconds_per_point or 0.0))

    def lines(self, sample: Sample) -> Outcome:
        """The glance again and again, each time as long as all before together: no choice of windows."""
        at, looks = Measuring(sample, self.costs, interleaved=True), []
        windows, counted = at.glance()
        while True:
            found = self.look(at)
            looks.append((at.seconds, *self.top(found)))
            next_one = self.costs.of(windows, at.step, (GROWTH - 1.0) * counted).seconds
            if looks[-1][2] >= STOP_AT or at.seconds + next_one > BUDGET:
                return self.outcome(at, found, looks)
            at.measure(windows, (GROWTH - 1.0) * counted)
            counted *= GROWTH

    def random(self, sample: Sample) -> Outcome:
        """Windows as many, as wide and as long as the agent's, put anywhere."""
        rng = np.random.default_rng([0xA4D, sample.seed])

        def moved(decision: Decision) -> Decision:
            return replace(decision, windows=scattered(decision.windows, rng, sample.two_theta))

        return self.adaptive(sample, moved)


def scattered(windows: Windows, rng: np.random.Generator, two_theta: tuple[float, float] = RANGE) -> Windows:
    """Windows of the same widths anywhere in the range, joined where they overlap."""
    placed = []
    for low, high in windows:
        width = min(high - low, two_theta[1] - two_theta[0])
        start = float(rng.uniform(two_theta[0], two_theta[1] - width))
        placed.append((start, start + width))
    joined: list[tuple[float, float]] = []
    for low, high in sorted(placed):
        if joined and low <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(high, joined[-1][1]))
        else:
            joined.append((low, high))
    return tuple(joined)


def fitted_power(said: list[npt.NDArray[np.float64]], truth: list[int]) -> float:
    """The power of the fused posterior with the most likelihood on samples whose group is known."""
    powers = np.arange(0.6, 3.01, 0.05)
    log_p, index = np.array(said), np.array(truth) - 1
    cost = []
    for power in powers:
        scaled = power * log_p
        scaled -= np.logaddexp.reduce(scaled, axis=1)[:, None]
        cost.append(-float(scaled[np.arange(index.size), index].mean()))
    return float(powers[int(np.argmin(cost))])
