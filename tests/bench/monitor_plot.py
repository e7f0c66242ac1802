"""The pictures of `tests/bench/monitor.py`: false alarms and delays on simulated series, CuCr2O4."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from eg_agent.view import style

COLOURS = ("#2a6f97", "#c8553d", "#588157", "#7d5ba6")
KNOWN = "#222222"


def draw(result: dict[str, Any], path: Path) -> None:
    """Simulated series in `path`, CuCr2O4 beside it in NAME-cucr2o4; what is not there is left out."""
    if "unknown" in result or "known" in result:
        figure = style.new_figure(7.2, 5.6)
        axes = figure.subplots(2, 2)
        false_alarms(axes[0, 0], result)
        found(axes[0, 1], result)
        delay(axes[1, 0], result, "sudden", "changes at once")
        delay(axes[1, 1], result, "gradual", "grows over 20 frames")
        figure.tight_layout()
        style.save(figure, path)
    if result.get("measured"):
        figure = style.new_figure(4.6, 3.6)
        chromite(figure.subplots(), result["measured"])
        figure.tight_layout()
        style.save(figure, path.with_stem(f"{path.stem}-cucr2o4"))


def curves(result: dict[str, Any]) -> Iterator[tuple[str, str, str, list[dict[str, Any]]]]:
    """Label, colour, kind and rows of each kind of change, without a cell and with."""
    for kind, colour in zip(result.get("unknown", [{"kinds": {}}])[0]["kinds"], COLOURS, strict=False):
        yield kind, colour, kind, result["unknown"]
    for kind in result.get("known", [{"kinds": {}}])[0]["kinds"]:
        yield f"{kind}, cell known", KNOWN, kind, result["known"]


def false_alarms(axes: Any, result: dict[str, Any]) -> None:
    """The rate that was counted against the stated one, with its 95 % interval."""
    for name, colour, label in (("unknown", COLOURS[0], "no cell"), ("known", KNOWN, "cell known, lattice")):
        rows = result.get(name, [])
        if not rows:
            continue
        # beside each other, so that neither interval hides the other
        stated = np.array([1.0 / row["stated"] for row in rows]) * (1.0 if name == "unknown" else 1.25)
        rate = np.array([row["rate"] for row in rows])
        low, high = np.array([row["rate_95"] for row in rows]).T
        least = 1e-5
        axes.vlines(stated, np.maximum(low, least), high, color=colour, lw=1)
        shown = rate > 0
        axes.plot(stated[shown], rate[shown], "o", ms=3.5, color=colour, label=label)
        axes.plot(stated[~shown], high[~shown], "_", ms=7, color=colour)
    ends = np.array([1e-4, 0.2])
    axes.plot(ends, ends, color="0.6", lw=0.8, ls="--")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(8e-5, 1.0)
    axes.set_xlabel("stated false alarms a frame", fontsize=9)
    axes.set_ylabel("counted on fresh series", fontsize=9)
    axes.legend(frameon=False, fontsize=7, loc="upper left")
    style.tidy(axes)


def found(axes: Any, result: dict[str, Any]) -> None:
    """Share of all changes found before the series ends."""
    for label, colour, kind, rows in curves(result):
        parts = [row["kinds"][kind] for row in rows]
        n = parts[0]["sudden"]["n"] + parts[0]["gradual"]["n"]
        share = [(p["sudden"]["found"] + p["gradual"]["found"]) / max(n, 1) for p in parts]
        axes.plot(
            [row["stated"] for row in rows], share, "o-", ms=3, lw=1.2, color=colour, label=f"{label} ({n})"
        )
    axes.set_xscale("log")
    axes.set_ylim(-0.03, 1.4)
    axes.set_yticks([0.0, 0.25, 0.5, 0.75, 1.0])
    axes.set_xlabel("stated frames between false alarms", fontsize=9)
    axes.set_ylabel("share found", fontsize=9)
    axes.legend(frameon=False, fontsize=6.5, ncols=2, loc="upper center")
    style.tidy(axes)


def delay(axes: Any, result: dict[str, Any], how: str, title: str) -> None:
    """Median delay of those found against the stated frames between false alarms."""
    for number, (label, colour, kind, rows) in enumerate(curves(result)):
        frames = [row["kinds"][kind][how]["median_delay"] for row in rows]
        # equal delays lie beside each other
        y = [np.nan if f is None else f + 0.06 * number for f in frames]
        axes.plot([row["stated"] for row in rows], y, "o-", ms=3, lw=1.2, color=colour, label=label)
    axes.set_xscale("log")
    axes.set_ylim(bottom=-0.3)
    axes.set_title(title, fontsize=9)
    axes.set_xlabel("stated frames between false alarms", fontsize=9)
    axes.set_ylabel("median delay, frames", fontsize=9)
    style.tidy(axes)


def chromite(axes: Any, measured: dict[str, Any]) -> None:
    """Evidence of the better of two orthorhombic lattices in each frame, and the alarms."""
    for colour, name in zip(COLOURS, ("cooling", "warming"), strict=False):
        rows = measured.get(f"CuCr2O4 {name}, cell known")
        if not rows:
            continue
        kelvin = [row["at"] for row in rows["evidence"]]
        nats = [row["nats"] for row in rows["evidence"]]
        marker = "o-" if name == "cooling" else "s--"
        axes.plot(kelvin, nats, marker, ms=3.5, lw=1.2, color=colour, label=name)
        for alarm in rows["alarms"]:
            axes.axvline(alarm["at"], color=colour, lw=1, ls=":")
            axes.axvspan(*sorted(alarm["between"]), color=colour, alpha=0.12, lw=0)
            axes.text(
                alarm["at"], 1.01, f"alarm, {name}", color=colour, fontsize=7, va="bottom",
                ha="right" if name == "cooling" else "left", transform=axes.get_xaxis_transform(),
            )  # fmt: skip
    axes.axhline(0.0, color="0.6", lw=0.8)
    axes.axvline(130.0, color="0.3", lw=1)
    axes.text(140.0, 0.93, "130 K, published", fontsize=7, color="0.3", transform=axes.get_xaxis_transform())
    axes.set_xlabel("temperature, K", fontsize=9)
    axes.set_ylabel("nats for an orthorhombic lattice", fontsize=9)
    axes.legend(frameon=False, fontsize=8, loc="center right")
    style.tidy(axes)
