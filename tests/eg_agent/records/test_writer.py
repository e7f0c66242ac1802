"""The Tiled guard against real servers that are slow, away, killed, and back."""

from __future__ import annotations

import socket
import time

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import pytest
from arriving import assert_complete, journaled, point_detector, until
from bluesky.callbacks.tiled_writer import TiledWriter
from tiled.client import from_uri

from eg_agent.records import EmbeddedTiled, Journal, TiledDocumentWriter, read_pattern
from eg_agent.records.tiled_client import Segments, redacted


def arrives(writer, run):
    """`wait_written` says no at once while Tiled does not answer, as it may on a busy machine."""
    until(lambda: writer.wait_written(run, 1.0) or writer.state.refused)
    assert writer.state.refused == {}


@pytest.fixture
def written(engine, tiled_uri, tmp_path):
    """A guard on the shared server, subscribed to the RunEngine."""
    journal = Journal(tmp_path / "journal")
    writer = TiledDocumentWriter(tiled_uri, journal, segments=Segments(rows=7, seconds=0.5))
    engine.subscribe(writer)
    yield writer, from_uri(tiled_uri)
    writer.close()
    journal.close()


def test_both_shapes_arrive_whole(engine, written):
    from beamline import TraceDetector

    writer, client = written
    tth, det = point_detector()
    (trace,) = engine(bp.count([TraceDetector(name="trace", n=501)], num=2))
    (steps,) = engine(bp.scan([det], tth, 10, 20, 25), wavelength=1.0)
    arrives(writer, trace)
    arrives(writer, steps)
    for uid in (trace, steps):
        assert_complete(client, writer.journal, uid)
    state = writer.state
    assert (state.lost, state.refused, state.behind, state.queued) == (0, {}, (), 0)
    assert state.written == 5 + 28


def test_step_scans_are_written_in_segments(engine, written, monkeypatch):
    from tiled.client.dataframe import DataFrameClient

    sizes: list[int] = []
    append = DataFrameClient.append_partition

    def counting(self, partition, table):
        sizes.append(table.num_rows)
        return append(self, partition, table)

    monkeypatch.setattr(DataFrameClient, "append_partition", counting)
    writer, client = written
    writer._segments.seconds = 1e6
    tth, det = point_detector()
    (uid,) = engine(bp.scan([det], tth, 10, 20, 25), wavelength=1.0)
    arrives(writer, uid)
    assert sizes == [7, 7, 7, 4]
    assert_complete(client, writer.journal, uid)


def test_a_slow_scan_becomes_readable_while_it_runs(engine, written):
    """Rows are written when they are old enough, not only when there are many."""
    _, client = written
    tth, det = point_detector()
    seen: list[int] = []

    def look(uid):
        def rows():
            try:
                return len(client[uid]["primary"]["det_counts"].read())
            except KeyError:
                return 0

        until(lambda: rows() == 3)
        seen.append(rows())

    def plan():
        uid = yield from bps.open_run({"wavelength": 1.0})
        for angle in (10, 11, 12):
            yield from bps.mv(tth, angle)
            yield from bps.trigger_and_read([det, tth])
        look(uid)
        yield from bps.close_run()

    engine(plan())
    assert seen == [3]


def test_a_run_of_another_writer_is_left_alone(engine, tiled_uri, tmp_path):
    client = from_uri(tiled_uri)
    engine.subscribe(TiledWriter(client, batch_size=1))
    journal = Journal(tmp_path)
    writer = TiledDocumentWriter(tiled_uri, journal)
    engine.subscribe(writer)
    tth, det = point_detector()
    (uid,) = engine(bp.scan([det], tth, 10, 20, 5), wavelength=1.0)
    until(lambda: writer.state.elsewhere == (uid,) or writer.state.written)
    assert not writer.wait_written(uid, 5)
    assert writer.close()
    assert_complete(client, journal, uid)


def test_a_wrong_key_is_refused_with_the_reason_and_nothing_is_lost(engine, tiled_uri, tmp_path):
    base, _, _ = tiled_uri.partition("?")
    said = []
    journal = Journal(tmp_path)
    writer = TiledDocumentWriter(f"{base}?api_key=wrong", journal, on_change=said.append, retry_seconds=0.2)
    engine.subscribe(writer)
    tth, det = point_detector()
    (uid,) = engine(bp.scan([det], tth, 10, 20, 5), wavelength=1.0)
    until(lambda: "401" in writer.state.error or writer.state.refused)
    assert "wrong" not in writer.state.error
    writer.close()
    assert len(journaled(journal, uid, "det_counts")) == 5


@pytest.mark.slow
def test_no_table_with_data_has_the_slow_index(engine, tmp_path):
    """Neither in a new storage nor in one that an earlier version left (eg_agent.records.embedded)."""
    import duckdb
    from beamline import TraceDetector

    storage = tmp_path / "tiled" / "storage.duckdb"
    indexed = "SELECT table_name FROM duckdb_indexes()"
    for start in (1, 2):
        with EmbeddedTiled(tmp_path / "tiled") as server:
            writer = TiledDocumentWriter(server.uri, Journal(tmp_path / f"journal-{start}"))
            token = engine.subscribe(writer)
            (uid,) = engine(bp.count([TraceDetector(name="det", n=501)], num=3))
            arrives(writer, uid)
            engine.unsubscribe(token)
            assert writer.close()
            assert from_uri(server.uri)[uid]["primary"]["det_intensity"].read().shape == (3, 501)
        with duckdb.connect(storage) as found:
            assert found.execute(indexed).fetchall() == [("_no_data",)]
            (table,) = found.execute(
                "SELECT table_name FROM duckdb_tables() WHERE table_name LIKE 'table%'"
            ).fetchone()
            found.execute("DROP INDEX dataset_and_partition_index")
            found.execute(
                f'CREATE INDEX dataset_and_partition_index ON "{table}" (_dataset_id, _partition_id)'
            )


@pytest.mark.slow
def test_away_killed_and_back(engine, tmp_path):
    """Tiled is away from the start, comes, dies in the middle of a scan, and comes back."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = EmbeddedTiled(tmp_path / "tiled", port=port, api_key="secret")
    uri = f"http://127.0.0.1:{port}/api/v1?api_key=secret"
    journal = Journal(tmp_path / "journal")
    states = []
    writer = TiledDocumentWriter(
        uri, journal, retry_seconds=0.3, segments=Segments(rows=4, seconds=0.2), on_change=states.append
    )
    engine.subscribe(writer)
    tth, det = point_detector()

    (before,) = engine(bp.scan([det], tth, 10, 20, 30), wavelength=1.0)
    until(lambda: writer.state.error)
    assert not writer.state.connected
    assert not writer.wait_written(before, 0.2)
    try:
        server.start()
        arrives(writer, before)
        client = from_uri(uri)
        assert_complete(client, journal, before)

        took: list[float] = []

        def dies_in_the_middle():
            yield from bps.open_run({"wavelength": 1.0})
            for i in range(40):
                if i == 20:
                    until(lambda: writer.state.queued == 0)
                    time.sleep(0.5)
                    server.kill()
                started = time.monotonic()
                yield from bps.mv(tth, 10 + i)
                yield from bps.trigger_and_read([det, tth])
                took.append(time.monotonic() - started)
            yield from bps.close_run()

        (during,) = engine(dies_in_the_middle())
        # The second half, without Tiled, goes at the pace of the first; retries alone would take 20 s.
        assert sum(took[20:]) < 5.0 + 5.0 * sum(took[:20])
        until(lambda: not writer.state.connected)
        assert during in writer.state.behind
        server.start()
        arrives(writer, during)
        assert_complete(from_uri(uri), journal, during)
        assert read_pattern(from_uri(uri)[during]).two_theta.size == 40
        assert writer.state.lost == 0
        assert writer.close()
        assert any(not state.connected for state in states)
        assert states[-1].connected
    finally:
        server.close()


def test_the_next_session_sends_what_the_last_one_could_not(engine, tiled_uri, tmp_path):
    journal = Journal(tmp_path)
    first = TiledDocumentWriter("http://127.0.0.1:9/api/v1?api_key=x", journal, retry_seconds=0.1)
    token = engine.subscribe(first)
    tth, det = point_detector()
    (uid,) = engine(bp.scan([det], tth, 10, 20, 6), wavelength=1.0)
    engine.unsubscribe(token)
    until(lambda: uid in journal.marks())
    assert not first.close()
    journal.close()

    second = TiledDocumentWriter(tiled_uri, Journal(tmp_path))
    arrives(second, uid)
    assert_complete(from_uri(tiled_uri), second.journal, uid)
    written = second.state.written
    assert second.close()
    third = TiledDocumentWriter(tiled_uri, Journal(tmp_path))
    time.sleep(1.0)
    assert third.state.written == 0, "what has arrived is not sent again"
    assert third.close()
    assert written == 9


def test_a_full_queue_goes_by_way_of_the_journal(engine, tiled_uri, tmp_path):
    journal = Journal(tmp_path)
    writer = TiledDocumentWriter(tiled_uri, journal, queue_size=3)
    engine.subscribe(writer)
    tth, det = point_detector()
    (uid,) = engine(bp.scan([det], tth, 10, 20, 60), wavelength=1.0)
    arrives(writer, uid)
    assert writer.state.lost == 0
    assert_complete(from_uri(tiled_uri), journal, uid)
    assert writer.close()


def test_keys_are_never_shown():
    said = redacted("GET http://user:pw@host:8000/api/v1?api_key=abc123&x=1 failed, token=zzz")
    assert "abc123" not in said
    assert "pw" not in said
    assert "zzz" not in said
    assert "x=1" in said
