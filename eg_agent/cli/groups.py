"""`eg-agent groups`: the 99 extinction groups, or one of them in full."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from eg_agent.symmetry import ExtinctionGroup


def groups(
    number: Annotated[
        int | None, typer.Argument(metavar="N", help="A group, 1 to 99: print it in full.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list of objects, one a group.")] = False,
) -> None:
    """List the extinction groups, their space groups and their neighbours in the subgroup graph."""
    from eg_agent import symmetry

    chosen = symmetry.groups() if number is None else (symmetry.group(number),)
    if as_json:
        typer.echo(json.dumps([as_object(entry) for entry in chosen], indent=None if number is None else 2))
        return

    from rich.console import Console

    console = Console(highlight=False)
    if number is None:
        _print_list(chosen, console)
    else:
        _print_group(chosen[0], console)


def as_object(entry: ExtinctionGroup) -> dict[str, Any]:
    """A group as plain JSON types.

    `codes` are 37 characters of 0 and 1 by layout (bits: `eg_agent.symmetry.PUBLISHED_BITS` and
    `CONDITION_BITS`); `neighbours` are group numbers one step down and up the subgroup graph;
    `conditions` are those of the standard setting.
    """
    from eg_agent import symmetry

    published = symmetry.published_codes()[entry.number - 1]
    condition = symmetry.condition_codes()[entry.number - 1]
    return {
        "number": entry.number,
        "crystal_system": entry.crystal_system,
        "lattice": entry.lattice,
        "symbol": entry.symbol,
        "equivalent_symbols": list(entry.equivalent_symbols),
        "space_groups": list(entry.space_groups),
        "space_group_symbols": list(symmetry.space_group_symbols(entry.number)),
        "conditions": list(symmetry.standard(entry.number).conditions()),
        "codes": {
            "published": "".join(map(str, published)),
            "condition": "".join(map(str, condition)),
        },
        "neighbours": {
            "children": sorted(symmetry.children(entry.number)),
            "parents": sorted(symmetry.parents(entry.number)),
        },
    }


def _print_list(entries: tuple[ExtinctionGroup, ...], console: Console) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    from eg_agent import symmetry

    table = Table(box=SIMPLE_HEAD)
    table.add_column("group", justify="right", no_wrap=True)
    table.add_column("symbol", no_wrap=True)
    table.add_column("space groups")
    table.add_column("children")
    system = ""
    for entry in entries:
        if entry.crystal_system != system:
            if system:
                table.add_section()
            system = entry.crystal_system
            table.add_row("", f"[bold]{system}[/bold]")
        table.add_row(
            str(entry.number),
            escape(entry.symbol),
            " ".join(map(str, entry.space_groups)),
            " ".join(map(str, sorted(symmetry.children(entry.number)))),
        )
    console.print(table)
    console.print("eg-agent groups N: its settings, reflection conditions and neighbours.")


def _print_group(entry: ExtinctionGroup, console: Console) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    from eg_agent import symmetry

    console.print(
        f"[bold]Extinction group {entry.number}: {escape(entry.symbol)}[/bold]"
        f" ({entry.crystal_system}, lattice {entry.bravais})\n"
    )
    named = zip(entry.space_groups, symmetry.space_group_symbols(entry.number))
    facts = [("Space groups", [f"{symbol} ({sg})" for sg, symbol in named])]
    if entry.lattice == "R":
        facts.append(("Other axes", list(entry.equivalent_symbols)))
    for title, numbers in (
        ("Children", symmetry.children(entry.number)),
        ("Parents", symmetry.parents(entry.number)),
    ):
        facts.append((title, [f"{n}: {symmetry.group(n).symbol}" for n in sorted(numbers)] or ["none"]))
    codes = as_object(entry)["codes"]
    facts += [("Published code", [codes["published"]]), ("Condition code", [codes["condition"]])]
    width = max(len(title) for title, _ in facts) + 2
    for title, items in facts:
        for i, line in enumerate(_lines_of(items, console.width - width)):
            console.print(f"[bold]{'' if i else title:{width}}[/bold]{escape(line)}", soft_wrap=True)

    table = Table(box=SIMPLE_HEAD)
    table.add_column("setting", no_wrap=True)
    table.add_column("reflection conditions")
    for setting in symmetry.settings(entry.number):
        table.add_row(escape(setting.symbol), "   ".join(setting.conditions()) or "none")
    console.print(table)
    if entry.crystal_system in ("tetragonal", "cubic"):
        console.print("A condition stands for those equivalent to it by the crystal system.")


def _lines_of(items: list[str], width: int) -> list[str]:
    """Items joined by commas, in lines of at most `width`, no item broken (symbols have spaces in them)."""
    lines = [""]
    for i, item in enumerate(items):
        text = item + ("," if i + 1 < len(items) else "")
        if lines[-1] and len(lines[-1]) + 1 + len(text) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {text}".lstrip()
    return lines
