"""A real network with random weights (fast, and it exists without the shipped one), and patterns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from eg_agent.identify import Identifier, IdentifySettings
from eg_agent.patterns import Pattern, Radiation
from eg_agent.symmetry import Setting, settings, unique_reflections

WAVELENGTH = 1.540593


@pytest.fixture(scope="session")
def checkpoint(random_checkpoint: Path) -> Path:
    return random_checkpoint


@pytest.fixture(scope="session")
def identifier(checkpoint: Path) -> Identifier:
    return Identifier(checkpoint, "uniform", IdentifySettings(time_limit=60.0))


@pytest.fixture(scope="session")
def identifier_by_branch(checkpoint: Path) -> Identifier:
    return Identifier(checkpoint, "uniform", IdentifySettings(candidates="branch", time_limit=60.0))


def diffract(
    setting: Setting,
    cell: tuple[float, ...],
    *,
    counts: float = 20_000.0,
    two_theta: tuple[float, float] = (10.0, 70.0),
    seed: int = 0,
) -> Pattern:
    """Poisson counts of a powder in an extinction setting: Wilson-distributed intensities, Gaussian lines.

    counts: expected counts in the strongest point; the background is 20.
    """
    rng = np.random.default_rng(seed)
    x = np.arange(two_theta[0], two_theta[1], 0.02)
    d_min = WAVELENGTH / (2.0 * np.sin(np.radians(two_theta[1] / 2.0)))
    lines = unique_reflections(cell, setting, d_min)
    theta = np.arcsin(WAVELENGTH / (2.0 * lines.d))
    lorentz = (1.0 + np.cos(2.0 * theta) ** 2) / (np.sin(theta) ** 2 * np.cos(theta))
    strength = rng.exponential(size=theta.size) * lines.multiplicity * lorentz
    sigma = 0.05
    y = (strength * np.exp(-0.5 * ((x[:, None] - np.degrees(2.0 * theta)) / sigma) ** 2)).sum(axis=1)
    expected = 20.0 + counts * y / y.max()
    return Pattern(
        x,
        rng.poisson(expected).astype(float),
        Radiation(WAVELENGTH),
        counting_time=np.ones(x.size),
        raw_counts=True,
    )


@pytest.fixture(scope="session")
def powder() -> Callable[..., Pattern]:
    """`powder(group, symbol, cell, **how)`: a pattern of a group in the setting of a symbol."""

    def make(group: int, symbol: str, cell: tuple[float, ...], **how: object) -> Pattern:
        setting = next(s for s in settings(group) if s.symbol == symbol)
        return diffract(setting, cell, **how)  # type: ignore[arg-type]

    return make
