"""A manager that waits for good for a plan which is over, as its status shows it."""

from __future__ import annotations

import time

import pytest

from eg_agent.queue.board import FolderBoard
from eg_agent.queue.environment import Environment
from eg_agent.queue.manager import QueueManager, QueueStatus, QueueView
from eg_agent.queue.settings import QueueSettings
from eg_agent.queue.state import LoopState

OVER = QueueStatus("executing_queue", "idle", True, False, False, False, run_engine="idle")


@pytest.mark.parametrize(
    ("running", "said"),
    [({"item_uid": "0123456789ab"}, "executes item 01234567,"), (None, "executes a plan,")],
    ids=["its item is known", "its item is gone from Redis"],
)
def test_a_plan_that_never_ends_is_said_after_a_while_and_not_before(tmp_path, shared, running, said) -> None:
    state = LoopState()
    # "wait" never asks the manager anything, so that none needs to be there
    manager = QueueManager("tcp://127.0.0.1:1", group="agents")
    settings = QueueSettings(environment="wait", dead_after=0.3)
    environment = Environment(settings, manager, shared(FolderBoard(tmp_path)), state)
    view = QueueView(OVER, running=running)
    assert environment.ready(view)
    assert state.waiting == {}
    time.sleep(0.35)
    environment.ready(view)
    assert said in state.waiting["environment"]
    assert "idle for" in state.waiting["environment"]


def test_a_manager_between_two_plans_is_no_such_one(tmp_path, shared) -> None:
    state = LoopState()
    manager = QueueManager("tcp://127.0.0.1:1", group="agents")
    settings = QueueSettings(environment="wait", dead_after=0.3)
    environment = Environment(settings, manager, shared(FolderBoard(tmp_path)), state)
    environment.ready(QueueView(OVER, running={"item_uid": "one"}))
    time.sleep(0.35)
    environment.ready(QueueView(OVER, running={"item_uid": "two"}))
    assert state.waiting == {}
