"""`identify`: measure samples until their symmetry is known, the agent deciding what to count."""

from __future__ import annotations

import math
import uuid
from collections.abc import Sequence
from typing import Any, Literal

import bluesky.plan_stubs as bps
from bluesky.utils import RunEngineControlException

from eg_agent.decide.decision import Decision
from eg_agent.decide.limits import MEASURING, Limits
from eg_agent.decide.state import State
from eg_agent.errors import BadInput
from plans.asking import AgentAnswer, Asks, wait_for
from plans.devices import Diffractometer
from plans.limits import OutsideLimits, within
from plans.scan import Plan, Shape, Window, measure


def identify(
    diffractometer: Diffractometer,
    agent: Asks,
    samples: Sequence[str | int],
    *,
    limits: Limits | None = None,
    two_theta: Window | None = None,
    step: float = 0.02,
    seconds_per_point: float = 1.0,
    shape: Shape = "auto",
    wavelength: float | None = None,
    answer_timeout: float = 30.0,
    approval_timeout: float = 600.0,
    retries: int = 0,
    on_ask: Literal["next", "pause"] = "next",
    md: dict[str, Any] | None = None,
) -> Plan:
    """For each sample: scan, ask the agent, carry out its decision inside the limits, go on.

    samples: what the changer's signal takes, in order. two_theta: (low, high) in degrees of the first
    scan (default: the limits'); step: degrees; seconds_per_point: seconds, of the first scan.
    wavelength: angstrom, when the device does not have it as a signal or configuration.
    answer_timeout: seconds; with no answer in time the plan goes on to the next sample.
    approval_timeout: seconds that a person has in the agent's mode "propose".
    retries: further attempts at a measurement whose run failed, with the same decision id.
    on_ask: what to do when the agent asks for a person: go to the next sample, or pause the RunEngine.

    Every run's metadata says what it is for: `sample`, `eg_shift`, `eg_decision_id`, `eg_attempt`,
    `eg_action`, `eg_reason`, `wavelength`, `seconds_per_point`, `eg_samples_left`.
    Returns the last decision of each sample as a dict. A dry run works with `summarize_plan`: it asks nobody.
    """
    limits = limits or Limits()
    if not samples:
        raise BadInput("no samples: give the names or positions that the sample changer takes.")
    job = _Job(
        diffractometer=diffractometer,
        agent=agent,
        limits=limits,
        two_theta=two_theta or limits.two_theta,
        step=step,
        seconds_per_point=seconds_per_point,
        shape=shape,
        wavelength=wavelength,
        answer_timeout=answer_timeout,
        approval_timeout=approval_timeout,
        retries=retries,
        on_ask=on_ask,
        md=md or {},
    )
    return (yield from within(limits, diffractometer, job.plan(samples)))


class _Job:
    """One call of `identify`: its settings, its shift, and the plan in steps."""

    def __init__(
        self,
        *,
        diffractometer: Diffractometer,
        agent: Asks,
        limits: Limits,
        two_theta: Window,
        step: float,
        seconds_per_point: float,
        shape: Shape,
        wavelength: float | None,
        answer_timeout: float,
        approval_timeout: float,
        retries: int,
        on_ask: str,
        md: dict[str, Any],
    ) -> None:
        self.diffractometer = diffractometer
        self.agent = agent
        self.limits = limits
        self.two_theta = two_theta
        self.step = step
        self.seconds_per_point = seconds_per_point
        self.shape: Shape = shape
        self.wavelength = wavelength
        self.answer_timeout = answer_timeout
        self.approval_timeout = approval_timeout
        self.retries = retries
        self.on_ask = on_ask
        self.md = md
        self.shift = uuid.uuid4().hex[:12]

    def plan(self, samples: Sequence[str | int]) -> Plan:
        decided: dict[str, Decision] = {}
        lit = yield from self.lit()
        for i, sample in enumerate(samples):
            yield from bps.mv(self.diffractometer.sample, sample)
            context = {
                **self.md,
                **lit,
                "sample": str(sample),
                "eg_shift": self.shift,
                "eg_samples_left": len(samples) - i - 1,
            }
            decision = yield from self.sample(str(sample), i, context)
            decided[str(sample)] = decision
            if decision.action == "stop":
                break
            if decision.action == "ask a person" and self.on_ask == "pause":
                yield from bps.pause()
        return decided

    def lit(self) -> Plan:
        """Wavelength for the metadata, from the argument or from the device's own signals."""
        if self.wavelength is not None:
            return {"wavelength": float(self.wavelength)}
        found: dict[str, Any] = {}
        for name in ("wavelength", "wavelength2", "wavelength_ratio"):
            if hasattr(self.diffractometer, name):
                value = yield from bps.rd(getattr(self.diffractometer, name), default_value=0.0)
                if value:
                    found[name] = float(value)
        return found

    def sample(self, name: str, position: int, context: dict[str, Any]) -> Plan:
        """One sample, from its first scan to a decision that ends it; returns that decision."""
        first = Decision(
            decision_id=f"first-{self.shift}-{position}",
            action="count longer",
            reason="First scan of the sample, as the plan was told.",
            windows=(self.two_theta,),
            seconds_per_point=self.seconds_per_point,
            sample=name,
        )
        uid = yield from self.run(first, context, whole=True)
        while True:
            decision, state = yield from self.ask(uid, name)
            if decision.action not in MEASURING:
                return decision
            allowed = yield from self.allowed(decision, state)
            if not allowed:  # recorded as refused, or the mode is "observe": on to the next sample
                return decision
            uid = yield from self.run(decision, context)

    def ask(self, uid: str | None, sample: str) -> Plan:
        """The agent's decision on a run and the state it was made in; the default when none comes."""
        if uid is None:  # a dry run
            return Decision("dry-run", "next sample", "Dry run.", sample=sample, default=True), State(sample)
        answer: AgentAnswer | None = yield from wait_for(self.agent.ask(uid), self.answer_timeout)
        if answer is None:
            reason = f"No answer within {self.answer_timeout:g} s"
            return self.agent.default(uid, sample, reason), State(sample)
        return answer.decision, answer.state

    def allowed(self, decision: Decision, state: State) -> Plan:
        """Whether a measuring decision is inside the limits, approved, and not done yet."""
        violations = self.limits.violations(decision, state)
        if violations:
            self.agent.outcome(decision, "refused", " ".join(violations))
            return False
        approved = yield from wait_for(self.agent.approval(decision), self.approval_timeout)
        if approved is None:
            self.agent.outcome(decision, "expired", f"nobody approved it in {self.approval_timeout:g} s")
        return bool(approved)

    def run(self, decision: Decision, context: dict[str, Any], *, whole: bool = False) -> Plan:
        """Carry out a measuring decision: at most one successful run, retries with the next attempt."""
        for retry in range(1 + self.retries):
            begun = self.agent.begin(decision)
            if begun is None:
                self.agent.outcome(decision, "refused", "it was carried out already")
                raise OutsideLimits(f"decision {decision.decision_id} was carried out already.")
            try:
                return (yield from self.measure(begun, context, whole=whole))
            except RunEngineControlException:
                raise
            except OutsideLimits:
                raise
            except Exception:
                if retry == self.retries:
                    raise
        raise AssertionError("unreachable")

    def measure(self, decision: Decision, context: dict[str, Any], *, whole: bool) -> Plan:
        low = min(low for low, _ in decision.windows)
        high = max(high for _, high in decision.windows)
        metadata = {
            **context,
            "eg_decision_id": decision.decision_id,
            "eg_attempt": decision.attempt,
            "eg_action": decision.action,
            "eg_reason": decision.reason,
        }
        # Windows keep to the grid of the first scan, whose counts they are added to; the grid begins
        # lower when a window does, but inside the limits.
        start = self.two_theta[0]
        if low < start:
            steps = math.floor((low - start) / self.step + 1e-6)
            if start + steps * self.step < self.limits.two_theta[0] - 1e-6:
                steps += 1
            start = max(round(start + steps * self.step, 6), self.limits.two_theta[0])
        return (
            yield from measure(
                self.diffractometer,
                two_theta=(start, max(high, start + self.step)),
                step=self.step,
                seconds_per_point=decision.seconds_per_point or self.seconds_per_point,
                windows=() if whole else decision.windows,
                shape=self.shape,
                md=metadata,
            )
        )
