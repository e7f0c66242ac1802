"""Peak lists against gemmi, pymatgen and a direct sum over every reflection and atom."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest
from pymatgen.analysis.diffraction.xrd import XRDCalculator
from pymatgen.core import Lattice, Structure

from eg_agent.errors import BadInput
from eg_agent.symmetry import groups
from simulators.crystal import Crystal, metric, operations_from_hall
from simulators.random_crystals import random_crystal
from simulators.scattering import form_factors, laue_unique, lorentz_polarisation, peak_list


def quartz() -> Crystal:
    """Left-handed alpha quartz: no inversion, screw axes, oxygen on the general position."""
    return Crystal(
        cell=(4.9134, 4.9134, 5.4052, 90.0, 90.0, 120.0),
        operations=operations_from_hall(443),
        elements=("Si", "O"),
        fractional=np.array([[0.4699, 0.0, 0.66666667], [0.4141, 0.2681, 0.7854]]),
        occupancy=np.ones(2),
        b_iso=np.array([0.5, 0.9]),
        space_group=154,
        name="quartz",
    )


def _gemmi_structure(crystal: Crystal) -> gemmi.SmallStructure:
    """The crystal as P1 in gemmi, so that nothing of our symmetry is used."""
    small = gemmi.SmallStructure()
    small.cell = gemmi.UnitCell(*crystal.cell)
    small.spacegroup_hm = "P 1"
    small.determine_and_set_spacegroup("h")
    b_of = dict(zip(crystal.elements, crystal.b_iso))
    positions, elements, occupancies = crystal.expanded()
    for index, (xyz, element, occupancy) in enumerate(zip(positions, elements, occupancies)):
        site = gemmi.SmallStructure.Site()
        site.label, site.type_symbol, site.element = f"{element}{index}", element, gemmi.Element(element)
        site.fract, site.occ = gemmi.Fractional(*xyz), float(occupancy)
        site.u_iso = float(b_of[element]) / (8 * np.pi**2)
        small.add_site(site)
    small.setup_cell_images()
    return small


def test_structure_factors_agree_with_gemmi():
    crystal = quartz()
    peaks = peak_list(crystal, 0.8)
    small = _gemmi_structure(crystal)
    calculator = gemmi.StructureFactorCalculatorX(small.cell)
    expected = [
        abs(calculator.calculate_sf_from_small_structure(small, [int(v) for v in hkl])) ** 2
        for hkl in peaks.hkl
    ]
    # gemmi's sum is in single precision
    assert np.allclose(peaks.f2, expected, rtol=2e-4, atol=1e-4 * max(expected))


def test_anomalous_terms_are_averaged_over_friedel_pairs():
    crystal = quartz()
    peaks = peak_list(crystal, 1.0, wavelength=2.29)
    positions, elements, _ = crystal.expanded()
    real, imaginary = form_factors(("O", "Si"), 0.5 / peaks.d, "x-ray", 2.29)
    b = {"Si": 0.5, "O": 0.9}
    total = np.zeros(len(peaks))
    for sign in (1, -1):
        f = np.zeros(len(peaks), dtype=complex)
        for xyz, element in zip(positions, elements):
            row = ("O", "Si").index(element)
            damping = np.exp(-b[element] * (0.5 / peaks.d) ** 2)
            f += (real[row] + 1j * imaginary[row]) * damping * np.exp(2j * np.pi * sign * (peaks.hkl @ xyz))
        total += np.abs(f) ** 2 / 2
    assert np.allclose(peaks.f2, total, rtol=1e-6, atol=1e-6 * total.max())


def test_positions_and_intensities_agree_with_pymatgen():
    crystal = quartz()
    positions, elements, _ = crystal.expanded()
    structure = Structure(Lattice.from_parameters(*crystal.cell), elements, positions)
    debye = {"Si": 0.5, "O": 0.9}
    pattern = XRDCalculator(1.540593, debye_waller_factors=debye).get_pattern(
        structure, two_theta_range=(5, 90)
    )
    peaks = peak_list(crystal, 1.540593 / 2 / np.sin(np.radians(45)))
    theta = np.arcsin(1.540593 / 2 / peaks.d)
    ours = peaks.f2 * peaks.multiplicity * lorentz_polarisation(theta)
    angles = np.degrees(2 * theta)
    merged = np.array([ours[np.abs(angles - x) < 1e-3].sum() for x in pattern.x])
    # pymatgen has its own table of form factors, so intensities agree less well than positions
    assert np.abs(merged / merged.max() * 100 - pattern.y).max() < 1.5
    strong = ours > 1e-4 * ours.max()
    nearest = np.abs(angles[strong][:, None] - pattern.x).min(axis=1)
    assert nearest.max() < 1e-3


def test_form_factors_that_match_give_intensities_that_match_pymatgen(monkeypatch):
    from pymatgen.analysis.diffraction.xrd import ATOMIC_SCATTERING_PARAMS

    def theirs(elements, s, kind, wavelength):
        rows = []
        for element in elements:
            table = np.array(ATOMIC_SCATTERING_PARAMS[element])
            number = gemmi.Element(element).atomic_number
            falloff = (table[:, :1] * np.exp(-table[:, 1:] * s**2)).sum(axis=0)
            rows.append(number - 41.78214 * s**2 * falloff)
        return np.array(rows), np.zeros(len(elements))

    monkeypatch.setattr("simulators.scattering.form_factors", theirs)
    crystal = quartz()
    positions, elements, _ = crystal.expanded()
    structure = Structure(Lattice.from_parameters(*crystal.cell), elements, positions)
    calculator = XRDCalculator(1.540593, debye_waller_factors={"Si": 0.5, "O": 0.9})
    pattern = calculator.get_pattern(structure, two_theta_range=(5, 90))
    peaks = peak_list(crystal, 1.540593 / 2 / np.sin(np.radians(45)))
    theta = np.arcsin(1.540593 / 2 / peaks.d)
    ours = peaks.f2 * peaks.multiplicity * lorentz_polarisation(theta)
    merged = np.array([ours[np.abs(np.degrees(2 * theta) - x) < 1e-3].sum() for x in pattern.x])
    assert np.allclose(merged / merged.max() * 100, pattern.y, rtol=1e-3, atol=1e-4)


def _direct(crystal: Crystal, d_min: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every reflection of the whole sphere, its d and |F|^2 from the expanded cell: no symmetry used."""
    g_star = np.linalg.inv(metric(crystal.cell))
    limit = np.floor(np.sqrt(metric(crystal.cell).diagonal()) / d_min).astype(int)
    axes = [np.arange(-n, n + 1) for n in limit]
    hkl = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    inverse_d2 = np.einsum("ni,ij,nj->n", hkl, g_star, hkl)
    keep = (inverse_d2 > 1e-12) & (inverse_d2 <= d_min**-2)
    hkl, d = hkl[keep], inverse_d2[keep] ** -0.5
    positions, elements, _ = crystal.expanded()
    names = tuple(sorted(set(elements)))
    real, _ = form_factors(names, 0.5 / d, "x-ray", None)
    f = np.zeros(len(d), dtype=complex)
    for xyz, element in zip(positions, elements):
        f += real[names.index(element)] * np.exp(2j * np.pi * (hkl @ xyz))
    return hkl, d, np.abs(f) ** 2


@pytest.mark.parametrize("group", range(1, 100))
def test_every_group_agrees_with_a_sum_over_the_whole_sphere(group):
    """Absent reflections are zero, multiplicities count the orbits, and nothing is left out."""
    rng = np.random.default_rng(group)
    space_group = int(rng.choice(groups()[group - 1].space_groups))
    crystal = random_crystal(space_group, rng, max_atoms=30)
    crystal = Crystal(
        crystal.cell, crystal.operations, crystal.elements, crystal.fractional, crystal.occupancy,
        np.zeros(len(crystal.elements)), crystal.space_group,
    )  # fmt: skip
    assert crystal.group == group
    d_min = 0.22 * crystal.volume ** (1 / 3)  # some 400 reflections whatever the cell
    hkl, d, f2 = _direct(crystal, d_min)
    peaks = peak_list(crystal, d_min)
    assert peaks.multiplicity.sum() + int((f2 < 1e-9 * f2.max()).sum()) >= len(hkl)
    laue = np.concatenate([crystal.operations.laue_rotations, -crystal.operations.laue_rotations])
    where = {tuple(h): i for i, h in enumerate(hkl.tolist())}
    seen = np.zeros(len(hkl), dtype=bool)
    for representative, multiplicity, spacing, value in zip(peaks.hkl, peaks.multiplicity, peaks.d, peaks.f2):
        orbit = {tuple(h) for h in (representative @ laue).tolist()}
        assert len(orbit) == multiplicity
        rows = [where[h] for h in orbit]
        assert not seen[rows].any()
        seen[rows] = True
        assert np.allclose(d[rows], spacing, rtol=1e-9)
        assert np.mean(f2[rows]) == pytest.approx(value, rel=1e-6, abs=1e-7 * f2.max())
    assert (f2[~seen] < 1e-9 * f2.max()).all()


def test_neutrons_scatter_by_their_lengths():
    crystal = quartz()
    peaks = peak_list(crystal, 1.0, "neutron")
    positions, elements, _ = crystal.expanded()
    length = {"Si": 4.1491, "O": 5.803}  # fm, Sears, Neutron News 3 (1992) 26
    f = np.zeros(len(peaks), dtype=complex)
    for xyz, element in zip(positions, elements):
        b = {"Si": 0.5, "O": 0.9}[element]
        f += length[element] * np.exp(-b * (0.5 / peaks.d) ** 2) * np.exp(2j * np.pi * (peaks.hkl @ xyz))
    assert np.allclose(peaks.f2, np.abs(f) ** 2, rtol=2e-3, atol=1e-3 * peaks.f2.max())


@pytest.mark.parametrize(
    ("element", "wavelength", "first", "second"),
    [  # International Tables C (1992), table 4.2.6.8
        ("C", 1.540562, 0.0181, 0.0091),
        ("O", 1.540562, 0.0492, 0.0322),
        ("Si", 1.540562, 0.2541, 0.3302),
        ("Fe", 1.540562, -1.1336, 3.1974),
        ("Cu", 1.540562, -1.9646, 0.5888),
        ("Si", 0.709260, 0.0817, 0.0704),
        ("Fe", 0.709260, 0.3463, 0.8444),
        ("Cu", 0.709260, 0.3201, 1.2651),
        ("Br", 0.709260, -0.2901, 2.4595),
    ],
)
def test_dispersion_corrections_are_those_of_the_tables(element, wavelength, first, second):
    s = np.array([0.0, 0.3])
    plain, none = form_factors((element,), s, "x-ray", None)
    real, imaginary = form_factors((element,), s, "x-ray", wavelength)
    assert (none == 0).all()
    assert np.allclose(real - plain, first, atol=0.01)
    assert imaginary[0] == pytest.approx(second, abs=0.005)
    assert plain[0, 0] == pytest.approx(gemmi.Element(element).atomic_number, abs=0.02)


@pytest.mark.parametrize(
    ("element", "length"),  # Sears, Neutron News 3 (1992) 26, fm
    [("H", -3.739), ("D", 6.671), ("Li", -1.90), ("V", -0.3824), ("Ti", -3.438), ("Ni", 10.3), ("U", 8.417)],
)
def test_neutron_lengths_are_those_of_the_tables(element, length):
    real, imaginary = form_factors((element,), np.array([0.1, 0.6]), "neutron", None)
    assert np.allclose(real, length, rtol=1e-3)
    assert (imaginary == 0).all()


@pytest.mark.parametrize(("kind", "element"), [("x-ray", "Foo"), ("neutron", "Foo"), ("neutron", "At")])
def test_an_unknown_element_is_one_sentence(kind, element):
    with pytest.raises(BadInput, match=f"for '{element}'"):
        form_factors((element,), np.array([0.1]), kind, 1.54)


def test_range_of_spacings_is_kept():
    crystal = quartz()
    _, _, d = laue_unique(crystal.cell, crystal.operations, 1.2, 3.0)
    _, _, everything = laue_unique(crystal.cell, crystal.operations, 1.2)
    assert d.tolist() == everything[everything <= 3.0].tolist()
    assert (np.diff(d) <= 0).all()


def test_wrong_arguments_are_one_sentence():
    crystal = quartz()
    with pytest.raises(BadInput, match="must be positive"):
        peak_list(crystal, 0.0)
    with pytest.raises(BadInput, match="too many reflections"):
        peak_list(crystal, 0.005)
