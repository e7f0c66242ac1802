"""Powder patterns of well-known structures, by gemmi's structure factors and scipy's Voigt function.

Nothing of eg_agent.verify or simulators is used, so that what the verifier finds is found independently.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import gemmi
import numpy as np
import pytest
from scipy.special import voigt_profile

from eg_agent.patterns.pattern import Pattern
from eg_agent.patterns.radiation import Radiation


@dataclass(frozen=True)
class Known:
    """A structure: Hermann-Mauguin symbol, cell, sites (element, x, y, z), and its group and symbol."""

    space_group: str
    cell: tuple[float, float, float, float, float, float]
    sites: tuple[tuple[str, float, float, float], ...]
    group: int


#: Structures from the mineralogical literature (rounded), one a lattice.
KNOWN = {
    "barite": Known(
        "P n m a",
        (8.884, 5.457, 7.157, 90, 90, 90),
        (
            ("Ba", 0.1845, 0.25, 0.1585),
            ("S", 0.4370, 0.75, 0.1911),
            ("O", 0.587, 0.75, 0.106),
            ("O", 0.318, 0.75, 0.050),
            ("O", 0.419, 0.974, 0.312),
        ),
        17,
    ),
    "baddeleyite": Known(
        "P 1 21/c 1",
        (5.1505, 5.2116, 5.3173, 90, 99.23, 90),
        (("Zr", 0.2754, 0.0395, 0.2083), ("O", 0.0700, 0.3317, 0.3447), ("O", 0.4496, 0.7569, 0.4792)),
        4,
    ),
    "scheelite": Known(
        "I 41/a :2",
        (5.243, 5.243, 11.376, 90, 90, 90),
        (("Ca", 0, 0.25, 0.625), ("W", 0, 0.25, 0.125), ("O", 0.1507, 0.0086, 0.2106)),
        68,
    ),
    "halite": Known(
        "F m -3 m", (5.640, 5.640, 5.640, 90, 90, 90), (("Na", 0, 0, 0), ("Cl", 0.5, 0.5, 0.5)), 94
    ),
    "calcite": Known(
        "R -3 c :H",
        (4.9896, 4.9896, 17.061, 90, 90, 120),
        (("Ca", 0, 0, 0), ("C", 0, 0, 0.25), ("O", 0.2568, 0, 0.25)),
        76,
    ),
    "nepheline-like": Known(
        "P 63",
        (9.99, 9.99, 8.38, 90, 90, 120),
        (
            ("K", 0, 0, 0.0),
            ("Na", 0.447, 0.997, 0.992),
            ("Al", 0.333, 0.667, 0.182),
            ("Si", 0.093, 0.330, 0.313),
            ("Al", 0.091, 0.335, 0.688),
            ("O", 0.026, 0.310, 0.498),
            ("O", 0.173, 0.525, 0.735),
            ("O", 0.165, 0.509, 0.252),
            ("O", 0.230, 0.287, 0.312),
            ("O", 0.225, 0.277, 0.691),
        ),
        77,
    ),
}


@cache
def _reflections(name: str, d_min: float, neutron: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """hkl [m, 3] over the full sphere, d [m], |F|^2 [m]."""
    known = KNOWN[name]
    structure = gemmi.SmallStructure()
    structure.cell = gemmi.UnitCell(*known.cell)
    group = gemmi.find_spacegroup_by_name(known.space_group)
    assert group is not None
    structure.spacegroup_hm = group.xhm()
    structure.determine_and_set_spacegroup("2.1")
    assert structure.spacegroup is not None
    for element, *xyz in known.sites:
        site = gemmi.SmallStructure.Site()
        site.element = gemmi.Element(element)
        site.type_symbol = element
        site.fract = gemmi.Fractional(*xyz)
        site.u_iso = 0.006
        site.occ = 1.0
        structure.add_site(site)
    structure.setup_cell_images()
    structure.change_occupancies_to_crystallographic()
    maker = gemmi.StructureFactorCalculatorN if neutron else gemmi.StructureFactorCalculatorX
    calculator = maker(structure.cell)
    top = [int(v / d_min) + 1 for v in known.cell[:3]]
    grid = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in top), indexing="ij"), axis=-1).reshape(-1, 3)
    d = structure.cell.calculate_d_array(grid.astype(np.int32))
    keep = np.isfinite(d) & (d >= d_min) & (np.abs(grid).sum(axis=1) > 0)
    hkl, d = grid[keep], d[keep]
    f = [calculator.calculate_sf_from_small_structure(structure, [int(v) for v in row]) for row in hkl]
    return hkl, d, np.abs(np.array(f)) ** 2


@dataclass(frozen=True)
class Simulated:
    """A pattern with what is in it: lines' d [k] and area [k] (counts times degrees), by descending d."""

    known: Known
    pattern: Pattern
    d: np.ndarray
    area: np.ndarray


def simulate(
    name: str,
    *,
    radiation: Radiation | None = None,
    counts: float = 1e4,
    fwhm: float = 0.12,
    lorentzian: float = 0.5,
    zero: float = 0.0,
    two_theta: tuple[float, float, float] = (8.0, 90.0, 0.02),
    background: float = 0.02,
    foreign: tuple[tuple[float, float], ...] = (),
    seed: int = 1,
    raw: bool = True,
) -> Simulated:
    """Counts of a structure; `counts` in the strongest line's maximum; foreign: (degrees, share of it)."""
    radiation = radiation or Radiation.anode("Cu")
    low, high, step = two_theta
    x = np.arange(low, high, step)
    wavelength = radiation.wavelength
    d_min = 0.5 * wavelength / np.sin(np.radians(0.5 * high))
    _, d, f2 = _reflections(name, round(float(d_min), 6), radiation.kind == "neutron")
    order = np.argsort(-d)
    d, f2 = d[order], f2[order]
    first = np.concatenate([[True], d[1:] < d[:-1] * (1 - 1e-7)])
    at = np.cumsum(first) - 1
    d, f2 = d[first], np.bincount(at, f2)
    theta = np.arcsin(0.5 * wavelength / d)
    area = f2 / (np.sin(theta) ** 2 * np.cos(theta))
    if radiation.kind == "x-ray":
        area = area * (1.0 + np.cos(2.0 * theta) ** 2)
    y = np.zeros_like(x)
    waves = [(wavelength, 1.0)]
    if radiation.wavelength2 is not None:
        waves.append((radiation.wavelength2, radiation.ratio))
    norm = sum(share for _, share in waves)
    for wave, share in waves:
        sine = 0.5 * wave / d
        for line in np.flatnonzero((sine < 1.0) & (area > 1e-7 * area.max())):
            centre = 2.0 * np.degrees(np.arcsin(sine[line])) + zero
            shape = voigt_profile(x - centre, fwhm * (1 - lorentzian) / 2.355, 0.5 * fwhm * lorentzian)
            y += share / norm * area[line] * shape
    scale = counts / y.max()
    y *= scale
    for centre, share in foreign:
        y += counts * share * np.exp(-0.5 * ((x - centre) / (fwhm / 2.355)) ** 2)
    y += counts * background * (1.0 + np.exp(-(x - low) / 20.0))
    observed = np.random.default_rng(seed).poisson(y).astype(float)
    if not raw:
        observed *= 1000.0 / observed.max()
        scale *= 1000.0 / counts
    pattern = Pattern(x, observed, radiation, raw_counts=raw, geometry="bragg-brentano")
    return Simulated(KNOWN[name], pattern, d, area * scale)


@pytest.fixture(scope="session")
def simulated() -> Callable[..., Simulated]:
    """`simulate(name, ...)` of this file, for the tests beside it."""
    return simulate
