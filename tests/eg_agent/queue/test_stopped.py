"""Who stopped the queue: a person, whose stop holds over restarts of the agent, or a manager that died."""

from __future__ import annotations

import pytest

from eg_agent.queue.board import FolderBoard
from eg_agent.queue.carry import Carrier
from eg_agent.queue.manager import QueueManager, QueueStatus, QueueView
from eg_agent.queue.state import LoopState
from eg_agent.queue.work import WorkBook
from eg_agent.records import NoteRow, read_ledger
from eg_agent.records.runs import Runs

WAITS = {"item_uid": "item-1", "item_type": "plan", "name": "eg_measure"}
DONE = {"item_uid": "item-0", "result": {"exit_status": "completed"}}


def view(state: str, life="one", items=(WAITS,), status="completed", history="h1") -> QueueView:
    """What the manager says: an item waits, one before it is in the history."""
    told = QueueStatus(state, "idle", True, False, False, False, life=life, history_uid=history)
    return QueueView(told, items, None, ({**DONE, "result": {"exit_status": status}},))


@pytest.fixture
def carrier(settings, shared, tmp_path):
    """A carrier that sees what it is shown; neither Tiled nor queue is asked."""
    board = FolderBoard(tmp_path)
    assert board.acquire()
    ledger = shared(board)
    runs, manager = Runs("http://nowhere"), QueueManager("tcp://nowhere:1", group="agents")

    def sees(*views: QueueView) -> bool:
        found = Carrier(settings, runs, manager, ledger, LoopState())
        for one in views:
            found._notice_stop(one)
            found._before = one
        return ledger.book.queue_stopped

    yield sees, ledger
    board.close()


def test_a_queue_that_stands_still_with_items_was_stopped_by_a_person(carrier):
    sees, _ = carrier
    assert sees(view("executing_queue"), view("idle"))


@pytest.mark.parametrize(
    "after",
    [
        pytest.param(view("idle", items=()), id="it ran empty"),
        pytest.param(view("idle", status="failed"), id="a plan failed"),
        pytest.param(view("idle", life="two"), id="the manager was started again"),
    ],
)
def test_what_nobody_stopped(carrier, after):
    sees, _ = carrier
    assert not sees(view("executing_queue"), after)


def test_nothing_follows_from_what_was_before_an_outage(settings, carrier):
    _, ledger = carrier
    found = Carrier(
        settings, Runs("http://nowhere"), QueueManager("tcp://n:1", group="g"), ledger, LoopState()
    )
    found._before = view("executing_queue")
    found.lost_sight()
    found._notice_stop(view("idle"))
    assert not ledger.book.queue_stopped


def test_a_persons_stop_holds_when_the_agent_is_started_again(carrier):
    sees, ledger = carrier
    assert sees(view("executing_queue"), view("idle"))
    again = WorkBook("night", read_ledger(ledger.ledger.path))  # what another start of the agent reads
    assert again.queue_stopped
    assert sees(view("idle"))  # a new carrier, which saw nothing run
    assert not sees(view("idle"), view("idle", history="h2"))  # it ran between two looks
    notes = [row.what for row in read_ledger(ledger.ledger.path) if isinstance(row, NoteRow)]
    assert notes == ["queue stopped", "queue runs"]
