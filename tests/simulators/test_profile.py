"""Sums of lines against rays traced to a slit, numerical convolutions, and scipy's Voigt function."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import voigt_profile

from simulators import profile
from simulators.profile import FWHM, Lines, axial_extent, axial_shifts, sum_of_lines, voigt_width


def one_line(position, gauss, lorentz, *, decay=0.0, s_l=0.0, h_l=0.0) -> Lines:
    values = (position, 1.0, gauss, lorentz, decay)
    return Lines(*(np.array([float(v)]) for v in values), s_l=s_l, h_l=h_l)


def traced(position: float, s_l: float, h_l: float) -> tuple[np.ndarray, np.ndarray]:
    """Angles at which rays of a cone enter a slit, and how many: sample heights times azimuths.

    Nothing of Finger, Cox and Jephcoat's algebra: rays of even azimuth from even heights of the sample, kept
    when they hit the slit at the radius 1.
    """
    two_theta = np.radians(position)
    height = s_l * (2 * (np.arange(401) + 0.5) / 401 - 1)
    most = np.arcsin(min(1.0, (s_l + h_l) / np.sqrt(1 + (s_l + h_l) ** 2) / np.sin(two_theta)))
    azimuth = most * (np.arange(4000) + 0.5) / 4000
    ray = np.array(
        [
            np.full(azimuth.size, np.cos(two_theta)),
            np.sin(two_theta) * np.cos(azimuth),
            np.sin(two_theta) * np.sin(azimuth),
        ]
    )
    seen = np.degrees(np.arctan2(ray[1], ray[0]))
    up = ray[2] / np.hypot(ray[0], ray[1])
    passing = (np.abs(height[:, None] + up) <= h_l).mean(axis=0)
    return seen, passing / passing.sum()


@pytest.mark.parametrize(
    ("position", "gauss", "lorentz", "s_l", "h_l"),
    [
        (10.0, 0.05, 0.03, 0.012, 0.012),
        (8.0, 0.05, 0.03, 0.03, 0.03),
        (5.0, 0.05, 0.03, 0.03, 0.02),
        (5.0, 0.05, 0.01, 0.01, 0.04),
        (3.0, 0.006, 0.004, 0.001, 0.001),
        (3.0, 0.006, 0.003, 0.01, 0.01),
        (30.0, 0.08, 0.0, 0.02, 0.02),
        (89.9, 0.08, 0.02, 0.02, 0.02),
        (130.0, 0.06, 0.06, 0.03, 0.02),
    ],
)
def test_axial_divergence_agrees_with_traced_rays(position, gauss, lorentz, s_l, h_l):
    seen, share = traced(position, s_l, h_l)
    extent = abs(float(axial_extent([position], s_l, h_l)[0]))
    x = position + np.linspace(-2 * extent - 1, 2 * extent + 1, 801)
    brute = np.zeros(x.size)
    for start in range(0, seen.size, 400):
        part = slice(start, start + 400)
        brute += voigt_profile(x[:, None] - seen[part], gauss / FWHM, lorentz / 2) @ share[part]
    got = sum_of_lines(one_line(position, gauss, lorentz, s_l=s_l, h_l=h_l), x)
    assert np.abs(got - brute).max() < 2e-3 * brute.max()


def test_the_tail_of_axial_divergence_changes_sides_at_90_degrees():
    below, above = axial_shifts(np.array([20.0, 160.0]), 0.02, 0.03, 12)[0]
    assert (below < 0).all()
    assert np.allclose(above, -below)
    assert axial_extent([90.0], 0.03, 0.03)[0] == pytest.approx(0.0, abs=1e-9)
    weights = axial_shifts(np.array([1.0, 20.0, 90.0]), 0.02, 0.02, 12)[1]
    assert np.allclose(weights.sum(axis=1), 1.0)
    assert (weights >= 0).all()


@pytest.mark.parametrize("ratio", [0.005, 0.019, 0.05, 0.3, 1.0, 4.0])
@pytest.mark.parametrize("mixing", [0.02, 0.98])
def test_transparency_agrees_with_a_numerical_convolution(ratio, mixing):
    width = 0.1
    gauss, lorentz, decay = width * (1 - mixing), width * mixing, ratio * width
    node, weight = np.polynomial.legendre.leggauss(1200)
    depth = 15 * (1 + node)
    weight = weight * np.exp(-depth)
    x = 40 + np.linspace(-10 * decay - 5 * width, 5 * width, 501)
    brute = voigt_profile(x[:, None] - 40 + decay * depth, gauss / FWHM, lorentz / 2) @ (
        weight / weight.sum()
    )
    got = sum_of_lines(one_line(40, gauss, lorentz, decay=decay), x)
    assert np.abs(got - brute).max() < 1e-3 * brute.max()


@pytest.mark.parametrize("ratio", [0.005, 0.015, 0.03, 0.3])
def test_transparency_and_axial_divergence_together(ratio):
    """A tail too short to be drawn as one still moves the line, whatever else makes it lopsided."""
    width, position, s_l, h_l = 0.05, 20.0, 0.017, 0.01
    decay = ratio * width
    node, weight = np.polynomial.laguerre.laggauss(24)
    x = position + np.linspace(-0.6, 0.4, 401)
    deep = one_line(position, width / 2, width / 2, decay=decay, s_l=s_l, h_l=h_l)
    bare = one_line(position, width / 2, width / 2, s_l=s_l, h_l=h_l)
    brute = sum(w * sum_of_lines(bare, x + decay * depth) for depth, w in zip(node, weight))
    assert np.abs(sum_of_lines(deep, x) - brute).max() < 0.005 * brute.max()


@pytest.mark.parametrize(("width", "step"), [(0.09, 0.02), (0.01, 0.002), (0.5, 0.05), (0.005, 0.02)])
def test_local_sums_agree_with_sums_over_all_lines_and_points(width, step):
    rng = np.random.default_rng(3)
    x = np.arange(5.0, 60.0, step)
    count = 300
    position = rng.uniform(3, 63, count)
    gauss, lorentz = rng.uniform(0.2, 1.5, (2, count)) * width
    area = rng.exponential(size=count)
    lines = Lines(position, area, gauss, lorentz, np.zeros(count))
    checked = rng.choice(x.size, 400, replace=False)
    full = voigt_profile(x[checked, None] - position, gauss / FWHM, lorentz / 2) @ area
    got = sum_of_lines(lines, x)
    assert np.abs(got[checked] - full).max() < 1e-5 * full.max()
    alone = [sum_of_lines(lines, np.array([angle]))[0] for angle in x[checked[:20]]]
    assert np.allclose(alone, full[:20], atol=1e-5 * full.max())
    shuffled = rng.permutation(x)
    assert np.allclose(sum_of_lines(lines, shuffled), got[np.searchsorted(x, shuffled)])


def test_areas_are_kept():
    x = np.linspace(-150, 250, 2_000_001)
    for lines in (
        one_line(50, 0.1, 0.02, s_l=0.02, h_l=0.02),
        one_line(50, 0.1, 0.02, decay=0.3),
        one_line(50, 0.1, 0.0),
    ):
        assert np.trapezoid(sum_of_lines(lines, x), x) == pytest.approx(1.0, abs=2e-4)


def test_windows_and_empty_axes(monkeypatch):
    lines = one_line(30, 0.05, 0.05)
    assert sum_of_lines(lines, []).shape == (0,)
    axis = np.concatenate([np.arange(29, 31, 0.01), np.arange(80, 81, 0.01)])
    expected = voigt_profile(axis - 30, 0.05 / FWHM, 0.025)
    monkeypatch.setattr(profile, "_DIRECT", 0)
    assert np.allclose(sum_of_lines(lines, axis), expected, atol=1e-5 * expected.max())
    assert sum_of_lines(lines, [30.0])[0] == pytest.approx(expected.max(), rel=1e-6)


def test_width_of_a_voigt_function():
    for gauss, lorentz in ((1.0, 0.0), (0.0, 1.0), (0.7, 0.5)):
        width = float(voigt_width(gauss, lorentz))
        half, top = voigt_profile([width / 2, 0.0], max(gauss, 1e-9) / FWHM, lorentz / 2)
        assert half / top == pytest.approx(0.5, abs=1e-3)
