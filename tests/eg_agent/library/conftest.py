"""A library of textbook and random structures, and measurements of them made without the search's code."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from eg_agent.library import Library
from eg_agent.patterns import Pattern, Radiation, Source
from simulators.corpus import MINERAL, Corpus, pack
from simulators.crystal import Crystal
from simulators.random_crystals import random_crystal
from simulators.scattering import lorentz_polarisation, peak_list
from simulators.textbook import textbook
from trainer.library.building import library_of_corpus

#: One space group of each lattice system and of several centrings.
SPACE_GROUPS = (
    2,
    11,
    14,
    15,
    19,
    61,
    62,
    63,
    70,
    74,
    88,
    123,
    136,
    141,
    148,
    167,
    176,
    194,
    205,
    221,
    225,
    227,
    230,
)


@pytest.fixture(scope="session")
def crystals() -> list[Crystal]:
    """The textbook structures and 92 random ones, four a space group."""
    rng = np.random.default_rng(5)
    return list(textbook()) + [random_crystal(n, rng, "inorganic") for n in SPACE_GROUPS for _ in range(4)]


@pytest.fixture(scope="session")
def corpus(crystals: list[Crystal]) -> Corpus:
    return pack((crystal, MINERAL) for crystal in crystals)


@pytest.fixture(scope="session")
def library(corpus: Corpus) -> Library:
    return library_of_corpus(corpus)


def measure(
    crystal: Crystal,
    *,
    scale: float = 1.0,
    strain: tuple[float, float, float] = (0.0, 0.0, 0.0),
    wavelength: float = 1.540593,
    two_theta: tuple[float, float] = (8.0, 85.0),
    counts: float = 5_000.0,
    background: float = 40.0,
    sigma: float = 0.06,
    intensity_error: float = 0.0,
    seed: int = 0,
) -> Pattern:
    """Poisson counts of a powder by brute force: exact lines of the strained cell, summed as Gaussians.

    strain: relative growth of a, b, c beside `scale`. intensity_error: standard deviation of ln I of a line.
    """
    rng = np.random.default_rng(seed)
    x = np.arange(*two_theta, 0.02)
    a, b, c = (v * scale * (1.0 + s) for v, s in zip(crystal.cell[:3], strain, strict=True))
    peaks = peak_list(crystal, 1.0)
    import gemmi

    d = np.array(
        [gemmi.UnitCell(a, b, c, *crystal.cell[3:]).calculate_d(list(map(int, h))) for h in peaks.hkl]
    )
    seen = wavelength / 2.0 / d < 0.99
    theta = np.arcsin(wavelength / 2.0 / d[seen])
    strength = (peaks.f2 * peaks.multiplicity)[seen] * lorentz_polarisation(theta)
    strength *= np.exp(intensity_error * rng.normal(size=strength.size))
    at = np.degrees(2.0 * theta)
    y = np.zeros(x.size)
    for centre, height in zip(at, strength, strict=True):
        near = np.abs(x - centre) < 6 * sigma
        y[near] += height * np.exp(-0.5 * ((x[near] - centre) / sigma) ** 2)
    expected = background + counts * y / y.max()
    return Pattern(
        x, rng.poisson(expected).astype(float), Radiation(wavelength), raw_counts=True,
        source=Source(kind="simulation", name=crystal.name),
    )  # fmt: skip


@pytest.fixture(scope="session")
def measured() -> Callable[..., Pattern]:
    return measure
