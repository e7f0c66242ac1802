"""Many identifications on a sheet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eg_agent.errors import BadInput
from eg_agent.view import panels, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from eg_agent.identify.identification import Identification
    from eg_agent.patterns.pattern import Pattern

#: Patterns on one sheet; more of them make more sheets.
PER_SHEET = 60

_PANEL_WIDTH, _PANEL_HEIGHT = 3.5, 2.15  # inches


def contact_sheet(answers: Sequence[tuple[Pattern, Identification]], path: str | Path) -> tuple[Path, ...]:
    """Draw small pictures of many identifications, in the order given; returns the paths written.

    The first `PER_SHEET` go to `path`, further ones to NAME-2.png, NAME-3.png beside it. Each panel has
    name, verdict, the leading group with its probability, and the pattern on a square-root axis.

    Raises BadInput without any answer, or when a file cannot be written.
    """
    if not answers:
        raise BadInput("there is nothing to draw: give at least one identified pattern.")
    target = Path(path)
    starts = range(0, len(answers), PER_SHEET)
    written = []
    for number, start in enumerate(starts, start=1):
        name = target if number == 1 else target.with_name(f"{target.stem}-{number}{target.suffix}")
        note = f"sheet {number} of {len(starts)}" if len(starts) > 1 else ""
        written.append(style.save(draw_sheet(answers[start : start + PER_SHEET], note), name))
    return tuple(written)


def draw_sheet(answers: Sequence[tuple[Pattern, Identification]], note: str = "") -> Figure:
    """One sheet as a matplotlib figure."""
    n = len(answers)
    columns = min(n, 2 if n <= 4 else 3 if n <= 12 else 4 if n <= 28 else 5)
    rows = -(-n // columns)
    head = 0.45  # inches
    width, height = columns * _PANEL_WIDTH, rows * _PANEL_HEIGHT + head
    figure = style.new_figure(width, height, dpi=110)
    _write_counts(figure, answers, note, width, height)
    for i, (pattern, identification) in enumerate(answers):
        row, column = divmod(i, columns)
        left = (column * _PANEL_WIDTH + 0.22) / width
        bottom = (height - head - (row + 1) * _PANEL_HEIGHT + 0.32) / height
        axes = figure.add_axes((left, bottom, (_PANEL_WIDTH - 0.36) / width, (_PANEL_HEIGHT - 0.92) / height))
        _draw_panel(axes, pattern, identification)
    return figure


def _write_counts(
    figure: Figure, answers: Sequence[tuple[Pattern, Identification]], note: str, width: float, height: float
) -> None:
    """How many of each verdict, and which sheet this is, along the top."""
    counts = dict.fromkeys(style.VERDICT_COLOURS, 0)
    for _, identification in answers:
        counts[identification.verdict] += 1
    text = "   ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    y = 1 - 0.16 / height
    figure.text(0.22 / width, y, text, fontsize=10, va="top", color=style.INK, fontweight="bold")
    figure.text(1 - 0.14 / width, y, note, fontsize=9, va="top", ha="right", color=style.MUTED)


def _draw_panel(axes: Axes, pattern: Pattern, identification: Identification) -> None:
    if len(pattern) and np.isfinite(pattern.intensity).any():
        panels.draw_pattern(axes, pattern, None, small=True)
    else:
        style.tidy(axes)
        axes.set_xticks([])
        axes.text(0.5, 0.5, "nothing to draw", ha="center", va="center", fontsize=8, color=style.MUTED)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.tick_params(labelsize=7)
    name = style.escape(style.shorten(style.name_of(pattern, identification), 42))
    place = {"transform": axes.transAxes, "va": "bottom"}
    axes.text(0.0, 1.20, name, fontsize=8.5, fontweight="bold", color=style.INK, **place)
    colour = style.VERDICT_COLOURS[identification.verdict]
    axes.text(0.0, 1.045, identification.verdict, fontsize=8, fontweight="bold", color=colour, **place)
    answer = _answer(identification)
    axes.text(
        1.0, 1.045, answer, fontsize=8 if identification.top else 6.5, color=style.INK, ha="right", **place
    )


def _answer(identification: Identification) -> str:
    if not identification.top:
        return style.escape(style.wrap(identification.reason, 52, 1))
    first = identification.top[0]
    return f"{style.minus(first.symbol)}  ({first.group})  {style.percent(first.probability)}"
