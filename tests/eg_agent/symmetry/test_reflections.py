"""Unique reflections against gemmi's asymmetric unit, pymatgen's powder pattern and plain counting."""

from __future__ import annotations

import itertools
from collections import Counter

import gemmi
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eg_agent import symmetry
from eg_agent.errors import BadInput
from eg_agent.symmetry.derive import crystal_system
from eg_agent.symmetry.reflections import d_spacings

CELLS = {
    "triclinic": (4.1, 5.3, 6.2, 81.0, 95.0, 103.0),
    "monoclinic": (5.2, 4.4, 6.1, 90.0, 107.0, 90.0),
    "orthorhombic": (4.3, 5.9, 7.1, 90.0, 90.0, 90.0),
    "tetragonal": (5.2, 5.2, 6.9, 90.0, 90.0, 90.0),
    "trigonal/hexagonal": (5.1, 5.1, 9.7, 90.0, 90.0, 120.0),
    "cubic": (7.3, 7.3, 7.3, 90.0, 90.0, 90.0),
}


@pytest.mark.parametrize("number", range(1, 231))
def test_one_per_laue_orbit_as_gemmi_has_them(number: int) -> None:
    sg = gemmi.get_spacegroup_reference_setting(number)
    cell = CELLS[crystal_system(number)]
    unit_cell = gemmi.UnitCell(*cell)
    ours = symmetry.unique_reflections(
        cell, symmetry.setting_of_space_group(number), 0.95, laue=_laue_symbol(sg)
    )
    theirs = gemmi.make_miller_array(unit_cell, sg, 0.95)
    asu = gemmi.ReciprocalAsu(sg)
    operations = sg.operations()
    in_asu = {tuple(asu.to_asu(hkl.tolist(), operations)[0]) for hkl in ours.hkl}
    assert len(in_asu) == len(ours)
    assert in_asu == {tuple(hkl) for hkl in theirs.tolist()}
    np.testing.assert_allclose(ours.d, [unit_cell.calculate_d(h) for h in ours.hkl.tolist()], rtol=1e-9)
    assert (np.diff(ours.d) <= 1e-9).all()
    everything = gemmi.make_miller_array(unit_cell, sg, 0.95, unique=False)
    assert ours.multiplicity.sum() == len(everything)
    order = len({tuple(map(tuple, op.rot)) for op in operations.derive_symmorphic().sym_ops})
    friedel = 1 if sg.is_centrosymmetric() else 2
    epsilon = [operations.epsilon_factor_without_centering(h) for h in ours.hkl.tolist()]
    centric = [operations.is_reflection_centric(h) for h in ours.hkl.tolist()]
    expected = [order * (1 if c else friedel) // e for c, e in zip(centric, epsilon)]
    np.testing.assert_array_equal(ours.multiplicity, expected)


def _laue_symbol(sg: gemmi.SpaceGroup) -> str:
    symbol = sg.laue_str()
    if symbol == "-3m":  # the two orientations of its twofold axes
        return (
            "-31m"
            if sg.point_group_hm() in ("312", "31m", "-31m") or sg.number in _SECOND_SETTING
            else "-3m1"
        )
    return symbol


# Trigonal space groups whose point group is 3 1 2, 3 1 m or -3 1 m.
_SECOND_SETTING = {149, 151, 153, 157, 159, 162, 163}


@pytest.mark.parametrize("lattice", symmetry.BRAVAIS_LATTICES)
def test_metric_orbits_by_plain_counting(lattice: str) -> None:
    system = {"a": "triclinic", "m": "monoclinic", "o": "orthorhombic", "t": "tetragonal", "c": "cubic"}
    cell = CELLS[system.get(lattice[0], "trigonal/hexagonal")]
    block = np.array([h for h in itertools.product(range(-9, 10), repeat=3) if any(h)])
    d = d_spacings(cell, block)
    block, d = block[d >= 1.05], d[d >= 1.05]
    for setting in symmetry.settings_of_lattice(lattice):
        ours = symmetry.unique_reflections(cell, setting, 1.05)
        kept = ~setting.absent(block)
        assert not setting.absent(ours.hkl).any()
        # These cells have no coincidences beyond symmetry, so that lines are told apart by d alone
        # (cubic ones like 333 and 511 excepted, whose counts add up).
        by_d = Counter(np.round(d[kept], 9).tolist())
        mine: Counter[float] = Counter()
        for value, m in zip(np.round(ours.d, 9).tolist(), ours.multiplicity.tolist()):
            mine[value] += m
        assert mine == by_d, setting


@pytest.mark.parametrize(
    ("symbol", "system"),
    [("Pnma", "orthorhombic"), ("Pa-3", "cubic"), ("R-3c", "trigonal/hexagonal"), ("P2_1/c", "monoclinic")],
)
def test_powder_lines_of_pymatgen(symbol: str, system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    diffraction = pytest.importorskip("pymatgen.analysis.diffraction.xrd")
    core = pytest.importorskip("pymatgen.core")
    cell = CELLS[system]
    structure = core.Structure.from_spacegroup(
        symbol, core.Lattice.from_parameters(*cell), ["Si", "Cs"], [[0.11, 0.23, 0.37], [0.42, 0.07, 0.13]]
    )
    calculator = diffraction.XRDCalculator(wavelength=1.0)
    base = type(calculator).__mro__[1]
    monkeypatch.setattr(base, "SCALED_INTENSITY_TOL", 1e-9)  # keep weak lines
    pattern = calculator.get_pattern(structure, scaled=False, two_theta_range=(0, 50))
    ours = symmetry.unique_reflections(
        cell, symmetry.setting_of_space_group(symbol.replace("_", "")), 1 / (2 * np.sin(np.radians(25)))
    )
    # Lines only: pymatgen counts permutations of |h|, |k|, |l| as one family, absent ones included.
    theirs = np.array(pattern.d_hkls)
    assert np.abs(ours.d[:, None] - theirs).min(axis=1).max() < 1e-5  # it merges lines that are closer
    assert np.abs(ours.d[:, None] - theirs).min(axis=0).max() < 1e-5
    assert len(np.unique(np.round(ours.d, 5))) >= len(theirs)


def test_representatives_are_the_usual_ones() -> None:
    fcc = symmetry.unique_reflections((5.64,) * 3 + (90.0,) * 3, "cF", 1.4)
    assert fcc.hkl.tolist() == [[1, 1, 1], [2, 0, 0], [2, 2, 0], [3, 1, 1], [2, 2, 2], [4, 0, 0]]
    assert fcc.multiplicity.tolist() == [8, 6, 12, 24, 8, 6]
    corundum = symmetry.unique_reflections(
        (4.759, 4.759, 12.991, 90, 90, 120), symmetry.setting_of_space_group(167), 1.59
    )
    # The first lines of PDF 46-1212; 00.6 is weak but allowed.
    assert corundum.hkl.tolist() == [
        [0, 1, 2],
        [1, 0, 4],
        [1, 1, 0],
        [0, 0, 6],
        [1, 1, 3],
        [2, 0, 2],
        [0, 2, 4],
        [1, 1, 6],
    ]


def test_orbits_that_are_partly_absent_keep_their_allowed_half() -> None:
    # P a -3: of the 24 reflections of the form 012, the twelve like 2 1 0 are there and those like 1 2 0 not.
    pyrite = symmetry.unique_reflections((5.4,) * 3 + (90.0,) * 3, symmetry.setting_of_space_group(205), 2.0)
    found = {tuple(h): int(m) for h, m in zip(pyrite.hkl.tolist(), pyrite.multiplicity)}
    assert found[(2, 1, 0)] == 12
    assert (1, 0, 0) not in found
    assert (1, 1, 0) not in found


@given(
    st.sampled_from(range(1, 231)),
    st.tuples(*[st.floats(3.0, 12.0)] * 3),
    st.floats(75.0, 115.0),
    st.floats(1.2, 2.5),
)
@settings(max_examples=60, deadline=None)
def test_range_and_completeness(
    number: int, lengths: tuple[float, float, float], beta: float, d_min: float
) -> None:
    system = crystal_system(number)
    a, b, c = lengths
    cell = {
        "triclinic": (a, b, c, 85.0, beta, 100.0),
        "monoclinic": (a, b, c, 90.0, beta, 90.0),
        "orthorhombic": (a, b, c, 90.0, 90.0, 90.0),
        "tetragonal": (a, a, c, 90.0, 90.0, 90.0),
        "trigonal/hexagonal": (a, a, c, 90.0, 90.0, 120.0),
        "cubic": (a, a, a, 90.0, 90.0, 90.0),
    }[system]
    setting = symmetry.setting_of_space_group(number)
    d_max = 2.5 * d_min
    ours = symmetry.unique_reflections(cell, setting, d_min, d_max)
    assert (ours.d >= d_min * (1 - 1e-8)).all()
    assert (ours.d <= d_max * (1 + 1e-8)).all()
    unit_cell = gemmi.UnitCell(*cell)
    sg = gemmi.get_spacegroup_reference_setting(number)
    full = gemmi.make_miller_array(unit_cell, sg, 0.99 * d_min, unique=False)
    d = np.array([unit_cell.calculate_d(h) for h in full.tolist()])

    def inside(values: np.ndarray) -> np.ndarray:  # clear of the two ends, where rounding decides
        return (values > d_min * (1 + 1e-6)) & (values < d_max * (1 - 1e-6))

    assert ours.multiplicity[inside(ours.d)].sum() == inside(d).sum()


@pytest.mark.parametrize(
    ("cell", "lattice", "d_min", "message"),
    [
        ((4, 5, 6, 90, 90, 90), "tP", 1.0, "does not fit lattice tP"),
        ((4, 4, 6, 90, 90, 90), "hP", 1.0, "on hexagonal axes"),
        ((4, 5, 6, 90, 90, 100), "mP", 1.0, "unique axis b"),
        ((4, 5, 6, 90, 90, 90), "oP", 0.0, "d_min"),
        ((4, 5, 6, 90, 90), "oP", 1.0, "impossible cell"),
        ((4, 5, -6, 90, 90, 90), "oP", 1.0, "impossible cell"),
        ((4, 5, 6, 10, 80, 170), "aP", 1.0, "no three axes"),
        ((4, 5, float("nan"), 90, 90, 90), "oP", 1.0, "impossible cell"),
    ],
)
def test_refusals(cell: tuple[float, ...], lattice: str, d_min: float, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        symmetry.unique_reflections(cell, lattice, d_min)


def test_laue_class_must_fit() -> None:
    with pytest.raises(BadInput, match="not a symmetry"):
        symmetry.unique_reflections((4, 5, 6, 90, 90, 90), "oP", 1.0, laue="m-3")
    with pytest.raises(BadInput, match="unknown Laue class"):
        symmetry.unique_reflections((4, 5, 6, 90, 90, 90), "oP", 1.0, laue="mmmm")


def test_nothing_in_range() -> None:
    empty = symmetry.unique_reflections((4, 5, 6, 90, 90, 90), "oI", 6.5)
    assert len(empty) == 0
    assert empty.hkl.shape == (0, 3)


def test_other_unique_axes_of_a_monoclinic_cell() -> None:
    a, b, c, beta = 5.2, 4.4, 6.1, 107.0
    cells = {"b": (a, b, c, 90, beta, 90), "c": (c, a, b, 90, 90, beta), "a": (b, c, a, beta, 90, 90)}
    lines = {
        axis: symmetry.unique_reflections(cell, symmetry.absence_free("mP", axis), 1.0)
        for axis, cell in cells.items()
    }
    for axis in "ac":
        np.testing.assert_allclose(lines[axis].d, lines["b"].d)
        np.testing.assert_array_equal(lines[axis].multiplicity, lines["b"].multiplicity)
