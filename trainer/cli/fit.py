"""`eg-train fit`: train a checkpoint; the same command goes on where it was stopped."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from eg_agent.errors import BadInput


def fit(
    corpus: Annotated[Path, typer.Option(help="Corpus file from eg-train prepare.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder of the run.", show_default=False)],
    config: Annotated[str, typer.Option(help="small, paper, small-gpu or tiny.")] = "small",
    patterns: Annotated[int | None, typer.Option(help="Budget: patterns to see.")] = None,
    seconds: Annotated[
        float | None, typer.Option(help="Budget: seconds of training, resumptions included.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Budget: a time, like 2026-05-01T08:30 (UTC).")] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights and patterns.")] = None,
    batch: Annotated[
        int | None, typer.Option(help="Patterns a step, instead of the configuration's.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    resume: Annotated[Literal["auto", "never"], typer.Option(help="Go on from a state in --out.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="CPU threads; default: torch's choice.")] = None,
    max_shard_mb: Annotated[float, typer.Option(help="Largest file of a state, MiB.")] = 16.0,
    compile: Annotated[bool, typer.Option(help="torch.compile the network: worth it on a GPU.")] = False,
    tensorboard: Annotated[bool, typer.Option(help="Write TensorBoard events too.")] = False,
) -> None:
    """Train a network on simulated patterns of a corpus, within a budget; Ctrl-C saves.

    Give one of --patterns, --seconds and --until. Without any it trains for 20 minutes.
    """
    from trainer.config import Budget
    from trainer.config import config as named_config
    from trainer.fit import Request
    from trainer.fit import fit as run_fit

    settings = named_config(config)
    if seed is not None:
        settings = replace(settings, seed=seed)
    if batch is not None:
        settings = replace(settings, batch=batch)
    if settings.batch < 1 or (threads is not None and threads < 1) or max_shard_mb <= 0:
        raise BadInput("--batch, --threads and --max-shard-mb must be greater than 0.")
    if patterns is None and seconds is None and until is None:
        seconds = 1200.0
    budget = Budget(patterns, seconds, None if until is None else unix_time(until))
    request = Request(corpus, out, resume, device, threads, max_shard_mb, compile, tensorboard)
    run_fit(settings, budget, request)


def unix_time(text: str) -> float:
    """Seconds since 1970 of an ISO time, UTC unless it says otherwise; must be in the future."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadInput(f"--until {text!r} is not a time like 2026-05-01T08:30.") from error
    time = time if time.tzinfo else time.replace(tzinfo=UTC)
    if time <= datetime.now(UTC):
        raise BadInput(f"--until {text} has passed.")
    return time.timestamp()
