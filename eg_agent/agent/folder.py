"""The folder that an agent keeps its records in, and the lock that keeps a second agent out of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from eg_agent.errors import BadInput


def records_folder(chosen: str | os.PathLike[str] | None) -> Path:
    """The folder that was chosen, else $EG_AGENT_RECORDS, else ~/.local/state/eg-agent."""
    return Path(chosen or os.environ.get("EG_AGENT_RECORDS") or "~/.local/state/eg-agent").expanduser()


def lock(records: Path) -> Any:
    """One agent a folder: two would answer every run twice. Released when the process ends, however."""
    try:
        records.mkdir(parents=True, exist_ok=True)
        file = open(records / "agent.lock", "w")  # noqa: SIM115 - held as long as the agent lives
    except OSError as error:
        raise BadInput(
            f"cannot write records to {records} ({error.strerror}): give records=FOLDER."
        ) from None
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:  # no such lock on this system
        pass
    except OSError:
        file.close()
        raise BadInput(
            f"another agent keeps its records in {records}: close it, or give this one records=FOLDER."
        ) from None
    return file
