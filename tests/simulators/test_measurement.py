"""One sample at full quality: rates, counts, textures, backgrounds, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import voigt_profile

from eg_agent.errors import BadInput
from eg_agent.patterns import Radiation, check
from simulators.background import Background, Hump
from simulators.crystal import Crystal, operations_from_hall
from simulators.instrument import Instrument, laboratory, synchrotron
from simulators.measurement import expected_counts, expected_rate, simulate
from simulators.scattering import lorentz_polarisation, peak_list
from simulators.specimen import Specimen, Texture

CU = Radiation.anode("Cu")
CU1 = Radiation.anode("Cu", kalpha2=False)
AXIS = np.arange(10.0, 90.0, 0.02)
BARE = Specimen(background=Background(flat=0.0, air=0.0))


@pytest.fixture(scope="module")
def silicon() -> Crystal:
    return Crystal(
        cell=(5.43088, 5.43088, 5.43088, 90.0, 90.0, 90.0),
        operations=operations_from_hall(525),
        elements=("Si",),
        fractional=np.array([[0.0, 0.0, 0.0]]),
        occupancy=np.ones(1),
        b_iso=np.array([0.46]),
        space_group=227,
        name="silicon",
        formula="Si1",
    )


@pytest.fixture(scope="module")
def quartz() -> Crystal:
    return Crystal(
        cell=(4.9134, 4.9134, 5.4052, 90.0, 90.0, 120.0),
        operations=operations_from_hall(443),
        elements=("Si", "O"),
        fractional=np.array([[0.4699, 0.0, 0.66666667], [0.4141, 0.2681, 0.7854]]),
        occupancy=np.ones(2),
        b_iso=np.array([0.5, 0.9]),
        space_group=154,
        name="quartz",
        formula="O2Si1",
    )


def test_silicon_lines_stand_where_the_standard_has_them(silicon):
    """Certified angles of NIST SRM 640 (a = 5.43088 angstrom, Cu K-alpha1)."""
    rate = expected_rate(silicon, CU1, specimen=BARE, instrument=synchrotron(), two_theta_max=90)
    for angle in (28.443, 47.304, 56.124, 69.132, 76.379, 88.033):
        window = angle + np.linspace(-0.2, 0.2, 4001)
        assert window[rate(window).argmax()] == pytest.approx(angle, abs=0.003)


def test_profile_is_a_voigt_of_the_instruments_widths(silicon):
    instrument = Instrument(u=0.01, v=-0.003, w=0.006, x=0.02, y=0.05)
    rate = expected_rate(silicon, CU1, specimen=BARE, instrument=instrument, two_theta_max=50)
    centre = rate.position[np.abs(rate.position - 47.3).argmin()]
    tangent, cosine = np.tan(np.radians(centre / 2)), np.cos(np.radians(centre / 2))
    sigma = np.sqrt(0.01 * tangent**2 - 0.003 * tangent + 0.006) / 2.354820
    gamma = (0.02 / cosine + 0.05 * tangent) / 2
    x = centre + np.linspace(-1, 1, 401)
    shape = voigt_profile(x - centre, sigma, gamma)
    got = rate(x)
    assert np.abs(got / got.max() - shape / shape.max()).max() < 2e-3  # tails of the neighbours


def test_doublet_splits_by_braggs_law_at_two_to_one(silicon):
    rate = expected_rate(silicon, CU, specimen=BARE, two_theta_max=90)
    d = 5.43088 / np.sqrt(24)
    first, second = (2 * np.degrees(np.arcsin(w / 2 / d)) for w in CU.wavelengths)
    near = {a: np.abs(rate.position - a).argmin() for a in (first, second)}
    assert rate.position[near[first]] == pytest.approx(first, abs=1e-6)
    assert rate.position[near[second]] == pytest.approx(second, abs=1e-6)
    assert rate.area[near[second]] / rate.area[near[first]] == pytest.approx(0.5, abs=0.01)


def test_peak_rate_is_the_highest_peak_above_background(quartz):
    counts = expected_counts(quartz, CU, AXIS, peak_rate=2500.0, specimen=BARE)
    assert counts.max() == pytest.approx(2500.0, rel=0.02)
    with_background = expected_counts(
        quartz, CU, AXIS, peak_rate=2500.0, specimen=Specimen(background=Background(flat=0.1, air=0.0))
    )
    assert np.allclose(with_background - counts, 250.0)
    assert np.allclose(
        expected_counts(quartz, CU, AXIS, seconds=7.0, specimen=BARE, peak_rate=2500.0), 7 * counts
    )


def test_counts_are_poisson(silicon):
    axis = np.linspace(27.5, 29.5, 200)
    mean = expected_counts(silicon, CU, axis, peak_rate=300)
    rng = np.random.default_rng(1)
    counts = np.array([simulate(silicon, CU, axis, rng, peak_rate=300).intensity for _ in range(400)])
    assert np.allclose(counts.mean(0), mean, atol=5 * np.sqrt(mean / 400).max())
    assert (counts.var(0, ddof=1) / mean).mean() == pytest.approx(1.0, abs=0.02)
    assert (counts == np.rint(counts)).all()


@pytest.mark.parametrize(
    "radiation",
    [CU, Radiation.anode("Mo"), Radiation(0.5), Radiation(1.8, kind="neutron"), Radiation.anode("Cr")],
)
def test_any_radiation_gives_a_pattern_that_passes_the_checks(quartz, radiation):
    pattern = simulate(quartz, radiation, AXIS, np.random.default_rng(2), seconds=5)
    assert check(pattern) is not None
    assert pattern.raw_counts
    assert pattern.counting_time is not None
    assert (pattern.counting_time == 5).all()
    assert pattern.source.kind == "simulation"


def test_zero_and_displacement_move_every_line(silicon):
    shifted = Instrument(zero=0.05, displacement=-0.1)
    moved, plain = (
        expected_rate(silicon, CU1, instrument=i, two_theta_max=90) for i in (shifted, Instrument())
    )
    expected = 0.05 - 0.1 * np.cos(np.radians(plain.position / 2))
    assert np.allclose(moved.position - plain.position, expected)


def test_impurities_stand_at_their_share(silicon, quartz):
    specimen = Specimen(impurities=((quartz, 0.05),), background=BARE.background)
    mixed = expected_counts(silicon, CU1, AXIS, specimen=specimen)
    extra = mixed - expected_counts(silicon, CU1, AXIS, specimen=BARE)
    assert extra.max() == pytest.approx(50.0, rel=0.02)
    assert AXIS[extra.argmax()] == pytest.approx(26.64, abs=0.03)  # quartz 101


def test_texture_agrees_with_a_sum_over_equivalents_and_conserves_intensity(quartz):
    peaks = peak_list(quartz, 1.2)
    g_star = np.linalg.inv(
        np.array([[24.1415, -12.07075, 0], [-12.07075, 24.1415, 0], [0, 0, 29.2162]])
    )  # of 4.9134, 5.4052
    texture = Texture((1, 0, 0), 0.6)
    factors = texture.factors(quartz.cell, quartz.operations, peaks.hkl)
    for hkl, factor in zip(peaks.hkl[:12], factors):
        values = []
        for rotation in quartz.operations.rotations:
            h = hkl @ rotation
            cosine = h @ g_star @ [1, 0, 0] / np.sqrt((h @ g_star @ h) * g_star[0, 0])
            values.append((0.36 * cosine**2 + (1 - cosine**2) / 0.6) ** -1.5)
        assert factor == pytest.approx(np.mean(values), rel=1e-4)
    # March's distribution is normalised: over all directions the factor averages to 1
    cosine = (np.arange(20_000) + 0.5) / 20_000
    assert np.mean((0.36 * cosine**2 + (1 - cosine**2) / 0.6) ** -1.5) == pytest.approx(1.0, abs=1e-6)


def test_texture_of_a_pattern_follows_its_factors(quartz):
    plain = expected_rate(quartz, CU1, specimen=BARE, two_theta_max=60)
    oriented = expected_rate(
        quartz,
        CU1,
        specimen=Specimen(texture=Texture((1, 0, 0), 0.5), background=BARE.background),
        two_theta_max=60,
    )
    at = [np.abs(plain.position - a).argmin() for a in (20.86, 26.64)]  # 100 and 101
    assert oriented.area[at[0]] / oriented.area[at[1]] > 2 * plain.area[at[0]] / plain.area[at[1]]


def test_backgrounds():
    background = Background(flat=0.02, air=0.1, humps=(Hump(0.3, d=4.0, width=0.1),))
    angle = 2 * np.degrees(np.arcsin(1.5406 / 8.0))
    assert background.at([angle], 1.5406)[0] == pytest.approx(0.02 + 0.1 * (5 / angle) ** 1.5 + 0.3)
    assert background.at([5.0], 1.5406)[0] > background.at([8.0], 1.5406)[0]


def test_monochromator_takes_from_high_angles():
    theta = np.radians([10.0, 45.0])
    plain = lorentz_polarisation(theta)
    with_graphite = lorentz_polarisation(theta, monochromator=0.8)
    alone = lorentz_polarisation(theta, polarised=True)
    assert plain[1] / plain[0] == pytest.approx(
        alone[1] / alone[0] * 0.5 / ((1 + np.cos(theta[0] * 2) ** 2) / 2)
    )
    assert with_graphite[1] / with_graphite[0] > plain[1] / plain[0]


def test_presets_are_as_wide_as_they_say():
    gauss, lorentz = laboratory().widths([30.0])
    whole = 0.5346 * lorentz + np.sqrt(0.2166 * lorentz**2 + gauss**2)
    assert whole[0] == pytest.approx(0.09, abs=0.01)
    gauss, lorentz = synchrotron().widths([10.0])
    whole = 0.5346 * lorentz + np.sqrt(0.2166 * lorentz**2 + gauss**2)
    assert whole[0] == pytest.approx(0.015, abs=0.005)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda c: expected_counts(c, CU, []), "empty"),
        (lambda c: expected_counts(c, CU, [20.0, 19.0]), "must increase"),
        (lambda c: expected_counts(c, CU, [20.0, 190.0]), "between 0 and 180"),
        (lambda c: expected_counts(c, CU, [20.0, 30.0], seconds=-1), "counting times"),
        (lambda c: expected_counts(c, CU, [20.0, 30.0], peak_rate=0), "peak_rate"),
        (lambda c: expected_counts(c, CU, [5.0, 10.0]), "no peak below 10 degrees"),
        (lambda c: expected_rate(c, CU, two_theta_max=180), "two_theta_max"),
        (lambda _: Instrument(w=-0.1), "not positive at every angle"),
        (lambda _: Instrument(u=0.001, v=-0.1, w=0.001), "not positive at every angle"),
        (lambda _: Instrument(x=-0.1), "must not be negative"),
        (lambda _: Texture((0, 0, 1), 0.0), "must be above 0"),
        (lambda _: Texture((0, 0, 0), 1.0), "no direction"),
        (lambda _: Background(flat=-1), "must not be negative"),
        (lambda c: Specimen(impurities=((c, -0.1),)), "share"),
    ],
)
def test_wrong_input_is_one_sentence(silicon, make, message):
    with pytest.raises(BadInput, match=message):
        make(silicon)
