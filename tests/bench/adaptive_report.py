"""The figures of `tests/bench/adaptive.py`, and the curve of the posterior against time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eg_agent.identify.fusion import normalise
from tests.bench.adaptive_strategies import BUDGET, STOP_AT, FixedScan, Outcome

#: Counts a second at the highest peak that part the samples, by the power of ten.
STRATA = tuple((2.0 * 10**power, 2.0 * 10 ** (power + 1)) for power in range(5))


def of(row: dict[str, Any], power: float | None = None) -> Outcome:
    """An outcome as it was stored; power: calibrate what was said at the end anew."""
    looks = tuple((float(t), int(g), float(p)) for t, g, p in row["looks"])
    answer, leading, probability = row["answer"], row["leading"], row["probability"]
    if power is not None and row["log_probability"]:
        p = np.exp(normalise(power * np.array(row["log_probability"])))
        leading, probability = int(np.argmax(p)) + 1, float(p.max())
        answer = leading if probability >= STOP_AT else 0
    return Outcome(row["seconds"], answer, leading, probability, looks)


def charged(rows: list[Any], name: str) -> npt.NDArray[np.float64]:
    """[n] seconds of a strategy, wrong and unfinished answers at the whole budget."""
    return np.array([of(row[name]).charged(row["group"]) for row in rows])


def summary(
    made: list[Any], further: list[Any], scan: FixedScan, power: float, seed: int = 0
) -> dict[str, Any]:
    """The figures, with 95 % intervals of a bootstrap over samples (`picks`).

    made: rows with fixed and adaptive; further: those of them with the other strategies, too.
    """
    main = against(made, "fixed", seed)
    right, wrong, leads = (
        {name: _rate(made, name, kind) for name in ("fixed", "adaptive")} for kind in "rwl"
    )
    difference = np.array([_right(row, "adaptive") - _right(row, "fixed") for row in made])
    pick = picks(made, seed)
    time = {name: charged(made, name) for name in ("fixed", "adaptive")}
    both = [row for row in made if _right(row, "fixed") or _right(row, "adaptive")]
    others = [name for name in ("everywhere", "random") if further and name in further[0]]
    sure = {name: np.array([float(_right(row, name)) for row in made]) for name in time}
    return {
        "n": len(made),
        "fixed_scan": scan.name,
        "power": power,
        "budget": BUDGET,
        "median_ratio": main["median_ratio"]["value"],
        "mean_ratio": main["mean_ratio"]["value"],
        "accuracy_adaptive": right["adaptive"],
        "accuracy_fixed": right["fixed"],
        "worse_share": float((time["adaptive"] > time["fixed"]).mean()),
        "intervals": {
            **main,
            **{
                f"accuracy_{name}": _interval(lambda i, right=sure[name]: float(right[i].mean()), pick)
                for name in sure
            },
            "accuracy_difference": _interval(lambda i: float(difference[i].mean()), pick),
            "worse_share": _interval(lambda i: float((time["adaptive"] > time["fixed"])[i].mean()), pick),
        },
        "wrong": wrong,
        "leading_group_right": leads,
        "calibration_at_the_stop": {name: _calibration(made, name) for name in ("fixed", "adaptive")},
        "mean_seconds": {name: float(t.mean()) for name, t in time.items()},
        "median_seconds": {name: float(np.median(t)) for name, t in time.items()},
        "median_seconds_when_right": {
            name: float(np.median([t for t, row in zip(time[name], made, strict=True) if _right(row, name)]))
            for name in time
        },
        "where_either_was_right": against(both, "fixed", seed),
        "by_brightness": {
            f"{low:g}-{high:g} counts/s": {"n": len(part), **against(part, "fixed", seed)}
            for low, high in STRATA
            if len(part := [row for row in made if low <= row["peak_rate"] < high]) > 2
        },
        "lines": {
            **against(made, "lines", seed),
            "accuracy": _rate(made, "lines", "r"),
            "wrong": _rate(made, "lines", "w"),
            "calibration": _calibration(made, "lines"),
            "fixed_over_lines": against(made, "fixed", seed, "lines"),
        },
        "others": {
            "n": len(further),
            **{name: against(further, name, seed) for name in others},
            "accuracy": {name: _rate(further, name, "r") for name in others},
        },
    }


def against(rows: list[Any], name: str, seed: int, than: str = "adaptive") -> dict[str, Any]:
    """Ratios of a strategy's time to the agent's (or another's), with intervals."""
    other, mine = charged(rows, name), charged(rows, than)
    pick = picks(rows, seed)
    return {
        "median_ratio": _interval(lambda i: float(np.median(other[i] / mine[i])), pick),
        "mean_ratio": _interval(lambda i: float(other[i].mean() / mine[i].mean()), pick),
    }


def picks(rows: list[Any], seed: int) -> Sequence[npt.NDArray[np.int64]]:
    """4,000 bootstrap samples, each as indices of rows: of rows, or of compounds where rows name theirs
    (all patterns of a compound stay together)."""
    rng = np.random.default_rng(seed)
    if not rows or "compound" not in rows[0]:
        return list(rng.integers(len(rows), size=(4000, len(rows))))
    of_compound: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        of_compound.setdefault(row["compound"], []).append(i)
    members = [np.array(index) for index in of_compound.values()]
    drawn = rng.integers(len(members), size=(4000, len(members)))
    return [np.concatenate([members[k] for k in chosen]) for chosen in drawn]


def _interval(figure: Callable[[Any], float], pick: Sequence[npt.NDArray[np.int64]]) -> dict[str, float]:
    low, high = np.quantile([figure(index) for index in pick], (0.025, 0.975))
    return {"value": figure(slice(None)), "low": float(low), "high": float(high)}


def _right(row: Any, name: str) -> bool:
    return row[name]["answer"] == row["group"]


def _rate(rows: list[Any], name: str, kind: str) -> float:
    """Share of samples answered right (r), wrong (w), or with the right group leading at the end (l)."""
    if kind == "r":
        return float(np.mean([_right(row, name) for row in rows]))
    if kind == "l":
        return float(np.mean([row[name]["leading"] == row["group"] for row in rows]))
    return float(np.mean([row[name]["answer"] not in (0, row["group"]) for row in rows]))


def _calibration(rows: list[Any], name: str) -> dict[str, float]:
    """Of the samples that were stopped as known: the probability claimed, and the share that was right."""
    stopped = [row for row in rows if row[name]["answer"]]
    claimed = [row[name]["probability"] for row in stopped]
    return {
        "n": len(stopped),
        "claimed": float(np.mean(claimed)) if stopped else 0.0,
        "right": float(np.mean([_right(row, name) for row in stopped])) if stopped else 0.0,
    }


def drawn_curve(rows: list[Any], path: Path, said: str = "held-out simulated samples") -> None:
    """Draw, against time, the mean posterior of the true group as far as it leads, and the share answered."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = {
        "adaptive": ("the agent", "#0b6e99", "-"),
        "lines": ("its first glance, doubled", "#3a8f5d", "--"),
        "random": ("its windows at random angles", "#c77c11", "--"),
        "everywhere": ("everywhere, doubling", "#6b6b6b", "-."),
        "fixed": ("the tuned fixed scan", "#a32020", ":"),
    }
    grid = np.geomspace(60.0, BUDGET, 200)
    figure, axes = plt.subplots(1, 2, figsize=(9.0, 3.6), sharex=True, constrained_layout=True)
    for name, (label, colour, style) in names.items():
        if not rows or not all(name in row for row in rows):
            continue
        sure, done = np.zeros((2, len(rows), grid.size))
        for i, row in enumerate(rows):
            for seconds, group, probability in row[name]["looks"]:
                sure[i, grid >= seconds] = probability if group == row["group"] else 0.0
            if _right(row, name):
                done[i, grid >= row[name]["seconds"]] = 1.0
        for axis, values in zip(axes, (sure, done), strict=True):
            axis.plot(grid, values.mean(axis=0), style, color=colour, label=label, lw=1.8)
    axes[0].set(ylabel="posterior of the true group\n(mean, 0 where another leads)", ylim=(0, 1))
    axes[1].set(ylabel=f"share answered right at {STOP_AT:g}", ylim=(0, 1))
    for axis in axes:
        axis.set(xscale="log", xlim=(grid[0], grid[-1]), xlabel="time on the sample (s)")
        axis.grid(alpha=0.25)
    axes[1].legend(loc="upper left", frameon=False, fontsize=8.5)
    figure.suptitle(f"{len(rows)} {said}", fontsize=10)
    figure.savefig(path, dpi=150)
    plt.close(figure)
