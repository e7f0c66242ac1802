"""`Runs` and `Wakes` on real Tiled servers: what is said of runs, also where there is no stream."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Mapping
from typing import Any

import bluesky.plans as bp
import numpy as np
import pytest
from bluesky.callbacks.tiled_writer import TiledWriter
from tiled.client import from_uri

from eg_agent.patterns import Pattern, Radiation
from eg_agent.records import EmbeddedTiled, read_pattern
from eg_agent.records.catalog import Follower, Wakes
from eg_agent.records.runs import RunHead, Runs, TiledAway, _Run
from eg_agent.records.tiled_client import table_columns


@pytest.fixture
def measured(engine, tiled_uri):
    """Two attempts at one decision and a run without: their uids."""
    from beamline import TraceDetector

    engine.subscribe(TiledWriter(from_uri(tiled_uri), batch_size=1))
    det = TraceDetector(name="det")
    ident = f"d-{time.time_ns()}"
    found = [
        engine(bp.count([det]), eg_decision_id=ident, eg_attempt=n, eg_shift=ident, sample="a")[0]
        for n in (1, 2)
    ]
    return ident, [*found, engine(bp.count([det]), cell=["no", "cell", "of", "a", "crystal", "!"])[0]]


def test_runs_are_found_by_what_they_are_for_and_read(tiled_uri, measured):
    ident, (first, second, other) = measured
    runs = Runs(tiled_uri)
    assert [head.uid for head in runs.newest(3)] == [other, second, first]
    assert [head.uid for head in runs.of_decision(ident)] == [first, second]
    assert [head.uid for head in runs.since(0.0, ident)] == [first, second]
    assert runs.successful(ident) == first
    assert runs.head("no-such-run") is None
    head = runs.head(second)
    assert head is not None
    assert (head.attempt, head.shift, head.sample, head.ended) == (2, ident, "a", True)
    assert runs.pattern(head).uid == read_pattern(from_uri(tiled_uri)[second]).uid


class Told:
    """What a follower tells: the uids of the runs that have ended."""

    def __init__(self) -> None:
        self.uids: list[str] = []

    def began(self, uid: str, start: Mapping[str, Any]) -> None: ...

    def saw(self, uid: str) -> None: ...

    def ended(self, uid: str, start: Mapping[str, Any], stop: Mapping[str, Any]) -> None:
        self.uids.append(uid)


@pytest.mark.slow
def test_more_runs_than_tiled_shows_at_once(tmp_path):
    """A day of many short runs before anybody looked: all of them are told of, in their order."""
    from stored import multiply, write

    folder, axis = tmp_path / "tiled", np.arange(10.0, 12.0, 0.1)
    with EmbeddedTiled(folder, start_timeout=400.0) as tiled:
        write(from_uri(tiled.uri), Pattern(axis, np.full(axis.size, 9.0), Radiation(1.5406), raw_counts=True))
    uids = multiply(folder, 620)
    told = Told()
    with EmbeddedTiled(folder, start_timeout=400.0) as tiled:
        assert [head.uid for head in Runs(tiled.uri).newest(610)] == uids[::-1][:610]
        follower = Follower(tiled.uri, told, since=0.0)
        follower.start()
        until = time.monotonic() + 200.0
        while len(told.uids) < len(uids) and time.monotonic() < until:
            time.sleep(0.1)
        follower.close()
    assert sorted(told.uids) == sorted(uids)


def test_columns_come_together_and_as_they_were_measured(engine, tiled_uri):
    """The same numbers as column by column, for traces, points, and what the table does not hold."""
    import numpy as np
    from arriving import point_detector
    from beamline import TraceDetector

    client = from_uri(tiled_uri)
    engine.subscribe(TiledWriter(client, batch_size=1))
    tth, det = point_detector()
    (trace,) = engine(bp.count([TraceDetector(name="det", n=501)], num=2))
    (steps,) = engine(bp.scan([det], tth, 10.0, 20.0, 11), wavelength=1.54)
    runs = Runs(tiled_uri)
    asked: list[str] = []
    http = runs.client.context.http_client
    http.event_hooks["request"].append(lambda request: asked.append(request.url.path))
    heads = runs.heads([trace, steps, "no-such-run"])
    assert set(heads) == {trace, steps} <= set(runs.uids())
    for uid in (trace, steps):
        expected = read_pattern(client[uid])
        asked.clear()
        found = runs.pattern(heads[uid])
        assert len(asked) == 2, asked
        assert found.uid == expected.uid
        np.testing.assert_array_equal(found.two_theta, expected.two_theta)
        np.testing.assert_array_equal(found.intensity, expected.intensity)
    stream = client[trace, "primary"]
    both = table_columns(stream, ["det_intensity", "seq_num"])
    assert both["det_intensity"].shape == (2, 501)
    assert both["seq_num"].tolist() == [1, 2]
    assert table_columns(stream, ["not_a_column"]) == {}


def test_a_reading_is_gone_when_it_is_done(tiled_uri, measured):
    runs = Runs(tiled_uri)
    head = runs.head(measured[1][1])
    assert head is not None
    runs.pattern(head)
    gc.collect()
    assert not [one for one in gc.get_objects() if isinstance(one, _Run)]


def test_a_cell_in_the_metadata_counts_when_it_is_one(tiled_uri, measured):
    head = Runs(tiled_uri).head(measured[1][2])
    assert head is not None
    assert head.cell is None
    assert RunHead("u", {"cell": [4, 4, 4, 90, 90, 90]}).cell == (4.0, 4.0, 4.0, 90.0, 90.0, 90.0)


def test_a_tiled_that_refuses_is_said_without_the_key(tiled_uri):
    with pytest.raises(TiledAway) as away:
        Runs(f"{tiled_uri.partition('?')[0]}?api_key=hidden").newest()
    assert "401" in str(away.value)
    assert "hidden" not in str(away.value)


def test_a_run_that_begins_wakes(engine, tiled_uri):
    from beamline import TraceDetector

    woken = threading.Event()
    wakes = Wakes(Runs(tiled_uri), woken.set)
    try:
        engine.subscribe(TiledWriter(from_uri(tiled_uri), batch_size=1))
        deadline = time.monotonic() + 120.0
        # Until the subscription stands nothing is told: a run now and then.
        while not woken.wait(1.0):
            assert time.monotonic() < deadline, "no run woke"
            wakes.check()
            engine(bp.count([TraceDetector(name="det")]))
    finally:
        wakes.close()


@pytest.mark.timeout(120)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_tiled_without_a_stream_holds_nobody(tmp_path):
    """tiled's own `start_in_thread` waits for ever for a connection that such a server refuses."""
    from tiled.catalog import in_memory
    from tiled.client import Context, from_context
    from tiled.server.app import build_app

    with Context.from_app(build_app(in_memory(writable_storage=[str(tmp_path)]))) as context:
        wakes = Wakes(Runs(from_context(context)), lambda: None)
        wakes.check()
        deadline = time.monotonic() + 60.0
        while wakes.alive:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert not wakes.check(), "it is not tried again at once"
        wakes.close()
