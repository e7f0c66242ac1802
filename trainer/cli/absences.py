"""`eg-train absences`: train what the verifier knows of real structures' absent lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from trainer.cli.progress import bar


def absences(
    structures: Annotated[Path, typer.Option(help="Folder of structures.", show_default=False)],
    out: Annotated[
        Path, typer.Option(help="Folder of samples, training state and result.", show_default=False)
    ],
    samples: Annotated[int, typer.Option(min=1, help="Measurements to make, in files of 2,000.")] = 120_000,
    seen: Annotated[int, typer.Option(min=1, help="Samples to train on, each several times.")] = 600_000,
    further: Annotated[
        bool, typer.Option("--further", help="Begin with the weights of the package, at half the rate.")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes that make samples.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Of samples and training.")] = 0,
) -> None:
    """Train what line intensities of structures say of absences; the same command goes on.

    One network judges which lines are absent, a few others look at all lines.

    Writes absence_network.safetensors and absence_network.json, which the package ships in eg_agent/verify.
    """
    from dataclasses import replace
    from datetime import UTC, datetime

    from eg_agent.errors import BadInput
    from trainer.absences.packaging import Trained, ship
    from trainer.absences.store import make, read
    from trainer.absences.together import put_together
    from trainer.absences.training import AbsenceTraining, log_prior, train
    from trainer.absences.whole import WholeTraining, train_whole

    if out.exists() and not out.is_dir():
        raise BadInput(f"{out} is a file: give a folder with --out.")
    with bar("samples") as update:
        files = make(structures, out, samples, seed=seed, workers=workers, progress=update)
    training, whole = AbsenceTraining(samples=seen, seed=seed), WholeTraining(seed=seed)
    if further:
        training = replace(training, further=True, rate=0.5 * training.rate)
    made = [sample for path in files for sample in read(path)]
    network, judged = train(made, out, training, typer.echo)
    members = train_whole(made, out, whole, typer.echo)
    together = put_together(network, members, made, log_prior([s for s in made if not s.held_out]))
    trained = Trained(network, judged, training, members, together, whole)
    about = ship(trained, out, len(files), datetime.now(UTC).date().isoformat())
    typer.echo(json.dumps(about, indent=1))
