"""Settings against gemmi, spglib and structure factors of random atoms, for all tabulated settings."""

from __future__ import annotations

import itertools
import pickle
from functools import cache

import gemmi
import numpy as np
import pytest
import spglib
from hypothesis import given
from hypothesis import strategies as st

from eg_agent import symmetry
from eg_agent.errors import BadInput
from eg_agent.symmetry import Setting
from eg_agent.symmetry.derive import settings_of_space_group
from eg_agent.symmetry.operators import GRID, Operators

pytestmark = pytest.mark.filterwarnings("ignore:Set OLD_ERROR_HANDLING:DeprecationWarning")  # spglib's own


@cache
def _tabulated() -> tuple[tuple[gemmi.SpaceGroup, Setting], ...]:
    """All of gemmi's settings in conventional cells on our axes, with the setting we find for each."""
    found = [(entry, symmetry.setting_of_space_group(entry)) for entry in _conventional()]
    return tuple(found)


def _conventional() -> list[gemmi.SpaceGroup]:
    """gemmi's settings without rhombohedral axes and without cells larger than need be ("C 4 2 2")."""
    usual = {"aP": "P", "mP": "P", "mC": "ABCI", "oP": "P", "oC": "ABC", "hR": "R"}
    entries = []
    for entry in gemmi.spacegroup_table():
        lattice = symmetry.group(symmetry.group_of_space_group(entry.number)).bravais
        if entry.hm[0] in usual.get(lattice, lattice[1]) and entry.ext != "R":
            entries.append(entry)
    return entries


ALL_SETTINGS = [s for group in symmetry.groups() for s in symmetry.settings(group.number)]


def test_every_reference_setting_is_among_ours() -> None:
    names = {entry.xhm() for entry, _ in _tabulated()}
    for number in range(1, 231):
        assert gemmi.get_spacegroup_reference_setting(number).xhm() in names
    assert len(names) == len(list(gemmi.spacegroup_table())) - 31  # 7 rhombohedral, 24 in larger cells


def test_every_setting_of_ours_is_tabulated() -> None:
    tabulated = {setting for _, setting in _tabulated()}
    for setting in ALL_SETTINGS:
        assert setting in tabulated, setting


def test_structure_factors_vanish_exactly_at_absences() -> None:
    rng = np.random.default_rng(20)
    rows = rng.permutation(len(GRID))[:250]
    special = [np.flatnonzero(mask) for mask in (GRID[:, 0] == 0, GRID[:, 1] == 0, GRID[:, 2] == 0)]
    special.append(np.flatnonzero(GRID[:, 0] == GRID[:, 1]))
    chosen = np.unique(np.concatenate([rows, *(rng.permutation(s)[:120] for s in special)]))
    hkl = GRID[chosen]
    for entry, setting in _tabulated():
        operations = list(entry.operations())
        rotations = np.array([op.rot for op in operations]) / 24
        translations = np.array([op.tran for op in operations]) / 24
        largest = np.zeros(len(hkl))
        for _ in range(2):  # two crystals, so that no F is small by chance in both
            atom = rng.random(3)
            positions = rotations @ atom + translations
            factors = np.exp(2j * np.pi * hkl @ positions.T).sum(axis=1)
            largest = np.maximum(largest, np.abs(factors))
        np.testing.assert_array_equal(largest < 1e-9, setting.absent(hkl), err_msg=entry.xhm())


def test_absences_of_every_hall_setting_of_spglib() -> None:
    for hall in range(1, 531):
        kind = spglib.get_spacegroup_type(hall)
        assert kind is not None
        if kind.choice == "R":
            continue
        data = spglib.get_symmetry_from_database(hall)
        assert data is not None
        translations = np.rint(data["translations"] * 24).astype(int) % 24
        absences = Operators(data["rotations"].astype(int), translations).absent(GRID)
        group = symmetry.group_of_space_group(kind.number)
        matching = [s for s in symmetry.settings(group) if np.array_equal(s.absent(GRID), absences)]
        assert matching, (hall, kind.international_full)


@given(st.sampled_from(range(560)), st.tuples(*[st.integers(-300, 300)] * 3))
def test_absences_against_gemmi(index: int, hkl: tuple[int, int, int]) -> None:
    entry, setting = _tabulated()[index % len(_tabulated())]
    operations = entry.operations()
    h, k, l = hkl  # noqa: E741
    for reflection in (
        hkl,
        (0, k, l),
        (h, 0, l),
        (h, k, 0),
        (h, h, l),
        (h, -h, l),
        (h, 0, 0),
        (0, k, 0),
        (0, 0, l),
    ):
        expected = operations.is_systematically_absent(list(reflection))
        assert setting.absent(np.array([reflection]))[0] == expected, entry.xhm()


@given(
    st.sampled_from(ALL_SETTINGS), st.lists(st.tuples(*[st.integers(-60, 60)] * 3), min_size=1, max_size=20)
)
def test_absences_keep_the_symmetry(setting: Setting, hkl: list[tuple[int, int, int]]) -> None:
    reflections = np.array(hkl)
    reflections[::2, len(hkl) % 3] = 0
    absent = setting.absent(reflections)
    np.testing.assert_array_equal(setting.absent(-reflections), absent)
    index = symmetry.settings(setting.group).index(setting)
    first = symmetry.group(setting.group).space_groups[0]
    for rotation in settings_of_space_group(first)[index].operators.point_group:
        np.testing.assert_array_equal(setting.absent(reflections @ rotation), absent)


def test_settings_are_distinct_and_named() -> None:
    for group in symmetry.groups():
        settings = symmetry.settings(group.number)
        assert len({(s.unique_axis, s.absent(GRID).tobytes()) for s in settings}) == len(settings)
        assert len({s.symbol for s in settings}) == len(settings)
        if group.lattice != "R":
            assert tuple(s.symbol for s in settings) == group.equivalent_symbols
        assert symmetry.standard(group.number) in settings


# Numbers of extinction symbols of International Tables A (table 1.6.4) for one cell: 111 orthorhombic ones
# over all centrings, 14 for a monoclinic cell of given unique axis, 31 tetragonal.
def test_number_of_candidates_by_lattice() -> None:
    def count(*lattices: str) -> int:
        return sum(len(symmetry.settings_of_lattice(lattice)) for lattice in lattices)

    assert count("oP", "oA", "oB", "oC", "oI", "oF") == 111
    assert count("mP", "mA", "mC", "mI") == 14
    assert count("tP", "tI") == 31
    assert count("aP") == 1
    assert count("hP", "hR") == 10
    assert count("cP", "cI", "cF") == 18


@pytest.mark.parametrize("lattice", symmetry.BRAVAIS_LATTICES)
def test_settings_of_lattice(lattice: str) -> None:
    candidates = symmetry.settings_of_lattice(lattice)
    assert [s.group for s in candidates] == sorted(s.group for s in candidates)
    assert {s.lattice for s in candidates} == {lattice}
    free = symmetry.absence_free(lattice)
    assert free in candidates
    assert all((s.absent(GRID) >= free.absent(GRID)).all() for s in candidates)
    centring = {"P": 1, "C": 2, "I": 2, "F": 4, "R": 3}[lattice[1]]
    block = np.array(list(itertools.product(range(6), repeat=3)))
    assert (~free.absent(block)).sum() == len(block) // centring


@pytest.mark.parametrize("axis", ["a", "b", "c"])
def test_unique_axes(axis: str) -> None:
    assert len(symmetry.settings_of_lattice("mP", axis)) == 8
    assert {s.unique_axis for s in symmetry.settings_of_lattice("mP", axis)} == {axis}
    centrings = [c for c in "ABC" if c != "ABC"["abc".index(axis)]]
    for centring in centrings:
        assert len(symmetry.settings_of_lattice(f"m{centring}", axis)) == 2
    with pytest.raises(BadInput, match="cannot be"):
        symmetry.settings_of_lattice(f"m{axis.upper()}", axis)


def test_bad_arguments() -> None:
    with pytest.raises(BadInput, match="unknown lattice 'oR'"):
        symmetry.settings_of_lattice("oR")
    with pytest.raises(BadInput, match="unique axis"):
        symmetry.settings_of_lattice("mP", "x")
    with pytest.raises(BadInput, match="unknown space group"):
        symmetry.setting_of_space_group("P 7")
    with pytest.raises(BadInput, match="not a conventional setting"):
        symmetry.setting_of_space_group("R -3 c:R")
    with pytest.raises(ValueError, match="integers of shape"):
        symmetry.absence_free("oP").absent(np.zeros((2, 3)))


def test_settings_travel_to_worker_processes() -> None:
    setting = symmetry.standard(17)
    copy = pickle.loads(pickle.dumps(setting))
    assert copy == setting
    np.testing.assert_array_equal(copy.absent(GRID), setting.absent(GRID))
