"""Fits of calculated patterns to export: an orthorhombic, a rhombohedral and a monoclinic one."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest

from eg_agent.export import FittedPattern, fitted_pattern
from eg_agent.patterns import Pattern, Radiation
from eg_agent.verify.verifier import weigh

CELLS = {
    "P n m a": (8.88, 5.46, 7.16, 90.0, 90.0, 90.0),
    "R -3 c": (4.99, 4.99, 17.06, 90.0, 90.0, 120.0),
    "P 1 21/n 1": (5.2, 8.1, 6.4, 90.0, 98.3, 90.0),
}


def powder(symbol: str, *, seed: int = 3, raw: bool = True) -> Pattern:
    """A pattern with random intensities at the lines that gemmi allows the space group, K-alpha doublet."""
    rng = np.random.default_rng(seed)
    group = gemmi.SpaceGroup(symbol)
    cell = gemmi.UnitCell(*CELLS[symbol])
    hkl = gemmi.make_miller_array(cell, group, 1.15)
    d = cell.calculate_d_array(hkl)
    area = rng.exponential(1.0, d.size) * d**2
    x = np.arange(8.0, 80.0, 0.02)
    y = np.full(x.size, 0.01 * area.max())
    for wavelength, share in ((1.540593, 2 / 3), (1.544427, 1 / 3)):
        at = 2 * np.degrees(np.arcsin(0.5 * wavelength / d)) + 0.02
        for centre, height in zip(at, area * share):
            y += height * np.exp(-4 * np.log(2) * ((x - centre) / 0.1) ** 2)
    y *= 2e4 / y.max()
    counts = rng.poisson(y).astype(float)
    return Pattern(x, counts, Radiation.anode("Cu"), raw_counts=raw)


@pytest.fixture(scope="session", params=list(CELLS))
def fitted(request: pytest.FixtureRequest) -> FittedPattern:
    """A fit of the candidate with the absences that the pattern was made with."""
    pattern = powder(request.param)
    cell = tuple(v * 1.0005 if i < 3 else v for i, v in enumerate(CELLS[request.param]))
    weighed = weigh(pattern, cell)
    for index, candidate in enumerate(weighed.candidates):
        found = (
            fitted_pattern(pattern, weighed, index, f"made in {request.param}")
            if (candidate.setting.symbol in {"P n - a", "R - - c", "P 1 21/n 1"})
            else None
        )
        if found is not None:
            return found
    raise AssertionError("no candidate has these absences")
