"""Watching somebody else's scans through a real Tiled: another process measures, this one only reads."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import bluesky.preprocessors as bpp
import pytest
from bluesky.callbacks.tiled_writer import TiledWriter
from tiled.client import from_uri

from eg_agent.agent.watch import Watch
from eg_agent.records import DecisionRow, NoteRow, OutcomeRow, read_ledger
from eg_agent.records.catalog import Stream

BEAMLINE = Path(__file__).resolve().parents[2] / "beamline"


def until(condition, timeout=200.0):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)


def rows(folder, kind):
    return [row for row in read_ledger(folder / "ledger.jsonl") if isinstance(row, kind)]


def answered(folder):
    """Uids of answered runs, once for each answer."""
    return [uid for row in rows(folder, DecisionRow) for uid in row.new_runs]


@pytest.fixture
def somebody(engine, tiled_uri):
    """A session with bluesky's own writer; it knows nothing of agents."""
    engine.subscribe(TiledWriter(from_uri(tiled_uri), batch_size=1))
    return engine


@pytest.fixture
def watch(tmp_path, tiled_uri):
    from beamline import FAST

    made: list[Watch] = []

    def build(**settings):
        looks: list = []
        answers: list = []
        settings = {"identifier": FAST, "announce": None, "live": 0.3, "poll": 2.0, **settings}
        watching = Watch(
            tiled_uri,
            records=tmp_path / "records",
            listeners=(answers.append,),
            live_listeners=(looks.append,),
            **settings,
        )
        made.append(watching)
        watching.__enter__()
        assert watching.agent.wait(120)
        until(lambda: watching.follower.looks > 0)
        return watching, looks, answers

    yield build
    for watching in made:
        watching.close()


def detector(n=501):
    from beamline import TraceDetector

    return TraceDetector(name="det", n=n)


def frames(looks, count=3):
    """Frames of which each waits for a look at what there is."""
    det = detector()

    @bpp.run_decorator(md={"sample": "theirs"})
    def plan():
        for _ in range(count):
            seen = len(looks)
            yield from bps.trigger_and_read([det])
            until(lambda seen=seen: len(looks) > seen)

    return plan()


def test_runs_are_looked_at_while_they_go_on_and_answered_when_they_end(somebody, watch, tmp_path):
    watching, looks, answers = watch()
    (uid,) = somebody(frames(looks))
    (other,) = somebody(bp.count([detector()]), sample="later")
    until(lambda: len(answers) == 2)
    assert [a.runs for a in answers] == [(uid,), (other,)]
    assert all(a.pattern_from == "tiled" and not a.problem for a in answers)
    assert answers[0].identification.measured.seconds_per_point == 3.0
    seconds = [look.identification.measured.seconds_per_point for look in looks]
    assert seconds == sorted(seconds)
    assert seconds[0] < 3.0
    assert watching.follower.streaming
    assert answered(tmp_path / "records") == [uid, other]


def test_without_a_stream_the_catalog_is_asked(somebody, watch, monkeypatch):
    monkeypatch.setattr(Stream, "_run", lambda self, node, start: None)
    watching, looks, answers = watch(poll=0.3)
    (uid,) = somebody(frames(looks, count=2))
    until(lambda: len(answers) == 1)
    assert answers[0].runs == (uid,)
    assert not watching.follower.streaming
    assert len(looks) >= 2


def test_a_restart_takes_up_what_was_measured_meanwhile_and_repeats_nothing(somebody, watch, tmp_path):
    from ophyd.sim import det as no_powder
    from ophyd.sim import motor

    first, _, answers = watch()
    (before,) = somebody(bp.count([detector()]), sample="a", eg_shift="s")
    (skipped,) = somebody(bp.scan([no_powder], motor, 0, 1, 3))
    until(lambda: skipped in {row.run_uid for row in rows(tmp_path / "records", NoteRow)})
    first.close()
    (missed,) = somebody(bp.count([detector()]), sample="a", eg_shift="s")

    second, _, answers = watch()
    until(lambda: len(answers) == 1)
    (uid,) = somebody(bp.count([detector()]), sample="a", eg_shift="s")
    until(lambda: len(answers) == 2)
    assert answered(tmp_path / "records") == [before, missed, uid]
    assert answers[-1].runs == (before, missed, uid), "earlier runs of the sample were read from Tiled again"
    assert answers[-1].identification.measured.seconds_per_point == 3.0
    skips = [row.run_uid for row in rows(tmp_path / "records", NoteRow) if row.what == "skipped"]
    assert skips == [skipped]
    second.close()


class Cli:
    """`eg-agent watch` as a process; its lines as they come."""

    def __init__(self, uri, key, records, *options):
        from beamline import FAST

        command = [
            sys.executable,
            "-m",
            "eg_agent.cli.main",
            "watch",
            "--tiled",
            uri,
            "--records",
            str(records),
        ]
        self.process = subprocess.Popen(
            [*command, "--identifier", FAST, "--poll", "1", "--live", "0.3", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(BEAMLINE), os.environ.get("PYTHONPATH", "")]),
                "TILED_API_KEY": key,
            },
        )
        self.lines: queue.SimpleQueue = queue.SimpleQueue()
        self.seen: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for text in self.process.stdout:
            self.seen.append(text)

    def says(self, *words):
        return any(all(word in line for word in words) for line in list(self.seen))

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(120)
        self.process.stdout.close()
        self.process.stdin.close()
        return status


@pytest.fixture
def cli(tmp_path, tiled_uri):
    uri, _, key = tiled_uri.partition("?api_key=")
    made: list[Cli] = []

    def build(*options, key=key):
        made.append(Cli(uri, key, tmp_path / "records", *options))
        return made[-1]

    yield build
    for one in made:
        if one.process.poll() is None:
            one.kill()


def test_the_command_classifies_proposes_and_shows_no_key(somebody, cli, tmp_path, tiled_uri):
    _, _, key = tiled_uri.partition("?api_key=")
    ran = cli("--mode", "propose", "--wavelength", "1.5406")
    until(lambda: any(isinstance(r, NoteRow) for r in read_ledger(tmp_path / "records" / "ledger.jsonl")))
    from beamline import Diffractometer

    from plans import trace_scan

    device = Diffractometer(name="diff")
    device.sample.put("dim")
    plan = trace_scan(device, two_theta=(10.0, 60.0), step=0.1, seconds_per_point=1.0, md={"sample": "dim"})
    (uid,) = somebody(plan)
    until(lambda: ran.says("dim, run", "P - - -"))
    until(lambda: ran.says("proposes"))
    ran.process.stdin.write("y\n")
    ran.process.stdin.flush()
    until(lambda: "accepted" in [row.status for row in rows(tmp_path / "records", OutcomeRow)])
    assert answered(tmp_path / "records") == [uid]
    assert ran.end() == 0
    everything = "".join(ran.seen) + "".join(
        path.read_text(errors="replace") for path in (tmp_path / "records").rglob("*") if path.is_file()
    )
    assert key not in everything


def test_a_watcher_that_is_killed_answers_when_it_is_started_again(somebody, cli, tmp_path):
    """Killed inside a run: that one and the next are answered by the next start, and nothing twice."""
    records = tmp_path / "records"
    killed = cli()
    until(lambda: any(row.what == "watching" for row in rows(records, NoteRow)))
    (before,) = somebody(bp.count([detector()]), sample="a", eg_shift="s")
    until(lambda: answered(records) == [before])

    @bpp.run_decorator(md={"sample": "a", "eg_shift": "s"})
    def plan():
        det = detector()
        for i in range(4):
            yield from bps.trigger_and_read([det])
            if i == 1:
                until(lambda: killed.says("points"))
                killed.kill()

    (inside,) = somebody(plan())
    (missed,) = somebody(bp.count([detector()]), sample="b", eg_shift="s")
    again = cli()
    until(lambda: missed in answered(records))
    assert answered(records) == [before, inside, missed]
    second = rows(records, DecisionRow)[1]
    assert second.runs == (before, inside)
    assert second.identification.measured.seconds_per_point == 5.0
    assert again.end() == 0


def test_a_wrong_key_and_a_wrong_word_are_said(cli, tiled_uri):
    ran = cli("--mode", "act")
    assert ran.process.wait(120) == 2
    until(lambda: ran.says("observe or propose"))
    ran = cli(key="mistaken")
    until(lambda: ran.says("Tiled is away", "401"))
    assert ran.end() == 0
    assert not ran.says("mistaken")


def test_what_was_measured_before_as_json(somebody, cli, tmp_path):
    (uid,) = somebody(bp.count([detector()]), sample="a")
    ran = cli("--json", "--hours", "1", "--until-idle", "2")
    assert ran.process.wait(250) == 0
    found = [json.loads(line) for line in ran.seen if line.startswith("{")]
    (mine,) = [answer for answer in found if answer["runs"] == [uid]]
    assert mine["identification"]["verdict"] == "identified"
