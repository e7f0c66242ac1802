"""`eg-train unseen`: which compounds of a benchmark neither a training corpus nor a library holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from eg_agent.errors import BadInput


def unseen(
    data: Annotated[Path, typer.Option(help="Folder with index.csv and patterns.npz.", show_default=False)],
    out: Annotated[Path, typer.Option(help="JSON file to write.", show_default=False)],
    corpus: Annotated[
        Path | None,
        typer.Option(help="The training corpus: its structures of the training split.", show_default=False),
    ] = None,
    library: Annotated[
        Path | None, typer.Option(help="Or a library (eg-train library).", show_default=False)
    ] = None,
    random: Annotated[
        bool,
        typer.Option(
            help="Count the random crystals of a corpus, too: they were trained on, but are nobody's."
        ),
    ] = False,
) -> None:
    """List the benchmark's unseen compounds, to be published with a checkpoint.

    Unseen: no structure of the same reduced formula or name, none with a Niggli cell within 3 %, none
    whose pattern has a cosine above 0.8 with the measured one after scaling its cell.
    """
    import numpy as np
    from rich.console import Console
    from rich.progress import Progress

    from eg_agent.library import Library
    from simulators.corpus import Corpus
    from trainer.benchmark.data import Folder
    from trainer.library.building import library_of_corpus
    from trainer.library.unseen import document, novelty_of_cases

    if (corpus is None) == (library is None):
        raise BadInput("give either --corpus FILE or --library FILE.")
    if not out.absolute().parent.is_dir():
        raise BadInput(f"{out.absolute().parent} is not a folder: make it first.")
    folder = Folder(data)
    cases = folder.cases("benchmark")
    if library is not None:
        known, against = Library.load(library), library.name
    else:
        assert corpus is not None
        packed = Corpus.load(corpus)
        known = library_of_corpus(packed, np.flatnonzero(packed.split == 0), random=random)
        against = f"{corpus.name}, training split, {'with' if random else 'without'} random crystals"
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("Comparing", total=len(cases))
        found = novelty_of_cases(
            known, folder, cases, lambda done, total: bar.update(task, completed=done, total=total)
        )
    listed = document(known, cases, found, against=against)
    partial = out.with_name(out.name + ".partial")
    partial.write_text(json.dumps(listed, indent=1) + "\n", encoding="utf-8")
    partial.replace(out)
    typer.echo(
        f"{out}: {listed['unseen_rows']} of {listed['rows']} rows are unseen "
        f"({listed['unseen_compounds']} of {listed['compounds']} compounds); seen by "
        + ", ".join(f"{name} {count}" for name, count in listed["seen_by"].items())
    )
