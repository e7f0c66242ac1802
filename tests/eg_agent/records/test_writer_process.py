"""The Tiled guard in a process of its own: whole runs, whatever is killed."""

from __future__ import annotations

import os
import signal

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import pytest
from arriving import assert_complete, point_detector, until
from tiled.client import from_uri

from eg_agent.records import EmbeddedTiled, Journal, WriterProcess, read_pattern
from eg_agent.records.tiled_client import Segments, address_of


def kill_the_process_of(writer):
    def killed():
        try:
            os.kill(writer.pid, signal.SIGKILL)
        except (TypeError, ProcessLookupError):  # for a moment, between two processes, there is none
            return False
        return True

    until(killed)


@pytest.fixture
def written(engine, tiled_uri, tmp_path):
    journal = Journal(tmp_path / "journal")
    writer = WriterProcess(
        tiled_uri, journal, segments=Segments(rows=7, seconds=0.5), log=tmp_path / "writer.log"
    )
    engine.subscribe(writer)
    yield writer, from_uri(tiled_uri)
    writer.close()
    journal.close()


def test_both_shapes_arrive_whole_and_nothing_is_left(engine, written):
    from beamline import TraceDetector

    writer, client = written
    tth, det = point_detector()
    (trace,) = engine(bp.count([TraceDetector(name="trace", n=501)], num=2))
    (steps,) = engine(bp.scan([det], tth, 10, 20, 25), wavelength=1.0)
    for uid in (trace, steps):
        until(lambda uid=uid: writer.wait_written(uid, 5.0))
        assert_complete(client, writer.journal, uid)
    until(lambda: writer.state.written == 5 + 28)
    state = writer.state
    assert (state.connected, state.lost, state.refused, state.behind, state.queued) == (True, 0, {}, (), 0)
    assert writer.close()


def test_a_writer_that_is_killed_is_followed_by_another_that_goes_on(engine, written):
    writer, client = written
    tth, det = point_detector()

    def plan():
        uid = yield from bps.open_run({"wavelength": 1.0})
        for i in range(60):
            if i in (20, 40):
                until(lambda: writer.state.written > 2)
                kill_the_process_of(writer)
            yield from bps.mv(tth, 10 + i)
            yield from bps.trigger_and_read([det, tth])
        yield from bps.close_run()
        return uid

    (uid,) = engine(plan())
    until(lambda: writer.wait_written(uid, 5.0))
    assert_complete(client, writer.journal, uid)
    assert 2 <= writer.starts <= 3, "the second kill may meet a process that had not begun"
    assert writer.state.lost == 0


def test_documents_that_the_disk_refused_go_through_the_pipe(engine, written, monkeypatch):
    """Every third document does not reach the journal, as on a disk that is full now and then."""
    writer, client = written
    write = Journal._write
    calls: list[int] = []

    def full(self, run, state, line):
        calls.append(len(line))
        if len(calls) % 3 == 0:
            raise OSError(28, "No space left on device")
        write(self, run, state, line)

    monkeypatch.setattr(Journal, "_write", full)
    tth, det = point_detector()
    (uid,) = engine(bp.scan([det], tth, 10, 20, 25), wavelength=1.0)
    until(lambda: writer.wait_written(uid, 5.0))
    numbers = client[uid]["primary"].base["internal"].read(["seq_num"])["seq_num"].tolist()
    assert numbers == list(range(1, 26))
    assert len(list(writer.journal.documents(uid))) < 28
    assert writer.state.lost == 0
    assert writer._held == {}


def test_the_next_session_sends_what_the_last_one_could_not(engine, tiled_uri, tmp_path):
    first = WriterProcess("http://127.0.0.1:9/api/v1?api_key=x", Journal(tmp_path), retry_seconds=0.1)
    token = engine.subscribe(first)
    tth, det = point_detector()
    (uid,) = engine(bp.scan([det], tth, 10, 20, 6), wavelength=1.0)
    engine.unsubscribe(token)
    until(lambda: uid in first.journal.marks())
    assert not first.wait_written(uid, 60.0)
    assert "x" not in first.state.error.split("/api/v1")[-1]
    assert not first.close()
    second = WriterProcess(tiled_uri, Journal(tmp_path))
    until(lambda: second.wait_written(uid, 5.0))
    assert_complete(from_uri(tiled_uri), second.journal, uid)
    assert second.close()


def test_a_client_is_handed_on_by_its_address(tiled_uri):
    address = address_of(from_uri(tiled_uri))
    assert address is not None
    assert len(from_uri(address)) >= 0
    assert address_of(tiled_uri) == tiled_uri


@pytest.mark.slow
def test_tiled_is_killed_in_the_middle_and_comes_back(engine, tmp_path):
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = EmbeddedTiled(tmp_path / "tiled", port=port, api_key="secret")
    journal, states = Journal(tmp_path / "journal"), []
    uri = server.start()
    writer = WriterProcess(
        uri, journal, retry_seconds=0.3, segments=Segments(rows=4, seconds=0.2), on_change=states.append
    )
    engine.subscribe(writer)
    tth, det = point_detector()
    try:

        def plan():
            yield from bps.open_run({"wavelength": 1.0})
            for i in range(40):
                if i == 20:
                    until(lambda: writer.state.written > 10)
                    server.kill()
                yield from bps.mv(tth, 10 + i)
                yield from bps.trigger_and_read([det, tth])
            yield from bps.close_run()

        (uid,) = engine(plan())
        until(lambda: not writer.state.connected)
        assert uid in writer.state.behind
        server.start()
        until(lambda: writer.wait_written(uid, 5.0))
        assert_complete(from_uri(uri), journal, uid)
        assert read_pattern(from_uri(uri)[uid]).two_theta.size == 40
        assert any(not state.connected for state in states)
        assert writer.close()
        assert writer.state.lost == 0
    finally:
        writer.close()
        server.close()
