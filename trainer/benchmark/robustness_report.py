"""Partial ranges and other wavelengths for people: what matters most first, less of it on a narrow screen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from trainer.benchmark.report import ANSWERS, interval_cell

#: A heading, and the cell of a variant's row.
Column = tuple[str, Callable[[Mapping[str, Any]], Text]]


def _metric(name: str, row: str = "model") -> Callable[[Mapping[str, Any]], Text]:
    _, factor, decimals = ANSWERS[name]
    return lambda variant: interval_cell(variant[row][name], factor, decimals)


def _share(variant: Mapping[str, Any]) -> Text:
    low, high = variant["share_of_bits_95"] or (None, None)
    return interval_cell({"value": variant["share_of_bits"], "low": low, "high": high}, 100, 0)


#: By falling importance.
COLUMNS: tuple[Column, ...] = (
    ("bits over\nprior", _metric("bits_over_prior")),
    ("bits\nkept %", _share),
    ("Top-1 %", _metric("top1")),
    ("re-\nfused", lambda variant: Text(str(variant["refused"]))),
    ("Top-5 %", _metric("top5")),
    ("ECE", _metric("ece")),
    ("permuted\nTop-1 %", _metric("top1", "permutation")),
)


def print_variants(result: Mapping[str, Any], console: Console) -> None:
    """A row for each part of the range and wavelength; columns that do not fit are left out and named."""
    unbounded = console.options.update(max_width=1000)
    shown = len(COLUMNS)
    while shown > 2 and Measurement.get(console, unbounded, _table(result, shown)).maximum > console.width:
        shown -= 1
    console.print(_table(result, shown))
    if shown < len(COLUMNS):
        missing = ", ".join(heading.replace("-\n", "").replace("\n", " ") for heading, _ in COLUMNS[shown:])
        console.print(f"Too narrow for {missing}: widen the screen, or give --json.")
    n = result["prior_only"]
    _, factor, decimals = ANSWERS["top1"]
    console.print(
        f"Prior only: Top-1 {factor * n['top1']['value']:.{decimals}f} %, "
        f"Top-5 {factor * n['top5']['value']:.{decimals}f} %, 0 bits. "
        "Bits kept: of those of the whole pattern, both resampled by compound."
    )


def _table(result: Mapping[str, Any], shown: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for heading, _ in COLUMNS[:shown]:
        table.add_column(heading, justify="right", no_wrap=True)
    for name, variant in result["variants"].items():
        cells = [cell(variant) for _, cell in COLUMNS[:shown]]
        table.add_row(name.replace(" angstrom", " \u00c5"), *cells)
    return table
