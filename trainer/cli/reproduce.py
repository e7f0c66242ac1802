"""`eg-train reproduce`: the paper's tables at a desk's budget; the same command goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eg_agent.errors import BadInput


def reproduce(
    table: Annotated[str, typer.Argument(help="Name of a table, or all; a wrong one lists them.")],
    out: Annotated[Path, typer.Option(help="Folder of runs and tables.", show_default=False)],
    corpus: Annotated[
        Path | None, typer.Option(help="Corpus file from eg-train prepare. Not needed with --plan.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder of measured patterns (index.csv, patterns.npz).")
    ] = None,
    patterns: Annotated[int, typer.Option(help="Budget of a run.")] = 64_000,
    seeds: Annotated[int, typer.Option(help="Runs of each variant.")] = 3,
    minutes: Annotated[
        float | None, typer.Option(help="Wall time of this call: then save and stop; call again to go on.")
    ] = None,
    simulated: Annotated[int, typer.Option(help="Held-out patterns that a network is judged on.")] = 2048,
    limit: Annotated[
        int | None, typer.Option(help="Measured patterns, drawn at random; default all.")
    ] = None,
    reference: Annotated[str, typer.Option(help="Configuration that variants start from.")] = "cpu-hybrid",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="CPU threads.")] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="List the runs with estimated core-hours, no more.")
    ] = False,
) -> None:
    """Make a table of the paper (arXiv:2604.23811) beside ours, run by run; finished runs are kept."""
    from trainer.reproduce import plan as planning

    if min(patterns, seeds, simulated, 1 if limit is None else limit) < 1 or (minutes or 1) <= 0:
        raise BadInput("--patterns, --seeds, --simulated, --limit and --minutes must be greater than 0.")
    names = planning.tables_named(table)
    base = planning.reference(reference)
    specs = planning.specs_of(names, seeds)
    if plan:
        total = 0.0
        for spec in specs:
            hours = planning.core_hours(spec, base, patterns)
            total += hours
            typer.echo(f"{spec.name:32s} {round(patterns * spec.share):8,d} patterns {hours:6.2f} core-hours")
        typer.echo(f"{len(specs)} runs, {total:.1f} core-hours")
        return
    if corpus is None:
        raise BadInput("give --corpus, a file from eg-train prepare (or --plan, to see what would run).")
    from trainer.reproduce.running import Options, make_runs
    from trainer.reproduce.tables import as_markdown, make_table

    options = Options(corpus, out, data, patterns, simulated, limit, minutes, threads, device)
    done = make_runs(specs, base, options, typer.echo)
    for name in names:
        typer.echo(as_markdown(make_table(name, out, seeds)))
    if not done:
        typer.echo("not all runs are finished: the same command goes on from here.")
