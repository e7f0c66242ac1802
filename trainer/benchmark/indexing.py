"""The benchmark of indexing: is the right lattice among the first cells, and how long did it take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from eg_agent.patterns.pattern import Pattern
from trainer.benchmark import cells, nulls
from trainer.benchmark.classification import compounds_of, row_as_json
from trainer.benchmark.data import Case, Cell
from trainer.metrics import RESAMPLES, Bootstrap

#: Cells best first, each with its centring letter.
RankedCells = Sequence[tuple[Cell, str]]
Indexer = Callable[[Pattern], RankedCells]

#: How many cells of an answer are looked at.
DEPTH = 20


def rank_of(found: RankedCells, case: Case) -> int | None:
    """Place (0 is first) of the first cell that spans the case's lattice, or None."""
    assert case.cell is not None, "indexing is scored on rows with a known cell"
    centring = cells.centring_of(case.space_group)
    for place, (cell, letter) in enumerate(found[:DEPTH]):
        if cells.same_lattice(cell, letter, case.cell, centring):
            return place
    return None


def result_of(
    cases: Sequence[Case],
    found: Sequence[RankedCells],
    *,
    seconds: Sequence[float] | np.ndarray,
    settings: Mapping[str, Any] | None = None,
    strata: Mapping[str, Sequence[str]] | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """top1, top3, top5 of the right lattice, and of other compounds' cells (permutation), by compound."""
    compounds = compounds_of(cases)
    permuted = nulls.permutation(compounds, repeats=3, seed=seed)
    ranks = {
        "model": np.array([[_place(rank_of(f, c)) for f, c in zip(found, cases, strict=True)]]),
        "permutation": np.array(
            [[_place(rank_of(found[j], c)) for j, c in zip(row, cases, strict=True)] for row in permuted]
        ),
    }

    def rows_of(keep: np.ndarray) -> dict[str, Any]:
        boot = Bootstrap([compounds[i] for i in keep], seed=seed, resamples=resamples)
        total = boot.sums(np.ones((len(keep), 1)))[:, 0]
        rows: dict[str, Any] = {"n": len(keep), "compounds": boot.n_compounds}
        for name, places in ranks.items():
            hits = np.stack([(places[:, keep] < k).mean(axis=0) for k in (1, 3, 5)], axis=1)
            draws = boot.sums(hits) / total[:, None]
            rows[name] = row_as_json({f"top{k}": boot.interval(draws[:, i]) for i, k in enumerate((1, 3, 5))})
        return rows

    result = rows_of(np.arange(len(cases)))
    for name, values in {"source": [case.source for case in cases], **(strata or {})}.items():
        values = np.asarray(values, dtype=str)
        result[f"by_{name}"] = {v: rows_of(np.flatnonzero(values == v)) for v in sorted(set(values))}
    times = np.asarray(seconds, dtype=np.float64)
    result["seconds_median"] = float(np.median(times))
    result["settings"] = {
        **(settings or {}),
        "right": {"niggli_lengths": cells.LENGTH, "angles_deg": cells.ANGLE, "volume": cells.VOLUME},
        "bootstrap": {"resamples": resamples, "by": "compound", "seed": seed},
        "no_cell": [case.id for case, f in zip(cases, found, strict=True) if not f],
        "seconds": {"p95": float(np.percentile(times, 95)), "max": float(times.max())},
    }
    return result


def _place(rank: int | None) -> int:
    return DEPTH if rank is None else rank
