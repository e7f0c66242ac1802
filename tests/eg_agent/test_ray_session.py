"""Connecting to a Ray that was started by hand, with and without a token; the processes are real."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("ray")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CONNECT = """
import sys
from eg_agent.ray_session import connected
from eg_agent.errors import BadInput
try:
    with connected(sys.argv[1]):
        import ray
        print(ray.get(ray.remote(num_cpus=1)(lambda: "ran there").remote()))
except BadInput as error:
    sys.exit(str(error))
"""


@contextmanager
def head(home: Path, port: int, mode: str) -> Iterator[str]:
    """A head with that home folder, in the foreground of its own group: `ray stop` would end others, too."""
    program = Path(sys.executable).with_name("ray")
    temporary = Path(tempfile.mkdtemp(prefix="eg-ray-"))  # sockets want short paths
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_AUTH")}
    log = (home / "ray.log").open("w")
    process = subprocess.Popen(
        [
            *(str(program), "start", "--head", "--block", "--num-cpus=1", f"--port={port}"),
            *("--include-dashboard=false", f"--temp-dir={temporary}", "--object-store-memory=100000000"),
        ],
        env={**environment, "HOME": str(home), **({"RAY_AUTH_MODE": mode} if mode else {})},
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        started(home / "ray.log")
        yield f"127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)
        log.close()
        shutil.rmtree(temporary, ignore_errors=True)


def started(log: Path, wait: float = 120.0) -> None:
    """Wait until a head says that it is up."""
    until = time.monotonic() + wait
    while "Ray runtime started" not in log.read_text():
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.2)


def connect(home: Path, address: str) -> subprocess.CompletedProcess[str]:
    """Run a task there from another process."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_AUTH")}
    return subprocess.run(
        [sys.executable, "-c", CONNECT, address],
        env={**environment, "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize("mode", ["", "disabled"])
def test_a_token_is_sent_where_there_is_one(tmp_path: Path, unused_port: int, mode: str) -> None:
    """`ray start` asks for the token of its home; a cluster that asks for none takes it as well."""
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("ab" * 32)
    with head(tmp_path, unused_port, mode) as address:
        done = connect(tmp_path, address)
        assert done.stdout.strip() == "ran there", done.stderr[-1000:]
        if not mode:
            other = tmp_path / "other"
            other.mkdir()
            refused = connect(other, address)
            assert refused.returncode != 0
            assert "RAY_AUTH_TOKEN" in refused.stderr.splitlines()[-1]


@pytest.fixture
def unused_port() -> int:
    """A port that nobody listens at."""
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
