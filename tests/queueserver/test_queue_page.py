"""docs/how-to/queue-server.md, command after command, with real servers."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import httpx
import pytest
from accounts import ENDLESS
from pages import Page, Started
from servers import ROOT, free_port, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]


class OfThePage:
    """The page's RE Manager and agent, beside the servers of the facility."""

    def __init__(self, facility, folder: Path) -> None:
        self.folder = folder
        self.records = folder / "records"
        self.control = f"tcp://127.0.0.1:{free_port()}"
        self.port = free_port()
        self.two = free_port()
        shift = folder / "shift.toml"
        shift.write_text((ROOT / "examples" / "queueserver" / "shift.toml").read_text())
        redis = facility.redis
        self.here = {
            "http://tiled:8000/api/v1": facility.tiled.url,
            "http://tiled:8000": facility.tiled.url,
            "TILED_API_KEY=...": f"TILED_API_KEY={facility.tiled.key}",
            "--redis-addr 127.0.0.1:6379": f"--redis-addr :{redis.password}@127.0.0.1:{redis.port}",
            "redis://:PASSWORD@redis:6379": redis.url,
            "tcp://127.0.0.1:60615": self.control,
            "tcp://queue:60615": self.control,
            "/var/lib/queue/existing_plans_and_devices.yaml": str(folder / "existing.yaml"),
            "/var/lib/eg-agent-2": str(folder / "records-2"),
            "/var/lib/eg-agent": str(self.records),
            "run shift.toml": f"run {shift}",
        }
        beside = os.pathsep.join(str(ROOT / path) for path in (".", "tests/beamline", "tests/queueserver"))
        self.environment = {
            "PYTHONPATH": beside,
            "EG_AGENT_RECORDS": str(self.records),
            "EG_AGENT_WORKER_RECORDS": str(folder / "worker"),
            "QSERVER_ZMQ_CONTROL_ADDRESS": self.control,
            "QSERVER_ZMQ_INFO_ADDRESS_FOR_SERVER": f"tcp://127.0.0.1:{free_port()}",
        }

    def page(self, **more: str) -> Page:
        """The page, with further names."""
        return Page("queue-server", {**self.here, **more}, self.environment)

    def status(self) -> dict[str, Any]:
        from bluesky_queueserver.manager.comms import zmq_single_request

        found, problem = zmq_single_request("status", {}, timeout=5000, zmq_server_address=self.control)
        assert found is not None, problem
        return found

    def health(self, port: int) -> dict[str, Any]:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=5).json()

    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.records / "ledger.jsonl").read_text().splitlines()]

    def proposal(self) -> str:
        """Id of the one decision that waits for a person."""
        (found,) = (self.records / "proposals").glob("*.proposal.json")
        return found.name.partition(".")[0]


@pytest.fixture
def started():
    """Starts commands of the page; all of them are ended afterwards."""
    running: list[Started] = []

    def start(*args: Any) -> Started:
        server = Started(*args)
        running.append(server)
        server.start(900.0)
        return server

    yield start
    for server in reversed(running):
        server.stop()


def test_the_page_from_the_manager_to_a_second_agent(facility, started, tmp_path):
    it = OfThePage(facility, tmp_path)
    page = it.page()
    started(tmp_path / "manager", page, "start-re-manager", lambda: bool(it.status()["manager_state"]))
    opened = page.run("qserver environment open")
    assert opened.returncode == 0, opened.stdout + opened.stderr
    wait_for("the environment", lambda: it.status()["worker_environment_state"] == "idle", 900)
    told = page.run("eg-agent doctor")
    assert told.returncode == 0, told.stdout

    # In the page it acts; here it proposes, so that there is something to approve.
    more = f"--mode propose --port {it.port} --identifier {ENDLESS}"
    agent = started(tmp_path / "agent", page, "eg-agent run examples", lambda: it.health(it.port)["ok"], more)
    wait_for("a proposal", lambda: it.health(it.port)["waiting"].get("person") and it.proposal(), 900)
    first = it.proposal()
    listed = page.run("eg-agent decisions list")
    assert listed.returncode == 0
    assert first[:4] in listed.stdout
    answer(it, "approve", first)
    wait_for("another proposal", lambda: it.proposal() != first, 900)
    answer(it, "reject", it.proposal())
    assert settled(it)[first] == "done"
    agent.stop()

    names = {"2242c4657a543a39": first}
    os.environ["TILED_API_KEY"] = facility.tiled.key
    try:
        space: dict[str, Any] = {}
        block = it.page(**names).code("eg_decision_id")
        head, _, last = block.rstrip().rpartition("\n")
        exec(head, space)
        (run,) = eval(last, space).values()
    finally:
        del os.environ["TILED_API_KEY"]
    assert run.metadata["start"]["eg_decision_id"] == first
    assert run.metadata["start"]["seconds_per_point"] == 5.0

    # The last command: an agent with its own records, and a lease in Redis.
    second = f"--port {it.two} --identifier {ENDLESS}"
    started(
        tmp_path / "second",
        page,
        f"eg-agent run {tmp_path / 'shift.toml'}",
        lambda: it.health(it.two)["role"] == "acting",
        second,
    )
    assert it.health(it.two)["token"] >= 1


def answer(it: OfThePage, command: str, ident: str) -> None:
    """Run the page's `approve` or `reject` on a decision, and wait for what it leads to."""
    page = it.page(**{f"decisions {command} 2242": f"decisions {command} {ident}"})
    done = page.run(f"eg-agent decisions {command}")
    assert done.returncode == 0, done.stderr
    wait_for(f"what came of {command}", lambda: ident in settled(it), 900)


def settled(it: OfThePage) -> dict[str, str]:
    """The last outcome of each decision that a person answered."""
    return {
        row["decision_id"]: row["status"]
        for row in it.rows()
        if row["kind"] == "outcome" and row["status"] in ("refused", "done")
    }
