"""`WorkerProcess`: the agent's side of the worker, which it may kill and start again at any time."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from eg_agent.agent.worker import DEFAULT_IDENTIFIER
from eg_agent.records.child import Child


class WorkerFailed(Exception):
    """No answer: the time bound was passed (the worker was killed), it died, or it raised."""


class WorkerProcess:
    """One worker that loads its identifier once and answers one question at a time.

    identifier: "module:factory", called in the worker with `settings` (keyword arguments); it returns
        an object with `identify(pattern, cell=None) -> Identification`.
    places: where it reads runs (`eg_agent.agent.readings.Places` as JSON types); None: patterns only.
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
        places: dict[str, Any] | None = None,
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
        self._places = places
        self._start_timeout = start_timeout
        self._threads = threads
        self._niceness = niceness
        self._log = log
        self._child: Child | None = None
        self._lines: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        self._asked = 0
        self._ready = False
        self._closed = False

    @property
    def pid(self) -> int | None:
        """Process id of the worker, None when there is none."""
        return self._child.pid if self._child is not None else None

    def start(self) -> None:
        """Start the process, without waiting until it has loaded. Raises WorkerFailed, OSError."""
        if self._closed:
            raise WorkerFailed("the agent is closing")
        self._lines = lines = SimpleQueue()
        child = Child(
            "eg_agent.agent.worker",
            lines.put,
            log=self._log,
            environment={"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(self._threads))},
        )
        self._child = child
        self._ready = False
        self.starts += 1
        self._write(
            {
                "sys_path": [path for path in sys.path if path],
                "identifier": self.identifier,
                "settings": self._settings,
                "places": self._places,
                "nice": self._niceness,
            }
        )

    def wait_ready(self) -> None:
        """Wait until the worker has loaded, starting it first if need be. Raises WorkerFailed."""
        if self._child is None or not self._child.alive():
            self.start()
        if self._ready:
            return
        limit = self._start_timeout
        message = self._next(time.monotonic() + limit, "did not load its models", limit)
        if "failed" in message:
            self.kill()
            raise WorkerFailed(f"the identifier could not be loaded ({message['failed']})")
        self._ready = True

    def ask(self, question: dict[str, Any], *, time_limit: float | None = None) -> dict[str, Any]:
        """The worker's answer to a question (`eg_agent.agent.worker.task`). Raises WorkerFailed.

        time_limit: seconds, where not the worker's own.
        """
        self.wait_ready()
        self._asked += 1
        self._write({"id": self._asked, **question})
        limit = time_limit or self.time_limit
        deadline = time.monotonic() + limit
        message = self._next(deadline, "gave no answer", limit)
        while message.get("id") != self._asked:
            message = self._next(deadline, "gave no answer", limit)
        if "error" in message:
            raise WorkerFailed(f"identifying failed ({message['error']})")
        return message

    def _write(self, message: dict[str, Any]) -> None:
        child = self._child
        assert child is not None
        try:
            child.say(message)
        except OSError as error:
            self.kill()
            raise WorkerFailed(f"the worker is gone ({error})") from None

    def _next(self, deadline: float, what: str, limit: float) -> dict[str, Any]:
        try:
            message = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            self.kill()
            raise WorkerFailed(f"the worker {what} within {limit:g} s and was stopped") from None
        if message is None:
            status = self._child.status() if self._child is not None else None
            self.kill()
            raise WorkerFailed(
                f"the worker died (status {status})" + (f", see {self._log}" if self._log else "")
            )
        return message

    def kill(self) -> None:
        """End the worker now; the next question starts another."""
        child, self._child = self._child, None
        self._ready = False
        if child is not None:
            child.kill()

    def close(self) -> None:
        """End the worker for good."""
        self._closed = True
        self.kill()
