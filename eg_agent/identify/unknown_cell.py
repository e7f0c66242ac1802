"""From a pattern without a cell to cells with their evidence: indexing in the network's order, then fits.

Everything here is bounded by one time limit, shared between the search and the fits. A search that finds
nothing and a fit that fails are answers, too: then the network speaks alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict

from eg_agent.identify.branches import groups_of_cell
from eg_agent.identify.fusion import evidence_posterior
from eg_agent.identify.identification import ProposedCell
from eg_agent.identify.mixture import COEFFICIENTS, N_GROUPS, CellMerit, log_odds, mix
from eg_agent.identify.settings import IdentifySettings
from eg_agent.patterns import Pattern
from eg_agent.symmetry import groups
from eg_agent.values import VALUE_CONFIG
from eg_agent.verify import Evidence, VerifySettings, verify
from eg_agent.verify.indexing import ORDER, IndexedCell, index

Floats = npt.NDArray[np.float64]

#: Share of the time that the search for cells may take; the rest is for fits.
SEARCH_SHARE = 0.6
#: Axes are the same within these: relative, and in degrees.
SAME_LENGTH, SAME_ANGLE = 0.005, 0.3
#: Seconds under which no further fit is begun.
LEAST_FIT = 0.3


@dataclass(frozen=True, eq=False)
class Tried:
    """A cell that indexing proposed, and the fit with it (status "not fitted" where it failed)."""

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    indexed: IndexedCell
    evidence: Evidence


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


def weigh_unknown_cell(
    pattern: Pattern, before: Floats, settings: IdentifySettings, weight: float = 1.0
) -> Weighed:
    """Look for a cell, fit the best proposals, and mix over them and over "none of them is right".

    before: [99] nats, network and library. weight: power of it beside evidence.
    """
    return mixed(try_cells(pattern, before, settings), before, settings, weight)


def mixed(tried: Sequence[Tried], before: Floats, settings: IdentifySettings, weight: float = 1.0) -> Weighed:
    """The mixture over cells that were tried; see `weigh_unknown_cell`."""
    stands = merits(tried)
    if not stands:
        why = tried[0].evidence.reason if tried else "indexing found none."
        none = Evidence(status="no cell", reason=f"no cell was given, and none that was found fits: {why}")
        return Weighed(none, None, before, tuple(_proposed(one, 0.0) for one in tried), 1.0)
    odds = log_odds(np.array([merit.features() for _, merit in stands]), COEFFICIENTS)
    single = [single_evidence(one.evidence, settings) for one, _ in stands]
    fused = mix(before, single, odds, weight)
    share = {id(one): float(p) for (one, _), p in zip(stands, fused.cells, strict=True)}
    ranked = sorted(tried, key=lambda one: (-share.get(id(one), 0.0), -one.indexed.rank_score))
    # With all groups equally probable before, the mixture is what the evidence says alone.
    alone = mix(np.full(N_GROUPS, -np.log(N_GROUPS)), single, odds).log_probability
    cells = tuple(_proposed(one, share.get(id(one), 0.0)) for one in ranked)
    return Weighed(ranked[0].evidence, alone, fused.log_probability, cells, fused.none)


def single_evidence(evidence: Evidence, settings: IdentifySettings) -> Floats:
    """[99] nats, normalised: what a fit that stands says alone, with a uniform prior."""
    assert evidence.cell is not None, "a fit that stands has a cell"
    found = evidence_posterior(evidence, settings, groups_of_cell(evidence.cell))
    assert found is not None, "a fit that stands has candidates"
    return found


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


def lattice_posterior(log_probability: Floats) -> dict[str, float]:
    """Probability of each Bravais lattice ("oP") under log-probabilities [99] of the groups."""
    found: dict[str, float] = {}
    for entry in groups():
        found[entry.bravais] = found.get(entry.bravais, 0.0) + float(
            np.exp(log_probability[entry.number - 1])
        )
    return found


def search_order(log_probability: Floats) -> tuple[str, ...]:
    """All lattices that indexing knows, the network's most probable first, ties by few parameters first.

    None is left out: a lattice that the network finds improbable costs little time at the end.
    """
    share = lattice_posterior(log_probability)
    return tuple(
        sorted(ORDER, key=lambda lattice: (-round(share.get(lattice, 0.0), 6), ORDER.index(lattice)))
    )


def try_cells(pattern: Pattern, log_probability: Floats, settings: IdentifySettings) -> tuple[Tried, ...]:
    """Proposed cells with their evidence, best proposal first; empty where indexing finds nothing.

    log_probability: [99] nats, what is believed before (network, and library where there is one).
    Takes at most `settings.index_seconds`, and what one step of a fit takes longer.
    """
    started = time.perf_counter()
    deadline = started + settings.index_seconds
    found = index(
        pattern, systems=search_order(log_probability), time_limit=SEARCH_SHARE * settings.index_seconds
    )
    tried: list[Tried] = []
    for cell in worth_fitting(found, settings):
        left = deadline - time.perf_counter()
        if tried and left < LEAST_FIT:
            break
        tried.append(Tried(cell, fitted(pattern, cell.cell, min(max(left, LEAST_FIT), settings.time_limit))))
    return tuple(tried)


def worth_fitting(found: Iterable[IndexedCell], settings: IdentifySettings) -> list[IndexedCell]:
    """The best `settings.index_cells` cells, without those that are far behind the best.

    A cell with the axes of a better one differs from it in its centring only: one fit weighs every centring.
    """
    ranked = sorted(found, key=lambda cell: -cell.rank_score)
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


def fitted(pattern: Pattern, cell: tuple[float, ...], seconds: float) -> Evidence:
    """The evidence of a fit with a cell; one that breaks down numerically has failed."""
    try:
        return verify(pattern, cell, settings=VerifySettings(time_limit=seconds))
    except (ArithmeticError, np.linalg.LinAlgError) as error:
        return Evidence(status="not fitted", reason=f"the fit broke down ({error}).")


def merits(tried: Iterable[Tried]) -> list[tuple[Tried, CellMerit]]:
    """The cells whose fit stands, each with its figures of merit."""
    tried = list(tried)
    stands = [one for one in tried if one.evidence.status == "fitted" and one.evidence.candidates]
    if not stands:
        return []
    best_score = max(one.indexed.rank_score for one in tried)
    rwp = [max(float(one.evidence.rwp or 0.0), 0.1) for one in stands]
    return [
        (
            one,
            CellMerit(
                score=one.indexed.score,
                behind=best_score - one.indexed.rank_score,
                m20=one.indexed.m20,
                n_indexed=one.indexed.n_indexed,
                n_lines=one.indexed.n_lines,
                lattice_lines=one.evidence.candidates[0].n_allowed + one.evidence.candidates[0].n_forbidden,
                rwp=own,
                best_rwp=min(rwp),
            ),
        )
        for one, own in zip(stands, rwp, strict=True)
    ]
