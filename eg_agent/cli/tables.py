"""Identifications as tables for a terminal and as CSV."""

from __future__ import annotations

import csv
import math
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from eg_agent.errors import BadInput
from eg_agent.identify import Identification
from eg_agent.library.match import Lookup
from eg_agent.model.estimate import PropertyEstimate

_STYLE = {
    "identified": "bold green",
    "undecided": "yellow",
    "no confident match": "magenta",
    "refused": "red",
}

_LISTED = 12  #: group numbers of a prediction set that are printed

Rows = Sequence[tuple[Path, Identification]]


def print_answer(path: Path, answer: Identification, *, groups: int = 5) -> None:
    """One file: verdict, reason, the leading groups with their space groups, what would settle it."""
    console = Console()
    console.print(f"[bold]{escape(str(path))}[/]", soft_wrap=True)
    console.print(f"[{_STYLE[answer.verdict]}]{answer.verdict}[/]")
    console.print(escape(answer.reason))
    if answer.top:
        console.print(_groups(answer, groups))
        listed = ", ".join(str(n) for n in answer.prediction_set[:_LISTED])
        more = len(answer.prediction_set) - _LISTED
        listed += f" and {more} more" if more > 0 else ""
        console.print(f"{answer.set_coverage:.0%} of the probability: group {listed}")
    if answer.evidence is not None and answer.evidence.status == "fitted" and answer.evidence.cell:
        cell = ", ".join(f"{v:.4f}" for v in answer.evidence.cell[:3])
        angles = ", ".join(f"{v:.2f}" for v in answer.evidence.cell[3:])
        console.print(f"Fitted cell ({answer.evidence.lattice}): {cell} angstrom, {angles} deg")
    if answer.cells:
        console.print(_cells(answer))
    if answer.lookup is not None:
        console.print(_matches(answer.lookup))
        console.print(
            f"[dim]library {escape(answer.lookup.library or answer.lookup.hash)}, {answer.lookup.entries:,} "
            f"structures; similarity after the cell was strained to fit[/]"
        )
    if answer.properties is not None:
        console.print(f"[bold]Beside it:[/] {escape(_properties(answer.properties))}")
    for settle in answer.would_settle:
        console.print(f"[bold]Would settle:[/] {escape(settle.reason)}")
    made = answer.provenance
    console.print(
        f"[dim]checkpoint {escape(made.checkpoint)}, prior {escape(made.prior)}, eg-agent {made.version}, "
        f"pattern {made.pattern_uid or '-'}, {answer.seconds:.2f} s[/]"
    )


def _properties(found: PropertyEstimate) -> str:
    """What the composition and the pattern lead to expect, in words; no part of the answer."""
    return (
        f"a network trained on computed structures expects of {found.composition} {found} "
        f"(intervals of {found.coverage:.0%}); this counts for nothing above."
    )


def _groups(answer: Identification, count: int) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("group", justify="right")
    table.add_column("symbol", no_wrap=True)
    table.add_column("system")
    table.add_column("probability", justify="right")
    table.add_column("network", justify="right")
    scored = {}
    if answer.evidence_only is not None and answer.evidence is not None:
        scored = {c.group: c for c in reversed(answer.evidence.candidates)}
        table.add_column("evidence (nats)", justify="right")
        table.add_column("in these axes", no_wrap=True)
    table.add_column("space groups")
    for row in answer.top[:count]:
        alone = math.exp(answer.network.log_probability[row.group - 1]) if answer.network else math.nan
        cells = [
            str(row.group),
            escape(row.symbol),
            row.crystal_system,
            f"{row.probability:.3f}",
            f"{alone:.3f}",
        ]
        if answer.evidence_only is not None:
            found = scored.get(row.group)
            cells += [f"{found.log_evidence:+.1f}", escape(found.symbol)] if found else ["-", "-"]
        table.add_row(*cells, escape(", ".join(row.space_groups)))
    return table


def _cells(answer: Identification) -> Table:
    """The cells that indexing proposed."""
    table = Table(box=None, pad_edge=False)
    table.add_column("proposed cell (angstrom, deg)", no_wrap=True)
    table.add_column("lattice")
    for name in ("probability", "lines", "M20", "Rwp %"):
        table.add_column(name, justify="right")
    for cell in answer.cells:
        lengths = " ".join(f"{v:.3f}" for v in cell.cell[:3])
        angles = " ".join(f"{v:.2f}".rstrip("0").rstrip(".") for v in cell.cell[3:])
        table.add_row(
            f"{lengths}  {angles}",
            cell.lattice,
            f"{cell.probability:.3f}",
            f"{cell.n_indexed} of {cell.n_lines}",
            f"{cell.m20:.0f}",
            "no fit" if cell.rwp is None else f"{cell.rwp:.1f}",
        )
    if answer.no_cell is not None:
        table.add_row("none of these", "", f"{answer.no_cell:.3f}")
    return table


def _matches(lookup: Lookup) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("most similar structure", no_wrap=True)
    table.add_column("formula")
    table.add_column("group", justify="right")
    table.add_column("space group", justify="right")
    table.add_column("similarity", justify="right")
    table.add_column("cell (angstrom, deg)")
    for match in lookup.matches:
        lengths = " ".join(f"{v:.3f}" for v in match.cell[:3])
        angles = " ".join(f"{v:.2f}".rstrip("0").rstrip(".") for v in match.cell[3:])
        table.add_row(
            escape(match.id),
            escape(match.formula),
            str(match.group),
            str(match.space_group) if match.space_group else "-",
            f"{match.similarity:.3f}",
            f"{lengths}  {angles}",
        )
    return table


def print_rows(rows: Rows) -> None:
    """Several files: one row each."""
    table = Table(box=None, pad_edge=False)
    for name in ("file", "verdict", "symbol"):
        table.add_column(name, no_wrap=name == "symbol")
    table.add_column("group", justify="right")
    table.add_column("probability", justify="right")
    table.add_column("in set", justify="right")
    table.add_column("reason", ratio=1)
    for path, answer in rows:
        best = answer.top[0] if answer.top else None
        table.add_row(
            escape(path.name),
            f"[{_STYLE[answer.verdict]}]{answer.verdict}[/]",
            escape(best.symbol) if best else "-",
            str(best.group) if best else "-",
            f"{best.probability:.3f}" if best else "-",
            str(len(answer.prediction_set)) if best else "-",
            escape(answer.reason),
        )
    Console().print(table)


COLUMNS = (
    "file", "verdict", "group", "symbol", "crystal_system", "probability", "prediction_set", "space_groups",
    "reason", "would_settle", "fit", "rwp_percent", "pattern_uid", "checkpoint", "prior", "version",
    "seconds",
)  # fmt: skip


def write_csv(path: Path, rows: Rows) -> None:
    """One row a file, in place only when complete: a failure leaves an older table as it was.

    Raises BadInput where it cannot be written.
    """
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.name}.", suffix=".part")
        temporary = Path(name)
        with os.fdopen(handle, "w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(COLUMNS)
            writer.writerows(_csv_row(file, answer) for file, answer in rows)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise BadInput(
            f"{path} cannot be written ({error.strerror or error}): free space, or choose another folder."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)  # gone already when all went well


def _csv_row(path: Path, answer: Identification) -> list[str | int | float]:
    best = answer.top[0] if answer.top else None
    evidence, made = answer.evidence, answer.provenance
    return [
        str(path),
        answer.verdict,
        best.group if best else "",
        best.symbol if best else "",
        best.crystal_system if best else "",
        f"{best.probability:.6g}" if best else "",
        " ".join(str(n) for n in answer.prediction_set),
        ", ".join(best.space_groups) if best else "",
        answer.reason,
        " ".join(settle.reason for settle in answer.would_settle),
        evidence.status if evidence else "",
        f"{evidence.rwp:.3f}" if evidence and evidence.rwp is not None else "",
        made.pattern_uid,
        made.checkpoint,
        made.prior,
        made.version,
        f"{answer.seconds:.3f}",
    ]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
