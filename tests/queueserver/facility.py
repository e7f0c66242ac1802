"""A whole facility for the tests: all servers, any number of agents, and an account of a shift."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from servers import ROOT, Manager, Postgres, Redis, Server, Tiled, absent, free_port, program, wait_for

#: What every test that starts the whole needs; PostgreSQL is used where it is there, else SQLite.
NEEDED = ("redis-server", "start-re-manager", "tiled")


def missing() -> str:
    """Why the tests cannot run here, "" when they can."""
    return absent(*NEEDED)


class AgentProcess(Server):
    """`eg-agent run` as its own process, with its own records."""

    name = "agent"

    def __init__(self, folder: Path, facility: Facility, settings: Path, **options: Any) -> None:
        super().__init__(folder)
        self.facility = facility
        self.settings = settings
        self.port = free_port()
        self.records = folder / "records"
        self.options = options
        self.more: dict[str, str] = {}

    def command(self) -> list[str]:
        options = {
            "tiled": self.facility.tiled.url,
            "queue": self.facility.manager.control,
            "group": "agents",
            "mode": "act",
            "records": self.records,
            "port": self.port,
            "log": "json",
            **self.options,
        }
        given = [f"--{key.replace('_', '-')}={value}" for key, value in options.items() if value is not None]
        return [sys.executable, "-m", "eg_agent.cli.main", "run", str(self.settings), *given]

    def environment(self) -> dict[str, str]:
        paths = [
            str(ROOT),
            str(ROOT / "tests" / "beamline"),
            str(ROOT / "tests" / "queueserver"),
            os.environ.get("PYTHONPATH", ""),
        ]
        return {
            "TILED_API_KEY": self.facility.tiled.key,
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            **self.more,
        }

    def ready(self) -> bool:
        return self.health()["seconds_since_step"] < 60

    def health(self) -> dict[str, Any]:
        import httpx

        return httpx.get(f"http://127.0.0.1:{self.port}/healthz", timeout=5).json()

    def metrics(self) -> str:
        import httpx

        return httpx.get(f"http://127.0.0.1:{self.port}/metrics", timeout=5).text

    def rows(self) -> list[dict[str, Any]]:
        """The ledger's lines."""
        found = []
        path = self.records / "ledger.jsonl"
        if path.exists():
            for line in path.read_text().splitlines():
                try:
                    found.append(json.loads(line))
                except ValueError:
                    continue
        return found


@dataclass
class Facility:
    """Redis, PostgreSQL (where there is one), Tiled and RE Manager in one folder."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    password: str = ""

    def __post_init__(self) -> None:
        self.redis = Redis(self.folder / "redis", self.password)
        self.postgres = Postgres(self.folder / "postgres") if program("initdb") else None
        self.tiled = Tiled(self.folder / "tiled", self.postgres, None)
        self.manager = Manager(self.folder / "queue", self.redis, self.tiled, **self.environment)
        self.agents: list[AgentProcess] = []

    def __enter__(self) -> Facility:
        try:
            self.redis.start()
            if self.postgres is not None:
                self.postgres.start()
            self.tiled.start(wait=300.0)
            self.manager.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End every process, the agents first."""
        for server in [*self.agents, self.manager, self.tiled, self.postgres, self.redis]:
            if server is not None:
                server.stop()

    def agent(self, settings: Path, name: str = "agent", **options: Any) -> AgentProcess:
        """An agent, not started yet."""
        found = AgentProcess(self.folder / name, self, settings, **options)
        self.agents.append(found)
        return found

    def seen(self, agent: AgentProcess) -> list[object]:
        """What manager and agent say, for the message of a test that waits in vain."""
        return [self.manager.ask("status"), self.manager.ask("queue_get"), agent.health(), agent.tail()]

    def processor_seconds(self) -> float:
        """What all processes that live now have used of the processor so far."""
        import psutil

        used = 0.0
        for server in [*self.agents, self.manager, self.tiled, self.postgres, self.redis]:
            if server is None or server.process is None or server.process.poll() is not None:
                continue
            top = psutil.Process(server.process.pid)
            for process in [top, *top.children(recursive=True)]:
                with contextlib.suppress(psutil.Error):
                    used += sum(process.cpu_times()[:2])
        return used

    def runs(self) -> list[dict[str, Any]]:
        """Start and stop documents of all runs in Tiled, oldest first."""
        from tiled.client import from_uri

        client = from_uri(self.tiled.uri)
        found = [dict(node.metadata) for node in client.values() if "start" in node.metadata]
        return sorted(found, key=lambda doc: doc["start"]["time"])

    def settings(self, text: str, name: str = "shift.toml") -> Path:
        """Write a shift's file."""
        path = self.folder / name
        path.write_text(text)
        return path


def shift_name() -> str:
    """A name that no other test uses."""
    return f"shift-{secrets.token_hex(3)}"


def toml(value: Any) -> str:
    """A list or string as TOML (JSON is, for these)."""
    return json.dumps(value)


__all__ = ["AgentProcess", "Facility", "missing", "shift_name", "time", "toml", "wait_for"]
