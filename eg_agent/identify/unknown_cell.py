"""From a pattern without a cell to cells with their evidence: indexing in the network's order, then fits.

Everything here is bounded by one time limit, shared between the search and the fits. A search that finds
nothing and a fit that fails are answers, too.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict

from eg_agent.identify.identification import ProposedCell
from eg_agent.identify.mixture import (
    FAMILIES,
    FEATURES,
    N_GROUPS,
    CellMerit,
    Cells,
    MixtureConstants,
    mix,
)
from eg_agent.identify.settings import IdentifySettings
from eg_agent.patterns import Pattern
from eg_agent.symmetry import groups
from eg_agent.values import VALUE_CONFIG
from eg_agent.verify import Evidence, VerifySettings, verify
from eg_agent.verify.index_result import IndexedCell
from eg_agent.verify.index_search import ORDER
from eg_agent.verify.indexing import index
from eg_agent.verify.metric import hexagonal_axes, is_rhombohedral, metric_system

if TYPE_CHECKING:
    from eg_agent.library import Library

Floats = npt.NDArray[np.float64]

#: Share of the time that the search for cells may take; the rest is for fits.
SEARCH_SHARE = 0.6
#: Axes are the same within these: relative, and in degrees.
SAME_LENGTH, SAME_ANGLE = 0.005, 0.3
#: Angstrom. No crystal has so short a conventional axis (beryllium: 2.29): such a cell comes from the orders
#: of one strong line of a textured specimen.
SHORTEST_AXIS = 2.2
#: Seconds under which no further fit is begun.
LEAST_FIT = 0.3


@dataclass(frozen=True, eq=False)
class Tried:
    """A cell that indexing proposed, and the fit with it (status "not fitted" where it failed)."""

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    indexed: IndexedCell
    evidence: Evidence


@dataclass(frozen=True, eq=False)
class Search:
    """What was tried, best proposal first; searched: whether there were lines enough to look for a cell."""

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    tried: tuple[Tried, ...]
    searched: bool
    reason: str


@dataclass(frozen=True, eq=False)
class Weighed:
    """Evidence, and what it makes of what was believed before.

    evidence: of the given cell, or of the most probable proposed one. alone: [99] nats, evidence with a
    uniform prior; None without a fit. fused: [99] nats. cells, no_cell: see `Identification`.
    """

    evidence: Evidence
    alone: Floats | None
    fused: Floats
    cells: tuple[ProposedCell, ...] = ()
    no_cell: float | None = None


def search_order(log_probability: Floats) -> tuple[str, ...]:
    """All Bravais lattices, the most probable first under [99] nats of the groups, ties by few parameters.

    None is left out: a lattice that the network finds improbable costs its time at the end.
    """
    share: dict[str, float] = dict.fromkeys(ORDER, 0.0)
    for entry in groups():
        share[entry.bravais] += float(np.exp(log_probability[entry.number - 1]))
    return tuple(sorted(ORDER, key=lambda lattice: (-round(share[lattice], 6), ORDER.index(lattice))))


def try_cells(
    pattern: Pattern, before: Floats, settings: IdentifySettings, library: Library | None = None
) -> Search:
    """Look for cells and fit the best of them.

    before: [99] nats, what is believed before (network, and library where there is one). library: known
        structures, whose cells are proposed, too, where the pattern resembles them.
    Takes at most `settings.index_seconds`, and what one step of a fit takes longer.
    """
    deadline = time.perf_counter() + settings.index_seconds
    found = index(
        pattern,
        systems=search_order(before),
        time_limit=SEARCH_SHARE * settings.index_seconds,
        library=library,
    )
    tried: list[Tried] = []
    for cell in worth_fitting(found, settings):
        left = deadline - time.perf_counter()
        if tried and left < LEAST_FIT:
            break
        tried.append(Tried(cell, _fit(pattern, cell.cell, min(max(left, LEAST_FIT), settings.time_limit))))
    return Search(tuple(tried), found.status != "refused", found.reason)


def worth_fitting(found: Iterable[IndexedCell], settings: IdentifySettings) -> list[IndexedCell]:
    """The best `settings.index_cells` cells, without those that are far behind the best.

    A cell with the axes of a better one differs from it in its centring only: one fit weighs every centring.
    """
    possible = [cell for cell in found if min(cell.cell[:3]) >= SHORTEST_AXIS]
    ranked = sorted(possible, key=lambda cell: -cell.rank_score)
    kept: list[IndexedCell] = []
    for cell in ranked:
        if ranked[0].rank_score - cell.rank_score > settings.index_behind:
            break
        if not any(_same_axes(cell, other) for other in kept):
            kept.append(cell)
        if len(kept) == settings.index_cells:
            break
    return kept


def _same_axes(cell: IndexedCell, other: IndexedCell) -> bool:
    """Whether two cells are one, but for their centring."""
    if cell.lattice[0] != other.lattice[0]:
        return False
    lengths = np.abs(np.divide(cell.cell[:3], other.cell[:3]) - 1.0).max()
    angles = np.abs(np.subtract(cell.cell[3:], other.cell[3:])).max()
    return bool(lengths < SAME_LENGTH and angles < SAME_ANGLE)


def _fit(pattern: Pattern, cell: tuple[float, ...], seconds: float) -> Evidence:
    """The evidence of a fit with a cell; one that breaks down numerically has failed."""
    try:
        return verify(pattern, cell, settings=VerifySettings(time_limit=seconds))
    except (ArithmeticError, np.linalg.LinAlgError) as error:
        return Evidence(status="not fitted", reason=f"the fit broke down ({error}).")


def weigh_cells(search: Search, before: Floats, constants: MixtureConstants) -> Weighed:
    """The mixture over cells that were tried and over "none of them is right".

    before: [99] nats, network and library.
    """
    stands = standing(search.tried)
    cells = as_arrays(search)
    fused = mix(before[None, :], cells, constants)
    share = {id(one): float(p) for one, p in zip(stands, fused.cells[0], strict=True)}
    ranked = sorted(search.tried, key=lambda one: (-share.get(id(one), 0.0), -one.indexed.rank_score))
    listed = tuple(_proposed(one, share.get(id(one), 0.0)) for one in ranked)
    if not stands:
        why = search.tried[0].evidence.reason if search.tried else search.reason
        none = Evidence(status="no cell", reason=f"no cell was given, and none was found that fits: {why}")
        return Weighed(none, None, fused.log_probability[0], listed, 1.0)
    # With all groups equally probable before, the mixture is what the evidence says alone.
    alone = mix(np.full((1, N_GROUPS), -np.log(N_GROUPS)), cells, constants).log_probability[0]
    return Weighed(ranked[0].evidence, alone, fused.log_probability[0], listed, float(fused.none[0]))


def standing(tried: Iterable[Tried]) -> list[Tried]:
    """The cells whose fit stands."""
    return [one for one in tried if one.evidence.status == "fitted" and one.evidence.candidates]


def merits_of(tried: Sequence[Tried]) -> list[CellMerit]:
    """Figures of merit of the cells whose fit stands."""
    stands = standing(tried)
    best_score = max((one.indexed.rank_score for one in tried), default=0.0)
    rwp = [max(float(one.evidence.rwp or 0.0), 0.1) for one in stands]
    return [
        CellMerit(
            score=one.indexed.rank_score,
            behind=best_score - one.indexed.rank_score,
            m20=one.indexed.m20,
            n_indexed=one.indexed.n_indexed,
            n_lines=one.indexed.n_lines,
            lattice_lines=one.evidence.candidates[0].n_allowed + one.evidence.candidates[0].n_forbidden,
            rwp=own,
            best_rwp=min(rwp),
        )
        for one, own in zip(stands, rwp, strict=True)
    ]


def as_arrays(search: Search) -> Cells:
    """The cells of one pattern whose fit stands, as arrays of n = 1."""
    stands = standing(search.tried)
    own = merits_of(search.tried)
    m = len(stands)
    evidence = np.full((m, N_GROUPS), -np.inf)
    for i, one in enumerate(stands):
        for candidate in one.evidence.candidates:
            evidence[i, candidate.group - 1] = candidate.log_evidence
    return Cells(
        features=np.array([merit.features() for merit in own]).reshape(1, m, len(FEATURES)),
        evidence=evidence[None],
        family=np.array([_family(one.evidence) for one in stands], dtype=np.int64).reshape(1, m),
        there=np.ones((1, m), dtype=bool),
        searched=np.array([search.searched]),
    )


def _family(evidence: Evidence) -> int:
    """Index into `FAMILIES` of the metric that a fit had."""
    assert evidence.cell is not None, "a fit that stands has a cell"
    cell = hexagonal_axes(evidence.cell) if is_rhombohedral(evidence.cell) else evidence.cell
    return FAMILIES.index(metric_system(cell).primitive[0])


def _proposed(one: Tried, probability: float) -> ProposedCell:
    indexed, evidence = one.indexed, one.evidence
    stands = evidence.status == "fitted" and evidence.cell is not None
    return ProposedCell(
        cell=evidence.cell if stands and evidence.cell else indexed.cell,
        lattice=indexed.lattice,
        probability=probability,
        score=indexed.rank_score,
        m20=indexed.m20,
        n_indexed=indexed.n_indexed,
        n_lines=indexed.n_lines,
        volume=indexed.volume,
        rwp=evidence.rwp if stands else None,
    )
