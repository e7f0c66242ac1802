"""Cells from patterns: simulated crystals of every system, zero shift, impurity, and what has no cell."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import gemmi
import numpy as np
import pytest
import spglib
from hypothesis import given, settings
from hypothesis import strategies as st

from eg_agent.errors import BadInput
from eg_agent.patterns.pattern import Pattern
from eg_agent.patterns.radiation import Radiation
from eg_agent.symmetry import BRAVAIS_LATTICES, groups
from eg_agent.values import from_json, to_json
from eg_agent.verify import index_kernels as kernels
from eg_agent.verify.index_lattice import (
    cell_from_parameters,
    conventional,
    design,
    form_of,
    niggli,
    parameters_of,
)
from eg_agent.verify.index_result import IndexResult
from eg_agent.verify.indexing import index, index_lines, lattice_prior
from eg_agent.verify.metric import reciprocal
from eg_agent.verify.peaks import Peaks, find_peaks

CU = 1.540593

#: Bravais lattice, space group, cell: common substances, cells from their published structures.
SUBSTANCES = {
    "cF silicon": ("cF", 227, (5.4310, 5.4310, 5.4310, 90, 90, 90)),
    "cP LaB6": ("cP", 221, (4.1569, 4.1569, 4.1569, 90, 90, 90)),
    "cI garnet": ("cI", 230, (11.459, 11.459, 11.459, 90, 90, 90)),
    "tP rutile": ("tP", 136, (4.5937, 4.5937, 2.9587, 90, 90, 90)),
    "tI anatase": ("tI", 141, (3.7845, 3.7845, 9.5143, 90, 90, 90)),
    "hP quartz": ("hP", 152, (4.9137, 4.9137, 5.4047, 90, 90, 120)),
    "hR corundum": ("hR", 167, (4.7606, 4.7606, 12.994, 90, 90, 120)),
    "oP aragonite": ("oP", 62, (4.9611, 7.9672, 5.7404, 90, 90, 90)),
    "oC enstatite-like": ("oC", 63, (3.729, 9.081, 10.302, 90, 90, 90)),
    "mP azurite": ("mP", 14, (5.011, 5.850, 10.345, 90, 92.43, 90)),
    "mC diopside": ("mC", 15, (9.746, 8.899, 5.251, 90, 105.63, 90)),
}


def lines(space_group: int, cell: tuple[float, ...], d_min: float) -> tuple[np.ndarray, np.ndarray]:
    """d [k] and intensities [k] of the allowed reflections (gemmi), Wilson intensities by a fixed seed."""
    unit, group = gemmi.UnitCell(*cell), gemmi.find_spacegroup_by_number(space_group)
    hkl = gemmi.make_miller_array(unit, group, d_min)
    d = unit.calculate_d_array(hkl)
    rng = np.random.default_rng(space_group)
    intensity = (0.15 + rng.exponential(size=len(d))) * d**2 * np.exp(-1.0 / d**2)
    return d, intensity


def measured(
    space_group: int,
    cell: tuple[float, ...],
    *,
    zero: float = 0.0,
    foreign: tuple[float, ...] = (),
    counts: float = 20000.0,
    doublet: bool = False,
    seed: int = 3,
) -> Pattern:
    """Poisson counts of pseudo-Voigt lines of 0.08 degrees. zero: degrees; foreign: d of impurity lines."""
    two_theta = np.arange(8.0, 90.0, 0.02)
    d, intensity = lines(space_group, cell, 1.1)
    d = np.concatenate([d, foreign])
    intensity = np.concatenate([intensity, np.full(len(foreign), 0.15 * intensity.max())])
    curve = np.zeros_like(two_theta)
    for wavelength, share in ((CU, 1.0), (1.544427, 0.5 if doublet else 0.0)):
        at = 2 * np.degrees(np.arcsin(wavelength / (2 * d))) + zero
        u = (two_theta[:, None] - at) / 0.08
        shape = 0.5 / (1 + 4 * u * u) + 0.5 * np.exp(-4 * np.log(2) * u * u)
        curve += share * shape @ intensity
    rate = counts * (curve / curve.max() + 0.01 + 0.02 * np.exp(-two_theta / 20))
    radiation = Radiation(CU, 1.544427) if doublet else Radiation(CU)
    return Pattern(two_theta, np.random.default_rng(seed).poisson(rate), radiation, raw_counts=True)


def is_lattice(cell: tuple[float, ...], letter: str, wanted: tuple[float, ...], wanted_letter: str) -> bool:
    """Same reduced cell within 0.4 % and 0.4 degrees (gemmi's reduction of both)."""
    a, b = niggli(tuple(map(float, cell)), letter), niggli(tuple(map(float, wanted)), wanted_letter)
    return bool(np.all(np.abs(a[:3] / b[:3] - 1) < 4e-3) and np.all(np.abs(a[3:] - b[3:]) < 0.4))


@pytest.mark.parametrize("name", SUBSTANCES)
def test_each_system_is_found_first(name: str) -> None:
    lattice, space_group, cell = SUBSTANCES[name]
    found = index(measured(space_group, cell, doublet=True), time_limit=60)
    assert found, "no cell"
    best = found[0]
    assert is_lattice(best.cell, best.lattice[1], cell, lattice[1]), best
    assert best.lattice == lattice
    assert best.n_indexed >= 0.9 * best.n_lines
    assert best.m20 > 20
    assert best.volume == pytest.approx(gemmi.UnitCell(*best.cell).volume, rel=1e-6)


@pytest.mark.parametrize("zero", [-0.08, 0.05])
@pytest.mark.parametrize("name", ["hP quartz", "oP aragonite", "mP azurite"])
def test_a_zero_shift_is_found_with_the_cell(name: str, zero: float) -> None:
    lattice, space_group, cell = SUBSTANCES[name]
    best = index(measured(space_group, cell, zero=zero), time_limit=60)[0]
    assert is_lattice(best.cell, best.lattice[1], cell, lattice[1])
    assert best.zero_shift == pytest.approx(zero, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tP rutile", "hR corundum", "oP aragonite", "mC diopside"])
def test_lines_of_an_impurity_are_left_over(name: str) -> None:
    lattice, space_group, cell = SUBSTANCES[name]
    d, _ = lines(space_group, cell, 1.1)
    foreign = tuple(x for x in (5.931, 3.017, 2.613) if np.abs(d / x - 1).min() > 4e-3)
    assert len(foreign) >= 2
    best = index(measured(space_group, cell, foreign=foreign), time_limit=60)[0]
    assert is_lattice(best.cell, best.lattice[1], cell, lattice[1])
    assert 2 <= best.n_lines - best.n_indexed <= 6


def test_systems_restrict_and_order_the_search() -> None:
    _, space_group, cell = SUBSTANCES["hP quartz"]
    pattern = measured(space_group, cell)
    assert {c.lattice for c in index(pattern, systems=["oP", "tP"], time_limit=60)} <= {"oP", "tP"}
    best = index(pattern, systems=["hP"], time_limit=60)[0]
    assert is_lattice(best.cell, "P", cell, "P")
    with pytest.raises(BadInput, match="no Bravais lattice"):
        index(pattern, systems=["xP"])


def test_no_lines_no_cell_and_the_time_limit_holds() -> None:
    two_theta = np.arange(10.0, 60.0, 0.02)
    flat = Pattern(
        two_theta, np.random.default_rng(0).poisson(100, two_theta.size), Radiation(CU), raw_counts=True
    )
    refused = index(flat)
    assert refused.status == "refused"
    assert len(refused) == 0
    assert "count longer" in refused.reason
    assert refused.none_probability == 1.0
    _, space_group, cell = SUBSTANCES["mP azurite"]
    pattern = measured(space_group, cell)
    hasty = index(pattern, time_limit=0.0)
    assert not hasty.complete
    assert "time limit" in hasty.reason
    assert len(hasty) == 0  # nothing is searched


@pytest.mark.slow
def test_random_lines_are_indexed_by_nothing_sure() -> None:
    """Lines that belong to no lattice: whatever is found explains them far worse than a real cell would."""
    rng = np.random.default_rng(8)
    two_theta = np.sort(rng.uniform(10, 60, 25))
    one = np.ones(25)
    peaks = Peaks(two_theta, 0.01 * one, one, 30 * one, 0.08 * one, CU, False)
    found = index_lines(peaks, time_limit=60)
    assert all(c.n_indexed < 0.85 * c.n_lines or c.score < 25 for c in found)


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(["cP", "cI", "cF", "tP", "tI", "hP", "hR", "oP", "oC", "oI", "oF", "mP", "mC", "aP"]),
    st.tuples(*[st.floats(4, 11)] * 3),
    st.tuples(*[st.floats(78, 105)] * 3),
)
def test_listed_lines_are_all_that_the_lattice_has(
    lattice: str, lengths: tuple[float, ...], angles: tuple[float, ...]
) -> None:
    a, b, c = lengths
    cell = {
        "c": (a, a, a, 90, 90, 90),
        "t": (a, a, c, 90, 90, 90),
        "h": (a, a, c, 90, 90, 120),
        "o": (a, b, c, 90, 90, 90),
        "m": (a, b, c, 90, angles[1], 90),
        "a": (a, b, c, *angles),
    }[lattice[0]]
    form, q_max = form_of(lattice), 0.2
    g = reciprocal(tuple(map(float, cell)))
    x = {
        1: g[:1],
        2: g[[0, 2]],
        3: g[:3],
        4: np.array([g[0], g[1], g[2], 2 * g[4]]),
        6: np.array([g[0], g[1], g[2], 2 * g[3], 2 * g[4], 2 * g[5]]),
    }[form.n_parameters]
    calc, hkl = np.empty(kernels.MOST_LINES), np.empty((kernels.MOST_LINES, 3), dtype=np.int64)
    n = kernels.lines_of(
        kernels.SYSTEMS[form.system], kernels.CENTRINGS[lattice[1]], x.copy(), q_max, calc, hkl
    )
    np.testing.assert_allclose(design(hkl[:n], form.system) @ x, calc[:n], rtol=1e-9)
    symbol = {
        "cP": "P m -3 m", "cI": "I m -3 m", "cF": "F m -3 m", "tP": "P 4/m m m", "tI": "I 4/m m m",
        "hP": "P 6/m m m", "hR": "R -3 m:H", "oP": "P m m m", "oC": "C m m m", "oI": "I m m m",
        "oF": "F m m m", "mP": "P 1 2/m 1", "mC": "C 1 2/m 1", "aP": "P -1",
    }[lattice]  # fmt: skip
    unit, group = gemmi.UnitCell(*cell), gemmi.find_spacegroup_by_name(symbol)
    wanted = 1 / unit.calculate_d_array(gemmi.make_miller_array(unit, group, q_max**-0.5)) ** 2
    far = np.abs(np.concatenate([wanted, calc[:n]]) - q_max) > 1e-6  # a line on the edge may go either way
    assert len(set(np.round(calc[:n][far[len(wanted) :]], 9))) == len(
        set(np.round(wanted[far[: len(wanted)]], 9))
    )
    np.testing.assert_allclose(cell_from_parameters(x, form.system), cell, rtol=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["mP", "mC"]), st.tuples(*[st.floats(4, 20)] * 3), st.floats(40, 140))
def test_conventional_axes_span_the_same_lattice(
    lattice: str, lengths: tuple[float, float, float], beta: float
) -> None:
    cell = (*lengths, 90.0, beta, 90.0)
    found = conventional(cell, lattice)
    assert found[4] >= 90 - 1e-6
    assert found[0] + found[2] <= cell[0] + cell[2] + 1e-6 or beta < 90
    a, b = niggli(cell, lattice[1]), niggli(found, lattice[1])
    np.testing.assert_allclose(a[:3], b[:3], rtol=1e-4)


@pytest.mark.parametrize("name", SUBSTANCES)
def test_niggli_agrees_with_spglib(name: str) -> None:
    lattice, _, cell = SUBSTANCES[name]
    basis = np.array(gemmi.UnitCell(*cell).orth.mat.tolist()).T
    primitive = {
        "P": np.eye(3),
        "F": np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]),
        "I": np.array([[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]]),
        "C": np.array([[0.5, -0.5, 0], [0.5, 0.5, 0], [0, 0, 1]]),
        "R": np.array([[2, 1, 1], [-1, 1, 1], [-1, -2, 1]]) / 3,
    }[lattice[1]]
    reduced = spglib.niggli_reduce(primitive @ basis)
    np.testing.assert_allclose(
        niggli(tuple(map(float, cell)), lattice[1])[:3], np.linalg.norm(reduced, axis=1), rtol=1e-4
    )


def test_the_same_pattern_gives_the_same_cells() -> None:
    pattern = measured(*SUBSTANCES["tI anatase"][1:])
    first, second = index(pattern, time_limit=60), index(replace(pattern), time_limit=60)
    assert replace(first, seconds=0.0) == replace(second, seconds=0.0)


@pytest.mark.parametrize(
    "cell",
    [(5.58, 7.12, 8.14, 77.5, 85.2, 69.8), (7.93, 7.32, 7.07, 90.06, 95.22, 103.4)],
    ids=["oblique", "near monoclinic C"],
)
def test_a_triclinic_cell_is_found_first(cell: tuple[float, ...]) -> None:
    result = index(measured(2, cell, doublet=True), time_limit=60)
    assert result.best is not None
    assert result.best.lattice == "aP"
    assert is_lattice(result.best.cell, "P", cell, "P")
    assert result.best.system == "triclinic"


def test_the_answer_is_a_distribution_with_none_of_these() -> None:
    _, space_group, cell = SUBSTANCES["oP aragonite"]
    result = index(measured(space_group, cell), time_limit=60)
    assert result.status == "indexed"
    total = sum(c.probability for c in result) + result.none_probability
    assert total == pytest.approx(1.0, abs=1e-6)
    assert result[0].log_odds == 0.0
    assert all(a.probability >= b.probability for a, b in pairwise(result.cells))
    assert result.best is not None
    assert result.best.probability > 0.5
    np.testing.assert_allclose(result.best.primitive, niggli(result.best.cell, "P"), rtol=1e-6)
    assert from_json(IndexResult, to_json(result)) == result


def test_what_is_known_of_lattices_weighs_and_orders() -> None:
    _, space_group, cell = SUBSTANCES["oP aragonite"]
    pattern = measured(space_group, cell)
    uniform = index(pattern, time_limit=60)
    against = np.zeros(14)
    against[BRAVAIS_LATTICES.index("oP")] = -3.0
    less = index(pattern, log_lattice=against, time_limit=60)
    mine = [sum(c.probability for c in r if c.lattice == "oP") for r in (uniform, less)]
    assert mine[1] <= mine[0]
    by_group = np.array([-5.0 if entry.bravais == "oP" else 0.0 for entry in groups()])
    prior = lattice_prior(by_group)
    assert prior["oP"] < prior["mP"] <= 0.0
    assert lattice_prior(None) == dict.fromkeys(BRAVAIS_LATTICES, 0.0)
    for wrong in (np.zeros(5), np.full(14, np.nan), np.full(99, -np.inf)):
        with pytest.raises(BadInput, match="14 Bravais lattices or of the 99 groups"):
            lattice_prior(wrong)


@pytest.mark.slow
def test_lines_of_kbeta_are_set_aside() -> None:
    _, space_group, cell = SUBSTANCES["oP aragonite"]
    clean = measured(space_group, cell, counts=40000)
    d, intensity = lines(space_group, cell, 1.1)
    at = 2 * np.degrees(np.arcsin(1.392235 / (2 * d)))
    u = (clean.two_theta[:, None] - at) / 0.08
    shape = 0.5 / (1 + 4 * u * u) + 0.5 * np.exp(-4 * np.log(2) * u * u)
    beta = shape @ intensity
    counts = clean.intensity + np.random.default_rng(2).poisson(0.05 * 40000 * beta / beta.max())
    pattern = replace(clean, intensity=counts)
    peaks = find_peaks(pattern)
    expected = at[intensity > 0.5 * intensity.max()]
    found = peaks.two_theta[peaks.stray]
    assert len(found) >= 2
    assert all(np.abs(at - x).min() < 0.05 for x in found)
    assert sum(np.abs(found - x).min() < 0.05 for x in expected) >= 0.5 * len(expected)
    best = index(pattern, time_limit=60).best
    assert best is not None
    assert is_lattice(best.cell, "P", cell, "P")
    assert not find_peaks(clean).stray.any()


def test_a_superstructure_is_told_from_its_subcell() -> None:
    """Three weak lines beside the strong ones of a subcell: the larger cell has them, the smaller has not."""
    small = (6.95, 6.95, 4.95, 90, 90, 90)
    large = (6.95 * 2**0.5, 6.95 * 2**0.5, 4.95, 90, 90, 90)
    two_theta = np.arange(8.0, 90.0, 0.02)
    d, intensity = lines(123, small, 1.1)
    extra = gemmi.UnitCell(*large).calculate_d_array(np.array([[2, 1, 0], [2, 1, 1], [3, 0, 1], [3, 2, 1]]))
    d, intensity = np.r_[d, extra], np.r_[intensity, np.full(4, 0.04 * intensity.max())]
    u = (two_theta[:, None] - 2 * np.degrees(np.arcsin(CU / (2 * d)))) / 0.08
    curve = (0.5 / (1 + 4 * u * u) + 0.5 * np.exp(-4 * np.log(2) * u * u)) @ intensity
    counts = np.random.default_rng(5).poisson(30000 * (curve / curve.max() + 0.01))
    best = index(Pattern(two_theta, counts, Radiation(CU), raw_counts=True), time_limit=60).best
    assert best is not None
    assert is_lattice(best.cell, best.lattice[1], large, "P")


@pytest.mark.parametrize("lattice", ["mC", "oC", "mP", "aP", "hR"])
@settings(max_examples=15, deadline=None)
@given(st.tuples(*[st.floats(4, 12)] * 3), st.floats(95, 120), st.integers(0, 2))
def test_parameters_of_a_cell_in_another_setting_span_its_lattice(
    lattice: str, lengths: tuple[float, float, float], angle: float, turn: int
) -> None:
    a, b, c = lengths
    cell = {
        "mC": (a, b, c, 90.0, angle, 90.0),
        "mP": (a, b, c, 90.0, angle, 90.0),
        "oC": (a, b, c, 90.0, 90.0, 90.0),
        "aP": (a, b, c, 88.0, angle, 94.0),
        "hR": (a, a, c, 90.0, 90.0, 120.0),
    }[lattice]
    letter = lattice[1]
    if lattice != "hR":  # cyclic axes: C becomes B, then A
        order = [(i + turn) % 3 for i in range(3)]
        cell = tuple(cell[i] for i in order) + tuple(cell[3 + i] for i in order)
        letter = {"C": "CBA"[turn], "P": "P"}[letter]
    target = niggli(cell, letter)
    found = [cell_from_parameters(x, form_of(lattice).system) for x in parameters_of(cell, lattice)]
    assert any(np.allclose(niggli(f, lattice[1])[:3], target[:3], rtol=1e-5) for f in found)


@pytest.mark.parametrize("kind", ["spikes", "steps", "ramp", "wild"])
def test_what_is_no_pattern_is_answered_within_the_bound(kind: str) -> None:
    rng = np.random.default_rng(4)
    two_theta = np.arange(5.0, 120.0, 0.01)
    intensity = {
        "spikes": np.where(rng.random(two_theta.size) < 0.02, 1e4, 1.0),
        "steps": np.floor(two_theta) % 2 * 1000.0,
        "ramp": two_theta * 1e6,
        "wild": rng.standard_cauchy(two_theta.size),
    }[kind]
    result = index(Pattern(two_theta, intensity, Radiation(CU)), time_limit=2.0)
    assert result.status in ("indexed", "no cell", "refused")
    assert result.reason
    assert result.none_probability > 0.5
