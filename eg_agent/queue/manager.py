"""`QueueManager`: a client of the RE Manager that survives it, and `QueueView`, what the queue holds now.

Speaks through bluesky-queueserver-api, by 0MQ (`tcp://host:60615`) or by HTTP (`http://host:60610`).
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from eg_agent.errors import BadInput, EgAgentError, MissingExtra
from eg_agent.records.tiled_client import redacted

_log = logging.getLogger(__name__)

Item = dict[str, Any]
Position = Literal["front", "back"]


#: What redis-py says where Redis does not serve; the manager passes it on as its reason for a refusal.
_STORE_AWAY = re.compile(
    r"\bError (\S+ )?(connecting to|while reading from|while writing to) |\bConnection closed by server"
    r"|\bTimeout (connecting to|reading from|writing to) |\bRedis is loading the dataset|\bMASTERDOWN\b"
)


class QueueAway(EgAgentError):
    """The RE Manager, or the Redis behind it, gave no answer: whether it carried out the request is not
    known."""


class QueueRefused(EgAgentError):
    """The RE Manager said no; the message is its reason."""


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """The status of an RE Manager, as far as the loop uses it.

    manager: `idle`, `executing_queue`, `paused`, ... environment: `closed`, `idle`, `executing_plan`, ...
    stopping: a person asked the queue to stop after the running plan. locked: additions are locked.
    life: changes when the manager's process is another one (or its lists of plans are).
    """

    manager: str
    environment: str
    environment_exists: bool
    autostart: bool
    stopping: bool
    locked: bool
    run_engine: str = ""
    version: str = ""
    history_uid: str = ""
    queue_uid: str = ""
    life: str = ""


@dataclass(frozen=True, slots=True)
class QueueView:
    """Queue, running item and history of one moment; an item that moves meanwhile is in one of them."""

    status: QueueStatus
    items: tuple[Item, ...] = ()
    running: Item | None = None
    history: tuple[Item, ...] = field(default=(), repr=False)

    def queued(self, decision_id: str) -> list[Item]:
        """Items of a decision that wait, in the order of the queue."""
        return [item for item in self.items if decision_of(item) == decision_id]

    def ended(self, decision_id: str) -> list[Item]:
        """Items of a decision in the history, oldest first."""
        return [item for item in self.history if decision_of(item) == decision_id]

    def is_running(self, decision_id: str) -> bool:
        """Whether the running item carries out a decision."""
        return self.running is not None and decision_of(self.running) == decision_id


def decision_of(item: Mapping[str, Any]) -> str:
    """The decision that an item carries out: `eg_decision_id` in its metadata, or ""."""
    return str(_metadata(item).get("eg_decision_id", ""))


def attempt_of(item: Mapping[str, Any]) -> int:
    """Which attempt an item is, from 1."""
    return int(_metadata(item).get("eg_attempt", 1))


def _metadata(item: Mapping[str, Any]) -> Mapping[str, Any]:
    meta = item.get("meta") or {}
    if "eg_decision_id" in meta:
        return meta
    return (item.get("kwargs") or {}).get("md") or {}


class QueueManager:
    """One RE Manager. Methods raise QueueAway when it does not answer, QueueRefused when it says no.

    address: `tcp://host:port` (0MQ) or `http(s)://host:port` (bluesky-httpserver). group, user: what items
        are added as (by HTTP, the server goes by the key). key: of the HTTP server, by default
        $QSERVER_HTTP_SERVER_API_KEY. An encrypted 0MQ channel's public key: $QSERVER_ZMQ_PUBLIC_KEY.
    One thread uses it. After a request that was not answered the connection is made anew, as an open 0MQ
    client does not recover when its manager was restarted.
    """

    def __init__(
        self,
        address: str,
        *,
        group: str,
        user: str = "eg-agent",
        key: str | None = None,
        timeout: float = 5.0,
    ) -> None:
        scheme = address.partition("://")[0]
        if scheme not in ("tcp", "http", "https"):
            raise BadInput(
                f"{redacted(address)} is no address of a queue server: give tcp://HOST:60615 or http://HOST:60610."
            )
        self.address = address
        self.group = group
        self.user = user
        self._key = key or os.environ.get("QSERVER_HTTP_SERVER_API_KEY", "")
        self._http = scheme != "tcp"
        self._timeout = timeout
        self._api: Any = None
        self._history: tuple[str, tuple[Item, ...]] = ("", ())

    def _connected(self) -> Any:
        if self._api is None:
            try:
                if self._http:
                    from bluesky_queueserver_api.http import REManagerAPI

                    self._api = REManagerAPI(http_server_uri=self.address, timeout=self._timeout)
                    if self._key:
                        self._api.set_authorization_key(api_key=self._key)
                else:
                    from bluesky_queueserver_api.zmq import REManagerAPI

                    self._api = REManagerAPI(zmq_control_addr=self.address, timeout_recv=self._timeout)
            except ImportError as error:
                if "bluesky_queueserver" in str(error):
                    raise MissingExtra("the queue server's client", "queue") from None
                raise
        return self._api

    @contextlib.contextmanager
    def _asking(self) -> Iterator[Any]:
        api = self._connected()
        try:
            yield api
        except api.RequestFailedError as error:
            said = _said(error)
            if store_is_away(said):
                raise QueueAway(f"the RE Manager has lost its Redis: {said}") from None
            raise QueueRefused(said) from None
        except api.RequestTimeoutError as error:
            self.close()
            raise QueueAway(f"no answer from {redacted(self.address)} within {self._timeout:g} s") from error
        except api.HTTPClientError as error:
            said = redacted(str(error)).splitlines()[0][:300]
            if said.startswith(("401", "403")):
                said = f"{said}: set QSERVER_HTTP_SERVER_API_KEY to a key that may do this"
            raise QueueRefused(said) from None
        except Exception as error:
            self.close()
            raise QueueAway(redacted(f"{type(error).__name__}: {error}").splitlines()[0][:300]) from None

    def _call(self, ask: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        with self._asking() as api:
            return ask(api)

    def status(self) -> QueueStatus:
        """The manager's status, asked now."""
        found = self._call(lambda api: api.status(reload=True))
        return QueueStatus(
            manager=str(found["manager_state"]),
            environment=str(found.get("worker_environment_state") or "closed"),
            environment_exists=bool(found["worker_environment_exists"]),
            autostart=bool(found.get("queue_autostart_enabled", False)),
            stopping=bool(found["queue_stop_pending"]),
            locked=bool(found.get("lock", {}).get("queue", False)),
            run_engine=str(found.get("re_state") or ""),
            version=str(found.get("msg", "")),
            history_uid=str(found.get("plan_history_uid", "")),
            queue_uid=str(found.get("plan_queue_uid", "")),
            life=str(found.get("plans_existing_uid", "")),
        )

    def view(self) -> QueueView:
        """Queue and running item first, history after: nothing is lost between them."""
        found = self._call(lambda api: api.queue_get(reload=True))
        running = found.get("running_item") or None
        status = self.status()
        if not status.history_uid or self._history[0] != status.history_uid:
            told = self._call(lambda api: api.history_get(reload=True))
            self._history = (str(told.get("plan_history_uid", "")), tuple(told["items"]))
        return QueueView(status, tuple(found["items"]), running, self._history[1])

    def allowed(self) -> dict[str, Any]:
        """Plans that the group may use, by name. Raises QueueRefused for a group that is unknown."""
        if self._http:  # the server answers for the group of the key
            return dict(self._call(lambda api: api.plans_allowed(reload=True))["plans_allowed"])
        return dict(
            self._call(lambda api: api.plans_allowed(reload=True, user_group=self.group))["plans_allowed"]
        )

    def knows_plans(self) -> bool:
        """Whether the manager has a list of plans at all, whoever may use them."""
        return bool(self._call(lambda api: api.plans_existing(reload=True))["plans_existing"])

    def add(self, item: Item, position: Position) -> Item:
        """Add an item; returns it with its `item_uid`."""
        return self._call(
            lambda api: api.item_add(item, pos=position, user=self.user, user_group=self.group)
        )["item"]

    def update(self, item: Item) -> Item:
        """Replace the item of the same uid, which gets a new one."""
        return self._call(
            lambda api: api.item_update(item, replace=True, user=self.user, user_group=self.group)
        )["item"]

    def remove(self, item_uid: str) -> None:
        """Take an item out of the queue."""
        self._call(lambda api: api.item_remove(uid=item_uid))

    def start(self) -> None:
        """Start the queue; that it runs already is no error."""
        try:
            self._call(lambda api: api.queue_start())
        except QueueRefused as error:
            if self.status().manager not in ("executing_queue", "starting_queue"):
                raise error

    def worker_answers(self) -> bool:
        """Whether the worker process behind an open environment lives.

        The manager does not notice when it dies; what it cannot answer without the worker tells (by 0MQ
        only: over HTTP there is no such request, and a worker counts as alive).
        """
        if self._http:
            return True
        try:
            self._call(lambda api: api.send_request(method="re_metadata"))
        except QueueRefused as error:
            return "timeout" not in str(error).lower()
        return True

    def open_environment(self) -> None:
        """Ask for the environment to be opened; it takes seconds until it is."""
        self._call(lambda api: api.environment_open())

    def close_environment(self) -> None:
        """Ask for the environment to be closed, which an idle worker does by itself."""
        self._call(lambda api: api.environment_close())

    def destroy_environment(self) -> None:
        """Kill the worker's environment: the running item goes back into the queue."""
        self._call(lambda api: api.environment_destroy())

    def close(self) -> None:
        """Drop the connection; the next request makes another."""
        api, self._api = self._api, None
        if api is not None:
            # Closing is a courtesy to a manager that may be gone, and every client fails in its own way.
            with contextlib.suppress(Exception):
                api.close()


def store_is_away(said: str) -> bool:
    """Whether a manager that refuses with these words is without its Redis, which passes by itself."""
    return _STORE_AWAY.search(said) is not None


def _said(error: Exception) -> str:
    """The manager's reason in one line, without the dump of the plan that it appends."""
    text = str(error).removeprefix("Request failed: ").removeprefix("Failed to add an item: ")
    text = text.split("\nPlan:")[0]
    return redacted(" ".join(text.split()))[:400]
