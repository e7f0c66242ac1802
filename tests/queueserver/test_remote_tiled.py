"""One agent and a Tiled as a facility runs it: PostgreSQL, Redis for its events, two server processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from accounts import ENDLESS
from pages import Page, Started
from servers import EXAMPLE, ROOT, Postgres, Redis, Tiled, absent, free_port, wait_for
from tiled.client import from_uri

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

#: It answers what anybody measures.
SHIFT = '[shift]\nname = "night-1"\nanswer = "all"\n'


class OfAFacility(Tiled):
    """The example's `tiled.yml` with the addresses of this machine."""

    def settings(self) -> str:
        assert self.postgres is not None
        assert self.redis is not None
        text = (EXAMPLE / "tiled.yml").read_text()
        for theirs, ours in (
            ("tiled:${POSTGRES_PASSWORD}@postgres:5432/tiled", self.postgres.uri.partition("//")[2]),
            ("- /data", f"- {self.folder.parent / 'data'}"),
            ("{ uri: memory }", "{ uri: " + self.redis.url + " }"),
        ):
            assert theirs in text, theirs
            text = text.replace(theirs, ours)
        return text


class Two:
    """Two server processes of one catalog; an agent reads from the second."""

    def __init__(self, folder, postgres: Postgres, redis: Redis) -> None:
        (folder / "data").mkdir()
        self.first = OfAFacility(folder / "first", postgres, redis)
        self.second = OfAFacility(folder / "second", postgres, redis)
        self.second.key = self.first.key
        self.second.uri = f"{self.second.url}?api_key={self.first.key}"
        self.key = self.first.key


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Iterator[Two]:
    if why := absent("redis-server", "initdb", "tiled"):
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("remote")
    redis, postgres = Redis(folder / "redis", "password-of-events"), Postgres(folder / "postgres")
    found = Two(folder, postgres, redis)
    servers = [redis, postgres, found.first, found.second]
    try:
        for server in servers:
            server.start()
        yield found
    finally:
        for server in reversed(servers):
            server.stop()


@pytest.fixture
def measure(engine, two):
    """Somebody's session, writing through the first server; returns the run's uid."""
    import bluesky.plans as bp
    from beamline import TraceDetector
    from bluesky.callbacks.tiled_writer import TiledWriter

    engine.subscribe(TiledWriter(from_uri(two.first.uri), batch_size=1))

    def once(sample: str) -> str:
        (uid,) = engine(bp.count([TraceDetector(name="det", n=501)], md={"sample": sample}))
        return uid

    return once


@pytest.fixture
def page(two, tmp_path) -> Page:
    """The page, with the second server for its Tiled; the key is in a file."""
    shift, key = tmp_path / "shift.toml", tmp_path / "tiled.key"
    shift.write_text(SHIFT)
    key.write_text(two.key)
    key.chmod(0o600)
    here = {
        "https://tiled.example.org": two.second.url,
        "shift.toml": str(shift),
        "TILED_API_KEY=...": f"TILED_API_KEY={two.key}",
        "/etc/eg-agent/tiled.key": str(key),
    }
    beside = os.pathsep.join(str(ROOT / path) for path in (".", "tests/beamline", "tests/queueserver"))
    return Page("remote-tiled", here, {"EG_AGENT_RECORDS": str(tmp_path / "records"), "PYTHONPATH": beside})


@pytest.fixture
def agent(page, tmp_path) -> Iterator[Watched]:
    """The page's agent; it has no queue."""
    with Watched(page, tmp_path / "agent") as found:
        yield found


class Watched:
    """A page's `eg-agent run`, with a port, an identifier that is never sure, and what it says of itself."""

    def __init__(self, page: Page, folder: Path) -> None:
        self.port = free_port()
        more = f"--port {self.port} --identifier {ENDLESS} --log json"
        self.server = Started(folder, page, "eg-agent run", self.ready, more)

    def __enter__(self) -> Watched:
        self.server.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.server.stop()

    def ready(self) -> bool:
        return self.health()["role"] == "acting"

    def health(self) -> dict[str, Any]:
        return httpx.get(f"http://127.0.0.1:{self.port}/healthz", timeout=5).json()


def test_the_page_from_the_doctor_to_every_undecided_of_last_week(two, page, agent, measure, monkeypatch):
    """Every command and the query of the page; the agent's own server dies in the middle."""
    monkeypatch.setenv("TILED_API_KEY", two.key)
    told = page.run("eg-agent doctor")
    assert told.returncode == 0, told.stdout
    first = measure("quartz-1")
    wait_for("the first entry", lambda: agent.health()["identifications_in_tiled"] >= 1, 900)

    # What is measured while the agent's server is away is answered when it is back.
    two.second.kill()
    meanwhile = measure("quartz-2")
    wait_for("the outage to be told", lambda: "tiled" in agent.health()["waiting"], 600)
    two.second.start()
    wait_for("all entries", lambda: agent.health()["identifications_in_tiled"] >= 2, 900)
    assert agent.health()["identifications_wait"] == ""

    found = {line.split()[1]: line.split()[0] for line in page.printed("undecided").splitlines()}
    assert found == {first: "quartz-1", meanwhile: "quartz-2"}
    # The first server, which wrote none of them, has them too, with their arrays.
    entries = from_uri(two.first.uri)["identifications"]
    assert {entry.metadata["run"] for entry in entries.values()} == {first, meanwhile}
    assert all(entry["log_probability"].read().shape == (99,) for entry in entries.values())
    texts = [agent.server.log.read_text(), str(agent.health()), told.stdout, told.stderr]
    assert not any(two.key in text for text in texts)


def test_the_key_may_be_in_a_file(page, tmp_path):
    """`--tiled-key-file` in place of the variable, as the page says beside it."""
    key = str(tmp_path / "tiled.key")
    assert f"--tiled-key-file {key}" in page.put(page.path.read_text())
    page.exports = False
    port = free_port()

    def ready() -> bool:
        told = httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=5).json()
        return told["role"] == "acting" and told["seconds_since_step"] < 60 and not told["waiting"]

    more = f"--tiled-key-file {key} --port {port} --identifier {ENDLESS}"
    server = Started(tmp_path / "agent", page, "eg-agent run", ready, more)
    try:
        server.start()
    finally:
        server.stop()


def test_events_pass_from_one_server_to_the_other(two, measure):
    """Who subscribed at the second server is told of runs that are written through the first: by Redis."""
    from eg_agent.records.catalog import Wakes
    from eg_agent.records.runs import Runs

    heard: list[int] = []
    wakes = Wakes(Runs(two.second.uri), lambda: heard.append(1))

    def told() -> bool:
        measure("quartz-3")  # again and again: the subscription may not stand yet
        return bool(heard)

    try:
        assert wakes.check()
        wait_for("an event", told, 300)
    finally:
        wakes.close()
