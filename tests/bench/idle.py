"""`python tests/bench/idle.py [--what PART ...] [--seconds 300] [--json]`: what an agent takes when idle.

idle      it acts on a shift, every run is answered, nothing is queued
worked    the same after it has measured and answered a sample, and written its entries into Tiled
waiting   a decision is open and cannot be carried out: the queue is locked, for hours perhaps
standby   another agent acts
away      Tiled is away

Real servers (Redis, PostgreSQL where there is one, Tiled, RE Manager with its environment open) and the
shipped network. Processor time is that of the agent and of its worker together; memory is resident, once
with what processes share counted in each (rss) and once with it shared out (pss).
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    _root = Path(__file__).resolve().parents[2]
    sys.path[:0] = [str(_root), *(str(_root / "tests" / name) for name in ("beamline", "queueserver"))]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_root), os.environ.get("PYTHONPATH", "")]))

#: A shift that answers what others measure, and one that has a first scan to queue.
_IDLE = '[shift]\nname = "idle"\nanswer = "all"\n[limits]\ntwo_theta = [5.0, 90.0]\n'
_WORKED = (
    '[shift]\nname = "worked"\nsamples = ["scheelite"]\nstep = 0.05\n'
    "[shift.cells]\nscheelite = [5.2438, 5.2438, 11.3757, 90.0, 90.0, 90.0]\n"
    "[limits]\ntwo_theta = [15.0, 60.0]\nmax_repeats = 2\n"
)
_WAITING = '[shift]\nname = "waiting"\nsamples = ["scheelite"]\n[limits]\ntwo_theta = [5.0, 90.0]\n'


def usage(pid: int) -> tuple[float, float, float, int]:
    """Processor seconds, resident megabytes (rss, pss) and threads of a process and all below it."""
    import psutil

    top = psutil.Process(pid)
    seconds = rss = pss = 0.0
    threads = 0
    for process in [top, *top.children(recursive=True)]:
        seconds += sum(process.cpu_times()[:2])
        memory = process.memory_full_info()
        rss += memory.rss / 1e6
        pss += getattr(memory, "pss", memory.uss) / 1e6
        threads += process.num_threads()
    return seconds, rss, pss, threads


def watched(pid: int, seconds: float) -> dict[str, Any]:
    """What a process takes in so many seconds."""
    before, began = usage(pid)[0], time.monotonic()
    time.sleep(seconds)
    spent, rss, pss, threads = usage(pid)
    took = time.monotonic() - began
    return {
        "percent_of_a_core": round(100.0 * (spent - before) / took, 3),
        "seconds": round(took, 1),
        "rss_mb": round(rss, 1),
        "pss_mb": round(pss, 1),
        "threads": threads,
    }


def settled(pid: int, limit: float = 600.0) -> None:
    """Wait until the network is loaded, and nothing more is done for ten seconds but what is always done."""
    import psutil

    began = time.monotonic()
    while time.monotonic() - began < limit:
        before = usage(pid)[0]
        time.sleep(10.0)
        loaded = any(p.memory_info().rss > 200e6 for p in psutil.Process(pid).children(recursive=True))
        if loaded and usage(pid)[0] - before < 1.5:
            return
    raise TimeoutError("the agent did not come to rest")


def measure(what: list[str], seconds: float) -> dict[str, Any]:
    """All parts, one after the other."""
    from facility import Facility, wait_for

    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, Facility(Path(folder) / "facility") as facility:
        facility.manager.open_environment()
        idle = facility.settings(_IDLE, "idle.toml")
        waiting = facility.settings(_WAITING, "waiting.toml")

        def of_agent(path: Path, name: str, ready: Callable[[Any], bool], **options: Any) -> dict[str, Any]:
            agent = facility.agent(path, name, **options)
            agent.start()
            try:
                wait_for(name, lambda: ready(agent.health()), 600)
                settled(agent.process.pid)  # type: ignore[union-attr]
                if name == "away":
                    facility.tiled.kill()
                    wait_for("the outage to be noticed", lambda: "tiled" in agent.health()["waiting"], 300)
                return watched(agent.process.pid, seconds)  # type: ignore[union-attr]
            finally:
                agent.stop()

        def acts(health: dict[str, Any]) -> bool:
            return health["role"] == "acting"

        if "idle" in what:
            found["idle"] = of_agent(idle, "idle", acts)
        if "worked" in what:
            worked = facility.settings(_WORKED, "worked.toml")
            found["worked"] = of_agent(
                worked, "worked", lambda health: health["finished"] and not health["identifications_wait"]
            )
        if "waiting" in what:
            facility.manager.ask("lock", environment=False, queue=True, user="ada", lock_key="of-ada")
            found["waiting"] = of_agent(waiting, "waiting", lambda health: "lock" in health["waiting"])
            facility.manager.ask("unlock", lock_key="of-ada")
        if "standby" in what:
            options = {"redis": facility.redis.url}
            first = facility.agent(idle, "first", **options)
            first.start()
            wait_for("the first to act", lambda: acts(first.health()), 600)
            second = facility.agent(idle, "second", **options)
            second.start()
            time.sleep(20.0)
            assert not acts(second.health())
            found["standby"] = watched(second.process.pid, seconds)  # type: ignore[union-attr]
            first.stop()
            second.stop()
        if "away" in what:
            found["away"] = of_agent(idle, "away", acts)
    return found


def main() -> None:
    """Measure, and print a line for each part or one JSON object."""
    from tests.bench.telling import positive, tell

    parts = ("idle", "worked", "waiting", "standby", "away")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--what", nargs="+", choices=parts, default=list(parts))
    parser.add_argument("--seconds", type=positive, default=300.0)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    # Ended from outside it must not leave servers behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    found = measure(asked.what, asked.seconds)
    tell({**found, "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1)}, as_json=asked.json)


if __name__ == "__main__":
    main()
