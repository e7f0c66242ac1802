"""The page of XxaCT-NN: its tables, what holds of them, and how errors fall with the number of structures."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eg_agent.errors import BadInput
from eg_agent.model.checkpoint import write_atomically
from trainer.metrics import Interval
from trainer.reproduce.xxact_tables import (
    PUBLISHED_LAWS,
    Runs,
    conditions_table,
    inputs_table,
    pretraining_table,
    scaling_table,
)

#: Metric -> (heading, factor, decimals).
HEADINGS = {
    "energy": ("formation energy, meV/atom", 1000.0, 0),
    "gap": ("band gap, eV", 1.0, 3),
    "system": ("crystal system, %", 100.0, 1),
}
#: The same of all test structures, in the table that has it.
OF_ALL = {**HEADINGS, "all": ("crystal system of all test structures, %", 100.0, 1)}
INTRO = """\
XxaCT-NN ([arXiv:2507.01054](https://arxiv.org/abs/2507.01054)) reads a composition and a diffraction pattern,
without a structure, and says formation energy, band gap and crystal system. The tables are made with this
package's model of it (`eg_agent.model.xxact`) and judged on formulas that no run has seen.

- **What is small.** The paper trains on about 5 million structures of Alexandria with eight GPUs and batches
  of 32,768. Here are 76,933 structures of the Materials Project, 24,917 with a formation energy and 14,780
  with a gap (a tenth of the formulas is for testing), and the budget that each row says. Tokens come from
  strided convolutions, as patches learn too slowly from few patterns. A figure of these tables says what
  this budget gives, not what the architecture can.
- Test structures are those with a formation energy, but for the column that says all. Errors are means of
  absolute errors, with 95 % intervals that resample formulas; differences are paired, structure by structure.
  They do not hold the spread between trainings: each row is one run (seed 0).
- Clean patterns are those of the computed cell for Cu K-alpha1, smeared by a Gaussian of 0.2 degrees, as the
  paper smears its own (by how much it does not say). Stage 2 is what the classifier is trained on: strain,
  texture, impurities, instruments, background, counts.
"""


def write_xxact_page(path: Path, runs: Runs, command: str, pictures: Path | None = None) -> str:
    """Write the page and its picture (to `pictures`, or beside it); returns the text."""
    folder = path.parent if pictures is None else pictures
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{folder} cannot be made ({error.strerror}): give another path.") from None
    lines = ["# XxaCT-NN, reproduced", "", INTRO, "Made by", "", "```bash", command, "```", ""]
    lines += as_lines(runs)
    scaling = scaling_table(runs)
    if len(scaling["points"]) > 1:
        target = folder / "xxact-scaling.png"
        plot_scaling(target, scaling)
        relative = Path(os.path.relpath(target, path.parent)).as_posix()
        lines += [f"![Error of the formation energy against the number of structures]({relative})", ""]
    text = "\n".join(lines).rstrip() + "\n"
    write_atomically(path, text.encode())
    return text


def as_lines(runs: Runs) -> list[str]:
    """All tables as markdown."""
    return [*_inputs(runs), *_pretraining(runs), *_conditions(runs), *_scaling(runs)]


def shown(interval: Interval | None, factor: float, decimals: int, sign: str = "") -> str:
    """A value with its interval in brackets; empty for none."""
    if interval is None:
        return ""
    value, low, high = (
        f"{factor * v:{sign}.{decimals}f}" for v in (interval.value, interval.low, interval.high)
    )
    return f"{value} [{low}, {high}]"


_Headings = Mapping[str, tuple[str, float, int]]


def _row(
    name: str, figures: Mapping[str, Any], *more: str, sign: str = "", headings: _Headings = HEADINGS
) -> str:
    cells = [shown(figures.get(m), factor, decimals, sign) for m, (_, factor, decimals) in headings.items()]
    return "| " + " | ".join([name, *cells, *more]) + " |"


def _head(first: str, *more: str, headings: _Headings = HEADINGS) -> list[str]:
    cells = [first, *(heading for heading, _, _ in headings.values()), *more]
    return ["| " + " | ".join(cells) + " |", "|---" * len(cells) + "|"]


def _inputs(runs: Runs) -> list[str]:
    table = inputs_table(runs)
    if not table["rows"]:
        return ["No run is finished.", ""]
    lines = [
        "## Composition, pattern, both",
        "",
        *_head("shown", "structures", "samples", "the paper", headings=OF_ALL),
    ]
    for row in table["rows"]:
        said = row["published"]
        paper = [f"{1000 * said['energy']:.0f} meV/atom"] if "energy" in said else []
        paper += [f"{100 * said['system']:.1f} %"] if "system" in said else []
        more = f"{row['structures']:,}", f"{row['samples']:,}", ", ".join(paper)
        lines.append(_row(row["row"], row, *more, headings=OF_ALL))
    if table["steps"]:
        lines += ["", "Paired differences:", "", *_head("", headings=OF_ALL)]
        lines += [_row(step["row"], step, sign="+", headings=OF_ALL) for step in table["steps"]]
    return [*lines, ""]


def _pretraining(runs: Runs) -> list[str]:
    rows = pretraining_table(runs)
    if len(rows) < 2:
        return []
    lines = [
        "## Pretraining",
        "",
        "The paper: up to 4.2 times faster; 46 meV/atom without pretraining at convergence. The factor is "
        "how many times fewer samples (those of pretraining not counted) reach what the fresh run ends with, "
        "on the validation structures, one run each; its range is that of the neighbouring looks.",
        "",
        *_head("pretraining", "energy against none, meV/atom", "factor"),
    ]
    for row in rows:
        factor = row["factor"]
        words = (
            ""
            if row["row"] == "no pretraining"
            else "never as good"
            if factor is None
            else shown(factor, 1, 1)
        )
        lines.append(_row(row["row"], row, shown(row.get("difference"), 1000, 0, "+"), words))
    return [*lines, ""]


def _conditions(runs: Runs) -> list[str]:
    rows = conditions_table(runs)
    if not rows:
        return []
    words = {
        "clean": "clean",
        "noise": "200 counts at the highest line",
        "resolution": "lines of 0.8 degrees",
        "range": "20 to 60 degrees alone",
        "stage2": "stage 2, all nuisances",
    }
    lines = ["## Worse patterns", "", "The paper has clean patterns only.", "", *_head("shown", "patterns")]
    lines += [_row(row["row"], row, words[row["condition"]]) for row in rows]
    return [*lines, ""]


def _scaling(runs: Runs) -> list[str]:
    table = scaling_table(runs)
    if len(table["points"]) < 2:
        return []
    lines = [
        "## Errors against the number of structures",
        "",
        "The paper: 0.07 D^-0.335 eV/atom for both and 0.14 D^-0.046 for the composition only, D in "
        "millions, which cross near 90,000 structures.",
        "",
        "| shown | labelled structures | formation energy, meV/atom |",
        "|---|---|---|",
    ]
    for point in table["points"]:
        lines.append(f"| {point['inputs']} | {point['structures']:,} | {shown(point['energy'], 1000, 0)} |")
    lines.append("")
    for name, law in table["laws"].items():
        lines.append(f"- {name}: exponent {shown(law['exponent'], 1, 3)}, from {law['sizes']} sizes.")
    for name, at in table["crossings"].items():
        if at["never"] > 0.5:
            said = "does not gain on the composition alone"
        else:
            said = f"crosses it at {at['value']:,.0f} structures [{at['low']:,.0f}, {at['high']:,.0f}]"
        lines.append(f"- {name}: {said} (no crossing in {100 * at['never']:.0f} % of the resamples).")
    return [*lines, ""]


def plot_scaling(path: Path, table: Mapping[str, Any]) -> None:
    """Errors with intervals against structures, and the published laws over the same range."""
    import numpy as np
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 4.4), dpi=130, layout="constrained")
    axes = figure.add_subplot()
    colours = {"both": "C0", "composition": "C1", "xrd": "C2", "both, pretrained": "C3"}
    words = {"both": "both", "composition": "composition only", "xrd": "pattern only"}
    points: Sequence[Mapping[str, Any]] = table["points"]
    for name, colour in colours.items():
        mine = [p for p in points if p["inputs"] == name]
        if not mine:
            continue
        x = [p["structures"] for p in mine]
        y = np.array(
            [[1000 * v for v in (p["energy"].value, p["energy"].low, p["energy"].high)] for p in mine]
        )
        axes.errorbar(
            x, y[:, 0], [y[:, 0] - y[:, 1], y[:, 2] - y[:, 0]], fmt="o-", capsize=3, color=colour,
            label=words.get(name, name),
        )  # fmt: skip
    sizes = np.geomspace(min(p["structures"] for p in points), 2e5, 50)
    for name, (a, b) in PUBLISHED_LAWS.items():
        axes.plot(
            sizes, 1000 * a * (sizes / 1e6) ** -b, "--", color=colours[name], alpha=0.7,
            label=f"{words[name]}, published law",
        )  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="structures with a formation energy")
    axes.set_ylabel("mean absolute error, meV/atom")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.grid(alpha=0.3, which="both")
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path)
