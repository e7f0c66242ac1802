"""`eg-train prepare`: pack structures into a corpus that patterns are made from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eg_agent.errors import BadInput


def prepare(
    structures: Annotated[
        Path,
        typer.Option(
            help="Folder with materials_project.parquet, minerals.parquet or .cif files.", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option(help="Corpus file to write (.npz).", show_default=False)],
    workers: Annotated[int, typer.Option(min=1, help="Processes. The corpus does not depend on it.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the random crystals.")] = 1,
    random_target: Annotated[
        int, typer.Option(min=0, help="Random crystals fill each group up to this many structures.")
    ] = 450,
    molecular: Annotated[int, typer.Option(min=0, help="Random molecular crystals.")] = 8000,
    perturbed: Annotated[
        int, typer.Option(min=0, help="Copies of each real structure, perturbed within its symmetry.")
    ] = 0,
    hold_out_textbook: Annotated[
        bool, typer.Option(help="Keep the structures that the demo shows out of training.")
    ] = True,
    rows: Annotated[int | None, typer.Option(min=1, help="Only the first rows of each table.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing file.")] = False,
) -> None:
    """Pack real structures, and random crystals for groups that have few, into one corpus file.

    About four minutes on one core for 80,000 structures. The structures that the demo shows are held out
    of training unless you say otherwise; then the demo shows what the network has seen.
    """
    import numpy as np
    from rich.console import Console
    from rich.progress import Progress

    from simulators.corpus import SOURCES
    from simulators.preparation import PreparationConfig
    from simulators.preparation import prepare as run_prepare

    if workers < 1 or (rows is not None and rows < 1):
        raise BadInput("--workers and --rows must be at least 1.")
    if random_target < 0 or molecular < 0 or perturbed < 0:
        raise BadInput("--random-target, --molecular and --perturbed must be at least 0.")
    if not structures.is_dir():
        raise BadInput(f"{structures} is not a folder: give the folder that holds the structures.")
    if out.exists() and not overwrite:
        raise BadInput(f"{out} exists already: give another --out, or --overwrite.")
    config = PreparationConfig(
        random_target=random_target,
        random_least=min(PreparationConfig.random_least, random_target),
        molecular=molecular,
        perturbed=perturbed,
        hold_out_textbook=hold_out_textbook,
        seed=seed,
        rows=rows,
    )
    console = Console(stderr=True)
    with Progress(console=console) as bar:
        task = bar.add_task("Packing structures", total=None)
        corpus = run_prepare(
            structures,
            config,
            workers=workers,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    corpus.save(out)
    counts = np.bincount(corpus.source, minlength=len(SOURCES))
    parts = ", ".join(f"{count:,} {name}" for name, count in zip(SOURCES, counts))
    typer.echo(
        f"{out}: {len(corpus):,} structures ({parts}), {len(corpus.hkl):,} peaks, "
        f"{int(corpus.split.sum()):,} structures held out, {out.stat().st_size / 1e6:.1f} MB"
    )
