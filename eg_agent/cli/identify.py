"""`eg-agent identify`: files and folders of measured patterns, without Bluesky."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eg_agent.cli.options import (
    REFUSED,
    Checkpoint,
    Prior,
    Wavelength,
    check_targets,
    parse_cell,
    parse_chemistry,
    parse_wavelength,
)
from eg_agent.errors import BadInput, BadPattern, EgAgentError

if TYPE_CHECKING:
    from eg_agent.chemistry import Composition
    from eg_agent.identify import Identification
    from eg_agent.identify.identifier import Identifier
    from eg_agent.patterns import Pattern

#: Endings that tables and structures use as well as patterns: in a folder, such a file may be neither.
_AMBIGUOUS = {".csv", ".dat", ".txt", ".cif"}


@dataclass(frozen=True)
class Answer:
    """One file and what was said of it; no pattern where it could not be read."""

    path: Path
    pattern: Pattern | None
    identification: Identification


@dataclass(frozen=True)
class Given:
    """What the user said of all files: cell (angstrom, degrees), wavelengths (angstrom), chemistry."""

    cell: tuple[float, ...] | None
    wavelength: float | None
    wavelength2: float | None
    chemistry: Composition | None


def identify(
    paths: Annotated[
        list[Path], typer.Argument(metavar="FILE|FOLDER...", help="Measured patterns, or folders of them.")
    ],
    wavelength: Wavelength = None,
    cell: Annotated[
        str | None,
        typer.Option(
            metavar="a,b,c,al,be,ga",
            help="Conventional cell, angstrom and degrees: lets the fit look for absences.",
        ),
    ] = None,
    composition: Annotated[
        str | None,
        typer.Option(metavar="FORMULA", help="What the sample is made of, as Ca3Al2Si3O12 or CaSO4·2H2O."),
    ] = None,
    elements: Annotated[
        str | None,
        typer.Option(
            metavar="EL,EL,...", help="Its elements alone, as Ca,Al,Si,O, where amounts are unknown."
        ),
    ] = None,
    prior: Prior = "mineral",
    checkpoint: Checkpoint = "default",
    library: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Known structures to look the patterns up in; made by eg-train library.",
        ),
    ] = None,
    index: Annotated[
        bool,
        typer.Option(
            "--index/--no-index", help="Look for a cell where none is given, and weigh absences in it."
        ),
    ] = True,
    index_seconds: Annotated[
        float, typer.Option(min=1.0, max=60.0, help="Seconds a pattern for that, fits included.")
    ] = 20.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="JSON on standard output: one object a file, one line each.")
    ] = False,
    csv: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Write a table, one row a file, to OUT.")
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="PNG", help="Draw the answer; for several files a contact sheet."),
    ] = None,
) -> None:
    """Identify the extinction group of measured patterns.

    Without a cell, one is looked for by indexing, and the answer weighs the cells found against the chance
    that none of them is right. --no-index answers at once, by the network alone.

    With --composition or --elements the chemistry counts, too, unless it contradicts the pattern.

    Exit status: 0 when all were answered (identified, undecided, no confident match), 3 when any was
    refused, 2 for wrong usage.
    """
    first, second = parse_wavelength(wavelength)
    given = Given(parse_cell(cell), first, second, parse_chemistry(composition, elements))
    check_targets(csv, pictures=(plot,))
    files, several = collect(paths)

    from eg_agent.cli.compiling import say_if_compiling
    from eg_agent.identify.identifier import Identifier
    from eg_agent.identify.settings import IdentifySettings

    settings = IdentifySettings(index_seconds=index_seconds if index else 0.0)
    identifier = Identifier(checkpoint, prior, settings, library=library)
    say_if_compiling(indexing=index and given.cell is None, library=library is not None)
    answers = _answers(identifier, files, given, several=several, as_json=as_json)
    if not answers:
        raise BadInput("none of the files is a pattern: give files in a known format.")
    _report(answers, several=several, as_json=as_json, csv=csv, plot=plot)
    if any(answer.identification.verdict == "refused" for answer in answers):
        raise typer.Exit(REFUSED)


def collect(paths: list[Path]) -> tuple[list[tuple[Path, bool]], bool]:
    """Files to read, each with whether it was named (not found in a folder), and whether to answer in rows.

    Raises BadInput for a path that does not exist, and for a folder without a pattern.
    """
    from eg_agent.patterns import FORMATS

    files: list[tuple[Path, bool]] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
            patterns = [p for p in inside if p.suffix.lower() in FORMATS]
            if not patterns:
                raise BadInput(f"{path} holds no pattern: the formats are {', '.join(FORMATS)}.")
            for other in (p for p in inside if p not in patterns):
                _note(f"{other} is not a pattern: skipped.")
            files.extend((p, False) for p in patterns)
        elif path.exists():
            files.append((path, True))
        else:
            raise BadInput(f"there is no file {path}: check the path.")
    return files, len(files) > 1 or any(path.is_dir() for path in paths)


def _answers(
    identifier: Identifier,
    files: list[tuple[Path, bool]],
    given: Given,
    *,
    several: bool,
    as_json: bool,
) -> list[Answer]:
    """What is said of each file that is a pattern; in JSON, it is printed as it comes."""
    from eg_agent.values import to_json

    answers: list[Answer] = []
    for path, named in _progress(files, quiet=as_json or not several):
        answer = _answer(identifier, path, given, several=several, named=named)
        if answer is not None:
            answers.append(answer)
            if as_json:
                typer.echo(to_json(answer.identification))
    return answers


def _answer(
    identifier: Identifier,
    path: Path,
    given: Given,
    *,
    several: bool,
    named: bool,
) -> Answer | None:
    """What is said of one file; None for one found in a folder that is no pattern.

    Among several files, one that cannot be opened must not cost the answers for the others: it is
    refused with the reason.
    """
    if not named and path.suffix.lower() in _AMBIGUOUS:
        why = _not_a_pattern(path)
        if why is not None:
            _note(f"{path} is not a pattern: skipped ({why.rstrip('.')}).")
            return None
    try:
        pattern, answer = identifier.identify_read(
            path,
            given.cell,
            wavelength=given.wavelength,
            wavelength2=given.wavelength2,
            composition=given.chemistry,
        )
    except EgAgentError as error:
        if not several:
            raise
        pattern, answer = None, identifier.refuse(path, str(error), given.cell)
    return Answer(path, pattern, answer)


def _not_a_pattern(path: Path) -> str | None:
    """Why a file cannot be read whatever its wavelength; None when it can."""
    from eg_agent.patterns import read

    try:
        read(path, wavelength=1.0)
    except BadPattern as error:
        return str(error)
    except EgAgentError:
        return None  # a pattern that this installation cannot read: refused later, with the reason
    return None


def _report(
    answers: list[Answer], *, several: bool, as_json: bool, csv: Path | None, plot: Path | None
) -> None:
    from eg_agent.cli import tables

    if not as_json:
        if several:
            tables.print_rows([(a.path, a.identification) for a in answers])
        else:
            tables.print_answer(answers[0].path, answers[0].identification)
    if csv is not None:
        tables.write_csv(csv, [(a.path, a.identification) for a in answers])
        _note(f"table written to {csv}.")
    if plot is not None:
        _draw(answers, plot, several=several)


def _draw(answers: list[Answer], plot: Path, *, several: bool) -> None:
    from eg_agent.view import contact_sheet, plot_identification

    drawable = [(a.pattern, a.identification) for a in answers if a.pattern is not None]
    if not drawable:
        _note(f"nothing to draw: no pattern could be read, {plot} is not written.")
        return
    if several:
        contact_sheet(drawable, plot)
    else:
        plot_identification(*drawable[0], plot)
    _note(f"picture written to {plot}.")


def _progress(files: list[tuple[Path, bool]], *, quiet: bool) -> Iterable[tuple[Path, bool]]:
    """The files, with a bar on a terminal's standard error."""
    if quiet or not sys.stderr.isatty():
        return files
    from rich.console import Console
    from rich.progress import track

    return track(files, description="identifying", console=Console(stderr=True), transient=True)


def _note(text: str) -> None:
    typer.echo(f"eg-agent: {text}", err=True)
