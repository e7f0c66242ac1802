"""The reliability diagram: how sure a classifier says it is, against how often it is right."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from eg_agent.view.style import FOR, INK, MUTED, PALE, new_figure, save, tidy


def plot_reliability(
    path: str | Path,
    confidence: Sequence[float],
    accuracy: Sequence[float],
    low: Sequence[float],
    high: Sequence[float],
    *,
    ece: float,
    expected: tuple[float, float],
    title: str = "",
) -> Path:
    """Draw bins of equal mass: mean confidence and accuracy, 0 to 1, with its interval from low to high.

    ece: expected calibration error. expected: its 95 % range for a model that is calibrated.
    """
    figure = new_figure(4.4, 4.5, dpi=150)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=PALE, lw=1.2, zorder=0)
    axes.text(0.97, 0.93, "calibrated", color=MUTED, fontsize=8, ha="right", va="top", rotation=45)
    axes.vlines(confidence, low, high, color=FOR, lw=1.4, alpha=0.5)
    axes.plot(confidence, accuracy, "o-", color=FOR, ms=5, lw=1)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_aspect("equal")
    axes.set_xlabel("probability of the first answer", fontsize=9, color=INK)
    axes.set_ylabel("share of first answers that are right", fontsize=9, color=INK)
    axes.set_title(title, fontsize=10, color=INK, loc="left")
    axes.text(
        0.04,
        0.96,
        f"ECE {ece:.3f}\na calibrated model: {expected[0]:.3f} to {expected[1]:.3f}",
        fontsize=8,
        color=INK,
        va="top",
    )
    tidy(axes)
    figure.tight_layout()
    return save(figure, path)
