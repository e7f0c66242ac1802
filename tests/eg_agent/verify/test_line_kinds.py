"""Kinds of reflections: what the holohedry makes equivalent is of one kind, by gemmi's operations."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eg_agent.verify.line_kinds import (
    CLASSES,
    FAMILIES,
    N_CLASSES,
    N_KINDS,
    N_PARITIES,
    kinds_of,
    parities_of,
)
from eg_agent.verify.metric import MetricSystem, metric_system

CELLS = {
    "monoclinic": (5.0, 6.0, 7.0, 90.0, 101.0, 90.0),
    "orthorhombic": (5.0, 6.0, 7.0, 90.0, 90.0, 90.0),
    "tetragonal": (5.0, 5.0, 7.0, 90.0, 90.0, 90.0),
    "hexagonal": (5.0, 5.0, 7.0, 90.0, 90.0, 120.0),
    "cubic": (5.0, 5.0, 5.0, 90.0, 90.0, 90.0),
}
HOLOHEDRY = {
    "monoclinic": "P 1 2/m 1",
    "orthorhombic": "P m m m",
    "tetragonal": "P 4/m m m",
    "hexagonal": "P 6/m m m",
    "cubic": "P m -3 m",
}
INDEX = st.integers(-6, 6)


def _system(family: str) -> MetricSystem:
    return metric_system(CELLS[family])


def _kinds(family: str, *hkl: tuple[int, int, int]) -> list[int]:
    return kinds_of(np.array(hkl), _system(family)).tolist()


@given(st.sampled_from(FAMILIES), st.tuples(INDEX, INDEX, INDEX).filter(any))
def test_equivalent_reflections_are_of_one_kind(family: str, hkl: tuple[int, int, int]) -> None:
    operations = gemmi.SpaceGroup(HOLOHEDRY[family]).operations().sym_ops
    images = [tuple(op.apply_to_hkl(list(hkl))) for op in operations]
    kinds = _kinds(family, *images)
    if family in ("monoclinic", "orthorhombic"):
        # no operation exchanges axes here
        assert len(set(kinds)) == 1
    else:
        assert len({int(CLASSES[FAMILIES.index(family), kind]) for kind in kinds}) == 1


@given(st.sampled_from(FAMILIES), st.tuples(INDEX, INDEX, INDEX).filter(any))
def test_how_many_images_says_whether_it_is_an_axis_a_zone_or_general(
    family: str, hkl: tuple[int, int, int]
) -> None:
    operations = gemmi.SpaceGroup(HOLOHEDRY[family]).operations().sym_ops
    images = {tuple(op.apply_to_hkl(list(hkl))) for op in operations}
    (kind,) = _kinds(family, hkl)
    share = len(operations) // len(images)
    # the order of the stabiliser: 1 general, 2 a mirror plane (a twofold axis in the monoclinic system), more
    # on an axis
    if kind == 6:
        assert share == 1
    elif kind >= 3:
        assert share == 2
    else:
        assert share >= (2 if family == "monoclinic" else 4)


@pytest.mark.parametrize(
    ("family", "hkl", "kind"),
    [
        ("monoclinic", (0, 3, 0), 1),
        ("monoclinic", (2, 0, 1), 4),
        ("monoclinic", (2, 0, 0), 4),
        ("monoclinic", (1, 1, 0), 6),
        ("orthorhombic", (4, 0, 0), 0),
        ("orthorhombic", (0, 0, 1), 2),
        ("orthorhombic", (0, 1, 2), 3),
        ("orthorhombic", (1, 0, 2), 4),
        ("orthorhombic", (1, 2, 0), 5),
        ("tetragonal", (0, 2, 0), 0),
        ("tetragonal", (2, 2, 0), 1),
        ("tetragonal", (0, 0, 4), 2),
        ("tetragonal", (0, 1, 3), 3),
        ("tetragonal", (2, 2, 3), 4),
        ("tetragonal", (1, 2, 0), 5),
        ("hexagonal", (1, -1, 0), 0),
        ("hexagonal", (2, -1, 0), 1),
        ("hexagonal", (1, 1, 0), 1),
        ("hexagonal", (0, 0, 3), 2),
        ("hexagonal", (1, -1, 2), 3),
        ("hexagonal", (1, 1, 2), 4),
        ("hexagonal", (-2, 1, 2), 4),
        ("hexagonal", (2, 1, 0), 5),
        ("cubic", (0, 3, 0), 0),
        ("cubic", (0, 3, -3), 1),
        ("cubic", (2, -2, 2), 2),
        ("cubic", (0, 1, 3), 3),
        ("cubic", (1, 3, 3), 4),
        ("cubic", (1, 2, 3), 6),
    ],
)
def test_kinds_by_name(family: str, hkl: tuple[int, int, int], kind: int) -> None:
    assert _kinds(family, hkl) == [kind]


def test_classes_tell_families_and_kinds_apart_where_the_axes_are_not_alike() -> None:
    assert CLASSES.shape == (len(FAMILIES), N_KINDS)
    assert CLASSES.max() < N_CLASSES
    for family, row in zip(FAMILIES, CLASSES, strict=True):
        assert len(set(row.tolist())) == (3 if family in ("monoclinic", "orthorhombic") else N_KINDS)
    assert len(set(CLASSES[0]) & set(CLASSES[1])) == 0


def _parities(family: str, *hkl: tuple[int, ...]) -> np.ndarray:
    found = parities_of(np.array(hkl), _system(family))
    assert found.shape == (len(hkl), N_PARITIES)
    assert set(np.unique(found)) <= {0.0, 1.0}
    return found


@given(st.sampled_from(FAMILIES), st.tuples(INDEX, INDEX, INDEX).filter(any))
def test_equivalent_reflections_are_of_one_sublattice(family: str, hkl: tuple[int, int, int]) -> None:
    operations = gemmi.SpaceGroup(HOLOHEDRY[family]).operations().sym_ops
    found = _parities(family, *(tuple(op.apply_to_hkl(list(hkl))) for op in operations))
    assert (found == found[0]).all()


@given(st.sampled_from(["orthorhombic", "cubic"]), st.tuples(INDEX, INDEX, INDEX), st.permutations([0, 1, 2]))
def test_the_names_of_axes_make_no_other_sublattice(
    family: str, hkl: tuple[int, int, int], order: list[int]
) -> None:
    one, other = _parities(family, hkl, tuple(hkl[i] for i in order))
    assert one.tolist() == other.tolist()


@given(
    st.tuples(INDEX, INDEX, INDEX), st.sampled_from([(1, 1, 0, 1), (1, 0, 1, 1), (0, 1, 1, 0), (2, 1, 1, 1)])
)
def test_another_monoclinic_setting_makes_no_other_sublattice(
    hkl: tuple[int, int, int], net: tuple[int, int, int, int]
) -> None:
    h, k, along = hkl
    p, q, r, s = net
    one, other = _parities("monoclinic", hkl, (p * h + q * along, k, r * h + s * along))
    assert one.tolist() == other.tolist()


@pytest.mark.parametrize(
    ("family", "symbol", "columns"),
    [
        ("cubic", "F m -3 m", [0, 3]),
        ("orthorhombic", "F m m m", [0, 3]),
        ("orthorhombic", "I m m m", [1, 3]),
        ("hexagonal", "R -3 m:H", [4]),
    ],
)
def test_what_centred_lattices_allow_are_sublattices(family: str, symbol: str, columns: list[int]) -> None:
    """gemmi's absences of the centred holohedries; a rhombohedral lattice may be obverse or reverse."""
    operations = gemmi.SpaceGroup(symbol).operations()
    every = [
        (h, k, m) for h in range(-4, 5) for k in range(-4, 5) for m in range(-4, 5) if (h, k, m) != (0, 0, 0)
    ]
    inside = _parities(family, *every)[:, columns].any(axis=1)
    allowed = np.array([not operations.is_systematically_absent(list(hkl)) for hkl in every])
    if family == "hexagonal":
        turned = [not operations.is_systematically_absent([-h, -k, m]) for h, k, m in every]
        allowed |= np.array(turned)
    np.testing.assert_array_equal(inside, allowed)
