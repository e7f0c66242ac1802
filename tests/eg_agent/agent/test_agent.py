"""The agent on a real RunEngine: its lines, its ledger, restarts, and scripts that it stands in."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import bluesky.plans as bp
import h5py
import numpy as np
import pytest
from event_model import compose_run
from tiled.client import from_uri

from eg_agent.agent import Agent
from eg_agent.decide import Limits
from eg_agent.errors import BadInput
from eg_agent.patterns import Pattern, Radiation
from eg_agent.records import DecisionRow, EmbeddedTiled, NoteRow, OutcomeRow, Policy, read_pattern, replay
from tests.eg_agent.agent.conftest import detector, rows, step_detector


def test_the_three_lines_of_the_readme(tmp_path, monkeypatch, engine, capfd):
    """Exactly what a user types; only the identifier is the fast one, by the environment of the test."""
    from beamline import FAST

    from eg_agent.agent import agent as module

    monkeypatch.setenv("EG_AGENT_RECORDS", str(tmp_path))
    monkeypatch.setattr(
        module.Agent.__init__, "__kwdefaults__", {**module.Agent.__init__.__kwdefaults__, "identifier": FAST}
    )
    RE = engine
    det = detector()
    (tth, point) = step_detector()

    agent = Agent()
    RE.subscribe(agent)

    RE(bp.count([det]))
    RE(bp.scan([point], tth, 10, 60, 501), wavelength=1.5406, sample="quartz")
    assert agent.wait(120)
    agent.close()
    printed = capfd.readouterr().out
    lines = [line for line in printed.splitlines() if "P - - -" in line]
    assert len(lines) == 2
    assert "orthorhombic P - - - 9" in lines[0]
    assert "quartz" in lines[1]
    assert "would:" in lines[1]


def test_what_was_identified_is_what_tiled_has(make, engine, tiled_uri):
    """Own runs are read from the journal, at once; the record in Tiled holds the same pattern."""
    agent = make(tiled_uri)
    tth, det = step_detector()
    (trace,) = engine(bp.count([detector()], num=2), sample="a")
    (step,) = engine(bp.scan([det], tth, 10, 60, 101), sample="b", wavelength=1.5406)
    assert agent.wait(240)
    assert [a.sample for a in agent.answers] == ["a", "b"]
    assert [a.pattern_from for a in agent.answers] == ["journal", "journal"]
    assert all(a.identification.verdict == "identified" for a in agent.answers)
    assert not any(a.problem for a in agent.answers)
    assert all(agent.writer.wait_written(uid, 120.0) for uid in (trace, step))
    assert agent.writer.state.lost == 0
    kept = [read_pattern(from_uri(tiled_uri)[uid]).uid for uid in (trace, step)]
    assert kept == [a.identification.provenance.pattern_uid for a in agent.answers]


def test_data_outside_the_documents_come_from_tiled(make, tmp_path):
    """A detector writes frames into an HDF5 file; the documents only say where, and Tiled serves them."""
    frames = np.random.default_rng(0).poisson(50.0, (3, 501))
    with h5py.File(tmp_path / "frames.h5", "w") as file:
        file["intensity"] = frames
    axis = np.linspace(10.0, 60.0, 501)
    run = compose_run(metadata={"sample": "files", "wavelength": 1.5406, "seconds_per_point": 1.0})
    described = run.compose_descriptor(
        name="primary",
        data_keys={
            "det_intensity": {
                "source": "test",
                "dtype": "array",
                "dtype_numpy": frames.dtype.str,
                "shape": [1, 501],
                "external": "STREAM:",
            }
        },
        configuration={
            "det": {
                "data": {"det_two_theta": axis.tolist()},
                "timestamps": {"det_two_theta": 0.0},
                "data_keys": {"det_two_theta": {"source": "test", "dtype": "array", "shape": [501]}},
            }
        },
        object_keys={"det": ["det_intensity"]},
    )
    resource = run.compose_stream_resource(
        mimetype="application/x-hdf5",
        uri=f"file://localhost{tmp_path / 'frames.h5'}",
        data_key="det_intensity",
        parameters={"dataset": "/intensity", "chunk_shape": (1, 501)},
    )
    whole = {"start": 0, "stop": 3}
    datum = resource.compose_stream_datum(whole, whole, described.descriptor_doc)
    with EmbeddedTiled(readable_storage=(str(tmp_path),)) as server:
        agent = make(server.uri, subscribe=False, tiled_wait=60.0)
        agent("start", run.start_doc)
        agent("descriptor", described.descriptor_doc)
        agent("stream_resource", resource.stream_resource_doc)
        agent("stream_datum", datum)
        agent("stop", run.compose_stop())
        assert agent.wait(240)
        (answer,) = agent.answers
        assert (answer.pattern_from, answer.problem) == ("tiled", "")
        assert answer.identification.measured.points == 501
        whole = Pattern(axis, frames.sum(axis=0), Radiation(1.5406))
        assert answer.identification.provenance.pattern_uid == whole.uid
        agent.close(timeout=20)


def test_an_embedded_tiled_serves_until_the_agent_closes_and_keeps_its_runs(make, engine):
    for n in (1, 2):  # the second agent finds what the first one's server kept
        agent = make("embedded", tiled_wait=60.0)
        (uid,) = engine(bp.count([detector()]), sample=f"sample-{n}")
        assert agent.wait(120)
        assert agent.writer.wait_written(uid, 60.0)
        client = from_uri(agent._embedded.uri)
        assert uid in client
        assert len(client) == n
        agent.close(timeout=20)
        assert agent._embedded._process is None


def test_back_pressure_merges_runs_of_a_sample_and_drops_none(make, engine):
    agent = make(identifier_settings={"delay": 1.0})
    det = detector()

    def many():
        for _ in range(12):
            yield from bp.count([det], md={"sample": "a", "eg_shift": "s"})

    uids = engine(many())
    assert agent.wait(120)
    answered = [uid for row in rows(agent, DecisionRow) for uid in row.new_runs]
    assert answered == list(uids)
    assert len(agent.answers) < 12
    assert agent.answers[-1].runs == uids
    last = rows(agent, DecisionRow)[-1]
    assert last.identification.measured.seconds_per_point == pytest.approx(12.0)
    assert last.state.repeats == 11


def test_ledger_replays_to_the_same_decisions_and_fits_its_schema(make, engine):
    import json

    import jsonschema

    from eg_agent.records import ledger_schema

    agent = make(mode="act", time_limit=2.0, policy=Policy(limits=Limits(max_repeats=5)))
    det = detector()
    for md in (
        {"sample": "a", "eg_shift": "s"},
        {"sample": "a", "eg_shift": "s"},
        {"sample": "explodes"},
        {},
    ):
        engine(bp.count([det]), **md)
        assert agent.wait(60)
    agent.default("some-run", "a", "No answer within 3 s")
    assert agent.wait(120)
    again = replay(agent.ledger.path)
    assert len(again) == 5
    assert all(one.same for one in again), [one for one in again if not one.same]
    validator = jsonschema.Draft202012Validator(ledger_schema())
    for line in Path(agent.ledger.path).read_text().splitlines():
        validator.validate(json.loads(line))
    stricter = replay(agent.ledger.path, policy=Policy(limits=Limits(actions=("stop",))))
    assert {one.again.action for one in stricter} == {"stop"}
    assert not all(one.same for one in stricter)


def test_a_restart_repeats_nothing_and_loses_nothing(make, engine, tmp_path):
    first = make(mode="act")
    det = detector()
    md = {"sample": "a", "eg_shift": "s", "eg_decision_id": "d1"}
    (before,) = engine(bp.count([det]), **md)
    assert first.wait(60)
    decision = first.answers[0].decision
    assert first.begin(decision) is not None
    # The process ends with a run journaled and not answered: nothing of the agent runs any more.
    first._core.worker.close()
    first._identify_runs = lambda runs: None  # type: ignore[method-assign]
    (pending,) = engine(bp.count([det]), sample="a", eg_shift="s", eg_decision_id=decision.decision_id)
    first.wait(10)
    first.close()

    second = make(mode="act", subscribe=False)
    assert second.wait(60)
    answered = [uid for row in rows(second, DecisionRow) for uid in row.new_runs]
    assert answered == [before, pending]
    row = rows(second, DecisionRow)[-1]
    assert row.runs == (before, pending), "the sample's first run was put together with the second"
    assert row.state.repeats == 1
    assert row.state.history[0].pattern_uid == decision.pattern_uid
    assert second.begin(decision) is None, "it has had its successful run"
    done = [row for row in rows(second, OutcomeRow) if row.decision_id == decision.decision_id]
    assert [row.status for row in done].count("done") >= 1
    second.close()

    third = make(subscribe=False)
    assert third.wait(10)
    assert third.answers == []
    assert len(rows(third, DecisionRow)) == 2
    assert third.ask(pending).result(5).decision == row.decision


def test_looking_for_a_cell_delays_no_answer_and_the_next_ones_use_it(make, engine):
    agent = make(index_seconds=8.0)
    assert agent.wait(60)
    det = detector(n=501)
    md = {"sample": "a", "eg_shift": "s"}
    started = time.monotonic()
    engine(bp.count([det]), **md)
    assert agent.wait(60)
    assert not agent._loop.cells.known or time.monotonic() - started > 8.0
    deadline = time.monotonic() + 120
    while not any(row.what == "cell found" for row in rows(agent, NoteRow)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    engine(bp.count([det]), **md)
    engine(bp.count([det]), sample="a")  # somebody's own run, of who knows which "a"
    assert agent.wait(60)
    cells = [row.identification.provenance.cell for row in rows(agent, DecisionRow)]
    assert cells == [None, (4.0, 5.0, 6.0, 90.0, 90.0, 90.0), None]


def test_two_agents_do_not_share_a_folder(make):
    make(subscribe=False)
    with pytest.raises(BadInput, match="another agent"):
        make(subscribe=False)


def test_ingest_and_suggest_need_no_run_engine(make):
    limits = Limits(two_theta=(10.0, 60.0))
    agent = make(subscribe=False, mode="act", policy=Policy(limits=limits))
    x = np.linspace(10, 60, 501)
    rng = np.random.default_rng(0)

    def pattern(height):
        y = rng.poisson(1 + height * np.exp(-0.5 * ((x - 30) / 0.2) ** 2))
        return Pattern(x, y, Radiation(1.540593), counting_time=np.ones(501), raw_counts=True)

    assert agent.suggest() is None
    first = agent.ingest(pattern(20), sample="a", shift="s", seconds=500.0).result(60)
    assert first.pattern_from == "memory"
    assert first.decision.action == "count longer"
    assert agent.suggest("a") == first.decision
    second = agent.ingest(pattern(20_000), sample="a", shift="s", seconds=500.0).result(60)
    assert second.decision.action == "next sample"
    assert second.state.repeats == 1
    assert second.state.sample_seconds >= 1000.0
    assert agent.suggest() == second.decision


@pytest.mark.parametrize("ending", ["", "raise RuntimeError('on purpose')", "agent.close()"])
def test_a_script_ends_by_itself_and_answers_before(tmp_path, ending):
    """No main guard, no close: the scan runs once, the line is printed, the interpreter ends."""
    beamline = Path(__file__).resolve().parents[2] / "beamline"
    script = tmp_path / "script.py"
    script.write_text(
        f"""
import sys
sys.path.insert(0, {str(beamline)!r})
from bluesky import RunEngine
from bluesky.plans import count
from beamline import FAST, TraceDetector
from eg_agent.agent import Agent
print("measuring")
RE = RunEngine()
agent = Agent(records={str(tmp_path / "records")!r}, identifier=FAST)
RE.subscribe(agent)
RE(count([TraceDetector(name="det")]))
{ending}
"""
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.count("measuring") == 1
    assert done.stdout.count("P - - -") >= 1, done.stdout + done.stderr
    assert done.returncode == (1 if "raise" in ending else 0)
