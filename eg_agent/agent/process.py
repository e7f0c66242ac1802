"""`WorkerProcess`: the agent's side of the worker, which it may kill and start again at any time."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, Any

from eg_agent.agent.worker import DEFAULT_IDENTIFIER


class WorkerFailed(Exception):
    """No answer: the time bound was passed (the worker was killed), it died, or it raised."""


class WorkerProcess:
    """One worker that loads its identifier once and answers one question at a time.

    identifier: "module:factory", called in the worker with `settings` (keyword arguments); it returns
        an object with `identify(pattern, cell=None) -> Identification`.
    time_limit: seconds for one answer; then the worker is killed and the next question starts another.
    start_timeout: seconds for loading (importing torch on a busy machine takes long).
    threads: OMP_NUM_THREADS of the worker, when the environment does not say. niceness: below the
        RunEngine, so that identifying does not take its time.
    log: file for what the worker and its libraries write to standard error.
    Not thread-safe: one thread asks. `kill` may come from any.
    """

    def __init__(
        self,
        identifier: str = DEFAULT_IDENTIFIER,
        settings: dict[str, Any] | None = None,
        *,
        time_limit: float = 20.0,
        start_timeout: float = 180.0,
        threads: int = 1,
        niceness: int = 5,
        log: Path | None = None,
    ) -> None:
        self.identifier = identifier
        self.time_limit = time_limit
        self.starts = 0
        self._settings = settings or {}
        self._start_timeout = start_timeout
        self._threads = threads
        self._niceness = niceness
        self._log = log
        self._process: subprocess.Popen[str] | None = None
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._asked = 0
        self._ready = False
        self._closed = False

    @property
    def pid(self) -> int | None:
        """Process id of the worker, None when there is none."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start the process, without waiting until it has loaded. Raises WorkerFailed, OSError."""
        if self._closed:
            raise WorkerFailed("the agent is closing")
        environment = {"OMP_NUM_THREADS": str(self._threads), **os.environ}
        log: IO[bytes] | int = subprocess.DEVNULL if self._log is None else open(self._log, "ab")  # noqa: SIM115
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "eg_agent.agent.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
                env=environment,
                start_new_session=True,  # Ctrl-C pauses the RunEngine; it must not reach the worker
            )
        finally:
            if not isinstance(log, int):
                log.close()
        self._process = process
        self._ready = False
        self.starts += 1
        self._lines = SimpleQueue()
        threading.Thread(target=_read, args=(process, self._lines), daemon=True).start()
        self._write(
            {
                "sys_path": [path for path in sys.path if path],
                "identifier": self.identifier,
                "settings": self._settings,
                "nice": self._niceness,
            }
        )

    def wait_ready(self) -> None:
        """Wait until the worker has loaded, starting it first if need be. Raises WorkerFailed."""
        if self._process is None or self._process.poll() is not None:
            self.start()
        if self._ready:
            return
        message = self._next(time.monotonic() + self._start_timeout, "did not load its models")
        if "failed" in message:
            self.kill()
            raise WorkerFailed(f"the identifier could not be loaded ({message['failed']})")
        self._ready = True

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """The worker's answer to a question (`eg_agent.agent.worker.task`). Raises WorkerFailed."""
        self.wait_ready()
        self._asked += 1
        self._write({"id": self._asked, **question})
        deadline = time.monotonic() + self.time_limit
        message = self._next(deadline, "gave no answer")
        while message.get("id") != self._asked:
            message = self._next(deadline, "gave no answer")
        if "error" in message:
            raise WorkerFailed(f"identifying failed ({message['error']})")
        return message

    def _write(self, message: dict[str, Any]) -> None:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(message) + "\n")
            process.stdin.flush()
        except (OSError, ValueError) as error:
            self.kill()
            raise WorkerFailed(f"the worker is gone ({error})") from None

    def _next(self, deadline: float, what: str) -> dict[str, Any]:
        try:
            text = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            self.kill()
            seconds = self._start_timeout if "load" in what else self.time_limit
            raise WorkerFailed(f"the worker {what} within {seconds:g} s and was stopped") from None
        if text is None:
            status = self._process.wait() if self._process is not None else None
            self.kill()
            raise WorkerFailed(
                f"the worker died (status {status})" + (f", see {self._log}" if self._log else "")
            )
        return json.loads(text)

    def kill(self) -> None:
        """End the worker now; the next question starts another."""
        process, self._process = self._process, None
        self._ready = False
        if process is None:
            return
        process.kill()
        process.wait()
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()

    def close(self) -> None:
        """End the worker for good."""
        self._closed = True
        self.kill()


def _read(process: subprocess.Popen[str], into: SimpleQueue[str | None]) -> None:
    assert process.stdout is not None
    with process.stdout, contextlib.suppress(OSError, ValueError):
        for text in process.stdout:
            into.put(text)
    into.put(None)
