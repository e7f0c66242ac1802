"""Runs as the agent sees them: collected from documents, and turned into patterns from the best source."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from eg_agent.errors import BadPattern
from eg_agent.patterns.pattern import Pattern
from eg_agent.patterns.radiation import Radiation
from eg_agent.records.journal import Journal, Tail
from eg_agent.records.ledger import PatternFrom
from eg_agent.records.reader import pattern_of
from eg_agent.records.run_data import DataKeys, NotAPattern, RunDocuments
from eg_agent.records.runs import RunFacts, Runs, TiledAway

T = TypeVar("T")

#: Documents that say that the data of a run lie outside its documents.
EXTERNAL = frozenset({"stream_resource", "resource"})

#: Seconds that Tiled is not asked for after it gave no answer: a plan may wait for what is read instead.
_AWAY = 10.0


@dataclass
class Run(RunFacts):
    """A run as its start and stop documents describe it; stop is {} while it goes on.

    held: its documents that the disk refused, by their number in the run. external: its data lie outside
    the documents (files of an area detector), so that only Tiled can give them.
    """

    uid: str
    start: Mapping[str, Any]
    stop: Mapping[str, Any]
    ended: float = field(default_factory=time.monotonic)
    held: dict[int, tuple[str, Mapping[str, Any]]] = field(default_factory=dict)
    external: bool = False

    @property
    def so_far(self) -> float:
        """Seconds since its start document."""
        return max(0.0, time.time() - self.began) if self.began else 0.0


def copied(name: str, doc: Mapping[str, Any]) -> Mapping[str, Any]:
    """A document whose arrays are its own: a device may fill the same buffer again for its next event."""
    if name not in ("event", "event_page"):
        return doc
    data = {k: _copied(v) for k, v in doc["data"].items()}
    return {**doc, "data": data}


def _copied(value: Any) -> Any:
    if isinstance(value, list):  # the column of an event page
        return [_copied(v) for v in value]
    return value.copy() if isinstance(value, np.ndarray) else value


class Collector:
    """Sorts documents into runs; says when one has ended. Works on the RunEngine's thread: no waiting.

    Documents are in the journal; only those that the disk refused are kept here.
    """

    def __init__(self) -> None:
        self._open: dict[str, Run] = {}
        self._run_of: dict[str, str] = {}

    def add(self, name: str, doc: Mapping[str, Any], n: int, *, on_disk: bool) -> tuple[Run | None, bool]:
        """Take the n-th document of its run; returns the run, and whether this was its last document."""
        if name == "start":
            run = self._open[doc["uid"]] = Run(doc["uid"], doc, {})
        else:
            uid = doc.get("run_start") or self._run_of.get(doc.get("descriptor", ""), "")
            found = self._open.get(uid)
            if found is None:
                return None, False
            run = found
        if not on_disk:
            run.held[n] = (name, copied(name, doc))
        if name == "descriptor":
            self._run_of[doc["uid"]] = run.uid
        run.external = run.external or name in EXTERNAL
        if name != "stop":
            return run, False
        del self._open[run.uid]
        self._run_of = {key: uid for key, uid in self._run_of.items() if uid != run.uid}
        run.stop, run.ended = doc, time.monotonic()
        return run, True


def from_journal(journal: Journal, uid: str) -> Run | None:
    """A run that the journal holds, without its data, or None when it has no stop document."""
    start: Mapping[str, Any] = {}
    external = False
    for entry in journal.documents(uid):
        external = external or entry.name in EXTERNAL
        if entry.name == "start":
            start = entry.doc
        elif entry.name == "stop" and start:
            return Run(uid, start, entry.doc, external=external)
    return None


@dataclass
class Journaled:
    """Documents of a run as far as the journal has them; `gap`: one in between is missing."""

    documents: RunDocuments = field(default_factory=RunDocuments)
    gap: bool = False
    count: int = 0

    def add(self, n: int, name: str, doc: Mapping[str, Any]) -> None:
        """Take the n-th document of the run, in order."""
        self.gap = self.gap or n != self.count
        self.count = n + 1
        self.documents.add(name, as_arrays(name, doc))

    @property
    def whole(self) -> bool:
        """Whether the run is here from its start to its stop, with its data."""
        found = self.documents
        return bool(found.start and found.stop) and not (self.gap or found.external or found.overflow)


class JournaledRuns:
    """Documents of runs as far as the journal has them; what was read is kept, of a few runs."""

    def __init__(self, journal: Journal, keep: int = 3) -> None:
        self._journal = journal
        self._keep = keep
        self._runs: OrderedDict[str, tuple[Tail, Journaled]] = OrderedDict()

    def of(self, run: Run) -> Journaled:
        """The documents so far, those included that the disk refused (`run.held`)."""
        if run.held:
            on_disk = {entry.n: (entry.name, entry.doc) for entry in self._journal.documents(run.uid)}
            found = Journaled()
            for n, (name, doc) in sorted({**on_disk, **run.held}.items()):
                found.add(n, name, doc)
            return found
        if run.uid not in self._runs:
            self._runs[run.uid] = (Tail(self._journal, run.uid), Journaled())
        self._runs.move_to_end(run.uid)
        while len(self._runs) > self._keep:
            self._runs.popitem(last=False)
        tail, found = self._runs[run.uid]
        for entry in tail.new():
            found.add(*entry)
        return found


def as_arrays(name: str, doc: Mapping[str, Any]) -> Mapping[str, Any]:
    """A journaled event whose lists of numbers are arrays again."""
    if name != "event":
        return doc
    data = {k: np.asarray(v) if isinstance(v, list) else v for k, v in doc["data"].items()}
    return {**doc, "data": data}


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
    """Patterns of runs, and where they were read: what this session measured is in its journal, whole, before
    anybody else can have it; the rest is in Tiled.

    Both ways lead through the same `RunData` to the same pattern (eg_agent.records.reader).

    tiled: a client or a URI, or None. wait: seconds that Tiled is given to have a run and its end.
    """

    def __init__(
        self,
        tiled: Any,
        journal: Journal,
        *,
        keys: DataKeys | None = None,
        radiation: Radiation | float | None = None,
        wait: float = 3.0,
    ) -> None:
        self._runs = None if tiled is None else Runs(tiled, keys=keys, radiation=radiation)
        self._journal = journal
        self._journaled = JournaledRuns(journal)
        self._keys = keys
        self._radiation = radiation
        self._wait = wait
        self._absent_until = 0.0

    def warm(self) -> None:
        """Import and connect now, so that the first run does not wait for it; never raises."""
        if self._runs is not None:
            # Reading the first run tries again, and says why where that fails, too.
            with contextlib.suppress(TiledAway, TimeoutError):
                within(10.0, self._runs.warm)

    def pattern(self, run: Run, *, without_tiled: str = "") -> tuple[Pattern, PatternFrom, str]:
        """Pattern, where it was read, and what was wrong with that. Raises NotAPattern, BadPattern, BadInput.

        without_tiled: why Tiled is not to be asked.
        """
        journaled = self._journaled.of(run)
        if journaled.whole:
            return self._of_documents(journaled.documents), "journal", ""
        problem = without_tiled
        if self._runs is not None and not problem:
            try:
                return self._from_tiled(self._runs, run.uid, ended=True), "tiled", ""
            except TiledAway as away:
                problem = str(away)
        documents = journaled.documents
        if not documents.start:
            raise BadPattern(f"run {run.uid[:8]} is in neither Tiled nor the journal. {problem}".strip())
        if documents.external:
            raise NotAPattern(
                f"run {run.uid[:8]} keeps its data outside its documents: give the agent the Tiled that "
                f"serves them. {problem}".strip()
            )
        return self._of_documents(documents), "journal", problem

    def partial(self, run: Run) -> tuple[Pattern, PatternFrom]:
        """The pattern so far of a run that goes on; raises NotAPattern, BadPattern, BadInput.

        From the journal where this session measures, which has every point at once; else from Tiled.
        """
        documents = self._journaled.of(run).documents
        if documents.start and not documents.external:
            return self._of_documents(documents), "journal"
        if self._runs is None:
            raise NotAPattern(f"run {run.uid[:8]} keeps its data outside its documents.")
        try:
            return self._from_tiled(self._runs, run.uid, ended=False), "tiled"
        except TiledAway as away:
            raise BadPattern(str(away)) from None

    def _of_documents(self, documents: RunDocuments) -> Pattern:
        stream = (self._keys or DataKeys()).stream
        return pattern_of(documents.data(stream), keys=self._keys, radiation=self._radiation)

    def _from_tiled(self, runs: Runs, uid: str, *, ended: bool) -> Pattern:
        """Read a run; `ended`: once its stop document is there. Raises TiledAway, also where it is not."""
        if time.monotonic() < self._absent_until:
            raise TiledAway("Tiled was away a moment ago")
        try:
            within(self._wait, lambda: runs.client)
        except (TiledAway, TimeoutError) as error:
            self._absent_until = time.monotonic() + _AWAY
            raise TiledAway(f"Tiled is away ({error})") from None

        def read() -> Pattern | None:
            deadline = time.monotonic() + self._wait
            while True:
                head = runs.head(uid)
                if head is not None and (head.ended or not ended):
                    return runs.pattern(head)
                if time.monotonic() > deadline:
                    return None
                time.sleep(0.1)

        try:
            found = within(2.0 * self._wait + 2.0, read)
        except (TiledAway, TimeoutError) as error:
            self._absent_until = time.monotonic() + _AWAY
            raise TiledAway(f"reading from Tiled failed ({error})") from None
        if found is None:
            raise TiledAway("Tiled does not have the run, or not its end")
        return found
