"""`Child` with a real process: what it says that is no message, and a listener that breaks, end nothing."""

from __future__ import annotations

import logging
import queue
from typing import Any

import pytest

from eg_agent.records.child import Child


def test_lines_that_are_no_messages_are_logged_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    heard: queue.SimpleQueue[Any] = queue.SimpleQueue()
    # It prints an object over several lines, none of which is JSON by itself.
    child = Child("json.tool", heard.put)
    with caplog.at_level(logging.INFO, logger="eg_agent.records.child"):
        child.say({"a": 1})
        assert child.finish(60.0)
        assert heard.get(timeout=60.0) is None
    assert "half a message" in caplog.text


def test_a_listener_that_raises_still_hears_the_end(caplog: pytest.LogCaptureFixture) -> None:
    heard: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def listen(message: Any) -> None:
        heard.put(message)
        if message is not None:
            raise ValueError("of the listener, not of the pipe")

    child = Child("json.tool", listen)
    child.say(1)  # type: ignore[arg-type]
    assert child.finish(60.0)
    assert heard.get(timeout=60.0) == 1
    assert heard.get(timeout=60.0) is None
    assert "of the listener, not of the pipe" in caplog.text
