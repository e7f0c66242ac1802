"""`eg-agent index`: the cell of a measured pattern, when none is known."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eg_agent.cli.options import REFUSED, Wavelength, one_file, parse_wavelength
from eg_agent.errors import BadInput

if TYPE_CHECKING:
    import numpy.typing as npt

    from eg_agent.patterns import Pattern
    from eg_agent.verify.index_result import IndexResult


def index(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A measured pattern.")],
    wavelength: Wavelength = None,
    time_limit: Annotated[
        float, typer.Option(help="Seconds, after which the best found so far is given.")
    ] = 60.0,
    lattices: Annotated[
        str | None,
        typer.Option(metavar="oP,mP,...", help="Bravais lattices to search, in this order; default: all 14."),
    ] = None,
    network: Annotated[
        bool,
        typer.Option("--network", help="Let the network's posterior order the search and weigh lattices."),
    ] = False,
    checkpoint: Annotated[
        str, typer.Option(help="With --network: a shipped checkpoint, or a path.")
    ] = "default",
    library: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Known structures whose cells are tried too; made by eg-train library."
        ),
    ] = None,
    cells: Annotated[int, typer.Option(min=1, max=20, help="Cells to print.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="The result as a JSON object.")] = False,
) -> None:
    """Index a pattern: its cell, with figures of merit and a weight that ranks it.

    Exit status: 0 with cells, 3 when the pattern was refused or no cell explains it, 2 for wrong usage.
    """
    first, second = parse_wavelength(wavelength)
    if not 0 < time_limit <= 3600:
        raise BadInput(f"--time-limit {time_limit:g} is not between 0 and 3600 seconds.")
    one_file(path)
    wanted = None if lattices is None else [name.strip() for name in lattices.split(",") if name.strip()]

    from eg_agent.cli.compiling import say_if_compiling
    from eg_agent.patterns import check, read
    from eg_agent.verify.indexing import index as indexed

    known = None
    if library is not None:
        from eg_agent.library import Library

        known = Library.load(library)
    pattern = check(read(path, wavelength=first, wavelength2=second))
    say_if_compiling(indexing=True, library=library is not None)
    found = indexed(
        pattern,
        log_lattice=_posterior(pattern, checkpoint) if network else None,
        library=known,
        systems=wanted,
        time_limit=time_limit,
    )
    if as_json:
        from eg_agent.values import to_json

        typer.echo(to_json(found))
    else:
        _print(path, found, cells)
    if found.status != "indexed":
        raise typer.Exit(REFUSED)


def _posterior(pattern: Pattern, checkpoint: str) -> npt.ArrayLike:
    from eg_agent.model import Classifier

    return Classifier.load(checkpoint, "mineral").predict(pattern).log_probability


def _print(path: Path, found: IndexResult, count: int) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    console.print(f"[bold]{escape(str(path))}[/]", soft_wrap=True)
    console.print(escape(found.reason), soft_wrap=True)
    if found.cells:
        table = Table(box=SIMPLE_HEAD)
        columns = ("weight", "lattice", "a b c, angstrom", "al be ga, deg", "V", "M20", "F20", "Wu")
        for name in (*columns, "lines", "zero"):
            table.add_column(name, justify="left" if name == "lattice" else "right", no_wrap=True)
        for cell in found.cells[:count]:
            table.add_row(
                f"{cell.probability:.3f}",
                cell.lattice,
                " ".join(f"{v:.4f}" for v in cell.cell[:3]),
                " ".join(f"{v:.6g}" for v in (round(v, 3) for v in cell.cell[3:])),
                f"{cell.volume:.1f}",
                f"{cell.m20:.0f}",
                f"{cell.f20:.0f}",
                f"{cell.wu:.0f}",
                f"{cell.n_indexed}/{cell.n_lines}",
                f"{cell.zero_shift:+.3f}",
            )
        console.print(table)
        if any(cell.origin == "library" for cell in found.cells[:count]):
            sources = {c.source for c in found.cells[:count] if c.origin == "library"}
            console.print(f"Cells from the library: {escape(', '.join(sorted(sources)))}.")
        console.print(
            f"None of the {len(found.cells)} cells found: weight {found.none_probability:.3f}. "
            "Weights add up to 1; they rank the cells and are not calibrated.",
            soft_wrap=True,
        )
    stray = f", {found.n_stray} of them probably of another wavelength" if found.n_stray else ""
    console.print(f"[dim]{found.n_lines} lines{stray}; {found.seconds:.1f} s[/]")
