from __future__ import annotations

import importlib.resources
import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eg_agent.decide import Decision, Limits, State
from eg_agent.errors import BadInput
from eg_agent.records import (
    DecisionRow,
    Ledger,
    NoteRow,
    OutcomeRow,
    Policy,
    ledger_schema,
    read_ledger,
    replay,
)


def default_row(sample="a", reason="No answer within 3 s", **policy):
    made = Policy(limits=Limits(**policy))
    state = State(sample=sample, samples_left=2)
    decision = made.decider().default(state, reason, run_uid="r1")
    return DecisionRow(decision=decision, state=state, policy=made, sample=sample, problem=reason)


def without_words(schema):
    """A schema without its descriptions: a sentence made better is no change of the format."""
    if isinstance(schema, dict):
        return {
            k: without_words(v) for k, v in schema.items() if not (k == "description" and isinstance(v, str))
        }
    return [without_words(v) for v in schema] if isinstance(schema, list) else schema


def test_published_schema_is_the_one_that_is_written_by():
    text = importlib.resources.files("eg_agent.records").joinpath("ledger.schema.json").read_text()
    assert without_words(json.loads(text)) == without_words(ledger_schema()), (
        "the ledger's rows changed: write ledger.schema.json anew (python -m eg_agent.records.ledger), "
        "and raise SCHEMA_VERSION if old ledgers cannot be read any more"
    )


def test_rows_come_back_and_a_session_signs_them(tmp_path):
    ledger = Ledger(tmp_path / "l.jsonl", session="s1")
    written = [
        ledger.append(default_row()),
        ledger.append(OutcomeRow("d", "done", 2, "r")),
        ledger.append(NoteRow("skipped", "why", "r")),
    ]
    found = list(ledger.rows())
    assert [type(row) for row in found] == [DecisionRow, OutcomeRow, NoteRow]
    assert found[1:] == written[1:]
    assert {row.session for row in found} == {"s1"}
    assert all(row.time > 1e9 for row in found)


@settings(max_examples=25, deadline=None)
@given(cut=st.integers(1, 400))
def test_a_crash_inside_a_line_loses_that_line_only(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("ledger") / "l.jsonl"
    Ledger(path).append(NoteRow("first"))
    Ledger(path).append(default_row())
    size = path.stat().st_size
    os.truncate(path, size - cut)
    Ledger(path).append(NoteRow("after"))
    assert [row.what for row in read_ledger(path) if isinstance(row, NoteRow)] == ["first", "after"]


def test_another_files_lines_are_refused(tmp_path):
    path = tmp_path / "l.jsonl"
    path.write_text('{"kind": "decision", "schema": 99}\n')
    with pytest.raises(BadInput, match=r"line 1 .* version 1"):
        list(read_ledger(path))


def test_replay_sees_a_changed_decision(tmp_path):
    ledger = Ledger(tmp_path / "l.jsonl")
    row = default_row()
    ledger.append(row)
    forged = Decision(**{**{f: getattr(row.decision, f) for f in row.decision.__slots__}, "action": "stop"})
    ledger.append(DecisionRow(decision=forged, state=row.state, policy=row.policy, problem=row.problem))
    assert [one.same for one in replay(ledger)] == [True, False]
