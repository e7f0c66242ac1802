"""Tells the desk what befalls a worker group, from Ray Train's controller."""

from __future__ import annotations

from typing import Any

from ray.train import UserCallback


class Herald(UserCallback):
    """Leaves a line at the desk when workers fail. desk: the actor's handle."""

    def __init__(self, desk: Any) -> None:
        self._desk = desk

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Say which ranks failed, and of what; Ray then restarts the group from the last stored state."""
        first = next(iter(worker_exceptions.values()))
        lines = [line.strip() for line in str(first).strip().splitlines() if line.strip()]
        ranks = ", ".join(str(rank) for rank in sorted(worker_exceptions))
        self._desk.failed.remote(
            f"rank {ranks} failed ({lines[-1] if lines else type(first).__name__}): "
            "the group starts again from the last stored state"
        )
