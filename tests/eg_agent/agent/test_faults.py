"""What breaks around an agent, with real servers and real processes: the scan ends as it would have.

No run is lost, no decision is made twice, and the ledger says what happened. An exception in the network, a
verifier that hangs, broken frames and an interrupted RunEngine are in `test_broken.py`; the writer alone is
in `tests/eg_agent/records`.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import numpy as np
import pytest
from ophyd.sim import NullStatus, SynAxis
from tiled.client import from_uri

from eg_agent.agent import Agent
from eg_agent.records import DecisionRow, EmbeddedTiled, Journal, NoteRow, OutcomeRow, read_ledger, replay

TESTS = Path(__file__).resolve().parents[2]
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(
        [str(TESTS.parent), str(TESTS / "beamline"), os.environ.get("PYTHONPATH", "")]
    ),
}


def until(condition, timeout=200.0):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)


def rows(ledger, kind):
    return [row for row in read_ledger(ledger) if isinstance(row, kind)]


def check_ledger(records):
    """Every run that ended is answered once, no decision has two successful runs, all can be replayed."""
    journal = Journal(records / "journal")
    ended = {uid for uid in journal.runs() if [e for e in journal.documents(uid) if e.name == "stop"]}
    made = rows(records / "ledger.jsonl", DecisionRow)
    answered = [uid for row in made for uid in row.new_runs]
    assert len(answered) == len(set(answered)), "a run was answered twice"
    assert set(answered) == ended, "a run was lost"
    carried_out = {}
    for uid in ended:
        start = next(e.doc for e in journal.documents(uid) if e.name == "start")
        carried_out.setdefault(start["eg_decision_id"], []).append(uid)
    assert all(len(uids) == 1 for uids in carried_out.values()), "a decision was carried out twice"
    done = {row.decision_id for row in rows(records / "ledger.jsonl", OutcomeRow) if row.status == "done"}
    assert done >= set(carried_out), "the record does not say what was done"
    assert all(one.same for one in replay(records / "ledger.jsonl"))
    return made


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_at_any_of_twenty_points_and_started_again(tmp_path):
    points = [int(text) for text in os.environ.get("EG_AGENT_KILL_AT", "").split()]
    points = points or [20 + 48 * i for i in range(20)]
    script = Path(__file__).with_name("kill_at.py")
    subprocess.run(
        [sys.executable, str(script), str(tmp_path), *map(str, points)],
        env=ENVIRONMENT,
        check=True,
        timeout=1700,
    )
    whole = check_ledger(tmp_path / "whole")
    assert [row.sample for row in whole] == ["dim", "dim", "dim", "bright"]
    found = [len(check_ledger(tmp_path / f"at-{point}")) for point in points]
    assert found == sorted(found), "what was measured before a later kill is more"
    assert found[-1] > found[0]


@pytest.mark.slow
def test_tiled_is_killed_in_the_middle_of_a_scan_and_comes_back(engine, tmp_path):
    from beamline import FAST, PointDetector

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = EmbeddedTiled(tmp_path / "tiled", port=port, api_key="secret")
    uri = server.start()
    agent = Agent(uri, records=tmp_path / "records", identifier=FAST, announce=None, listeners=())
    tth, det = SynAxis(name="tth"), PointDetector(name="det")
    det.motor = tth
    try:
        assert agent.wait(120)
        engine.subscribe(agent)

        def plan():
            yield from bps.open_run(
                {"wavelength": 1.5406, "sample": "a", "eg_decision_id": "d", "eg_shift": "s"}
            )
            for i in range(50):
                if i == 25:
                    until(lambda: agent.writer.state.written > 5)
                    server.kill()
                yield from bps.mv(tth, 10 + i)
                yield from bps.trigger_and_read([det, tth])
            yield from bps.close_run()

        (uid,) = engine(plan())
        assert agent.wait(120)
        (row,) = rows(agent.ledger.path, DecisionRow)
        assert (row.runs, row.pattern_from, row.problem) == ((uid,), "journal", "")
        assert row.identification.measured.points == 50
        until(
            lambda: not agent.writer.state.connected
        )  # away for so short a time that nobody saw it is no fault
        server.start()
        until(lambda: agent.writer.wait_written(uid, 5.0))
        assert from_uri(uri)[uid].metadata["stop"]["exit_status"] == "success"
        assert len(from_uri(uri)[uid]["primary"]["det_counts"].read()) == 50
        until(lambda: len([r for r in rows(agent.ledger.path, NoteRow) if r.what == "tiled"]) >= 2)
        said = [r.text for r in rows(agent.ledger.path, NoteRow) if r.what == "tiled"]
        assert "Tiled is away" in said[0]
        assert "Tiled is back" in said[-1]
        assert "secret" not in Path(agent.ledger.path).read_text()
        check_ledger(tmp_path / "records")
    finally:
        agent.close(timeout=10)
        server.close()


FULL_DISK = """
import json, resource, sys
from pathlib import Path
import bluesky.plans as bp
from bluesky import RunEngine
import beamline
from eg_agent.agent import Agent
from eg_agent.records import DecisionRow, NoteRow, read_ledger

def main():
    records, uri = Path(sys.argv[1]), sys.argv[2] or None
    quiet = {"announce": None, "listeners": (), "tiled_wait": 60.0}
    agent = Agent(uri, records=records, identifier=beamline.FAST, **quiet)
    agent.wait(120)
    # From here on no file of this process grows beyond 120 kB: a frame is 30 kB as text.
    resource.setrlimit(resource.RLIMIT_FSIZE, (120_000, 120_000))
    RE = RunEngine({}, call_returns_result=False)
    RE.subscribe(agent)
    uids = RE(bp.count([beamline.TraceDetector(name="det", n=1501)], num=8), sample="a")
    agent.wait(120)
    size = agent.journal.path(uids[0]).stat().st_size
    lost = agent.writer.state.lost if agent.writer is not None else 0
    agent.close()
    found = list(read_ledger(agent.ledger.path))
    made = [row for row in found if isinstance(row, DecisionRow)]
    print(json.dumps({
        "uids": uids, "size": size, "lost": lost,
        "answered": [row.new_runs for row in made],
        "seconds": [row.identification.measured.seconds_per_point for row in made],
        "notes": [row.what for row in found if isinstance(row, NoteRow)],
    }))

main()
"""


@pytest.mark.parametrize("with_tiled", [False, True])
def test_a_full_disk_for_the_journal_loses_nothing(tmp_path, tiled_uri, with_tiled):
    """The operating system refuses the journal's writes in the middle of a run (RLIMIT_FSIZE)."""
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path), tiled_uri if with_tiled else ""],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["size"] <= 120_000, "the disk was full indeed"
    assert found["answered"] == [found["uids"]]
    assert found["seconds"] == [8.0], "all eight frames were in the pattern"
    assert found["lost"] == 0
    assert "journal failed" in found["notes"]
    if with_tiled:
        (uid,) = found["uids"]
        run = from_uri(tiled_uri)[uid]
        assert run["primary"]["det_intensity"].read().shape == (8, 1501)


@pytest.mark.slow
def test_broken_frames_are_refused_with_the_reason(engine, tmp_path):
    """The shipped network and fit: what a broken detector gives is no pattern, and the ledger says why."""
    from beamline import TraceDetector

    det = TraceDetector(name="det", n=2001)
    answers = []

    def put(value):
        det.intensity.put(np.full(2001, value))
        return NullStatus()

    def frames():
        for value in (np.nan, np.inf, 0.0, -1.0, 65535.0):
            det.trigger = lambda value=value: put(value)
            yield from bp.count([det])

    with Agent(records=tmp_path, announce=None, listeners=(answers.append,)) as agent:
        engine.subscribe(agent)
        uids = engine(frames(), sample="a", cell=[4.0, 4.0, 4.0, 90.0, 90.0, 90.0])
        assert agent.wait(240)
    assert [answer.runs for answer in answers] == [(uid,) for uid in uids]
    for answer in answers:
        found = answer.identification
        assert found.verdict == "refused", answer
        assert found.reason
    assert len({answer.identification.reason for answer in answers}) >= 3, "each said for itself"


def test_every_row_of_the_page_names_a_test_that_exists():
    page = (TESTS.parent / "docs" / "explanations" / "faults.md").read_text()
    rows = [line.split("|")[1:-1] for line in page.splitlines() if line.startswith("| ")]
    table = [row for row in rows if row[0].strip() not in ("what breaks", "what ends")]
    assert len(table) > 20
    sources = "".join(path.read_text() for path in TESTS.rglob("test_*.py"))
    for what, *_, test in table:
        named = re.findall(r"`(test_\w+)`", test)
        assert named or test.strip() in ("the same", "none: it cannot be brought about"), what
        assert all(f"def {name}(" in sources for name in named), named
