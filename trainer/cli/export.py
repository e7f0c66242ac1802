"""`eg-train export`: calibrate a run's weights and write them in the form that is shipped."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    run: Annotated[Path, typer.Argument(help="Folder of a run (--out of eg-train fit).")],
    name: Annotated[str, typer.Option(help="Name of the checkpoint.")] = "default",
    out: Annotated[
        Path | None, typer.Option(help="Folder to write to; default: the package's checkpoints.")
    ] = None,
    corpus: Annotated[Path | None, typer.Option(help="Corpus, if it has moved since.")] = None,
    description: Annotated[str, typer.Option(help="A sentence for the card.")] = "",
    calibration_patterns: Annotated[
        int, typer.Option(min=1, help="Held-out patterns to calibrate on.")
    ] = 2048,
) -> None:
    """Calibrate on held-out simulated patterns and write NAME.safetensors and NAME.json.

    The run may still be going: the newest saved state is taken.
    """
    from rich.console import Console

    import eg_agent.model.checkpoint as checkpoint
    from trainer.fit import export as run_export

    folder = out or Path(checkpoint.__file__).parent / "checkpoints"
    card = run_export(
        run,
        folder / name,
        name,
        corpus=corpus,
        description=description,
        calibration_patterns=calibration_patterns,
    )
    Console(highlight=False).print(
        f"{folder / name}.json ({card.hash}): T = {card.calibration.temperature:.3f}, "
        f"split weight {card.calibration.split_weight:.2f}",
        soft_wrap=True,
    )
