"""Counted lattices: against plain sums; what is not known tells nothing; the network where none is alike."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eg_agent.identify.known_lattices import (
    BIN,
    SCALE,
    TAIL,
    UNTOLD,
    KnownLattices,
    counted,
    known_of,
    tensors_of,
)
from eg_agent.identify.lattice_prior import shipped
from eg_agent.symmetry import groups
from eg_agent.verify.lattice_shape import lattice_shape
from eg_agent.verify.metric import Cell

ORTHORHOMBIC = 1


def _made(seed: int, count: int = 60) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    family = rng.integers(5, size=count)
    numbers = np.column_stack([6.0 + 0.1 * rng.normal(size=count), 0.02 * rng.normal(size=(count, 3))])
    units = np.where(rng.random(count) < 0.3, np.nan, np.log(rng.integers(1, 5, size=count)))
    return family, numbers, units, rng.integers(1, 100, size=count), rng.uniform(0.5, 2.0, count)


def _known(seed: int, count: int = 60) -> KnownLattices:
    return counted(*_made(seed, count), np.ones((5, 2)))


@given(seed=st.integers(0, 1000), told=st.booleans())
@settings(max_examples=30)
def test_counts_are_the_stated_sum(seed: int, told: bool) -> None:
    """By plain Python over the structures themselves; a bin's middle is at most half a bin away."""
    family, numbers, units, group, weight = _made(seed)
    known = _known(seed)
    where, own_units = numbers[0], (math.log(2.0) if told else math.nan)
    expected = np.zeros(99)
    for f, n, u, g, w in zip(family, numbers, units, group, weight, strict=True):
        if f != ORTHORHOMBIC:
            continue
        middle = [(math.floor(v / b) + 0.5) * b for v, b in zip(n, BIN, strict=False)]
        squares = [((a - m) / s) ** 2 for a, m, s in zip(where, middle, SCALE, strict=False)]
        if told and not math.isnan(u):
            squares.append(((own_units - (math.floor(u / BIN[4]) + 0.5) * BIN[4]) / SCALE[4]) ** 2)
        expected[g - 1] += w * (1.0 + sum(squares) / TAIL) ** -TAIL
    np.testing.assert_allclose(known.counts(ORTHORHOMBIC, where, own_units), expected, rtol=1e-9, atol=1e-12)


@given(seed=st.integers(0, 1000))
@settings(max_examples=30)
def test_what_comes_out_is_a_distribution_between_both(seed: int) -> None:
    known = _known(seed)
    rng = np.random.default_rng(seed)
    log_p = np.log(rng.dirichlet(np.ones(99)))
    numbers = np.array([6.0, 0.0, 0.0, 0.0])
    found = np.exp(known.beside(log_p, ORTHORHOMBIC, numbers, math.nan))
    assert found.sum() == pytest.approx(1.0)
    counts = known.counts(ORTHORHOMBIC, numbers, math.nan)
    share = counts / counts.sum()
    assert (found >= np.minimum(np.exp(log_p), share) - 1e-12).all()
    assert (found <= np.maximum(np.exp(log_p), share) + 1e-12).all()


def test_far_from_everything_the_network_alone_is_left() -> None:
    known = _known(1)
    log_p = np.log(np.random.default_rng(0).dirichlet(np.ones(99)))
    found = known.beside(log_p, ORTHORHOMBIC, np.array([9.5, 3.0, 3.0, 0.0]), math.nan)
    np.testing.assert_allclose(np.exp(found), np.exp(log_p), atol=1e-4)


def test_many_of_one_group_outweigh_the_network_and_structures_of_one_bin_are_one_entry() -> None:
    same = np.full(200, ORTHORHOMBIC), np.tile([6.0, 0.1, 0.3, 0.0], (200, 1)), np.full(200, np.nan)
    known = counted(*same, np.full(200, 40), np.ones(200), np.ones((5, 2)))
    assert known.weight.tolist() == [200.0]
    assert known.bins[0, 4] == UNTOLD
    found = known.beside(np.full(99, -math.log(99.0)), ORTHORHOMBIC, np.array([6.0, 0.1, 0.3, 0.0]), math.nan)
    assert math.exp(found[39]) > 0.95


def test_files_keep_them() -> None:
    known = _known(3)
    again = known_of(tensors_of(known))
    for name in ("family", "bins", "group", "belief"):
        np.testing.assert_array_equal(getattr(again, name), getattr(known, name))
    np.testing.assert_allclose(again.weight, known.weight, rtol=1e-3)


@pytest.mark.parametrize(
    ("cell", "symbol", "system"),
    [
        # diopside, forsterite, anatase, calcite and quartz, as textbooks give them
        ((9.75, 8.92, 5.25, 90.0, 105.9, 90.0), "C 1 c 1", "monoclinic"),
        ((4.76, 10.2, 5.98, 90.0, 90.0, 90.0), "P n a -", "orthorhombic"),
        ((3.785, 3.785, 9.514, 90.0, 90.0, 90.0), "I a - d", "tetragonal"),
        ((4.99, 4.99, 17.06, 90.0, 90.0, 120.0), "R - - c", "trigonal/hexagonal"),
        ((4.913, 4.913, 5.405, 90.0, 90.0, 120.0), "P 31 - -", "trigonal/hexagonal"),
    ],
)
def test_cells_of_known_structures_are_told_better_than_by_the_network(
    cell: Cell, symbol: str, system: str
) -> None:
    prior, shape = shipped(), lattice_shape(cell)
    assert shape is not None
    (at,) = (e.number - 1 for e in groups() if e.symbol == symbol and e.crystal_system == system)
    alone = prior.of_shapes(np.array([shape.family]), shape.numbers[None], np.array([math.nan]))[0]
    found = prior(cell)
    assert found[at] > alone[at] + 0.1
    base = prior.frequency[shape.family]
    assert int(np.argmax(base + found)) == at
