"""A running agent takes up a promoted checkpoint between two answers, keeps the old one when the new one is
broken, and goes back; each row of the ledger says which checkpoint answered."""

from __future__ import annotations

import bluesky.plans as bp
import pytest

from eg_agent.agent import Agent
from eg_agent.model.promoted import Promoted
from eg_agent.records import DecisionRow, NoteRow, read_ledger

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_without_a_restart(tmp_path, engine, random_checkpoint, random_network):
    from beamline import TraceDetector

    promoted = Promoted(tmp_path / "promoted")
    first = promoted.promote(random_checkpoint)
    agent = Agent(
        records=tmp_path / "records",
        identifier_settings={"checkpoint": str(promoted.folder)},
        time_limit=120.0,
        live=None,
        announce=None,
        listeners=(),
    )
    engine.subscribe(agent)

    def measure() -> None:
        engine(bp.count([TraceDetector(name="det")]))
        assert agent.wait(240)

    try:
        measure()
        second = promoted.promote(random_network("seed-2", 2), "better on recent runs")
        measure()
        third = promoted.promote(random_network("seed-3", 3))
        weights = promoted.card(third).with_suffix(".safetensors")
        weights.write_bytes(weights.read_bytes()[:-1])
        measure()
        promoted.back(first.hash)
        measure()
        assert agent._core.worker.starts == 1  # the same process gave all answers
    finally:
        agent.close(timeout=5)
    rows = list(read_ledger(agent.ledger.path))
    answered = [row.identification for row in rows if isinstance(row, DecisionRow)]
    hashes = [identification and identification.provenance.checkpoint for identification in answered]
    assert hashes == [first.hash, second.hash, second.hash, first.hash]
    notes = [row.text for row in rows if isinstance(row, NoteRow) and row.what == "checkpoint"]
    assert len(notes) == 3
    assert notes[0] == f"checkpoint {second.folder} in place of {first.folder}: better on recent runs"
    assert notes[1].startswith(f"the checkpoint stays {second.folder}: ")
    assert "is not what was promoted" in notes[1]
    assert notes[2].startswith(f"checkpoint {first.folder} in place of {second.folder}: back from")
    log = (tmp_path / "records" / "worker.log").read_text()
    assert "is not what was promoted" in log
