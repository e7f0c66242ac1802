"""`eg-agent demo`: the whole product on simulated samples, or on a measured file replayed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eg_agent.cli.options import Checkpoint, Prior
from eg_agent.errors import BadInput


def demo(
    seed: Annotated[int, typer.Option(help="Which samples are drawn; the same seed, the same samples.")] = 0,
    samples: Annotated[int, typer.Option(help="Samples, each of another crystal system (1-7).")] = 5,
    draws: Annotated[
        int, typer.Option(help="Draws to run one after the other, with seeds from --seed on.")
    ] = 1,
    output: Annotated[
        Path, typer.Option(help="Folder for pictures, journal and ledger; a new one for every start.")
    ] = Path("demo-output"),
    cells: Annotated[
        bool, typer.Option(help="Let the sample table give the cells; without, the network speaks alone.")
    ] = True,
    pictures: Annotated[bool, typer.Option(help="Draw a PNG a sample.")] = True,
    replay: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Measure this measured pattern again instead.")
    ] = None,
    wavelength: Annotated[
        str | None,
        typer.Option(metavar="A[,A2]", help="Of --replay, where the file states none; or an anode."),
    ] = None,
    cell: Annotated[
        str | None, typer.Option(metavar="a,b,c,al,be,ga", help="Of --replay, where known.")
    ] = None,
    prior: Prior = "mineral",
    checkpoint: Checkpoint = "default",
) -> None:
    """Measure samples, identify them while they are measured, and decide what to measure next.

    A RunEngine scans simulated samples (or a replayed file), an embedded Tiled server stores the runs, the
    agent identifies each pattern and decides; then a table, a picture a sample, and the ledger.
    """
    from eg_agent.cli.demo_run import Job, run
    from eg_agent.cli.demo_samples import drawn, replayed
    from eg_agent.cli.options import parse_cell, parse_wavelength

    if replay is None and (wavelength is not None or cell is not None):
        raise BadInput("--wavelength and --cell go with --replay: simulated samples know theirs.")
    if draws < 1 or (replay is not None and draws != 1):
        raise BadInput(
            "--draws is the number of draws of simulated samples: give 1 or more, without --replay."
        )
    if replay is not None:
        first, second = parse_wavelength(wavelength)
        changers = [replayed(replay, first, second, parse_cell(cell), seed)]
    else:
        changers = [drawn(seed + i, samples, with_cells=cells) for i in range(draws)]
    run(changers, Job(output=output, prior=prior, checkpoint=checkpoint, pictures=pictures))
