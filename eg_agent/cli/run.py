"""`eg-agent run`: identify what a queue server measures, and queue what is to be measured next."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eg_agent.cli.options import (
    Checkpoint,
    Identifier,
    Prior,
    Records,
    WavelengthOfRuns,
    check_model,
    check_tiled,
    made_records_folder,
    secret_in,
)
from eg_agent.errors import BadInput

if TYPE_CHECKING:
    from eg_agent.queue.loop import QueueLoop


def run(
    settings: Annotated[
        Path, typer.Argument(metavar="SHIFT.toml", help="Samples, limits and policies of the shift.")
    ],
    tiled: Annotated[
        str, typer.Option(help="URI of the Tiled catalog; its key in $TILED_API_KEY or --tiled-key-file.")
    ],
    queue: Annotated[
        str | None,
        typer.Option(help="RE Manager: tcp://HOST:60615, or http://HOST:60610. Without it: observe only."),
    ] = None,
    group: Annotated[str, typer.Option(help="Group of the queue server whose permissions hold.")] = "agents",
    user: Annotated[str, typer.Option(help="Name that stands at the items of the queue.")] = "eg-agent",
    mode: Annotated[str, typer.Option(help="observe, propose or act.")] = "propose",
    records: Records = None,
    redis: Annotated[
        str | None,
        typer.Option(
            help="Redis for several agents on one shift; with a password, in $EG_AGENT_REDIS instead."
        ),
    ] = None,
    lease: Annotated[
        float, typer.Option(min=1.0, help="Seconds after which another agent takes over (with Redis).")
    ] = 10.0,
    tiled_key_file: Annotated[Path | None, typer.Option(help="File that holds Tiled's key.")] = None,
    checkpoint: Checkpoint = "default",
    prior: Prior = "mineral",
    identifier: Identifier = None,
    wavelength: WavelengthOfRuns = None,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Serve /healthz, /readyz and /metrics on this port."),
    ] = None,
    address: Annotated[str, typer.Option(help="Address of --port.")] = "127.0.0.1",
    log: Annotated[str, typer.Option(help="text, or json: one object a line.")] = "text",
    until_finished: Annotated[bool, typer.Option(help="End when every sample was dealt with.")] = False,
) -> None:
    """Identify what a queue server measures, and queue what is to be measured next.

    Sees runs end in Tiled, identifies them, decides inside the limits, and submits the next plan, with at
    most one successful run a decision whatever is killed. Ctrl-C or SIGTERM ends it; started again, it
    goes on.
    """
    from eg_agent.operations.logs import SECRETS, setup_logging

    if log not in ("text", "json"):
        raise BadInput(f"--log {log!r} is unknown: text or json.")
    if mode not in ("observe", "propose", "act"):
        raise BadInput(f"--mode {mode!r} is unknown: observe, propose or act.")
    if queue is None and mode != "observe":
        raise BadInput(f"mode {mode!r} needs a queue: give --queue tcp://HOST:60615, or --mode observe.")
    check_tiled(tiled)
    if identifier is None:
        check_model(checkpoint, prior)
    if tiled_key_file is not None:
        os.environ["TILED_API_KEY"] = secret_in(tiled_key_file)
    # Tiled's client tries again for 45 s before it says that the server is away; the loop tries again
    # itself, and meanwhile says what it waits for. Read when tiled is imported, here and in the worker.
    os.environ.setdefault("TILED_RETRY_TIMEOUT", "3")
    store = redis or os.environ.get("EG_AGENT_REDIS")
    for secret in (tiled, store or "", os.environ.get("TILED_API_KEY", "")):
        SECRETS.add(secret)
    setup_logging(log)  # type: ignore[arg-type]

    loop = _loop(
        settings,
        tiled=tiled,
        queue=queue,
        group=group,
        user=user,
        mode=mode,
        records=records,
        store=store,
        lease=lease,
        identifier=identifier,
        identifier_settings={"checkpoint": checkpoint, "prior": prior},
        wavelength=wavelength,
    )
    server = _serve(loop, port, address)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: loop.stop())
    try:
        loop.run(until_finished=until_finished)
    finally:
        loop.close()
        if server is not None:
            server.close()


def _loop(
    settings: Path,
    *,
    tiled: str,
    queue: str | None,
    group: str,
    user: str,
    mode: str,
    records: Path | None,
    store: str | None,
    lease: float,
    identifier: str | None,
    identifier_settings: dict[str, Any],
    wavelength: float | None,
) -> QueueLoop:
    from eg_agent.agent import Agent
    from eg_agent.agent.worker import DEFAULT_IDENTIFIER
    from eg_agent.queue.board import FolderBoard
    from eg_agent.queue.board_redis import RedisBoard
    from eg_agent.queue.entries import Entries
    from eg_agent.queue.loop import QueueLoop
    from eg_agent.queue.manager import QueueManager
    from eg_agent.queue.settings import read_settings
    from eg_agent.queue.share import SharedLedger
    from eg_agent.records.identifications import Identifications
    from eg_agent.records.ledger import Ledger
    from eg_agent.records.runs import Runs

    told = read_settings(settings)
    folder = made_records_folder(records)
    manager = None if queue is None else QueueManager(queue, group=group, user=user)
    board = (
        RedisBoard(store, group, told.shift.name, seconds=lease) if store is not None else FolderBoard(folder)
    )
    ledger = Ledger(folder / "ledger.jsonl")
    container = told.shift.identifications
    entries = Entries(ledger.path, Identifications(tiled, container)) if container else None

    def make_agent() -> Agent:
        return Agent(
            tiled,
            write=False,
            mode=mode,  # type: ignore[arg-type]
            policy=told.policy,
            identifier=identifier or DEFAULT_IDENTIFIER,
            identifier_settings=identifier_settings if identifier is None else None,
            radiation=wavelength,
            cells=dict(told.shift.cells),
            compositions=told.shift.chemistries(),
            records=folder,
            listeners=(),
            announce=None,
        )

    return QueueLoop(
        told,
        Runs(tiled, radiation=wavelength),
        manager,
        board,
        make_agent,
        lambda book: SharedLedger(ledger, board, book),
        mode=mode,
        entries=entries,
    )


def _serve(loop: QueueLoop, port: int | None, address: str) -> Any:
    if port is None:
        return None
    from eg_agent.operations.health import HealthServer
    from eg_agent.operations.metrics import metrics_of

    return HealthServer(loop.state, port, address=address, metrics=metrics_of(loop.state))
