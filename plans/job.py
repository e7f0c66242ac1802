"""What `identify` and `survey` share: measuring a sample, asking the agent, carrying out its decisions."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import bluesky.plan_stubs as bps
from bluesky.utils import RunEngineControlException

from eg_agent.decide.decision import Decision
from eg_agent.decide.interleaving import Interleaving
from eg_agent.decide.limits import MEASURING, Limits
from eg_agent.decide.state import State
from eg_agent.errors import BadInput
from eg_agent.values import to_dict
from plans.asking import AgentAnswer, Asks, wait_for
from plans.devices import Diffractometer
from plans.limits import OutsideLimits
from plans.scan import Plan, Shape, Window, measure

_log = logging.getLogger(__name__)

#: What the first scan of a sample is: the whole range, or the lines of its cell where the agent knows one.
FirstAt = Literal["range", "lines"]
#: Hypotheses that go into the metadata of a decision's run.
NAMED = 5


@dataclass(eq=False)
class Job:
    """The settings of a plan that asks an agent, and its steps; see `identify` for the arguments."""

    diffractometer: Diffractometer
    agent: Asks
    limits: Limits
    two_theta: Window
    step: float
    seconds_per_point: float
    shape: Shape
    wavelength: float | None
    answer_timeout: float
    approval_timeout: float
    retries: int
    shift: str
    first_at: FirstAt = "range"
    interleaved: bool = False
    on_ask: Literal["next", "pause"] = "next"
    md: dict[str, Any] = field(default_factory=dict)
    #: What was known when the last decision on a sample was made, for the metadata of its run.
    known: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: On which of two grids each sample was counted.
    grids: dict[str, Interleaving] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.first_at not in get_args(FirstAt):
            raise BadInput(
                f"first_at is {self.first_at!r}: give {' or '.join(map(repr, get_args(FirstAt)))}."
            )

    def lit(self) -> Plan:
        """Wavelength for the metadata, from the argument or from the device's own signals."""
        return lit(self.diffractometer, self.wavelength)

    def context(self, sample: str, left: int, found: dict[str, Any]) -> dict[str, Any]:
        """Metadata of every run of a sample; left: samples that wait."""
        return {
            **self.md,
            **found,
            "sample": sample,
            "eg_shift": self.shift,
            "eg_samples_left": left,
            "eg_limits": to_dict(self.limits),
        }

    def first(self, name: str, position: int, lit: Mapping[str, Any] | None = None) -> Decision:
        """The first scan of a sample, as a decision like any other; the same id whenever it is asked for.

        lit: wavelengths of the metadata.
        """
        at, windows = "", ()
        if self.first_at == "lines":
            windows = self.agent.opening(name, lit or {}, self.two_theta, self.step)
            at = (
                " at the lines of its cell"
                if windows
                else ", everywhere: the agent has no cell of it that can be used"
            )
        return Decision(
            decision_id=f"first-{self.shift}-{position}",
            action="count longer",
            reason=f"First scan of the sample{at}, as the plan was told.",
            windows=windows or (self.two_theta,),
            seconds_per_point=self.seconds_per_point,
            sample=name,
        )

    def ask(self, uid: str | None, sample: str) -> Plan:
        """The agent's decision on a run and the state it was made in; the default when none comes."""
        if uid is None:  # a dry run
            return Decision("dry-run", "next sample", "Dry run.", sample=sample, default=True), State(sample)
        answer: AgentAnswer | None = yield from wait_for(self.agent.ask(uid), self.answer_timeout)
        if answer is None:
            reason = f"No answer within {self.answer_timeout:g} s"
            return self.agent.default(uid, sample, reason), State(sample)
        self.known[answer.decision.decision_id] = hypotheses(answer)
        return answer.decision, answer.state

    def allowed(self, decision: Decision, state: State) -> Plan:
        """Whether a measuring decision is inside the limits, approved, and not done yet."""
        violations = self.limits.violations(decision, state)
        if violations:
            self.agent.outcome(decision, "refused", " ".join(violations))
            return False
        if decision.action == "spin" and getattr(self.diffractometer, "spinner", None) is None:
            self.agent.outcome(decision, "refused", "the diffractometer has no signal `spinner`")
            return False
        approved = yield from wait_for(self.agent.approval(decision), self.approval_timeout)
        if approved is None:
            self.agent.outcome(decision, "expired", f"nobody approved it in {self.approval_timeout:g} s")
        return bool(approved)

    def whole(self, decision: Decision) -> bool:
        """Whether a decision is the plain scan of the whole range, no windows in it."""
        return decision.windows == (self.two_theta,)

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
            except Exception as error:  # of a device, which may work the next time
                if retry == self.retries:
                    raise
                _log.warning("decision %s is tried again: %s", decision.decision_id, error)
        raise AssertionError("unreachable")

    def measure(self, decision: Decision, context: dict[str, Any], *, whole: bool) -> Plan:
        """The run of a measuring decision; its metadata say what it is for and what was known."""
        low = min(low for low, _ in decision.windows)
        high = max(high for _, high in decision.windows)
        metadata = {
            **context,
            **self.known.get(decision.decision_id, {}),
            "eg_decision_id": decision.decision_id,
            "eg_attempt": decision.attempt,
            "eg_action": decision.action,
            "eg_reason": decision.reason,
        }
        finer = decision.action == "finer step"
        # interleaved measurements have half the plan's step together: that is not what is asked for
        step = (decision.step if finer or not self.interleaved else None) or self.step
        if decision.action == "spin":
            yield from bps.mv(self.diffractometer.spinner, 1)  # type: ignore[attr-defined]
        # Windows keep to the grid of the first scan, whose counts they are added to; the grid begins
        # lower when a window does, but inside the limits.
        start = self.two_theta[0]
        if low < start:
            steps = math.floor((low - start) / step + 1e-6)
            if start + steps * step < self.limits.two_theta[0] - 1e-6:
                steps += 1
            start = max(round(start + steps * step, 6), self.limits.two_theta[0])
        grids = self.grids.setdefault(decision.sample or "", Interleaving())
        turn = grids.turn(decision.windows) if self.interleaved and not finer else 0
        start = round(start + 0.5 * turn * step, 6)
        uid = yield from measure(
            self.diffractometer,
            two_theta=(start, max(high, start + step)),
            step=step,
            seconds_per_point=decision.seconds_per_point or self.seconds_per_point,
            windows=() if whole else decision.windows,
            shape=self.shape,
            md=metadata,
        )
        grids.add(turn, decision.windows, decision.seconds_per_point or self.seconds_per_point)
        return uid

    def carried_out(self, decision: Decision, state: State, context: dict[str, Any]) -> Plan:
        """The uid of the run of a decision, or None when it ends the sample or may not be carried out."""
        if decision.action not in MEASURING:
            return None
        allowed = yield from self.allowed(decision, state)
        if not allowed:  # recorded as refused, or the mode is "observe"
            return None
        return (yield from self.run(decision, context))


def lit(diffractometer: Any, wavelength: float | None) -> Plan:
    """Wavelength for the metadata, from the argument (angstrom) or from the device's own signals."""
    if wavelength is not None:
        return {"wavelength": float(wavelength)}
    found: dict[str, Any] = {}
    for name in ("wavelength", "wavelength2", "wavelength_ratio"):
        if hasattr(diffractometer, name):
            value = yield from bps.rd(getattr(diffractometer, name), default_value=0.0)
            if value:
                found[name] = float(value)
    return found


def hypotheses(answer: Any) -> dict[str, Any]:
    """Metadata that say what was known: leading groups with probabilities, checkpoint, runs it saw."""
    found = getattr(answer, "identification", None)
    told: dict[str, Any] = {
        "eg_decided_from": list(getattr(answer, "runs", ())),
        "eg_expected_gain": answer.decision.expected_gain,
        "eg_state": to_dict(answer.state),
    }
    if found is not None:
        told["eg_hypotheses"] = [
            {"group": g.group, "symbol": g.symbol, "probability": round(float(g.probability), 6)}
            for g in found.top[:NAMED]
        ]
        told["eg_checkpoint"] = str(getattr(found.provenance, "checkpoint", ""))
    return told
