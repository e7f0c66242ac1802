"""`Follower`: runs of a Tiled catalog as they begin, grow and end, whoever measures them.

Tiled's own stream (a websocket) says at once that something changed; what changed is then asked of the
catalog. Where a server has no stream, or after its restart, the catalog is asked every few seconds: that is
slower and otherwise the same. A subscription that fell silent is replaced when asking finds what it did
not tell. Data are never taken from the stream: `read_pattern` reads them.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from eg_agent.records.runs import RunHead, Runs, TiledAway
from eg_agent.records.tiled_client import redacted

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


class Wakes:
    """Calls `woken` whenever a run in a catalog begins or ends, as soon as Tiled's stream says so.

    The stream may end without a word when its server is restarted; `check`, to be called now and then,
    makes a new one. Nothing relies on it but speed: whoever is woken asks Tiled anyway.
    """

    def __init__(self, runs: Runs, woken: Callable[[], None]) -> None:
        self._runs = runs
        self._woken = woken
        self._stream: Stream | None = None
        self._tried = -math.inf

    @property
    def alive(self) -> bool:
        """Whether the stream may still tell something."""
        return self._stream is not None and self._stream.alive

    def check(self, retry_seconds: float = 5.0) -> bool:
        """Subscribe when there is no subscription; returns whether there is one. Raises TiledAway."""
        if not self.alive and time.monotonic() - self._tried >= retry_seconds:
            self._tried = time.monotonic()
            self._stream = Stream(self._runs.client, self._heard, replay=False)
        return self.alive

    def close(self) -> None:
        """End the subscription."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def _heard(self, update: Any) -> None:
        self._woken()


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
        self._runs: Runs | None = None
        self._root: Stream | None = None
        self._open: dict[str, list[Stream]] = {}  # open runs, and the subscriptions to their data
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
        if self._runs is None:
            from eg_agent.records.light_client import connect_lightly

            self._runs = Runs(connect_lightly(self._uri))
        if self._root is None or not self._root.alive:
            self._root = Stream(self._runs.client, self._heard, replay=False)
        told, self._told = self._told, False
        if told or time.monotonic() - self._looked >= self._poll or not self.streaming:
            found = self._look(self._runs)
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

    def _look(self, runs: Runs) -> bool:
        """Ask the catalog which runs are new and which have ended; returns whether any is."""
        self.looks += 1
        changed = False
        for uid in list(self._open):
            head = runs.head(uid)
            if head is not None and head.ended:
                changed = True
                self._end(head)
        for head in self._new(runs):
            changed = True
            if head.ended:
                if float(head.stop.get("time", 0.0)) >= self._since:
                    self._follows.began(head.uid, head.start)
                    self._end(head)
                else:
                    self._remember(head.uid)
                continue
            self._open[head.uid] = []
            self._follows.began(head.uid, head.start)
            self._grown[head.uid] = 0.0
            if len(self._open) <= _FOLLOWED:
                self._follow(head.uid, runs.client[head.uid])
        return changed

    def _new(self, runs: Runs) -> list[RunHead]:
        """Runs that were not told of yet, oldest first."""
        count, total = 8, runs.count()
        while True:
            found: list[RunHead] = []
            reached = count >= total
            for head in runs.newest(count):
                # Long runs are still found: a catalog is in the order of beginning, so one goes back a day.
                if head.began < self._since - 86_400.0:
                    reached = True
                elif head.uid in self._ended or head.uid in self._open:
                    reached = reached or head.uid in self._ended
                else:
                    found.append(head)
            if reached or not found:
                return sorted(found, key=lambda head: head.began)
            count *= 4

    def _end(self, head: RunHead) -> None:
        for stream in self._open.pop(head.uid, []):
            stream.close()
        self._grown.pop(head.uid, None)
        self._remember(head.uid)
        self._follows.ended(head.uid, head.start, head.stop)

    def _remember(self, uid: str) -> None:
        self._ended[uid] = None
        while len(self._ended) > _REMEMBERED:
            self._ended.popitem(last=False)

    def _follow(self, uid: str, run: Any) -> None:
        """Subscribe to the data of an open run: to the run, to each of its streams, to their tables."""
        streams = self._open[uid]

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
            streams.append(Stream(inner, told, replay=True))

        # A subscription that begins while children are made may miss one: replayed from its beginning.
        streams.append(Stream(getattr(run, "base", run), created, replay=True))

    def _tell_growth(self) -> None:
        """Say which open runs have new data; without a stream, all of them may."""
        for uid in list(self._open):
            if not self.streaming or not self._open[uid] or self._grown.get(uid):
                self._grown[uid] = 0.0
                self._follows.saw(uid)

    def _went_away(self, error: Exception) -> None:
        said = str(error) if isinstance(error, TiledAway) else f"{type(error).__name__}: {error}"
        text = redacted(said).splitlines()[0][:200]
        self._drop()
        if not self._away:
            self._away = True
            self._say(f"Tiled is away ({text}); it is asked again every {self._poll:g} s")

    def _drop(self) -> None:
        """Let go of everything that hangs on the connection; open runs are found again."""
        root, self._root = self._root, None
        if root is not None:
            root.close()
        for streams in self._open.values():
            for stream in streams:
                stream.close()
            streams.clear()
        self._runs = None
        self.streaming = False
        self._looked = 0.0


def _quietly(call: Callable[[], Any]) -> None:
    try:
        call()
    except Exception as error:  # of a connection that is dropped because it is broken
        _log.debug("a subscription ended with an error (%s)", redacted(str(error))[:200])
