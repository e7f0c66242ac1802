"""The three sources behind one interface."""

from __future__ import annotations

import numpy as np
import pytest

from eg_agent.errors import BadInput
from eg_agent.symmetry import groups
from simulators.crystal import Crystal, operations_from_hall
from simulators.crystal_source import CrystalSource, RealSource, found_group, keeps_group
from simulators.perturbation import Perturbation
from simulators.pyxtal_source import PyXtalSource, complete_elements
from simulators.structures import computed_crystals, mineral_crystals
from simulators.wyckoff.source import WyckoffSource

CIF = """data_{name}
_cell_length_a 4.123
_cell_length_b 4.123
_cell_length_c 4.123
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P m -3 m'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
A {first} 0 0 0
B Cl 0.5 0.5 0.5
"""


@pytest.fixture(scope="module")
def cifs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cifs")
    for name in ("Cs", "Tl"):
        (folder / f"{name}.cif").write_text(CIF.format(name=name, first=name))
    return folder


def test_all_sources_share_one_interface(cifs):
    for source in (RealSource(cifs), RealSource(cifs, Perturbation()), PyXtalSource(), WyckoffSource()):
        assert isinstance(source, CrystalSource)
        one, again, other = source.crystal(4, 2), source.crystal(4, 2), source.crystal(5, 2)
        assert one.cell == again.cell
        assert np.array_equal(one.fractional, again.fractional)
        assert one.elements == again.elements
        assert found_group(one) == one.group
        assert isinstance(other, Crystal)


def test_real_structures_are_drawn_from_the_whole_folder(cifs):
    source = RealSource(cifs)
    assert len(source) == 2
    assert {source.crystal(1, i).elements[0] for i in range(20)} == {"Cs", "Tl"}
    plain = {source.crystal(1, i).cell for i in range(20)}
    assert len(plain) == 1
    moved = RealSource(cifs, Perturbation())
    assert len({moved.crystal(1, i).cell for i in range(20)}) == 20


def test_real_structures_of_the_tables_keep_their_group_when_perturbed(structures):
    source = RealSource(structures, Perturbation())
    assert len(source) > 70_000
    found = [source.crystal(1, i) for i in range(60)]
    assert all(keeps_group(c) for c in found)
    assert len({c.group for c in found}) > 12


def test_spglib_confirms_the_tables(structures):
    """A sample of each table; 99.9 % of the minerals and 100 % of the computed ones keep their group."""
    computed = list(computed_crystals(structures / "materials_project.parquet", 30_000, 30_150))
    assert all(keeps_group(c) for c in computed)
    minerals = list(mineral_crystals(structures / "minerals.parquet", 0, 150))
    assert all(keeps_group(c) for c in minerals)


@pytest.mark.parametrize("group", [1, 8, 20, 47, 60, 72, 78, 82, 97])
def test_pyxtal_crystals_have_their_group_and_a_general_orbit(group):
    source = PyXtalSource((group,))
    for index in range(2):
        crystal = source.crystal(1, index)
        assert crystal.group == found_group(crystal) == group
        assert crystal.space_group in groups()[group - 1].space_groups
        assert (crystal.stabilisers == 1).any()
        assert set(crystal.elements) <= set(complete_elements())


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("group", range(1, 100))
def test_spglib_confirms_fifty_pyxtal_crystals(group):
    source = PyXtalSource((group,))
    crystals = [source.crystal(11, index) for index in range(50)]
    assert [found_group(c) for c in crystals] == [group] * 50
    assert all((c.stabilisers == 1).any() for c in crystals)


def test_wrong_symmetry_is_not_kept():
    """Caesium chloride called P 4/n m m (a group with absences) is found out."""
    cubic = Crystal(
        (4.0, 4.0, 4.0, 90.0, 90.0, 90.0), operations_from_hall(1), ("Cs", "Cl"),
        np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]]), np.ones(2), np.ones(2), 129,
    )  # fmt: skip
    assert not keeps_group(cubic)


def test_unknown_elements_are_one_sentence():
    with pytest.raises(BadInput, match="'Xx' is no chemical element"):
        Crystal(
            (4.0, 4.0, 4.0, 90.0, 90.0, 90.0), operations_from_hall(1), ("Xx",), np.zeros((1, 3)),
            np.ones(1), np.ones(1), 1,
        )  # fmt: skip


def test_wrong_input_is_one_sentence(tmp_path, cifs):
    with pytest.raises(BadInput, match="does not fit the symmetry"):
        Crystal(
            (4.0, 5.0, 4.0, 90.0, 90.0, 90.0), operations_from_hall(517), ("Cs",), np.zeros((1, 3)),
            np.ones(1), np.ones(1), 221,
        )  # fmt: skip
    with pytest.raises(BadInput, match="holds no structures"):
        RealSource(tmp_path)
    with pytest.raises(BadInput, match="is not a folder"):
        RealSource(tmp_path / "absent")
    with pytest.raises(BadInput, match="must be 0 or more"):
        RealSource(cifs).crystal(0, -1)
    with pytest.raises(BadInput, match="not between 1 and 99"):
        PyXtalSource((100,))
