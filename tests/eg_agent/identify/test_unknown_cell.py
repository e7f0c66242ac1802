"""From the pattern alone: a cell is looked for, and the answer knows how sure it may be of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from eg_agent.errors import BadInput
from eg_agent.identify import Identification, Identifier, IdentifySettings
from eg_agent.identify.unknown_cell import search_order, worth_fitting
from eg_agent.patterns import Pattern
from eg_agent.symmetry import BRAVAIS_LATTICES, N_GROUPS
from eg_agent.values import from_json, to_json
from eg_agent.verify.index_result import IndexedCell

CELL = (7.3, 8.9, 10.6, 90.0, 90.0, 90.0)
PATIENT = IdentifySettings(index_seconds=60.0, time_limit=60.0)


@pytest.fixture(scope="module")
def indexing(identifier: Identifier) -> Identifier:
    return Identifier(identifier.classifier, settings=PATIENT)


@pytest.fixture(scope="module")
def answer(indexing: Identifier, powder) -> Identification:
    return indexing.identify(powder(17, "P n - a", CELL))


def test_the_cell_is_found_and_its_absences_decide(answer: Identification) -> None:
    best = answer.cells[0]
    np.testing.assert_allclose(sorted(best.cell[:3]), CELL[:3], rtol=2e-3)
    assert best.lattice == "oP"
    assert best.probability > 0.5
    assert answer.top[0].group == 17  # the random network knows nothing: the cell told
    assert answer.provenance.cell is None
    assert answer.reason.startswith("Indexing found the cell")
    assert {entry.number for entry in answer.top[0].settings} == {33, 62}


def test_probabilities_of_cells_and_none_share_one(answer: Identification) -> None:
    assert answer.no_cell is not None
    assert answer.no_cell + sum(cell.probability for cell in answer.cells) == pytest.approx(1.0)
    listed = [cell.probability for cell in answer.cells]
    assert listed == sorted(listed, reverse=True)
    assert np.exp(answer.log_probability).sum() == pytest.approx(1.0)
    assert np.exp(answer.evidence_only).sum() == pytest.approx(1.0)
    assert to_json(from_json(Identification, to_json(answer))) == to_json(answer)


def test_noise_has_no_cell_and_leaves_the_network(indexing: Identifier, powder) -> None:
    pattern: Pattern = powder(17, "P n - a", CELL)
    rng = np.random.default_rng(1)
    noise = replace(pattern, intensity=rng.poisson(40.0, len(pattern)).astype(float))
    answer = indexing.identify(noise)
    if answer.verdict == "refused":  # noise may be too weak to be called a pattern: that is an answer, too
        assert answer.cells == ()
    else:
        assert answer.no_cell is not None
        assert answer.no_cell > 0.5
        assert answer.verdict != "identified"


def test_off_by_default_and_never_where_a_cell_is_given(
    identifier: Identifier, indexing: Identifier, powder
) -> None:
    pattern = powder(17, "P n - a", CELL)
    plain = identifier.identify(pattern)
    assert (plain.cells, plain.no_cell) == ((), None)
    given = indexing.identify(pattern, CELL)
    assert (given.cells, given.no_cell) == ((), None)


def test_time_is_bounded_by_the_settings() -> None:
    for seconds in (-1.0, 61.0, float("nan")):
        with pytest.raises(BadInput, match="index_seconds"):
            IdentifySettings(index_seconds=seconds)


def test_the_networks_lattices_come_first() -> None:
    log_p = np.full(N_GROUPS, -20.0)
    log_p[16] = 0.0  # group 17 is oP
    log_p[96] = -2.0  # group 97 is cF
    order = search_order(log_p)
    assert order[:2] == ("oP", "cF")
    assert sorted(order) == sorted(BRAVAIS_LATTICES)


def proposal(cell: tuple[float, ...], lattice: str, score: float) -> IndexedCell:
    return IndexedCell((*cell,), lattice, score, 50.0, 50.0, 20, 20, 1.0, 0.0)


def test_fits_are_not_spent_on_centrings_short_axes_and_hopeless_cells() -> None:
    settings = IdentifySettings(index_cells=3, index_behind=30.0)
    right = (9.0, 9.0, 9.0, 90.0, 90.0, 90.0)
    found = [
        proposal((1.4, 1.4, 10.0, 90.0, 90.0, 120.0), "hP", 90.0),  # orders of one line
        proposal(right, "cF", 60.0),
        proposal(right, "cP", 55.0),  # the same axes
        proposal((6.36, 6.36, 9.0, 90.0, 90.0, 90.0), "tI", 50.0),
        proposal((5.0, 6.0, 7.0, 90.0, 90.0, 90.0), "oP", 20.0),  # far behind
    ]
    assert [cell.lattice for cell in worth_fitting(found, settings)] == ["cF", "tI"]
    assert worth_fitting([], settings) == []
