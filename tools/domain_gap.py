"""Draw docs/explanations/domain-gap.md: how far simulated patterns of stage 2 are from measured ones.

    python tools/domain_gap.py MEASURED CORPUS [--count 2000] [--json FILE] [--no-network] [--dry]

MEASURED: folder with index.csv and patterns.npz (benchmark rows). CORPUS: file of `eg-train prepare`. Writes
the pictures to docs/images/domain-gap and the tables between the markers of the page; the prose around
them is written by hand.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from eg_agent.patterns import Grid
from eg_agent.view import style
from simulators.corpus import Corpus
from simulators.stream_config import stage2
from trainer.gap.report import report
from trainer.gap.samples import Sample, measured, simulated
from trainer.gap.statistics import STATISTICS, Statistic, line_widths

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "explanations" / "domain-gap.md"
IMAGES = ROOT / "docs" / "images" / "domain-gap"
BEGIN, END = "<!-- drawn by tools/domain_gap.py: begin -->", "<!-- drawn by tools/domain_gap.py: end -->"
GRID = Grid(5.0, 90.0, 4096)
SEED = 2611
#: Statistics that are whole numbers: bins of one at least, heights by the logarithm.
WHOLE = ("lines", "strong_lines")
MEASURED_COLOUR, SIMULATED_COLOUR = style.FIT, style.RESIDUAL
TITLES = {
    "widths": "Line widths",
    "background": "Background and processing",
    "noise": "Noise",
    "lines": "Lines and range",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("measured", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--count", type=int, default=2000, help="simulated patterns")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    parser.add_argument("--no-network", action="store_true", help="leave out the convolutional test")
    parser.add_argument("--dry", action="store_true", help="print the table, draw and write nothing")
    arguments = parser.parse_args()
    halves = measured(arguments.measured, GRID)
    ours = simulated(Corpus.load(arguments.corpus), stage2(), arguments.count, SEED, GRID)
    found = report(halves, ours, network=not arguments.no_network)
    text = tables(found)
    sys.stdout.write(text + "\n")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    if arguments.dry:
        return
    IMAGES.mkdir(parents=True, exist_ok=True)
    for family in TITLES:
        draw(family, halves["B"], ours, found, IMAGES / f"{family}.png")
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}", encoding="utf-8")


def tables(found: Mapping[str, Any]) -> str:
    """The two tables of the page as Markdown."""
    n = found["patterns"]
    low, high = 1 - found["aim"], found["aim"]
    lines = [
        f"{datetime.now(UTC):%Y-%m-%d}: {n['simulated']:,} patterns of `stage2()` beside {n['half B']} "
        f"measured ones of {found['compounds']['B']} compounds (half B). "
        f"**Bold**: beyond {low:.2f}-{high:.2f}.",
        "",
        "| statistic | AUC [95 %] | with the groups as measured | half A | KS | Wasserstein / s.d. | "
        "median measured | median simulated | missing, measured / simulated |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in found["statistics"]:
        value = f"{row['auc']:.2f}"
        value = value if low <= row["auc"] <= high else f"**{value}**"
        lines.append(
            f"| {row['label']} | {value} [{row['auc_low']:.2f}, {row['auc_high']:.2f}] | "
            f"{row['auc_same_groups']:.2f} | "
            f"{row['auc_half_a']:.2f} | {row['ks']:.2f} | {row['wasserstein']:.2f} | {row['measured']:.3g} | "
            f"{row['simulated']:.3g} | {row['missing'][0]:.0%} / {row['missing'][1]:.0%} |"
        )
    lines += ["", "| classifier, five folds by compound | AUC [95 %] |", "|---|---|"]
    for name, row in found["two_sample_tests"].items():
        lines.append(f"| {name} | {row['auc']:.2f} [{row['auc_low']:.2f}, {row['auc_high']:.2f}] |")
    return "\n".join(lines)


def draw(family: str, judge: Sample, ours: Sample, found: Mapping[str, Any], path: Path) -> None:
    """One figure of small multiples: a histogram a statistic, and widths against the angle."""
    columns = [(j, s) for j, s in enumerate(STATISTICS) if s.family == family]
    by_angle = family == "widths"
    panels = len(columns) + by_angle
    across = min(3, panels)
    down = -(-panels // across)
    figure = style.new_figure(3.3 * across + 0.2, 2.1 * down + 0.65, dpi=110)
    axes = np.array(figure.subplots(down, across, squeeze=False)).ravel()
    for blank in axes[panels:]:
        blank.set_axis_off()
    if by_angle:
        _against_angle(axes[0], judge, ours)
    for panel, (j, statistic) in zip(axes[by_angle:], columns):
        _histogram(panel, judge.table[:, j], ours.table[:, j], statistic, found["statistics"][j])
    height = figure.get_figheight()
    figure.text(
        0.012, 1 - 0.1 / height, TITLES[family], fontsize=11, fontweight="bold", va="top", color=style.INK
    )
    for x, colour, word in (
        (0.30, MEASURED_COLOUR, "measured (half B)"),
        (0.62, SIMULATED_COLOUR, "simulated (stage 2)"),
    ):
        x = x if across > 2 else x + 0.03
        figure.text(x, 1 - 0.12 / height, f"■ {word}", fontsize=9, color=colour, va="top")
    figure.subplots_adjust(
        left=0.03 if not by_angle else 0.06,
        right=0.985,
        top=1 - 0.62 / height,
        bottom=0.5 / height,
        wspace=0.16,
        hspace=0.62,
    )
    style.save(figure, path)


def _histogram(
    axes: Any, theirs: np.ndarray, ours: np.ndarray, statistic: Statistic, row: Mapping[str, Any]
) -> None:
    theirs, ours = theirs[np.isfinite(theirs)], ours[np.isfinite(ours)]
    low, high = np.percentile(np.concatenate([theirs, ours]), [0.5, 99.5])
    if statistic.log:
        low = max(low, 1e-5)
        bins = np.geomspace(low, max(high, 2 * low), 29)
        if statistic.name in WHOLE:
            bins = np.unique(np.round(bins)) - 0.5
            bins = np.append(bins, bins[-1] ** 2 / bins[-2])
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        few = high / low < 30
        axes.xaxis.set_minor_formatter(
            lambda value, _: f"{value:g}" if few and f"{value:e}"[0] in "25" else ""
        )
        axes.tick_params(which="minor", labelsize=8)
    else:
        bins = np.linspace(low, high if high > low else low + 1, 29)
    for values, colour, filled in ((theirs, MEASURED_COLOUR, True), (ours, SIMULATED_COLOUR, False)):
        count, _ = np.histogram(np.clip(values, bins[0], bins[-1]), bins)
        style_of = {"color": colour, "alpha": 0.35, "fill": True} if filled else {"color": colour, "lw": 1.4}
        share = count / count.sum()
        if statistic.name in WHOLE:
            share = share / np.diff(np.log(bins))
        axes.stairs(share, bins, **style_of)
    style.tidy(axes)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_ylim(bottom=0)
    axes.set_title(statistic.label, fontsize=9, loc="left", color=style.INK, pad=12)
    axes.text(
        0.0,
        1.02,
        f"AUC {row['auc']:.2f}",
        transform=axes.transAxes,
        fontsize=8,
        color=style.MUTED,
        va="bottom",
    )


def _against_angle(axes: Any, judge: Sample, ours: Sample) -> None:
    edges = np.arange(10.0, 91.0, 10.0)
    middle = 0.5 * (edges[:-1] + edges[1:])
    for sample, colour in ((judge, MEASURED_COLOUR), (ours, SIMULATED_COLOUR)):
        angle, width, number = line_widths(sample.intensity, sample.coverage, GRID.two_theta)
        # a pattern counts once in a range of angles, however many lines it has there
        quarters = []
        for first, last in pairwise(edges):
            here = (angle >= first) & (angle < last)
            medians = [np.median(width[here & (number == i)]) for i in np.unique(number[here])]
            quarters.append(np.percentile(medians, [25, 50, 75]) if len(medians) >= 8 else [np.nan] * 3)
        low, centre, high = np.array(quarters).T
        axes.fill_between(middle, low, high, color=colour, alpha=0.18, lw=0)
        axes.plot(middle, centre, color=colour, lw=1.5, marker="o", ms=3)
    style.tidy(axes)
    axes.set_ylim(bottom=0)
    axes.set_xlim(10, 90)
    axes.set_title("FWHM (°) against 2θ (°)", fontsize=9, loc="left", color=style.INK, pad=12)
    axes.text(
        0.0,
        1.02,
        "median and quartiles",
        transform=axes.transAxes,
        fontsize=8,
        color=style.MUTED,
        va="bottom",
    )


if __name__ == "__main__":
    main()
