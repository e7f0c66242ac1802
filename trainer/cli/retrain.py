"""`eg-train retrain`, `eg-train promote`: the next checkpoint from verified runs, and which is in use."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated

import typer

from eg_agent.errors import BadInput, EgAgentError

#: Exit status of a round whose challenger was refused.
REFUSED = 3


def retrain(
    from_tiled: Annotated[
        str, typer.Option(help="URI of the Tiled with runs and identifications; its key in $TILED_API_KEY.")
    ],
    work: Annotated[Path, typer.Option(help="Folder of the rounds.", show_default=False)],
    corpus: Annotated[Path, typer.Option(help="Corpus file from eg-train prepare.", show_default=False)],
    ray: Annotated[str, typer.Option(help="local, auto, or HOST:PORT of the cluster's head.")] = "local",
    workers: Annotated[str, typer.Option(help="How many, or the fewest and most, like 2:16.")] = "1",
    champion: Annotated[
        str | None,
        typer.Option(help="Name or card to beat. Default: the promoted one, else the shipped one."),
    ] = None,
    challenger: Annotated[
        Path | None, typer.Option(help="Judge this card instead of training one.", show_default=False)
    ] = None,
    gates: Annotated[Path | None, typer.Option(help="TOML file of gates; the page lists them.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="Frozen benchmark: folder with index.csv and patterns.npz.")
    ] = None,
    promoted: Annotated[
        Path | None, typer.Option(help="Folder that agents follow. Default: WORK/promoted.")
    ] = None,
    ledger: Annotated[
        list[Path] | None, typer.Option(help="Ledger file of an agent, beside Tiled's entries; repeatable.")
    ] = None,
    entries: Annotated[
        str, typer.Option(help="Container of the identifications in Tiled.")
    ] = "identifications",
    wavelength: Annotated[float | None, typer.Option(help="Angstrom, for runs that do not say.")] = None,
    patterns: Annotated[int, typer.Option(min=1, help="Patterns to train on.")] = 60_000,
    batch: Annotated[int, typer.Option(min=1, help="Patterns a step.")] = 64,
    lr: Annotated[float, typer.Option(help="Peak of the learning rate.")] = 3e-4,
    keep: Annotated[
        float, typer.Option(help="Share of the champion's weights in the average with the trained ones.")
    ] = 0.5,
    calibration_share: Annotated[
        float, typer.Option(help="Share of the compounds that calibrate and judge.")
    ] = 0.4,
    least_evidence: Annotated[
        float, typer.Option(help="Probability by the fit alone, for a run to count as verified.")
    ] = 0.9,
    prior: Annotated[str, typer.Option(help="mineral, inorganic, organic, uniform, or a file.")] = "mineral",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of a worker.")] = 1,
    storage: Annotated[
        str | None, typer.Option(help="Folder or URL that all nodes see. Default: in the round's folder.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    checkpoint_seconds: Annotated[float, typer.Option(help="Seconds between two stored states.")] = 60.0,
    seed: Annotated[int, typer.Option(help="Of patterns, folds and the bootstrap.")] = 0,
    again: Annotated[bool, typer.Option("--again", help="A round even if nothing new was verified.")] = False,
    every: Annotated[
        float | None, typer.Option(min=0.001, help="Go on with a round every so many hours.")
    ] = None,
    tiled_key_file: Annotated[Path | None, typer.Option(help="File that holds Tiled's key.")] = None,
) -> None:
    """Train the checkpoint in use further on verified runs, and promote it if it passes the gates.

    A round that was stopped or killed goes on with the same command. Ends with status 3 when the challenger
    was refused.
    """
    from trainer.cluster.launcher import workers_range
    from trainer.retrain.gates import read_gates
    from trainer.retrain.rounds import Request
    from trainer.retrain.rounds import retrain as one_round

    scheme, _, rest = from_tiled.partition("://")
    if scheme not in ("http", "https") or not rest.strip("/"):
        raise BadInput("--from-tiled is no URI of a Tiled server: give one like http://HOST:8000.")
    if tiled_key_file is not None:
        try:
            os.environ["TILED_API_KEY"] = tiled_key_file.read_text("utf-8").strip()
        except OSError as error:
            raise BadInput(f"the key file {tiled_key_file} cannot be read ({error.strerror}).") from None
    request = Request(
        tiled=from_tiled,
        work=work,
        corpus=corpus,
        ray=ray,
        workers=workers_range(workers),
        threads=threads,
        storage=storage,
        device=device,
        champion=champion or "",
        challenger=challenger,
        promoted=promoted,
        gates=read_gates(gates),
        data=data,
        entries=entries,
        ledgers=tuple(ledger or ()),
        radiation=wavelength,
        patterns=patterns,
        batch=batch,
        lr=lr,
        keep=keep,
        share=calibration_share,
        least_evidence=least_evidence,
        prior=prior,
        seed=seed,
        checkpoint_seconds=checkpoint_seconds,
        again=again,
    )
    if not corpus.is_file() and challenger is None:
        raise BadInput(f"there is no corpus {corpus}: make one with eg-train prepare.")
    while every is not None:
        begun = time.monotonic()
        try:
            outcome = one_round(request)
            typer.echo(outcome.said)
            if outcome.stopped:
                return
        except EgAgentError as error:  # Tiled or Ray may be back the next time
            typer.echo(f"eg-train: {error}", err=True)
        time.sleep(max(0.0, 3600.0 * every - (time.monotonic() - begun)))
    outcome = one_round(request)
    typer.echo(outcome.said)
    if outcome.failed:
        raise typer.Exit(REFUSED)


def promote(
    to: Annotated[Path, typer.Option(help="Folder that agents follow.", show_default=False)],
    checkpoint: Annotated[
        str | None, typer.Argument(metavar="[CHECKPOINT]", help="Name or card to put into use.")
    ] = None,
    back: Annotated[
        bool, typer.Option("--back", help="Go back to the checkpoint before, or to --hash.")
    ] = False,
    hash_: Annotated[
        str | None, typer.Option("--hash", help="First digits of an earlier one, with --back.")
    ] = None,
    why: Annotated[str, typer.Option(help="Reason, for the record.")] = "by hand",
) -> None:
    """Say which checkpoint is in use, put one into use, or go back; running agents follow by themselves."""
    from eg_agent.model.promoted import Promoted

    if back and checkpoint is not None:
        raise BadInput("give a checkpoint, or --back, not both.")
    if hash_ is not None and not back:
        raise BadInput("--hash says where to go --back to: add --back.")
    promoted = Promoted(to)
    if back:
        promoted.back(hash_, why if why != "by hand" else "")
    elif checkpoint is not None:
        promoted.promote(checkpoint, why)
    pointer = promoted.pointer()
    for mark, entry in (("*", pointer.current), *((" ", entry) for entry in pointer.before)):
        typer.echo(f"{mark} {entry.folder}  {entry.since}  {entry.why}")
