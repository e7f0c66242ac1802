"""`WriterProcess`: the guard that writes to Tiled in a process of its own.

Writing through TiledWriter is much Python code; on a thread of the RunEngine's interpreter it makes the
RunEngine wait for the interpreter's lock, milliseconds at a time. Here the RunEngine's thread only notes
that a document is in the journal; a process reads it from there. Documents that the disk refused go
through the pipe. The process may die at any time: another one goes on from the journal.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from eg_agent.records.child import Child
from eg_agent.records.journal import Journal
from eg_agent.records.tiled_client import Segments
from eg_agent.records.writer import WriterState

_log = logging.getLogger(__name__)

#: Seconds between two messages to the process: documents that come meanwhile are one message.
_GATHER = 0.02

#: Documents that are not on disk, kept until Tiled has them.
_HELD = 1000


class WriterProcess:
    """`TiledDocumentWriter` in a process; the same methods and state.

    uri: of Tiled, with its key; it goes to the process through a pipe, never on a command line.
    log: file for what the process and its libraries write to standard error.
    """

    def __init__(
        self,
        uri: str,
        journal: Journal,
        *,
        queue_size: int = 2000,
        retry_seconds: float = 5.0,
        segments: Segments | None = None,
        on_change: Callable[[WriterState], None] | None = None,
        log: Path | None = None,
        niceness: int = 5,
        close_seconds: float = 10.0,
    ) -> None:
        self.journal = journal
        self._settings = {
            "tiled": uri,
            "journal": str(journal.directory.absolute()),
            "queue_size": queue_size,
            "retry_seconds": retry_seconds,
            "segments": vars(segments or Segments()),
            "nice": niceness,
            "close_seconds": close_seconds,
        }
        self._on_change = on_change
        self._log_file = log
        self._changed = threading.Condition()
        self._state = WriterState(connected=False, queued=0, written=0)
        self._asked = False
        self._done: dict[str, bool] = {}
        self._upto: dict[str, int] = {}  # runs that are not settled: the last document in the journal
        self._told: dict[str, int] = {}
        self._held: dict[tuple[str, int], tuple[str, Mapping[str, Any]]] = {}
        self._unsent: deque[tuple[str, int]] = deque()
        self._lost = 0
        self._ended = False
        self._closing = threading.Event()
        self._wake = threading.Event()
        self.starts = 0
        self._child: Child | None = None
        self._start()
        self._thread = threading.Thread(target=self._tell, name="eg-agent to writer", daemon=True)
        self._thread.start()

    # On the RunEngine's thread.

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        """Journal a document and have it written."""
        run, n, on_disk = self.journal.append(name, doc)
        self.put(run, n, name, doc, on_disk=on_disk)

    def put(self, run: str, n: int, name: str, doc: Mapping[str, Any], *, on_disk: bool) -> None:
        """Note a document that the journal has numbered already; never raises, never waits."""
        if not run or run in self._done or self._closing.is_set():
            return
        if not on_disk:
            if len(self._held) < _HELD:
                self._held[run, n] = (name, doc)
                self._unsent.append((run, n))
            else:
                self._lost += 1
        self._upto[run] = n
        if not self._wake.is_set():
            self._wake.set()

    # From anywhere.

    @property
    def pid(self) -> int | None:
        """Process id of the writer."""
        return self._child.pid if self._child is not None else None

    @property
    def state(self) -> WriterState:
        """A snapshot; a fraction of a second old."""
        with self._changed:
            waiting = sum(n - self._told.get(run, -1) for run, n in list(self._upto.items()))
            return replace(
                self._state, queued=self._state.queued + waiting, lost=self._state.lost + self._lost
            )

    @property
    def client(self) -> Any:
        """None: the connection is the process's."""
        return None

    def wait_written(self, run: str, timeout: float) -> bool:
        """Whether a run, its stop document included, is in Tiled; waits up to `timeout` seconds.

        False at once when Tiled is known to be away or has refused the run.
        """

        def settled() -> bool:
            return run in self._done or (self._asked and not self._state.connected)

        with self._changed:
            self._changed.wait_for(settled, timeout)
            return self._done.get(run, False)

    def close(self, timeout: float = 10.0) -> bool:
        """Stop, after writing what is queued, but not longer than `timeout` seconds.

        Returns whether everything is in Tiled; if not, it is in the journal and the next start sends it.
        """
        self._closing.set()
        self._wake.set()
        self._thread.join(5.0)
        child, self._child = self._child, None
        if child is None:
            return False
        child.finish(timeout + 2.0)
        with self._changed:
            self._changed.wait_for(lambda: self._ended, 2.0)
            return not self._state.behind and not self._state.queued and not self._upto

    # On threads of its own.

    def _start(self) -> None:
        self.starts += 1
        self._ended = False
        try:
            child = Child("eg_agent.records.writing", self._heard, log=self._log_file)
            child.say(self._settings)
        except OSError as error:
            self._gone(f"the writer could not be started ({error})")
            return
        self._child = child

    def _tell(self) -> None:
        """Pass on what is new; start the process again when it died."""
        while True:
            self._wake.wait(0.5)
            self._wake.clear()
            if not self._closing.is_set():
                time.sleep(_GATHER)
            if self._child is None or not self._child.alive():
                if self._closing.is_set():
                    return
                self._revive()
            try:
                self._send()
            except OSError as error:
                self._gone(f"the writer is gone ({error})")
            if self._closing.is_set():
                return

    def _send(self) -> None:
        if self._child is None:
            return
        while self._unsent:
            key = self._unsent.popleft()
            held = self._held.get(key)
            if held is not None:
                run, n = key
                self._child.say({"upto": {run: n - 1}})
                self._child.say({"doc": [run, n, held[0], _plain(held[1])]})
        # A list of a dict is made in one step of the interpreter, whatever the RunEngine's thread does.
        upto = {run: n for run, n in list(self._upto.items()) if self._told.get(run) != n}
        if upto:
            self._child.say({"upto": upto})
            self._told.update(upto)

    def _revive(self) -> None:
        child, self._child = self._child, None
        status = child.status() if child is not None else None
        if child is not None:
            child.kill()
        self._gone(f"the writer's process ended (status {status}); another one takes up the journal")
        time.sleep(min(0.1 * self.starts, 5.0))
        self._told = {}
        self._unsent = deque(list(self._held))
        self._start()

    def _gone(self, problem: str) -> None:
        _log.warning("%s", problem)
        with self._changed:
            self._state = replace(self._state, connected=False, error=problem)
            self._asked = True
            self._changed.notify_all()
        self._report_change()

    def _heard(self, message: dict[str, Any] | None) -> None:
        """A message of the process, on the thread that reads it."""
        if message is None:
            with self._changed:
                self._ended = True
                self._changed.notify_all()
            return
        with self._changed:
            if "state" in message or "change" in message:
                self._state = _state(message.get("state") or message["change"])
                self._asked = message.get("asked", True)
            if "settled" in message:
                run, done = message["settled"]
                self._done[run] = done
                while len(self._done) > 10_000:
                    self._done.pop(next(iter(self._done)))
                self._upto.pop(run, None)
                self._told.pop(run, None)
                for key in [key for key in self._held if key[0] == run]:
                    del self._held[key]
            self._changed.notify_all()
        if "change" in message:
            self._report_change()

    def _report_change(self) -> None:
        if self._on_change is not None:
            try:
                self._on_change(self.state)
            except Exception:
                _log.exception("whoever listens to the writer raised")


def _state(found: dict[str, Any]) -> WriterState:
    return WriterState(**{**found, "behind": tuple(found["behind"]), "elsewhere": tuple(found["elsewhere"])})


def _plain(doc: Mapping[str, Any]) -> Any:
    from event_model import sanitize_doc

    return sanitize_doc(dict(doc))
