"""Runs as the agent sees them: collected from documents, and turned into patterns from the best source."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from eg_agent.errors import BadPattern
from eg_agent.patterns.pattern import Pattern
from eg_agent.patterns.radiation import Radiation
from eg_agent.records.journal import Journal
from eg_agent.records.ledger import PatternFrom
from eg_agent.records.reader import pattern_of, read_pattern, sample_of
from eg_agent.records.run_data import DataKeys, NotAPattern, RunDocuments
from eg_agent.records.tiled_client import connect, redacted
from eg_agent.records.writer import TiledDocumentWriter

T = TypeVar("T")


@dataclass
class Run:
    """A run that has ended, as its start and stop documents describe it; `documents` while in memory."""

    uid: str
    start: Mapping[str, Any]
    stop: Mapping[str, Any]
    documents: RunDocuments | None = None
    ended: float = field(default_factory=time.monotonic)

    @property
    def sample(self) -> str:
        """The sample's name, or ""."""
        return sample_of(self.start)

    @property
    def shift(self) -> str:
        """The plan run it belongs to (`eg_shift`), or "" for somebody's own run."""
        return str(self.start.get("eg_shift", ""))

    @property
    def decision_id(self) -> str:
        """The decision it carries out, or ""."""
        return str(self.start.get("eg_decision_id", ""))

    @property
    def attempt(self) -> int:
        """Which attempt at that decision it is, from 1."""
        return int(self.start.get("eg_attempt", 1))

    @property
    def succeeded(self) -> bool:
        """Whether the RunEngine closed it as a success."""
        return self.stop.get("exit_status") == "success"

    @property
    def seconds(self) -> float:
        """From its start to its stop document."""
        return max(0.0, float(self.stop.get("time", 0.0)) - float(self.start.get("time", 0.0)))

    @property
    def cell(self) -> tuple[float, ...] | None:
        """Cell from the metadata: `cell=[a, b, c, alpha, beta, gamma]`, angstrom and degrees."""
        cell = self.start.get("cell")
        if not isinstance(cell, list | tuple) or len(cell) != 6:
            return None
        return tuple(float(value) for value in cell)


def copied(name: str, doc: Mapping[str, Any]) -> Mapping[str, Any]:
    """A document whose arrays are its own: a device may fill the same buffer again for its next event."""
    if name not in ("event", "event_page"):
        return doc
    data = {k: v.copy() if isinstance(v, np.ndarray) else v for k, v in doc["data"].items()}
    return {**doc, "data": data}


class Collector:
    """Sorts documents into runs; says when one has ended. Works on the RunEngine's thread: no waiting."""

    def __init__(self, max_bytes: int = 256_000_000) -> None:
        self._open: dict[str, RunDocuments] = {}
        self._run_of: dict[str, str] = {}
        self._max_bytes = max_bytes

    def add(self, name: str, doc: Mapping[str, Any]) -> Run | None:
        """Take a document; returns the run when it was its last."""
        if name == "start":
            run = self._open[doc["uid"]] = RunDocuments(self._max_bytes)
            run.add(name, doc)
            return None
        uid = doc.get("run_start") or self._run_of.get(doc.get("descriptor", ""), "")
        documents = self._open.get(uid)
        if documents is None:
            return None
        if name == "descriptor":
            self._run_of[doc["uid"]] = uid
        documents.add(name, doc)
        if name != "stop":
            return None
        del self._open[uid]
        self._run_of = {key: run for key, run in self._run_of.items() if run != uid}
        return Run(uid, documents.start, documents.stop, documents)


def from_journal(journal: Journal, uid: str) -> Run | None:
    """A run that the journal holds, or None when it has no stop document."""
    documents = RunDocuments()
    for entry in journal.documents(uid):
        documents.add(entry.name, entry.doc)
    if not documents.start or not documents.stop:
        return None
    return Run(uid, documents.start, documents.stop, documents)


def within(seconds: float, call: Callable[[], T]) -> T:
    """The result of a call that may hang, or TimeoutError after `seconds`; its exceptions pass."""
    box: list[tuple[T | None, BaseException | None]] = []

    def target() -> None:
        try:
            box.append((call(), None))
        except BaseException as error:
            box.append((None, error))

    thread = threading.Thread(target=target, name="eg-agent read", daemon=True)
    thread.start()
    thread.join(seconds)
    if not box:
        raise TimeoutError(f"no answer within {seconds:g} s")
    result, error = box[0]
    if error is not None:
        raise error
    return result  # type: ignore[return-value]


class PatternSource:
    """Patterns of runs: from Tiled by the one reader, else from the journal's documents, and says which.

    tiled: a client or a URI, or None. writer: the guard that writes there, or None when somebody else
    does (then the run is waited for). wait: seconds that Tiled is given to have a run.
    """

    def __init__(
        self,
        tiled: Any,
        writer: TiledDocumentWriter | None,
        journal: Journal,
        *,
        keys: DataKeys | None = None,
        radiation: Radiation | float | None = None,
        wait: float = 3.0,
    ) -> None:
        self._tiled = tiled
        self._writer = writer
        self._journal = journal
        self._keys = keys
        self._radiation = radiation
        self._wait = wait
        self._absent_until = 0.0

    def pattern(self, run: Run) -> tuple[Pattern, PatternFrom, str]:
        """Pattern, where it was read, and why not from Tiled. Raises NotAPattern, BadPattern, BadInput."""
        problem = ""
        if self._tiled is not None:
            try:
                return self._from_tiled(run.uid), "tiled", ""
            except _Absent as absent:
                problem = str(absent)
        documents = run.documents
        if documents is None:
            found = from_journal(self._journal, run.uid)
            documents = found.documents if found else None
        if documents is None:
            raise BadPattern(f"run {run.uid[:8]} is in neither Tiled nor the journal. {problem}".strip())
        if documents.external:
            raise NotAPattern(
                f"run {run.uid[:8]} keeps its data outside its documents: give the agent the Tiled that "
                f"serves them. {problem}".strip()
            )
        stream = (self._keys or DataKeys()).stream
        pattern = pattern_of(documents.data(stream), keys=self._keys, radiation=self._radiation)
        return pattern, "journal", problem

    def _from_tiled(self, uid: str) -> Pattern:
        if self._writer is not None and uid not in self._writer.state.elsewhere:
            if not self._writer.wait_written(uid, self._wait):
                state = self._writer.state
                if uid not in state.elsewhere:
                    why = state.refused.get(uid) or (state.error if not state.connected else "it is slow")
                    raise _Absent(f"Tiled does not have the run yet ({why})")
            else:
                return self._read(self._writer.client, uid)
        if time.monotonic() < self._absent_until:
            raise _Absent("Tiled was away a moment ago")
        return self._read(self._client(), uid)

    def _client(self) -> Any:
        if isinstance(self._tiled, str):
            uri = self._tiled
            try:
                self._tiled = within(self._wait, lambda: connect(uri))
            except Exception as error:
                self._absent_until = time.monotonic() + 10.0
                raise _Absent(redacted(f"Tiled is away ({type(error).__name__}: {error})")) from None
        return self._tiled

    def _read(self, client: Any, uid: str) -> Pattern:
        """Read a run that somebody writes, once its stop document is there."""

        def read() -> Pattern:
            deadline = time.monotonic() + self._wait
            while uid not in client or not (run := client[uid]).metadata.get("stop"):
                if time.monotonic() > deadline:
                    raise _Absent("Tiled does not have the run, or not its end")
                time.sleep(0.1)
            return read_pattern(run, keys=self._keys, radiation=self._radiation)

        from eg_agent.errors import EgAgentError

        try:
            return within(2.0 * self._wait + 2.0, read)
        except (_Absent, EgAgentError):
            raise
        except Exception as error:
            self._absent_until = time.monotonic() + 10.0
            raise _Absent(redacted(f"reading from Tiled failed ({type(error).__name__}: {error})")) from None


class _Absent(Exception):
    """Tiled cannot give the run now; the message says why."""
