"""`eg-train library`: known structures as a library that patterns are looked up in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from eg_agent.errors import BadInput


def library(
    out: Annotated[Path, typer.Option(help="Library file to write (.npz).", show_default=False)],
    structures: Annotated[
        Path | None,
        typer.Option(help="Folder with .cif files or parquet tables of structures.", show_default=False),
    ] = None,
    corpus: Annotated[
        Path | None, typer.Option(help="Or a packed corpus (eg-train prepare).", show_default=False)
    ] = None,
    split: Annotated[
        Literal["all", "train"],
        typer.Option(help="Of a corpus: all structures, or only those that networks are trained on."),
    ] = "all",
    rows: Annotated[int | None, typer.Option(min=1, help="Only the first rows of each table.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing file.")] = False,
) -> None:
    """Make a library of known structures.

    With it, eg-agent identify --library FILE looks patterns up. About two minutes on one core for 80,000
    structures, a second from a corpus. The random crystals of a corpus are left out.
    """
    import numpy as np
    from rich.console import Console
    from rich.progress import Progress, TextColumn

    from simulators.corpus import Corpus
    from trainer.library.building import library_of_corpus, library_of_folder

    if (structures is None) == (corpus is None):
        raise BadInput("give either --structures FOLDER or --corpus FILE.")
    if structures is not None and split != "all":
        raise BadInput("--split is of a corpus: a folder of structures has none.")
    if rows is not None and (rows < 1 or corpus is not None):
        raise BadInput("--rows must be at least 1, and is for --structures.")
    if out.exists() and not overwrite:
        raise BadInput(f"{out} exists already: give another --out, or --overwrite.")
    if corpus is not None:
        packed = Corpus.load(corpus)
        chosen = np.flatnonzero(packed.split == 0) if split == "train" else None
        made, left_out = library_of_corpus(packed, chosen), ()
    else:
        assert structures is not None
        columns = (TextColumn("{task.description}"), TextColumn("{task.completed:,.0f} structures"))
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task("Reading", total=None)
            built = library_of_folder(
                structures, rows=rows, progress=lambda done: bar.update(task, completed=done)
            )
        made, left_out = built.library, built.left_out
    made.save(out)
    for path, reason in left_out[:5]:
        typer.echo(f"eg-train: {path} is left out: {reason}", err=True)
    if len(left_out) > 5:
        typer.echo(f"eg-train: {len(left_out) - 5} more files are left out.", err=True)
    groups = int((made.group_sizes > 0).sum())
    typer.echo(
        f"{out}: {len(made):,} structures of {groups} groups, {len(made.entries.level):,} peaks, "
        f"{out.stat().st_size / 1e6:.1f} MB"
    )
