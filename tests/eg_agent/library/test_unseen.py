"""Formulas, reduced cells, novelty and starting cells."""

from __future__ import annotations

import math

import gemmi
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Composition, Lattice

from eg_agent.errors import BadInput
from eg_agent.library import candidate_cells, novelty
from eg_agent.library.cells import near_cells, niggli
from eg_agent.library.formula import reduced_formula
from trainer.library.building import library_of_corpus


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Mg(OH)2", "H2Mg1O2"),
        ("Zn(CO3)", "C1O3Zn1"),
        ("Cu1+Fe3+O2", "Cu1Fe1O2"),
        ("Fe2+Fe3+2O4", "Fe3O4"),
        ("C12 H22 O11", "C12H22O11"),
        ("CaSO4·2H2O", "Ca1H4O6S1"),
        ("CaSO4.2H2O", "Ca1H4O6S1"),
        ("Na2(SO4)·10(H2O)", "H20Na2O14S1"),
        ("Ca10(PO4)6(OH)2", "Ca5H1O13P3"),
        ("Si2O4", "O2Si1"),
        ("K0.5Na0.5NbO3", "K1Na1Nb2O6"),
        ("D2O", "H2O1"),
        ("(Mg,Fe)2SiO4", None),
        ("KCl-NaCl", None),
        ("Qz2", None),
        ("Mg(OH", None),
        ("unknown", None),
        ("", None),
    ],
)
def test_formulas_people_write(text: str, expected: str | None) -> None:
    assert reduced_formula(text) == expected


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["Ca", "C", "O", "H", "Si", "Fe", "Cl", "N"]), st.integers(1, 24), min_size=1
    )
)
def test_integer_formulas_agree_with_pymatgen(amounts: dict[str, int]) -> None:
    found = reduced_formula("".join(f"{e}{n}" for e, n in amounts.items()))
    assert found is not None
    same = Composition(found)
    assert same.fractional_composition.almost_equals(Composition(amounts).fractional_composition)
    assert math.gcd(*(round(v) for v in same.get_el_amt_dict().values())) == 1


def _cells() -> st.SearchStrategy[tuple[float, ...]]:
    length = st.floats(3.0, 15.0)
    angle = st.floats(65.0, 115.0)
    return st.tuples(length, length, length, angle, angle, angle).filter(
        lambda c: gemmi.UnitCell(*c).volume > 0.4 * c[0] * c[1] * c[2]
    )


@settings(max_examples=40, deadline=None)
@given(cell=_cells())
def test_reduced_cells_agree_with_pymatgen(cell) -> None:
    expected = Lattice.from_parameters(*cell).get_niggli_reduced_lattice()
    np.testing.assert_allclose(sorted(niggli(cell)[:3]), sorted(expected.lengths), rtol=1e-4)


@settings(max_examples=40, deadline=None)
@given(cell=_cells(), seed=st.integers(0, 1000))
def test_a_lattice_is_recognised_in_any_basis_and_slightly_strained(cell, seed: int) -> None:
    rng = np.random.default_rng(seed)
    change = np.eye(3)
    for _ in range(3):
        i, j = rng.permutation(3)[:2]
        change[i] += rng.choice([-1, 1]) * change[j]
    grown = Lattice.from_parameters(*cell).matrix * (1.0 + rng.uniform(-0.01, 0.01))
    other = Lattice(change @ grown)
    assert near_cells(niggli(other.parameters), np.array([niggli(cell)])).tolist() == [0]


def test_other_lattices_are_other_lattices() -> None:
    rock_salt = niggli((5.64, 5.64, 5.64, 90, 90, 90), "F")
    assert rock_salt[:3] == pytest.approx([5.64 / np.sqrt(2)] * 3)
    others = np.array([niggli((5.64, 5.64, 5.64, 90, 90, 90)), niggli((5.9, 5.9, 5.9, 90, 90, 90), "F")])
    assert not len(near_cells(rock_salt, others))
    with pytest.raises(BadInput, match="no volume"):
        niggli((5.0, 5.0, 5.0, 150.0, 150.0, 150.0))
    with pytest.raises(BadInput, match="centring"):
        niggli((5.0, 5.0, 5.0, 90.0, 90.0, 90.0), "X")


def _without(corpus, row: int):
    return library_of_corpus(corpus, np.delete(np.arange(len(corpus)), row))


def test_a_compound_is_seen_by_each_criterion_alone(library, corpus, crystals, measured) -> None:
    row = len(crystals) - 3
    pattern = measured(crystals[row], scale=1.02)
    kept, gone = novelty(library, pattern), novelty(_without(corpus, row), pattern)
    assert kept.seen_by == ("pattern",)
    assert kept.matches["pattern"] == library.ids[row] == kept.nearest
    assert kept.similarity > 0.9
    assert kept.tried == ("pattern",)
    assert gone.similarity < kept.similarity
    assert gone.score == pytest.approx(1.0 - gone.similarity)
    strange = measured(crystals[row], two_theta=(8.0, 85.0), seed=3)
    absent = _without(corpus, row)
    assert "formula" in novelty(absent, strange, formula="S2Fe").seen_by
    assert "name" in novelty(absent, strange, name=library.ids[0].upper()).seen_by
    cell = corpus.cell[0]
    assert "cell" in novelty(absent, strange, cell=cell * np.array([1.01, 1.01, 1.01, 1, 1, 1])).seen_by
    nothing = novelty(absent, strange, formula="XeF6", name="nothing", cell=(31, 37, 41, 90, 90, 90))
    assert set(nothing.tried) == {"formula", "name", "cell", "pattern"}
    assert not {"formula", "name", "cell"} & set(nothing.seen_by)


def test_starting_cells_fit_the_sample_and_differ(library, crystals, measured) -> None:
    row = next(i for i, c in enumerate(crystals) if c.space_group == 62)
    strain = (0.01, -0.008, 0.004)
    found = candidate_cells(library.search(measured(crystals[row], strain=strain)), 4)
    true = np.array(crystals[row].cell[:3]) * (1.0 + np.array(strain))
    np.testing.assert_allclose(found[0].cell[:3], true, rtol=2e-3)
    assert found[0].cell[3:] == pytest.approx((90.0, 90.0, 90.0), abs=1e-9)
    assert 1 <= len(found) <= 4
    reduced = [niggli(c.cell) for c in found]
    for i, cell in enumerate(reduced[1:], start=1):
        assert not len(near_cells(cell, np.array(reduced[:i]), length=0.005, angle=0.5))
    assert [c.similarity for c in found] == sorted((c.similarity for c in found), reverse=True)
    assert candidate_cells(library.search(measured(crystals[row])), least=1.1) == ()
