"""The closed loop to its full numbers, with every process real: Redis, PostgreSQL, Tiled, RE Manager, agents.

They take tens of minutes each, so they are run by hand (the same loops, smaller, are in test_small_loop.py):

    EG_AGENT_LONG_TESTS=1 pytest -s tests/queueserver/test_closed_loop.py

How long they go on: EG_AGENT_ITERATIONS (50), EG_AGENT_RUNS (100, with two agents), EG_AGENT_KILLS (10 of
each target, at random times that EG_AGENT_SEED fixes).
"""

from __future__ import annotations

import os
import random
import statistics
import sys
import time
from collections import Counter

import pytest
from accounts import ENDLESS, account, assert_each_decision_had_its_run, finish
from accounts import assert_nothing_twice_and_nothing_lost as assert_nothing_twice
from facility import wait_for
from supervise import EXPOSED, HEADER, RECOVERS, TARGETS, Kills, Pair, revive

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(7200),
    pytest.mark.skipif(
        "EG_AGENT_LONG_TESTS" not in os.environ, reason="tens of minutes: by hand, with EG_AGENT_LONG_TESTS=1"
    ),
]

ITERATIONS = int(os.environ.get("EG_AGENT_ITERATIONS", "50"))
RUNS = int(os.environ.get("EG_AGENT_RUNS", "100"))
KILLS = int(os.environ.get("EG_AGENT_KILLS", "10"))


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


def test_two_agents_answer_each_run_once_whichever_acts(facility, shift, capsys):
    """The one that acts is killed, or frozen beyond its lease and woken again, every ten runs or so."""
    samples, repeats = 5, max(2, -(-RUNS // 5)) - 1
    name, path = shift(samples, repeats=repeats, seconds=0.02)
    pair = Pair(facility, path, name)
    with pair:
        for fate in [fate for _ in range(max(1, RUNS // 20)) for fate in ("killed", "frozen")][:-1]:
            pair.answers(8)
            pair.falls(fate)
        pair.finish(300.0 + 20.0 * RUNS)
        found, other = pair.accounts()
    with capsys.disabled():
        sys.stdout.write(f"\n{len(found.runs)} runs by two agents: {pair.told()}\n")
    assert len(found.runs) == samples * (repeats + 1)
    assert_each_decision_had_its_run(found)
    assert found.answered == other.answered  # both ledgers say the same


def test_killed_at_random_nothing_is_done_twice_and_nothing_lost(facility, shift, capsys):
    """Every process is killed at random times, many of them while it measures; a table says what happened."""
    rng = random.Random(int(os.environ.get("EG_AGENT_SEED", "8")))
    targets = [what for what in TARGETS if what != "postgres" or facility.postgres is not None]
    order = [what for what in targets for _ in range(KILLS)]
    rng.shuffle(order)
    repeats = max(4, len(order))
    name, path = shift(7, more=RECOVERS, repeats=repeats, **EXPOSED)
    agent = facility.agent(path, name, identifier=ENDLESS)
    facility.agents[:] = [agent]

    def show(text: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()

    agent.start()
    kills = Kills(facility, agent, show)
    try:
        wait_for("the first answer", lambda: agent.health()["runs_answered"] >= 1, 600)
        show(f"\n{HEADER}")
        for what in order:
            time.sleep(rng.uniform(0.0, 3.0))
            if rng.random() < 0.5:
                kills.measuring(rng.uniform(0.0, 1.0))
            if not kills.one(what):
                break
        revive(facility)
        agent.process.terminate()
        agent.process.wait(60)
        path.write_text(path.read_text().replace(f"max_repeats = {repeats}", "max_repeats = 1"))
        agent.start()  # the shift is brought to its end without another kill, and without its repeats
        finish(agent, 1800.0)
        found = account(facility, agent, name)
    finally:
        agent.stop()
    assert_nothing_twice(found)
    for line in kills.summary():
        show(line)
    attempts = Counter(doc["start"]["eg_attempt"] for doc in found.runs)
    unfinished = sum((doc.get("stop") or {}).get("exit_status") != "success" for doc in found.runs)
    show(
        f"{len(kills.rows)} kills, {len(found.decided)} decisions, {len(found.runs)} runs "
        f"({unfinished} cut short; by attempt: {dict(sorted(attempts.items()))}); "
        f"no decision has two successful runs, none is lost; "
        f"load {os.getloadavg()[0]:.1f}"
    )
    assert len(kills.rows) == len(order)
