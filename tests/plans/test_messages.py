"""No message of any plan leaves the limits, whatever the agent proposes: random agents, limits and shifts."""

from __future__ import annotations

import math
from collections import Counter
from concurrent.futures import Future
from types import SimpleNamespace

import bluesky.utils
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eg_agent.decide import Costs, Decision, Limits, State
from plans import OutsideLimits, identify, monitor, survey

ACTIONS = (
    "count longer",
    "extend range",
    "finer step",
    "repeat all",
    "spin",
    "next sample",
    "stop",
    "ask a person",
)


def done(value):
    future = Future()
    future.set_result(value)
    return future


class RandomAgent:
    """Proposes anything: actions that are not allowed, windows and times outside, costs that lie."""

    def __init__(self, rng):
        self.rng, self.count, self.begun, self.monitor = rng, 0, Counter(), None

    def ask(self, run_uid):
        rng, self.count = self.rng, self.count + 1
        number = int(rng.integers(0, 4))
        wild = [0.0, -1.0, math.nan, math.inf, 1e9]

        def any_of(low, high):
            return float(rng.choice(wild)) if rng.random() < 0.1 else float(rng.uniform(low, high))

        windows = tuple(tuple(sorted((any_of(-10, 120), any_of(-10, 120)))) for _ in range(number))
        decision = Decision(
            decision_id=f"d{int(rng.integers(0, 3) if rng.random() < 0.2 else self.count)}",
            action=str(rng.choice(ACTIONS)),
            reason="random",
            windows=windows,
            seconds_per_point=None if rng.random() < 0.1 else any_of(0.0, 20.0),
            step=None if rng.random() < 0.5 else any_of(0.0, 1.0),
            cost=any_of(0.0, 100.0),
            moves=int(rng.integers(-1, 50)),
            dose=any_of(0.0, 5.0),
            expected_gain=any_of(0.0, 1.0),
        )
        state = State("s", sample_seconds=any_of(0, 10) if rng.random() < 0.9 else 0.0, repeats=0)
        if rng.random() < 0.1:
            failed = Future()
            failed.set_exception(RuntimeError("the agent is gone"))
            return failed
        return done(SimpleNamespace(decision=decision, state=state, change=None))

    def default(self, run_uid, sample, reason):
        return Decision("default", "next sample", reason, sample=sample, default=True)

    def approval(self, decision):
        return done(bool(self.rng.random() < 0.9))

    def begin(self, decision):
        self.begun[decision.decision_id] += 1
        return None if self.begun[decision.decision_id] > 1 else decision

    def outcome(self, decision, status, reason=""):
        pass


class Named:
    """A signal or a device of which messages speak; nothing is ever moved."""

    parent = None

    def __init__(self, name, **parts):
        self.name = name
        vars(self).update(parts)


def device():
    names = ("sample", "two_theta_min", "two_theta_max", "step", "seconds_per_point", "windows", "arm")
    signals = {name: Named(name) for name in (*names, "point", "spinner", "temperature")}
    call = {"trigger": lambda: None, "read": lambda: {}, "describe": lambda: {}}
    return Named("d", **signals, **call)


def messages(plan, most=4000):
    """Run a plan without an engine: runs get uids, everything else answers nothing. Yields each message."""
    reply, runs = None, 0
    try:
        while most > 0:
            msg = plan.send(reply)
            yield msg
            most -= 1
            runs += msg.command == "open_run"
            reply = f"run{runs}" if msg.command == "open_run" else None
    except (StopIteration, OutsideLimits):
        return
    finally:
        plan.close()


def check_all(plan, where, limits, costs, temperatures):
    """Follow the messages and hold each against the limits, by other code than the plan's."""
    low, high = limits.two_theta
    runs, moves, dose, values, sample = Counter(), 0, Counter(), {}, None
    for msg in messages(plan):
        if msg.command == "set":
            value = msg.args[0]
            name = msg.obj.name
            values[name] = value
            if name in ("two_theta_min", "two_theta_max", "arm", "windows"):
                assert all(low <= v <= high for v in np.ravel(value))
            elif name == "seconds_per_point":
                assert 0 < value <= limits.max_seconds_per_point
            elif name == "step":
                assert limits.smallest_step <= value < math.inf
            elif name == "temperature":
                assert temperatures[0] <= value <= temperatures[1]
            elif name == "sample":
                sample = value
            moves += name == "arm"
            assert limits.max_moves is None or moves <= limits.max_moves
        elif msg.command == "open_run":
            moves = 0
            runs[sample] += 1
            assert runs[sample] <= 1 + limits.max_repeats
            assert msg.kwargs["eg_action"] in limits.actions or msg.kwargs["eg_decision_id"].startswith(
                "first-"
            )
            for key in ("eg_limits", "eg_shift", "eg_reason", "sample"):
                assert key in msg.kwargs
        elif msg.command == "trigger":
            points = 1
            if msg.obj is where:
                grid = np.arange(
                    values["two_theta_min"], values["two_theta_max"] + 1e-6, values["step"], dtype=float
                )
                pairs = np.reshape(values.get("windows", ()), (-1, 2))
                inside = [((grid >= a - 1e-6) & (grid <= b + 1e-6)) for a, b in pairs]
                points = int(np.any(inside, axis=0).sum()) if len(pairs) else grid.size
            dose[sample] += points * values["seconds_per_point"] * costs.dose_rate
            if limits.max_dose_per_sample is not None:
                # a window's end between two points may count one point more in the plan, never fewer
                assert dose[sample] <= limits.max_dose_per_sample * (1 + 1e-6)


def one_trial(seed):
    rng = np.random.default_rng(seed)
    start = float(rng.uniform(5, 40))
    limits = Limits(
        two_theta=(start, start + float(rng.uniform(5, 40))),
        max_seconds_per_point=float(rng.uniform(0.5, 10)),
        max_repeats=int(rng.integers(0, 5)),
        actions=tuple(a for a in ACTIONS if rng.random() < 0.7 or a == "next sample"),
        max_moves=None if rng.random() < 0.5 else int(rng.integers(1, 40)),
        max_dose_per_sample=None if rng.random() < 0.5 else float(rng.uniform(1, 200)),
        smallest_step=0.05,
    )
    costs = Costs(dose_rate=float(rng.uniform(0.1, 2.0)))
    agent, where = RandomAgent(rng), device()
    shape = str(rng.choice(["trace", "step"]))
    # what the person asks for may be outside as well
    asked = (start - float(rng.choice([0.0, 0.0, 1.0])), min(limits.two_theta[1], start + 4.0))
    scan = {
        "two_theta": asked,
        "step": float(rng.choice([0.2, 0.5, 0.01])),
        "seconds_per_point": float(rng.choice([0.1, 1.0, 20.0])),
        "shape": shape,
        "wavelength": 1.54,
        "limits": limits,
        "costs": costs,
    }
    temperatures = (100.0, 400.0)
    kind = int(rng.integers(3))
    if kind == 0:
        plan = identify(where, agent, ["a", "b"], **scan)
    elif kind == 1:
        plan = survey(where, agent, ["a", "b", "c"], budget=1e4, **scan)
    else:
        plan = monitor(
            where,
            agent,
            "a",
            conditions=list(rng.uniform(50, 450, 3)),
            controller=where.temperature,
            range_of_conditions=temperatures,
            agent=agent,
            on_change="identify",
            **scan,
        )
    check_all(plan, where, limits, costs, temperatures)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_no_message_of_any_plan_leaves_the_limits(seed):
    one_trial(seed)


@pytest.mark.slow
def test_ten_thousand_random_agents_leave_no_message_outside(monkeypatch):
    # At each plan stub Bluesky writes down the stack, for a warning that is not due here: most of the time.
    monkeypatch.setattr(bluesky.utils.traceback, "format_stack", lambda: [])
    for seed in range(10_000):
        one_trial(seed)
