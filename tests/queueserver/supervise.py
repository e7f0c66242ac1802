"""What systemd does for a facility: whatever has died is started again, as it was."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time

import psutil
from facility import Facility

#: Whatever a test may kill. The first is the agent; "worker" is the process that runs the plans.
TARGETS = ("agent", "manager", "worker", "tiled", "redis", "postgres")


def victim(facility: Facility, what: str) -> int | None:
    """Process id of a target; None when there is none now."""
    if what in ("manager", "worker"):
        assert facility.manager.process is not None
        children = psutil.Process(facility.manager.process.pid).children()
        alive = [c for c in children if c.status() != psutil.STATUS_ZOMBIE]
        ordered = sorted(alive, key=lambda child: child.memory_info().rss)
        if len(ordered) < 2:
            return None
        return (ordered[0] if what == "manager" else ordered[-1]).pid
    server = facility.agents[0] if what == "agent" else getattr(facility, what)
    return None if server is None or server.process is None else server.process.pid


def kill(facility: Facility, what: str) -> bool:
    """Kill a target without its consent, and what belongs to it."""
    with contextlib.suppress(psutil.Error, ProcessLookupError):
        pid = victim(facility, what)
        if pid is None:
            return False
        if what in ("manager", "worker"):
            os.kill(pid, signal.SIGKILL)
        else:
            os.killpg(pid, signal.SIGKILL)
        return True
    return False


def revive(facility: Facility) -> list[str]:
    """Start every server again that has ended; their names. Redis comes before the manager that needs it."""
    started = []
    for name, server in (
        ("redis", facility.redis),
        ("postgres", facility.postgres),
        ("tiled", facility.tiled),
        ("manager", facility.manager),
        *(("agent", agent) for agent in facility.agents),
    ):
        if server is not None and server.process is not None and server.process.poll() is not None:
            server.kill()
            with contextlib.suppress(TimeoutError):  # it may need another that is down as well
                server.start(wait=60.0 if name != "agent" else 0.0)
            started.append(name)
    return started


def kill_sometimes(facility: Facility, rng: random.Random, pause: tuple[float, float], what: str) -> str:
    """Wait a random time, kill, and start again what has ended; returns what was killed, or ""."""
    time.sleep(rng.uniform(*pause))
    return what if kill(facility, what) else ""
