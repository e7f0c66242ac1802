"""`python -m tests.bench [PART ...] [--json]`: run the benchmarks on one thread and print a table.

A part is the name of a file without `bench_`. Exit status 1 when a benchmark failed or a bound was missed
(`--no-bounds`: only when one failed).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.bench import Row

#: Set before a benchmark loads numpy, torch or numba (nothing here does): figures are of one core.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def parts() -> list[str]:
    """Names of the benchmarks that lie here, in order."""
    return sorted(path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py"))


def as_row(found: Row | Mapping[str, Any] | tuple[Any, ...]) -> Row:
    """A row as `Row`, from a mapping or a tuple in the order of its fields."""
    if isinstance(found, Row):
        return found
    return Row(**found) if isinstance(found, Mapping) else Row(*found)


def rows_of(part: str) -> Iterator[Row]:
    """Run one benchmark."""
    module = import_module(f"tests.bench.bench_{part}")
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    yield from map(as_row, module.rows())


def table(results: Mapping[str, list[Row]]) -> Table:
    """All rows as a table for people."""
    shown = Table(title="One thread", title_justify="left", box=None, pad_edge=False)
    for heading, justify in (
        ("", "left"),
        ("what", "left"),
        ("value", "right"),
        ("unit", "left"),
        ("bound", "right"),
        ("of bound", "right"),
        ("reference", "right"),
        ("times faster", "right"),
    ):
        shown.add_column(heading, justify="right" if justify == "right" else "left")
    for part, rows in results.items():
        for i, row in enumerate(rows):
            share, faster = row.share_of_bound, row.times_faster
            shown.add_row(
                part if i == 0 else "",
                row.name,
                f"{row.value:.4g}",
                row.unit,
                "" if row.bound is None else f"{row.bound:.4g}",
                "" if share is None else f"[{'green' if share <= 1 else 'red'}]{share:.2f}[/]",
                "" if row.reference is None else f"{row.reference:.4g}",
                "" if faster is None else f"{faster:.2f}",
            )
    return shown


def main() -> int:
    """Run what was asked for; the exit status."""
    os.environ.update(dict.fromkeys(THREADS, "1"))
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("part", nargs="*", help=f"of {', '.join(parts()) or 'none yet'}; default all")
    parser.add_argument("--json", action="store_true", help="a list of rows instead of a table")
    parser.add_argument("--no-bounds", action="store_true", help="a missed bound is no failure")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.part) - set(parts()))
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}: there are {', '.join(parts())}")
    console, errors = Console(), Console(stderr=True)
    if not console.is_terminal:  # a file or a pipe has no width of its own
        console = Console(width=130)
    results: dict[str, list[Row]] = {}
    failed = []
    for part in arguments.part or parts():
        start = time.perf_counter()
        errors.print(f"{part} ...", end=" ", highlight=False)
        try:
            results[part] = list(rows_of(part))
        except Exception:  # one broken benchmark must not hide the figures of the others
            failed.append(part)
            errors.print("failed", style="red")
            traceback.print_exc()
        else:
            errors.print(f"{time.perf_counter() - start:.1f} s", highlight=False)
    if arguments.json:
        rows = [{"part": part, **asdict(row)} for part, found in results.items() for row in found]
        json.dump(rows, sys.stdout, indent=1)
        sys.stdout.write("\n")
    else:
        console.print(table(results))
    missed = [r for found in results.values() for r in found if (r.share_of_bound or 0) > 1]
    return 1 if failed or (missed and not arguments.no_bounds) else 0


if __name__ == "__main__":
    sys.exit(main())
