"""Shapes of lattices: the same in whatever axes they are written, by numpy's and gemmi's own reductions."""

from __future__ import annotations

import math

import gemmi
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from eg_agent.verify.lattice_shape import N_FEATURES, features, lattice_shape, reduced
from eg_agent.verify.line_kinds import FAMILIES
from eg_agent.verify.metric import metric_system

lengths = st.floats(2.5, 30.0)


@given(a=lengths, b=lengths, c=lengths, order=st.permutations([0, 1, 2]))
def test_the_order_of_orthorhombic_axes_tells_nothing(a: float, b: float, c: float, order: list[int]) -> None:
    edges = (a, b, c)
    # equal axes are a tetragonal lattice, whose fourfold axis is c
    assume(min(abs(x / y - 1.0) for x, y in ((a, b), (b, c), (a, c))) > 1e-3)
    swapped = tuple(edges[i] for i in order)
    one, other = (lattice_shape((*e, 90.0, 90.0, 90.0)) for e in (edges, swapped))
    assert one is not None
    assert other is not None
    np.testing.assert_allclose(values(one), values(other), atol=1e-9)
    assert one.family == other.family


@given(a=lengths, b=lengths, c=lengths, beta=st.floats(90.5, 125.0), which=st.integers(0, 4))
@settings(max_examples=200)
def test_the_setting_of_a_monoclinic_cell_tells_nothing(
    a: float, b: float, c: float, beta: float, which: int
) -> None:
    """P 1 21/c 1, P 1 21/n 1 and P 1 21/a 1, and any unique axis, are one lattice."""
    first = lattice_shape((a, b, c, 90.0, beta, 90.0))
    assert first is not None
    assume(first.family == FAMILIES.index("monoclinic"))
    va = np.array([a, 0.0])
    vc = c * np.array([math.cos(math.radians(beta)), math.sin(math.radians(beta))])
    new_a, new_c = [(va, vc), (vc, va), (va, -va - vc), (va + vc, vc), (va, vc + va)][which]
    la, lc = math.sqrt(new_a @ new_a), math.sqrt(new_c @ new_c)
    angle = math.degrees(math.acos(np.clip(new_a @ new_c / (la * lc), -1.0, 1.0)))
    assume(30.0 < angle < 150.0 and abs(angle - 90.0) > 0.05)
    for cell in (
        (la, b, lc, 90.0, angle, 90.0),
        (la, lc, b, 90.0, 90.0, angle),
        (b, la, lc, angle, 90.0, 90.0),
    ):
        other = lattice_shape(cell)
        assert other is not None
        assume(other.family == first.family)
        np.testing.assert_allclose(values(other), values(first), atol=2e-6)


def test_a_refined_cell_keeps_the_system_that_it_was_refined_in() -> None:
    orthorhombic = metric_system((5.0, 5.1, 7.0, 90.0, 90.0, 90.0))
    monoclinic = metric_system((5.0, 6.0, 7.0, 90.0, 95.0, 90.0))
    for cell, system in (
        ((5.0, 5.0, 7.0, 90.0, 90.0, 90.0), orthorhombic),
        ((5.0, 6.0, 7.0, 90.0, 90.0, 90.0), monoclinic),
    ):
        plain, kept = lattice_shape(cell), lattice_shape(cell, system)
        assert plain is not None
        assert kept is not None
        assert FAMILIES[kept.family] == system.name != FAMILIES[plain.family]


@given(a=lengths, c=lengths, angle=st.floats(31.0, 149.0))
def test_the_reduced_net_is_gemmis(a: float, c: float, angle: float) -> None:
    """With a third axis that is longer than all, Niggli's cell has the two shortest vectors of the net."""
    first, second, cosine = reduced(a, c, angle)
    vector = gemmi.GruberVector(gemmi.UnitCell(a, 200.0, c, 90.0, angle, 90.0), "P", True)
    vector.niggli_reduce()
    found = sorted(vector.get_cell().parameters[:3])
    np.testing.assert_allclose([first, second], found[:2], rtol=1e-6)
    assert 0.0 <= cosine <= 0.5


@pytest.mark.parametrize(
    ("cell", "family", "volume"),
    [
        ((5.4309, 5.4309, 5.4309, 90.0, 90.0, 90.0), "cubic", 160.18),
        ((4.594, 4.594, 2.959, 90.0, 90.0, 90.0), "tetragonal", 62.45),
        ((4.989, 4.989, 17.062, 90.0, 90.0, 120.0), "hexagonal", 367.8),
        # the same calcite in rhombohedral axes
        ((6.3750, 6.3750, 6.3750, 46.07, 46.07, 46.07), "hexagonal", 367.8),
    ],
)
def test_known_cells(cell: tuple[float, ...], family: str, volume: float) -> None:
    shape = lattice_shape(cell)  # type: ignore[arg-type]
    assert shape is not None
    assert FAMILIES[shape.family] == family
    assert math.exp(shape.log_volume) == pytest.approx(volume, rel=2e-3)


def test_a_triclinic_cell_leaves_nothing_to_tell() -> None:
    assert lattice_shape((5.0, 6.0, 7.0, 80.0, 85.0, 95.0)) is None


@given(
    volume=st.floats(0.0, 15.0),
    second=st.floats(-4.0, 4.0),
    third=st.floats(-4.0, 4.0),
    oblique=st.floats(0, 0.5),
    units=st.floats(-20.0, 20.0) | st.just(float("nan")),
)
def test_features_stay_bounded_however_odd_a_cell(
    volume: float, second: float, third: float, oblique: float, units: float
) -> None:
    found = features(np.array([2]), np.array([[volume, second, third, oblique]]), np.array([units]))
    assert found.shape == (1, N_FEATURES)
    assert np.isfinite(found).all()
    assert np.abs(found).max() < 8.0


def values(shape: object) -> list[float]:
    return [getattr(shape, name) for name in ("log_volume", "second", "third", "oblique")]
