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
    config: Annotated[
        str, typer.Option(help="Name of a configuration; a wrong one lists them.")
    ] = "cpu-small",
    stage: Annotated[
        str | None, typer.Option(help="Stage of the curriculum, instead of the configuration's.")
    ] = None,
    patterns: Annotated[int | None, typer.Option(min=1, help="Budget: patterns to see.")] = None,
    seconds: Annotated[
        float | None, typer.Option(help="Budget: seconds of training, resumptions included.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Budget: a time, like 2026-05-01T08:30 (UTC).")] = None,
    begin_from: Annotated[
        str | None,
        typer.Option("--from", help="Checkpoint (name or .json) whose weights the run begins with."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights and patterns.")] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Patterns a step, instead of the configuration's.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    resume: Annotated[Literal["auto", "never"], typer.Option(help="Go on from a state in --out.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; default: torch's choice.")] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Wall time of this call: then save and stop; call again to go on.")
    ] = None,
    part_mib: Annotated[
        float, typer.Option("--part-mib", "--max-shard-mb", help="Largest file of a state, MiB.")
    ] = 16.0,
    compile: Annotated[bool, typer.Option(help="torch.compile the network: worth it on a GPU.")] = False,
    tensorboard: Annotated[bool, typer.Option(help="Write TensorBoard events too.")] = False,
    ray: Annotated[
        str | None, typer.Option(help="Train on Ray: local, auto, or HOST:PORT of the cluster's head.")
    ] = None,
    workers: Annotated[
        str | None, typer.Option(help="On Ray: how many, or the fewest and most, like 2:16. Default: 1.")
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(help="On Ray: folder or URL of this run that all nodes see. Default: OUT/ray."),
    ] = None,
) -> None:
    """Train a network on simulated patterns of a corpus, within a budget; Ctrl-C saves.

    Give one of --patterns, --seconds and --until. Without any it trains for 20 minutes. The same command
    goes on where it was stopped, with --ray or without.
    """
    from trainer.cli.compiling import say_if_compiling
    from trainer.config import Budget
    from trainer.config import config as named_config
    from trainer.fit import Request
    from trainer.fit import fit as run_fit

    settings = named_config(config)
    if seed is not None:
        settings = replace(settings, seed=seed)
    if batch is not None:
        settings = replace(settings, batch=batch)
    if stage is not None:
        settings = replace(settings, curriculum=stage)
    if begin_from is not None:
        settings = replace(settings, begin_from=begin_from)
    positive = (
        settings.batch,
        1 if threads is None else threads,
        part_mib,
        1 if minutes is None else minutes,
    )
    if not all(number > 0 for number in positive):  # NaN is not, either
        raise BadInput("--batch, --threads, --part-mib and --minutes must be greater than 0.")
    if patterns is None and seconds is None and until is None:
        seconds = 1200.0
    budget = Budget(patterns, seconds, None if until is None else unix_time(until))
    request = Request(corpus, out, resume, device, threads, part_mib, compile, tensorboard, minutes)
    if ray is None:
        if workers is not None or storage is not None:
            raise BadInput(
                "--workers and --storage are for training on Ray: add --ray local, auto or HOST:PORT."
            )
        say_if_compiling()
        run_fit(settings, budget, request)
        return
    from trainer.cluster.launcher import Cluster, fit_on_ray, workers_range

    fit_on_ray(settings, budget, request, Cluster(ray, workers_range(workers or "1"), storage))


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
