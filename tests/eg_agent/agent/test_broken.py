"""Scans, frames and workers that are broken: the RunEngine goes on, and the answer says what was wrong."""

from __future__ import annotations

import time

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import numpy as np
import pytest
from bluesky.utils import RunEngineInterrupted

from eg_agent.records import NoteRow, OutcomeRow
from tests.eg_agent.agent.conftest import detector, rows, step_detector


def test_a_tiled_that_is_away_is_noted_and_delays_no_answer(make, engine):
    agent = make("http://127.0.0.1:9/api/v1?api_key=nothing", tiled_wait=1.0)
    engine(bp.count([detector()]), sample="a")
    assert agent.wait(60)
    (answer,) = agent.answers
    assert (answer.pattern_from, answer.problem) == ("journal", "")
    assert answer.identification.verdict == "identified"
    deadline = time.monotonic() + 60
    while not (said := [row.text for row in rows(agent, NoteRow) if row.what == "tiled"]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "Tiled is away" in said[0]
    assert "nothing" not in said[0]


@pytest.mark.parametrize(
    ("sample", "problem"),
    [("explodes", "a fault in the network"), ("hangs", "within 2 s and was stopped"), ("dies", "status 9")],
)
def test_a_fault_in_the_worker_never_reaches_the_scan(make, engine, sample, problem):
    agent = make(time_limit=2.0)
    (uid,) = engine(bp.count([detector()]), sample=sample)
    (next_uid,) = engine(bp.count([detector()]), sample="fine")
    assert agent.wait(120)
    first, second = agent.answers
    assert first.runs == (uid,)
    assert problem in first.problem
    assert first.identification is None
    assert first.decision.default
    assert second.runs == (next_uid,)
    assert second.identification.verdict == "identified"


def test_an_identifier_that_cannot_be_loaded_is_said(make, engine):
    agent = make(identifier="no_such_module:thing")
    engine(bp.count([detector()]))
    assert agent.wait(60)
    assert "could not be loaded" in agent.answers[0].problem
    assert "no_such_module" in agent.answers[0].problem


def test_nothing_that_breaks_in_the_callback_reaches_the_run_engine(make, engine, monkeypatch):
    agent = make()
    monkeypatch.setattr(agent, "_take", lambda name, doc: 1 / 0)
    (uid,) = engine(bp.count([detector()]))
    assert uid


def test_scans_that_are_no_patterns_are_noted_and_left(make, engine):
    from ophyd.sim import det, motor

    agent = make()
    (uid,) = engine(bp.scan([det], motor, 0, 1, 3))
    assert agent.wait(60)
    assert agent.answers == []
    assert [row.run_uid for row in rows(agent, NoteRow) if row.what == "skipped"] == [uid]


def test_no_wavelength_is_answered_with_what_to_do(make, engine):
    tth, det = step_detector()
    agent = make()
    engine(bp.scan([det], tth, 10, 60, 201))
    assert agent.wait(60)
    assert "RE.md['wavelength']" in agent.answers[0].problem


def test_nan_saturated_and_empty_frames_do_no_harm(make, engine):
    det = detector()

    def frames():
        for value in (np.nan, np.inf, 0.0, -1.0, 65535.0):
            original = det.trigger

            def trigger(value=value, original=original):
                status = original()
                det.intensity.put(np.full(2001, value))
                return status

            det.trigger = trigger
            yield from bp.count([det])
            det.trigger = original

    agent = make()
    uids = engine(frames())
    assert len(uids) == 5
    assert agent.wait(60)
    assert sorted(uid for a in agent.answers for uid in a.runs) == sorted(uids)


def test_abort_and_pause_in_the_middle(make, engine):
    agent = make()
    tth, det = step_detector()

    def interrupted(at):
        yield from bps.open_run({"sample": "a", "wavelength": 1.5406, "eg_decision_id": "d", "eg_shift": "s"})
        for i in range(60):
            yield from bps.checkpoint()
            if i == at:
                yield from bps.pause()
            yield from bps.mv(tth, 10 + i)
            yield from bps.trigger_and_read([det, tth])
        yield from bps.close_run()

    with pytest.raises(RunEngineInterrupted):
        engine(interrupted(20))
    assert agent.wait(60)
    engine.abort()
    with pytest.raises(RunEngineInterrupted):
        engine(interrupted(30))
    (uid,) = engine.resume()
    assert agent.wait(60)
    statuses = [row.status for row in rows(agent, OutcomeRow)]
    assert statuses == ["started", "aborted", "started", "done"]
    (answer,) = agent.answers
    assert answer.runs == (uid,)
    assert len(answer.identification.top) == 2
    assert [row.what for row in rows(agent, NoteRow)] == ["skipped"]
