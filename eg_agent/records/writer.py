"""`TiledDocumentWriter`: Bluesky documents into Tiled, without the RunEngine ever noticing Tiled.

bluesky's TiledWriter works on the RunEngine's thread, and when Tiled dies it holds that thread in
retries and then aborts the scan. This guard journals a document (milliseconds, local disk), hands it to
a thread over a bounded queue, and returns. Away, slow or broken Tiled: documents stay in the journal,
and when Tiled answers again each run is replayed from there, in order.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from eg_agent.records.journal import Journal
from eg_agent.records.tiled_client import (
    ResumingClient,
    Segments,
    WrittenElsewhere,
    connect,
    make_writer,
    reachable,
    redacted,
)

_log = logging.getLogger(__name__)

#: Seconds that a document which the disk refused may take to come by another way.
_GAP_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class WriterState:
    """What the guard is doing, at one moment.

    connected: Tiled answered the last time it was asked. queued: documents that wait in memory.
    written: documents that are in Tiled, since the start. behind: runs that wait in the journal to be
    replayed. refused: runs that Tiled (or TiledWriter) will not take, with the reason; they stay in the
    journal. elsewhere: runs that another writer put into Tiled. lost: documents that are in neither the
    journal nor Tiled (only when the disk was full and Tiled away at once). error: the last one.
    """

    connected: bool
    queued: int
    written: int
    behind: tuple[str, ...] = ()
    refused: dict[str, str] = field(default_factory=dict)
    elsewhere: tuple[str, ...] = ()
    lost: int = 0
    error: str = ""


@dataclass
class _Run:
    """A run on its way into Tiled. `next_n`: the document that is due; `held`: those not on disk."""

    uid: str
    owned: bool = False
    next_n: int = 0
    behind: bool = False
    wanted: bool = False
    gap_since: float = 0.0
    client: ResumingClient | None = None
    write: Callable[[str, dict[str, Any]], None] | None = None
    held: dict[int, tuple[str, dict[str, Any]]] = field(default_factory=dict)


class TiledDocumentWriter:
    """A callback for `RE.subscribe` that writes to Tiled from its own thread; it never raises or blocks.

    tiled: a client, or a URI (connected to by the thread, whenever it is there).
    queue_size: documents held in memory; more go by way of the journal.
    retry_seconds: how often an absent Tiled is asked again.
    on_change: called from the thread with the state when Tiled goes, comes back or refuses a run.
    on_settled: called with a run, and whether it is in Tiled by us, when there is nothing left to do for it.
    """

    def __init__(
        self,
        tiled: Any,
        journal: Journal,
        *,
        queue_size: int = 2000,
        retry_seconds: float = 5.0,
        segments: Segments | None = None,
        on_change: Callable[[WriterState], None] | None = None,
        on_settled: Callable[[str, bool], None] | None = None,
    ) -> None:
        self.journal = journal
        self._tiled = tiled
        self._client: Any = None if isinstance(tiled, str) else tiled
        self._queue: queue.Queue[tuple[str, int, str, dict[str, Any], bool]] = queue.Queue(queue_size)
        self._retry_seconds = retry_seconds
        self._segments = segments or Segments()
        self._on_change = on_change
        self._on_settled = on_settled
        self._changed = threading.Condition()
        self._runs: dict[str, _Run] = {}
        self._done: dict[str, bool] = {}
        self._connected = False
        self._checked = 0.0
        self._written = 0
        self._lost = 0
        self._refused: dict[str, str] = {}
        self._elsewhere: list[str] = []
        self._error = ""
        self._closing = threading.Event()
        self._take_up_journal()
        self._thread = threading.Thread(target=self._work, name="eg-agent Tiled writer", daemon=True)
        self._thread.start()

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        """Journal a document and queue it for Tiled."""
        run, n, on_disk = self.journal.append(name, doc)
        self.put(run, n, name, doc, on_disk=on_disk)

    def put(self, run: str, n: int, name: str, doc: dict[str, Any], *, on_disk: bool) -> None:
        """Queue a document that the journal has numbered already; never raises, never waits."""
        if not run or self._closing.is_set():
            return
        try:
            self._queue.put_nowait((run, n, name, doc, on_disk))
        except queue.Full:
            if not on_disk:
                self._lost += 1
            with self._changed:
                self._run(run).behind = True

    @property
    def state(self) -> WriterState:
        """A snapshot."""
        with self._changed:
            return WriterState(
                connected=self._connected,
                queued=self._queue.qsize(),
                written=self._written,
                behind=tuple(uid for uid, run in self._runs.items() if run.behind),
                refused=dict(self._refused),
                elsewhere=tuple(self._elsewhere),
                lost=self._lost,
                error=self._error,
            )

    @property
    def asked(self) -> bool:
        """Whether Tiled was asked at all, so that `state.connected` means something."""
        return self._checked > 0

    @property
    def client(self) -> Any:
        """The Tiled client, or None as long as there was no connection."""
        return self._client

    def wait_written(self, run: str, timeout: float) -> bool:
        """Whether a run, its stop document included, is in Tiled; waits up to `timeout` seconds.

        False at once when Tiled is known to be away or has refused the run.
        """

        def settled() -> bool:
            return run in self._done or (self._checked > 0 and not self._connected)

        with self._changed:
            self._changed.wait_for(settled, timeout)
            return self._done.get(run, False)

    def close(self, timeout: float = 10.0) -> bool:
        """Stop, after writing what is queued, but not longer than `timeout` seconds.

        Returns whether everything is in Tiled; if not, it is in the journal and the next start sends it.
        """
        self._closing.set()
        self._thread.join(timeout)
        with self._changed:
            return not self._thread.is_alive() and not any(run.behind for run in self._runs.values())

    def _run(self, uid: str) -> _Run:
        return self._runs.setdefault(uid, _Run(uid))

    def _take_up_journal(self) -> None:
        """Runs that an earlier start meant for Tiled and that did not arrive."""
        try:
            marks = self.journal.marks()
        except OSError as error:
            self._error = str(error)
            return
        for uid, mark in marks.items():
            if mark.get("state") in ("wanted", "begun"):
                run = self._run(uid)
                run.owned = bool(mark.get("begun"))
                run.wanted = True
                run.behind = True

    # Everything below runs on the writer's thread.

    def _work(self) -> None:
        while True:
            try:
                item = self._queue.get(timeout=0.25)
            except queue.Empty:
                item = None
            try:
                if item is not None:
                    self._take(*item)
                elif self._closing.is_set():
                    self._finish()
                    return
                else:
                    self._idle()
            except Exception as error:  # the guard outlives whatever happens in it
                self._say_error(error)
                _log.exception("the Tiled writer goes on after an error")

    def _take(self, uid: str, n: int, name: str, doc: dict[str, Any], on_disk: bool) -> None:
        if uid in self._refused or uid in self._elsewhere:
            return
        run = self._run(uid)
        self._want(run)
        if not on_disk:
            if len(run.held) < 1000:
                run.held[n] = (name, doc)
            else:
                self._lost += 1
        if n < run.next_n:
            return
        if run.behind or n > run.next_n or not self._is_connected():
            with self._changed:
                run.behind = True
            if self._connected:
                self._catch_up(run)
            return
        self._send(run, n, name, doc)

    def _send(self, run: _Run, n: int, name: str, doc: dict[str, Any]) -> bool:
        """Write one document; on failure the run waits in the journal, or is refused for good."""
        try:
            if run.write is None:
                run.client = ResumingClient(
                    self._client,
                    run.uid,
                    owned=run.owned,
                    begin=lambda: self._mark(run.uid, "begun", begun=True),
                    segments=self._segments,
                )
                run.write = make_writer(run.client)
            run.write(name, doc)
        except WrittenElsewhere:
            self._mark(run.uid, "elsewhere")
            with self._changed:
                self._elsewhere.append(run.uid)
                self._settle(run, done=False)
            return False
        except Exception as error:
            self._failed(run, error)
            return False
        run.owned = True
        run.next_n = n + 1
        with self._changed:
            self._written += 1
            self._checked = time.monotonic()
            if name == "stop":
                self._settle(run, done=True)
        if name == "stop":
            self._mark(run.uid, "written", documents=n + 1)
        return True

    def _settle(self, run: _Run, *, done: bool) -> None:
        self._runs.pop(run.uid, None)
        self._done[run.uid] = done
        while len(self._done) > 10_000:
            self._done.pop(next(iter(self._done)))
        self._changed.notify_all()
        if self._on_settled is not None:
            self._on_settled(run.uid, done)

    def _failed(self, run: _Run, error: Exception) -> None:
        """Tiled is away, or will not have this run: tell the two apart by asking whether it answers."""
        run.client = run.write = None
        run.next_n = 0
        self._say_error(error)
        problem = reachable(self._client if self._client is not None else self._tiled)
        passing = _passes(error)
        with self._changed:
            run.behind = True
            if problem or passing:
                self._went_away(problem or self._error)
                return
            self._refused[run.uid] = self._error
            self._settle(run, done=False)
        self._mark(run.uid, "refused", reason=self._error)
        self._tell()

    def _went_away(self, problem: str) -> None:
        was = self._connected
        self._connected = False
        self._error = problem
        self._checked = time.monotonic()
        self._changed.notify_all()
        if was:
            _log.warning("Tiled is away (%s); documents wait in %s", problem, self.journal.directory)
            self._tell()

    def _is_connected(self) -> bool:
        """Whether Tiled answers; asks again when the last word is older than a second (away: longer)."""
        age = time.monotonic() - self._checked if self._checked else float("inf")
        if age < (1.0 if self._connected else self._retry_seconds):
            return self._connected
        problem = reachable(self._client if self._client is not None else self._tiled)
        if not problem and self._client is None:
            try:
                self._client = connect(self._tiled)
            except Exception as error:
                problem = redacted(f"{type(error).__name__}: {error}")
        with self._changed:
            was, first = self._connected, self._checked == 0
            if problem:
                self._connected = self._connected or first
                self._went_away(problem)
                return False
            self._connected = True
            self._checked = time.monotonic()
            self._changed.notify_all()
        if not was and not first:
            _log.warning("Tiled is back")
            self._tell()
        return True

    def _idle(self) -> None:
        self.journal.sync()
        if not self._is_connected():
            return
        for run in list(self._runs.values()):
            if run.behind:
                self._catch_up(run)
            elif run.client is not None:
                try:
                    run.client.flush(due_only=True)
                except Exception as error:
                    self._failed(run, error)
            if not self._connected:
                return

    def _catch_up(self, run: _Run) -> None:
        """Send a run from the journal from its first document; what Tiled has is not sent twice."""
        run.client = run.write = None
        run.next_n = 0
        self._want(run)
        with self._changed:
            # Before the journal is read: a document that finds the queue full meanwhile sets it again.
            run.behind = False
        held = dict(run.held)
        entries = {entry.n: (entry.name, entry.doc) for entry in self.journal.documents(run.uid)}
        for n, (name, doc) in sorted({**entries, **held}.items()):
            if n > run.next_n and not self._gives_up(run):
                run.behind = True
                return
            if not self._send(run, n, name, doc):
                return
        if run.client is not None:
            try:
                run.client.flush()
            except Exception as error:
                self._failed(run, error)
                return
        if not entries and not held:
            with self._changed:
                self._settle(run, done=False)

    def _gives_up(self, run: _Run) -> bool:
        """Whether a document that is in neither the journal nor memory will not come any more."""
        now = time.monotonic()
        run.gap_since = run.gap_since or now
        return self._closing.is_set() or now - run.gap_since > _GAP_SECONDS

    def _finish(self) -> None:
        """Last: what is behind is sent if Tiled is there; unfinished runs are flushed."""
        self._idle()
        for run in list(self._runs.values()):
            if run.client is not None and not run.behind:
                try:
                    run.client.flush()
                except Exception as error:  # the journal has it: the next start sends it
                    self._failed(run, error)
        self.journal.sync()

    def _want(self, run: _Run) -> None:
        """Note once that a run is meant for Tiled, so that the next session knows it, should this one end."""
        if not run.wanted:
            run.wanted = True
            self._mark(run.uid, "wanted")

    def _mark(self, uid: str, state: str, **more: Any) -> None:
        try:
            self.journal.mark(uid, state, **more)
        except OSError as error:
            self._say_error(error)

    def _say_error(self, error: Exception) -> None:
        self._error = redacted(f"{type(error).__name__}: {error}")[:500]

    def _tell(self) -> None:
        if self._on_change is not None:
            try:
                self._on_change(self.state)
            except Exception:
                _log.exception("whoever listens to the writer raised")


def _passes(error: Exception) -> bool:
    """Whether an error is of the kind that goes away by itself: connection, timeout, server error."""
    import httpx

    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code >= 500 or error.response.status_code in (408, 425, 429)
    return isinstance(error, httpx.HTTPError | OSError | TimeoutError)
