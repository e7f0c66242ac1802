"""`eg-train fit` with and without Ray: what is refused, in one sentence, and what needs no Ray."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from eg_agent.errors import BadInput
from trainer.cli.main import app
from trainer.cluster.desk import Desk, DeskWriter
from trainer.cluster.launcher import workers_range
from trainer.cluster.session import check_address
from trainer.cluster.storage import open_storage

pytest.importorskip("ray")


def fit(corpus: Path, out: Path, *more: str):
    arguments = ["fit", "--corpus", str(corpus), "--out", str(out), "--config", "tiny", *more]
    return CliRunner().invoke(app, arguments, catch_exceptions=True)


def without_ray(*arguments: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; sys.modules['ray'] = None; from trainer.cli.main import run; run()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )


@pytest.mark.slow
def test_without_ray_installed_one_process_trains(tmp_path, corpus):
    common = ("fit", "--corpus", str(corpus), "--out", str(tmp_path / "run"), "--config", "tiny")
    done = without_ray(*common, "--patterns", "16", "--part-mib", "0.1", "--minutes", "9")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "checkpoint.safetensors").is_file()
    refused = without_ray(*common, "--patterns", "16", "--ray", "local")
    assert refused.returncode == 2
    assert refused.stderr.strip() == (
        "eg-train: --ray needs an optional dependency: pip install 'eg-agent[train]'"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workers", "2"], "add --ray"),
        (["--storage", "x"], "add --ray"),
        (["--ray", "local", "--workers", "2-4"], "neither a number of workers nor a range"),
        (["--ray", "local", "--workers", "4:2"], "neither a number of workers nor a range"),
        (["--ray", "local", "--workers", "1:99"], "a batch of 8 cannot be shared by 99 workers"),
        (["--ray", "local", "--corpus", "nowhere.npz"], "no corpus"),
        (["--ray", "local", "--storage", "/proc/run"], "cannot be written"),
        (["--ray", "local", "--storage", "memory://run"], "one process only"),
        (["--ray", "local", "--storage", "s4://bucket/run"], "cannot be opened"),
        (["--ray", "local", "--storage", "/"], "is no folder for a run"),
        (["--ray", "somewhere"], "not local, auto or HOST:PORT"),
        (["--ray", "ray://head:10001"], "does not run over Ray Client"),
        (["--minutes", "0"], "greater than 0"),
        (["--part-mib", "0"], "greater than 0"),
        (["--stage", "stage9"], "unknown curriculum"),
    ],
)
def test_wrong_use_is_one_sentence_and_leaves_nothing(tmp_path, corpus, arguments, message):
    result = fit(corpus, tmp_path / "run", "--patterns", "16", *arguments)
    assert isinstance(result.exception, BadInput), result.exception
    assert message in str(result.exception)
    assert "\n" not in str(result.exception)
    assert not (tmp_path / "run").exists()


def test_an_address_without_ray_is_refused_in_bounded_time(tmp_path, corpus):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    result = fit(corpus, tmp_path / "run", "--patterns", "16", "--ray", f"127.0.0.1:{port}")
    assert "nobody answers" in str(result.exception)
    with pytest.raises(BadInput, match="nobody answers"):
        check_address("127.0.0.1:99999")


@given(st.integers(1, 999), st.integers(1, 999))
def test_ranges_of_workers(least, most):
    assert workers_range(str(least)) == (least, least)
    if least <= most:
        assert workers_range(f" {least}:{most} ") == (least, most)
    else:
        with pytest.raises(BadInput):
            workers_range(f"{least}:{most}")


@pytest.mark.parametrize("protocol", ["", "file://", "local://"])
def test_storage_by_pyarrow_and_by_fsspec(tmp_path, protocol):
    storage = open_storage(f"{protocol}{tmp_path}/runs/first/")
    assert storage.name == "first"
    assert storage.parent == f"{tmp_path}/runs"
    assert storage.local == (protocol != "local://")
    if storage.local:
        assert not (tmp_path / "runs").exists()  # trying it left nothing
    for content in ("one", "two"):
        (tmp_path / "state").mkdir(exist_ok=True)
        (tmp_path / "state" / content).write_text(content)
        storage.put(tmp_path / "state", "start")
        (tmp_path / "state" / content).unlink()
        assert [p.name for p in (tmp_path / "runs/first/start").iterdir()] == [content]
    storage.clear()
    assert not (tmp_path / "runs/first").exists()
    storage.clear()


def test_the_desk():
    desk = Desk()
    desk.hello(1, 2, "b (pid 2)")
    assert desk.take() == []
    assert desk.groups() == 0
    desk.hello(0, 2, "a (pid 1)")
    assert desk.take() == ["2 workers: rank 0 on a (pid 1), rank 1 on b (pid 2)"]
    assert desk.groups() == 1
    desk.hello(0, 2, "a (pid 3)")
    desk.failed("rank 1 failed")
    desk.hello(0, 1, "a (pid 4)")
    assert desk.take() == ["rank 1 failed", "1 worker: rank 0 on a (pid 4)"]
    desk.refuse("first")
    desk.refuse("second")
    assert desk.refusal() == "first"
    assert not desk.stopping()
    desk.ask_to_stop()
    assert desk.stopping()


def test_whole_lines_go_to_the_desk():
    desk = Desk()

    class Remote:
        class say:
            remote = staticmethod(desk.say)

    writer = DeskWriter(Remote())
    writer.write("one ")
    assert desk.take() == []
    writer.write("line\ntwo\nthr")
    assert desk.take() == ["one line", "two"]
