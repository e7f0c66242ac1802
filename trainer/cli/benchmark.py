"""`eg-train benchmark`: the product on measured patterns, beside the rows that see no pattern."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from eg_agent.errors import BadInput
from trainer.cli.progress import bar


def benchmark(
    data: Annotated[
        Path | None, typer.Option(help="Folder with index.csv and patterns.npz.", show_default=False)
    ] = None,
    what: Annotated[
        Literal["network", "verify", "index", "pipeline", "robustness", "composition", "properties"],
        typer.Option(
            help="verify and index: known_cell rows; composition: benchmark rows with a formula; "
            "properties: --structures; the others: benchmark rows."
        ),
    ] = "network",
    structures: Annotated[
        Path | None,
        typer.Option(
            help="Parquet laid out as materials_project.parquet, for properties.", show_default=False
        ),
    ] = None,
    with_trained: Annotated[
        bool, typer.Option("--with-trained", help="Count formulas that were trained on, apart (properties).")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of tables.")] = False,
    checkpoint: Annotated[str, typer.Option(help="Shipped checkpoint, or a file.")] = "default",
    prior: Annotated[str, typer.Option(help="mineral, inorganic, organic, uniform, or a file.")] = "mineral",
    calibrate_folds: Annotated[
        int | None,
        typer.Option(min=2, help="Fit T and prior by folds grouped by compound. Default: as shipped."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many rows, drawn with the seed.")] = None,
    without: Annotated[list[str] | None, typer.Option(help="Leave out a crystal system; repeatable.")] = None,
    by: Annotated[
        list[str] | None, typer.Option(help="Strata beside the source: system, half, lines, signal.")
    ] = None,
    unseen: Annotated[
        Path | None, typer.Option(help="Unseen ids, from eg-train unseen.", show_default=False)
    ] = None,
    library: Annotated[
        Path | None, typer.Option(help="Library for --what pipeline.", show_default=False)
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Folder that keeps cells and fits of --what pipeline: a stopped run goes on, and another "
            "calibration or checkpoint is judged in seconds.",
            show_default=False,
        ),
    ] = None,
    graph: Annotated[
        Path | None, typer.Option(help="JSON with published_edges, for hops on it.", show_default=False)
    ] = None,
    fusion: Annotated[
        Literal["log-pool", "linear", "auto"], typer.Option(help="Of the two heads, with --calibrate-folds.")
    ] = "log-pool",
    report: Annotated[
        Path | None, typer.Option(help="Folder for a page with pictures.", show_default=False)
    ] = None,
    time_limit: Annotated[
        float, typer.Option(min=0.1, help="Seconds a pattern, for index and pipeline.")
    ] = 10.0,
    workers: Annotated[int, typer.Option(min=1, help="Processes; 1 gives honest seconds.")] = 1,
    seed: Annotated[int, typer.Option(help="Of folds, permutations and the bootstrap.")] = 0,
) -> None:
    """Score the product on labelled patterns, with 95 % intervals by compound."""
    from rich.console import Console

    from trainer.benchmark.benchmark import Options, run
    from trainer.benchmark.report import print_report

    if what == "properties":
        if structures is None:
            raise BadInput("give --structures, a parquet laid out as materials_project.parquet.")
        _properties(structures, checkpoint, as_json, with_trained=with_trained, limit=limit, seed=seed)
        return
    if data is None:
        raise BadInput("give --data, the folder with index.csv and patterns.npz.")
    if structures is not None or with_trained:
        raise BadInput("--structures and --with-trained belong to --what properties.")
    if report is not None and report.exists() and not report.is_dir():
        raise BadInput(f"{report} is a file: give a folder with --report.")
    options = Options(
        what=what,
        checkpoint=checkpoint,
        prior=prior,
        calibrate_folds=calibrate_folds,
        limit=limit,
        workers=workers,
        without=tuple(without or ()),
        by=tuple(by or ()),
        time_limit=time_limit,
        unseen=unseen,
        library=None if library is None else str(library),
        cache=None if cache is None else str(cache),
        graph=graph,
        fusion=fusion,
        seed=seed,
    )
    with bar(what) as update:
        result = run(data, options, update)
    if report is not None:
        from trainer.benchmark.page import write_page

        write_page(report, result, what)
    if as_json:
        typer.echo(json.dumps(result, indent=1, allow_nan=False))
    else:
        # A file or a pipe has no width of its own: the table needs 100 columns.
        console = Console()
        print_report(result, what, console if console.is_terminal else Console(width=max(100, console.width)))


def _properties(
    structures: Path, checkpoint: str, as_json: bool, *, with_trained: bool, limit: int | None, seed: int
) -> None:
    """A multimodal checkpoint on the structures of a parquet."""
    from rich.console import Console

    from trainer.benchmark.properties import print_properties, run_properties

    with bar("structures") as update:
        result = run_properties(
            structures, checkpoint, with_trained=with_trained, limit=limit, seed=seed, progress=update
        )
    if as_json:
        typer.echo(json.dumps(result, indent=1, allow_nan=False))
    else:
        console = Console()
        print_properties(result, console if console.is_terminal else Console(width=max(100, console.width)))
