"""Agents on a real RunEngine, and what they are given and write."""

from __future__ import annotations

import pytest
from ophyd.sim import SynAxis

from eg_agent.agent import Agent
from eg_agent.records import read_ledger


@pytest.fixture
def make(tmp_path, engine):
    """Make an agent with the fast identifier, subscribed to the RunEngine; its answers are collected."""
    from beamline import FAST

    made: list[Agent] = []

    def build(tiled=None, *, subscribe=True, records=tmp_path / "records", **settings):
        answers: list = []
        settings = {"identifier": FAST, "announce": None, "listeners": (answers.append,), **settings}
        agent = Agent(tiled, records=records, **settings)
        made.append(agent)
        agent.answers = answers  # type: ignore[attr-defined]
        if subscribe:
            engine.subscribe(agent)
        return agent

    yield build
    for agent in made:
        agent.close(timeout=5)


def rows(agent, kind):
    return [row for row in read_ledger(agent.ledger.path) if isinstance(row, kind)]


def detector(**kwargs):
    from beamline import TraceDetector

    return TraceDetector(name="det", **kwargs)


def step_detector():
    from beamline import PointDetector

    tth, det = SynAxis(name="tth"), PointDetector(name="det")
    det.motor = tth
    return tth, det
