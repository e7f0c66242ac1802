"""Line profiles against scipy's Voigt function and finite differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import trapezoid
from scipy.special import voigt_profile

from eg_agent.verify.profile import Shape, profiles, widths

GRID = np.arange(20.0, 40.0, 0.005)


def _one(shape: Shape, centre: float = 30.0, second: float | None = None, **options: bool):
    positions = np.array([[centre]] if second is None else [[centre], [second]])
    width = widths(np.radians(positions[0] / 2), shape)
    return profiles(GRID, positions, width, shape, **options), width


@pytest.mark.parametrize("gauss", [0.02, 0.08, 0.2])
@pytest.mark.parametrize("lorentz", [0.02, 0.08, 0.2])
def test_the_pseudo_voigt_is_the_voigt_function_within_its_known_error(gauss: float, lorentz: float) -> None:
    shape = Shape(w=gauss**2, x=lorentz * np.cos(np.radians(15.0)))
    profile, _ = _one(shape)
    reference = voigt_profile(GRID - 30.0, gauss / np.sqrt(8 * np.log(2)), lorentz / 2)
    ours = profile.dense(profile.value)[:, 0]
    inside = ours > 0
    assert np.max(np.abs(ours - reference)[inside]) < 0.015 * reference.max()


@pytest.mark.parametrize("axial", [0.0, 0.01, 0.04])
@pytest.mark.parametrize("ratio", [None, 0.5])
def test_the_area_is_one(axial: float, ratio: float | None) -> None:
    shape = Shape(w=0.01, x=0.01, axial=axial, ratio=ratio)
    profile, _ = _one(shape, second=None if ratio is None else 30.08)
    assert trapezoid(profile.dense(profile.value)[:, 0], GRID) == pytest.approx(1.0, abs=0.02)


def test_axial_divergence_moves_intensity_to_low_angle_below_90_degrees() -> None:
    plain, _ = _one(Shape(w=0.01))
    smeared, _ = _one(Shape(w=0.01, axial=0.03))
    mean = [
        trapezoid(p.dense(p.value)[:, 0] * GRID, GRID) / trapezoid(p.dense(p.value)[:, 0], GRID)
        for p in (plain, smeared)
    ]
    # the mean of z^2 over [0, 1] is a third
    assert mean[1] - mean[0] == pytest.approx(-0.03 / np.tan(np.radians(30.0)) / 3.0, rel=0.02)


def test_a_doublet_is_two_lines_in_the_given_ratio() -> None:
    both, _ = _one(Shape(w=1e-4, x=0.0, ratio=0.4), second=30.5)
    value = both.dense(both.value)[:, 0]
    first = trapezoid(value[GRID < 30.25], GRID[GRID < 30.25])
    second = trapezoid(value[GRID > 30.25], GRID[GRID > 30.25])
    assert second / first == pytest.approx(0.4, rel=1e-3)


def test_derivatives_are_finite_differences() -> None:
    shape = Shape(u=0.02, v=-0.005, w=0.01, x=0.03, y=0.02, axial=0.02, ratio=0.5)
    profile, width = _one(shape, second=30.08, derivatives=True)
    base = profile.dense(profile.value)[:, 0]
    step = 1e-5

    def difference(changed: Shape | None = None, move: float = 0.0) -> np.ndarray:
        new = changed or shape
        positions = np.array([[30.0 + move], [30.08 + move]])
        moved = profiles(GRID, positions, widths(np.radians([15.0]), new), new)
        return (moved.dense(moved.value)[:, 0] - base) / step

    assert profile.by_position is not None
    assert profile.by_axial is not None
    assert profile.by_ratio is not None
    assert profile.by_fwhm is not None
    assert profile.by_eta is not None
    scale = np.abs(profile.by_position).max()
    by_position = profile.dense(profile.by_position)[:, 0]
    assert difference(move=step) == pytest.approx(by_position, abs=2e-3 * scale)
    for name, by in (("axial", profile.by_axial), ("ratio", profile.by_ratio)):
        numeric = difference(replace(shape, **{name: getattr(shape, name) + step}))
        assert numeric == pytest.approx(profile.dense(by)[:, 0], abs=2e-3 * np.abs(by).max())
    for j, name in enumerate(("u", "v", "w", "x", "y")):
        numeric = difference(replace(shape, **{name: getattr(shape, name) + step}))
        by = profile.by_fwhm * width.fwhm_by[0, j] + profile.by_eta * width.eta_by[0, j]
        assert numeric == pytest.approx(profile.dense(by)[:, 0], abs=5e-3 * np.abs(by).max())
