"""`eg-agent archive` on a real Tiled and a real Ray: killed and gone on with, each run has one row."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from eg_agent.archive.archive import Request, archive
from eg_agent.archive.table import ROWS, TABLE, Results
from eg_agent.errors import BadInput
from eg_agent.patterns import Pattern, Radiation
from eg_agent.records import EmbeddedTiled
from eg_agent.records.identifications import Identifications
from eg_agent.records.verified import entries_in, verified

pytest.importorskip("ray")

RUNS = 60


def rows_of(out: Path) -> list[dict]:
    path = out / ROWS
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]] if path.exists() else []


# What needs no server.


def test_a_line_cut_short_is_dropped_and_its_run_done_again(tmp_path):
    asked = {"checkpoint": "abc", "prior": "mineral"}
    first = Results(tmp_path / "out", asked)
    assert first.add([{"run": "a", "verdict": "identified"}, {"run": "b", "verdict": "refused"}]) == 2
    assert first.add([{"run": "b", "verdict": "identified"}]) == 0  # once is enough
    with pytest.raises(BadInput, match="another eg-agent archive works on"):
        Results(tmp_path / "out", asked)
    first.close()
    with (tmp_path / "out" / ROWS).open("ab") as file:
        file.write(b'{"run": "c", "verd')
    again = Results(tmp_path / "out", asked)
    assert again.done == {"a", "b"}
    assert again.add([{"run": "c", "verdict": "identified"}]) == 1
    assert [row["run"] for row in again.rows()] == ["a", "b", "c"]
    assert again.verdicts() == {"identified": 2, "refused": 1}
    again.close()
    with pytest.raises(BadInput, match="another checkpoint"):
        Results(tmp_path / "out", {**asked, "checkpoint": "def"})


@pytest.mark.slow
def test_what_cannot_be_used_is_one_sentence(tmp_path, random_checkpoint):
    nowhere = Request("http://127.0.0.1:9", tmp_path / "out", checkpoint=str(random_checkpoint))
    with pytest.raises(BadInput, match="Tiled does not answer") as error:
        archive(nowhere)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()
    with pytest.raises(BadInput, match="no checkpoint"):
        archive(Request("http://127.0.0.1:9", tmp_path / "out", checkpoint="nothing"))
    with pytest.raises(BadInput, match="at least 1"):
        Request("http://127.0.0.1:9", tmp_path, workers=0)


# On servers.


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A Tiled with many runs of a cubic sample, one that is no pattern, and one without a wavelength."""
    from stored import documents, multiply, write
    from tiled.client import from_uri

    folder = tmp_path_factory.mktemp("archive")
    rng = np.random.default_rng(3)
    x = np.round(np.arange(15.0, 85.0, 0.05), 6)
    a, wavelength = 4.0, 1.5406
    squares = sorted({h * h + k * k + m * m for h in range(5) for k in range(5) for m in range(5)} - {0})
    lines = 2 * np.degrees(np.arcsin(np.clip(wavelength * np.sqrt(squares) / (2 * a), 0, 0.99)))
    rate = 10.0 + sum(800.0 * np.exp(-0.5 * ((x - line) / 0.08) ** 2) for line in lines)
    with EmbeddedTiled(folder / "tiled", start_timeout=900.0) as tiled:
        client = from_uri(tiled.uri)
        for number in range(3):
            pattern = Pattern(x, rng.poisson(rate), Radiation(wavelength), raw_counts=True)
            write(client, pattern, sample=f"s{number}", cell=[a, a, a, 90.0, 90.0, 90.0])
    multiply(folder / "tiled", RUNS)
    with EmbeddedTiled(folder / "tiled", start_timeout=900.0) as tiled:
        client = from_uri(tiled.uri)
        from bluesky.callbacks.tiled_writer import TiledWriter

        ramp = Pattern(x[:30], np.ones(30), Radiation(wavelength), raw_counts=True)
        writer = TiledWriter(client, batch_size=1)
        for name, doc in documents(ramp, name="furnace", sample="a ramp"):
            told = json.loads(json.dumps(doc).replace("two_theta", "temperature"))
            writer(name, told)
        yield tiled.uri


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_and_gone_on_with(stored, tmp_path, random_checkpoint):
    out = tmp_path / "out"
    program = [sys.executable, "-m", "eg_agent.cli.main", "archive", f"--tiled={stored}", f"--out={out}"]
    program += [f"--checkpoint={random_checkpoint}", "--workers=2", "--ray=local"]
    process = subprocess.Popen(program, start_new_session=True, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 1200
    while len(rows_of(out)) < 10:
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = rows_of(out)
    assert 10 <= len(before) < RUNS
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    rows = rows_of(out)
    assert rows[: len(before)] == before  # nothing that was written is touched
    assert set(Counter(row["run"] for row in rows).values()) == {1}
    assert len(rows) == told["runs"] == RUNS + 1
    assert told["left"] == 0
    assert told["identified_now"] == RUNS + 1 - len(before)
    assert told["rate"] > 0
    assert told["sessions"][-1]["workers"] == 2
    assert told["verdicts"]["not a pattern"] == 1
    fitted = [row for row in rows if row.get("rwp") is not None]
    assert len(fitted) == RUNS
    assert {row["checkpoint"] for row in fitted} == {told_hash(random_checkpoint)}
    import pyarrow.parquet as pq

    table = pq.read_table(out / TABLE)
    assert sorted(table.column("run").to_pylist()) == sorted(row["run"] for row in rows)
    # all done: the same command has nothing to do, and starts no Ray
    again = archive(Request(stored, out, checkpoint=str(random_checkpoint)))
    assert again["identified_now"] == 0
    assert rows_of(out) == rows


def told_hash(checkpoint: Path) -> str:
    from eg_agent.model import read_card

    return read_card(checkpoint).hash


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_entries_in_tiled_and_a_worker_that_dies(stored, tmp_path, random_checkpoint):
    """Identifications are written back once; a worker killed on the way costs nothing but time."""
    import threading

    import psutil

    killed: list[int] = []

    def kill() -> None:
        until = time.monotonic() + 1200
        while not killed and time.monotonic() < until:
            if rows_of(tmp_path / "out"):
                for process in psutil.Process().children(recursive=True):
                    if any("Reader" in part for part in process.cmdline()):
                        killed.append(process.pid)
                        process.kill()
                        return
            time.sleep(0.05)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    request = Request(stored, tmp_path / "out", checkpoint=str(random_checkpoint), write=True)
    told = archive(request)
    thread.join(5)
    assert killed
    assert told["actors_lost"] >= 1
    rows = rows_of(tmp_path / "out")
    assert set(Counter(row["run"] for row in rows).values()) == {1}
    assert len(rows) == RUNS + 1
    entries = list(entries_in(stored))
    said = {row["run"] for row in rows if row["verdict"] == "identified"}
    assert Counter(entry["run"] for entry in entries) == Counter(said)
    for entry in entries:
        row = next(row for row in rows if row["run"] == entry["run"])
        assert entry["group"] == row["group"]
        assert entry["evidence"] == pytest.approx(row["evidence_probability"], rel=1e-6)
    confirmed = verified(entries, least=0.5)
    assert {one.run for one in confirmed.runs} == {
        row["run"] for row in rows if row["run"] in said and row["evidence_probability"] >= 0.5
    }
    assert Identifications(stored) is not None
