"""Cells, metrics and lines against gemmi."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eg_agent.errors import BadInput
from eg_agent.symmetry import unique_reflections
from eg_agent.verify.lines import blended, dimensions, lattice_lines, merge
from eg_agent.verify.metric import (
    cell_of,
    check_cell,
    hexagonal_axes,
    is_rhombohedral,
    metric_system,
    reciprocal,
    symmetrized,
    tensor,
    volume,
)

LENGTH = st.floats(2.0, 30.0)
ANGLE = st.floats(70.0, 110.0)

CELLS = {
    "cubic": (5.4, 5.4, 5.4, 90.0, 90.0, 90.0),
    "tetragonal": (4.6, 4.6, 2.95, 90.0, 90.0, 90.0),
    "orthorhombic": (8.88, 5.46, 7.16, 90.0, 90.0, 90.0),
    "hexagonal": (4.99, 4.99, 17.06, 90.0, 90.0, 120.0),
    "monoclinic": (5.15, 5.21, 5.32, 90.0, 99.2, 90.0),
    "triclinic": (7.9, 7.3, 7.1, 90.3, 95.2, 103.4),
}
LATTICE = {
    "cubic": "cP",
    "tetragonal": "tP",
    "orthorhombic": "oP",
    "hexagonal": "hP",
    "monoclinic": "mP",
    "triclinic": "aP",
}


@given(LENGTH, LENGTH, LENGTH, ANGLE, ANGLE, ANGLE)
@settings(max_examples=40, deadline=None)
def test_spacings_and_volume_are_gemmis(
    a: float, b: float, c: float, al: float, be: float, ga: float
) -> None:
    cell = (a, b, c, al, be, ga)
    reference = gemmi.UnitCell(*cell)
    hkl = np.array([[1, 0, 0], [0, 2, 0], [1, -2, 3], [4, 1, -1]])
    d = 1.0 / np.sqrt(tensor(hkl) @ reciprocal(cell))
    assert d == pytest.approx([reference.calculate_d([int(v) for v in row]) for row in hkl], rel=1e-9)
    assert volume(cell) == pytest.approx(reference.volume, rel=1e-9)
    assert cell_of(reciprocal(cell)) == pytest.approx(cell, rel=1e-9)


@pytest.mark.parametrize("name", CELLS)
def test_the_system_is_found_and_its_parameters_span_the_metric(name: str) -> None:
    system = metric_system(CELLS[name])
    assert system.name == name
    assert system.primitive == LATTICE[name]
    assert symmetrized(CELLS[name], system) == pytest.approx(CELLS[name])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_unique_axis_is_the_angle_that_is_not_90(axis: int) -> None:
    angles = [90.0, 90.0, 90.0]
    angles[axis] = 97.0
    assert metric_system((5.0, 6.0, 7.0, *angles)).unique_axis == axis


@pytest.mark.parametrize("name", CELLS)
def test_lines_are_the_orbits_of_the_symmetry_package(name: str) -> None:
    """Same spacings and multiplicities as eg_agent.symmetry, coinciding spacings put together."""
    cell = CELLS[name]
    lines = lattice_lines(cell, metric_system(cell), 1.1)
    reference = unique_reflections(cell, LATTICE[name], 1.1)
    d = lines.d(reciprocal(cell))
    assert np.all(np.diff(d) <= 1e-9)
    assert lines.multiplicity.sum() == reference.multiplicity.sum()
    nearest = np.array([np.argmin(np.abs(d - value)) for value in reference.d])
    assert d[nearest] == pytest.approx(reference.d, rel=1e-6)
    sums = np.bincount(nearest, reference.multiplicity, minlength=len(lines))
    np.testing.assert_array_equal(sums, lines.multiplicity)


def test_merging_keeps_members_and_averages_positions() -> None:
    cell = CELLS["orthorhombic"]
    lines = lattice_lines(cell, metric_system(cell), 1.5)
    groups = np.arange(len(lines)) // 2
    merged = merge(lines, groups)
    assert len(merged) == groups[-1] + 1
    assert merged.multiplicity.sum() == lines.multiplicity.sum()
    q = lines.tensor @ reciprocal(cell)
    both = (q[:2] * lines.multiplicity[:2]).sum() / lines.multiplicity[:2].sum()
    assert (merged.tensor @ reciprocal(cell))[0] == pytest.approx(both)


def test_blends_are_no_wider_than_asked() -> None:
    at = np.array([10.0, 10.01, 10.02, 10.05, 11.0])
    groups = blended(at, np.full(5, 0.1), 0.25)
    assert groups.tolist() == [0, 0, 0, 1, 2]


def test_rhombohedral_axes_become_hexagonal_ones() -> None:
    """Calcite: a_R = 6.375 angstrom, alpha = 46.08 degrees is a_H = 4.99, c_H = 17.06."""
    cell = (6.3751, 6.3751, 6.3751, 46.076, 46.076, 46.076)
    assert is_rhombohedral(cell)
    assert not is_rhombohedral(CELLS["cubic"])
    hexagonal = hexagonal_axes(cell)
    assert hexagonal[:3] == pytest.approx((4.989, 4.989, 17.062), abs=3e-3)
    assert volume(hexagonal) == pytest.approx(3.0 * volume(cell), rel=1e-9)


@pytest.mark.parametrize(
    ("cell", "word"),
    [
        ((5.0, 5.0, 5.0, 90.0, 90.0), "numbers"),
        ((5.0, 5.0, float("nan"), 90.0, 90.0, 90.0), "finite"),
        ((0.5, 5.0, 5.0, 90.0, 90.0, 90.0), "angstrom"),
        ((5.0, 5.0, 5.0, 90.0, 190.0, 90.0), "degrees"),
        ((5.0, 5.0, 5.0, 60.0, 60.0, 150.0), "volume"),
    ],
)
def test_an_impossible_cell_is_refused_in_a_sentence(cell: tuple[float, ...], word: str) -> None:
    with pytest.raises(BadInput, match=word):
        check_cell(cell)


@pytest.mark.parametrize(
    ("name", "hkl", "dimension"),
    [
        ("orthorhombic", (1, 2, 3), 3),
        ("orthorhombic", (0, 2, 3), 2),
        ("orthorhombic", (0, 2, 0), 1),
        ("monoclinic", (1, 0, 3), 2),
        ("monoclinic", (0, 2, 0), 1),
        ("monoclinic", (1, 1, 0), 3),
        ("tetragonal", (1, 1, 3), 2),
        ("tetragonal", (0, 0, 4), 1),
        ("hexagonal", (1, 1, 3), 2),
        ("hexagonal", (1, 0, 0), 1),
        ("cubic", (1, 1, 3), 2),
        ("cubic", (2, 2, 2), 1),
        ("cubic", (1, 2, 3), 3),
        ("triclinic", (1, 0, 0), 3),
    ],
)
def test_dimensions_tell_axes_and_zones_from_the_rest(
    name: str, hkl: tuple[int, int, int], dimension: int
) -> None:
    system = metric_system(CELLS[name])
    assert dimensions(np.array([hkl]), system).tolist() == [dimension]
