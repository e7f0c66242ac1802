"""`eg-train composition`: give a checkpoint a head that reads the composition beside the pattern."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def composition(
    checkpoint: Annotated[Path, typer.Option(help="Card (.json) to put it beside.", show_default=False)],
    corpus: Annotated[Path, typer.Option(help="Training corpus.", show_default=False)],
    work: Annotated[
        Path,
        typer.Option(
            help="Folder that keeps what was learned of groups, and features, for the next time.",
            show_default=False,
        ),
    ],
    index: Annotated[
        Path | None,
        typer.Option(help="Parquet of formula and sg: entries without a structure.", show_default=False),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Labelled patterns with formulas, to fit the weights on.", show_default=False),
    ] = None,
    patterns: Annotated[int, typer.Option(min=1, help="Simulated patterns to train on.")] = 50_000,
    held_out: Annotated[
        int, typer.Option(min=1, help="Patterns of held-out structures to judge on.")
    ] = 8_000,
    steps: Annotated[int, typer.Option(min=1, help="Of training, for the group.")] = 24_000,
    match_steps: Annotated[
        int, typer.Option(min=1, help="Of training, for the match of pattern and composition.")
    ] = 4_000,
    seed: Annotated[int, typer.Option(help="Of patterns and training.")] = 0,
) -> None:
    """Train on the network's features, with the network as it is; judge on held-out structures."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from trainer.multimodal.composing import Request, compose
    from trainer.multimodal.composition_fit import CompositionTraining

    request = Request(
        checkpoint=checkpoint,
        corpus=corpus,
        work=work,
        index=index,
        data=data,
        patterns=patterns,
        held_out_patterns=held_out,
        training=CompositionTraining(steps=steps, match_steps=match_steps, seed=seed),
        seed=seed,
    )
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("features", total=None)
        card = compose(
            request,
            typer.echo,
            lambda what, done, total: bar.update(task, description=what, completed=done, total=total),
        )
    about = card.composition
    assert about is not None, "just written"
    typer.echo(
        f"wrote {checkpoint}: weights (network, composition, prior) with amounts {about.exact.network:.2f}, "
        f"{about.exact.composition:.2f}, {about.exact.prior:.2f}, with elements "
        f"{about.elements.network:.2f}, {about.elements.composition:.2f}, {about.elements.prior:.2f} "
        f"({about.calibrated_on}); {100 * about.noticed[0]:.0f} % of another structure's compositions are "
        f"noticed, {100 * about.noticed[1]:.0f} % of its elements"
    )
