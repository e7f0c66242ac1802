"""The closed loop with every process real: Redis, PostgreSQL, Tiled, RE Manager, agent.

They take tens of minutes, so they are run by hand: EG_AGENT_LONG_TESTS=1 pytest -s FILE.
How long the tests go on: EG_AGENT_ITERATIONS (50), EG_AGENT_RUNS (20, with two agents), EG_AGENT_KILLS (2 of
each target).
"""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
import time

import pytest
from facility import Account, AgentProcess, Facility, wait_for
from supervise import TARGETS, kill, revive

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(
        "EG_AGENT_LONG_TESTS" not in os.environ, reason="tens of minutes: by hand, with EG_AGENT_LONG_TESTS=1"
    ),
]

ITERATIONS = int(os.environ.get("EG_AGENT_ITERATIONS", "50"))
RUNS = int(os.environ.get("EG_AGENT_RUNS", "20"))
KILLS = int(os.environ.get("EG_AGENT_KILLS", "2"))

#: The beamline of the tests: an identifier that takes no time, so that the loop alone is measured.
FAST = "beamline:FastIdentifier"

#: It never says `identified` before the repeats are used up: a shift's length is then known beforehand.
ENDLESS = "patient:Patient"


def account(facility: Facility, agent: AgentProcess, name: str) -> Account:
    """What became of one shift."""
    return Account([doc for doc in facility.runs() if doc["start"].get("eg_shift") == name], agent.rows())


def finish(agent: AgentProcess, seconds: float) -> dict:
    """Wait until the shift is finished; the last word of its health."""

    def done() -> bool:
        health = agent.health()
        assert not health["held"], health
        return bool(health["finished"])

    try:
        wait_for("the shift", done, seconds)
    except TimeoutError as error:
        raise AssertionError(f"{error}: {agent.health()}\n{agent.tail()}") from None
    return agent.health()


def assert_each_decision_had_its_run(found: Account) -> None:
    """Every decision that leads to a measurement: exactly one successful run; no run without a decision."""
    leads_on = [
        work["decision_id"]
        for work in found.decided
        if not any(
            row["kind"] == "outcome"
            and row["decision_id"] == work["decision_id"]
            and (row["reason"].startswith("nothing is left") or row["status"] in ("refused", "expired"))
            for row in found.rows
        )
    ]
    assert set(found.successes) == {f"first-{found.runs[0]['start']['eg_shift']}", *leads_on}
    assert set(found.successes.values()) == {1}
    assert set(found.answered.values()) == {1}


def test_fifty_iterations_over_several_samples(facility, shift, capsys):
    """Every decision is matched to exactly one run; the time from a stop to the next start is printed."""
    repeats = 9
    samples = max(2, min(7, -(-ITERATIONS // (repeats + 1))))
    name, path = shift(samples, repeats=repeats, seconds=0.02)
    agent = facility.agent(path, name, identifier=ENDLESS)
    agent.start()
    try:
        wait_for("two answers", lambda: agent.health()["runs_answered"] >= 2, 600)
        before, answered = facility.processor_seconds(), agent.health()["runs_answered"]
        finish(agent, 60.0 + 30.0 * ITERATIONS)
        each = (facility.processor_seconds() - before) / (agent.health()["runs_answered"] - answered)
        found = account(facility, agent, name)
        metrics = agent.metrics()
    finally:
        agent.stop()
    assert len(found.runs) == samples * (repeats + 1)
    assert_each_decision_had_its_run(found)
    gaps = found.gaps()
    with capsys.disabled():
        sys.stdout.write(
            f"\n{len(found.runs)} runs of {samples} samples; stop to next start: "
            f"median {statistics.median(gaps):.2f} s, 90 % in {statistics.quantiles(gaps, n=10)[8]:.2f} s; "
            f"{each:.2f} s of processor time an iteration, all processes together; "
            f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n"
        )
    assert f"eg_agent_runs_answered_total {len(found.runs)}.0" in metrics
    assert "eg_agent_stop_to_submit_seconds_bucket" in metrics


def test_the_shipped_network_and_verifier_close_the_loop(facility, shift):
    """Not only the loop: real identifications decide, and a sample that is identified is left."""
    name, path = shift(2, seconds=0.5)
    agent = facility.agent(path, name)
    agent.start()
    try:
        finish(agent, 1500.0)
        found = account(facility, agent, name)
    finally:
        agent.stop()
    assert_each_decision_had_its_run(found)
    rows = [row for row in found.rows if row["kind"] == "decision" and row["identification"]]
    assert {row["sample"] for row in rows} == {doc["start"]["sample"] for doc in found.runs}
    assert all(row["identification"]["provenance"]["checkpoint"] != "fast" for row in rows)


def test_two_agents_answer_each_run_once_and_the_second_takes_over(facility, shift):
    """One is killed in the middle; the other goes on with the same ledger, and no run is answered twice."""
    samples, repeats = 5, max(2, -(-RUNS // 5)) - 1
    name, path = shift(samples, repeats=repeats, seconds=0.02)
    options = {"identifier": ENDLESS, "redis": facility.redis.url, "lease": 4}
    one = facility.agent(path, f"{name}-1", **options)
    two = facility.agent(path, f"{name}-2", **options)
    one.start()
    wait_for("the first to act", lambda: one.health()["role"] == "acting")
    two.start()
    try:
        wait_for("four answers", lambda: one.health()["runs_answered"] >= 4, 300)
        assert two.health()["role"] == "standby"
        one.kill()
        wait_for("the second to act", lambda: two.health()["role"] == "acting", 300)
        assert two.health()["token"] > 1
        one.start()  # it comes back, and stands by
        finish(two, 300.0 + 20.0 * RUNS)
        assert one.health()["role"] == "standby"
        time.sleep(2.0)
        found = account(facility, two, name)
        other = Account(found.runs, one.rows())
    finally:
        one.stop()
        two.stop()
    assert len(found.runs) == samples * (repeats + 1)
    assert_each_decision_had_its_run(found)
    assert found.answered == other.answered  # both ledgers say the same


def test_killed_at_random_nothing_is_done_twice_and_nothing_lost(facility, shift, capsys):
    """Every process is killed at random times; a table says what happened."""
    rng = random.Random(8)
    name, path = shift(
        6,
        more='[queue]\nenvironment = "recover"\ndead_after = 6.0\n[failure]\nretries = 50\n',
        repeats=max(4, 3 * KILLS),
        seconds=0.02,
    )
    agent = facility.agent(path, name, identifier=ENDLESS)
    facility.agents[:] = [agent]
    agent.start()
    table: list[tuple[str, float, str, str]] = []
    began = time.monotonic()
    try:
        wait_for("the first answer", lambda: agent.health()["runs_answered"] >= 1, 300)
        order = [what for what in TARGETS for _ in range(KILLS)]
        rng.shuffle(order)
        for what in order:
            if what == "postgres" and facility.postgres is None:
                continue
            time.sleep(rng.uniform(0.0, 4.0))
            before = len(account_of_ledger(agent))
            if not kill(facility, what):
                table.append((what, time.monotonic() - began, "was not there", ""))
                continue
            started, seconds = goes_on(facility, agent, before)
            table.append(
                (what, time.monotonic() - began, ", ".join(started) or "its watchdog", f"{seconds:.1f}")
            )
        revive(facility)
        finish(agent, 1800.0)
        found = account(facility, agent, name)
    finally:
        agent.stop()
        with capsys.disabled():
            sys.stdout.write("\nkilled     at s   started again by   answered again after s\n")
            for what, at, by, after in table:
                sys.stdout.write(f"{what:9} {at:5.0f}   {by:18} {after}\n")
    assert set(found.successes.values()) == {1}, found.successes
    assert set(found.answered.values()) == {1}
    decided = {work["decision_id"] for work in found.decided}
    ended = {
        row["decision_id"]
        for row in found.rows
        if row["kind"] == "outcome" and row["status"] in ("done", "refused", "expired")
    }
    assert decided <= ended, f"lost: {decided - ended}"
    successful = {d["start"]["uid"] for d in found.runs if (d["stop"] or {}).get("exit_status") == "success"}
    assert successful == set(found.answered), "a successful run was not answered"


def account_of_ledger(agent: AgentProcess) -> list[dict]:
    return [row for row in agent.rows() if row["kind"] == "decision"]


def goes_on(facility: Facility, agent: AgentProcess, before: int) -> tuple[list[str], float]:
    """Start again what has ended until the loop answers another run; what was started, and seconds."""
    began, started = time.monotonic(), []
    while time.monotonic() - began < 300.0:
        started += revive(facility)
        if len(account_of_ledger(agent)) > before:
            return started, time.monotonic() - began
        try:
            if agent.health()["finished"]:
                return started, time.monotonic() - began
        except Exception:
            pass
        time.sleep(0.5)
    raise AssertionError(f"the loop did not go on: {agent.tail()}\n{facility.manager.tail(10)}")


def test_an_idle_agent_is_cheap(facility, shift):
    """Under 1 % of a core and 600 MB, its worker with the network included, with nothing to do."""
    import psutil

    name, path = shift(1, more='[queue]\nstart = "never"\n')
    path.write_text(path.read_text().replace('samples = ["', 'answer = "shift"\nsamples = [] # ["'))
    agent = facility.agent(path, name)
    agent.start()
    try:
        process = psutil.Process(agent.process.pid)
        wait_for("the network", lambda: sum(p.memory_info().rss for p in process.children()) > 200e6, 600)
        time.sleep(20.0)

        def spent() -> float:
            family = [process, *process.children(recursive=True)]
            return sum(sum(p.cpu_times()[:2]) for p in family)

        before = spent()
        time.sleep(30.0)
        used = (spent() - before) / 30.0
        memory = sum(p.memory_info().rss for p in [process, *process.children(recursive=True)])
    finally:
        agent.stop()
    sys.stdout.write(f"\nidle: {used:.2%} of a core, {memory / 1e6:.0f} MB\n")
    assert used < 0.05  # the aim is 1 %; this is to notice a loop that spins, on whatever machine


def test_it_ends_politely_and_takes_up_where_it_ended(facility, shift):
    name, path = shift(2, repeats=1, seconds=0.02)
    agent = facility.agent(path, name, identifier=ENDLESS)
    agent.start()
    try:
        wait_for("an answer", lambda: agent.health()["runs_answered"] >= 1, 600)
        agent.process.terminate()
        assert agent.process.wait(30) == 0
        before = len(agent.rows())
        agent.start()
        finish(agent, 900.0)
        found = account(facility, agent, name)
    finally:
        agent.stop()
    assert len(found.rows) > before
    assert_each_decision_had_its_run(found)


def test_until_finished_ends_with_success(facility, shift):
    name, path = shift(1, repeats=0, seconds=0.02)
    agent = facility.agent(path, name, identifier=ENDLESS)
    done = subprocess.run(
        [*agent.command(), "--until-finished"],
        env={**os.environ, **agent.environment()},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(account(facility, agent, name).runs) == 1
