"""Which runs are one compound, and which are the benchmark's."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eg_agent.library.cells import niggli
from trainer.benchmark.data import Folder
from trainer.retrain.compounds import Benchmark, Known, formula_of, names, niggli_of
from trainer.retrain.recent import judges


def cell(*lengths: float):
    return niggli((*lengths, 90.0, 90.0, 90.0))


def test_the_formula_tells_then_name_and_cell():
    known = [
        Known("Na1Cl1", "a", cell(5.64, 5.64, 5.64)),
        Known("Na1Cl1", "b", cell(5.70, 5.70, 5.70)),
        Known("K1Cl1", "c", cell(5.65, 5.65, 5.65)),  # another formula: another compound, whatever its cell
        Known("", "", cell(4.0, 7.0, 11.0)),
        Known("", "mine", cell(4.02, 7.05, 11.1)),  # within 3 %
        Known("", "MINE", None),
        Known("", "", cell(4.4, 7.0, 11.0)),  # 10 % off
        Known("", "", None),
    ]
    found = names(known)
    assert found[0] == found[1] == "Na1Cl1"
    assert found[2] == "K1Cl1"
    assert found[3] == found[4] == found[5]
    assert len({found[2], found[3], found[6], found[7]}) == 4


def test_a_cell_without_a_formula_joins_the_one_with():
    known = [Known("Na1Cl1", "", cell(5.64, 5.64, 5.64)), Known("", "x", cell(5.66, 5.66, 5.66))]
    assert names(known) == ["Na1Cl1", "Na1Cl1"]


@given(st.permutations(range(6)))
@settings(max_examples=30, deadline=None)
def test_the_order_of_runs_does_not_matter(order):
    known = [
        Known("A1", "x", None),
        Known("", "x", cell(4.0, 5.0, 6.0)),
        Known("", "", cell(4.01, 5.01, 6.01)),
        Known("B1", "", None),
        Known("", "y", None),
        Known("", "Y", cell(9.0, 9.0, 12.0)),
    ]
    expected = names(known)
    found = names([known[i] for i in order])
    assert found == [expected[i] for i in order]


@given(st.text(min_size=1), st.floats(0.05, 0.95))
def test_a_compound_has_one_side_for_good(compound, share):
    assert judges(compound, share) == judges(compound, share)
    assert judges(compound, 1.0)
    assert not judges(compound, 0.0)
    assert judges(compound, share) <= judges(compound, min(1.0, share + 0.05))


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ({"formula": "Mg(OH)2"}, "H2Mg1O2"),
        ({"sample": {"name": "x", "composition": "Fe2O3"}}, "Fe2O3"),
        ({"formula": "(Mg,Fe)2SiO4"}, ""),
        ({"formula": 3}, ""),
        ({"sample": "NaCl"}, ""),
    ],
)
def test_formulas_of_start_documents(start, expected):
    assert formula_of(start) == expected


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Two benchmark rows, one with a formula and one with a cell alone, and a row outside."""
    columns = (
        "id,name,formula,sg_number,eg_number,crystal_system,a,b,c,alpha,beta,gamma,wavelength,compound,source"
    )
    rows = [
        "halite,halite,NaCl,225,80,cubic,5.64,5.64,5.64,90,90,90,1.54,c1,X",
        "strange,strangite,,62,10,orthorhombic,4.0,7.0,11.0,90,90,90,1.54,c2,X",
        "other,otherite,KBr,225,80,cubic,6.6,6.6,6.6,90,90,90,1.54,c3,X",
    ]
    with (tmp_path / "index.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*columns.split(","), "benchmark", "known_cell"])
        for row, inside in zip(rows, ("True", "True", "False")):
            writer.writerow([*row.split(","), inside, "True"])
    np.savez(tmp_path / "patterns.npz", halite=np.ones((2, 5)))
    return Folder(tmp_path)


def test_benchmark_compounds_are_known_by_formula_name_or_cell(folder):
    benchmark = Benchmark(folder)
    assert benchmark.holds(Known("Cl1Na1"))
    assert benchmark.holds(Known("", "Strangite"))
    assert benchmark.holds(Known("", "", cell(4.05, 7.05, 11.1)))
    assert benchmark.holds(Known("Zr1", "", cell(4.05, 7.05, 11.1)))  # the row has no formula to differ in
    assert not benchmark.holds(Known("Br1K1", "", cell(6.6, 6.6, 6.6)))
    # the same cell and another formula, where both are known: another compound
    assert not benchmark.holds(Known("Ag1Br1", "", niggli_of((5.65, 5.65, 5.65, 90.0, 90.0, 90.0), 99)))
    assert not benchmark.holds(Known())
