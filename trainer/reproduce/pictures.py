"""Pictures of the reproduction page, in the product's style."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eg_agent.view.style import AGAINST, FOR, INK, MUTED, PALE, PRIOR, new_figure, save, tidy
from trainer.reproduce.markdown import NULLS
from trainer.reproduce.verdicts import sign


def plot_differences(path: Path, made: Mapping[str, Any]) -> bool:
    """Bits of every row less those of the first, simulated and measured; False where there is none."""
    parts = {w: rows for w, rows in made["parts"].items() if any("difference" in r for r in rows.values())}
    if not parts:
        return False
    labels = [n for n, row in next(iter(parts.values())).items() if "difference" in row]
    figure = new_figure(7.6, 1.3 + 0.34 * len(labels), dpi=130)
    panels = figure.subplots(1, len(parts), sharey=True, squeeze=False)[0]
    for axes, (words, rows) in zip(panels, parts.items(), strict=True):
        axes.axvline(0.0, color=PALE, lw=1.2, zorder=0)
        for y, label in enumerate(labels):
            found = rows[label].get("difference")
            if found is None or found["value"] is None:
                continue
            colour = {1: FOR, -1: AGAINST, 0: MUTED}[sign(found)]
            axes.plot([found["low"], found["high"]], [y, y], color=colour, lw=2.0, solid_capstyle="butt")
            axes.plot(found["value"], y, "o", color=colour, ms=5)
        axes.set_yticks(range(len(labels)), labels)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.set_title(words, fontsize=10, color=INK, loc="left")
        axes.set_xlabel("bits against the reference, 95 %", fontsize=9, color=INK)
        axes.locator_params(axis="x", nbins=5)
        axes.margins(x=0.08)
        tidy(axes)
    figure.tight_layout()
    save(figure, path)
    return True


def plot_temperatures(path: Path, made: Mapping[str, Any]) -> bool:
    """NLL and ECE of measured patterns against T, with the prior alone; False where there is no sweep."""
    rows = made["parts"].get("measured", {})
    curves: dict[str, list[tuple[float, Mapping[str, Any]]]] = {}
    for label, row in rows.items():
        name, _, temperature = label.partition(", T = ")
        if temperature:
            curves.setdefault(name, []).append((float(temperature), row))
    if not curves:
        return False
    figure = new_figure(7.6, 3.4, dpi=130)
    panels = figure.subplots(1, 2)
    for axes, metric, words in zip(panels, ("nll", "ece"), ("NLL, nats", "ECE"), strict=True):
        for (name, points), colour in zip(curves.items(), (FOR, AGAINST), strict=False):
            x = [t for t, _ in points]
            axes.fill_between(
                x,
                [row[metric]["low"] for _, row in points],
                [row[metric]["high"] for _, row in points],
                color=colour,
                alpha=0.15,
                lw=0,
            )
            axes.plot(
                x, [row[metric]["value"] for _, row in points], "o-", color=colour, ms=3.5, lw=1.2, label=name
            )
        if metric == "nll" and NULLS[0] in rows:
            axes.axhline(rows[NULLS[0]]["nll"]["value"], color=PRIOR, lw=1.2, ls="--", label=NULLS[0])
        axes.set_xscale("log")
        ticks = [t for t, _ in next(iter(curves.values()))]
        axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
        axes.minorticks_off()
        axes.set_xlabel("temperature", fontsize=9, color=INK)
        axes.set_ylabel(words, fontsize=9, color=INK)
        tidy(axes)
    panels[0].legend(fontsize=8, frameon=False)
    panels[1].set_ylim(bottom=0)
    figure.tight_layout()
    save(figure, path)
    return True
