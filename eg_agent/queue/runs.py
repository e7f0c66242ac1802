"""`Runs`: what a Tiled catalog says of runs: which have ended, and which carry out a decision."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from eg_agent.errors import EgAgentError
from eg_agent.patterns.pattern import Pattern
from eg_agent.patterns.radiation import Radiation
from eg_agent.records.reader import read_pattern, sample_of
from eg_agent.records.run_data import DataKeys
from eg_agent.records.tiled_client import connect, redacted

_log = logging.getLogger(__name__)


class TiledAway(Exception):
    """Tiled gave no answer now; the message says why, without a key in it."""


@dataclass(frozen=True, slots=True)
class RunHead:
    """A run by its start and stop documents; `stop` is empty as long as it is open."""

    uid: str
    start: dict[str, Any] = field(default_factory=dict)
    stop: dict[str, Any] = field(default_factory=dict)

    @property
    def decision_id(self) -> str:
        """The decision that it carries out, or ""."""
        return str(self.start.get("eg_decision_id", ""))

    @property
    def attempt(self) -> int:
        """Which attempt at that decision it is, from 1."""
        return int(self.start.get("eg_attempt", 1))

    @property
    def sample(self) -> str:
        """Name of the sample, or ""."""
        return sample_of(self.start)

    @property
    def shift(self) -> str:
        """The shift it was measured for (`eg_shift`), or ""."""
        return str(self.start.get("eg_shift", ""))

    @property
    def ended(self) -> bool:
        """Whether its stop document is there."""
        return bool(self.stop)

    @property
    def succeeded(self) -> bool:
        """Whether the RunEngine closed it as a success."""
        return self.stop.get("exit_status") == "success"

    @property
    def seconds(self) -> float:
        """Seconds from start to stop."""
        return max(0.0, float(self.stop.get("time", 0.0)) - float(self.start.get("time", 0.0)))


class Runs:
    """Runs of one catalog. Every method raises TiledAway when Tiled cannot answer; one thread uses it.

    tiled: URI (a key in it, or in $TILED_API_KEY), or a client. keys, radiation: as in `read_pattern`.
    """

    def __init__(
        self, tiled: Any, *, keys: DataKeys | None = None, radiation: Radiation | float | None = None
    ) -> None:
        self._tiled = tiled
        self._client: Any = None if isinstance(tiled, str) else tiled
        self._keys = keys
        self._radiation = radiation

    @property
    def client(self) -> Any:
        """The Tiled client of the catalog, connected to now if need be."""
        if self._client is None:
            with self._saying_away():
                self._client = connect(self._tiled)
        return self._client

    @contextlib.contextmanager
    def _saying_away(self) -> Iterator[None]:
        try:
            yield
        except (TiledAway, EgAgentError):
            raise
        except Exception as error:
            raise TiledAway(redacted(f"{type(error).__name__}: {error}").splitlines()[0][:300]) from None

    def newest(self, count: int = 20) -> list[RunHead]:
        """The runs that were put into the catalog last, newest first."""
        with self._saying_away():
            return [head for node in self.client.values().tail(count) if (head := _head(node)) is not None][
                ::-1
            ]

    def since(self, began: float, shift: str = "") -> list[RunHead]:
        """All runs that started at or after `began` (seconds since 1970), of one shift where one is named."""
        from tiled.queries import Comparison, Key

        with self._saying_away():
            if shift:
                found = self.client.search(Key("start.eg_shift") == shift)
            else:
                found = self.client.search(Comparison("ge", "start.time", began))
            heads = [head for node in found.values() if (head := _head(node)) is not None]
        return sorted(heads, key=lambda head: head.start.get("time", 0.0))

    def of_decision(self, decision_id: str) -> list[RunHead]:
        """The runs that carry out a decision, in the order of their attempts."""
        from tiled.queries import Key

        with self._saying_away():
            found = self.client.search(Key("start.eg_decision_id") == decision_id)
            heads = [head for node in found.values() if (head := _head(node)) is not None]
        return sorted(heads, key=lambda head: (head.attempt, head.start.get("time", 0.0)))

    def successful(self, decision_id: str) -> str:
        """Uid of the successful run of a decision, "" when there is none."""
        return next((head.uid for head in self.of_decision(decision_id) if head.succeeded), "")

    def pattern(self, head: RunHead) -> Pattern:
        """The pattern of a run that has ended; raises what `read_pattern` raises, and TiledAway."""
        with self._saying_away():
            run = _Run(self.client, head)
            return read_pattern(run, keys=self._keys, radiation=self._radiation)

    def ping(self) -> None:
        """Ask Tiled for anything; raises TiledAway."""
        with self._saying_away():
            len(self.client)


class _Run:
    """A run as `read_pattern` wants it, with half the requests: its head is known, and the columns of its
    table are taken from the table, not looked for in the whole stream each.
    """

    def __init__(self, client: Any, head: RunHead) -> None:
        self._client = client
        self._head = head
        self.metadata = {"start": head.start, "stop": head.stop}

    def __contains__(self, stream: str) -> bool:
        try:
            self[stream]
        except KeyError:
            return False
        return True

    @cache  # noqa: B019 - one object a reading, gone with it
    def __getitem__(self, stream: str) -> _Stream:
        return _Stream(self._client, self._head.uid, stream, self._client[self._head.uid, stream])


class _Stream:
    """A stream of a run: metadata, and its columns one by one (together they come back as strings)."""

    def __init__(self, client: Any, uid: str, stream: str, node: Any) -> None:
        self.metadata = node.metadata
        self._node = node
        try:
            self._table = client[uid, stream, "internal"]
            self._columns = set(self._table.columns)
        except (KeyError, AttributeError):
            self._table, self._columns = None, set()

    def __getitem__(self, key: str) -> Any:
        table = self._table
        return self._node[key] if table is None or key not in self._columns else table[key]


def _head(node: Any) -> RunHead | None:
    """The head of a run, None for a node that is none."""
    metadata = node.metadata
    start = metadata.get("start")
    if not start or "uid" not in start:
        return None
    return RunHead(str(start["uid"]), dict(start), dict(metadata.get("stop") or {}))


class Watch:
    """Calls `woken` whenever a run in the catalog begins or ends, as soon as Tiled says so.

    A subscription of Tiled, which may end without a word when its server is restarted; `check`, to be
    called now and then, makes a new one. Nothing relies on it but speed: the loop asks Tiled anyway.
    """

    def __init__(self, runs: Runs, woken: Callable[[], None]) -> None:
        self._runs = runs
        self._woken = woken
        self._subscription: Any = None
        self._callbacks: list[Callable[..., None]] = []
        self._thread: threading.Thread | None = None
        self._tried = 0.0

    @property
    def alive(self) -> bool:
        """Whether the subscription's thread runs."""
        thread = getattr(self._subscription, "_thread", None)
        return thread is not None and thread.is_alive()

    def check(self, retry_seconds: float = 5.0) -> bool:
        """Subscribe when there is no subscription; returns whether there is one."""
        if self.alive:
            return True
        if time.monotonic() - self._tried < retry_seconds:
            return False
        self._tried = time.monotonic()
        try:
            subscription = self._runs.client.subscribe()

            def wake(update: Any) -> None:
                self._woken()

            self._callbacks = [wake]  # tiled holds callbacks weakly
            subscription.child_created.add_callback(wake)
            subscription.child_metadata_updated.add_callback(wake)
            subscription.start_in_thread()
        except Exception as error:
            _log.info("no events from Tiled now (%s); it is asked instead", redacted(str(error))[:200])
            self._subscription = None
            return False
        self._subscription = subscription
        return True

    def close(self) -> None:
        """End the subscription."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            with contextlib.suppress(Exception):
                subscription.disconnect()


def by_decision(heads: Iterable[RunHead]) -> dict[str, list[RunHead]]:
    """Runs by the decision they carry out, those without one left out."""
    found: dict[str, list[RunHead]] = {}
    for head in heads:
        if head.decision_id:
            found.setdefault(head.decision_id, []).append(head)
    return found
