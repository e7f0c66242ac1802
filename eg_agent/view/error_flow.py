"""Where wrong answers go on the subgroup graph, beside where they go by chance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eg_agent.symmetry import edges, group
from eg_agent.view.style import AGAINST, FOR, INK, MUTED, PALE, minus, new_figure, save, tidy

#: Crystal systems by falling symmetry, as rows of the map.
SYSTEMS = ("cubic", "trigonal/hexagonal", "tetragonal", "orthorhombic", "monoclinic", "triclinic")


def plot_error_flow(
    path: str | Path,
    flow: npt.NDArray[np.float64],
    hops: Sequence[float],
    null_hops: Sequence[float],
    *,
    title: str = "",
    shown: int = 40,
) -> Path:
    """Draw the commonest confusions as arrows from the true group to the answered one, and hops of errors.

    flow: [99, 99] number of wrong answers, true group in rows. hops, null_hops: share of wrong answers at
    0, 1, 2 ... hops on the subgroup graph, and the same for permuted answers.
    """
    figure = new_figure(11.0, 5.4, dpi=130)
    grid = figure.add_gridspec(1, 2, width_ratios=[3.0, 1.0], wspace=0.18)
    _map(figure.add_subplot(grid[0]), flow, shown, title)
    axes = figure.add_subplot(grid[1])
    x = np.arange(len(hops))
    axes.bar(x - 0.2, 100 * np.asarray(hops), 0.4, color=FOR, label="the model's errors")
    axes.bar(x + 0.2, 100 * np.asarray(null_hops), 0.4, color=PALE, label="its answers, permuted")
    axes.set_xticks(x)
    axes.set_xlabel("hops from the true group", fontsize=9, color=INK)
    axes.set_ylabel("wrong answers, %", fontsize=9, color=INK)
    axes.legend(fontsize=8, frameon=False, loc="upper right")
    axes.set_ylim(0, 1.25 * 100 * max([*hops, *null_hops, 0.01]))
    tidy(axes)
    figure.subplots_adjust(left=0.12, right=0.985, top=0.92, bottom=0.1)
    return save(figure, path)


def _positions() -> npt.NDArray[np.float64]:
    """[99, 2] x from 0 to 1 within a row, y of the crystal system."""
    place = np.zeros((99, 2))
    for y, system in enumerate(reversed(SYSTEMS)):
        members = [n for n in range(1, 100) if group(n).crystal_system == system]
        for i, number in enumerate(members):
            place[number - 1] = ((i + 0.5) / len(members), y)
    return place


def _map(axes, flow: npt.NDArray[np.float64], shown: int, title: str) -> None:
    place = _positions()
    for parent, child in edges():
        ends = place[[parent - 1, child - 1]]
        axes.plot(ends[:, 0], ends[:, 1], color=PALE, lw=0.3, alpha=0.5, zorder=0)
    true, said = np.unravel_index(np.argsort(-flow, axis=None)[:shown], flow.shape)
    top = max(float(flow.max()), 1.0)
    named = set()
    for t, s in zip(true.tolist(), said.tolist(), strict=True):
        if flow[t, s] <= 0:
            continue
        down = place[s, 1] < place[t, 1]
        level = place[s, 1] == place[t, 1]
        axes.annotate(
            "",
            xy=place[s],
            xytext=place[t],
            arrowprops={
                "arrowstyle": "-|>",
                "color": MUTED if level else FOR if down else AGAINST,
                "lw": 0.5 + 2.5 * flow[t, s] / top,
                "alpha": 0.75,
                "shrinkA": 3,
                "shrinkB": 3,
                "connectionstyle": "arc3,rad=0.25",
            },
        )
        named |= {t, s}
    axes.plot(place[:, 0], place[:, 1], ".", color=MUTED, ms=4)
    for place_in_row, index in enumerate(sorted(named)):
        x, y = place[index]
        raised = 0.14 if place_in_row % 2 else -0.16
        axes.text(
            x,
            y + raised,
            minus(group(index + 1).symbol),
            fontsize=6.5,
            ha="center",
            va="center",
            color=INK,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.4},
        )
    axes.set_yticks(range(len(SYSTEMS)), list(reversed(SYSTEMS)), fontsize=8)
    axes.set_xticks([])
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.4, len(SYSTEMS) - 0.6)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.tick_params(length=0, colors=INK)
    axes.set_title(title, fontsize=10, color=INK, loc="left")
    axes.text(
        0.0,
        -0.02,
        f"arrows: the {shown} commonest confusions, true group to answer; blue to lower symmetry,\n"
        "orange to higher, grey within a system; pale lines: the subgroup graph",
        transform=axes.transAxes,
        va="top",
        fontsize=7.5,
        color=MUTED,
    )
