"""The worker's side: a process that loads the models once, and identifies one pattern after the other.

Run as `python -m eg_agent.agent.worker`; one line of JSON in, one line of JSON out. It is started as a
command, not by `multiprocessing`, because that imports the main script again in the child: a script
without a main guard would run its scans twice.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from inspect import signature
from queue import Empty, SimpleQueue
from typing import Any, Protocol, runtime_checkable

import numpy as np

from eg_agent.agent.readings import Places, Readings, ToRead
from eg_agent.chemistry import Composition
from eg_agent.decide.state import State
from eg_agent.errors import BadInput, EgAgentError
from eg_agent.identify.identification import Identification
from eg_agent.patterns.pattern import Pattern
from eg_agent.patterns.radiation import Radiation
from eg_agent.records.child import answers
from eg_agent.records.ledger import Policy, for_record
from eg_agent.records.run_data import NotAPattern
from eg_agent.values import from_dict, from_json, to_dict, to_json

_log = logging.getLogger(__name__)

Cell = tuple[float, float, float, float, float, float]

#: Seconds between two looks for a checkpoint promoted in the meantime, while there is nothing to do.
_IDLE = 2.0

#: Where the identifier comes from when nothing else is said.
DEFAULT_IDENTIFIER = "eg_agent.agent.worker:default_identifier"


@runtime_checkable
class Follows(Protocol):
    """An identifier whose checkpoint may change between two answers (`eg_agent.identify.following`)."""

    def refresh(self) -> bool: ...

    def take_told(self) -> list[str]: ...


class Identifies(Protocol):
    """What a factory must return: `eg_agent.identify.Identifier`, or anything with its method.

    Where a sample's chemistry is known it is asked with `composition`, too.
    """

    def identify(self, pattern: Pattern, cell: Cell | None = None) -> Identification: ...


def default_identifier(
    checkpoint: str = "default", prior: str = "mineral", index_seconds: float = 0.0
) -> Identifies:
    """The identifier with a checkpoint and a prior by name or path, as in `eg_agent.identify.Identifier`.

    checkpoint: a folder of promoted checkpoints is followed: what is promoted later answers from then on.
    index_seconds: for looking for a cell where none is given; 0: not at all.
    """
    from eg_agent.identify import Identifier, IdentifySettings
    from eg_agent.model.promoted import is_promoted

    settings = IdentifySettings(index_seconds=index_seconds)
    found: Identifies
    if is_promoted(checkpoint):
        from eg_agent.identify.following import FollowingIdentifier

        found = FollowingIdentifier(checkpoint, prior, settings)
    else:
        found = Identifier(checkpoint, prior, settings)
    _rehearse(found)
    return found


def _rehearse(identifier: Identifies) -> None:
    """One made-up pattern through network, fit and decision: the first of anything takes seconds more."""
    a, wavelength = 4.0, 1.5406  # a primitive cubic cell, angstrom
    two_theta = np.arange(10.0, 90.0, 0.02)
    squares = sorted({h * h + k * k + m * m for h in range(5) for k in range(5) for m in range(5)} - {0})
    sines = wavelength * np.sqrt(squares) / (2.0 * a)
    lines = 2.0 * np.degrees(np.arcsin(sines[sines < 0.7]))
    shapes = np.exp(-0.5 * ((two_theta[:, None] - lines) / 0.05) ** 2)
    counts = np.rint(20.0 + 1000.0 * shapes.sum(axis=1))
    pattern = Pattern(
        two_theta, counts, Radiation(wavelength), counting_time=np.ones(two_theta.size), raw_counts=True
    )
    try:
        answer = identifier.identify(pattern, (a, a, a, 90.0, 90.0, 90.0))
        Policy().decider().decide(for_record(answer), State(sample=""), run_uid="", mode="observe")
    except Exception:  # the same with a real pattern is an answer of its own, with the reason
        _log.warning("the rehearsal failed", exc_info=True)


def resolve(path: str) -> Callable[..., Any]:
    """The object behind "package.module:name"; raises ImportError or AttributeError."""
    module, _, name = path.partition(":")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def task(
    what: Pattern | ToRead,
    cell: Cell | None,
    state: State | None,
    policy: Policy,
    run_uid: str,
    mode: str,
    composition: Composition | None = None,
) -> dict[str, Any]:
    """One question to the worker as plain JSON types: a pattern with its state, or runs to be read."""
    question: dict[str, Any] = {
        "cell": None if cell is None else list(cell),
        "composition": None if composition is None else to_dict(composition),
        "policy": to_dict(policy),
        "run_uid": run_uid,
        "mode": mode,
    }
    if isinstance(what, Pattern):
        assert state is not None
        return {**question, "pattern": to_dict(what), "state": to_dict(state)}
    return {**question, "runs": to_dict(what)}


class Brain:
    """What the worker holds: the identifier, what it has read, and its last answer."""

    def __init__(self, identifier: Identifies, readings: Readings | None = None) -> None:
        self._identifier = identifier
        self._readings = readings
        self._last: tuple[str, Identification, str] | None = None

    def refresh(self) -> None:
        """Take up a checkpoint that was promoted in the meantime, where the identifier follows one."""
        if isinstance(self._identifier, Follows) and self._identifier.refresh():
            self._last = None  # the next answer is the new checkpoint's

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """Read, identify, decide; `told` says what became of checkpoints since the last answer."""
        self.refresh()
        answer = self._answer(question)
        told = self._identifier.take_told() if isinstance(self._identifier, Follows) else []
        return {**answer, "told": told} if told else answer

    def _answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """Read, identify, decide. The decider sees the identification as the ledger will hold it.

        Runs that hold no pattern, or none that can be read, are an answer, too: `not_a_pattern`,
        `unreadable` with the reason.
        """
        policy = from_dict(Policy, question["policy"])
        told: dict[str, Any] = {}
        if "runs" in question:
            assert self._readings is not None
            try:
                reading = self._readings.read(from_dict(ToRead, question["runs"]), policy)
            except NotAPattern as error:
                return {"not_a_pattern": str(error)}
            except EgAgentError as error:
                return {"unreadable": str(error)}
            pattern, state = reading.whole, reading.state
            told = {"pattern_from": reading.where, "problem": reading.problem, "points": len(pattern)}
        else:
            pattern, state = from_dict(Pattern, question["pattern"]), from_dict(State, question["state"])
        cell, chemistry = question["cell"], question.get("composition")
        recorded, unused = self._identify(
            pattern,
            None if cell is None else tuple(cell),  # type: ignore[arg-type]
            None if chemistry is None else from_dict(Composition, chemistry),
        )
        decision = policy.decider().decide(
            recorded, state, run_uid=question["run_uid"], mode=question["mode"]
        )
        return {
            **told,
            "identification": to_dict(recorded),
            "decision": to_dict(decision),
            "state": to_dict(state),
            "composition_unused": unused,
        }

    def _identify(
        self, pattern: Pattern, cell: Cell | None, composition: Composition | None
    ) -> tuple[Identification, str]:
        """The identification, and why the composition had no part in it ("" where it had, or none was told).

        For the pattern of the last question, its answer (a look at a run's end).
        """
        text = f"{pattern.uid}|{pattern.source}|{pattern.covered}|{cell}|{pattern.counting_time is None}"
        text += f"|{composition}"
        digest = hashlib.sha256(text.encode())
        if pattern.counting_time is not None:
            digest.update(pattern.counting_time.tobytes())
        if self._last is not None and self._last[0] == digest.hexdigest():
            return self._last[1], self._last[2]
        unused = ""
        identify: Any = self._identifier.identify
        if composition is None:
            found = identify(pattern, cell=cell)
        elif "composition" not in signature(identify).parameters:
            unused = "the composition is not used: this identifier reads none"
            found = identify(pattern, cell=cell)
        else:
            try:
                found = identify(pattern, cell=cell, composition=composition)
            except BadInput as error:  # a checkpoint that reads none is no reason to have no answer
                unused = f"the composition is not used: {error}"
                found = identify(pattern, cell=cell)
        recorded = from_json(Identification, to_json(for_record(found)))
        self._last = (digest.hexdigest(), recorded, unused)
        return recorded, unused


def _read_lines(into: SimpleQueue[str]) -> None:
    for text in sys.stdin:
        into.put(text)
    os._exit(0)  # the agent is gone: end at once, even inside a fit that hangs


def main() -> None:
    """Serve until standard input ends."""
    say = answers()
    lines: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_read_lines, args=(lines,), daemon=True).start()
    settings = json.loads(lines.get())
    for path in settings["sys_path"]:
        if path not in sys.path:
            sys.path.append(path)
    if hasattr(os, "nice"):
        os.nice(settings["nice"])
    started = time.monotonic()
    readings = None
    try:
        if settings["places"] is not None:
            source = from_dict(Places, settings["places"]).source()
            source.warm()
            readings = Readings(source)
        identifier: Identifies = resolve(settings["identifier"])(**settings["settings"])
    except Exception as error:
        say({"failed": f"{type(error).__name__}: {error}"})
        raise SystemExit(1) from error
    brain = Brain(identifier, readings)
    say({"ready": time.monotonic() - started})
    while True:
        try:
            question = json.loads(lines.get(timeout=_IDLE))
        except Empty:
            brain.refresh()
            continue
        try:
            say({"id": question["id"], **brain.answer(question)})
        except Exception as error:
            say({"id": question["id"], "error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main()
