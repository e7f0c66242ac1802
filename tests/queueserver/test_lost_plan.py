"""A manager whose Redis dies while it writes down that a plan ended waits for that plan for good."""

from __future__ import annotations

import os
import signal
import time

import pytest
from accounts import ENDLESS, account, finish
from accounts import assert_nothing_twice_and_nothing_lost as assert_nothing_twice
from facility import wait_for
from supervise import EXPOSED

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def test_an_agent_says_so_and_one_that_may_recover_frees_the_queue(facility, shift):
    """Redis is frozen while a run is measured and killed when the run has ended, so that its end is lost."""
    name, path = shift(1, more='[queue]\nenvironment = "wait"\ndead_after = 6.0\n', repeats=3, **EXPOSED)
    agent = facility.agent(path, name, identifier=ENDLESS)
    agent.start()
    try:
        wait_for("the first answer", lambda: agent.health()["runs_answered"] >= 1, 600)
        wait_for("a run", lambda: facility.manager.ask("status")["re_state"] == "running", 600)
        os.kill(facility.redis.process.pid, signal.SIGSTOP)
        wait_for("its end", lambda: facility.manager.ask("status")["re_state"] == "idle", 600)
        # It asks its worker for the report, then Redis: before that, a new Redis would only be a short break.
        time.sleep(2.0)
        facility.redis.kill()
        facility.redis.start()

        def told() -> bool:
            return "its worker has been idle" in agent.health()["waiting"].get("environment", "")

        wait_for("the agent to say so", told, 120, lambda: facility.seen(agent))
        assert facility.manager.ask("status")["manager_state"] == "executing_queue"
        agent.process.terminate()
        assert agent.process.wait(60) == 0
        path.write_text(path.read_text().replace('"wait"', '"recover"'))
        agent.start()
        finish(agent, 600.0)
        found = account(facility, agent, name)
    finally:
        agent.stop()
    assert_nothing_twice(found)
    assert len(found.successes) == 4
    notes = [row["text"] for row in found.rows if row["kind"] == "note" and row["what"] == "recovering"]
    assert notes == [
        "the manager has lost the end of its plan: environment destroyed",
        "the environment is closed: environment opened",
    ]
