"""`eg-train lattices`: train what a lattice alone says of its group."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from trainer.cli.progress import bar


def lattices(
    structures: Annotated[Path, typer.Option(help="Folder of structures.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder of the result.", show_default=False)],
    passes: Annotated[int, typer.Option(min=1, help="Through all lattices.")] = 10,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Train the prior of lattices on known structures, in a minute.

    Writes lattice_prior.safetensors and lattice_prior.json, which the package ships in eg_agent/identify.
    """
    from datetime import UTC, datetime

    import torch

    from eg_agent.errors import BadInput
    from simulators.structures import StructureFolder
    from trainer.lattices.collecting import lattices_of
    from trainer.lattices.counting import count
    from trainer.lattices.packaging import ship
    from trainer.lattices.training import LatticeTraining, train

    if out.exists() and not out.is_dir():
        raise BadInput(f"{out} is a file: give a folder with --out.")
    torch.set_num_threads(1)  # layers this small lose more by waiting for one another than they win
    StructureFolder(structures)  # an unusable folder is refused before anything is written
    out.mkdir(parents=True, exist_ok=True)  # and a place that cannot be written before the work
    with bar("structures") as update:
        found = lattices_of(structures, update)
    training = LatticeTraining(passes=passes, seed=seed)
    network, judged = train(found, training, typer.echo)
    known, beside = count(found, network)
    number, date = int((~found.held_out).sum()), datetime.now(UTC).date().isoformat()
    about = ship(network, judged, known, beside, training, out, number, date)
    typer.echo(json.dumps(about, indent=1))
