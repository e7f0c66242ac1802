"""Strata of the benchmark: what is known of a pattern, or seen in it, that makes it hard."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from eg_agent.errors import BadInput
from eg_agent.patterns import Grid
from trainer.benchmark.data import Case, Folder
from trainer.gap.statistics import statistics
from trainer.halves import half

#: Edges of the number of resolved lines, and of the highest line over the noise.
LINE_EDGES = (15, 30, 60)
SIGNAL_EDGES = (30.0, 100.0, 300.0)

NAMES = ("system", "half", "lines", "signal")
#: Strata of the verifier's rows: a triclinic cell has one candidate only, which is always right.
TRICLINIC, NOT_TRICLINIC = "triclinic", "not triclinic"


def strata_of(folder: Folder, cases: Sequence[Case], names: Sequence[str]) -> dict[str, list[str]]:
    """Name -> [n] stratum of each case; BadInput for a name that is not in NAMES."""
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise BadInput(f"--by {unknown[0]} is not known: give one of {', '.join(NAMES)}.")
    simple: dict[str, Callable[[Case], str]] = {
        "system": lambda case: case.crystal_system,
        "half": lambda case: half(case.compound),
    }
    found = {name: [simple[name](case) for case in cases] for name in names if name in simple}
    if {"lines", "signal"} & set(names):
        lines, signal = _seen(folder, cases)
        if "lines" in names:
            found["lines"] = [_bin(value, LINE_EDGES, "lines") for value in lines]
        if "signal" in names:
            found["signal"] = [_bin(value, SIGNAL_EDGES, "times the noise") for value in signal]
    return found


def _seen(folder: Folder, cases: Sequence[Case]) -> tuple[list[float], list[float]]:
    grid = Grid()
    lines, signal = [], []
    for case in cases:
        on_grid = grid.project(folder.pattern(case))
        row = statistics(on_grid.intensity[None], on_grid.coverage[None], grid.two_theta)
        lines.append(float(row["lines"][0]))
        noise = float(row["noise"][0])
        signal.append(1.0 / noise if noise > 0 else np.nan if np.isnan(noise) else np.inf)
    return lines, signal


def _bin(value: float, edges: Sequence[float], unit: str) -> str:
    if np.isnan(value):
        return "not measurable"
    inner = int(np.searchsorted(edges, value, side="right"))
    if inner == 0:
        return f"below {edges[0]:g} {unit}"
    if inner == len(edges):
        return f"{edges[-1]:g} {unit} and more"
    return f"{edges[inner - 1]:g} to {edges[inner]:g} {unit}"


def unseen_ids(path: Path) -> frozenset[str]:
    """Ids of unseen rows: of a file of `eg-train unseen`, or a plain JSON list of ids."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror}): make it with eg-train unseen.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is not JSON ({error}): make it with eg-train unseen.") from None
    ids = content.get("unseen") if isinstance(content, dict) else content
    if not isinstance(ids, list) or not all(isinstance(i, str) for i in ids):
        raise BadInput(f"{path} holds no list of ids of unseen rows: make it with eg-train unseen.")
    return frozenset(ids)


def novelty_stratum(path: Path, cases: Sequence[Case]) -> list[str]:
    """[n] "unseen" or "seen"; BadInput when the file is about other rows."""
    ids = unseen_ids(path)
    strange = ids - {case.id for case in cases}
    if ids and len(strange) == len(ids):
        raise BadInput(f"{path} names none of these rows: make it with eg-train unseen for this folder.")
    return ["unseen" if case.id in ids else "seen" for case in cases]
