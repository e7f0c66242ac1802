"""`examine`: is everything there that an unattended agent needs? A line each, with the remedy."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Literal

from eg_agent import __version__
from eg_agent.errors import EgAgentError
from eg_agent.operations.logs import SECRETS

Grade = Literal["ok", "warning", "failed", "skipped"]

#: Clocks that differ by more than this put runs and decisions into a wrong order, seconds.
SKEW_LIMIT = 2.0

#: Free space below which a shift's journal may not fit, bytes.
SPACE_LIMIT = 2e9

#: What is installed of these is named; the first ones must be there.
_PACKAGES = ("bluesky", "tiled", "torch", "bluesky-queueserver", "bluesky-queueserver-api", "redis")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. remedy: what to do, empty when nothing is wrong."""

    what: str
    grade: Grade
    said: str
    remedy: str = ""


class _Problem(Exception):
    """A check failed: what was found, what to do, and how bad it is."""

    def __init__(self, said: str, remedy: str, grade: Grade = "failed") -> None:
        super().__init__(said)
        self.said, self.remedy = said, remedy
        self.grade: Grade = grade


@dataclass(frozen=True)
class Place:
    """What is to be examined; empty where there is none."""

    records: Path
    tiled: str = ""
    queue: str = ""
    group: str = "agents"
    plan: str = "eg_measure"
    redis: str = ""
    checkpoint: str = "default"


_Check = tuple[str, Callable[[Place], str]]


def examine(place: Place) -> Iterator[Finding]:
    """Look at everything, one finding after the other; never raises."""
    here: list[_Check] = [
        ("versions", _versions),
        ("checkpoint", _checkpoint),
        ("records", _records),
        ("disk", _disk),
        ("ledger", _ledger),
    ]
    for what, check in here:
        yield _finding(what, check, place)
    tiled: list[_Check] = [("Tiled", _tiled), ("Tiled's clock", _tiled_clock), ("Tiled's events", _events)]
    queue: list[_Check] = [("queue", _queue), ("permissions", _permissions), ("environment", _environment)]
    redis: list[_Check] = [("Redis", _redis), ("Redis' disk", _redis_disk), ("Redis' clock", _redis_clock)]
    for address, ((server, answers), *more) in (
        (place.tiled, tiled),
        (place.queue, queue),
        (place.redis, redis),
    ):
        if not address:
            yield Finding(server, "skipped", "not given")
            continue
        found = _finding(server, answers, place)
        yield found
        for what, check in more:
            # What does not answer would only be waited for, and said, again.
            asked = found.grade != "failed"
            yield _finding(what, check, place) if asked else Finding(what, "skipped", f"see {server}")


def _finding(what: str, check: Callable[[Place], str], place: Place) -> Finding:
    try:
        return Finding(what, "ok", SECRETS.without(check(place)))
    except _Problem as problem:
        return Finding(what, problem.grade, SECRETS.without(problem.said), problem.remedy)
    except EgAgentError as error:
        return Finding(what, "failed", SECRETS.without(str(error)), "see the message")
    except Exception as error:
        said = (str(error).splitlines() or [""])[0]
        return Finding(
            what, "failed", SECRETS.without(f"{type(error).__name__}: {said}")[:300], "see the message"
        )


def _versions(place: Place) -> str:
    found, missing = [f"eg-agent {__version__}", f"Python {platform.python_version()}"], []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing and place.queue:
        raise _Problem(f"{', '.join(found)}; missing: {', '.join(missing)}", "pip install 'eg-agent[queue]'")
    return ", ".join(found)


def _checkpoint(place: Place) -> str:
    from eg_agent.model import Classifier

    began = time.monotonic()
    try:
        model = Classifier.load(place.checkpoint)
    except EgAgentError as error:
        raise _Problem(
            str(error), "give --checkpoint the name of a shipped checkpoint, or its path"
        ) from None
    return f"{place.checkpoint}: {model.checkpoint_hash[:8]}, loaded in {time.monotonic() - began:.1f} s"


def _records(place: Place) -> str:
    folder, test = place.records, place.records / ".doctor"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        test.write_text("x")
        test.unlink()
    except OSError as error:
        raise _Problem(
            f"{folder}: {error.strerror}", "give --records a folder that this user may write"
        ) from None
    if os.name == "posix" and folder.stat().st_mode & 0o002:
        raise _Problem(
            f"{folder}: everybody may write there, and so approve decisions", f"chmod o-w {folder}", "warning"
        )
    return f"{folder}: may be written"


def _disk(place: Place) -> str:
    free = shutil.disk_usage(place.records if place.records.exists() else place.records.parent).free
    if free < SPACE_LIMIT:
        raise _Problem(
            f"{free / 1e9:.1f} GB are free for the records",
            "free some space, or give --records another disk: without a ledger nothing is decided",
            "warning" if free > 1e8 else "failed",
        )
    return f"{free / 1e9:.0f} GB free for the records"


def _ledger(place: Place) -> str:
    from eg_agent.records.ledger import DecisionRow, read_ledger

    path = place.records / "ledger.jsonl"
    if not path.exists():
        return "none yet"
    rows = list(read_ledger(path))
    return f"{len(rows)} rows, {sum(isinstance(row, DecisionRow) for row in rows)} decisions, all readable"


def _tiled(place: Place) -> str:
    from eg_agent.records.runs import Runs, TiledAway
    from eg_agent.records.tiled_client import denied

    try:
        runs = Runs(place.tiled)
        count = runs.count()
    except TiledAway as error:
        said = str(error)
        remedy = (
            "the key is wrong or missing: set TILED_API_KEY, or --tiled-key-file"
            if denied(said)
            else "start Tiled, or give --tiled its URI (http://HOST:8000)"
        )
        raise _Problem(said, remedy) from None
    context: Any = runs.client.context
    version = getattr(context.server_info, "library_version", "?")
    return f"{context.api_uri} serves {count} runs, version {version}"


def _http(uri: str) -> Any:
    import httpx

    base = uri.partition("?")[0].partition("/api/v1")[0]
    return httpx.get(f"{base}/healthz", timeout=5.0)


def _tiled_clock(place: Place) -> str:
    before = time.time()
    answer = _http(place.tiled)
    middle = (before + time.time()) / 2
    stamp = answer.headers.get("date")
    if stamp is None:
        raise _Problem("Tiled does not say what time it is", "nothing: compare the clocks by hand", "warning")
    # The header has whole seconds: half of one is added, as it was cut off.
    return _skew(middle - (parsedate_to_datetime(stamp).timestamp() + 0.5), resolution=1.0)


def _skew(seconds: float, resolution: float = 0.0) -> str:
    if abs(seconds) > SKEW_LIMIT + resolution:
        raise _Problem(
            f"this clock is {abs(seconds):.1f} s {'ahead' if seconds > 0 else 'behind'}",
            "let NTP keep both hosts (timedatectl set-ntp true)",
            "warning",
        )
    return f"differs by {abs(seconds):.1f} s"


def _events(place: Place) -> str:
    from eg_agent.records.catalog import Stream
    from eg_agent.records.runs import Runs

    stream = Stream(Runs(place.tiled).client, lambda update: None, replay=False)
    time.sleep(1.0)
    alive = stream.alive
    stream.close()
    if not alive:
        raise _Problem(
            "the subscription ended at once: the agent polls instead, which costs up to 0.5 s a run",
            "give Tiled a streaming cache (streaming_cache in its config)",
            "warning",
        )
    return "runs are announced as they begin and end"


def _manager(place: Place) -> Any:
    from eg_agent.queue.manager import QueueManager

    return QueueManager(place.queue, group=place.group)


def _queue(place: Place) -> str:
    from eg_agent.queue.manager import QueueAway, QueueRefused

    manager = _manager(place)
    try:
        status = manager.status()
    except QueueAway as error:
        raise _Problem(str(error), "start the RE Manager, or give --queue its control address") from None
    except QueueRefused as error:
        raise _Problem(
            str(error), "set QSERVER_HTTP_SERVER_API_KEY to a key that may read the status"
        ) from None
    finally:
        manager.close()
    if status.locked:
        raise _Problem(f"{status.version}: the queue is locked", "qserver unlock queue -k KEY", "warning")
    return f"{status.version}, {status.manager}"


def _permissions(place: Place) -> str:
    from eg_agent.queue.manager import QueueRefused

    manager = _manager(place)
    try:
        allowed = sorted(manager.allowed())
        exists = manager.status().environment_exists
    except QueueRefused as error:
        raise _Problem(str(error), f"add the group {place.group!r} to user_group_permissions.yaml") from None
    finally:
        manager.close()
    if place.plan not in allowed:
        remedy = (
            f"allow {place.plan!r} in user_group_permissions.yaml, then qserver permissions reload"
            if exists
            else "open the environment once: the manager then knows its plans"
        )
        raise _Problem(
            f"the group {place.group!r} may not use {place.plan!r}, but {', '.join(allowed) or 'nothing'}",
            remedy,
        )
    if len(allowed) > 5:
        raise _Problem(
            f"the group {place.group!r} may use {len(allowed)} plans",
            "give the agents a group of their own with the one plan they need",
            "warning",
        )
    return f"the group {place.group!r} may use {', '.join(allowed)}"


def _environment(place: Place) -> str:
    manager = _manager(place)
    try:
        status = manager.status()
        if not status.environment_exists:
            raise _Problem("closed", "qserver environment open, or [queue] environment = 'open'", "warning")
        if not manager.worker_answers():
            raise _Problem(
                "its worker does not answer",
                "qserver environment destroy, then open; or [queue] environment = 'recover'",
            )
    finally:
        manager.close()
    return f"{status.environment}, its worker answers"


def _redis_client(place: Place) -> Any:
    import redis

    return redis.Redis.from_url(
        place.redis, decode_responses=True, socket_timeout=3, socket_connect_timeout=3
    )


def _redis(place: Place) -> str:
    import redis

    try:
        info = _redis_client(place).info("server")
    except redis.AuthenticationError as error:
        raise _Problem(str(error), "put the URL with its password into EG_AGENT_REDIS") from None
    except redis.RedisError as error:
        raise _Problem(f"{type(error).__name__}: {error}", "start Redis, or give --redis its URL") from None
    return f"version {info['redis_version']}"


def _redis_disk(place: Place) -> str:
    found = _redis_client(place).info("persistence")
    if not int(found.get("aof_enabled", 0)):
        raise _Problem(
            "it keeps nothing at once: queue, lease and claims are lost with it",
            "appendonly yes and appendfsync always in redis.conf",
            "warning",
        )
    return "every write is kept (append-only file)"


def _redis_clock(place: Place) -> str:
    client = _redis_client(place)
    before = time.time()
    seconds, micro = client.time()
    return _skew((before + time.time()) / 2 - (seconds + micro / 1e6))
