"""`eg-agent archive`: identify everything that a Tiled holds, on a Ray cluster; a stopped call goes on."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from eg_agent.cli.options import Checkpoint, Prior, WavelengthOfRuns, check_model, check_tiled, secret_in


def archive(
    tiled: Annotated[
        str, typer.Option(help="URI of the Tiled catalog; its key in $TILED_API_KEY or --tiled-key-file.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the result.", show_default=False)],
    ray: Annotated[
        str, typer.Option(help="local, auto, or HOST:PORT of the head of a Ray cluster.")
    ] = "local",
    workers: Annotated[int, typer.Option(min=1, help="Processes, a core each.")] = 1,
    checkpoint: Checkpoint = "default",
    prior: Prior = "mineral",
    wavelength: WavelengthOfRuns = None,
    index_seconds: Annotated[
        float, typer.Option(min=0.0, max=60.0, help="Look for a cell where a run gives none, so long.")
    ] = 0.0,
    write: Annotated[
        bool,
        typer.Option("--write", help="Write the identifications into Tiled, too, as searchable entries."),
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many runs.")] = None,
    tiled_key_file: Annotated[Path | None, typer.Option(help="File that holds Tiled's key.")] = None,
) -> None:
    """Identify all stored patterns; a row a run in OUT/identifications.parquet and .jsonl.

    Killed at any time, the same command goes on: no run is left out, none has two rows. Prints counts, rates
    and times of all calls so far as JSON.
    """
    from eg_agent.archive.archive import Request
    from eg_agent.archive.archive import archive as identify_all

    check_tiled(tiled)
    check_model(checkpoint, prior)
    if tiled_key_file is not None:
        os.environ["TILED_API_KEY"] = secret_in(tiled_key_file)
    request = Request(tiled, out, ray, workers, checkpoint, prior, wavelength, index_seconds, write, limit)
    typer.echo(json.dumps(identify_all(request, _Said()), indent=1))


class _Said:
    """Progress on standard error: one line that is renewed on a terminal, else one in half a minute."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._next = 0.0

    def __call__(self, done: int, total: int, rate: float) -> None:
        now = time.monotonic()
        if now < self._next and done < total:
            return
        self._next = now + (0.5 if self._terminal else 30.0)
        left = f", {(total - done) / rate / 60:.0f} min left" if rate > 0 and done < total else ""
        text = f"{done:,} of {total:,} runs, {rate:.1f} a second{left}"
        sys.stderr.write(f"\r\x1b[K{text}" if self._terminal else f"{text}\n")
        if self._terminal and done >= total:
            sys.stderr.write("\n")
        sys.stderr.flush()
