"""`eg-agent watch`: classify somebody else's scans live, from another process or host."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eg_agent.cli.options import (
    Checkpoint,
    Identifier,
    Prior,
    Records,
    WavelengthOfRuns,
    check_model,
    check_tiled,
    secret_in,
)
from eg_agent.errors import BadInput, EgAgentError

if TYPE_CHECKING:
    from eg_agent.agent.watch import Watch


def watch(
    tiled: Annotated[
        str, typer.Option(help="URI of the Tiled catalog; its key in $TILED_API_KEY or --key-file.")
    ],
    mode: Annotated[
        str, typer.Option(help="observe: says what it would measure. propose: a person answers y or n.")
    ] = "observe",
    key_file: Annotated[Path | None, typer.Option(help="File that holds Tiled's key.")] = None,
    records: Records = None,
    cell: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SAMPLE=a,b,c,alpha,beta,gamma", help="Known cell of a sample; may be repeated."
        ),
    ] = None,
    wavelength: WavelengthOfRuns = None,
    two_theta: Annotated[str | None, typer.Option(help="Data key of the angle; found by name.")] = None,
    intensity: Annotated[str | None, typer.Option(help="Data key of the counts; found by name.")] = None,
    live: Annotated[float, typer.Option(help="Seconds between looks at a run that goes on; 0: none.")] = 2.0,
    hours: Annotated[
        float | None, typer.Option(help="Identify what was measured in the last hours, too.")
    ] = None,
    poll: Annotated[float, typer.Option(help="Seconds between questions where Tiled has no stream.")] = 5.0,
    json_lines: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    checkpoint: Checkpoint = "default",
    prior: Prior = "mineral",
    identifier: Identifier = None,
    until_idle: Annotated[
        float | None, typer.Option(help="End when nothing was measured for so many seconds.")
    ] = None,
) -> None:
    """Classify the scans in a Tiled catalog while they are measured, whoever measures them.

    Nothing is moved, and nothing is written to Tiled. Ctrl-C or SIGTERM ends it; started again, it goes on
    where it was.
    """
    if mode not in ("observe", "propose"):
        raise BadInput(f"--mode {mode!r} is unknown: observe or propose. What acts is `eg-agent run`.")
    if live < 0 or poll <= 0:
        raise BadInput("--live takes 0 or more seconds, --poll more than 0.")
    if hours is not None and hours < 0:
        raise BadInput(f"--hours {hours:g}: give hours back from now, 0 or more.")
    check_tiled(tiled)
    if identifier is None:
        check_model(checkpoint, prior)
    if key_file is not None:
        os.environ["TILED_API_KEY"] = secret_in(key_file)

    from eg_agent.agent.watch import Watch
    from eg_agent.agent.worker import DEFAULT_IDENTIFIER
    from eg_agent.records.run_data import DataKeys

    shown = _Shown(json_lines)
    with Watch(
        tiled,
        since=None if hours is None else time.time() - 3600.0 * hours,
        poll=poll,
        mode=mode,
        records=records,
        cells=dict(_cell(text) for text in cell or ()),
        radiation=wavelength,
        keys=DataKeys(two_theta, intensity) if two_theta or intensity else None,
        identifier=identifier or DEFAULT_IDENTIFIER,
        identifier_settings={"checkpoint": checkpoint, "prior": prior} if identifier is None else None,
        live=live or None,
        listeners=(shown.answer,),
        live_listeners=(shown.look,),
        announce=shown.text,
    ) as watching:
        ended = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: ended.set())
        if mode == "propose":
            threading.Thread(target=_verdicts, args=(watching, shown), daemon=True).start()
        while not ended.wait(0.5):
            if until_idle is None or time.monotonic() - shown.last <= until_idle:
                continue
            if watching.follower.looks and not watching.follower.open_runs and watching.agent.wait(0.0):
                break
        shown.text("[eg-agent] ends; what was measured stays in Tiled, what was said in the ledger")


class _Shown:
    """What is printed: a line an answer; looks overwrite each other on a terminal."""

    def __init__(self, json_lines: bool) -> None:
        self._json = json_lines
        self._terminal = sys.stdout.isatty() and not json_lines
        self._lock = threading.Lock()
        self._look = False
        self.last = time.monotonic()

    def answer(self, answer: object) -> None:
        """A run that has ended."""
        from eg_agent.agent.answer import line

        self._write(self._as_json(answer) if self._json else line(answer), look=False)  # type: ignore[arg-type]

    def look(self, answer: object) -> None:
        """A run that goes on."""
        from eg_agent.agent.answer import live_line

        self._write(self._as_json(answer) if self._json else live_line(answer), look=True)  # type: ignore[arg-type]

    def text(self, text: str) -> None:
        """About the agent itself; in JSON mode on standard error."""
        if self._json:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()
        else:
            self._write(text, look=False)

    def _write(self, text: str, *, look: bool) -> None:
        with self._lock:
            self.last = time.monotonic()
            start = "\r\x1b[K" if self._terminal and self._look else ""
            sys.stdout.write(start + text + ("" if look and self._terminal else "\n"))
            self._look = look
            sys.stdout.flush()

    @staticmethod
    def _as_json(answer: object) -> str:
        from eg_agent.values import to_json

        return to_json(answer)


def _verdicts(watching: Watch, shown: _Shown) -> None:
    """Lines on standard input: y or n to the last proposal, with its id to an earlier one."""
    for text in sys.stdin:
        said, _, ident = text.strip().partition(" ")
        waiting = [decision.decision_id for decision in watching.agent.proposals]
        ident = ident or (waiting[-1] if waiting else "")
        try:
            if said.lower() in ("y", "yes"):
                watching.agent.approve(ident)
            elif said.lower() in ("n", "no"):
                watching.agent.refuse(ident)
            elif said:
                raise BadInput(f"{text.strip()!r} is no answer: y or n, with the id of an earlier proposal.")
            else:
                continue
            shown.text(f"[eg-agent] {ident}: {'accepted' if said.lower()[0] == 'y' else 'refused'}")
        except EgAgentError as error:
            shown.text(f"[eg-agent] {error}")


def _cell(text: str) -> tuple[str, tuple[float, ...]]:
    """`name=a,b,c,alpha,beta,gamma`, a cell that can exist."""
    from eg_agent.verify.metric import check_cell

    sample, _, numbers = text.partition("=")
    try:
        cell = tuple(float(value) for value in numbers.split(","))
    except ValueError:
        cell = ()
    if not sample or len(cell) != 6:
        raise BadInput(f"--cell {text!r}: give SAMPLE=a,b,c,alpha,beta,gamma in angstrom and degrees.")
    return sample, check_cell(cell)
