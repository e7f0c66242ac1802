"""Formulas of measured patterns: stated, or those of the mineral that a pattern is named after."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

from eg_agent.chemistry import Composition
from eg_agent.model import Classifier
from trainer.benchmark.composition import Told, Wrong, by_folds, formula_of, mineral_formulas
from trainer.benchmark.data import Case


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


def made_up(n: int = 60) -> Told:
    """Patterns of which the network knows a half and a composition that says the group outright."""
    rng = np.random.default_rng(4)
    groups = rng.integers(1, 100, n)
    cases = [Case(f"p{i}", int(g), 1, "cubic", f"c{i // 2}", "made up", 1.5406) for i, g in enumerate(groups)]
    known = np.zeros((n, 99))
    known[np.arange(n), groups - 1] = np.where(rng.random(n) < 0.5, 6.0, 0.0)
    said = np.zeros((n, 99))
    said[np.arange(n), groups - 1] = 9.0
    log_p = known - np.log(np.exp(known).sum(axis=1, keepdims=True))
    added = {"exact": said, "elements": 0.3 * said}
    there = np.ones(n, dtype=bool)
    match = dict.fromkeys(added, np.zeros(n))
    return Told(cases, [], np.zeros((n, 0)), log_p, log_p, added, match, there, there)


def test_a_composition_counts_where_it_is_right_and_where_it_is_believed():
    told = made_up()
    right = np.array([case.group - 1 for case in told.cases])
    rows = np.arange(len(right))
    wrong = {name: np.roll(said, 7, axis=1) for name, said in told.added.items()}
    believed = np.arange(len(right)) % 3 > 0
    found = by_folds(
        told, Classifier.load(), folds=5, wrong=Wrong(wrong, {"exact": believed, "elements": believed})
    )
    nats = {name: -log_p[rows, right] for name, log_p in found.items()}
    for name, log_p in found.items():
        np.testing.assert_allclose(np.exp(log_p).sum(axis=1), 1.0, atol=1e-9, err_msg=name)
    assert nats["exact"].mean() < nats["elements"].mean() < nats["none"].mean()
    for name in ("exact", "elements"):
        np.testing.assert_array_equal(found[f"{name}_wrong"][~believed], found["none"][~believed])
        assert nats[f"{name}_wrong"][believed].mean() > nats["none"][believed].mean() + 0.5
    without = by_folds(told, Classifier.load(), folds=5)
    assert set(without) == set(found) - {"exact_wrong", "elements_wrong"}
