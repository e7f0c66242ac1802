"""`eg-train calibrate`: fit temperature, prior, prediction sets and novelty of a checkpoint anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer


def calibrate(
    data: Annotated[Path, typer.Option(help="Folder with index.csv and patterns.npz.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Card to write; weights go beside it.", show_default=False)],
    checkpoint: Annotated[str, typer.Option(help="Shipped checkpoint, or a file.")] = "default",
    corpus: Annotated[
        Path | None,
        typer.Option(help="Training corpus, for the out-of-distribution score.", show_default=False),
    ] = None,
    prior: Annotated[str, typer.Option(help="mineral, inorganic, organic, uniform, or a file.")] = "mineral",
    fusion: Annotated[
        Literal["log-pool", "linear", "auto"], typer.Option(help="How the heads are put together.")
    ] = "log-pool",
    folds: Annotated[int, typer.Option(min=2, help="Of compounds, for what the card promises.")] = 5,
    coverage: Annotated[float, typer.Option(min=0.5, max=0.999, help="Of the prediction sets.")] = 0.9,
    novelty_slope: Annotated[
        bool, typer.Option(help="Let the temperature depend on novelty, where folds say that it helps.")
    ] = True,
    library: Annotated[
        Path | None,
        typer.Option(help="Library, to fit its weight beside the network's.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of folds and the bootstrap.")] = 0,
) -> None:
    """Refit the calibration on all labelled patterns; the card says what folds promise of it."""
    from trainer.recalibrate import Request, recalibrate

    card = recalibrate(
        Request(data, out, checkpoint, corpus, prior, fusion, folds, coverage, novelty_slope, seed, library)
    )
    said = card.expected
    typer.echo(
        f"{out}: T {card.calibration.temperature:.3g}, split head {card.calibration.split_weight:.2f}, "
        f"slope with ambiguity {card.calibration.entropy_slope:.2f}, with novelty "
        f"{card.calibration.novelty_slope:.2f}, prior {card.prior} to the power "
        f"{card.calibration.prior_weight:.2f}"
    )
    _say("out of fold", said)
    if library is not None:
        weights = card.library
        _say(
            f"with the library, weights {weights.network:.2f} (network), {weights.lookup:.2f} (library), "
            f"{weights.prior:.2f} (prior)",
            said["with_library"],
        )
    if card.novelty is not None:
        refused = ", ".join(f"{kind} {100 * share:.0f} %" for kind, share in card.novelty.refused.items())
        typer.echo(f"out of distribution (simulated): {refused or 'not measured'}")


def _say(title: str, said: dict[str, Any]) -> None:
    """One line of what out-of-fold answers promise."""
    low, high = said["coverage_interval"]
    typer.echo(
        f"{title}: {said['bits_over_fold_prior']:+.2f} bits over the prior; {100 * said['coverage']:.1f} % "
        f"[{100 * low:.1f}, {100 * high:.1f}] of the sets hold the group, {said['set_size']:.1f} groups on "
        f"average; ECE {said['ece']:.3f} (a calibrated model: "
        f"{said['ece_expected'][0]:.3f} to {said['ece_expected'][1]:.3f})"
    )
