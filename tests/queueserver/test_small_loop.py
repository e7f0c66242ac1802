"""The closed loop with every process real, small; test_closed_loop.py has the full numbers, by hand."""

from __future__ import annotations

import os
import subprocess

import pytest
from accounts import ENDLESS, account, assert_each_decision_had_its_run, finish
from accounts import assert_nothing_twice_and_nothing_lost as assert_nothing_twice
from facility import wait_for
from supervise import EXPOSED, RECOVERS, Kills, Pair, revive

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]


def test_six_iterations_each_decision_has_its_run_and_its_entry(facility, shift):
    """Ended politely in the middle and started again; every identification is an entry in Tiled."""
    from tiled.client import from_uri
    from tiled.queries import Key

    name, path = shift(2, repeats=2, seconds=0.02)
    agent = facility.agent(path, name, identifier=ENDLESS)
    agent.start()
    try:
        wait_for(
            "two answers",
            lambda: agent.health()["runs_answered"] >= 2,
            900,
            lambda: facility.seen(agent),
        )
        agent.process.terminate()
        assert agent.process.wait(60) == 0
        agent.start()
        finish(agent, 1200.0)
        found = account(facility, agent, name)
        wait_for("the entries", lambda: not agent.health()["identifications_wait"], 300)
        entries = from_uri(facility.tiled.uri)["identifications"].search(Key("shift") == name)
        wait_for("all of them", lambda: len(entries) >= len(found.runs), 300)
        metrics = agent.metrics()
    finally:
        agent.stop()
    assert len(found.runs) == 6
    assert_each_decision_had_its_run(found)
    assert sorted(entry.metadata["run"] for entry in entries.values()) == sorted(found.answered)
    assert "eg_agent_stop_to_submit_seconds_bucket" in metrics


def test_agent_worker_and_tiled_are_killed_and_nothing_is_done_twice_or_lost(facility, shift):
    name, path = shift(1, more=RECOVERS, repeats=7, **EXPOSED)
    agent = facility.agent(path, name, identifier=ENDLESS)
    before, facility.agents[:] = list(facility.agents), [agent]
    agent.start()
    kills = Kills(facility, agent, str)
    try:
        wait_for("the first answer", lambda: agent.health()["runs_answered"] >= 1, 900)
        for what in ("worker", "agent", "tiled"):
            kills.measuring()
            assert kills.one(what)
        revive(facility)
        finish(agent, 1200.0)
        found = account(facility, agent, name)
    finally:
        agent.stop()
        facility.agents[:] = before
    assert [row.what for row in kills.rows] == ["worker", "agent", "tiled"]
    assert_nothing_twice(found)
    assert len(found.successes) == 8


def test_two_agents_on_eight_runs_and_the_second_takes_over(facility, shift):
    name, path = shift(2, repeats=3, seconds=0.02)
    with Pair(facility, path, name) as pair:
        pair.answers(3)
        pair.falls("killed")
        pair.finish(1200.0)
        found, other = pair.accounts()
    assert len(found.runs) == 8
    assert_each_decision_had_its_run(found)
    assert found.answered == other.answered  # both ledgers say the same


def test_the_shipped_network_and_verifier_close_the_loop(facility, shift):
    """Not only the loop: real identifications decide, and a sample that is identified is left."""
    name, path = shift(2, seconds=0.5)
    agent = facility.agent(path, name)
    done = subprocess.run(
        [*agent.command(), "--until-finished"],
        env={**os.environ, **agent.environment()},
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = account(facility, agent, name)
    assert_each_decision_had_its_run(found)
    rows = [row for row in found.rows if row["kind"] == "decision" and row["identification"]]
    assert {row["sample"] for row in rows} == {doc["start"]["sample"] for doc in found.runs}
    assert all(row["identification"]["provenance"]["checkpoint"] != "fast" for row in rows)
