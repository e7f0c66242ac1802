"""Proposals: accepted, edited, refused, expired, forged; on a folder and on a real Redis."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from made import decision, row

from eg_agent.cli.main import app
from eg_agent.queue.approval import Approval
from eg_agent.queue.board import BoardAway, Proposal, Verdict
from eg_agent.queue.state import LoopState
from eg_agent.records import NoteRow, OutcomeRow, read_ledger


@pytest.fixture
def proposing(make_board, settings, shared):
    """A board, a ledger with one proposed decision, and the approval that watches them."""
    board = make_board()
    assert board.acquire()
    ledger = shared(board)
    ledger.write(row(decision("d1"), settings))
    approval = Approval(settings, board, ledger, LoopState())
    approval.step()
    return board, ledger, approval


def outcomes(ledger):
    return [
        (r.decision_id, r.status, r.reason)
        for r in read_ledger(ledger.ledger.path)
        if isinstance(r, OutcomeRow) and r.status != "proposed"
    ]


def test_a_decision_waits_and_is_accepted(proposing):
    board, ledger, approval = proposing
    (proposal,) = board.proposals()
    assert proposal.decision.decision_id == "d1"
    assert ledger.book.works["d1"].phase == "proposed"
    board.settle(Verdict("d1", True, by="ada"))
    approval.step()
    assert outcomes(ledger) == [("d1", "accepted", "by ada")]
    assert ledger.book.works["d1"].phase == "accepted"
    assert board.proposals() == board.verdicts() == []


def test_a_decision_is_refused_with_its_reason(proposing):
    board, ledger, approval = proposing
    board.settle(Verdict("d1", False, by="ada", reason="the sample is hot"))
    approval.step()
    assert outcomes(ledger) == [("d1", "refused", "by ada: the sample is hot")]
    assert ledger.book.open() == []


def test_an_edit_inside_the_limits_is_carried_out_as_edited(proposing):
    board, ledger, approval = proposing
    board.settle(Verdict("d1", True, by="ada", seconds_per_point=2.0, windows=((20.0, 20.5),)))
    approval.step()
    work = ledger.book.works["d1"]
    assert work.phase == "accepted"
    assert (work.decision.seconds_per_point, work.decision.windows) == (2.0, ((20.0, 20.5),))
    assert work.decision.cost < 50.0


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ({"seconds_per_point": 500.0}, "is not between 0 and 20 s"),
        ({"windows": ((20.0, 95.0),)}, "leaves 5-90 deg"),
        ({"windows": ()}, "no window"),
        ({"windows": ((21.0, 20.0),)}, "leaves 5-90 deg"),
    ],
)
def test_an_edit_outside_the_limits_is_refused_whoever_wrote_it(proposing, edit, said):
    board, ledger, approval = proposing
    board.settle(Verdict("d1", True, by="mallory", **edit))
    approval.step()
    ((ident, status, reason),) = outcomes(ledger)
    assert (ident, status) == ("d1", "refused")
    assert said in reason
    assert "mallory" in reason


def test_a_proposal_that_was_changed_in_the_store_is_refused(proposing):
    board, ledger, approval = proposing
    (proposal,) = board.proposals()
    board.propose(replace(proposal, decision=replace(proposal.decision, windows=((-100.0, 170.0),))))
    board.settle(Verdict("d1", True, by="mallory"))
    approval.step()
    ((_, status, reason),) = outcomes(ledger)
    assert status == "refused"
    assert "changed in the store" in reason


def test_a_forged_decision_is_refused_with_a_reason_and_never_opens(proposing):
    board, ledger, approval = proposing
    (proposal,) = board.proposals()
    forged = replace(proposal.decision, decision_id="forged", windows=((-100.0, 170.0),))
    board.propose(Proposal(forged, proposal.state, proposal.limits, expires=time.time() + 60))
    board.settle(Verdict("forged", True, by="mallory"))
    approval.step()
    assert "forged" not in ledger.book.works
    notes = [r for r in read_ledger(ledger.ledger.path) if isinstance(r, NoteRow)]
    assert {n.what for n in notes} == {"forged"}
    assert any("refused" in n.text for n in notes)
    assert [p.decision.decision_id for p in board.proposals()] == ["d1"]


def test_what_nobody_answers_expires(make_board, settings, shared):
    board = make_board()
    assert board.acquire()
    ledger = shared(board)
    ledger.write(row(decision("d1"), settings))
    hasty = replace(settings, approval=replace(settings.approval, expires=0.05))
    approval = Approval(hasty, board, ledger, LoopState())
    approval.step()
    time.sleep(0.1)
    approval.step()
    assert [(i, s) for i, s, _ in outcomes(ledger)] == [("d1", "expired")]
    board.settle(Verdict("d1", True, by="ada"))  # too late
    approval.step()
    assert ledger.book.works["d1"].phase == "closed"


def test_a_store_that_lost_the_proposal_gets_it_again(proposing):
    board, _, approval = proposing
    board.withdraw("d1")
    approval.step()
    assert [p.decision.decision_id for p in board.proposals()] == ["d1"]


def test_rubbish_in_the_store_is_put_aside(proposing, request, tmp_path, settings):
    board, ledger, approval = proposing
    if hasattr(board, "_redis"):
        board._redis.hset(board._key("verdicts"), "x", '{"decision_id": 3}')
    else:
        (tmp_path / "proposals" / "x.verdict.json").write_text("{")
    approval.step()
    assert ledger.book.works["d1"].phase == "proposed"


def test_a_person_lists_edits_and_approves_by_command(tmp_path, settings, shared, capsys):
    from typer.testing import CliRunner

    from eg_agent.errors import BadInput
    from eg_agent.queue.board import FolderBoard

    board = FolderBoard(tmp_path)
    assert board.acquire()
    ledger = shared(board)
    ledger.write(row(decision("d1"), settings))
    approval = Approval(settings, board, ledger, LoopState())
    approval.step()
    runner = CliRunner()

    def call(*args):
        return runner.invoke(app, ["decisions", *args, "--records", str(tmp_path)])

    assert "d1" in call("list").output
    refused = call("approve", "d1", "--seconds", "500")
    assert isinstance(refused.exception, BadInput)
    assert "is not between 0 and 20 s" in str(refused.exception)
    assert isinstance(call("approve", "nothing").exception, BadInput)
    assert "approved d1" in call("approve", "d1", "--seconds", "2", "--by", "ada").output
    approval.step()
    assert ledger.book.works["d1"].decision.seconds_per_point == 2.0
    assert outcomes(ledger) == [("d1", "accepted", "by ada with edits")]
    assert "no decision waits" in call("list").output
    board.close()


def test_a_redis_that_is_away_or_refuses_is_told_with_the_remedy_and_without_the_password(
    redis_server, monkeypatch, tmp_path
):
    from servers import free_port
    from typer.testing import CliRunner

    def said(url: str) -> str:
        monkeypatch.setenv("EG_AGENT_REDIS", url)
        done = CliRunner().invoke(app, ["decisions", "list", "--shift", "night"])
        assert isinstance(done.exception, BoardAway)
        assert "canary" not in str(done.exception)
        return str(done.exception)

    away = said(f"redis://:canary-pass@127.0.0.1:{free_port()}")
    assert "gives no answer" in away
    assert "start it, or give its URL by --redis or $EG_AGENT_REDIS" in away
    refused = said(f"redis://:canary-pass@127.0.0.1:{redis_server.port}")
    assert "refuses this account" in refused
    assert "right password into $EG_AGENT_REDIS" in refused
