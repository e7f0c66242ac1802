"""The benchmark as a folder: a markdown page, the reliability diagram, the error flow, and the JSON."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from eg_agent.errors import BadInput
from trainer.benchmark.report import TITLES, print_report


def write_page(folder: Path, result: Mapping[str, Any], what: str) -> None:
    """Write WHAT.md, WHAT.json and, where there are answers, WHAT-reliability.png and WHAT-errors.png."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{folder} cannot be made ({error.strerror}): give another folder.") from None
    lines = [f"# {TITLES[what]}", ""]
    if "reliability" in result:
        from eg_agent.view import plot_error_flow, plot_reliability

        r = result["reliability"]
        plot_reliability(
            folder / f"{what}-reliability.png",
            *(r[name] for name in ("confidence", "accuracy", "low", "high")),
            ece=r["ece"],
            expected=(r["expected_low"], r["expected_high"]),
            title=f"{TITLES[what]}, {result['n']} measured patterns",
        )
        flow = np.zeros((99, 99))
        for true, answered, count in result["errors"]["confusions"]:
            flow[true - 1, answered - 1] = count
        plot_error_flow(
            folder / f"{what}-errors.png",
            flow,
            result["errors"]["hops"],
            result["errors"]["null_hops"],
            title=f"{TITLES[what]}: where wrong answers go",
        )
        lines += [f"![Reliability diagram]({what}-reliability.png)", ""]
        lines += [f"![Wrong answers on the subgroup graph]({what}-errors.png)", ""]
    written = io.StringIO()
    print_report(result, what, Console(width=110, file=written))
    lines += ["```text", *(line.rstrip() for line in written.getvalue().splitlines()), "```", ""]
    (folder / f"{what}.md").write_text("\n".join(lines), encoding="utf-8")
    (folder / f"{what}.json").write_text(
        json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8"
    )
