"""The three regimes of the paper (arXiv:2604.23811): is a Pawley ranking completed, and is it exact?

The paper verifies the candidates of its network's branch with sparse Pawley fits, cell known: 34 cases of
the rhombohedral branch (all completed, the space group first in 8 of the 25 with an R lattice), 9 of the
cubic F branch (all completed, ranking "locally ambiguous"), 61 monoclinic (51 completed). Here every
extinction symbol of the crystal system is weighed, on measured rows of a folder and on simulated samples.
A powder pattern says no more than the extinction group, so that is what is exact or not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eg_agent.symmetry import group, groups
from eg_agent.verify import VerifySettings, verify
from trainer.benchmark.data import Folder
from trainer.benchmark.simulated_result import wilson
from trainer.benchmark.simulated_study import COUNTS, EQUAL, Study, run

TIME_LIMIT = 30.0


@dataclass(frozen=True, slots=True)
class Regime:
    """A part of the groups, and what the paper says of it (text, for the table)."""

    name: str
    lattices: tuple[str, ...]
    paper_completed: str
    paper_exact: str


REGIMES = (
    Regime("rhombohedral", ("hR",), "34 of 34 (25 with an R lattice)", "8 of 25 (space group)"),
    Regime("cubic F", ("cF",), "9 of 9", "not given (ambiguous within the branch)"),
    Regime("monoclinic", ("mP", "mC"), "51 of 61", "not given"),
)


def groups_of(regime: Regime) -> tuple[int, ...]:
    """Numbers of the groups of a regime."""
    return tuple(entry.number for entry in groups() if entry.bravais in regime.lattices)


def measured_rows(
    data: Path, progress: Callable[[int, int], None] | None = None
) -> dict[str, list[dict[str, Any]]]:
    """Of the rows with a known cell: regime -> one entry a row."""
    folder = Folder(data)
    cases = [
        (regime, case)
        for regime in REGIMES
        for case in folder.cases("known_cell")
        if group(case.group).bravais in regime.lattices and case.cell is not None
    ]
    found: dict[str, list[dict[str, Any]]] = {regime.name: [] for regime in REGIMES}
    for i, (regime, case) in enumerate(cases):
        assert case.cell is not None
        evidence = verify(folder.pattern(case), case.cell, settings=VerifySettings(time_limit=TIME_LIMIT))
        order = [EQUAL.get(c.group, c.group) for c in evidence.candidates]
        truth = EQUAL.get(case.group, case.group)
        found[regime.name].append(
            {
                "id": case.id,
                "compound": case.compound,
                "status": evidence.status,
                "rank": list(dict.fromkeys(order)).index(truth) if truth in order else None,
                "answer": order[0] if order else None,
                "group": truth,
            }
        )
        if progress is not None:
            progress(i + 1, len(cases))
    return found


def simulated_rows(
    structures: Path,
    out: Path,
    *,
    each: int = 50,
    seed: int = 1,
    minutes: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, list[dict[str, Any]]]:
    """`each` samples a regime, one crystal each, counts in turn; kept in OUT/REGIME, resumable."""
    found = {}
    for regime in REGIMES:
        folder = out / regime.name.replace(" ", "-")
        # one study of each count, so that a crystal is measured once
        rows = []
        for turn, counts in enumerate(COUNTS):
            share = each // len(COUNTS) + (turn < each % len(COUNTS))
            study = Study(
                structures, folder / f"{counts:g}", share, (counts,), groups_of(regime), 10 * seed + turn
            )
            rows += run(study, minutes=minutes, progress=progress)
        found[regime.name] = [
            {
                "id": f"{row['name']} ({row['counts']:g})",
                "compound": row["name"],
                "status": row["status"],
                "rank": row.get("rank_evidence"),
                "group": row["group"],
            }
            for row in rows
        ]
    return found


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """n, compounds, completed, exact and in_three (of all), with Wilson intervals of exact."""
    n = len(rows)
    ranks = np.array([np.inf if row["rank"] is None else row["rank"] for row in rows], dtype=np.float64)
    exact = int((ranks < 0.5).sum())
    low, high = wilson(exact / n, n) if n else (0.0, 1.0)
    return {
        "n": n,
        "compounds": len({row["compound"] for row in rows}),
        "completed": sum(row["status"] == "fitted" for row in rows),
        "exact": exact,
        "exact_low": low,
        "exact_high": high,
        "in_three": int((ranks < 2.5).sum()),
    }


def as_markdown(measured: dict[str, list[dict[str, Any]]], simulated: dict[str, list[dict[str, Any]]]) -> str:
    """The table beside the paper's figures."""
    lines = [
        "| regime | on | n (compounds) | completed | exact | in three | paper: completed | paper: exact |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for regime in REGIMES:
        for kind, rows in (("measured", measured), ("simulated", simulated)):
            if not rows.get(regime.name):
                continue
            s = summary(rows[regime.name])
            interval = f"{100 * s['exact_low']:.0f} to {100 * s['exact_high']:.0f} %"
            lines.append(
                f"| {regime.name} | {kind} | {s['n']} ({s['compounds']}) | {s['completed']} | "
                f"{s['exact']} ({100 * s['exact'] / s['n']:.0f} %, {interval}) | {s['in_three']} | "
                f"{regime.paper_completed} | {regime.paper_exact} |"
            )
    return "\n".join(lines) + "\n"
