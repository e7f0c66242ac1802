"""Looks at runs that go on: the posterior from what is covered so far, never in the way of an answer."""

from __future__ import annotations

import json
import time

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import numpy as np
import pytest
from event_model import compose_run, pack_event_page
from ophyd.sim import SynAxis

from eg_agent.agent import Agent
from eg_agent.agent.answer import live_line
from eg_agent.records import NoteRow, read_ledger


@pytest.fixture
def make(tmp_path, engine):
    from beamline import FAST

    made: list[Agent] = []

    def build(tiled=None, *, subscribe=True, **settings):
        looks: list = []
        answers: list = []
        settings = {"identifier": FAST, "announce": None, "live": 0.2, **settings}
        agent = Agent(
            tiled,
            records=tmp_path / "records",
            listeners=(answers.append,),
            live_listeners=(looks.append,),
            **settings,
        )
        made.append(agent)
        assert agent.wait(120)
        if subscribe:
            engine.subscribe(agent)
        return agent, looks, answers

    yield build
    for agent in made:
        agent.close(timeout=5)


def until(condition, timeout=120.0):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


def steps(looks, points=60, wait_at=()):
    """A step scan that waits at some points until there was another look at it."""
    from beamline import PointDetector

    tth, det = SynAxis(name="tth"), PointDetector(name="det")
    det.motor = tth

    @bpp.run_decorator(md={"sample": "quartz", "wavelength": 1.5406})
    def plan():
        for i, angle in enumerate(np.linspace(10.0, 60.0, points)):
            if i in wait_at:
                seen = len(looks)
                until(lambda seen=seen: len(looks) > seen)
            yield from bps.mv(tth, float(round(angle, 6)))
            yield from bps.trigger_and_read([det, tth])

    return plan()


def test_points_are_looked_at_as_they_arrive_and_the_looks_are_kept(make, engine):
    agent, looks, answers = make()
    (uid,) = engine(steps(looks, wait_at=(20, 40)))
    assert agent.wait(60)
    assert len(looks) >= 2
    assert all(look.partial and look.sample == "quartz" and look.runs == (uid,) for look in looks)
    points = [look.points for look in looks]
    assert points == sorted(points)
    assert points[0] >= 20, "a look sees all that had arrived, not the oldest first"
    ends = [look.identification.measured.windows[-1][1] for look in looks]
    assert 10.0 < ends[0] < ends[1] < 60.1
    assert agent.latest(uid) is looks[-1]
    assert "quartz, " in live_line(looks[0])
    assert f"to {ends[0]:.2f} deg" in live_line(looks[0])
    (answer,) = answers
    assert not answer.partial
    assert answer.identification.measured.points == 60
    kept = [json.loads(line) for line in (agent.journal.directory / "live" / f"{uid}.jsonl").open()]
    assert [row["points"] for row in kept] == points
    assert kept[0]["top"][0][1] == looks[0].identification.top[0].symbol
    assert kept[0]["events"] <= kept[0]["points"]


def test_frames_are_put_together_as_they_arrive(make, engine):
    from beamline import TraceDetector

    agent, looks, answers = make()
    det = TraceDetector(name="det", n=501)

    @bpp.run_decorator(md={"sample": "frames"})
    def plan():
        for i in range(4):
            if i in (1, 3):
                seen = len(looks)
                until(lambda seen=seen: len(looks) > seen)
            yield from bps.trigger_and_read([det])

    engine(plan())
    assert agent.wait(60)
    seconds = [look.identification.measured.seconds_per_point for look in looks]
    assert seconds[0] == 1.0
    assert seconds[1] >= 2.0
    assert answers[-1].identification.measured.seconds_per_point == 4.0
    assert (
        looks[0].identification.measured.strongest_counts < looks[-1].identification.measured.strongest_counts
    )


def test_event_pages_count_as_their_events(make):
    agent, looks, answers = make(subscribe=False)
    run = compose_run(metadata={"sample": "pages", "wavelength": 1.5406})
    keys = {k: {"source": "test", "dtype": "number", "shape": []} for k in ("tth", "det_counts")}
    stream = run.compose_descriptor(name="primary", data_keys=keys)
    agent("start", run.start_doc)
    agent("descriptor", stream.descriptor_doc)
    angles = np.linspace(10.0, 60.0, 200)
    for block in range(4):
        part = angles[50 * block : 50 * block + 50]
        counts = np.random.default_rng(block).poisson(50 + 4000 * np.exp(-(((part - 32) / 0.3) ** 2)))
        events = [
            stream.compose_event(
                data={"tth": float(x), "det_counts": int(y)}, timestamps={"tth": 0.0, "det_counts": 0.0}
            )
            for x, y in zip(part, counts, strict=True)
        ]
        agent("event_page", pack_event_page(*events))
        until(lambda block=block: looks and looks[-1].points == 50 * (block + 1))
    agent("stop", run.compose_stop())
    assert agent.wait(60)
    assert [look.points for look in looks] == [50, 100, 150, 200]
    assert answers[0].identification.measured.points == 200


def test_looks_do_not_lag_and_an_answer_does_not_wait_for_them(make, engine):
    """The identifier takes as long as many points: looks leave data out in between, not at the end."""
    agent, looks, answers = make(identifier_settings={"delay": 0.4})

    def plan():
        yield from steps(looks, wait_at=range(10, 60, 10))

    engine(plan())
    assert agent.wait(60)
    points = [look.points for look in looks]
    assert len(points) == len(set(points))
    # Each look began after the points before it were there: it saw the newest, however long the last took.
    assert points[-1] >= 10 * (len(points) - 1)
    assert answers[0].identification.measured.points == 60


def test_a_look_that_fails_leaves_the_run_alone_until_its_end(make, engine):
    agent, looks, answers = make(time_limit=4.0)
    from beamline import PointDetector

    tth, det = SynAxis(name="tth"), PointDetector(name="det")
    det.motor = tth

    @bpp.run_decorator(md={"sample": "explodes", "wavelength": 1.5406})
    def plan():
        for angle in np.linspace(10.0, 60.0, 30):
            yield from bps.mv(tth, float(round(angle, 6)))
            yield from bps.trigger_and_read([det, tth])
            yield from bps.sleep(0.05)
        notes = lambda: [r for r in read_ledger(agent.ledger.path) if isinstance(r, NoteRow)]  # noqa: E731
        until(lambda: not agent.journal or any(r.what == "live stopped" for r in notes()) or feed(tth, det))

    def feed(tth, det):
        """New data, so that there is a reason to look again."""
        agent._loop.saw(next(iter(agent._loop.live._open)))
        return False

    (uid,) = engine(plan())
    assert agent.wait(60)
    assert looks == []
    notes = [row for row in read_ledger(agent.ledger.path) if isinstance(row, NoteRow)]
    assert [(row.what, row.run_uid) for row in notes] == [("live stopped", uid)]
    assert "a fault in the network" in answers[0].problem


def test_no_live_means_no_looks(make, engine):
    agent, looks, _ = make(live=None)
    engine(steps(looks, points=20))
    assert agent.wait(60)
    assert looks == []
    assert not (agent.journal.directory / "live").exists()


@pytest.mark.slow
def test_the_real_network_and_fit_on_half_a_scan():
    """Evidence from the reflections seen so far: the fit stands on half a range, and coverage is said."""
    from eg_agent.identify import Identifier, IdentifySettings
    from eg_agent.patterns import Radiation
    from simulators.measurement import simulate
    from simulators.textbook import textbook

    crystal = next(c for c in textbook() if c.space_group == 62)
    # On a machine with much else to do, ten seconds by the clock may end a fit too early.
    identifier = Identifier(settings=IdentifySettings(time_limit=120.0))
    found = []
    for end in (30.0, 50.0, 90.0):
        x = np.arange(10.0, end, 0.02)
        pattern = simulate(crystal, Radiation.anode("Cu"), x, np.random.default_rng(0), peak_rate=5000.0)
        found.append(identifier.identify(pattern, crystal.cell))
    assert [one.evidence.status for one in found] == ["fitted"] * 3
    assert found[0].measured.canonical < found[1].measured.canonical < found[2].measured.canonical
    from eg_agent.identify.information import entropy

    assert entropy(found[2].log_probability) < entropy(found[0].log_probability)
