"""`eg-train study`: what the verifier's evidence is worth; the same command goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from eg_agent.errors import BadInput
from trainer.cli.progress import bar


def study(
    what: Annotated[
        Literal["simulated", "regimes", "pooling", "joint"],
        typer.Argument(
            help="simulated: evidence beside BIC, AIC and Le Bail. regimes: the paper's three. pooling: fit "
            "how the verifier pools evidence and BIC, on patterns with measured misfit. joint: fit how "
            "network and fit are weighed jointly, on measurements of all kinds."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder of rows, tables and pictures.", show_default=False)],
    structures: Annotated[
        Path | None, typer.Option(help="Folder of structure tables or CIF files.", show_default=False)
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of measured patterns, for regimes.", show_default=False),
    ] = None,
    crystals: Annotated[int, typer.Option(min=1, help="Crystals; of each regime, for regimes 50.")] = 300,
    minutes: Annotated[float | None, typer.Option(help="Stop after so long; call again to go on.")] = None,
    seed: Annotated[int, typer.Option(help="Of crystals, instruments and noise.")] = 0,
) -> None:
    """Measure the verifier where the truth is known, beside simpler criteria and the paper's figures."""
    if crystals < 1 or not (minutes is None or minutes > 0):
        raise BadInput("--crystals and --minutes must be greater than 0.")
    if structures is not None and not structures.is_dir():
        raise BadInput(f"{structures} is not a folder: give the folder that holds the structures.")
    if out.exists() and not out.is_dir():
        raise BadInput(f"{out} is a file: give a folder with --out.")
    if what == "regimes":
        if structures is None and data is None:
            raise BadInput("give --data for measured rows, --structures for simulated samples, or both.")
        _regimes(structures, data, out, min(crystals, 50), minutes, seed)
    elif structures is None:
        raise BadInput("give --structures, the folder of the structures that samples are made of.")
    elif what == "pooling":
        _pooling(structures, out, crystals, minutes)
    elif what == "joint":
        _joint(structures, out, crystals, minutes)
    else:
        _simulated(structures, out, crystals, minutes, seed)


def _simulated(structures: Path, out: Path, crystals: int, minutes: float | None, seed: int) -> None:
    from trainer.benchmark.simulated_result import as_markdown, plot, result_of
    from trainer.benchmark.simulated_study import Study, run

    with bar("simulated") as update:
        rows = run(Study(structures, out, crystals, seed=seed), minutes=minutes, progress=update)
    result = result_of(rows)
    text = as_markdown(result)
    _write(out / "simulated.json", json.dumps(result, indent=1) + "\n")
    _write(out / "simulated.md", text)
    plot(result, out / "simulated.png")
    typer.echo(text)
    if len(rows) < crystals * 3:
        typer.echo("not all samples are verified: the same command goes on from here.")


def _pooling(structures: Path, out: Path, patterns: int, minutes: float | None) -> None:
    from trainer.benchmark.pooling_fit import FOLDS, SEED, as_shipped, run

    with bar("pooling") as update:
        rows = run(structures, out, patterns, minutes=minutes, progress=update)
    if len({row.formula for row in rows}) < FOLDS:
        raise BadInput(f"{len(rows)} patterns are too few to fit on: give --crystals 300 or more.")
    text = json.dumps(as_shipped(rows, SEED), indent=1) + "\n"
    _write(out / "pooling.json", text)
    typer.echo(text)


def _joint(structures: Path, out: Path, samples: int, minutes: float | None) -> None:
    from datetime import UTC, datetime

    import torch

    from trainer.benchmark.joint_fit import FOLDS, as_shipped, run
    from trainer.small_networks import ship_as

    torch.set_num_threads(1)  # beside other work, threads that wait for one another take twenty times as long
    with bar("joint") as update:
        rows = run(structures, out, samples, minutes=minutes, progress=update)
    if len({row.formula for row in rows}) < FOLDS:
        raise BadInput(f"{len(rows)} measurements are too few to fit on: give --crystals 300 or more.")
    today = datetime.now(UTC).date().isoformat()
    tensors, about = as_shipped(rows, today)
    ship_as("joint", tensors, about, out)
    typer.echo(json.dumps(about, indent=1))


def _regimes(
    structures: Path | None, data: Path | None, out: Path, each: int, minutes: float | None, seed: int
) -> None:
    from trainer.benchmark import regimes

    measured, simulated = {}, {}
    if data is not None:
        with bar("measured") as update:
            measured = regimes.measured_rows(data, update)
    if structures is not None:
        with bar("simulated") as update:
            simulated = regimes.simulated_rows(
                structures, out, each=each, seed=seed + 1, minutes=minutes, progress=update
            )
    text = regimes.as_markdown(measured, simulated)
    out.mkdir(parents=True, exist_ok=True)
    _write(out / "regimes.json", json.dumps({"measured": measured, "simulated": simulated}, indent=1) + "\n")
    _write(out / "regimes.md", text)
    typer.echo(text)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{path} cannot be written ({error.strerror}): give another --out.") from None
