"""`Follower`: runs of a Tiled catalog as they begin, grow and end, whoever measures them.

Tiled's own stream (a websocket) says at once that something changed; what changed is then asked of the
catalog. Where a server has no stream, or after its restart, the catalog is asked every few seconds: that is
slower and otherwise the same. A subscription that fell silent is replaced when asking finds what it did
not tell. Data are never taken from the stream: `read_pattern` reads them.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from eg_agent.records.tiled_client import connect, redacted

_log = logging.getLogger(__name__)

#: Bytes that a message of the stream may have: a segment of many traces is above Tiled's default of 1 MB.
_LARGEST = 64_000_000

#: Open runs whose data are followed by subscriptions of their own; each takes threads.
_FOLLOWED = 4

#: Ended runs that are remembered, so that they are told of once.
_REMEMBERED = 20_000


class Follows(Protocol):
    """Who is told. Calls come from the follower's thread, in the order begin, data, end for each run."""

    def began(self, uid: str, start: Mapping[str, Any]) -> None: ...

    def saw(self, uid: str) -> None: ...

    def ended(self, uid: str, start: Mapping[str, Any], stop: Mapping[str, Any]) -> None: ...


@dataclass
class _Open:
    start: Mapping[str, Any]
    streams: list[Stream] = field(default_factory=list)


class Stream:
    """A subscription to one node, on a thread of its own. `told` is called at every message."""

    def __init__(self, node: Any, told: Callable[[Any], None], *, replay: bool) -> None:
        self._subscription: Any = None
        self._told = told  # tiled holds callbacks weakly
        self._thread = threading.Thread(
            target=self._run, args=(node, 1 if replay else None), name="eg-agent Tiled stream", daemon=True
        )
        self._thread.start()

    def _run(self, node: Any, start: int | None) -> None:
        # `start_in_thread` would wait for a connection that a server without streams never gives.
        try:
            self._subscription = subscription = node.subscribe()
            for name in ("child_created", "child_metadata_updated", "new_data"):
                registry = getattr(subscription, name, None)
                if registry is not None:
                    registry.add_callback(self._told)
            subscription.start(start, max_size=_LARGEST)
        except Exception as error:
            _log.info("no stream from Tiled (%s); it is asked instead", redacted(str(error))[:200])

    @property
    def alive(self) -> bool:
        """Whether it may still tell something."""
        return self._thread.is_alive()

    def close(self) -> None:
        """End it, without waiting."""
        subscription = self._subscription
        if subscription is not None:
            threading.Thread(target=_quietly, args=(subscription.disconnect,), daemon=True).start()


class Follower:
    """Tells `follows` of every run that began after `since` or is open then; one thread.

    tiled: URI, with its key in it or in $TILED_API_KEY. since: seconds since 1970; runs that had ended
    before are left out. poll: seconds between two looks at the catalog without a word from the stream.
    growth: seconds at the least between two words that an open run has new data.
    say: takes a line of text when Tiled goes away or comes back.
    """

    def __init__(
        self,
        tiled: str,
        follows: Follows,
        *,
        since: float,
        poll: float = 5.0,
        growth: float = 1.0,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._uri = tiled
        self._follows = follows
        self._since = since
        self._poll = poll
        self._growth = growth
        self._say = say
        self._client: Any = None
        self._root: Stream | None = None
        self._open: dict[str, _Open] = {}
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._grown: dict[str, float] = {}
        self._wake = threading.Event()
        self._told = False
        self._closing = False
        self._away = False
        self._looked = 0.0
        self.streaming = False
        self.looks = 0
        self._thread = threading.Thread(target=self._work, name="eg-agent follows Tiled", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def close(self) -> None:
        """End the thread and the subscriptions."""
        self._closing = True
        self._wake.set()
        self._thread.join(10.0)
        self._drop()

    @property
    def open_runs(self) -> tuple[str, ...]:
        """Runs that go on."""
        return tuple(self._open)

    # On the follower's thread.

    def _work(self) -> None:
        while not self._closing:
            try:
                self._step()
            except Exception as error:
                self._went_away(error)
            self._wake.wait(self._pause())
            if self._wake.is_set():
                self._wake.clear()
                time.sleep(0.02)  # what belongs together comes within milliseconds

    def _pause(self) -> float:
        if self._away or not self._open:
            return self._poll
        return min(self._poll, self._growth)

    def _step(self) -> None:
        if self._client is None:
            self._client = connect(self._uri)
        if self._root is None or not self._root.alive:
            self._root = Stream(self._client, self._heard, replay=False)
        told, self._told = self._told, False
        if told or time.monotonic() - self._looked >= self._poll or not self.streaming:
            found = self._look()
            if found and not told and self.streaming and self._looked:
                _log.warning("Tiled's stream said nothing of a run; subscribing again")
                self._root.close()
                self._root = None
                self.streaming = False
            self._looked = time.monotonic()
        if self._away:
            self._away = False
            self._say("Tiled is back")
        self._tell_growth()

    def _heard(self, update: Any) -> None:
        """The stream's thread: a run began, or its metadata changed (a stop document)."""
        self.streaming = self._told = True
        self._wake.set()

    def _look(self) -> bool:
        """Ask the catalog which runs are new and which have ended; returns whether any is."""
        self.looks += 1
        changed = False
        for uid in list(self._open):
            node = self._client[uid]
            stop = node.metadata.get("stop")
            if stop:
                changed = True
                self._end(uid, self._open[uid].start, stop)
        for uid, start, stop, node in self._new():
            changed = True
            if stop:
                if float(stop.get("time", 0.0)) >= self._since:
                    self._follows.began(uid, start)
                    self._end(uid, start, stop)
                else:
                    self._remember(uid)
                continue
            self._open[uid] = _Open(start)
            self._follows.began(uid, start)
            self._grown[uid] = 0.0
            if len(self._open) <= _FOLLOWED:
                self._follow(uid, node)
        return changed

    def _new(self) -> list[tuple[str, Mapping[str, Any], Mapping[str, Any], Any]]:
        """Runs that were not told of yet, oldest first."""
        count, found = 8, OrderedDict()
        total = len(self._client)
        while True:
            found.clear()
            reached = count >= total
            for key, node in _newest(self._client, count):
                metadata = node.metadata
                start = metadata.get("start") or {}
                if start.get("uid") != key:
                    continue
                # Long runs are still found: a catalog is in the order of beginning, so one goes back a day.
                if float(start.get("time", 0.0)) < self._since - 86_400.0:
                    reached = True
                elif key in self._ended or key in self._open:
                    reached = reached or key in self._ended
                else:
                    found[key] = (key, start, metadata.get("stop") or {}, node)
            if reached or not found:
                return sorted(found.values(), key=lambda run: float(run[1].get("time", 0.0)))
            count *= 4

    def _end(self, uid: str, start: Mapping[str, Any], stop: Mapping[str, Any]) -> None:
        found = self._open.pop(uid, None)
        self._grown.pop(uid, None)
        for stream in found.streams if found is not None else []:
            stream.close()
        self._remember(uid)
        self._follows.ended(uid, start, stop)

    def _remember(self, uid: str) -> None:
        self._ended[uid] = None
        while len(self._ended) > _REMEMBERED:
            self._ended.popitem(last=False)

    def _follow(self, uid: str, run: Any) -> None:
        """Subscribe to the data of an open run: to the run, to each of its streams, to their tables."""
        found = self._open[uid]

        def grown(update: Any) -> None:
            if uid in self._grown:
                self._grown[uid] = time.monotonic()
                self._wake.set()

        def created(update: Any) -> None:
            if uid not in self._open:
                return
            child = update.child()
            inner = getattr(child, "base", child)
            told = created if hasattr(inner, "keys") and not hasattr(inner, "columns") else grown
            with contextlib.suppress(Exception):
                found.streams.append(Stream(inner, told, replay=True))

        # A subscription that begins while children are made may miss one: replayed from its beginning.
        found.streams.append(Stream(getattr(run, "base", run), created, replay=True))

    def _tell_growth(self) -> None:
        """Say which open runs have new data; without a stream, all of them may."""
        for uid in list(self._open):
            if not self.streaming or not self._open[uid].streams or self._grown.get(uid):
                self._grown[uid] = 0.0
                self._follows.saw(uid)

    def _went_away(self, error: Exception) -> None:
        text = redacted(f"{type(error).__name__}: {error}").splitlines()[0][:200]
        self._drop()
        if not self._away:
            self._away = True
            self._say(f"Tiled is away ({text}); it is asked again every {self._poll:g} s")

    def _drop(self) -> None:
        """Let go of everything that hangs on the connection; open runs are found again."""
        root, self._root = self._root, None
        if root is not None:
            root.close()
        for found in self._open.values():
            for stream in found.streams:
                stream.close()
            found.streams.clear()
        self._client = None
        self.streaming = False
        self._looked = 0.0


def _newest(client: Any, count: int) -> Iterator[tuple[str, Any]]:
    """The last `count` nodes of a catalog, newest first."""
    yield from reversed(list(client.items().tail(count)))


def _quietly(call: Callable[[], Any]) -> None:
    with contextlib.suppress(Exception):
        call()
