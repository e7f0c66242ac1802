"""`eg-train simulate`: patterns to files, for training elsewhere or for looking at them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from eg_agent.errors import BadInput


def simulate(
    out: Annotated[
        Path, typer.Option(help="Folder to write to; the same command goes on.", show_default=False)
    ],
    count: Annotated[int, typer.Option(min=1, help="Patterns.", show_default=False)],
    stage: Annotated[str, typer.Option(help="stage1, stage2, texture or beamline.")] = "stage2",
    seed: Annotated[int, typer.Option(help="With its number, what a pattern depends on.")] = 1,
    source: Annotated[
        Literal["corpus", "random"], typer.Option(help="Crystals of --corpus, or random ones of all groups.")
    ] = "corpus",
    corpus: Annotated[
        Path | None, typer.Option(help="Corpus file from eg-train prepare.", show_default=False)
    ] = None,
    split: Annotated[
        Literal["train", "held_out"], typer.Option(help="Which structures of the corpus.")
    ] = "train",
    workers: Annotated[int, typer.Option(min=1, help="Processes. The patterns do not depend on it.")] = 1,
    points: Annotated[int, typer.Option(min=2, help="Length of the grid.")] = 4096,
    start: Annotated[float, typer.Option(help="First grid point, degrees (Cu K-alpha1).")] = 5.0,
    end: Annotated[float, typer.Option(help="Last grid point, degrees (Cu K-alpha1).")] = 90.0,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where to compute.")] = "cpu",
    shard_size: Annotated[int, typer.Option(min=1, help="Patterns a file.")] = 2048,
    show: Annotated[bool, typer.Option(help="Draw the first patterns to OUT/_contact-sheet.png.")] = False,
) -> None:
    """Simulate patterns of a stage of the curriculum to Parquet files, with a manifest of how.

    Pattern i depends on the seed, the settings and i alone. A call that was stopped goes on with the same
    command, and a greater --count adds patterns.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from eg_agent.patterns import Grid
    from trainer.cli.compiling import say_if_compiling
    from trainer.simulating import Request, simulate_to

    if source == "corpus" and corpus is None:
        raise BadInput("give --corpus FILE (eg-train prepare makes one), or --source random.")
    if source == "random" and corpus is not None:
        raise BadInput("--source random takes no --corpus: leave out one of them.")
    request = Request(
        stage=stage,
        count=count,
        seed=seed,
        corpus=corpus,
        grid=Grid(start, end, points),
        workers=workers,
        device=device,
        shard_size=shard_size,
        split=split,
    )
    if device == "cpu":
        say_if_compiling()
    columns = (TextColumn("Simulating"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=count)
        manifest, made = simulate_to(out, request, progress=lambda done: bar.advance(task, done))
    size = sum(path.stat().st_size for path in out.glob("patterns-*.parquet"))
    typer.echo(
        f"{out}: {manifest.count:,} patterns of {stage} ({made:,} made now) in {manifest.shards} "
        f"file{'s' * (manifest.shards > 1)}, {size / 1e6:.1f} MB"
    )
    if show:
        from trainer.sheet import draw_sheet

        typer.echo(f"{draw_sheet(out)}: the first patterns")
