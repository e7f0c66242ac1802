"""The agent: a Bluesky callback that identifies what was measured and says what to measure next."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eg_agent.agent.agent import Agent
    from eg_agent.agent.answer import Answer
    from eg_agent.agent.process import WorkerProcess

_MODULE_OF = {"Agent": "agent", "Answer": "answer", "WorkerProcess": "process"}

__all__ = ["Agent", "Answer", "WorkerProcess"]


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
