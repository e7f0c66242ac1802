"""Foreign lines: found where they stand clear, and counted."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from eg_agent.verify.fitting import fit_pattern
from eg_agent.verify.foreign import DEGREES_SEEN, RATE
from eg_agent.verify.likelihood import Likelihood, marginal_likelihood
from eg_agent.verify.metric import metric_system
from eg_agent.verify.settings import VerifySettings

#: Halite has few lines, so that there is room between them.
PLACES = (36.0, 41.0, 49.5, 63.0)


def _likelihood(made: object) -> Likelihood:
    cell = made.known.cell  # type: ignore[attr-defined]
    deadline = time.perf_counter() + 60.0
    pattern = made.pattern  # type: ignore[attr-defined]
    return marginal_likelihood(fit_pattern(pattern, cell, metric_system(cell), VerifySettings(), deadline))


def test_foreign_lines_are_found_where_they_are(simulated: Callable) -> None:
    made = simulated("halite", foreign=tuple((p, 0.03) for p in PLACES), counts=3e4)
    found = _likelihood(made).foreign
    assert found.two_theta == pytest.approx(np.array(PLACES), abs=0.04)
    assert found.height == pytest.approx(np.full(4, 0.03 * 3e4), rel=0.35)


def test_a_pure_pattern_has_none_and_a_low_rate(simulated: Callable) -> None:
    pure = _likelihood(simulated("halite", counts=3e4)).foreign
    assert pure.two_theta.size == 0
    assert pure.rate < RATE * DEGREES_SEEN / (DEGREES_SEEN + 30.0)
    dirty = _likelihood(simulated("halite", foreign=tuple((p, 0.03) for p in PLACES), counts=3e4)).foreign
    assert dirty.rate > 3.0 * pure.rate


def test_what_a_foreign_line_leaves_is_uncertain_and_the_rest_is_not(simulated: Callable) -> None:
    """At 1e5 counts it is hundreds of times the noise; 3 degrees away the fit is as sure as ever."""
    likelihood = _likelihood(simulated("halite", foreign=((41.0, 0.05),), counts=1e5))
    away = np.abs(likelihood.problem.data.grid - 41.0)
    assert np.median(likelihood.inflation[away < 0.3]) > 20.0
    assert np.median(likelihood.inflation[away > 3.0]) < 3.0
