"""One sample at full quality: rates, counts, textures, backgrounds, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import voigt_profile

from eg_agent.errors import BadInput
from eg_agent.patterns import Radiation, check
from simulators.background import Background, Hump, Wandering
from simulators.counting import Detector
from simulators.crystal import Crystal, operations_from_hall
from simulators.instrument import Instrument, laboratory, neutron_reactor, synchrotron
from simulators.measurement import expected_counts, expected_rate, simulate
from simulators.scattering import lorentz_polarisation, peak_list
from simulators.specimen import Broadening, Grains, Impurity, Roughness, Specimen, Texture
from simulators.spectrum import emission
from simulators.stephens import AnisotropicStrain

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


def test_wandering_and_holder_shape_the_background():
    axis = np.linspace(5, 120, 2000)
    plain = Background(flat=0.02, air=0.0)
    assert np.allclose(plain.at(axis, 1.54), 0.02)
    holder = Background(flat=0.02, air=0.0, holder=(0.3, -0.2), holder_range=(5.0, 120.0))
    t = np.linspace(-1, 1, 2000)
    assert np.allclose(holder.at(axis, 1.54), 0.02 * (1 + 0.3 * t - 0.2 * (2 * t * t - 1)))
    # the logarithm of the factor is Gaussian, of the standard deviation and the length that were asked for
    draws = np.log([Wandering(0.3, 10.0, seed).at(np.array([30.0, 40.0, 90.0])) for seed in range(3000)])
    assert np.allclose(draws.std(axis=0), 0.3, rtol=0.05)
    correlation = np.corrcoef(draws.T)
    assert correlation[0, 1] == pytest.approx(np.exp(-0.5), abs=0.05)
    assert correlation[0, 2] == pytest.approx(0.0, abs=0.06)
    assert np.exp(draws).mean() == pytest.approx(1.0, abs=0.02)
    stopped = Background(flat=0.0, air=1.0, beam_stop=3.0).at([1.0, 3.0, 20.0], 1.54)
    assert stopped[0] < 0.01
    assert stopped[1] == pytest.approx(0.5 * (5 / 3) ** 1.5)


def test_spectrum_lines_and_where_they_stand(silicon):
    lines = emission(CU, kbeta=0.01, tungsten=0.002)
    assert [line.share for line in lines] == pytest.approx([2 / 3, 1 / 3, 0.02 / 3, 0.004 / 3])
    dirty = Instrument(kbeta=0.02, tungsten=0.01)
    extra = expected_counts(silicon, CU, AXIS, instrument=dirty, specimen=BARE) - expected_counts(
        silicon, CU, AXIS, specimen=BARE
    )
    for wavelength, share in ((1.392235, 0.02), (1.476399, 0.01)):
        where = 2 * np.degrees(np.arcsin(wavelength * np.sqrt(3) / 2 / 5.43088))
        near = np.abs(AXIS - where) < 0.2
        assert AXIS[near][extra[near].argmax()] == pytest.approx(where, abs=0.03)
        assert extra[near].max() == pytest.approx(1000 * share, rel=0.15)
    with pytest.raises(BadInput, match="no known anode"):
        expected_rate(silicon, Radiation(0.82), instrument=dirty)


def test_polarisation_runs_from_a_tube_to_a_synchrotron():
    theta = np.radians([5.0, 22.5, 40.0])
    ratios = [lorentz_polarisation(theta, polarised=p)[1] for p in (0.0, 0.5, 1.0)]
    assert ratios == sorted(ratios)
    alone = 1 / (np.sin(theta) ** 2 * np.cos(theta))
    assert np.allclose(lorentz_polarisation(theta, polarised=1.0), alone)
    # three quarters of the beam perpendicular, one quarter in the plane
    half = alone * (0.75 + 0.25 * np.cos(2 * theta) ** 2)
    assert np.allclose(lorentz_polarisation(theta, polarised=0.5), half)


def test_axial_divergence_moves_low_angles_down_and_is_kept_by_the_flux(quartz):
    rate, plain = (
        expected_rate(quartz, CU1, instrument=i, specimen=BARE, two_theta_max=60)
        for i in (Instrument(s_l=0.03, h_l=0.03), Instrument())
    )
    axis = np.arange(20.0, 22.0, 0.005)
    assert axis[rate(axis).argmax()] < axis[plain(axis).argmax()]
    assert (axis * rate(axis)).sum() / rate(axis).sum() < (axis * plain(axis)).sum() / plain(axis).sum()
    fine = np.arange(10.0, 60.0, 0.002)
    assert rate(fine).max() == pytest.approx(1000.0, rel=0.01)


def test_everything_at_once_is_reproducible_and_changes_the_pattern(silicon, quartz):
    instrument = Instrument(
        s_l=0.02, h_l=0.02, transparency=0.02, kbeta=0.01, tungsten=0.002, overspill=15.0, monochromator=0.8
    )
    specimen = Specimen(
        texture=(Texture((1, 1, 1), 0.7, 0.6), Texture((1, 0, 0), 1.2, 0.2)),
        impurities=(Impurity(quartz, 0.1, (Texture((1, 0, 1), 0.5),), Broadening(size=200.0)),),
        background=Background(humps=(Hump(0.05), Hump(0.03, 3.0, 0.1)), wandering=Wandering()),
        broadening=Broadening(500.0, 5e-4, 0.3, AnisotropicStrain((((4, 0, 0), 1e-9),))),
        grains=Grains(100.0),
        roughness=Roughness(0.5, 0.1),
    )
    mean = expected_counts(silicon, CU, AXIS, instrument=instrument, specimen=specimen)
    again = expected_counts(silicon, CU, AXIS, instrument=instrument, specimen=specimen)
    assert np.array_equal(mean, again)
    assert np.isfinite(mean).all()
    assert (mean > 0).all()
    other = expected_counts(
        silicon, CU, AXIS, instrument=instrument, specimen=replace(specimen, grains=Grains(100.0, seed=1))
    )
    assert not np.allclose(mean, other, rtol=0.01)
    seen = expected_counts(
        silicon, CU, AXIS, instrument=instrument, specimen=specimen, detector=Detector(dead_time=1e-4)
    )
    assert np.allclose(seen, mean / (1 + 1e-4 * mean))
    detector = Detector(full_scale=300.0)
    pattern = simulate(silicon, CU, AXIS, np.random.default_rng(0), specimen=specimen, detector=detector)
    assert pattern.intensity.max() == 300.0


def test_any_step_and_range(silicon):
    for low, high, step in ((2.0, 20.0, 0.002), (5.0, 170.0, 0.05), (27.0, 29.0, 0.01)):
        axis = np.arange(low, high, step)
        instrument = Instrument(u=0.0, v=0.0, w=1e-4, x=0.01, y=0.01)
        radiation = Radiation(0.41) if step < 0.01 else CU
        counts = expected_counts(silicon, radiation, axis, instrument=instrument, specimen=BARE)
        rate = expected_rate(
            silicon, radiation, instrument=instrument, specimen=BARE, two_theta_max=float(axis[-1])
        )
        alone = np.array([rate.peaks(angle)[0] for angle in axis[:: len(axis) // 50]])
        assert np.abs(alone - counts[:: len(axis) // 50]).max() < 1e-4 * counts.max()


def test_a_capillary_has_its_own_geometry(quartz):
    plain = expected_rate(quartz, CU1, instrument=synchrotron(), specimen=BARE, two_theta_max=90)
    absorbing = replace(BARE, mu_r=1.0)
    dark = expected_rate(quartz, CU1, instrument=synchrotron(), specimen=absorbing, two_theta_max=90)
    low, high = (np.abs(plain.position - a).argmin() for a in (20.86, 81.2))
    assert dark.area[high] / dark.area[low] > 1.1 * plain.area[high] / plain.area[low]
    moved = replace(synchrotron(), displacement=0.1)
    assert moved.shifted([90.0])[0] == pytest.approx(90.1)
    assert (
        simulate(
            quartz,
            Radiation(1.909, kind="neutron"),
            AXIS,
            np.random.default_rng(0),
            instrument=neutron_reactor(),
        ).geometry
        == "debye-scherrer"
    )


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
        (lambda _: Instrument(s_l=-0.1), "s_l -0.1 must not be negative"),
        (lambda _: Instrument(s_l=0.4, h_l=0.4), "no axial divergence"),
        (lambda _: Instrument(zero=np.nan), "not a number"),
        (lambda _: Instrument(polarised=1.5), "degree of polarisation"),
        (lambda _: Instrument(geometry="guinier"), "unknown"),  # pyright: ignore[reportArgumentType]
        (lambda _: Instrument(transparency=0.1, geometry="transmission"), "flat samples in reflection"),
        (lambda _: Hump(-1.0), "must not be negative"),
        (lambda _: Wandering(length=0.0), "length > 0"),
        (lambda _: Background(holder=(np.nan,)), "holder needs numbers"),
        (lambda c: expected_counts(c, CU, AXIS, specimen=Specimen(mu_r=1.0)), "in bragg-brentano"),
        (
            lambda c: expected_counts(
                c, CU, AXIS, instrument=synchrotron(), specimen=Specimen(roughness=Roughness(0.5, 0.1))
            ),
            "roughness is of flat samples",
        ),
        (
            lambda c: expected_counts(replace(c, elements=("Foo",)), CU, AXIS),
            "'Foo' is no chemical element",
        ),
        (lambda c: replace(c, cell=(5.4, 5.4, 6.0, 90.0, 90.0, 90.0)), "does not fit the symmetry"),
    ],
)
def test_wrong_input_is_one_sentence(silicon, make, message):
    with pytest.raises(BadInput, match=message):
        make(silicon)
