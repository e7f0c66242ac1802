"""What several agents of one shift share: a lease with a fencing token, claims, the ledger, proposals.

Two kinds: a folder on one host (`FolderBoard`), or Redis (`eg_agent.queue.board_redis`) for several.
The lease says who acts. Its token grows by one with every new holder, and whatever is shared is written
only under the newest token, so that a holder that slept through its lease cannot write any more.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO, ClassVar, Protocol

from pydantic import ConfigDict, ValidationError

from eg_agent.decide.decision import Decision
from eg_agent.decide.limits import Limits
from eg_agent.decide.state import State
from eg_agent.errors import BadInput, EgAgentError
from eg_agent.values import VALUE_CONFIG, from_json, to_json


class BoardAway(EgAgentError):
    """The store cannot be reached now; the message says why, without a password in it."""


class LeaseLost(Exception):
    """Another agent holds the lease: nothing was written."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A decision that waits for a person.

    item: what would be put into the queue. limits: of the agent, so that an edit can be checked where it
    is made; the agent checks it again against its own. said: the identification in a line.
    proposed, expires: seconds since 1970.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    decision: Decision
    state: State
    limits: Limits
    said: str = ""
    proposed: float = 0.0
    expires: float = 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a person says to a proposal; windows (degrees) and seconds_per_point where they were edited."""

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    decision_id: str
    accepted: bool
    by: str = ""
    reason: str = ""
    windows: tuple[tuple[float, float], ...] | None = None
    seconds_per_point: float | None = None
    time: float = 0.0

    @property
    def edits(self) -> bool:
        """Whether it changes the decision."""
        return self.windows is not None or self.seconds_per_point is not None


class Proposals(Protocol):
    """The store of proposals. Everything in it may have been written by anybody: it is checked when read."""

    def propose(self, proposal: Proposal) -> None: ...

    def proposals(self) -> list[Proposal]: ...

    def settle(self, verdict: Verdict) -> None: ...

    def verdicts(self) -> list[Verdict]: ...

    def withdraw(self, decision_id: str) -> None: ...


class Board(Proposals, Protocol):
    """The whole board. Raises BoardAway when the store does not answer, LeaseLost for a stale token."""

    def acquire(self) -> bool:
        """Take the lease if it is free; whether this agent holds it now."""
        ...

    def holds(self) -> bool:
        """Whether the lease is held for sure at this moment, by this process's own clock."""
        ...

    def claim(self, run_uid: str) -> bool:
        """Leave to answer a run: False when it was answered."""
        ...

    def publish(self, lines: list[bytes]) -> None:
        """Share lines of the ledger."""
        ...

    def news(self) -> list[bytes]:
        """Lines of the ledger that others have shared since the last call."""
        ...

    def rewind(self) -> None:
        """Let `news` begin with the oldest line again."""
        ...

    def close(self) -> None:
        """Give the lease back."""
        ...


class FolderProposals:
    """Proposals and verdicts as files of a folder, one each; whoever may write there may approve."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "proposals"

    def propose(self, proposal: Proposal) -> None:
        self._write(f"{proposal.decision.decision_id}.proposal.json", to_json(proposal, indent=1))

    def proposals(self) -> list[Proposal]:
        return self._read("*.proposal.json", Proposal)

    def settle(self, verdict: Verdict) -> None:
        self._write(f"{verdict.decision_id}.verdict.json", to_json(verdict, indent=1))

    def verdicts(self) -> list[Verdict]:
        return self._read("*.verdict.json", Verdict)

    def withdraw(self, decision_id: str) -> None:
        for kind in ("proposal", "verdict"):
            with contextlib.suppress(OSError):  # most have no verdict; what stays is refused when it is read
                (self._folder / f"{_safe(decision_id)}.{kind}.json").unlink()

    def _write(self, name: str, text: str) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            temporary = self._folder / f".{_safe(name)}.{os.getpid()}"
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(self._folder / _safe(name))
        except OSError as error:
            raise BoardAway(f"{self._folder}: {error.strerror}") from None

    def _read(self, pattern: str, kind: type) -> list:
        found = []
        for path in sorted(self._folder.glob(pattern)):
            try:
                found.append(from_json(kind, path.read_bytes()))
            except (ValidationError, ValueError):
                # Not one of ours, or tampered with: put aside, so that a person finds it.
                with contextlib.suppress(OSError):  # gone meanwhile; else it is met again at the next look
                    path.replace(path.with_suffix(".unreadable"))
            except OSError:  # withdrawn while this looked
                continue
        return found


class FolderBoard(FolderProposals):
    """The board in the records' folder. The lease is a lock that the system releases with its process,
    however that ends, so no second agent ever acts; the ledger in the folder is the shared one.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._path = folder / "queue.lock"
        self._lock: IO[str] | None = None

    def acquire(self) -> bool:
        if self._lock is not None:
            return True
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file = open(self._path, "a+", encoding="utf-8")  # noqa: SIM115 - held as long as the agent lives
        except OSError as error:
            raise BadInput(f"cannot write records to {self._path.parent} ({error.strerror}).") from None
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            return False
        file.seek(0)
        file.truncate()
        file.write(json.dumps({"pid": os.getpid()}))
        file.flush()
        self._lock = file
        return True

    def holds(self) -> bool:
        return self._lock is not None

    def claim(self, run_uid: str) -> bool:
        return self.holds()

    def publish(self, lines: list[bytes]) -> None:
        if not self.holds():
            raise LeaseLost

    def news(self) -> list[bytes]:
        return []

    def rewind(self) -> None:
        pass

    def close(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _safe(name: str) -> str:
    """A file name, whatever somebody wrote into a decision's id."""
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name)[:150].lstrip(".") or "_"
