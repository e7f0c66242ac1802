"""From the rows of `simulated_study` to tables, a page and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.benchmark.simulated_study import CRITERIA, about
from trainer.metrics import Bootstrap

#: What people call the criteria.
NAMES = {"evidence": "evidence", "bic": "BIC", "aic": "AIC", "le_bail": "Le Bail fit"}
#: Edges of what is claimed for the first answer.
EDGES = (0.0, 0.5, 0.7, 0.85, 0.95, 0.99, 1.0001)
#: Claims that count as "90 %".
NINETY = (0.85, 0.95)

Interval = dict[str, float | None]


def result_of(rows: Sequence[dict[str, Any]], *, seed: int = 0, resamples: int = 2000) -> dict[str, Any]:
    """Rates of the truth first and in three by counts, gains, calibration; 95 % intervals by crystal.

    A sample that is not fitted counts as wrong for every criterion and is left out of the calibration.
    """
    counts = sorted({row["counts"] for row in rows})
    result: dict[str, Any] = {"about": about(rows), "by_counts": {}}
    for value in [*counts, None]:
        part = [row for row in rows if value is None or row["counts"] == value]
        result["by_counts"]["all" if value is None else f"{value:g}"] = _rates(part, seed, resamples)
    result["calibration"] = {
        "as used": calibration(rows, "", seed=seed, resamples=resamples),
        "untempered": calibration(rows, "_raw", seed=seed, resamples=resamples),
    }
    seconds = np.array([row["seconds"] for row in rows])
    result["seconds_median"] = float(np.median(seconds)) if seconds.size else None
    return result


def hits(rows: Sequence[dict[str, Any]], name: str, within: int) -> npt.NDArray[np.float64]:
    """[n] 1 where the truth is among the first `within` by a criterion; a tie for a place counts half."""
    ranks = np.array([row.get(f"rank_{name}", np.inf) for row in rows], dtype=np.float64)
    return np.clip(within - ranks, 0.0, 1.0)


def _rates(rows: Sequence[dict[str, Any]], seed: int, resamples: int) -> dict[str, Any]:
    boot = Bootstrap([str(row["crystal"]) for row in rows], seed=seed, resamples=resamples)
    columns: dict[str, npt.NDArray[np.float64]] = {}
    for name in CRITERIA:
        columns[f"{name}/top1"] = hits(rows, name, 1)
        columns[f"{name}/top3"] = hits(rows, name, 3)
    for name in list(CRITERIA)[1:]:
        columns[f"gain over {name}"] = columns["evidence/top1"] - columns[f"{name}/top1"]
    draws = boot.sums(np.stack(list(columns.values()), axis=1)) / boot.sums(np.ones((len(rows), 1)))
    found: dict[str, Any] = {
        "n": len(rows),
        "not_fitted": sum(row["status"] != "fitted" for row in rows),
    }
    for i, name in enumerate(columns):
        interval = boot.interval(draws[:, i])
        found[name] = {"value": interval.value, "low": interval.low, "high": interval.high}
    return found


def calibration(
    rows: Sequence[dict[str, Any]], suffix: str, *, seed: int = 0, resamples: int = 2000
) -> dict[str, Any]:
    """How often the first answer is right, by what was claimed: in bins, over all, and near 90 %."""
    fitted = [row for row in rows if row["status"] == "fitted"]
    claimed = np.array([row[f"claimed{suffix}"] for row in fitted])
    right = np.array([float(row[f"right{suffix}"]) for row in fitted])
    bins = []
    for low, high in pairwise(EDGES):
        inside = (claimed >= low) & (claimed < high)
        if inside.any():
            share = float(right[inside].mean())
            bins.append(
                {
                    "from": low,
                    "to": min(high, 1.0),
                    "n": int(inside.sum()),
                    "claimed": float(claimed[inside].mean()),
                    "right": share,
                    **dict(zip(("low", "high"), wilson(share, int(inside.sum())), strict=True)),
                }
            )
    near = (claimed >= NINETY[0]) & (claimed < NINETY[1])
    rng = np.random.default_rng(seed)
    gap = right - claimed
    means = [gap[rng.integers(gap.size, size=gap.size)].mean() for _ in range(resamples)] if gap.size else []
    return {
        "n": len(fitted),
        "claimed": float(claimed.mean()) if gap.size else None,
        "right": float(right.mean()) if gap.size else None,
        "right_less_claimed": {
            "value": float(gap.mean()) if gap.size else None,
            "low": float(np.quantile(means, 0.025)) if gap.size else None,
            "high": float(np.quantile(means, 0.975)) if gap.size else None,
        },
        "ninety": {
            "n": int(near.sum()),
            "claimed": float(claimed[near].mean()) if near.any() else None,
            "right": float(right[near].mean()) if near.any() else None,
        },
        "bins": bins,
    }


def wilson(share: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of n (J. Am. Stat. Assoc. 22 (1927) 209)."""
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return float(max(middle - half, 0.0)), float(min(middle + half, 1.0))


def as_markdown(result: dict[str, Any]) -> str:
    """The tables of a result."""
    told = result["about"]
    lines = [
        f"{told['rows']} patterns of {told['crystals']} crystals ({told['random_crystals']} of them random), "
        f"{told['not_fitted']} not fitted and counted as wrong; eg-agent {told['version']}. "
        "Per cent, with 95 % intervals by crystal.",
        "",
        "| counts in the strongest peak | n | " + " | ".join(f"{n} first" for n in NAMES.values())
        + " | evidence in three | gain over BIC |",
        "|---|---|" + "---|" * (len(NAMES) + 2),
    ]  # fmt: skip
    for counts, row in result["by_counts"].items():
        cells = [_percent(row[f"{name}/top1"]) for name in CRITERIA]
        cells += [_percent(row["evidence/top3"]), _percent(row["gain over bic"])]
        lines.append(f"| {counts} | {row['n']} | " + " | ".join(cells) + " |")
    lines += ["", "| claimed for the first answer | n | claimed on average | right |", "|---|---|---|---|"]
    for b in result["calibration"]["as used"]["bins"]:
        lines.append(
            f"| {100 * b['from']:.0f} to {100 * b['to']:.0f} % | {b['n']} | {100 * b['claimed']:.1f} | "
            f"{100 * b['right']:.1f} [{100 * b['low']:.1f}, {100 * b['high']:.1f}] |"
        )
    for name, found in result["calibration"].items():
        gap, ninety = found["right_less_claimed"], found["ninety"]
        if found["n"]:
            lines.append("")
            lines.append(
                f"Evidence {name}: {100 * found['claimed']:.1f} % claimed, "
                f"{100 * found['right']:.1f} % right (difference {_percent(gap)})."
            )
        if ninety["n"]:
            lines[-1] += (
                f" Of the {ninety['n']} answers that claim 85 to 95 % "
                f"(on average {100 * ninety['claimed']:.1f} %), {100 * ninety['right']:.1f} % are right."
            )
    return "\n".join(lines) + "\n"


def _percent(interval: Interval) -> str:
    value, low, high = interval["value"], interval["low"], interval["high"]
    if value is None:
        return "-"
    text = f"{100 * value:.1f}"
    return text if low is None or high is None else f"{text} [{100 * low:.1f}, {100 * high:.1f}]"


def plot(result: dict[str, Any], path: str | Path) -> Path:
    """Rank-1 rate against counts for each criterion, and the calibration of the evidence."""
    from eg_agent.view import style

    figure = style.new_figure(10.4, 4.4)
    colours = {
        "evidence": style.RESIDUAL,
        "bic": style.EVIDENCE,
        "aic": style.PRIOR,
        "le_bail": style.BACKGROUND,
    }
    left = figure.add_axes((0.07, 0.14, 0.4, 0.74))
    style.tidy(left)
    by = {float(k): v for k, v in result["by_counts"].items() if k != "all"}
    x = np.array(sorted(by))
    shift = {name: 10 ** (0.03 * (i - 1.5)) for i, name in enumerate(CRITERIA)}
    for name in CRITERIA:
        found = [by[c][f"{name}/top1"] for c in x]
        y = 100 * np.array([f["value"] for f in found])
        low = y - 100 * np.array([f["low"] if f["low"] is not None else f["value"] for f in found])
        high = 100 * np.array([f["high"] if f["high"] is not None else f["value"] for f in found]) - y
        width = 2.2 if name == "evidence" else 1.2
        at = x * shift[name]
        left.errorbar(
            at, y, (low, high), color=colours[name], marker="o", markersize=4, linewidth=width, elinewidth=0.8
        )
        left.annotate(
            NAMES[name], (at[-1], y[-1]), (8, 0), textcoords="offset points", color=colours[name], fontsize=9,
            va="center", fontweight="bold" if name == "evidence" else "normal",
        )  # fmt: skip
    left.set_xscale("log")
    left.set_xlim(x.min() / 1.6, x.max() * 5.5)
    left.set_xticks(x, [f"{v:,.0f}" for v in x])
    left.minorticks_off()
    left.set_ylim(0, 100)
    left.set_xlabel("counts in the strongest peak", fontsize=9)
    left.set_ylabel("true group first / %", fontsize=9)
    left.set_title("Which criterion finds the group", fontsize=10, loc="left", color=style.INK)
    _plot_calibration(figure, result)
    told = result["about"]
    note = f"{told['rows']} simulated patterns of {told['crystals']} held-out crystals, cell 0.1 % off"
    figure.text(0.07, 0.015, note, fontsize=7.5, color=style.MUTED)
    return style.save(figure, path)


def _plot_calibration(figure: Any, result: dict[str, Any]) -> None:
    from eg_agent.view import style

    axes = figure.add_axes((0.6, 0.14, 0.37, 0.74))
    style.tidy(axes)
    axes.plot([0, 100], [0, 100], color=style.PALE, linewidth=1)
    for name, colour, shift in (("untempered", style.PALE, 0.8), ("as used", style.RESIDUAL, 0.0)):
        bins = result["calibration"][name]["bins"]
        x = 100 * np.array([b["claimed"] for b in bins]) + shift
        y, low, high = (100 * np.array([b[key] for b in bins]) for key in ("right", "low", "high"))
        error = (np.maximum(y - low, 0.0), np.maximum(high - y, 0.0))
        axes.errorbar(
            x, y, error, color=colour, marker="o", markersize=5, linestyle="none", elinewidth=1, label=name
        )
        if name == "as used":
            for b, at, height in zip(bins, x, y, strict=True):
                note = {"fontsize": 7, "color": style.MUTED, "textcoords": "offset points"}
                axes.annotate(f"{b['n']}", (at, height), (6, -9), **note)
    axes.set_xlim(0, 103)
    axes.set_ylim(0, 103)
    axes.set_xlabel("claimed for the first answer / %", fontsize=9)
    axes.set_ylabel("right / %", fontsize=9)
    axes.set_title("Is the evidence calibrated", fontsize=10, loc="left", color=style.INK)
    axes.legend(loc="upper left", fontsize=8, frameon=False)
