"""What the agent takes of the RunEngine's time, and that it does not grow."""

from __future__ import annotations

import threading
import time

import bluesky.plans as bp

from tests.eg_agent.agent.conftest import detector


def test_threads_and_memory_of_many_runs_stay_flat(make, engine):
    agent = make()
    det = detector(n=501)
    for _ in range(3):
        engine(bp.count([det]))
    assert agent.wait(60)
    threads = threading.active_count()
    for _ in range(15):
        engine(bp.count([det]))
    assert agent.wait(60)
    deadline = time.monotonic() + 10.0  # one that is just ending is no leak
    while threading.active_count() > threads and time.monotonic() < deadline:
        time.sleep(0.05)
    assert threading.active_count() <= threads
    assert agent._collector._open == {}
    assert agent._collector._run_of == {}
    assert agent.journal._open == {}
    assert agent.journal._run_of == {}


def test_the_share_of_the_run_engines_time(make, engine, tiled_uri):
    """The callback against identifying inline: the same scan, a ratio, no wall clock."""
    det = detector(n=4096)
    agent = make(tiled_uri, identifier_settings={"delay": 0.3}, tiled_wait=30.0)
    assert agent.wait(60)
    started = time.perf_counter()
    engine(bp.count([det], num=10), sample="a")
    scan = time.perf_counter() - started
    spent = agent.callback_time
    assert spent.documents == 13
    # Measured: a few ms a document. Inline it would be 10 identifications and Tiled writes, above 4 s.
    assert spent.seconds < scan
    assert spent.seconds < 0.1 * 10 * (0.3 + 0.1)
