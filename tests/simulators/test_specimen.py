"""Texture against an average over orientations, widths, grains, roughness, and what a specimen refuses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eg_agent.errors import BadInput
from simulators.crystal import metric, operations_from_hall
from simulators.scattering import laue_unique
from simulators.specimen import (
    Broadening,
    Grains,
    Impurity,
    Roughness,
    Specimen,
    Texture,
    march,
    texture_factors,
)
from simulators.stephens import AnisotropicStrain
from simulators.textbook import textbook

QUARTZ = ((4.9134, 4.9134, 5.4052, 90.0, 90.0, 120.0), operations_from_hall(443))
GYPSUM = ((5.68, 15.2, 6.52, 90.0, 118.4, 90.0), operations_from_hall(61))
SPINEL = ((8.08, 8.08, 8.08, 90.0, 90.0, 90.0), operations_from_hall(525))


def sphere(count: int) -> np.ndarray:
    """Even directions (a Fibonacci lattice) [count, 3]."""
    index = np.arange(count) + 0.5
    z, turn = 1 - 2 * index / count, np.pi * (1 + 5**0.5) * index
    ring = np.sqrt(1 - z * z)
    return np.stack([ring * np.cos(turn), ring * np.sin(turn), z], axis=1)


@pytest.mark.parametrize(
    ("sample", "axis", "r"),
    [
        (QUARTZ, (1, 0, 0), 0.6),
        (GYPSUM, (0, 1, 0), 0.5),
        (SPINEL, (1, 1, 1), 1.6),
        (QUARTZ, (1, 0, 1), 1.4),
    ],
)
def test_texture_agrees_with_an_average_over_orientations(sample, axis, r):
    """Crystallites in all orientations, by the direction of the specimen's normal seen from the crystal.

    Each counts as March's density of its axis; a reflection is seen by those whose plane normal, of any
    equivalent, lies within 1.5 degrees of the specimen's normal.
    """
    cell, operations = sample
    reciprocal = np.linalg.cholesky(np.linalg.inv(metric(cell)))  # rows: a*, b*, c*
    normal = sphere(1_500_000)
    pole = np.array(axis) @ reciprocal
    weight = march((normal @ (pole / np.linalg.norm(pole))) ** 2, r)
    hkl, _, _ = laue_unique(cell, operations, 2.2)
    hkl = hkl[:4]
    factors = texture_factors((Texture(axis, r),), cell, operations, hkl)
    for reflection, factor in zip(hkl, factors):
        members = np.unique(
            np.concatenate([reflection @ operations.rotations, -(reflection @ operations.rotations)]), axis=0
        )
        seen = []
        for member in members[: len(members) // 2]:  # a Friedel pair sees the same crystallites
            direction = member @ reciprocal
            near = np.abs(normal @ (direction / np.linalg.norm(direction))) > np.cos(np.radians(1.5))
            seen.append(weight[near].mean())
        assert factor == pytest.approx(np.mean(seen), rel=0.01)


@settings(max_examples=30, deadline=None)
@given(r=st.floats(0.3, 3.0), second=st.floats(0.3, 3.0), share=st.floats(0.0, 1.0))
def test_textures_mix_by_their_shares(r, second, share):
    cell, operations = QUARTZ
    hkl, _, _ = laue_unique(cell, operations, 1.5)
    one, two = Texture((0, 0, 1), r, share), Texture((1, 0, 0), second, 0.5 * (1 - share))
    mixed = texture_factors((one, two), cell, operations, hkl)
    expected = share * one.factors(cell, operations, hkl) + 0.5 * (1 - share) * (
        1 + two.factors(cell, operations, hkl)
    )
    assert np.allclose(mixed, expected)


def test_march_is_normalised():
    cosine = (np.arange(20_000) + 0.5) / 20_000
    for r in (0.4, 1.0, 2.5):
        assert march(cosine**2, r).mean() == pytest.approx(1.0, abs=1e-5)


def test_size_and_strain_widths():
    cell, operations = SPINEL
    angle, hkl = np.array([30.0, 100.0]), np.array([[2, 2, 0], [6, 6, 2]])
    gauss, lorentz = Broadening(size=100.0).widths(angle, 1.5406, cell, operations, hkl)
    # Scherrer: 10 nm, Cu, 30 degrees: 0.9 * 1.5406 / (100 cos 15)
    assert lorentz[0] == pytest.approx(0.8224, abs=1e-3)
    assert (gauss == 0).all()
    gauss, lorentz = Broadening(strain=1e-3, gaussian=1.0).widths(angle, 1.5406, cell, operations, hkl)
    assert gauss[1] == pytest.approx(np.degrees(4e-3 * np.tan(np.radians(50))))
    assert (lorentz == 0).all()


def test_anisotropic_strain_widens_some_reflections_more():
    cell, operations = SPINEL
    broadening = Broadening(anisotropic=AnisotropicStrain((((4, 0, 0), 1e-8), ((2, 2, 0), -1e-8)), 0.25))
    hkl, angle = np.array([[4, 0, 0], [2, 2, 2]]), np.array([44.8, 38.6])
    gauss, lorentz = broadening.widths(angle, 1.5406, cell, operations, hkl)
    # M = (h^2 + k^2 + l^2)/a^2; S400 sum h^4 + S220 sum h^2 k^2
    spread = np.sqrt([1e-8 * 256, 1e-8 * 48 - 1e-8 * 48]) / (np.array([16, 12]) / 8.08**2)
    width = np.degrees(spread * np.tan(np.radians(angle / 2)))
    assert np.allclose(lorentz, 0.75 * width)
    assert np.allclose(gauss, 0.25 * width)


def test_grains_have_the_variance_of_their_number():
    multiplicity, theta = np.array([2, 6, 12, 48]), np.radians([10.0, 15.0, 30.0, 40.0])
    draws = np.array([Grains(20.0, 0.8, seed).factors(multiplicity, theta) for seed in range(6000)])
    number = 20.0 * multiplicity / (2 * np.sin(theta))
    assert np.allclose(draws.mean(axis=0), 1.0, atol=0.02)
    assert np.allclose(draws.var(axis=0), (1 + 0.8**2) / number, rtol=0.1)
    same = Grains(20.0, 0.8, 3)
    assert np.array_equal(same.factors(multiplicity, theta), same.factors(multiplicity, theta))
    assert not np.array_equal(same.factors(multiplicity, theta), same.factors(multiplicity, theta, phase=1))
    few = np.array([Grains(0.2, 0.0, seed).factors(multiplicity[:1], theta[3:]) for seed in range(2000)])
    assert (few == 0).mean() == pytest.approx(np.exp(-0.2 * 2 / (2 * np.sin(theta[3]))), abs=0.04)


def test_roughness_takes_from_low_angles_and_leaves_high_ones():
    factor = Roughness(0.4, 0.3).factor(np.radians([0.01, 10.0, 30.0, 90.0]))
    assert (np.diff(factor) > 0).all()
    assert factor[-1] == pytest.approx(1.0)
    assert factor[0] == pytest.approx(0.4 / (0.4 + 0.6 * np.exp(-0.3)))
    assert np.allclose(Roughness().factor(np.radians([5.0, 50.0])), 1.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: Texture(r=np.nan), "must be above 0"),
        (lambda _: Texture(share=1.2), "between 0 and 1"),
        (lambda _: Specimen(texture=(Texture(share=0.7), Texture((1, 0, 0), share=0.5))), "sum to 1.2"),
        (lambda _: Specimen(texture=(Texture(share=0.1),) * 3), "3 textures"),
        (lambda c: Specimen(impurities=((c, 0.1),) * 4), "up to 3"),
        (lambda c: Impurity(c, -1.0), "share"),
        (lambda _: Broadening(size=0.0), "size of 0"),
        (lambda _: Broadening(strain=-0.1), "strain -0.1"),
        (lambda _: Broadening(gaussian=2.0), "Gaussian share"),
        (lambda _: Grains(0.0), "number above 0"),
        (lambda _: Grains(5.0, -1.0), "spread >= 0"),
        (lambda _: Roughness(1.5, 0.1), "p is 0 to 1"),
        (lambda _: Specimen(mu_r=-1.0), "mu_r"),
    ],
)
def test_wrong_input_is_one_sentence(make, message):
    with pytest.raises(BadInput, match=message):
        make(textbook()[0])
