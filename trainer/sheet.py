"""A contact sheet of stored patterns: a look at what a stage makes, before a network learns from it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from eg_agent.errors import BadInput
from eg_agent.symmetry import group
from simulators.stored import Manifest, StoredBatch, read_manifest, stored_patterns

#: Panels a row, and the most that are drawn.
COLUMNS, PANELS = 4, 28
SHEET = "_contact-sheet.png"
_INK, _MUTED, _LINE, _GAP = "#222222", "#767676", "#0072b2", "#eeeeee"


def draw_sheet(folder: str | Path, panels: int = PANELS) -> Path:
    """Draw the first patterns of a folder to `_contact-sheet.png` in it; the path.

    Intensity stands on a square-root axis; grey is not covered. Raises BadInput as `stored_patterns`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    folder = Path(folder)
    manifest = read_manifest(folder)
    batch = next(iter(stored_patterns(folder, panels)))
    rows = -(-len(batch) // COLUMNS)
    figure = Figure(figsize=(4.1 * COLUMNS, 1.55 * rows + 0.7), dpi=100, facecolor="white")
    FigureCanvasAgg(figure)
    every = figure.subplots(rows, COLUMNS, squeeze=False, sharex=True)
    for i, axes in enumerate(every.flat):
        if i < len(batch):
            _panel(axes, manifest, batch, i)
        else:
            axes.set_axis_off()
    kind = manifest.source["kind"]
    crystals = "random crystals" if kind == "random" else manifest.source["name"]
    head = f"{manifest.stage}, seed {manifest.seed}, {crystals}"
    height = figure.get_figheight()
    figure.suptitle(
        head, x=0.012, y=1 - 0.12 / height, ha="left", va="top", fontsize=12, fontweight="bold", color=_INK
    )
    figure.supxlabel(
        "2θ at Cu Kα₁ (°); intensity on a square-root axis", fontsize=9, color=_MUTED, y=0.06 / height
    )
    figure.subplots_adjust(
        left=0.012, right=0.99, top=1 - 0.72 / height, bottom=0.45 / height, wspace=0.07, hspace=0.42
    )
    target = folder / SHEET
    part = folder / f".sheet.{os.getpid()}.png"
    try:
        figure.savefig(part)
        part.replace(target)
    except OSError as error:
        raise BadInput(f"cannot write {target}: {error.strerror or error}.") from None
    finally:
        part.unlink(missing_ok=True)
    return target


def _panel(axes: Any, manifest: Manifest, batch: StoredBatch, i: int) -> None:
    grid = manifest.grid
    x = np.linspace(grid["two_theta_min"], grid["two_theta_max"], grid["length"])
    y = np.where(batch.coverage[i], batch.intensity[i], np.nan)
    shown = np.sign(y) * np.sqrt(np.abs(y))
    axes.fill_between(x, 0, 1.04, where=~batch.coverage[i], color=_GAP, lw=0)
    axes.plot(x, shown, lw=0.5, color=_LINE)
    axes.set_xlim(x[0], x[-1])
    axes.set_ylim(min(0.0, float(np.nanmin(shown))), 1.04)
    axes.set_yticks([])
    axes.tick_params(labelsize=7, colors=_MUTED, length=2)
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    symbol = group(int(batch.group[i])).symbol
    place = {"transform": axes.transAxes, "va": "bottom", "fontsize": 8, "color": _INK}
    axes.text(0.0, 1.01, f"{batch.index[i]}   {symbol}  ({batch.group[i]})", fontweight="bold", **place)
    name = (batch.name[i] or "").replace("$", r"\$")
    axes.text(
        1.0, 1.01, name if len(name) <= 26 else name[:25] + "…", ha="right", **{**place, "color": _MUTED}
    )
