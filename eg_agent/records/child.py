"""A child process that takes and gives lines of JSON, started as a command.

Not by `multiprocessing`: that imports the main script again in the child, and a script without a main
guard would run its scans twice.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

_log = logging.getLogger(__name__)


class Child:
    """`python -m module` with standard streams of JSON lines; `heard` takes each message, None at its end.

    log: file for what it and its libraries write to standard error; nowhere where None.
    environment: variables on top of this process's. `heard` runs on a thread of its own.
    Raises OSError when the process cannot be started.
    """

    def __init__(
        self,
        module: str,
        heard: Callable[[dict[str, Any] | None], None],
        *,
        log: Path | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        stderr: IO[bytes] | int = subprocess.DEVNULL
        if log is not None:
            with contextlib.suppress(OSError):  # a full disk is no reason to have no process
                stderr = open(log, "ab")  # noqa: SIM115 - closed below
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                encoding="utf-8",
                env={**os.environ, **(environment or {})},
                start_new_session=True,  # Ctrl-C pauses the RunEngine; it must not reach this process
            )
        finally:
            if not isinstance(stderr, int):
                stderr.close()
        threading.Thread(target=self._read, args=(heard,), name=f"from {module}", daemon=True).start()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def status(self) -> int | None:
        """Its exit status, waited for a moment; None while it runs."""
        try:
            return self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            return None

    def say(self, message: dict[str, Any]) -> None:
        """Send a message; waits while the pipe is full. Raises OSError when the process is gone."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except ValueError as error:  # closed by `kill` on another thread
            raise OSError(str(error)) from None

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()
        self._close()

    def finish(self, timeout: float) -> bool:
        """End its standard input and wait for it to end by itself; False when it had to be killed."""
        self._close()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            return False
        return True

    def _close(self) -> None:
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):  # what is left in the pipe goes nowhere when it is gone
                self._process.stdin.close()

    def _read(self, heard: Callable[[dict[str, Any] | None], None]) -> None:
        assert self._process.stdout is not None
        # A pipe that breaks is the end, as its close is.
        with self._process.stdout as lines, contextlib.suppress(OSError, UnicodeDecodeError):
            for text in lines:
                try:
                    message = json.loads(text)
                except ValueError:  # cut short by the end of the process
                    _log.info("half a message of process %d: %s", self.pid, text[:80])
                    continue
                try:
                    heard(message)
                except Exception:
                    _log.exception("a message of process %d could not be taken", self.pid)
        heard(None)


def answers() -> Callable[[dict[str, Any]], None]:
    """In the child: what sends a message. Whatever a library prints goes to standard error from here on."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    lock = threading.Lock()

    def say(message: dict[str, Any]) -> None:
        with lock:
            out.write(json.dumps(message) + "\n")
            out.flush()

    return say
