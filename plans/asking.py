"""What a plan asks of an agent: a protocol, and waiting for its answers off the RunEngine's thread."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Mapping
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

import bluesky.plan_stubs as bps

from eg_agent.decide.decision import Decision
from eg_agent.decide.state import State

T = TypeVar("T")


class AgentAnswer(Protocol):
    """What comes of a question: the decision, and what had been spent when it was made."""

    @property
    def decision(self) -> Decision: ...

    @property
    def state(self) -> State: ...


class Asks(Protocol):
    """An agent, as plans see it (`eg_agent.agent.Agent`). No method waits."""

    def ask(self, run_uid: str) -> Future[Any]:
        """A future of the `AgentAnswer` to a run."""
        ...

    def opening(
        self, sample: str, lit: Mapping[str, float], two_theta: tuple[float, float], step: float
    ) -> tuple[tuple[float, float], ...]:
        """Windows (degrees) around the lines of the sample's cell; empty where none is known.

        lit: "wavelength" and, where there are two, "wavelength2", angstrom.
        """
        ...

    def default(self, run_uid: str, sample: str, reason: str) -> Decision:
        """What to do when no answer came in time."""
        ...

    def approval(self, decision: Decision) -> Future[bool]:
        """A future that says whether the decision may be carried out."""
        ...

    def begin(self, decision: Decision) -> Decision | None:
        """The decision with its next attempt, or None when it was carried out already."""
        ...

    def outcome(self, decision: Decision, status: str, reason: str = "") -> None:
        """Record what was done with a decision, when no run does."""
        ...


def wait_for(future: Future[T], timeout: float) -> Generator[Any, Any, T | None]:
    """Wait for a future as a message of the plan, so that pausing and aborting work meanwhile.

    Returns its result, or None after `timeout` seconds (counted anew after a pause), when it was
    cancelled, or when it raised. In a dry run (`summarize_plan`) nothing is waited for: None.
    """

    async def done() -> None:
        if not future.done():
            await asyncio.wait({asyncio.wrap_future(future)}, timeout=timeout)

    yield from bps.wait_for([done])
    if not future.done() or future.cancelled() or future.exception() is not None:
        return None
    return future.result()
