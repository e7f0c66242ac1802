"""`eg-agent doctor`: what an unattended agent needs, looked at before the shift begins."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from eg_agent.cli.options import Checkpoint, Records, records_folder, secret_in


def doctor(
    tiled: Annotated[str, typer.Option(help="URI of the Tiled catalog.")] = "",
    queue: Annotated[str, typer.Option(help="RE Manager: tcp://HOST:60615, or http://HOST:60610.")] = "",
    group: Annotated[str, typer.Option(help="Group of the queue server.")] = "agents",
    plan: Annotated[str, typer.Option(help="The plan that measures.")] = "eg_measure",
    redis: Annotated[str, typer.Option(help="Redis; with a password, in $EG_AGENT_REDIS instead.")] = "",
    records: Records = None,
    tiled_key_file: Annotated[Path | None, typer.Option(help="File that holds Tiled's key.")] = None,
    checkpoint: Checkpoint = "default",
) -> None:
    """Look at everything that an agent needs: a line each, with the remedy.

    Exit status 1 when anything failed; a warning alone does not.
    """
    from rich.console import Console
    from rich.markup import escape

    from eg_agent.operations.doctor import Place, examine
    from eg_agent.operations.logs import SECRETS

    if tiled_key_file is not None:
        os.environ["TILED_API_KEY"] = secret_in(tiled_key_file)
    store = redis or os.environ.get("EG_AGENT_REDIS", "")
    for secret in (tiled, store, os.environ.get("TILED_API_KEY", "")):
        SECRETS.add(secret)
    place = Place(records_folder(records), tiled, queue, group, plan, store, checkpoint)
    console = Console(soft_wrap=True, highlight=False)
    colour = {"ok": "green", "warning": "yellow", "failed": "red", "skipped": "dim"}
    failed = False
    for finding in examine(place):
        failed |= finding.grade == "failed"
        remedy = f" -> {finding.remedy}" if finding.remedy else ""
        tint = colour[finding.grade]
        console.print(f"[{tint}]{finding.grade:8}[/] {finding.what:15} {escape(finding.said + remedy)}")
    if failed:
        raise typer.Exit(1)
