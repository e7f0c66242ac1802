"""False alarms and delays from the scores of simulated series: what `tests/bench/monitor.py` counts.

A series is judged until its first alarm, as a monitor that begins anew would be: alarms over frames judged so
far is then the rate a frame, whatever comes later in a series that has already raised one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from eg_agent.monitor.thresholds import Table

Row = dict[str, Any]
#: Fewest alarms that a rate of the table rests on.
RAREST = 5
#: Nats of an e-fold in the rate beyond the table, at least: few rare frames tell little of the tail.
LEAST_TAIL = 2.0
#: Levels of a table.
LEVELS = 40


def first_alarm(row: Row, thresholds: dict[str, float]) -> int | None:
    """The first frame at which a score exceeds its threshold."""
    for k, scores in enumerate(row["scores"]):
        if any(scores.get(kind, -np.inf) > level for kind, level in thresholds.items()):
            return k
    return None


def calm_until(row: Row) -> int:
    """The frame at which something happens in a series; its length where nothing does."""
    return len(row["scores"]) if row["kind"] == "none" else int(row["onset"])


def exposure(rows: Sequence[Row], thresholds: dict[str, float]) -> tuple[int, int]:
    """False alarms, and frames judged without a change until the first alarm of each series.

    Series of one seed are the same until something happens: they count once.
    """
    alarms = frames = 0
    for row in {row["seed"]: row for row in rows}.values():
        begin = next((k for k, scores in enumerate(row["scores"]) if scores), len(row["scores"]))
        first, end = first_alarm(row, thresholds), calm_until(row)
        false = first is not None and first < end
        alarms += false
        frames += max(0, (first + 1 if first is not None and false else end) - begin)
    return alarms, frames


def rate_with_interval(alarms: int, frames: int) -> tuple[float, float, float]:
    """Alarms a frame, with the ends of the 95 % interval of a Poisson law (Garwood, 1936)."""
    low = stats.chi2.ppf(0.025, 2 * alarms) / 2 if alarms else 0.0
    high = stats.chi2.ppf(0.975, 2 * alarms + 2) / 2
    return alarms / max(frames, 1), float(low) / max(frames, 1), float(high) / max(frames, 1)


def table_for(rows: Sequence[Row], kinds: Sequence[str]) -> Table:
    """The table of scores that share a threshold, from series without a change."""
    tops = np.array([max((s.get(k, -np.inf) for s in row["scores"]), default=-np.inf) for row in rows
                     for k in kinds])  # fmt: skip
    tops = np.sort(tops[np.isfinite(tops)])
    levels = np.unique(np.quantile(tops, np.linspace(0.3, 1.0, LEVELS)))
    found = []
    for level in levels:
        counted = [exposure(rows, {kind: float(level)}) for kind in kinds]
        found.append((sum(a for a, _ in counted), sum(f for _, f in counted)))
    kept = [j for j, (alarms, _) in enumerate(found) if alarms >= RAREST]
    rate = np.array([found[j][0] / found[j][1] for j in kept])
    level = levels[kept]
    # one level for each rate, so that the table falls throughout
    _, first = np.unique(-rate, return_index=True)
    level, rate = level[first], rate[first]
    beyond = tops[tops > level[-1]]
    tail = float(np.mean(beyond - level[-1])) if beyond.size else 2.0
    return Table(level, rate, max(tail, LEAST_TAIL))


def delays(rows: Sequence[Row], thresholds: dict[str, float]) -> dict[str, Any]:
    """How many of these `n` series with a change are found, and how late.

    early: series with a false alarm before the change: their delay is not known, they count as not found.
    median_delay: frames from the first changed one to the alarm, of those found.
    """
    late: list[int] = []
    early = 0
    for row in rows:
        first = first_alarm(row, thresholds)
        if first is not None and first < row["onset"]:
            early += 1
        elif first is not None:
            late.append(first - row["onset"])
    return {
        "n": len(rows),
        "early": early,
        "found": len(late),
        "median_delay": float(np.median(late)) if late else None,
        "delays": sorted(late),
    }


def judged(rows: Sequence[Row], thresholds: dict[str, float]) -> dict[str, Any]:
    """False alarms before anything happens, and what is found of each kind of change, sudden or gradual."""
    alarms, frames = exposure(rows, thresholds)
    found: dict[str, Any] = {}
    for kind in dict.fromkeys(row["kind"] for row in rows if row["kind"] != "none"):
        part = [row for row in rows if row["kind"] == kind]
        found[kind] = {
            "sudden": delays([row for row in part if row["sudden"]], thresholds),
            "gradual": delays([row for row in part if not row["sudden"]], thresholds),
        }
    rate, low, high = rate_with_interval(alarms, frames)
    return {
        "thresholds": {k: round(v, 2) for k, v in thresholds.items()},
        "false_alarms": alarms,
        "calm_frames": frames,
        "rate": rate,
        "rate_95": [low, high],
        "kinds": found,
    }
