"""`survey` with a real RunEngine: an agent whose answers are known, and the real one."""

from __future__ import annotations

import contextlib
import json
from collections import Counter, defaultdict
from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from eg_agent.agent import Agent
from eg_agent.decide import Costs, Decision, Limits, Look, State
from eg_agent.errors import BadInput
from eg_agent.records import Policy
from plans import survey

SCAN = {"two_theta": (10.0, 60.0), "step": 0.1, "seconds_per_point": 1.0}
NO_CHANGE = Costs(sample_change=0.0)


@pytest.fixture
def device():
    from beamline import Diffractometer

    return Diffractometer(name="diff")


@pytest.fixture
def starts(engine):
    documents: list[dict] = []
    engine.subscribe(lambda name, doc: documents.append(doc), "start")
    return documents


class Ledger:
    """An agent whose answers on each sample are as told: the leading probability after each measurement."""

    def __init__(self, promises, cost=10.0):
        self.promises = {name: list(values) for name, values in promises.items()}
        self.cost, self.samples, self.done, self.count = cost, {}, set(), Counter()
        self.history = defaultdict(tuple)

    def __call__(self, name, doc):
        if name == "start":
            self.samples[doc["uid"]] = doc["sample"]
            self.done.add(doc["eg_decision_id"])

    def ask(self, run_uid):
        sample = self.samples[run_uid]
        left = self.promises[sample]
        self.count[sample] += 1
        action = "count longer" if left else "next sample"
        decision = Decision(
            f"{sample}-{self.count[sample]}", action, "as told",
            windows=((20.0, 21.0),), seconds_per_point=1.0,
            cost=self.cost, expected_gain=left[0] if left else 0.0, sample=sample,
        )  # fmt: skip
        self.history[sample] += (Look("undecided", 5, left.pop(0) if left else 0.0, 1.0),)
        future = Future()
        measured = self.count[sample]
        state = State(
            sample, sample_seconds=self.cost * measured, repeats=measured - 1, history=self.history[sample]
        )
        future.set_result(SimpleNamespace(decision=decision, state=state, runs=(run_uid,)))
        return future

    def approval(self, decision):
        future = Future()
        future.set_result(True)
        return future

    def begin(self, decision):
        return None if decision.decision_id in self.done else decision

    def outcome(self, decision, status, reason=""):
        pass

    def default(self, run_uid, sample, reason):
        return Decision("default", "next sample", reason, sample=sample, default=True)


def test_time_goes_where_an_answer_is_near(engine, device, starts):
    agent = Ledger({"known": [], "slow": [0.1, 0.1], "rich": [0.9, 0.8, 0.05]})
    engine.subscribe(agent)
    engine(survey(device, agent, ["known", "slow", "rich"], budget=1e6, costs=NO_CHANGE, **SCAN))
    order = [s["sample"] for s in starts]
    assert order[:3] == ["known", "slow", "rich"]
    assert order[3:] == ["rich", "rich", "slow", "slow", "rich"]
    assert starts[3]["eg_decided_from"] == [starts[2]["uid"]]
    assert starts[3]["eg_expected_gain"] == 0.9
    assert starts[3]["eg_limits"]["two_theta"] == [5.0, 90.0]


def test_a_sample_that_is_always_near_does_not_take_the_shift(engine, device, starts):
    def shift(spread):
        agent = Ledger({"rich": [0.9] * 12, "poor": [0.1] * 12})
        token = engine.subscribe(agent)
        begun = len(starts)
        engine(
            survey(
                device, agent, ["rich", "poor"], budget=100.0, costs=NO_CHANGE, spread=spread,
                limits=Limits(max_repeats=12),
                clock=lambda: 10.0 * (len(starts) - begun), **SCAN,
            )
        )  # fmt: skip
        engine.unsubscribe(token)
        return Counter(s["sample"] for s in starts[begun:])

    assert shift(float("inf")) == {"rich": 9, "poor": 1}
    assert shift(2.0) == {"rich": 7, "poor": 3}


def test_changing_the_sample_is_part_of_the_price(engine, device, starts):
    agent = Ledger({"here": [0.5], "there": [0.6]})
    engine.subscribe(agent)
    engine(survey(device, agent, ["there", "here"], budget=1e6, costs=Costs(sample_change=30.0), **SCAN))
    assert [s["sample"] for s in starts] == ["there", "here", "here", "there"]


def test_nothing_begins_that_the_budget_does_not_hold(engine, device, starts):
    agent = Ledger({"a": [0.5] * 9, "b": [0.4] * 9}, cost=40.0)
    engine.subscribe(agent)

    def clock():
        return 40.0 * len(starts)

    engine(survey(device, agent, ["a", "b"], budget=200.0, costs=NO_CHANGE, clock=clock, **SCAN))
    assert [s["sample"] for s in starts] == ["a", "b", "a", "b", "a"]
    assert starts[-1]["eg_survey_left"] == pytest.approx(40.0)


def test_an_interrupted_shift_goes_on_where_it_was(engine, device, starts, tmp_path):
    record = tmp_path / "shift.jsonl"
    agent = Ledger({"a": [0.5], "b": [0.4], "c": [0.1]})
    engine.subscribe(agent)
    plan = survey(device, agent, ["a", "b", "c"], budget=1e6, costs=NO_CHANGE, record=record, **SCAN)

    def until(plan, runs):
        """The plan, broken off when so many runs have begun."""
        from bluesky.preprocessors import plan_mutator

        def breaks(msg):
            if msg.command == "open_run" and len(starts) == runs:
                raise RuntimeError("the power went")
            return None, None

        return (yield from plan_mutator(plan, breaks))

    with pytest.raises(RuntimeError, match="power"):
        engine(until(plan, 2))
    record.write_text(record.read_text() + '{"sample": "c", "ui')  # a line half written
    record.write_text(record.read_text() + "\n")
    agent.promises["a"] = [0.5]
    agent.promises["b"] = [0.4]
    engine(survey(device, agent, ["a", "b", "c"], budget=1e6, costs=NO_CHANGE, record=record, **SCAN))
    assert [s["sample"] for s in starts] == ["a", "b", "c", "a", "b", "c"]
    assert len({s["eg_decision_id"] for s in starts}) == 6, "nothing was measured twice"
    assert len({s["eg_shift"] for s in starts}) == 1
    with pytest.raises(BadInput, match="other samples"):
        engine(survey(device, agent, ["a"], budget=1e6, record=record, **SCAN))
    assert all(json.loads(line) for line in record.read_text().splitlines() if line.endswith("}"))


def test_wrong_shifts_are_refused(engine, device):
    agent = Ledger({})
    with pytest.raises(BadInput, match="twice"):
        engine(survey(device, agent, ["a", "a"], budget=10.0))
    with pytest.raises(BadInput, match="budget"):
        engine(survey(device, agent, ["a"], budget=0.0))
    with pytest.raises(BadInput, match="spread"):
        engine(survey(device, agent, ["a"], budget=10.0, spread=0.5))


def test_with_the_real_agent(engine, device, starts, tmp_path):
    from beamline import FAST

    limits = Limits(two_theta=(10.0, 60.0), max_repeats=2)
    settings = {
        "mode": "act",
        "identifier": FAST,
        "announce": None,
        "listeners": (),
        "policy": Policy(limits=limits),
    }
    with contextlib.ExitStack() as stack:
        agent = stack.enter_context(Agent(None, records=tmp_path / "records", **settings))
        assert agent.wait(60)
        engine.subscribe(agent)
        shift = survey(
            device, agent, ["bright", "dim"], budget=1e5, limits=limits, costs=NO_CHANGE,
            answer_timeout=60.0, **SCAN,
        )  # fmt: skip
        engine(shift)
        assert agent.wait(60)
    assert [s["sample"] for s in starts][:2] == ["bright", "dim"]
    assert [s["sample"] for s in starts][2:] == ["dim"] * (len(starts) - 2)
    assert starts[2]["eg_hypotheses"][0]["group"]
    assert starts[2]["eg_state"]["sample"] == "dim"
