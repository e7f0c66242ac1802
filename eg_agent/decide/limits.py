"""`Limits`: the fence no decision leaves; `Costs`: what a measurement takes besides counting."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from pydantic import ConfigDict

from eg_agent.decide.decision import ActionName, Decision
from eg_agent.decide.state import State
from eg_agent.errors import BadInput
from eg_agent.values import VALUE_CONFIG

#: Actions that measure the same sample again.
MEASURING: tuple[ActionName, ...] = ("count longer", "extend range", "finer step", "repeat all", "spin")

#: Of these, the ones that every plan can carry out: a finer step and a spinner have to be allowed by hand.
USUAL: tuple[ActionName, ...] = ("count longer", "extend range", "repeat all")

#: Actions that end the work on a sample. One of them must be allowed, or nothing could ever end.
ENDING: tuple[ActionName, ...] = ("next sample", "stop", "ask a person")


@dataclass(frozen=True, slots=True)
class Limits:
    """What the agent may do. Everything it decides stays inside; wherever a message is emitted,
    `violations` checks it again.

    two_theta: (low, high) in degrees, the range the goniometer or the plan allows.
    max_seconds_per_point: longest counting time of one point.
    max_seconds_per_sample, max_total_seconds: budgets of estimated time, moves and overhead included.
    max_repeats: measurements of one sample after its first. With 8 the default time of a sample is used as
        well as with 32; with 3, fewer samples are answered (docs/explanations/deciding.md).
    max_moves: motor moves of one measurement; max_dose_per_sample: in the unit of `Costs.dose_rate`. None for
        no limit.
    smallest_step: degrees.
    actions: the actions that are allowed. "finer step" and "spin" are not, unless they are named here.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    two_theta: tuple[float, float] = (5.0, 90.0)
    max_seconds_per_point: float = 60.0
    max_seconds_per_sample: float = 1800.0
    max_total_seconds: float = 28800.0
    max_repeats: int = 8
    actions: tuple[ActionName, ...] = (*USUAL, *ENDING)
    max_moves: int | None = None
    max_dose_per_sample: float | None = None
    smallest_step: float = 0.002

    def __post_init__(self) -> None:
        low, high = self.two_theta
        if not -180.0 <= low < high <= 180.0:
            raise BadInput(
                f"two_theta limits ({low:g}, {high:g}) are not a range in degrees: give low, high."
            )
        for name in ("max_seconds_per_point", "max_seconds_per_sample", "max_total_seconds"):
            if not 0.0 < getattr(self, name) < float("inf"):
                raise BadInput(f"{name} is {getattr(self, name):g}: give seconds, above 0.")
        if self.max_repeats < 0:
            raise BadInput(f"max_repeats is {self.max_repeats}: give 0 or more.")
        if self.max_moves is not None and self.max_moves < 1:
            raise BadInput(f"max_moves is {self.max_moves}: give 1 or more, or None.")
        if self.max_dose_per_sample is not None and not 0.0 < self.max_dose_per_sample < float("inf"):
            raise BadInput(f"max_dose_per_sample is {self.max_dose_per_sample:g}: give it above 0, or None.")
        if not 0.0 < self.smallest_step < 10.0:
            raise BadInput(f"smallest_step is {self.smallest_step:g}: give degrees above 0.")
        unknown = set(self.actions) - {*MEASURING, *ENDING}
        if unknown or not set(self.actions) & set(ENDING):
            raise BadInput(
                f"allowed actions {', '.join(self.actions) or '(none)'} leave no way to end: "
                f"allow at least one of {', '.join(ENDING)}."
            )

    def violations(self, decision: Decision, state: State) -> tuple[str, ...]:
        """Why `decision` may not be carried out in `state`, one sentence each; empty when it may."""
        found: list[str] = []
        # An ending is always possible: without it, a plan at its limits could not be told to end.
        if decision.action not in self.actions:
            found.append(f"the action {decision.action!r} is not allowed.")
        if decision.action not in MEASURING:
            return tuple(found)
        if not decision.windows:
            found.append("nothing to measure: the decision has no window.")
        for low, high in decision.windows:
            if not (self.two_theta[0] <= low < high <= self.two_theta[1]):
                found.append(
                    f"window {low:g}-{high:g} deg leaves {self.two_theta[0]:g}-{self.two_theta[1]:g} deg."
                )
        seconds = decision.seconds_per_point
        if seconds is None or not 0.0 < seconds <= self.max_seconds_per_point:
            found.append(f"{seconds} s a point is not between 0 and {self.max_seconds_per_point:g} s.")
        if not 0.0 <= decision.cost <= self.left(state):
            found.append(f"it takes {decision.cost:.0f} s and {self.left(state):.0f} s are left.")
        if state.repeats >= self.max_repeats:
            found.append(f"the sample was repeated {state.repeats} times, {self.max_repeats} are allowed.")
        if decision.step is not None and not decision.step >= self.smallest_step:
            found.append(f"a step of {decision.step:g} deg is finer than {self.smallest_step:g} deg.")
        if self.max_moves is not None and not 0 <= decision.moves <= self.max_moves:
            found.append(f"it takes {decision.moves} motor moves, {self.max_moves} are allowed.")
        if not 0.0 <= decision.dose <= self.dose_left(state):
            found.append(f"it gives a dose of {decision.dose:g} and {self.dose_left(state):g} are left.")
        return tuple(found)

    def dose_left(self, state: State) -> float:
        """Dose that the present sample may still get; infinite without a limit."""
        if self.max_dose_per_sample is None:
            return float("inf")
        return max(0.0, self.max_dose_per_sample - state.sample_dose)

    def left(self, state: State) -> float:
        """Seconds that may still be spent on the present sample, within both budgets."""
        return max(
            0.0,
            min(
                self.max_seconds_per_sample - state.sample_seconds,
                self.max_total_seconds - state.total_seconds,
            ),
        )


@dataclass(frozen=True, slots=True)
class Costs:
    """Time that a measurement takes besides counting, seconds.

    overhead: opening and closing a run, once a measurement.
    move_per_point: motor move and readout of one point of a step scan.
    sample_change: from one sample to the next.
    whole_trace: one exposure takes all points at once (area or strip detector), so its counting time
        does not grow with their number.
    slew: seconds a degree of travel without counting: back to the start, and between windows.
    spin: from asking for the spinner to its turning. dose_rate: dose a second of open shutter, any unit; the
        shutter is taken to be open while points are counted.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    overhead: float = 10.0
    move_per_point: float = 0.2
    sample_change: float = 30.0
    whole_trace: bool = False
    slew: float = 0.0
    spin: float = 5.0
    dose_rate: float = 0.0

    def __post_init__(self) -> None:
        for name in ("overhead", "move_per_point", "sample_change", "slew", "spin", "dose_rate"):
            if not 0.0 <= getattr(self, name) < float("inf"):
                raise BadInput(f"cost {name} is {getattr(self, name):g}: give seconds, 0 or more.")

    def measurement(self, points: int, seconds_per_point: float) -> float:
        """Seconds of one measurement of `points` points."""
        if self.whole_trace:
            return self.overhead + seconds_per_point
        return self.overhead + points * (seconds_per_point + self.move_per_point)

    def of(self, windows: tuple[tuple[float, float], ...], step: float, seconds_per_point: float) -> Cost:
        """What measuring `windows` (degrees) in steps of `step` degrees takes."""
        points = sum(int((high - low) / step + 1e-9) + 1 for low, high in windows)
        span = windows[-1][1] - windows[0][0] if windows else 0.0
        gaps = sum(max(b[0] - a[1], 0.0) for a, b in pairwise(windows))
        travel = 0.0 if self.whole_trace else self.slew * (span + gaps)
        counting = seconds_per_point * (1 if self.whole_trace else points)
        return Cost(
            seconds=self.measurement(points, seconds_per_point) + travel,
            moves=len(windows) if self.whole_trace else points,
            dose=self.dose_rate * counting,
        )


@dataclass(frozen=True, slots=True)
class Cost:
    """What a measurement takes: seconds (moves and overhead included), motor moves, and dose."""

    seconds: float
    moves: int
    dose: float
