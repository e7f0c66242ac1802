"""Known compositions: what is looked up, what it is worth, and that a checkpoint keeps it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp

from eg_agent.chemistry import Composition
from eg_agent.errors import BadInput
from eg_agent.model.known_compositions import KnownCompositions, Trust

PRIOR = np.log(np.random.default_rng(0).dirichlet(np.ones(99)))
#: Formula, group: calcite thrice, aragonite once, a magnesian calcite, two oxides of iron.
ENTRIES = [
    ("CaCO3", 70),
    ("CaCO3", 70),
    ("Ca2C2O6", 70),
    ("CaCO3", 30),
    ("CCa0.5Mg0.5O3", 66),
    ("Fe2O3", 70),
    ("Fe3O4", 99),
]


def known_of(entries: list[tuple[str, int]]) -> KnownCompositions:
    read = [(Composition.of_formula(formula), group) for formula, group in entries]
    return KnownCompositions.of_entries([(c.atomic_numbers, c.fractions, g) for c, g in read], PRIOR)


KNOWN = known_of(ENTRIES)


def counts(what: Composition, width: float = 0.02) -> dict[int, float]:
    found = KNOWN.counts(what, width)
    return {int(g) + 1: float(found[g]) for g in np.flatnonzero(found > 1e-9)}


def test_entries_of_a_formula_are_counted():
    assert len(KNOWN) == len(ENTRIES)
    assert counts(Composition.of_formula("CaCO3")) == {70: 3.0, 30: 1.0}
    assert counts(Composition.of_formula("O6C2Ca2")) == {70: 3.0, 30: 1.0}
    assert counts(Composition.of_formula("Fe3O4"))[99] == 1.0
    assert counts(Composition.of_formula("MgCO3")) == {}


def test_elements_alone_count_all_amounts():
    assert counts(Composition.of_elements("Fe O")) == {70: 1.0, 99: 1.0}
    assert counts(Composition.of_elements("C Ca Mg O")) == {66: 1.0}
    assert counts(Composition.of_elements("Fe")) == {}


@pytest.mark.parametrize("width", [0.005, 0.02, 0.1])
def test_other_amounts_count_less_by_their_distance(width):
    # shares of 0.02 moved from iron to oxygen: 0.4 + 0.6 in Fe2O3, |difference| sums to 0.04
    near = Composition.of_amounts({"Fe": 0.38, "O": 0.62})
    found = KNOWN.counts(near, width)
    assert found[69] == pytest.approx(np.exp(-0.04 / width), rel=1e-2)
    # Fe3O4 has 3/7 of iron: 2 (3/7 - 0.38) away
    assert found[98] == pytest.approx(np.exp(-2 * (3 / 7 - 0.38) / width), rel=2e-2, abs=1e-12)


def test_network_and_entries_are_a_dirichlet_posterior():
    """Written out once more: (counts + worth * network) / (sum of counts + worth)."""
    said = np.random.default_rng(1).normal(size=(3, 99))
    asked = [Composition.of_formula("CaCO3"), Composition.of_elements("Fe O"), Composition.of_formula("KCl")]
    trust = Trust(exact=0.7, elements=5.0, width=0.02, network=0.8)
    found = KNOWN.added(said, asked, trust) + PRIOR
    alone = 0.8 * said + PRIOR
    alone -= logsumexp(alone, axis=1, keepdims=True)
    np.testing.assert_allclose(logsumexp(found, axis=1), 0.0, atol=1e-12)
    np.testing.assert_allclose(found[2], alone[2], atol=1e-12)  # unknown: the network's answer
    p = np.exp(alone)
    assert np.exp(found[0, 69]) == pytest.approx((3 + 0.7 * p[0, 69]) / 4.7)
    assert np.exp(found[0, 29]) == pytest.approx((1 + 0.7 * p[0, 29]) / 4.7)
    assert np.exp(found[0, 5]) == pytest.approx(0.7 * p[0, 5] / 4.7)
    assert np.exp(found[1, 98]) == pytest.approx((1 + 5.0 * p[1, 98]) / 7.0)


SYMBOLS = ("H", "C", "O", "Na", "Si", "Fe", "Cu", "U")
FORMULAS = st.dictionaries(st.sampled_from(SYMBOLS), st.integers(1, 12), min_size=1, max_size=5)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(FORMULAS, st.integers(1, 99)), min_size=1, max_size=25), st.randoms())
def test_any_entries_are_found_again(entries, random):
    read = [(Composition.of_amounts(amounts), group) for amounts, group in entries]
    rows = [(c.atomic_numbers, c.fractions, g) for c, g in read]
    known = KnownCompositions.of_entries(rows, PRIOR)
    random.shuffle(rows)
    shuffled = KnownCompositions.of_entries(rows, PRIOR)
    for composition, _ in read:
        expected, of_elements = np.zeros(99), np.zeros(99)
        for other, group in read:
            if other.elements == composition.elements:
                of_elements[group - 1] += 1
                away = np.abs(other.fractions - composition.fractions).sum()
                expected[group - 1] += np.exp(-away / 0.02)
        np.testing.assert_allclose(known.counts(composition, 0.02), expected, rtol=0.03, atol=1e-9)
        np.testing.assert_allclose(known.counts(composition.without_amounts(), 0.02), of_elements)
        np.testing.assert_allclose(
            known.counts(composition, 0.02), shuffled.counts(composition, 0.02), rtol=1e-9
        )


def test_tensors_hold_everything():
    again = KnownCompositions.of_tensors(KNOWN.tensors())
    for name in KNOWN.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(again, name), getattr(KNOWN, name))
    with pytest.raises(BadInput, match="lack 'group_N'"):
        KnownCompositions.of_tensors({n: t for n, t in KNOWN.tensors().items() if n != "group_N"})
    for spoiled in (
        {"group_N": KNOWN.group_N[:-1]},
        {"group_N": KNOWN.group_N + 90},
        {"hash_S": KNOWN.hash_S[::-1]},
        {"share_F": KNOWN.share_F[1:]},
        {"log_prior_G": KNOWN.log_prior_G[1:]},
    ):
        with pytest.raises(BadInput, match="do not fit together"):
            replace(KNOWN, **spoiled)


def test_no_entries_at_all():
    empty = known_of([])
    assert len(empty) == 0
    assert not empty.counts(Composition.of_formula("NaCl"), 0.02).any()
    assert KnownCompositions.of_tensors(empty.tensors()).hash_S.size == 0
    assert empty.added(np.zeros((0, 99)), [], Trust()).shape == (0, 99)


def test_trust_must_be_above_zero():
    with pytest.raises(BadInput, match="above 0"):
        Trust(width=0.0)


def test_counts_do_not_overflow_what_is_kept():
    many = known_of([("NaCl", 1)] * 300)
    assert KnownCompositions.of_tensors(many.tensors()).counts(Composition.of_formula("NaCl"), 0.02)[0] == 300
    assert many.tensors()["share_F"].dtype == torch.int16
    pure = known_of([("Fe", 1)])  # a share of 1 is the largest that is kept
    assert KnownCompositions.of_tensors(pure.tensors()).counts(Composition.of_formula("Fe"), 0.02)[0] == 1
