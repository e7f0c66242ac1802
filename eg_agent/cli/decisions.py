"""`eg-agent decisions`: what an agent in mode "propose" waits for, and a person's answer to it."""

from __future__ import annotations

import getpass
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eg_agent.cli.options import Records, records_folder
from eg_agent.errors import BadInput

if TYPE_CHECKING:
    from eg_agent.queue.board import Proposal, Proposals, Verdict

decisions = typer.Typer(
    help="Proposed decisions: list, approve (with edits) or reject them.",
    no_args_is_help=True,
    add_completion=False,
)

_Id = Annotated[str, typer.Argument(help="As `eg-agent decisions list` shows it; its beginning is enough.")]
_Reason = Annotated[str, typer.Option("--reason", help="For the record.")]
_Redis = Annotated[
    str | None,
    typer.Option("--redis", help="Redis of the agents; with a password, in $EG_AGENT_REDIS instead."),
]
_Group = Annotated[str, typer.Option("--group", help="Group of the agents (with Redis).")]
_Shift = Annotated[str, typer.Option("--shift", help="Name of the shift (with Redis).")]
_By = Annotated[str | None, typer.Option("--by", help="Who answers; the login name by default.")]


@decisions.command("list")
def list_(
    records: Records = None, redis: _Redis = None, group: _Group = "agents", shift: _Shift = ""
) -> None:
    """List the decisions that wait for a person."""
    from rich.console import Console
    from rich.table import Table

    waiting = _store(records, redis, group, shift).proposals()
    if not waiting:
        typer.echo("no decision waits.")
        return
    table = Table("decision", "sample", "action", "windows (deg)", "s a point", "takes", "expires in", "why")
    now = time.time()
    for proposal in waiting:
        decision = proposal.decision
        table.add_row(
            decision.decision_id,
            decision.sample,
            decision.action,
            " ".join(f"{low:g}-{high:g}" for low, high in decision.windows),
            "" if decision.seconds_per_point is None else f"{decision.seconds_per_point:g}",
            f"{decision.cost:.0f} s",
            f"{(proposal.expires - now) / 60.0:.0f} min",
            decision.reason,
        )
    Console().print(table)


@decisions.command()
def approve(
    decision_id: _Id,
    seconds: Annotated[float | None, typer.Option(help="Other counting time, seconds a point.")] = None,
    window: Annotated[
        list[str] | None, typer.Option(metavar="LOW,HIGH", help="Other windows, degrees; once for each.")
    ] = None,
    reason: _Reason = "",
    by: _By = None,
    records: Records = None,
    redis: _Redis = None,
    group: _Group = "agents",
    shift: _Shift = "",
) -> None:
    """Let a proposed decision be carried out, as it is or edited inside the limits."""
    from eg_agent.decide.limits import Costs
    from eg_agent.queue.approval import edited

    store = _store(records, redis, group, shift)
    proposal = _find(store, decision_id)
    verdict = _verdict(proposal, accepted=True, by=by, reason=reason, seconds=seconds, windows=window)
    _, problems = edited(proposal.decision, verdict, proposal.limits, proposal.state, Costs())
    if problems:
        raise BadInput(f"refused: {' '.join(problems)}")
    store.settle(verdict)
    typer.echo(f"approved {proposal.decision.decision_id}; the agent checks it again and queues it.")


@decisions.command()
def reject(
    decision_id: _Id,
    reason: _Reason = "",
    by: _By = None,
    records: Records = None,
    redis: _Redis = None,
    group: _Group = "agents",
    shift: _Shift = "",
) -> None:
    """Refuse a proposed decision; the shift goes on as its settings say."""
    store = _store(records, redis, group, shift)
    proposal = _find(store, decision_id)
    store.settle(_verdict(proposal, accepted=False, by=by, reason=reason))
    typer.echo(f"rejected {proposal.decision.decision_id}.")


def _store(records: Path | None, redis: str | None, group: str, shift: str) -> Proposals:
    from eg_agent.queue.board import FolderProposals
    from eg_agent.queue.board_redis import RedisProposals

    url = redis or os.environ.get("EG_AGENT_REDIS")
    if url and records is None:
        if not shift:
            raise BadInput("with Redis, say which shift: --shift NAME, as in its settings.")
        return RedisProposals(url, group, shift)
    folder = records_folder(records)
    if not folder.is_dir():
        raise BadInput(f"{folder} is no folder of an agent's records: give --records, as in its own command.")
    return FolderProposals(folder)


def _find(store: Proposals, beginning: str) -> Proposal:
    found = [p for p in store.proposals() if p.decision.decision_id.startswith(beginning)]
    if len(found) != 1 or not beginning:
        what = "no decision waits" if not found else f"{len(found)} decisions wait"
        raise BadInput(f"{what} under {beginning!r}: see eg-agent decisions list.")
    return found[0]


def _verdict(
    proposal: Proposal,
    *,
    accepted: bool,
    by: str | None,
    reason: str,
    seconds: float | None = None,
    windows: list[str] | None = None,
) -> Verdict:
    from eg_agent.queue.board import Verdict

    return Verdict(
        decision_id=proposal.decision.decision_id,
        accepted=accepted,
        by=by or getpass.getuser(),
        reason=reason,
        windows=None if not windows else tuple(_window(text) for text in windows),
        seconds_per_point=seconds,
        time=time.time(),
    )


def _window(text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise BadInput(f"--window {text!r} is not LOW,HIGH in degrees.") from None
    return low, high
