"""`--what composition` for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from trainer.benchmark.composition import COMPOSITION_ROWS
from trainer.benchmark.report import ANSWERS, GAINS, gains_in_words, interval_cell


def print_composition(result: Mapping[str, Any], console: Console) -> None:
    """Rows, steps between them, and how often a wrong composition is noticed."""
    table = Table(title="Answers", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("", no_wrap=True)
    for heading, _, _ in ANSWERS.values():
        table.add_column(heading, justify="right", no_wrap=True)
    for name, shown in COMPOSITION_ROWS.items():
        row = result["rows"][name]
        cells = [interval_cell(row[m], factor, decimals) for m, (_, factor, decimals) in ANSWERS.items()]
        table.add_row(shown, *cells, style="bold" if name == "exact" else "")
    console.print(table)
    for name, gain in result["steps"].items():
        upper, lower = (COMPOSITION_ROWS[part] for part in name.split(" - "))
        console.print(f"{upper[0].upper()}{upper[1:]}, above {lower}: {gains_in_words(gain, GAINS)}.")
    for name, said in (("exact", "compositions"), ("elements", "elements alone")):
        found = result["contradictions"][name]
        console.print(
            f"Of another compound's {said} {100 * found['wrong_noticed']:.0f} % are noticed to contradict "
            f"the pattern, of the right ones {100 * found['right_doubted']:.1f} %. Believed unless noticed, "
            f"they bring {gains_in_words(found['wrong - none'], GAINS)}."
        )
    console.print(f"Calibration: {result['settings']['calibration']}.")
