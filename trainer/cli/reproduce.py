"""`eg-train reproduce`: the paper's tables at a desk's budget; the same command goes on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eg_agent.errors import BadInput

if TYPE_CHECKING:
    from trainer.config import TrainConfig
    from trainer.metrics import Topology
    from trainer.reproduce.plan import Spec


def reproduce(
    table: Annotated[
        str,
        typer.Argument(help="Name of a table, or all; a wrong one lists them. xxact: those of XxaCT-NN."),
    ],
    out: Annotated[Path, typer.Option(help="Folder of runs and tables.", show_default=False)],
    corpus: Annotated[
        Path | None,
        typer.Option(
            help="Corpus file from eg-train prepare; for xxact from eg-train materials. Not with --plan."
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder of measured patterns (index.csv, patterns.npz).")
    ] = None,
    patterns: Annotated[int, typer.Option(help="Budget of a run.")] = 64_000,
    seeds: Annotated[int | None, typer.Option(help="Runs of each variant; default 3, for xxact 1.")] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Wall time of this call: then save and stop; call again to go on.")
    ] = None,
    simulated: Annotated[int, typer.Option(help="Held-out patterns that a network is judged on.")] = 2048,
    limit: Annotated[
        int | None, typer.Option(help="Measured patterns, drawn at random; default all.")
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            help="What variants start from: cpu-hybrid (default), or desk, a third of its cost. For xxact "
            "the size of its runs: core (default), long, night or gpu."
        ),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Only this run of xxact; repeatable.", show_default=False)
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            help="Trained checkpoint for tables that need no run; needs --data.", show_default=False
        ),
    ] = None,
    graph: Annotated[
        Path | None, typer.Option(help="JSON with published_edges, for errors on it.", show_default=False)
    ] = None,
    page: Annotated[
        Path | None, typer.Option(help="Markdown page of all tables, PNGs beside.", show_default=False)
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="Another folder for the page's PNGs.", show_default=False)
    ] = None,
    only_tables: Annotated[
        bool, typer.Option("--only-tables", help="Train nothing: tables of the runs that are finished.")
    ] = False,
    ray: Annotated[
        str | None, typer.Option(help="Train xxact on Ray: local, auto or HOST:PORT.", show_default=False)
    ] = None,
    workers: Annotated[str, typer.Option(help="Of Ray: a number, or a range like 2:8.")] = "1",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="CPU threads.")] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="List the runs with estimated core-hours, no more.")
    ] = False,
) -> None:
    """Make a table of the paper (arXiv:2604.23811) beside ours, run by run; finished runs are kept.

    xxact: the tables of XxaCT-NN (arXiv:2507.01054), of runs on composition and pattern.
    """
    from trainer.reproduce import plan as planning

    if min(patterns, simulated, *(n for n in (seeds, limit) if n is not None)) < 1 or not (
        minutes is None or minutes > 0
    ):
        raise BadInput("--patterns, --seeds, --simulated, --limit and --minutes must be greater than 0.")
    if table == "xxact":
        from trainer.cli.xxact import reproduce_xxact

        reproduce_xxact(
            out,
            corpus,
            reference or "core",
            seeds=seeds or 1,
            minutes=minutes,
            limit=limit,
            page=page,
            pictures=pictures,
            only=tuple(only or ()),
            only_tables=only_tables,
            device=device,
            threads=threads,
            plan=plan,
            ray=ray,
            workers=workers,
        )
        return
    if only or ray is not None:
        raise BadInput("--only and --ray are for xxact.")
    seeds, reference = seeds or 3, reference or "cpu-hybrid"
    names = planning.tables_named(table)
    base = planning.reference(reference)
    specs = planning.specs_of(names, seeds)
    if plan:
        _list_runs(specs, base, patterns)
        return
    if out.exists() and not out.is_dir():
        raise BadInput(f"{out} is a file: give a folder with --out.")
    if corpus is None and not only_tables:
        raise BadInput("give --corpus, a file from eg-train prepare (or --plan, or --only-tables).")
    if checkpoint is not None and data is None:
        raise BadInput("--checkpoint is judged on measured patterns: give --data too.")
    from trainer.benchmark.benchmark import published_topology
    from trainer.reproduce.running import Options, make_runs

    published = None if graph is None else published_topology(graph)
    if checkpoint is not None and data is not None:
        from trainer.reproduce import shipped

        shipped.judge_shipped(shipped.Request(checkpoint, data, limit), out, typer.echo)
    done = True
    if corpus is not None and not only_tables:
        options = Options(corpus, out, data, patterns, simulated, limit, minutes, threads, device)
        done = make_runs(specs, base, options, typer.echo)
    command = f"eg-train reproduce {table} --out RUNS --corpus CORPUS --data DATA --checkpoint CHECKPOINT"
    command += f" --graph GRAPH \\\n  --reference {reference} --patterns {patterns}"
    _show_tables(names, out, seeds, published, command, page, pictures)
    if not done:
        typer.echo("not all runs are finished: the same command goes on from here.")


def _list_runs(specs: Sequence[Spec], base: TrainConfig, patterns: int) -> None:
    """The runs of a plan with their estimated cost."""
    from trainer.reproduce.plan import core_hours

    total = 0.0
    for spec in specs:
        hours = core_hours(spec, base, patterns)
        total += hours
        typer.echo(f"{spec.name:32s} {round(patterns * spec.share):8,d} patterns {hours:6.2f} core-hours")
    typer.echo(f"{len(specs)} runs, {total:.1f} core-hours")


def _show_tables(
    names: Sequence[str],
    out: Path,
    seeds: int,
    published: Topology | None,
    command: str,
    page: Path | None,
    pictures: Path | None,
) -> None:
    """Print the tables of the finished runs and, where asked for, write their page with `command` on it."""
    from trainer.reproduce.markdown import as_markdown
    from trainer.reproduce.tables import make_table

    tables = [make_table(name, out, seeds, published) for name in names]
    for made in tables:
        typer.echo(f"# {made['title']}\n\n{as_markdown(made)}")
    if page is not None:
        from trainer.reproduce.page import write_page

        write_page(page, tables, f"{command} --page {page.name}", pictures)
        typer.echo(f"wrote {page}")
