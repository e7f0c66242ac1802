"""What a network is shown of a structure."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eg_agent.patterns import Grid
from trainer.multimodal.views import stretched


@given(st.floats(-0.05, 0.05))
def test_a_stretched_pattern_is_that_of_the_larger_lattice(relative: float) -> None:
    """A cubic cell's lines stand where Bragg's law puts them for the stretched edge."""
    grid, edge, wavelength = Grid(5.0, 90.0, 4096), 5.43, 1.5405929
    factor = math.exp(relative)

    def lines(a: float) -> np.ndarray:
        sines = wavelength / (2 * a) * np.sqrt([3.0, 8.0, 11.0, 16.0])
        return np.degrees(2 * np.arcsin(sines))

    x = np.array(grid.two_theta)
    pattern = sum(np.exp(-4 * np.log(2) * ((x - line) / 0.2) ** 2) for line in lines(edge))
    shown = torch.tensor(pattern[None], dtype=torch.float32)
    found = stretched(shown, torch.tensor([factor]), grid)[0].numpy()
    for line in lines(edge * factor):
        near = np.abs(x - line) < 0.6
        centre = float((x * found)[near].sum() / found[near].sum())
        assert centre == pytest.approx(line, abs=0.02)
    unchanged = stretched(shown, torch.tensor([1.0]), grid)[0]
    np.testing.assert_allclose(unchanged.numpy(), pattern, atol=2e-3)
