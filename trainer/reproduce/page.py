"""The reproduction page: every table beside the paper's figures, what holds of them, and two pictures."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eg_agent.errors import BadInput
from eg_agent.model.checkpoint import write_atomically
from trainer.reproduce.markdown import as_markdown
from trainer.reproduce.pictures import plot_differences, plot_temperatures
from trainer.reproduce.verdicts import verdict

INTRO = """\
The tables of [arXiv:2604.23811](https://arxiv.org/abs/2604.23811) made with this package, beside what the
paper says. Rows that see no pattern stand in every table: the prior alone, a constant answer (the most
frequent group, chosen with the labels), and the first row's answers given to patterns of other compounds
("permuted"). Without them a value says little: where a few groups make up most of the labels, most metrics
of the graph look good.

- **Budgets are small**, and every table says its own. What needs more patterns than were spent is not decided
  by these runs; the sentences under each table follow from its intervals alone. `eg-train reproduce` goes on
  where it stopped, and a longer run replaces the rows.
- Intervals are 95 % and resample compounds (simulated patterns: patterns). "Bits against the first row" is
  paired: same patterns, same resamples, the first row of the same budget. It does not hold the spread between
  seeds, which stands in its own column where there are several.
- Measured patterns are the benchmark rows. T and prior of every row, null rows included, are fitted by five
  folds of compounds, so that no row has seen its own labels; but for the permuted one, whose answers carry
  the priors of other folds, and so may lie a little above the prior.
- The paper's RRUFF-325 is another selection of the same archive: compare each side with its own prior.
"""


def write_page(
    path: Path, tables: Sequence[Mapping[str, Any]], command: str, pictures: Path | None = None
) -> None:
    """Write the page and its PNGs (to `pictures`, or beside it). BadInput where it cannot be written.

    tables: of `trainer.reproduce.tables.make_table`. command: that makes the page again.
    """
    folder = path.parent if pictures is None else pictures
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{folder} cannot be made ({error.strerror}): give another path.") from None
    drawn = {
        "ablations": (plot_differences, "What each part is worth, at one budget"),
        "calibration": (plot_temperatures, "NLL and calibration error against temperature"),
    }
    lines = ["# The paper's tables, reproduced", "", INTRO, "Made by", "", "```bash", command, "```", ""]
    for made in tables:
        lines += [f"## {made['title']}", ""]
        table = as_markdown(made).rstrip().split("\n")
        lines += [*table, ""]
        lines += [f"- {sentence[0].upper()}{sentence[1:]}" for sentence in verdict(made)] + [""]
        if made["name"] in drawn:
            plot, words = drawn[made["name"]]
            target = folder / f"{made['name']}.png"
            if plot(target, made):
                relative = Path(os.path.relpath(target, path.parent)).as_posix()
                lines += [f"![{words}]({relative})", ""]
    write_atomically(path, ("\n".join(lines).rstrip() + "\n").encode())
