"""Kills what a facility consists of, and starts again what has died, as systemd does."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from accounts import ENDLESS, Account, account, finish
from facility import AgentProcess, Facility, wait_for

#: A shift whose runs take seconds of real time, so that what is killed is killed in their middle, and that
#: goes on by itself after whatever ends.
EXPOSED = {"seconds": 20.0, "two_theta": (29.0, 37.0)}
RECOVERS = '[queue]\nenvironment = "recover"\ndead_after = 6.0\n[failure]\nretries = 50\n'

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


@dataclass
class Killed:
    """What a kill met and what came of it; `at`: seconds since the first, `after`: until the next answer."""

    what: str
    at: float
    during: str
    started: list[str] = field(default_factory=list)
    after: float | None = None
    said: str = ""

    def __str__(self) -> str:
        after = "     -" if self.after is None else f"{self.after:6.1f}"
        by = ", ".join(self.started) or "its watchdog"
        return f"{self.what:9} {self.at:6.0f}  {self.during:18} {by:24} {after}  {self.said}"


HEADER = (
    "killed      at s  during             started again            answered again after s, saying meanwhile"
)


@dataclass
class Kills:
    """Kills one target after the other, each when the loop goes on again, and writes down what happened.

    show: takes each row as it is made. limit: seconds that the loop may take to answer another run.
    """

    facility: Facility
    agent: AgentProcess
    show: Callable[[str], object]
    limit: float = 600.0
    began: float = field(default_factory=time.monotonic)
    rows: list[Killed] = field(default_factory=list)

    def one(self, what: str) -> bool:
        """Kill a target and wait until another run is answered; False when the shift was finished before."""
        if self._finished():
            return False
        before = self._answers()
        row = Killed(what, time.monotonic() - self.began, self._during())
        if kill(self.facility, what):
            self._goes_on(row, before)
        else:
            row.said = "was not there"
        self.rows.append(row)
        self.show(str(row))
        return True

    def measuring(self, seconds: float = 0.3) -> None:
        """Wait until something is measured, and so much longer."""
        wait_for("a run", lambda: self._during() == "measuring" or self._finished(), 600)
        time.sleep(seconds)

    def summary(self) -> Iterable[str]:
        """A line a target: how often, in the middle of what, seconds until the next answer."""
        for what in dict.fromkeys(row.what for row in self.rows):
            mine = [row for row in self.rows if row.what == what]
            after = sorted(row.after for row in mine if row.after is not None)
            during = ", ".join(f"{n} {name}" for name, n in Counter(row.during for row in mine).items())
            middle = after[len(after) // 2] if after else float("nan")
            longest = max(after, default=float("nan"))
            yield (
                f"{what:9} {len(mine):3} times ({during}): "
                f"answered again after {middle:.0f} s in the median, {longest:.0f} s at most"
            )

    def _during(self) -> str:
        """What the RE Manager does at this moment."""
        try:
            status = self.facility.manager.ask("status")
        except Exception:
            return "manager away"
        return "measuring" if status["manager_state"] == "executing_queue" else status["manager_state"]

    def _answers(self) -> int:
        return sum(row["kind"] == "decision" for row in self.agent.rows())

    def _finished(self) -> bool:
        try:
            return bool(self.agent.health()["finished"])
        except Exception:
            return False

    def _goes_on(self, row: Killed, before: int) -> None:
        began, said = time.monotonic(), ""
        while time.monotonic() - began < self.limit:
            row.started += revive(self.facility)
            if self._answers() > before or self._finished():
                row.after, row.said = time.monotonic() - began, said
                return
            with contextlib.suppress(Exception):
                health = self.agent.health()
                said = ", ".join(health["waiting"]) or said
                assert not health["held"], health
            time.sleep(0.25)
        raise AssertionError(
            f"the loop did not go on after {row.what} was killed: {self.agent.tail()}\n"
            f"{self.facility.manager.tail(10)}"
        )


class Pair:
    """Two agents with a lease in Redis; `falls` lets something happen to the one that acts."""

    def __init__(self, facility: Facility, path: Path, name: str, lease: float = 4.0) -> None:
        options = {"identifier": ENDLESS, "redis": facility.redis.url, "lease": lease}
        self.facility = facility
        self.name = name
        self.lease = lease
        self.agents = [facility.agent(path, f"{name}-{n}", **options) for n in (1, 2)]
        self.events: list[tuple[str, float]] = []

    def __enter__(self) -> Pair:
        one, two = self.agents
        one.start()
        wait_for("the first to act", lambda: one.health()["role"] == "acting")
        two.start()
        return self

    def __exit__(self, *exc: object) -> None:
        for agent in self.agents:
            if agent.process is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(agent.process.pid, signal.SIGCONT)
            agent.stop()

    def acting(self) -> AgentProcess:
        """The one that acts, waited for."""
        box: list[AgentProcess] = []

        def one_acts() -> bool:
            box[:] = [agent for agent in self.agents if role(agent) == "acting"]
            return len(box) == 1

        wait_for("one agent to act", one_acts, 600)
        return box[0]

    def answers(self, more: int) -> None:
        """Wait until the one that acts has answered so many more runs, or the shift is finished."""
        agent = self.acting()
        before = agent.health()["runs_answered"]

        def enough() -> bool:
            health = agent.health()
            return health["runs_answered"] >= before + more or health["finished"]

        wait_for(f"{more} answers", enough, 600)

    def falls(self, fate: str) -> None:
        """Kill the one that acts, or freeze it until another acts, and let it come back."""
        agent = self.acting()
        other = next(a for a in self.agents if a is not agent)
        token, began = agent.health()["token"], time.monotonic()
        if fate == "killed":
            agent.kill()
        else:
            assert agent.process is not None
            os.killpg(agent.process.pid, signal.SIGSTOP)
        wait_for("the other to act", lambda: other.health()["role"] == "acting", 600)
        assert other.health()["token"] > token
        self.events.append((fate, time.monotonic() - began))
        if fate == "killed":
            agent.start()
        else:
            os.killpg(agent.process.pid, signal.SIGCONT)
            # It slept through its lease: whatever it was about to say is not taken any more.
            wait_for("the woken one to stand by", lambda: agent.health()["role"] == "standby", 600)

    def finish(self, seconds: float) -> None:
        """Wait until the shift is finished and both ledgers have all of it."""
        agent = self.acting()
        finish(agent, seconds)
        length = len(agent.rows())
        wait_for("the same ledger", lambda: {len(a.rows()) for a in self.agents} == {length}, 120)

    def accounts(self) -> tuple[Account, Account]:
        """What became of the shift, by the ledger of each."""
        first = account(self.facility, self.agents[0], self.name)
        return first, Account(first.runs, self.agents[1].rows())

    def told(self) -> str:
        """What happened, and after how many seconds the other acted."""
        return ", ".join(f"{fate}: another acts after {after:.1f} s" for fate, after in self.events)


def role(agent: AgentProcess) -> str:
    """`acting` or `standby`, "" for one that does not answer."""
    try:
        return agent.health()["role"]
    except Exception:
        return ""
