"""One agent and a Tiled as a facility runs it: PostgreSQL, Redis for its events, two server processes."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator

import pytest
from accounts import ENDLESS
from facility import AgentProcess
from servers import EXAMPLE, ROOT, Postgres, Redis, Tiled, absent, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

PAGE = ROOT / "docs" / "how-to" / "remote-tiled.md"
SHIFT = '[shift]\nname = "night-1"\nanswer = "all"\n'


class OfAFacility(Tiled):
    """The example's `tiled.yml` with the addresses of this machine."""

    def written(self) -> str:
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
        self.folder = folder
        self.first = OfAFacility(folder / "first", postgres, redis)
        self.second = OfAFacility(folder / "second", postgres, redis)
        self.second.key = self.first.key
        self.second.uri = f"{self.second.url}?api_key={self.first.key}"
        self.tiled = self.second  # what an agent of this facility is told


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
    from tiled.client import from_uri

    engine.subscribe(TiledWriter(from_uri(two.first.uri), batch_size=1))

    def once(sample: str) -> str:
        (uid,) = engine(bp.count([TraceDetector(name="det", n=501)], md={"sample": sample}))
        return uid

    return once


@pytest.fixture
def observing(two, tmp_path):
    """The page's agent, with its key in a file: it reads from the second server and has no queue."""
    settings = two.folder / "shift.toml"
    settings.write_text(SHIFT)
    key = tmp_path / "tiled.key"
    key.write_text(two.first.key)
    key.chmod(0o600)
    options = {"identifier": ENDLESS, "mode": "observe", "queue": None, "group": None}
    agent = AgentProcess(
        tmp_path / "agent", two, settings, tiled=two.second.url, tiled_key_file=key, **options
    )
    agent.without = ("TILED_API_KEY",)
    agent.start()
    yield agent
    agent.stop()


def query_of_the_page() -> str:
    """The block of the page that finds every `undecided` of last week."""
    (block,) = (b for b in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S) if "undecided" in b)
    return block


def found_by_the_page(uri: str) -> str:
    """What the page's block prints, run as it stands against this server."""
    block = query_of_the_page().replace("https://tiled.example.org", uri)
    assert uri in block
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(block, {})
    return said.getvalue()


def test_every_undecided_of_last_week_is_one_query(two, observing, measure):
    from tiled.client import from_uri

    wait_for("the agent to act", lambda: observing.health()["role"] == "acting", 600)
    first = measure("quartz-1")
    wait_for("the first entry", lambda: observing.health()["identifications_in_tiled"] >= 1, 600)

    # The agent's own server dies and comes back; what was measured meanwhile is answered, too.
    two.second.kill()
    meanwhile = measure("quartz-2")
    wait_for("the outage to be told", lambda: "tiled" in observing.health()["waiting"], 600)
    two.second.start()
    wait_for("all entries", lambda: observing.health()["identifications_in_tiled"] >= 2, 900)
    assert observing.health()["identifications_wait"] == ""

    for server in (two.first, two.second):
        said = found_by_the_page(server.uri)
        assert {line.split()[0] for line in said.splitlines()} >= {"quartz-1", "quartz-2"}
        for uid in (first, meanwhile):
            assert uid in said
    entries = from_uri(two.first.uri)["identifications"]
    assert len(entries) == 2
    for entry in entries.values():
        assert entry["log_probability"].read().shape == (99,)
    texts = [observing.log.read_text(), str(observing.rows()), observing.metrics(), str(observing.health())]
    assert not any(two.first.key in text for text in texts)


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
