"""docs/how-to/at-a-beamline.md: its blocks one after the other, with a simulated diffractometer."""

from __future__ import annotations

from typing import Any

import bluesky.plans as bp
import pytest
from pages import Page

from eg_agent.decide.limits import MEASURING
from eg_agent.records import DecisionRow, read_ledger
from simulators import SimDiffractometer, draw

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]


@pytest.fixture
def session(engine, tiled_uri, tmp_path, monkeypatch) -> dict[str, Any]:
    """What a person at a beamline has: a RunEngine, a device, a Tiled."""
    monkeypatch.setenv("EG_AGENT_RECORDS", str(tmp_path / "records"))
    monkeypatch.chdir(tmp_path)
    samples = list(draw(1, 2))
    device = SimDiffractometer(
        name="diffractometer",
        samples={f"sample-{n}": sample.rate for n, sample in enumerate(samples, 1)},
        radiation=samples[0].radiation,
        limits=(5.0, 60.0),
        seed=1,
    )
    return {"RE": engine, "diffractometer": device, "uri": tiled_uri}


def run(page: Page, holding: str, session: dict[str, Any]) -> None:
    exec(compile(page.code(holding), page.path.name, "exec"), session)


def test_watch_act_and_look_back(session, tmp_path):
    page = Page("at-a-beamline", {})
    run(page, "agent = Agent()", session)
    try:
        device = session["diffractometer"]
        (watched,) = session["RE"](bp.count([device], md={"sample": "sample-1"}))
        answer = session["agent"].ask(watched).result(600)
        assert answer.identification is not None, answer.problem
        assert not answer.problem
    finally:
        session["agent"].close()

    run(page, 'mode="act"', session)
    session["agent"].close()
    rows = [row for row in read_ledger(tmp_path / "records" / "ledger.jsonl") if isinstance(row, DecisionRow)]
    assert {row.sample for row in rows} == {"sample-1", "sample-2"}
    assert all(row.identification is not None for row in rows)
    acted = [row.decision for row in rows if row.decision.mode == "act"]
    limits = session["limits"]
    for decision in acted:
        if decision.action in MEASURING:
            assert decision.seconds_per_point <= limits.max_seconds_per_point
            assert all(5.0 <= low <= high <= 60.0 for low, high in decision.windows)

    (tmp_path / "ledger.jsonl").symlink_to(tmp_path / "records" / "ledger.jsonl")
    run(page, "replay", session)
