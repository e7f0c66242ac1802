"""XxaCT-NN on the command line: its materials, its tables, and the checkpoint that ships."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eg_agent.errors import BadInput


def materials(
    structures: Annotated[
        Path,
        typer.Option(
            help="Parquet laid out as materials_project.parquet, with properties.", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option(help="File to write (.npz).", show_default=False)],
    corpus: Annotated[
        Path | None,
        typer.Option(help="Corpus of eg-train prepare with the same structures: spares packing them again."),
    ] = None,
    copies: Annotated[
        int, typer.Option(help="Symmetric copies of each training structure, for runs that learn from them.")
    ] = 0,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing file.")] = False,
) -> None:
    """Pack structures with formation energies and band gaps for `eg-train reproduce xxact`.

    Five minutes on one core for 77,000 structures, seconds with --corpus; two minutes and 20 MB for each of
    their copies.
    """
    from dataclasses import replace

    import numpy as np

    from simulators.corpus import Corpus
    from trainer.cli.progress import bar
    from trainer.multimodal.copies import copy_training
    from trainer.multimodal.materials import PARTS, read_materials

    if out.exists() and not overwrite:
        raise BadInput(f"{out} exists already: give another --out, or --overwrite.")
    if copies < 0:
        raise BadInput(
            f"--copies {copies} is below 0: give how many of each training structure, or leave it out."
        )
    packed = None if corpus is None else Corpus.load(corpus)
    with bar("structures") as update:
        found = read_materials(structures, packed, progress=update)
    if copies:
        with bar("copies") as update:
            found = replace(found, copies=copy_training(structures, copies, progress=update))
    found.save(out)
    parts = ", ".join(
        f"{n:,} {name}" for n, name in zip(np.bincount(found.part, minlength=3).tolist(), PARTS, strict=True)
    )
    more = f"{len(found.copies):,} copies, " if found.copies is not None else ""
    energies, gaps = (int(np.isfinite(values).sum()) for values in (found.energy, found.gap))
    typer.echo(
        f"{out}: {len(found):,} structures ({parts}), {more}{energies:,} with a formation energy, {gaps:,} "
        f"with a band gap, {out.stat().st_size / 1e6:.1f} MB"
    )


def multimodal(
    runs: Annotated[Path, typer.Option(help="--out of eg-train reproduce xxact.", show_default=False)],
    corpus: Annotated[Path, typer.Option(help="File of eg-train materials.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Checkpoint to write, without ending.", show_default=False)],
    run: Annotated[str, typer.Option(help="Run to take.")] = "any-s0",
    name: Annotated[str, typer.Option(help="Name on the card.")] = "default",
) -> None:
    """Make a multimodal checkpoint of a run: weights as float16, a card, calibrated intervals."""
    from trainer.multimodal.packaging import package

    card = package(runs / "xxact" / run, corpus, out, name)
    typer.echo(f"wrote {out} ({card.hash}): {card.trained_on}")


def reproduce_xxact(
    out: Path,
    corpus: Path | None,
    reference: str,
    *,
    seeds: int,
    minutes: float | None,
    limit: int | None,
    page: Path | None,
    pictures: Path | None,
    only: tuple[str, ...],
    only_tables: bool,
    device: str,
    threads: int | None,
    plan: bool,
    ray: str | None = None,
    workers: str = "1",
) -> None:
    """Tables of XxaCT-NN, run by run; finished runs are kept. Options as of `eg-train reproduce`."""
    from trainer.reproduce.xxact_plan import config_of_run, runs_of, setting

    at, runs = setting(reference), runs_of(seeds, only)
    if plan:
        for run in runs:
            config = config_of_run(run, at)
            typer.echo(
                f"{run.name:40s} {config.inputs:12s} {config.objective:24s} {config.samples:10,d} samples"
            )
        typer.echo(f"{len(runs)} runs, {sum(config_of_run(r, at).samples for r in runs):,} samples")
        return
    if out.exists() and not out.is_dir():
        raise BadInput(f"{out} is a file: give a folder with --out.")
    if corpus is None and not only_tables:
        raise BadInput("give --corpus, a file from eg-train materials (or --plan, or --only-tables).")
    from trainer.reproduce.xxact_page import as_lines, write_xxact_page
    from trainer.reproduce.xxact_running import XxactOptions, make_xxact_runs
    from trainer.reproduce.xxact_tables import Runs

    done = True
    if corpus is not None and not only_tables:
        launch = None
        if ray is not None:
            from trainer.cluster.launcher import Cluster, workers_range
            from trainer.cluster.xxact import launcher

            cluster = Cluster(ray, workers_range(workers))
            launch = launcher(corpus, cluster, threads=threads, device=device)
        options = XxactOptions(corpus, out, minutes, threads, device, limit, launch)
        done = make_xxact_runs(runs, at, options, typer.echo)
    found = Runs(out)
    if page is None:
        typer.echo("\n".join(as_lines(found)))
    else:
        command = f"eg-train reproduce xxact --out RUNS --corpus MATERIALS --reference {reference}"
        command += "".join(f" --only {name}" for name in only)
        write_xxact_page(page, found, f"{command} --page {page.name}", pictures)
        typer.echo(f"wrote {page}")
    if not done:
        typer.echo("not all runs are finished: the same command goes on from here.")
