"""Lines as curves: what they must not depend on, and what they must show."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eg_agent.patterns import Radiation
from eg_agent.verify.line_features import FEATURES, features_of
from eg_agent.verify.line_kinds import N_PARITIES
from eg_agent.verify.line_spectrum import N_SPECTRUM, PLACES, line_spectrum
from eg_agent.verify.wilson import lorentz_polarisation

#: d of a cubic lattice of 4 angstrom: 100, 110, 111, 200, 210, 211, with the reflections of each.
D = 4.0 / np.sqrt([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
TIMES = np.array([6.0, 12.0, 8.0, 6.0, 24.0, 24.0])
STRUCTURE = np.array([9.0, 0.0, 100.0, 80.0, 4.0, 1.0])


def values(wavelength: float, scale: float = 1.0, unit: float = 1.0) -> np.ndarray:
    """Features of lines as seen at a wavelength; scale: of lengths, unit: of intensities."""
    two_theta = 2.0 * np.degrees(np.arcsin(0.5 * wavelength / (scale * D)))
    radiation = Radiation(kind="x-ray", wavelength=wavelength)
    seen = unit * STRUCTURE * TIMES * lorentz_polarisation(two_theta, radiation)
    sigma = np.full(6, 1e-3 * float(seen.max()))
    return features_of(
        two_theta=two_theta,
        wavelength=wavelength,
        radiation=radiation,
        intensity=seen,
        sigma=sigma,
        precision=1.0 / sigma**2,
        reflections=TIMES,
        counting=np.ones(6),
        volume=(4.0 * scale) ** 3,
        parities=np.zeros((6, N_PARITIES)),
    )


@given(st.floats(0.6, 2.0), st.floats(1e-3, 1e3))
def test_wavelength_and_unit_change_little(wavelength: float, unit: float) -> None:
    plain = line_spectrum(values(1.5406))[: PLACES.size]
    other = line_spectrum(values(wavelength, unit=unit))[: PLACES.size]
    # what is expected at an angle is a mean over lines, which a wavelength weighs a little differently
    np.testing.assert_allclose(other, plain, atol=0.06)


def test_an_isotype_with_another_lattice_looks_the_same() -> None:
    plain, larger = line_spectrum(values(1.5406)), line_spectrum(values(1.5406, scale=1.3))
    np.testing.assert_allclose(larger[: PLACES.size], plain[: PLACES.size], atol=0.06)


def test_lines_stand_at_their_places_as_high_as_the_structure_makes_them() -> None:
    found = line_spectrum(values(1.5406))
    assert found.shape == (N_SPECTRUM,)
    at = [int(np.argmin(np.abs(PLACES - np.log(4.0 / d)))) for d in D]
    heights = found[at]
    assert heights[2] == pytest.approx(1.0, abs=0.15)
    assert heights[1] < 0.1 * heights[2]
    # reflections times structure over the square of the place
    expected = np.sqrt(STRUCTURE * TIMES * D**2)
    off_the_grid = np.exp(-0.5 * (np.abs(PLACES[at] - np.log(4.0 / D)) / 0.018) ** 2)
    strong = [0, 2, 3]
    ratio = heights[strong] / (expected * np.sqrt(off_the_grid))[strong]
    np.testing.assert_allclose(ratio / ratio.mean(), 1.0, atol=0.2)
    lines = found[2 * PLACES.size :]
    assert lines[at].min() > 0.15
    assert lines[0] == 0.0


@pytest.mark.parametrize("strange", [0.0, -50.0, 50.0])
def test_strange_features_give_numbers(strange: float) -> None:
    found = line_spectrum(np.full((5, len(FEATURES)), strange))
    assert np.isfinite(found).all()
