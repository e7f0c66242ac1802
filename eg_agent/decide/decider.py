"""`Decider`: from an identification to the next measurement, inside the limits, with the numbers.

The policy is one-step greedy over expected information gain in nats a second:

1. The shift's time is used up: stop.
2. Identified: next sample (stop when none waits).
3. Refused: a person has to look, as the same measurement again would be refused again; but where nothing
   stood above the noise, the whole range is counted longer (`DecideSettings.weak_ratio` times), as far as
   the limits go.
4. Otherwise, of all ways to count longer or to extend the range that the limits and the budget allow
   and that promise at least `smallest_gain` nats and `share_of_best` of the most that any of them
   promises (repeats are limited, too), the one with the most nats a second.
5. Nothing promises enough: a person, where there is no confident match; else next sample, with the set
   of groups as the answer.

An ending that is not allowed gives way to the next in the order next sample, ask a person, stop.
A decision is a pure function of its inputs, the id included, so a ledger can be replayed.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Literal

from eg_agent.decide.actions import options, trust, weighed
from eg_agent.decide.decision import ActionName, Decision
from eg_agent.decide.gain import Plan, clip, count_plans, extend_plans, unfitted_plans
from eg_agent.decide.limits import Costs, Limits
from eg_agent.decide.predict import Forecast
from eg_agent.decide.scene import scene_of
from eg_agent.decide.settings import DecideSettings
from eg_agent.decide.state import State
from eg_agent.identify.identification import Identification, Measured
from eg_agent.values import to_json

#: A pattern in which nothing stood out is not counted again for less than this, in units of the time so far.
LEAST_RATIO = 0.5

Mode = Literal["observe", "propose", "act"]


class Decider:
    """Decides what to measure next; see the module's docstring for the policy."""

    def __init__(
        self,
        limits: Limits | None = None,
        settings: DecideSettings | None = None,
        costs: Costs | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.settings = settings or DecideSettings()
        self.costs = costs or Costs()

    def decide(
        self,
        identification: Identification,
        state: State,
        *,
        run_uid: str = "",
        mode: Mode = "act",
    ) -> Decision:
        """The next measurement of `state.sample`, or its end.

        identification: the answer for all that was measured of the sample so far.
        run_uid: the run the pattern came from, for the record.
        """
        ident = decision_id(self, identification, state, run_uid)

        def make(action: ActionName, reason: str, plan: Plan | None = None) -> Decision:
            return Decision(
                decision_id=ident,
                action=action,
                reason=reason,
                windows=plan.windows if plan else (),
                seconds_per_point=plan.seconds_per_point if plan else None,
                step=plan.step if plan else None,
                moves=plan.moves if plan else 0,
                dose=plan.dose if plan else 0.0,
                cost=plan.cost if plan else (self.costs.sample_change if action == "next sample" else 0.0),
                expected_gain=plan.rate if plan else 0.0,
                sample=state.sample,
                pattern_uid=identification.provenance.pattern_uid,
                run_uid=run_uid,
                mode=mode,
            )

        total = self.limits.max_total_seconds
        if state.total_seconds >= total:
            return make(
                *self._end("stop", f"{state.total_seconds:.0f} s of {total:.0f} s are used up", state)
            )
        if identification.verdict == "identified":
            best = identification.top[0]
            said = f"{best.symbol} (group {best.group}) has probability {best.probability:.2f}"
            return make(*self._end("next sample", said, state))
        if identification.verdict == "refused" and identification.measured is not None:
            plan = self._longer(identification, state)
            if plan is not None:
                return make("count longer", _say_weak(identification, plan), plan)
        if identification.verdict == "refused" or identification.log_probability is None:
            said = f"no answer can be given: {identification.reason.rstrip('.')}"
            return make(*self._end("ask a person", said, state))
        plan, why_not = self._best(identification, state)
        if plan is not None:
            return make(plan.action, _say(plan), plan)
        best = identification.top[0]
        said = f"{best.symbol} (group {best.group}) leads with {best.probability:.2f}, and {why_not}"
        wish: ActionName = "ask a person" if identification.verdict == "no confident match" else "next sample"
        return make(*self._end(wish, said, state))

    def default(self, state: State, reason: str, *, run_uid: str = "", mode: Mode = "act") -> Decision:
        """The decision when no identification came in time: on with the plan, nothing measured again."""
        action, said = self._end("next sample", reason.rstrip("."), state)
        text = f"default|{to_json(self.limits)}|{_in_ids(state)}|{run_uid}"
        return Decision(
            decision_id=hashlib.sha256(text.encode()).hexdigest()[:16],
            action=action,
            reason=said,
            cost=self.costs.sample_change if action == "next sample" else 0.0,
            sample=state.sample,
            run_uid=run_uid,
            mode=mode,
            default=True,
        )

    def _best(self, identification: Identification, state: State) -> tuple[Plan | None, str]:
        """The plan with the most nats a second that is worth it, or None and why there is none."""
        measured = identification.measured
        if measured is None or not measured.step > 0.0:
            return None, "it is not known what was measured"
        step = state.step or measured.step
        per_point = measured.seconds_per_point or state.seconds_per_point
        if per_point is None:
            return None, "the counting time is not known, so that no longer one can be asked for"
        plans = [
            plan
            for plan in self._plans(identification, measured, per_point, state, step)
            if plan.action in self.limits.actions
        ]
        if state.repeats >= self.limits.max_repeats:
            return None, f"it was measured again {state.repeats} times, as often as the limits allow"
        left = self.limits.left(state)
        affordable = [plan for plan in plans if self._fits(plan, state, left)]
        worth = [plan for plan in affordable if plan.gain >= self.settings.smallest_gain]
        if worth:
            least, most = self._pace(state, left)
            near = [plan for plan in worth if plan.cost <= most] or worth
            least = min(least, max(plan.cost for plan in near))
            near = [plan for plan in near if plan.cost >= least]
            # Each look costs its analysis, and repeats are limited: the best rate belongs to a glance that
            # tells little.
            enough = self.settings.share_of_best * max(plan.gain for plan in near)
            return max((plan for plan in near if plan.gain >= enough), key=lambda plan: plan.rate), ""
        if any(plan.gain >= self.settings.smallest_gain for plan in plans):
            return None, f"what would help does not fit into the limits ({left:.0f} s are left)"
        promised = max((plan.gain for plan in affordable), default=0.0)
        return None, (
            f"no further measurement promises {self.settings.smallest_gain:g} nats (the best: {promised:.2g})"
        )

    def _pace(self, state: State, left: float) -> tuple[float, float]:
        """Seconds that the next measurement should take at least and at most.

        At most `stride` times as long as so far: what is learnt on the way is worth more than a saved
        overhead. But repeats are limited, too: with even growth they would use up the `left` seconds, and
        a measurement of less than half of that wastes one of them.
        """
        spent = state.sample_seconds
        repeats = self.limits.max_repeats - state.repeats
        if spent <= 0.0 or repeats < 1:
            return 0.0, self.settings.stride * spent
        even = ((spent + left) / spent) ** (1.0 / repeats) - 1.0
        return 0.5 * even * spent, max(self.settings.stride, even) * spent

    def _plans(
        self, identification: Identification, measured: Measured, per_point: float, state: State, step: float
    ) -> list[Plan]:
        """What could be measured next in a step (degrees), with what it costs and promises."""
        scene = scene_of(identification, self.limits.two_theta, self.settings)
        if scene is not None and scene.two_theta.size and not self.costs.whole_trace:
            forecast = Forecast(scene, draws=self.settings.draws, enough=self.settings.enough)
            found = options(scene, measured, per_point, self.limits, self.settings, step)
            doubt = self.settings.wrong_stop * (1.0 - float(forecast.now.max()))
            return [
                replace(plan, gain=plan.gain * trust(plan.windows, state))
                for plan in weighed(found, forecast, self.costs, self.settings)
                # worth its time: the share of the doubt that it is expected to remove
                if plan.cost <= doubt * plan.gain / max(forecast.entropy, 1e-9)
            ]
        measured = replace(measured, step=step)
        if identification.evidence is not None and identification.evidence.status == "not fitted":
            return unfitted_plans(identification, measured, per_point, self.limits, self.costs, self.settings)
        args = (identification, measured, per_point, self.limits, self.costs, self.settings)
        return [*count_plans(*args), *extend_plans(*args)]

    def _fits(self, plan: Plan, state: State, left: float) -> bool:
        """Whether a plan keeps to all limits of time, dose, moves and counting time."""
        moves = self.limits.max_moves
        if plan.action == "spin" and state.spun:
            return False  # it turns already
        return (
            plan.cost <= left
            and plan.seconds_per_point <= self.limits.max_seconds_per_point
            and (moves is None or plan.moves <= moves)
            and plan.dose <= self.limits.dose_left(state)
            and (plan.step is None or plan.step >= self.limits.smallest_step)
        )

    def _longer(self, identification: Identification, state: State) -> Plan | None:
        """The whole range counted `weak_ratio` times as long as so far, or None outside the limits."""
        seen = identification.measured
        per_point = None if seen is None else seen.seconds_per_point or state.seconds_per_point
        if (
            seen is None
            or per_point is None
            or not seen.step > 0.0
            or "count longer" not in self.limits.actions
        ):
            return None
        windows, step = clip(seen.windows, self.limits.two_theta), state.step or seen.step
        if not windows or state.repeats >= self.limits.max_repeats:
            return None
        seconds = min(self.settings.weak_ratio * per_point, self.limits.max_seconds_per_point)
        cost = self.costs.of(windows, step, seconds)
        left = self.limits.left(state)
        if cost.seconds > left:  # what is left, where that is still worth a measurement
            fixed = self.costs.of(windows, step, 0.0).seconds
            seconds *= max(left - fixed, 0.0) / (cost.seconds - fixed) * (1.0 - 1e-9)
            cost = self.costs.of(windows, step, seconds)
            if seconds < LEAST_RATIO * per_point:
                return None
        plan = Plan(
            "count longer",
            windows,
            seconds,
            0.0,
            cost.seconds,
            "the whole range",
            moves=cost.moves,
            dose=cost.dose,
        )
        return plan if self._fits(plan, state, left) else None

    def _end(self, wish: ActionName, said: str, state: State) -> tuple[ActionName, str]:
        """An allowed ending, `wish` if possible, and the sentence that says so."""
        order: list[ActionName] = [wish, "next sample", "ask a person", "stop"]
        waits = state.samples_left is None or state.samples_left > 0
        fits = state.total_seconds + self.costs.sample_change < self.limits.max_total_seconds
        if wish == "stop":  # used up: nothing but an ending without cost
            order = ["stop", "ask a person", "next sample"]
        elif not waits or not fits:
            order = [wish, "stop", "ask a person", "next sample"]
            if wish == "next sample":
                order = ["stop", "ask a person", "next sample"]
                said += "; no sample is left" if not waits else "; no time is left for another sample"
        for action in order:
            if action in self.limits.actions:
                return action, f"{said[:1].upper()}{said[1:]}: {action}."
        raise AssertionError("Limits always allow an ending")


def decision_id(decider: Decider, identification: Identification, state: State, run_uid: str) -> str:
    """16 hex digits of a hash over everything the decision depends on.

    The same run seen twice (a replay, a restart) gives the same id; a retry keeps it and counts
    `attempt` up.
    """
    log_p = identification.log_probability
    text = "|".join(
        [
            identification.provenance.pattern_uid,
            identification.verdict,
            hashlib.sha256(log_p.tobytes()).hexdigest() if log_p is not None else "",
            run_uid,
            _in_ids(state),
            to_json(decider.limits),
            to_json(decider.settings),
            to_json(decider.costs),
        ]
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _in_ids(state: State) -> str:
    """The state as ids have it: decisions of ledgers that were written before `State.step` keep theirs."""
    text = to_json(state)
    return text if state.step is not None else text.replace(',"step":null}', "}")


def _say_weak(identification: Identification, plan: Plan) -> str:
    return (
        f"{identification.reason.rstrip('.')}: {plan.about} at {plan.seconds_per_point:.3g} s a point for "
        f"{plan.cost:.0f} s: {plan.action}."
    )


def _say(plan: Plan) -> str:
    verb = "counting" if plan.action == "count longer" else "measuring"
    return (
        f"{verb[:1].upper()}{verb[1:]} {plan.about} at {plan.seconds_per_point:.3g} s a point promises "
        f"{plan.gain:.2f} nats for {plan.cost:.0f} s ({plan.rate:.2g} nats a second): {plan.action}."
    )
