"""A table of `trainer.reproduce.tables` as markdown, in the words of people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Rows that see no pattern.
NULLS = ("prior only", "constant", "permuted")
#: Metric -> (heading, factor, decimals, sign).
HEADINGS = {
    "top1": ("Top-1 %", 100, 1, ""),
    "top5": ("Top-5 %", 100, 1, ""),
    "nll": ("NLL", 1, 2, ""),
    "ece": ("ECE", 1, 3, ""),
    "bits_over_prior": ("bits over prior", 1, 2, "+"),
    "difference": ("bits against the first row", 1, 2, "+"),
    "graph_distance_wrong": ("hops when wrong", 1, 2, ""),
    "within_2_hops": ("within 2 hops %", 100, 1, ""),
    "descendant": ("subgroup %", 100, 1, ""),
    "ancestor": ("supergroup %", 100, 1, ""),
    "branch": ("other branch %", 100, 1, ""),
    "valid": ("a group at all %", 100, 1, ""),
    "right": ("the right one %", 100, 1, ""),
    "null": ("null: a group at all %", 100, 1, ""),
}


def as_markdown(made: Mapping[str, Any]) -> str:
    """The paper's figure in words, how ours were made, then rows with 95 % intervals, part by part."""
    lines = [f"The paper: {made['paper']}.", ""]
    if made["budget"]:
        lines += [f"Ours: {made['budget']}.", ""]
    if made["missing"]:
        lines += [f"Not made yet: {'; '.join(made['missing'])}.", ""]
    if made["fewer_seeds"]:
        lines += [f"Of fewer seeds than planned: {'; '.join(made['fewer_seeds'])}.", ""]
    for words, rows in ({} if lonely(made) else made["parts"]).items():
        columns = [name for name in HEADINGS if any(name in row for row in rows.values())]
        seeds = any(len(row.get("seeds", ())) > 1 for row in rows.values())
        lines += [f"**{words[0].upper() + words[1:]}**", ""]
        headings = [HEADINGS[name][0] for name in columns] + ["bits of each seed"] * seeds
        lines += ["| | " + " | ".join(headings) + " |", "|---" * (len(headings) + 1) + "|"]
        for label, row in rows.items():
            cells = [_cell(row.get(name), name) for name in columns]
            cells += [", ".join(f"{v:+.2f}" for v in row.get("seeds", []))] * seeds
            lines.append(f"| {label} | " + " | ".join(cells) + " |")
        if words == ("measured, published graph" if made["kind"] == "topology" else "measured"):
            for label, row in made["published"].items():
                cells = [shown(_alone(row[name]), name) if name in row else "" for name in columns]
                lines.append(f"| *{label}* | " + " | ".join(cells + [""] * seeds) + " |")
        lines.append("")
    return "\n".join(lines)


def _alone(value: float) -> dict[str, float | None]:
    return {"value": value, "low": None, "high": None}


def lonely(made: Mapping[str, Any]) -> bool:
    """Whether a table of several runs has fewer than two that are finished: nothing to compare."""
    if made["kind"] != "figures":
        return False
    return all(len([n for n in rows if n not in NULLS]) < 2 for rows in made["parts"].values())


def _cell(interval: Mapping[str, float | None] | None, name: str) -> str:
    if interval is None:
        return ""
    if interval["value"] is None:
        return "-"
    return shown(interval, name)


def shown(interval: Mapping[str, float | None], name: str) -> str:
    """A defined value of a metric with its interval in brackets, as in the tables."""
    _, factor, decimals, sign = HEADINGS[name]
    value, low, high = interval["value"], interval["low"], interval["high"]
    assert value is not None, "the caller asks for defined values only"
    text = f"{factor * value:{sign}.{decimals}f}"
    if low is None or high is None:
        return text
    return f"{text} [{factor * low:{sign}.{decimals}f}, {factor * high:{sign}.{decimals}f}]"
