"""How a command ends: a user's error is one line on standard error and exit status 2, never a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

from eg_agent.errors import EgAgentError

T = TypeVar("T")


def reported(command: Callable[[], T], name: str) -> T:
    """What a command returns; what a user can cure is said in one line, prefixed with the command's name.

    That is every `EgAgentError`, and a file that the system does not let be read or written.
    """
    try:
        return command()
    except EgAgentError as error:
        said = str(error)
    except OSError as error:
        if error.filename is None or isinstance(error, ConnectionError):
            raise  # no file's fault: where it comes from must be seen
        said = f"{error.filename}: {error.strerror}. Give another path, or cure that and start again."
    print(f"{name}: {said}", file=sys.stderr)  # noqa: T201 - the message is the product here
    raise SystemExit(2)
