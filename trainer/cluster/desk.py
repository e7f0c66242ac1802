"""The desk between a run's workers and the command that launched it: lines to print, and a wish to stop.

A Ray actor of its own, because workers come and go and the controller of Ray Train belongs to Ray.
"""

from __future__ import annotations

import io
from typing import Any


class Desk:
    """What is kept: lines not printed yet, whether to stop, and a user's error that retrying cannot mend."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._stop = False
        self._refusal: str | None = None
        self._present: dict[int, str] = {}
        self._groups = 0

    def hello(self, rank: int, world: int, place: str) -> None:
        """A worker has arrived; once all have, say which run where."""
        self._present[rank] = place
        if len(self._present) == world:
            where = ", ".join(f"rank {r} on {p}" for r, p in sorted(self._present.items()))
            self._lines.append(f"{world} worker{'s' if world > 1 else ''}: {where}")
            self._present.clear()
            self._groups += 1

    def groups(self) -> int:
        """How many worker groups have been complete so far."""
        return self._groups

    def failed(self, text: str) -> None:
        """A worker group has failed."""
        self._present.clear()
        self._lines.append(text)

    def say(self, line: str) -> None:
        """Leave a line for the console."""
        self._lines.append(line)

    def take(self) -> list[str]:
        """The lines left since the last time."""
        lines, self._lines = self._lines, []
        return lines

    def ask_to_stop(self) -> None:
        """Ask the workers to save and stop."""
        self._stop = True

    def stopping(self) -> bool:
        """Whether somebody asked to stop."""
        return self._stop

    def refuse(self, message: str) -> None:
        """Leave the user's error that ended a worker: the next workers give up instead of trying again."""
        self._refusal = self._refusal or message

    def refusal(self) -> str | None:
        """The user's error, if there was one."""
        return self._refusal


class DeskWriter(io.TextIOBase):
    """A text file that leaves whole lines at a desk. desk: the actor's handle."""

    def __init__(self, desk: Any) -> None:
        self._desk, self._rest = desk, ""

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, text: str, /) -> int:
        """Send what ends with a line break; keep the rest for the next call."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._desk.say.remote(line)
        return len(text)
