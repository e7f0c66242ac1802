"""An agent that is killed at chosen moments and started again; `test_faults.py` reads its ledger.

`python kill_at.py FOLDER POINT ...`: for each point a process measures samples with `identify` in mode "act"
and is killed (SIGKILL) at that step, in per mille of all steps of a whole session. Steps are before and after
every write to the journal and to the ledger. Then another process starts an agent on the same records and
answers what is left. Forked from one process that has imported everything, so that it takes seconds.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import beamline
from bluesky import RunEngine

from eg_agent.agent import Agent
from eg_agent.decide import Limits
from eg_agent.records import Policy
from eg_agent.records.journal import Journal
from eg_agent.records.ledger import Ledger
from plans import identify

LIMITS = Limits(two_theta=(10.0, 60.0), max_repeats=2)


def agent(records: Path) -> Agent:
    """The same agent before and after."""
    return Agent(
        records=records,
        mode="act",
        identifier=beamline.FAST,
        policy=Policy(limits=LIMITS),
        announce=None,
        listeners=(),
    )


class Steps:
    """Counts the writes to the disk, and kills the process at one of them."""

    def __init__(self, kill_at: int) -> None:
        self.count = 0
        self.kill_at = kill_at
        for owner, name in ((Journal, "append"), (Ledger, "append")):
            setattr(owner, name, self.around(getattr(owner, name)))

    def step(self) -> None:
        self.count += 1
        if self.count == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, call):
        def counted(*args, **kwargs):
            self.step()
            found = call(*args, **kwargs)
            self.step()
            return found

        return counted


def session(records: Path, kill_at: int, counted: Path | None = None) -> None:
    """Measure two samples, one of which is counted again and again; killed on the way."""
    steps = Steps(kill_at)
    measuring = agent(records)
    RE = RunEngine({})
    RE.subscribe(measuring)
    RE(
        identify(
            beamline.Diffractometer(name="diff"),
            measuring,
            ["dim", "bright"],
            limits=LIMITS,
            two_theta=(10.0, 60.0),
            step=0.5,
            seconds_per_point=1.0,
            shape="trace",
            answer_timeout=120.0,
        )
    )
    measuring.close()
    if counted is not None:
        counted.write_text(str(steps.count))


def again(records: Path) -> None:
    """What a restart does: answer what is left."""
    restarted = agent(records)
    if not restarted.wait(200):
        os._exit(3)
    restarted.close()


def forked(call, *args) -> int:
    """The wait status of a process that does this."""
    pid = os.fork()
    if pid == 0:
        try:
            call(*args)
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(pid, 0)[1]


def main() -> None:
    folder, points = Path(sys.argv[1]), [int(text) for text in sys.argv[2:]]
    counted = folder / "steps"
    assert forked(session, folder / "whole", -1, counted) == 0
    total = int(counted.read_text())
    for point in points:
        records = folder / f"at-{point}"
        status = forked(session, records, max(1, total * point // 1000))
        assert os.WIFSIGNALED(status), f"{point}: not killed, {status}"
        assert forked(again, records) == 0


if __name__ == "__main__":
    main()
