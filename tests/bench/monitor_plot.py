"""The picture of `tests/bench/monitor.py`: delay against false alarms, and the measured series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from eg_agent.view import style

COLOURS = ("#2a6f97", "#c8553d", "#588157", "#7d5ba6")


def draw(result: dict[str, Any], path: Path) -> None:
    """Simulated series on the left, CuCr2O4 on the right; what is not there is left out."""
    simulated, measured = result.get("simulated", []), result.get("measured", {})
    wide = 2 * bool(simulated) + bool(measured)
    figure = style.new_figure(3.6 * wide + 0.6, 3.4)
    axes = list(np.atleast_1d(figure.subplots(1, wide)))
    if simulated:
        curves(axes[0], axes[1], simulated)
    if measured:
        chromite(axes[-1], measured)
    figure.tight_layout()
    style.save(figure, path)


def curves(delay: Any, found: Any, rows: list[dict[str, Any]]) -> None:
    """Median delay and share found against the stated time between false alarms."""
    kinds = [k for k in (rows[0]["kinds"] if rows else {}) if rows[0]["kinds"][k]["n"]]
    x = [row["frames_between"] for row in rows]
    for colour, kind in zip(COLOURS, kinds, strict=False):
        frames = [row["kinds"][kind]["median_delay"] for row in rows]
        share = [row["kinds"][kind]["found"] for row in rows]
        n = max(row["kinds"][kind]["n"] for row in rows)
        delay.plot(x, [np.nan if f is None else f for f in frames], "o-", ms=3, color=colour, label=kind)
        found.plot(x, share, "o-", ms=3, color=colour, label=f"{kind} (n = {n})")
    for axes, label in ((delay, "median delay of those found, frames"), (found, "share found")):
        axes.set_xscale("log")
        axes.set_xlabel("stated frames between false alarms", fontsize=9)
        axes.set_ylabel(label, fontsize=9)
        axes.set_ylim(bottom=-0.03)
        style.tidy(axes)
    found.set_ylim(-0.03, 1.05)
    found.legend(frameon=False, fontsize=7)


def chromite(axes: Any, measured: dict[str, Any]) -> None:
    """Evidence of the orthorhombic lattice and its strain, cooling and warming."""
    for colour, name in zip(COLOURS, ("cooling", "warming"), strict=False):
        rows = measured.get(f"CuCr2O4 {name}, cell known")
        if not rows:
            continue
        kelvin = [row["at"] for row in rows["evidence"]]
        nats = np.array([row["nats"] for row in rows["evidence"]])
        axes.plot(kelvin, np.arcsinh(nats / 10.0), "o-", ms=3, color=colour, label=name)
        for alarm in rows["alarms"]:
            axes.axvline(alarm["at"], color=colour, lw=1, ls="--")
            axes.axvspan(*sorted(alarm["between"]), color=colour, alpha=0.15, lw=0)
    ticks = (-300, -100, -30, 0, 30, 100, 300, 1000)
    axes.set_yticks([np.arcsinh(t / 10.0) for t in ticks], [str(t) for t in ticks])
    axes.axhline(0.0, color="0.6", lw=0.8)
    axes.axvline(130.0, color="0.3", lw=1, ls=":")
    axes.text(133.0, axes.get_ylim()[1] * 0.85, "130 K\n(published)", fontsize=7, color="0.3")
    axes.set_xlabel("temperature, K", fontsize=9)
    axes.set_ylabel("nats for Fddd's lattice over tetragonal", fontsize=9)
    axes.legend(frameon=False, fontsize=7, loc="center left")
    style.tidy(axes)
