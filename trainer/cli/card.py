"""`eg-train card`: measured figures into a checkpoint's card, and the card as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trainer.cli.progress import bar


def card(
    checkpoint: Annotated[str, typer.Argument(help="Shipped checkpoint, or a file.")] = "default",
    data: Annotated[
        Path | None,
        typer.Option(
            help="Measured patterns: run the benchmark on them and keep its figures.", show_default=False
        ),
    ] = None,
    network: Annotated[
        Path | None,
        typer.Option(help="Instead: JSON of eg-train benchmark --what network.", show_default=False),
    ] = None,
    robustness: Annotated[
        Path | None,
        typer.Option(help="Instead: JSON of eg-train benchmark --what robustness.", show_default=False),
    ] = None,
    unseen: Annotated[
        Path | None, typer.Option(help="With --data: ids of unseen rows.", show_default=False)
    ] = None,
    folds: Annotated[int, typer.Option(min=2, help="With --data: of the calibration.")] = 5,
    limit: Annotated[int | None, typer.Option(min=1, help="With --data: rows for robustness.")] = 150,
    page: Annotated[
        Path | None, typer.Option(help="Markdown file to write, like docs/reference/model-card.md.")
    ] = None,
) -> None:
    """Put benchmark figures into a card, and write the card as a page.

    With neither --data nor --network the card stays as it is, and only the page is written.
    """
    from dataclasses import replace

    from eg_agent.errors import BadInput
    from eg_agent.model.checkpoint import find_checkpoint, read_card, write_atomically
    from eg_agent.values import to_json
    from trainer.model_card import page as page_of
    from trainer.model_card import summary

    if data is not None and (network is not None or robustness is not None):
        raise BadInput("give either --data or the results of earlier benchmarks.")
    if robustness is not None and network is None:
        raise BadInput("--robustness needs --network beside it.")
    if data is None and network is None and page is None:
        raise BadInput("nothing to do: give --data, --network or --page.")
    found = read_card(checkpoint)
    results = None
    if data is not None:
        results = _measured(checkpoint, data, unseen, folds, limit)
    elif network is not None:
        results = _read(network), None if robustness is None else _read(robustness)
    if results is not None:
        found = replace(found, benchmark=summary(found, *results))
    text = None if page is None else page_of(found)
    if results is not None:
        write_atomically(find_checkpoint(checkpoint), (to_json(found, indent=1) + "\n").encode())
    if page is not None and text is not None:
        if not page.absolute().parent.is_dir():
            raise BadInput(f"{page.absolute().parent} is not a folder: make it first.")
        write_atomically(page, text.encode())


def _read(path: Path) -> dict:
    import json

    from eg_agent.errors import BadInput

    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} is no JSON of eg-train benchmark ({error}).") from error


def _measured(
    checkpoint: str, data: Path, unseen: Path | None, folds: int, limit: int | None
) -> tuple[dict, dict]:
    from trainer.benchmark.benchmark import Options, run

    network = Options("network", checkpoint, calibrate_folds=folds, unseen=unseen, by=("system",))
    robustness = Options("robustness", checkpoint, calibrate_folds=folds, limit=limit)
    made = []
    for options in (network, robustness):
        with bar(options.what) as update:
            made.append(run(data, options, update))
    return made[0], made[1]
