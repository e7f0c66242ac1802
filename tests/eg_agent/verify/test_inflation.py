"""How misfit widens the errors of points, where windows were counted for different times."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from eg_agent.verify.likelihood import inflation

Floats = npt.NDArray[np.float64]

POINTS, STEP, FWHM = 20_000, 0.02, 0.1


def inflated(residual: Floats, variance: Floats, exposure: Floats | None) -> Floats:
    data = SimpleNamespace(step=STEP, exposure=exposure)
    problem: Any = SimpleNamespace(data=data, lines=[None] * 20, background=np.empty((POINTS, 10)))
    solution: Any = SimpleNamespace(width=SimpleNamespace(fwhm=np.full(20, FWHM)))
    return inflation(residual, 1.0 / variance, solution, problem)


def misfitted(exposure: Floats, misfit: float) -> tuple[Floats, Floats]:
    """A residual of counting noise (variance 1 / exposure) and misfit of a line's width; its variance."""
    rng = np.random.default_rng(5)
    run = np.repeat(rng.standard_normal(POINTS // 5), 5)
    return rng.standard_normal(POINTS) / np.sqrt(exposure) + misfit * run, 1.0 / exposure


def test_even_counting_is_as_unknown_counting() -> None:
    residual, variance = misfitted(np.ones(POINTS), 1.0)
    even = inflated(residual, variance, np.ones(POINTS))
    assert np.allclose(even, inflated(residual, variance, None))


@pytest.mark.parametrize("longer", [10.0, 100.0])
def test_longer_counting_does_not_sink_below_the_misfit(longer: float) -> None:
    """Every eighth width is counted longer: there misfit is a larger part of what differs."""
    exposure = np.where(np.arange(POINTS) // 15 % 8 == 0, longer, 1.0)
    residual, variance = misfitted(exposure, 0.5)
    total = variance * inflated(residual, variance, exposure)
    blind = variance * inflated(residual, variance, None)
    window = exposure > 1.0
    # half a unit of misfit is a variance of a quarter, in runs of a line's width at least that
    assert np.median(total[window]) > 0.25
    assert np.median(total[window]) > 2.0 * np.median(blind[window])


def test_without_misfit_nothing_is_inflated_much() -> None:
    exposure = np.where(np.arange(POINTS) // 15 % 8 == 0, 50.0, 1.0)
    residual, variance = misfitted(exposure, 0.0)
    assert np.median(inflated(residual, variance, exposure)[exposure > 1.0]) < 3.0
