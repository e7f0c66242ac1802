"""Indexing: from the lines of a pattern to cells, when none is known.

Lines (`peaks`), a search in all Bravais lattices (`index_search`), cells of known structures that the pattern
resembles where a library is given, and a comparison of the best cells. The answer weighs each,
and that none of them is right: weights that add up to 1, not calibrated on measured patterns.

De Wolff's M20 (J. Appl. Cryst. 1 (1968) 108), Smith and Snyder's F20 (J. Appl. Cryst. 12 (1979) 60) and Wu's
M (J. Appl. Cryst. 21 (1988) 530) are given for each cell, over the indexed lines among the first 20.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadInput
from eg_agent.patterns.pattern import Pattern
from eg_agent.symmetry import BRAVAIS_LATTICES, groups
from eg_agent.verify.index_lattice import conventional
from eg_agent.verify.index_odds import with_probabilities
from eg_agent.verify.index_ready import ready
from eg_agent.verify.index_result import IndexedCell, IndexResult, IndexSettings
from eg_agent.verify.index_search import (
    FEWEST_LINES,
    ORDER,
    compared,
    distinct,
    observe,
    search_cells,
)
from eg_agent.verify.index_start import cells_of_library
from eg_agent.verify.peaks import Peaks, find_peaks

if TYPE_CHECKING:
    from eg_agent.library import Library, Matches

Floats = npt.NDArray[np.floating]


def index(
    pattern: Pattern,
    *,
    settings: IndexSettings | None = None,
    log_lattice: npt.ArrayLike | None = None,
    library: Library | Matches | None = None,
    systems: Sequence[str] | None = None,
    time_limit: float | None = None,
) -> IndexResult:
    """Cells that index a pattern, best first, with their weights (`IndexedCell.probability`).

    log_lattice: nats, what is known of the lattice before: [14] over `eg_agent.symmetry.BRAVAIS_LATTICES`, or
        [99] over extinction groups (a network's posterior). It orders the search and takes part in the odds.
    library: known structures, or a search of them; the best matches give cells to start from.
    systems, time_limit: as in `IndexSettings`, instead of its own.

    The time limit holds for any input, by a look at the clock every 0.1 s or so (numba's compilation on the
    first call after an installation comes on top). Raises BadInput for lattices that do not exist.
    """
    ready()
    started = time.perf_counter()
    settings = _settings(settings, systems, time_limit)
    prior = lattice_prior(log_lattice, settings.lattice_floor)
    deadline = started + settings.time_limit
    peaks = find_peaks(pattern, deadline=started + 0.4 * settings.time_limit)
    result = _indexed(peaks, pattern, settings, prior, library, deadline)
    return replace(result, seconds=time.perf_counter() - started)


def index_lines(
    peaks: Peaks,
    *,
    settings: IndexSettings | None = None,
    log_lattice: npt.ArrayLike | None = None,
    systems: Sequence[str] | None = None,
    time_limit: float | None = None,
) -> IndexResult:
    """Cells that index given lines, without a pattern to compare them on; see `index`."""
    ready()
    started = time.perf_counter()
    settings = _settings(settings, systems, time_limit)
    prior = lattice_prior(log_lattice, settings.lattice_floor)
    result = _indexed(peaks, None, settings, prior, None, started + settings.time_limit)
    return replace(result, seconds=time.perf_counter() - started)


def lattice_prior(log_lattice: npt.ArrayLike | None, floor: float = np.inf) -> dict[str, float]:
    """Nats of each Bravais lattice below the most probable one, at most `floor`; all 0 without knowledge.

    log_lattice: [14] or [99], see `index`; need not be normalised.
    """
    if log_lattice is None:
        return dict.fromkeys(BRAVAIS_LATTICES, 0.0)
    values = np.asarray(log_lattice, dtype=np.float64)
    if values.shape == (99,):
        total = dict.fromkeys(BRAVAIS_LATTICES, -np.inf)
        for entry in groups():
            total[entry.bravais] = float(np.logaddexp(total[entry.bravais], values[entry.number - 1]))
        values = np.array([total[name] for name in BRAVAIS_LATTICES])
    if values.shape != (14,) or np.isnan(values).any() or not np.isfinite(values.max()):
        raise BadInput(
            f"log_lattice has the shape {values.shape} or is not finite: give log-probabilities of the 14 "
            "Bravais lattices or of the 99 groups."
        )
    values = np.maximum(values - values.max(), -floor)
    return {name: float(value) for name, value in zip(BRAVAIS_LATTICES, values)}


def _settings(
    settings: IndexSettings | None, systems: Sequence[str] | None, time_limit: float | None
) -> IndexSettings:
    settings = settings or IndexSettings()
    if systems is not None:
        settings = replace(settings, systems=tuple(systems))
    if time_limit is not None:
        settings = replace(settings, time_limit=time_limit)
    unknown = [name for name in settings.systems or () if name not in ORDER]
    if unknown:
        raise BadInput(f"{unknown[0]!r} is no Bravais lattice: give some of {', '.join(ORDER)}.")
    if not settings.time_limit >= 0:
        raise BadInput(f"the time limit is {settings.time_limit} seconds: give 0 or more.")
    return settings


def _indexed(
    peaks: Peaks,
    pattern: Pattern | None,
    settings: IndexSettings,
    prior: dict[str, float],
    library: Library | Matches | None,
    deadline: float,
) -> IndexResult:
    common = IndexResult("refused", "", n_lines=len(peaks), n_stray=int(peaks.stray.sum()))
    observed = observe(peaks)
    if len(observed) < FEWEST_LINES and time.perf_counter() > deadline:
        return replace(
            common,
            complete=False,
            reason=f"the time limit of {settings.time_limit:g} s ended before the search began: give more.",
        )
    if len(observed) < FEWEST_LINES:
        return replace(
            common,
            reason=f"only {len(observed)} lines stand above the noise, {FEWEST_LINES} are needed: "
            "count longer, or measure a longer range.",
        )
    lattices = settings.systems or tuple(sorted(ORDER, key=lambda name: -round(prior[name], 1)))
    known: list[IndexedCell] = []
    if library is not None and pattern is not None:
        known = cells_of_library(library, pattern, observed, settings)
    found, complete = search_cells(observed, lattices, deadline)
    found = distinct(known + found)
    found = compared(found[: 2 * settings.cells], peaks, settings.compared)
    found = [replace(c, cell=conventional(c.cell, c.lattice)) for c in found]
    cells, none = with_probabilities(found, prior, settings.cells)
    common = replace(common, complete=complete)
    late = "" if complete else f" The time limit of {settings.time_limit:g} s ended the search."
    if not cells:
        return replace(
            common, status="no cell", reason=f"no cell explains the {len(observed)} first lines.{late}"
        )
    best = cells[0]
    reason = (
        f"{best.lattice} explains {best.n_indexed} of the {best.n_lines} first lines "
        f"(M20 {best.m20:.0f}), weight {best.probability:.2f}.{late}"
    )
    return replace(common, status="indexed", reason=reason, cells=cells, none_probability=none)
