"""The worker's side: a process that loads the models once, and identifies one pattern after the other.

Run as `python -m eg_agent.agent.worker`; one line of JSON in, one line of JSON out. It is started as a
command, not by `multiprocessing`, because that imports the main script again in the child: a script
without a main guard would run its scans twice.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Protocol

from eg_agent.decide.state import State
from eg_agent.identify.identification import Identification
from eg_agent.patterns.pattern import Pattern
from eg_agent.records.ledger import Policy, for_record
from eg_agent.values import from_dict, from_json, to_dict, to_json

Cell = tuple[float, float, float, float, float, float]

#: Where the identifier comes from when nothing else is said.
DEFAULT_IDENTIFIER = "eg_agent.agent.worker:default_identifier"


class Identifies(Protocol):
    """What a factory must return: `eg_agent.identify.Identifier`, or anything with its method."""

    def identify(self, pattern: Pattern, cell: Cell | None = None) -> Identification: ...


def default_identifier(checkpoint: str = "default", prior: str = "mineral") -> Identifies:
    """The identifier with a checkpoint and a prior by name or path, as in `eg_agent.identify.Identifier`."""
    from eg_agent.identify import Identifier

    return Identifier(checkpoint, prior)


def resolve(path: str) -> Callable[..., Any]:
    """The object behind "package.module:name"; raises ImportError or AttributeError."""
    module, _, name = path.partition(":")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def task(
    pattern: Pattern, cell: Cell | None, state: State, policy: Policy, run_uid: str, mode: str
) -> dict[str, Any]:
    """One question to the worker as plain JSON types."""
    return {
        "pattern": to_dict(pattern),
        "cell": None if cell is None else list(cell),
        "state": to_dict(state),
        "policy": to_dict(policy),
        "run_uid": run_uid,
        "mode": mode,
    }


def answer(identifier: Identifies, question: dict[str, Any]) -> dict[str, Any]:
    """Identify and decide. The decider sees the identification as the ledger will hold it."""
    cell = question["cell"]
    pattern = from_dict(Pattern, question["pattern"])
    found = identifier.identify(pattern, cell=None if cell is None else tuple(cell))  # type: ignore[arg-type]
    recorded = from_json(Identification, to_json(for_record(found)))
    decision = (
        from_dict(Policy, question["policy"])
        .decider()
        .decide(
            recorded, from_dict(State, question["state"]), run_uid=question["run_uid"], mode=question["mode"]
        )
    )
    return {"identification": to_dict(recorded), "decision": to_dict(decision)}


def _read_lines(into: SimpleQueue[str]) -> None:
    for text in sys.stdin:
        into.put(text)
    os._exit(0)  # the agent is gone: end at once, even inside a fit that hangs


def main() -> None:
    """Serve until standard input ends."""
    # Whatever a library prints must not end up among the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def say(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    lines: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_read_lines, args=(lines,), daemon=True).start()
    settings = json.loads(lines.get())
    for path in settings["sys_path"]:
        if path not in sys.path:
            sys.path.append(path)
    if hasattr(os, "nice"):
        os.nice(settings["nice"])
    started = time.monotonic()
    try:
        identifier: Identifies = resolve(settings["identifier"])(**settings["settings"])
    except Exception as error:
        say({"failed": f"{type(error).__name__}: {error}"})
        raise SystemExit(1) from error
    say({"ready": time.monotonic() - started})
    while True:
        question = json.loads(lines.get())
        try:
            say({"id": question["id"], **answer(identifier, question)})
        except Exception as error:
            say({"id": question["id"], "error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main()
