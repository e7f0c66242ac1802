"""`identify` with a real RunEngine, a real agent and its worker process."""

from __future__ import annotations

import contextlib
import threading
import time

import numpy as np
import pytest
from bluesky.simulators import summarize_plan
from bluesky.utils import FailedStatus, RunEngineInterrupted

from eg_agent.agent import Agent
from eg_agent.decide import Limits
from eg_agent.errors import BadInput
from eg_agent.records import DecisionRow, NoteRow, OutcomeRow, Policy, read_ledger, replay
from plans import OutsideLimits, identify

LIMITS = Limits(two_theta=(10.0, 60.0), max_repeats=2)
SCAN = {"two_theta": (10.0, 60.0), "step": 0.1, "seconds_per_point": 1.0}


@pytest.fixture
def device():
    from beamline import Diffractometer

    return Diffractometer(name="diff")


@pytest.fixture
def make(tmp_path, engine):
    from beamline import FAST

    stack = contextlib.ExitStack()

    def build(tiled=None, **settings):
        settings = {
            "mode": "act",
            "identifier": FAST,
            "announce": None,
            "listeners": (),
            "policy": Policy(limits=LIMITS),
            **settings,
        }
        agent = stack.enter_context(Agent(tiled, records=tmp_path / "records", **settings))
        assert agent.wait(60)
        engine.subscribe(agent)
        return agent

    with stack:
        yield build


@pytest.fixture
def starts(engine):
    documents: list[dict] = []
    engine.subscribe(lambda name, doc: documents.append(doc), "start")
    return documents


def rows(agent, kind):
    return [row for row in read_ledger(agent.ledger.path) if isinstance(row, kind)]


@pytest.mark.parametrize("shape", ["trace", "step"])
def test_counts_longer_where_it_decides_and_goes_on(engine, device, make, starts, shape):
    agent = make()
    engine(identify(device, agent, ["bright", "dim"], shape=shape, limits=LIMITS, **SCAN))
    assert agent.wait(60)
    assert [s["sample"] for s in starts] == ["bright", "dim", "dim", "dim"]
    decisions = {row.decision.decision_id: row for row in rows(agent, DecisionRow)}
    for start in starts[2:]:
        row = decisions[start["eg_decision_id"]]
        assert row.decision.action == "count longer"
        assert start["eg_reason"] == row.decision.reason
        assert start["eg_attempt"] == 1
        assert start["wavelength"] == pytest.approx(1.540593)
        assert start["seconds_per_point"] == row.decision.seconds_per_point
    # Counts in the window were added to the whole scan, which is still there around it.
    last = rows(agent, DecisionRow)[-1]
    assert last.runs == tuple(s["uid"] for s in starts[1:])
    assert last.identification.measured.points == 501
    assert last.state.repeats == 2
    done = [row.decision_id for row in rows(agent, OutcomeRow) if row.status == "done"]
    assert len(done) == len(set(done)) == 4
    assert all(one.same for one in replay(agent.ledger.path))


def test_both_shapes_lead_to_the_same_decisions(engine, device, make):
    agent = make()
    for shape in ("trace", "step"):
        engine(identify(device, agent, ["dim"], shape=shape, **SCAN))
    assert agent.wait(60)
    made = [row.decision for row in rows(agent, DecisionRow)]
    half = len(made) // 2
    for one, other in zip(made[:half], made[half:], strict=True):
        assert (one.action, one.windows, one.seconds_per_point, one.expected_gain, one.pattern_uid) == (
            other.action,
            other.windows,
            other.seconds_per_point,
            other.expected_gain,
            other.pattern_uid,
        )


def test_through_tiled(engine, device, make, tiled_uri):
    agent = make(tiled_uri, tiled_wait=60.0)
    engine(identify(device, agent, ["dim"], limits=Limits(max_repeats=1), answer_timeout=180.0, **SCAN))
    assert agent.wait(60)
    made = rows(agent, DecisionRow)
    assert [row.problem for row in made] == ["", ""]
    assert all(agent.writer.wait_written(uid, 60.0) for uid in made[-1].runs)
    assert [row.decision.action for row in made] == ["count longer", "count longer"]
    assert rows(agent, OutcomeRow)[-1].status == "refused", "the plan allows one repeat, the policy two"


def test_no_answer_in_time_the_plan_goes_on_with_the_default(engine, device, make, starts):
    agent = make(identifier_settings={"delay": 2.0})
    started = time.monotonic()
    engine(identify(device, agent, ["bright", "dim"], answer_timeout=0.2, **SCAN))
    assert [s["sample"] for s in starts] == ["bright", "dim"]
    assert time.monotonic() - started < 30.0
    assert agent.wait(60)
    defaults = [row for row in rows(agent, DecisionRow) if row.decision.default]
    assert [row.sample for row in defaults] == ["bright", "dim"]
    assert all("No answer within 0.2 s" in row.problem for row in defaults)
    late = [row for row in rows(agent, DecisionRow) if not row.decision.default]
    assert [row.sample for row in late] == ["bright", "dim"], "the late answers are kept all the same"
    assert all(one.same for one in replay(agent.ledger.path))


def test_observe_says_and_does_nothing(engine, device, make, starts):
    agent = make(mode="observe")
    engine(identify(device, agent, ["dim", "bright"], **SCAN))
    assert [s["sample"] for s in starts] == ["dim", "bright"]
    assert rows(agent, DecisionRow)[0].decision.action == "count longer"


@pytest.mark.parametrize("approved", [True, False])
def test_propose_waits_for_a_person(engine, device, make, starts, approved):
    agent = make(mode="propose")

    def person():
        deadline = time.monotonic() + 60
        while not agent.proposals and time.monotonic() < deadline:
            time.sleep(0.05)
        ident = agent.proposals[0].decision_id
        (agent.approve if approved else agent.refuse)(ident)

    thread = threading.Thread(target=person, daemon=True)
    thread.start()
    engine(identify(device, agent, ["dim"], limits=Limits(max_repeats=1), approval_timeout=60.0, **SCAN))
    thread.join()
    assert len(starts) == (2 if approved else 1)
    assert agent.wait(10)
    statuses = [row.status for row in rows(agent, OutcomeRow)]
    assert statuses[2:4] == ["proposed", "accepted" if approved else "refused"]


def test_nobody_approves(engine, device, make, starts):
    agent = make(mode="propose")
    engine(identify(device, agent, ["dim"], approval_timeout=0.2, **SCAN))
    assert len(starts) == 1
    assert agent.wait(10)
    assert [row.status for row in rows(agent, OutcomeRow)][-1] == "expired"


def test_a_failed_run_is_tried_again_with_the_same_decision(engine, device, make, starts):
    agent = make()
    device.fail_next = 1
    engine(identify(device, agent, ["bright"], retries=1, **SCAN))
    assert agent.wait(10)
    assert [s["eg_attempt"] for s in starts] == [1, 2]
    assert len({s["eg_decision_id"] for s in starts}) == 1
    assert [row.status for row in rows(agent, OutcomeRow)] == ["started", "failed", "started", "done"]


def test_without_retries_a_failure_ends_the_plan(engine, device, make):
    agent = make()
    device.fail_next = 1
    with pytest.raises(FailedStatus):
        engine(identify(device, agent, ["bright"], **SCAN))


def test_what_leaves_the_plans_own_limits_is_refused(engine, device, make, starts):
    """The agent's policy allows more than the plan: the plan's limits hold, and the ledger says so."""
    agent = make(policy=Policy(limits=Limits(max_seconds_per_point=60.0)))
    engine(identify(device, agent, ["dim"], limits=Limits(max_repeats=0), **SCAN))
    assert len(starts) == 1
    assert agent.wait(10)
    refused = [row for row in rows(agent, OutcomeRow) if row.status == "refused"]
    assert len(refused) == 1
    assert "repeated" in refused[0].reason
    with pytest.raises(OutsideLimits, match="leaves 20"):
        engine(identify(device, agent, ["dim"], limits=Limits(two_theta=(20.0, 50.0)), **SCAN))


def test_pausing_and_aborting_while_it_waits(engine, device, make, starts):
    agent = make(identifier_settings={"delay": 2.0})

    def pause_soon():
        while not starts or agent.callback_time.documents < 4:
            time.sleep(0.02)
        time.sleep(0.3)
        engine.request_pause()

    threading.Thread(target=pause_soon, daemon=True).start()
    with pytest.raises(RunEngineInterrupted):
        engine(identify(device, agent, ["dim", "bright"], limits=Limits(max_repeats=1), **SCAN))
    assert engine.state == "paused"
    assert len(starts) == 1
    engine.resume()
    assert [s["sample"] for s in starts] == ["dim", "dim", "bright"]


def test_a_dry_run_moves_nothing_and_asks_nobody(device, capsys):
    class Nobody:
        def __getattr__(self, name):
            if name == "begin":
                return lambda decision: decision
            raise AssertionError(f"a dry run asked the agent to {name}")

    summarize_plan(identify(device, Nobody(), ["bright", "dim"], **SCAN))
    printed = capsys.readouterr().out
    assert printed.count("Open Run") == 2
    assert "diff_sample -> dim" in printed
    assert device.triggered == 0


def test_the_simulated_diffractometer_fits(engine, make, starts):
    simulators = pytest.importorskip("simulators")
    import numpy as np
    from beamline import rate

    from eg_agent.patterns import Radiation

    device = simulators.SimDiffractometer(
        samples={name: (lambda x, n=name: rate(n, np.asarray(x))) for name in ("bright", "dim")},
        radiation=Radiation(1.540593, 1.544427),
        limits=(5.0, 90.0),
        seed=1,
        time_scale=0.0,
        name="sim",
    )
    wide = Policy(limits=Limits(max_repeats=1, actions=("extend range", "next sample", "stop")))
    agent = make(policy=wide)
    engine(identify(device, agent, ["dim", "bright"], limits=wide.limits, **SCAN))
    engine(identify(device, agent, ["dim"], limits=wide.limits, shape="step", **{**SCAN, "step": 0.5}))
    assert agent.wait(60)
    made = rows(agent, DecisionRow)
    assert not any(row.problem for row in made)
    assert [row.sample for row in made[:3]] == ["dim", "dim", "bright"]
    assert made[0].decision.action == "extend range"
    # 5-10 and 60-90 deg joined 10-60 deg on one grid (the window begins just above 5 deg).
    assert made[1].identification.measured.points == 850
    assert made[1].identification.measured.seconds_per_point == 1.0
    assert [row.sample for row in made[3:]] == ["dim", "dim"]
    assert made[4].identification.measured.points == 170


@pytest.mark.parametrize("shape", ["trace", "step"])
def test_the_first_scan_looks_at_the_lines_of_a_known_cell_only(engine, device, make, shape):
    """Silicon's lattice, by Bragg's law: every line of it is looked at, and little else is."""
    silicon, unknown = (5.431, 5.431, 5.431, 90.0, 90.0, 90.0), "dim"
    agent = make(cells={"bright": silicon})
    runs: dict[str, list[float]] = {}
    names: dict[str, str] = {}

    def angles(name, doc):
        if name == "start":
            names[doc["uid"]] = doc["sample"]
            runs.setdefault(doc["sample"], [])
        elif name == "descriptor":
            names[doc["uid"]] = names[doc["run_start"]]
        elif name == "event" and len(runs[names[doc["descriptor"]]]) < 2000:
            values = [v for key, v in doc["data"].items() if key.endswith(("two_theta", "arm"))]
            runs[names[doc["descriptor"]]] += np.atleast_1d(values[0]).tolist()

    engine.subscribe(angles)
    once = Limits(two_theta=(10.0, 60.0), max_repeats=0)
    scan = {**SCAN, "step": 0.05}
    engine(identify(device, agent, ["bright", unknown], shape=shape, limits=once, first_at="lines", **scan))
    assert agent.wait(60)
    squares = {h * h + k * k + m * m for h in range(5) for k in range(5) for m in range(5)} - {0}
    sines = [0.5 * 1.540593 / 5.431 * n**0.5 for n in sorted(squares)]
    lines = np.array([2 * np.degrees(np.arcsin(s)) for s in sines if s < np.sin(np.radians(30.0))])
    measured = np.array(runs["bright"])
    assert all(np.abs(measured - line).min() <= 0.06 for line in lines[lines > 10.0])
    assert max(np.abs(lines - angle).min() for angle in measured) < 0.8
    assert measured.size < 0.6 * len(runs[unknown])
    assert len(runs[unknown]) == 1001
    first = next(row for row in rows(agent, DecisionRow) if row.sample == "bright")
    assert len(first.identification.measured.windows) > 5


@pytest.mark.parametrize("shape", ["trace", "step"])
@pytest.mark.parametrize("interleaved", [False, True])
def test_what_is_counted_again_may_lie_between_the_points_of_before(engine, device, make, shape, interleaved):
    agent = make()
    angles: list[list[float]] = []

    def follow(name, doc):
        if name == "start":
            angles.append([])
        elif name == "event":
            values = [v for key, v in doc["data"].items() if key.endswith(("two_theta", "arm"))]
            angles[-1] += np.atleast_1d(values[0]).tolist()

    engine.subscribe(follow)
    engine(identify(device, agent, ["dim"], limits=LIMITS, shape=shape, interleaved=interleaved, **SCAN))
    assert agent.wait(60)
    made = rows(agent, DecisionRow)
    assert not any(row.problem for row in made)
    assert len(angles) == 3
    first, second = (np.array(one) for one in angles[:2])
    off = np.round((second - first[0]) / SCAN["step"], 6) % 1.0
    np.testing.assert_allclose(off, 0.5 if interleaved else 0.0, atol=1e-4)
    # the plan's own step, whatever both grids have together
    assert np.diff(second).min() == pytest.approx(SCAN["step"], abs=1e-5)
    points = [row.identification.measured.points for row in made]
    assert points[0] == 501
    assert points[1] == 501 + (second.size if interleaved else 0)
    # the next scan is reckoned by the step of the last one, not of all together
    assert [row.state.step for row in made] == pytest.approx([SCAN["step"]] * len(made), abs=1e-5)


def test_a_cell_that_cannot_be_used_costs_no_sample(engine, device, make, starts):
    agent = make(cells={"bright": (0.1, 5.0, 5.0, 90.0, 90.0, 90.0)})
    once = Limits(two_theta=(10.0, 60.0), max_repeats=0)
    engine(identify(device, agent, ["bright"], limits=once, first_at="lines", **SCAN))
    assert agent.wait(60)
    assert len(starts) == 1
    assert "everywhere" in starts[0]["eg_reason"]
    assert any(row.what == "no opening" and "0.1" in row.text for row in rows(agent, NoteRow))


def test_an_unknown_first_scan_is_refused_before_anything_moves(engine, device, make, starts):
    agent = make()
    with pytest.raises(BadInput, match="'range' or 'lines'"):
        engine(identify(device, agent, ["bright"], limits=LIMITS, first_at="line", **SCAN))
    assert starts == []
