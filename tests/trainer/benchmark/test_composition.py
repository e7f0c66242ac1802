"""Formulas of measured patterns: stated, or those of the mineral that a pattern is named after."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest

from eg_agent.chemistry import Composition
from trainer.benchmark.composition import formula_of, mineral_formulas


def test_a_stated_formula_goes_before_the_name():
    assert formula_of({"formula": " KCl ", "name": "Halite"}) == "KCl"
    assert formula_of({"formula": "", "name": " halite"}) == "NaCl"
    assert formula_of({"name": "Halite"}) == "NaCl"
    assert formula_of({"formula": "", "name": "no such mineral"}) == ""
    assert formula_of({}) == ""


@pytest.mark.parametrize(
    ("name", "formula"),
    [("hematite Fe2O3", "Fe2O3"), ("ZnO", "ZnO"), ("diamond? C", ""), ("Si", ""), ("rock no. 7", "")],
)
def test_a_name_may_end_in_a_formula(name, formula):
    assert formula_of({"name": name}) == formula


def test_every_ideal_formula_can_be_read():
    for name, formula in mineral_formulas().items():
        assert Composition.of_formula(formula).amounts, name


def test_ideal_formulas_have_the_elements_of_refined_structures(structures):
    """A published structure of the mineral has the elements of its formula; hydrogen is often not refined,
    and minor elements come on top."""
    table = pq.read_table(structures / "minerals.parquet", columns=["mineral", "elements"])
    found: dict[str, list[set[str]]] = {}
    for row in table.to_pylist():
        found.setdefault((row["mineral"] or "").lower(), []).append(set(row["elements"]))
    judged = 0
    for name, formula in mineral_formulas().items():
        if name in found:
            elements = {element for element, _ in Composition.of_formula(formula).amounts} - {"H"}
            assert any(elements <= held for held in found[name]), name
            judged += 1
    if not judged:
        pytest.fail("none of the minerals is in the table: the test says nothing")
