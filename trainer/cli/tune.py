"""`eg-train tune`: search the few dials that matter with Ray Tune; the same command goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from eg_agent.errors import BadInput


def tune(
    corpus: Annotated[Path, typer.Option(help="Corpus file from eg-train prepare.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder of the search.", show_default=False)],
    config: Annotated[str, typer.Option(help="Configuration that the search starts from.")] = "cpu-small",
    trials: Annotated[
        int, typer.Option(min=1, help="Settings to try; the first is the configuration's own.")
    ] = 16,
    patterns: Annotated[
        int, typer.Option(min=1, help="Patterns that a trial sees if it comes through.")
    ] = 64_000,
    ray: Annotated[str, typer.Option(help="local, auto, or HOST:PORT of the cluster's head.")] = "local",
    storage: Annotated[
        str | None, typer.Option(help="Folder or URL that all nodes see. Default: OUT/ray.")
    ] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Of each trial.")] = "auto",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of each trial.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the settings that are tried.")] = 0,
) -> None:
    """Search learning rate, batch, weight decay and share of random crystals (ASHA); results in trials.csv.

    Trials are compared on simulated patterns of held-out structures, never on measured ones.
    """
    from trainer.cluster.tune import TuneRequest, search
    from trainer.config import config as named_config

    if threads < 1:
        raise BadInput("--threads must be at least 1.")
    request = TuneRequest(corpus, out, trials, patterns, ray, storage, device, threads, seed)
    search(named_config(config), request)
