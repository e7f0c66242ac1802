"""`Entries`: writes the identifications of a ledger into Tiled, beside the loop and never in its way."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path

from eg_agent.queue.work import LedgerTail, parsed
from eg_agent.records.identifications import Identifications, NotWritten
from eg_agent.records.ledger import DecisionRow
from eg_agent.records.runs import TiledAway

_log = logging.getLogger(__name__)

#: Seconds until Tiled is tried again: first, and at most.
_FIRST, _LONGEST = 2.0, 60.0


class Entries:
    """Follows a ledger on a thread of its own; what Tiled has is noted in a file beside the ledger.

    Killed at any time, it goes on where it was: an entry that was begun is finished, one that is there is
    left as it is. `wake` is called when the ledger may have grown, and only by the agent that acts.
    """

    def __init__(
        self,
        ledger: Path,
        identifications: Identifications,
    ) -> None:
        self.problem = ""  #: why entries wait, "" when they do not
        self.written = 0
        self._identifications = identifications
        self._tail = LedgerTail(ledger)
        self._mark = ledger.with_name("identifications-in-tiled.txt")
        self._there: set[str] | None = None
        self._waiting: list[DecisionRow] = []
        self._pause = 0.0
        self._lock = threading.Lock()
        self._idle = threading.Event()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """Look for new rows now; returns at once."""
        with self._lock:
            self._idle.clear()
            self._wake.set()
        if self._thread is None and not self._closing.is_set():
            self._thread = threading.Thread(target=self._work, name="eg-agent identifications", daemon=True)
            self._thread.start()

    def wait(self, timeout: float) -> bool:
        """Whether everything that the ledger has is in Tiled, after at most `timeout` seconds."""
        return self._thread is None or self._idle.wait(timeout)

    def close(self, timeout: float = 5.0) -> None:
        """End the thread after the entry that it writes; the others follow at the next start."""
        self._closing.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def _work(self) -> None:
        while not self._closing.is_set():
            self._wake.wait()
            self._wake.clear()
            try:
                self._all()
            except (TiledAway, NotWritten, OSError) as error:
                self._wait_longer(str(error))
            except Exception as error:
                _log.exception("identifications wait after an error")
                self._wait_longer(f"{type(error).__name__}: {error}")

    def _all(self) -> None:
        """Write what is new, oldest first."""
        if self._there is None:
            self._there = set(self._mark.read_text().split()) if self._mark.exists() else set()
        for line in self._tail.lines():
            row = parsed(line)
            if isinstance(row, DecisionRow) and row.identification is not None:
                self._waiting.append(row)
        while self._waiting and not self._closing.is_set():
            row = self._waiting[0]
            if row.decision.decision_id not in self._there:
                key = self._identifications.put(row)
                with open(self._mark, "a", encoding="utf-8") as file:
                    file.write(f"{key}\n")
                    file.flush()
                    os.fsync(file.fileno())
                self._there.add(key)
                self.written += 1
            self._waiting.pop(0)
        if self.problem:
            _log.info("identifications are written to Tiled again")
        self.problem, self._pause = "", 0.0
        with self._lock:
            if not self._wake.is_set():
                self._idle.set()

    def _wait_longer(self, problem: str) -> None:
        """Try again later, each time later than the last, however often it is woken meanwhile."""
        if problem != self.problem:
            _log.warning("identifications wait for Tiled: %s", problem)
        self.problem = problem
        self._pause = min(_LONGEST, 2.0 * self._pause or _FIRST)
        self._closing.wait(self._pause)
        self._wake.set()


__all__ = ["Entries"]
