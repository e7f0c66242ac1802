"""Compositions: what people write, and what cannot be one. Amounts are checked against pymatgen's parser."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Composition as Reference

from eg_agent.chemistry import MAX_ELEMENTS, Composition
from eg_agent.errors import BadInput

SYMBOLS = [gemmi.Element(z).name for z in range(1, 104)]
AMOUNTS = st.dictionaries(st.sampled_from(SYMBOLS), st.integers(1, 200), min_size=1, max_size=MAX_ELEMENTS)


@pytest.mark.parametrize(
    "text",
    ["Ca3Al2Si3O12", "Ca3Al2(SiO4)3", "Mg(OH)2", "Fe0.4Mg1.6SiO4", "K2[PtCl6]", "H24 C20 N8 O16", "Co", "CO"],
)
def test_formulas_read_as_pymatgen_reads_them(text: str):
    found = dict(Composition.of_formula(text).amounts)
    assert found == pytest.approx({str(e): a for e, a in Reference(text).items()})


def test_hydrates_charges_and_printed_subscripts():
    gypsum = Composition.of_formula("CaSO4·2H2O")
    assert gypsum == Composition.of_formula("CaSO4.2H2O") == Composition.of_formula("CaSO₄ * 2 H₂O")
    assert dict(gypsum.amounts) == {"Ca": 1, "S": 1, "O": 6, "H": 4}
    assert Composition.of_formula("Fe3+2O3") == Composition.of_formula("Fe2O3")
    assert Composition.of_formula("D2O") == Composition.of_formula("H2O")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Xx2O", "'Xx', which is no element"),
        ("", "empty"),
        ("   ", "empty"),
        ("-Ca2O", "cannot be read at"),
        ("Ca-2O", "cannot be read at"),
        ("Ca0O", "above 0"),
        ("(Mg,Fe)2SiO4", "cannot be read at"),
        ("Ca(OH", "does not close"),
        ("CaOH)2", "not opened"),
        ("SO42-", "cannot be read at"),
        ("quartz", "cannot be read at"),
        ("2", "cannot be read at"),
    ],
)
def test_what_is_no_composition_is_said(text: str, said: str):
    with pytest.raises(BadInput, match=said):
        Composition.of_formula(text)


def test_elements_alone():
    known = Composition.of_elements("Ca, Al,Si O")
    assert known.elements == ("Al", "Ca", "O", "Si")
    assert not known.exact
    assert known == Composition.of_formula("Ca3Al2Si3O12").without_amounts()
    assert str(known) == "Al, Ca, O, Si"
    for text, said in (("", "no element is named"), ("Ca2,O", "'Ca2' is no element"), ("ca,o", "no element")):
        with pytest.raises(BadInput, match=said):
            Composition.of_elements(text)


@pytest.mark.parametrize("amount", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_amounts(amount: float):
    with pytest.raises(BadInput, match="above 0"):
        Composition.of_amounts({"Ca": amount, "O": 1.0})


def test_too_many_elements_are_no_phase():
    with pytest.raises(BadInput, match="any one phase"):
        Composition.of_amounts(dict.fromkeys(SYMBOLS[: MAX_ELEMENTS + 1], 1.0))


@given(AMOUNTS)
def test_written_and_read_again(amounts: dict[str, int]):
    composition = Composition.of_amounts(amounts)
    again = Composition.of_formula(str(composition))
    assert again.elements == composition.elements
    assert np.allclose(again.fractions, composition.fractions, atol=1e-9)
    assert composition.fractions.sum() == pytest.approx(1.0)


@given(AMOUNTS, st.integers(2, 9))
def test_a_common_factor_means_the_same(amounts: dict[str, int], factor: int):
    one = Composition.of_amounts(amounts)
    many = Composition.of_amounts({symbol: amount * factor for symbol, amount in amounts.items()})
    assert str(one) == str(many)
    assert np.allclose(one.fractions, many.fractions)
