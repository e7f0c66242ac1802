"""Crystals: operations of any setting, expansion, files, and what is refused."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import gemmi
import numpy as np
import pytest
import spglib

from eg_agent.errors import BadInput
from simulators.crystal import Crystal, metric, operations_from_hall, operations_from_triplets
from simulators.structures import crystal_from_cif, reduced_formula

NACL = """data_NaCl
_cell_length_a 5.64
_cell_length_b 5.64
_cell_length_c 5.64
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'F m -3 m'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
_atom_site_B_iso_or_equiv
Na1 Na+ 0 0 0 0.9 1.2
K1 K+ 0 0 0 0.1 1.2
Cl1 Cl- 0.5 0.5 0.5 1 .
"""


def rutile() -> Crystal:
    return Crystal(
        cell=(4.594, 4.594, 2.959, 90.0, 90.0, 90.0),
        operations=operations_from_hall(419),
        elements=("Ti", "O"),
        fractional=np.array([[0.0, 0.0, 0.0], [0.305, 0.305, 0.0]]),
        occupancy=np.ones(2),
        b_iso=np.array([0.4, 0.6]),
        space_group=136,
        name="rutile",
        formula="O2Ti1",
    )


def test_every_hall_setting_gives_the_operations_and_number_of_its_space_group():
    for hall in range(1, 531):
        operations = operations_from_hall(hall)
        kind = spglib.get_spacegroup_type(hall)
        assert kind is not None
        known = gemmi.find_spacegroup_by_ops(gemmi.symops_from_hall(kind.hall_symbol))
        assert known is not None
        assert known.number == kind.number == operations.space_group
        assert len(operations) == len(list(gemmi.symops_from_hall(kind.hall_symbol)))


def test_expansion_finds_the_atoms_of_the_cell():
    positions, elements, occupancies = rutile().expanded()
    assert Counter(elements) == {"Ti": 2, "O": 4}
    assert occupancies.tolist() == [1.0] * 6
    lattice = np.linalg.cholesky(metric(rutile().cell))
    kinds = [0 if e == "Ti" else 1 for e in elements]
    found = spglib.get_symmetry_dataset((lattice.tolist(), positions.tolist(), kinds), symprec=1e-4)
    assert found is not None
    assert found.number == 136
    assert rutile().stabilisers.tolist() == [8, 4]


def test_triplets_are_completed_to_a_group():
    full = operations_from_triplets(";".join(op.triplet() for op in gemmi.symops_from_hall("-P 2ybc")))
    generated = operations_from_triplets("x,y,z;-x,y+1/2,-z+1/2;-x,-y,-z")
    assert len(full) == len(generated) == 4
    assert generated.space_group == 14


def test_cif_with_mixed_site_charges_and_displacements(tmp_path):
    path = tmp_path / "halite.cif"
    path.write_text(NACL)
    crystal = crystal_from_cif(path)
    assert crystal.space_group == 225
    assert crystal.elements == ("Na", "K", "Cl")
    assert crystal.occupancy.tolist() == [0.9, 0.1, 1.0]
    assert crystal.b_iso[:2] == pytest.approx([1.2, 1.2], rel=1e-4)
    _, elements, _ = crystal.expanded()
    assert Counter(elements) == {"Na": 4, "K": 4, "Cl": 4}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no cif at all", "not a readable CIF"),
        ("data_empty\n_cell_length_a 3\n", "no atom sites"),
        (NACL.replace("_symmetry_space_group_name_H-M 'F m -3 m'", ""), "names no space group"),
        (NACL.replace("Na1 Na+", "Xq1 Xq+"), "unknown elements"),
        (NACL.replace("_cell_length_c 5.64", "_cell_length_c 6.64"), "does not fit the symmetry"),
    ],
)
def test_bad_cif_is_one_clear_sentence(tmp_path, text, message):
    path = tmp_path / "bad.cif"
    path.write_text(text)
    with pytest.raises(BadInput, match=message):
        crystal_from_cif(path)


def test_missing_file_is_bad_input(tmp_path):
    with pytest.raises(BadInput, match="not a readable CIF"):
        crystal_from_cif(tmp_path / "absent.cif")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cell": (4.6, 4.6, -1.0, 90.0, 90.0, 90.0)}, "positive"),
        ({"cell": (4.6, 4.6, 3.0, 10.0, 10.0, 170.0)}, "no cell has the angles"),
        ({"cell": (4.6, 4.9, 3.0, 90.0, 90.0, 90.0)}, "does not fit"),
        ({"occupancy": np.ones(3)}, "arrays of shapes"),
        ({"fractional": np.array([[0.0, 0, np.nan], [0.3, 0.3, 0]])}, "not numbers"),
    ],
)
def test_impossible_crystals_are_refused(change, message):
    with pytest.raises(BadInput, match=message):
        replace(rutile(), **change)


def test_reduced_formula_does_not_depend_on_order_or_multiple():
    assert reduced_formula({"O": 6.0, "Fe": 4.0}) == reduced_formula({"Fe": 2.0, "O": 3.0}) == "Fe2O3"
    assert reduced_formula({"Na": 1.8, "K": 0.2}) == "K1Na9"
