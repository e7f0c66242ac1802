"""What the loop refuses, respects and waits for, against the real servers; and that it keeps its secrets."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from facility import wait_for
from servers import BIN, Server, free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

FAST = "beamline:FastIdentifier"
DOCTOR = (sys.executable, "-m", "eg_agent.cli.main", "doctor")


@pytest.fixture
def start(facility, shift):
    """Start an agent on a new shift; every one is ended afterwards."""
    started = []

    def make(samples=1, more="", options=None, **values):
        name, path = shift(samples, more, **values)
        agent = facility.agent(path, name, **{"identifier": FAST, **(options or {})})
        agent.start()
        started.append(agent)
        return name, agent

    yield make
    for agent in started:
        agent.stop()
    facility.manager.ask("queue_clear")


def runs_of(facility, name):
    return [doc for doc in facility.runs() if doc["start"].get("eg_shift") == name]


def told(agent, what):
    return agent.health()["waiting"].get(what, "")


def outcomes(agent):
    return [(r["status"], r["reason"]) for r in agent.rows() if r["kind"] == "outcome"]


def test_a_locked_queue_is_respected(facility, start):
    manager = facility.manager
    manager.ask("lock", environment=False, queue=True, user="ada", lock_key="key-of-ada", note="aligning")
    try:
        name, agent = start(repeats=0)
        wait_for("the lock to be told", lambda: "lock" in agent.health()["waiting"], 300)
        assert "locked" in told(agent, "lock")
        assert manager.ask("queue_get")["items"] == []
    finally:
        manager.ask("unlock", lock_key="key-of-ada")
    wait_for("the shift", lambda: agent.health()["finished"], 600)
    assert len(runs_of(facility, name)) == 1


def test_a_group_without_the_plan_is_told_and_nothing_is_queued(facility, start):
    _, agent = start(options={"group": "nobody"})
    wait_for("a reason", lambda: "nobody" in str(agent.health()["waiting"]), 300)
    assert facility.manager.ask("queue_get")["items"] == []


def test_a_plan_outside_the_permissions_is_told(facility, start):
    _, agent = start(more='[queue]\nplan = "count"\n')
    wait_for("a reason", lambda: "may not use the plan 'count'" in told(agent, "queue"), 300)
    assert facility.manager.ask("queue_get")["items"] == []


def test_what_the_instrument_forbids_is_refused_by_the_plan_and_told(facility, start):
    """The agent's limits are wider than the instrument's: the fence in the worker holds."""
    name, agent = start(more="[failure]\nretries = 0\n", seconds=100.0)
    wait_for("the failure", lambda: any(status == "failed" for status, _ in outcomes(agent)), 300)
    reason = next(why for status, why in outcomes(agent) if status == "failed")
    assert "100" in reason
    assert "60 s" in reason
    wait_for("the end", lambda: agent.health()["finished"] or not agent.health()["open_decisions"], 300)
    assert not any((d.get("stop") or {}).get("exit_status") == "success" for d in runs_of(facility, name))
    assert facility.manager.ask("queue_get")["items"] == []


def test_other_peoples_items_are_left_alone(facility, start):
    """Idle, with somebody's item first: it is neither started nor moved, and ours waits behind."""
    manager = facility.manager
    scan = {"sample": "scheelite", "two_theta": [5, 90], "step": 0.02, "seconds_per_point": 0.01}
    theirs = {"item_type": "plan", "name": "eg_measure", "kwargs": scan}
    uid = manager.ask("queue_item_add", item=theirs, user="ada", user_group="primary")["item"]["item_uid"]
    name, agent = start(repeats=0)
    wait_for("it waits for a person", lambda: "somebody's item first" in told(agent, "person"), 300)
    items = manager.ask("queue_get")["items"]
    assert [item["user"] for item in items] == ["ada", "eg-agent"]
    assert items[0]["item_uid"] == uid
    manager.ask("queue_start")
    wait_for("the shift", lambda: agent.health()["finished"], 600)
    assert len(runs_of(facility, name)) == 1


def test_an_item_that_a_person_took_out_is_not_put_back(facility, start):
    manager = facility.manager
    name, agent = start(more='[queue]\nstart = "never"\n')
    wait_for("the item", lambda: manager.ask("queue_get")["items"], 300)
    manager.ask("queue_clear")
    # The history must say something, else the queue counts as lost.
    wait_for("the refusal", lambda: any("taken out" in why for _, why in outcomes(agent)), 300)
    time.sleep(2.0)
    assert runs_of(facility, name) == []


def test_proposals_wait_for_a_person_and_edits_are_checked(facility, start):
    name, agent = start(more="[approval]\nexpires = 600.0\n", options={"mode": "propose"}, seconds=0.05)
    wait_for("a proposal", lambda: "decisions list" in told(agent, "person"), 600)
    assert len(runs_of(facility, name)) == 1  # the first scan needs nobody

    def command(*args):
        return subprocess.run(
            [sys.executable, "-m", "eg_agent.cli.main", "decisions", *args, "--records", str(agent.records)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **agent.environment()},
        )

    (proposal,) = (agent.records / "proposals").glob("*.proposal.json")
    ident = proposal.name.partition(".")[0]
    forge(proposal)
    wait_for("the forgeries to be refused", lambda: len(forgeries(agent)) >= 2, 300)
    assert "f0f0f0f0: refused, no decision of this agent waits under this id" in forgeries(agent)
    assert "e0e0e0e0: refused, mallory answered what was not proposed" in forgeries(agent)
    assert facility.manager.ask("queue_get")["items"] == []
    refused = command("approve", ident, "--seconds", "5000")
    assert refused.returncode == 2
    assert "refused" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert command("approve", ident[:6], "--seconds", "0.3", "--by", "ada").returncode == 0
    wait_for("the measurement", lambda: len(runs_of(facility, name)) == 2, 600)
    second = runs_of(facility, name)[1]["start"]
    assert second["eg_decision_id"] == ident
    assert second["seconds_per_point"] == 0.3
    assert ("accepted", "by ada with edits") in outcomes(agent)


def forge(proposal: Path) -> None:
    """A decision of one's own and the leave for it, by somebody who may write into the store."""
    found = json.loads(proposal.read_text())
    found["decision"] = {**found["decision"], "decision_id": "f0f0f0f0", "windows": [[-100.0, 170.0]]}
    (proposal.parent / "f0f0f0f0.proposal.json").write_text(json.dumps(found))
    for ident in ("f0f0f0f0", "e0e0e0e0"):  # and leave for what nobody ever proposed
        verdict = {"decision_id": ident, "accepted": True, "by": "mallory"}
        (proposal.parent / f"{ident}.verdict.json").write_text(json.dumps(verdict))


def forgeries(agent) -> list[str]:
    return [row["text"] for row in agent.rows() if row["kind"] == "note" and row["what"] == "forged"]


@pytest.mark.parametrize("key", [None, "", "wrong-key-canary"], ids=["not set", "empty", "wrong"])
def test_a_wrong_or_missing_key_is_told_and_kept_secret(facility, shift, key):
    name, path = shift(1)
    agent = facility.agent(path, name, identifier=FAST)
    # `None` takes the variable out of the environment, as Popen has no word for that.
    agent.more = {"TILED_API_KEY": key} if key is not None else {}
    agent.without = () if key is not None else ("TILED_API_KEY",)
    agent.start()
    try:
        wait_for("a reason", lambda: told(agent, "tiled") != "", 300)
        assert "set TILED_API_KEY, or give --tiled-key-file" in told(agent, "tiled")
    finally:
        agent.stop()
    doctor = subprocess.run(
        [
            sys.executable,
            "-m",
            "eg_agent.cli.main",
            "doctor",
            "--tiled",
            facility.tiled.url,
            "--records",
            str(agent.records),
        ],
        capture_output=True,
        text=True,
        check=False,
        env=agent.whole_environment(),
    )
    assert doctor.returncode == 1
    assert "the key is wrong or missing" in doctor.stdout
    for text in (agent.log.read_text(), doctor.stdout, doctor.stderr, str(agent.rows())):
        assert not key or key not in text


def test_the_doctor_is_content_with_a_whole_facility(facility, shift):
    name, path = shift(1)
    agent = facility.agent(path, name)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "eg_agent.cli.main",
            "doctor",
            "--tiled",
            facility.tiled.url,
            "--queue",
            facility.manager.control,
            "--redis",
            facility.redis.url,
            "--records",
            str(agent.records),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **agent.environment()},
    )
    assert done.returncode == 0, done.stdout
    assert "failed" not in done.stdout
    assert facility.tiled.key not in done.stdout
    for what in ("permissions", "environment", "Redis' disk", "Tiled's clock", "Tiled's events"):
        assert any(line.startswith("ok") and what in line for line in done.stdout.splitlines()), done.stdout


def test_no_secret_in_anything_that_a_shift_leaves_behind(facility, start):
    """Keys are given in every way; then log, ledger, metrics, health, records and entries are searched."""
    from tiled.client import from_uri
    from tiled.queries import Key

    name, agent = start(repeats=1, options={"tiled": facility.tiled.uri, "redis": facility.redis.url})
    wait_for("the shift", lambda: agent.health()["finished"], 600)
    texts = {"metrics": agent.metrics(), "health": str(agent.health())}
    facility.tiled.kill()  # an outage is where tracebacks come from
    time.sleep(3.0)
    texts["health of an outage"] = str(agent.health())
    agent.stop()
    facility.tiled.start(wait=300.0)
    for path in agent.folder.rglob("*"):
        if path.is_file():
            with contextlib.suppress(UnicodeDecodeError):
                texts[str(path)] = path.read_text()
    assert len(texts) > 4
    entries = from_uri(facility.tiled.uri)["identifications"].search(Key("shift") == name)
    texts["entries in Tiled"] = str([(dict(e.metadata), e.specs) for e in entries.values()])
    for where, text in texts.items():
        assert facility.tiled.key not in text, where
        assert facility.redis.password not in text, where


class HttpServer(Server):
    """bluesky-httpserver in front of the RE Manager, with one key."""

    name = "HTTP server"

    def __init__(self, folder: Path, control: str) -> None:
        super().__init__(folder)
        self.port = free_port()
        self.control = control
        self.key = "keyofhttpserver0"
        self.address = f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        return [str(BIN / "start-bluesky-httpserver"), "--host", "127.0.0.1", "--port", str(self.port)]

    def environment(self) -> dict[str, str]:
        return {
            "QSERVER_ZMQ_CONTROL_ADDRESS": self.control,
            "QSERVER_HTTP_SERVER_SINGLE_USER_API_KEY": self.key,
        }

    def ready(self) -> bool:
        import httpx

        return httpx.get(f"{self.address}/api/status", timeout=5).status_code in (200, 401)


def test_the_same_over_http(facility, start, tmp_path):
    server = HttpServer(tmp_path / "http", facility.manager.control)
    server.start()
    try:
        name, path_agent = start(repeats=1, options={"queue": server.address})
        for key in (None, "wrong-http-key-canary"):
            if key is not None:
                path_agent.more = {"QSERVER_HTTP_SERVER_API_KEY": key}
                path_agent.start()
            wait_for("a refusal", lambda: "queue" in path_agent.health()["waiting"], 300)
            assert "set QSERVER_HTTP_SERVER_API_KEY" in told(path_agent, "queue")
            path_agent.stop()
        path_agent.more = {"QSERVER_HTTP_SERVER_API_KEY": server.key}
        path_agent.start()
        wait_for("the shift", lambda: path_agent.health()["finished"], 600)
        assert len(runs_of(facility, name)) >= 1
        for secret in (server.key, "wrong-http-key-canary"):
            assert secret not in path_agent.log.read_text() + str(path_agent.rows())
    finally:
        server.stop()
