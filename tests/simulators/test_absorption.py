"""Absorption against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import iv, modstruve

from simulators.absorption import cylinder_transmission, plate_transmission


@pytest.mark.parametrize("mu_r", [0.05, 0.5, 1.0, 2.0, 5.0])
def test_cylinders_agree_with_closed_forms_forward_and_backward(mu_r):
    """Sabine, Hunter, Sabine and Ball, J. Appl. Cryst. 31 (1998) 47: theta = 0 and 90 degrees."""
    x = 2 * mu_r
    forward = 2 * (iv(0, x) - modstruve(0, x) - (iv(1, x) - modstruve(1, x)) / x)
    backward = (iv(1, 2 * x) - modstruve(1, 2 * x)) / x
    got = cylinder_transmission([0.0, np.pi / 2], mu_r)
    assert np.allclose(got, [forward, backward], rtol=2e-5)
    between = cylinder_transmission(np.linspace(0, np.pi / 2, 50), mu_r)
    assert (np.diff(between) > 0).all()


def test_a_cylinder_at_45_degrees_agrees_with_a_sum_over_a_raster():
    mu_r, theta = 1.5, np.radians(30.0)
    x, y = np.meshgrid(*[2 * (np.arange(1200) + 0.5) / 1200 - 1] * 2)
    x, y = x[x * x + y * y < 1], y[x * x + y * y < 1]
    c, s = np.cos(2 * theta), np.sin(2 * theta)
    inside = np.sqrt(1 - y * y) + x
    outside = np.sqrt(1 - (y * c - x * s) ** 2) - (x * c + y * s)
    assert cylinder_transmission([theta], mu_r)[0] == pytest.approx(
        np.exp(-mu_r * (inside + outside)).mean(), rel=1e-3
    )


def test_nothing_is_lost_without_absorption():
    assert (cylinder_transmission([0.1, 1.0], 0.0) == 1).all()
    assert np.allclose(plate_transmission([0.0, 1.0], 0.0), [1.0, 1 / np.cos(1.0)])
    assert plate_transmission([0.5], 2.0)[0] == pytest.approx(np.exp(-2 / np.cos(0.5)) / np.cos(0.5))
