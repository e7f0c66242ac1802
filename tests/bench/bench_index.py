"""Indexing: peak search and search for the cell, on simulated patterns of high and of low symmetry."""

from __future__ import annotations

import time
from collections.abc import Callable

import gemmi
import numpy as np

from eg_agent.patterns import Pattern, Radiation
from eg_agent.verify.indexing import index_lines
from eg_agent.verify.peaks import find_peaks
from tests.bench import Row


def _pattern(space_group: int, cell: tuple[float, ...]) -> Pattern:
    two_theta = np.arange(8.0, 90.0, 0.02)
    unit = gemmi.UnitCell(*cell)
    d = unit.calculate_d_array(
        gemmi.make_miller_array(unit, gemmi.find_spacegroup_by_number(space_group), 1.1)
    )
    rng = np.random.default_rng(1)
    at = 2 * np.degrees(np.arcsin(1.540593 / (2 * d)))
    u = (two_theta[:, None] - at) / 0.08
    curve = (1 / (1 + 4 * u * u)) @ (rng.exponential(size=len(d)) * d**2)
    counts = rng.poisson(20000 * (curve / curve.max() + 0.02))
    return Pattern(two_theta, counts, Radiation(1.540593), raw_counts=True)


def _median_seconds(call: Callable[[], object], times: int = 5) -> float:
    call()  # compile
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


def rows() -> list[Row]:
    """Milliseconds of the peak search, seconds of indexing."""
    cubic, monoclinic = (
        _pattern(225, (5.64, 5.64, 5.64, 90, 90, 90)),
        _pattern(14, (8.09, 5.01, 14.24, 90, 98, 90)),
    )
    found = []
    for name, pattern in (("cubic", cubic), ("monoclinic", monoclinic)):
        peaks = find_peaks(pattern)
        found.append(
            Row(f"peak search, {name}", 1e3 * _median_seconds(lambda p=pattern: find_peaks(p)), "ms")
        )
        found.append(
            Row(
                f"index, {name}",
                _median_seconds(lambda p=peaks: index_lines(p, time_limit=60), 3),
                "s",
                bound=10.0,
            )
        )
    return found
