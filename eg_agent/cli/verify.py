"""`eg-agent verify`: which extinction symbol a pattern with a known cell has, and why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eg_agent.cli.options import (
    REFUSED,
    Checkpoint,
    Prior,
    Wavelength,
    check_targets,
    one_file,
    parse_cell,
    parse_wavelength,
)
from eg_agent.errors import BadInput

if TYPE_CHECKING:
    from eg_agent.cli.verification import Verification


def verify(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A measured pattern.")],
    cell: Annotated[
        str,
        typer.Option(
            metavar="a,b,c,al,be,ga",
            help="Conventional cell, angstrom and degrees, right to about one per cent.",
            show_default=False,
        ),
    ],
    wavelength: Wavelength = None,
    everything: Annotated[
        bool, typer.Option("--all", help="List every symbol of the crystal system, in every setting.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
    picture: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw the fit and the deciding reflections (.png, .pdf, .svg)."),
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write the fit as CIF, and as input for GSAS-II and TOPAS."),
    ] = None,
    symbol: Annotated[
        str | None,
        typer.Option(help='Symbol to export, as in "P n a -"; default: the first of the table.'),
    ] = None,
    prior: Prior = "mineral",
    checkpoint: Checkpoint = "default",
    time_limit: Annotated[float, typer.Option(help="Seconds for the fit; it then stops early.")] = 20.0,
) -> None:
    """Fit a pattern in its cell without absences, and weigh every extinction symbol by what is missing.

    Exit status: 0 when it was fitted or is said not to fit, 3 when the pattern is refused, 2 for wrong usage.
    """
    first, second = parse_wavelength(wavelength)
    numbers = parse_cell(cell)
    assert numbers is not None
    if not 0.1 <= time_limit <= 3600:
        raise BadInput(f"--time-limit {time_limit:g} is not between 0.1 and 3600 seconds.")
    check_targets(pictures=(picture,))
    one_file(path)
    if export is not None and export.exists() and not export.is_dir():
        raise BadInput(f"{export} is a file: give a folder for --export.")

    from eg_agent.cli import verify_tables
    from eg_agent.cli.verification import identify_settings, verification
    from eg_agent.errors import BadPattern
    from eg_agent.identify.identifier import Identifier
    from eg_agent.patterns import read
    from eg_agent.verify import VerifySettings

    try:
        pattern = read(path, wavelength=first, wavelength2=second)
        identifier = Identifier(checkpoint, prior, identify_settings(time_limit))
        found = verification(identifier, pattern, numbers, VerifySettings(time_limit=time_limit))
    except BadPattern as error:
        if as_json:
            typer.echo(json.dumps({"file": str(path), "status": "refused", "reason": str(error)}))
        else:
            verify_tables.print_refused(path, str(error))
        raise typer.Exit(REFUSED) from None
    if export is not None:
        _export(found, export, symbol, path)
    if as_json:
        typer.echo(json.dumps(found.as_json(everything=everything), allow_nan=False))
    else:
        verify_tables.print_verification(path, found, everything=everything)
    if picture is not None:
        from eg_agent.view.fit import plot_fit

        shown, close_ups = found.drawn()
        plot_fit(found.pattern, found.evidence, shown, close_ups, picture, name=path.name)
        typer.echo(f"eg-agent: picture written to {picture}.", err=True)


def _export(found: Verification, folder: Path, symbol: str | None, path: Path) -> None:
    from eg_agent.export import export as write
    from eg_agent.export import fitted_pattern

    if found.weighed is None:
        raise BadInput(f"there is no fit to export: {found.evidence.reason}")
    rows = {row.symbol: row.index for row in reversed(found.symbols)}
    wanted = found.groups[0].symbol if symbol is None else symbol
    if wanted not in rows:
        raise BadInput(f"--symbol {wanted!r} is no symbol of this cell: list them with --all.")
    written = write(fitted_pattern(found.pattern, found.weighed, rows[wanted], path.stem), folder)
    for file in written:
        typer.echo(f"eg-agent: {file} written.", err=True)
