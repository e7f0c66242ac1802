"""What was counted little must not look like lines where the rest was counted longer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from eg_agent.patterns import Pattern, evened
from eg_agent.verify import fitting
from eg_agent.verify.line_features import unconstrained
from eg_agent.verify.verifier import weigh

Simulate = Callable[..., Any]

SEEDS, WINDOWS, HALF_WIDTH = 16, 4, 0.3


def counted(rate: Pattern, seconds: npt.NDArray[np.float64], rng: np.random.Generator) -> Pattern:
    """Counts at a rate, so many seconds at each point."""
    counts = rng.poisson(np.asarray(rate.intensity) * seconds).astype(float)
    return replace(rate, intensity=counts, counting_time=seconds, raw_counts=True)


def standing(simulated: Simulate, longer: float) -> npt.NDArray[np.float64]:
    """Intensity over error of absent lines, inside windows that were counted so many times longer."""
    bright = simulated("barite", counts=1e7, background=0.08, two_theta=(8.0, 80.0, 0.04))
    rate = replace(bright.pattern, intensity=bright.pattern.intensity * 1e-7 * 60.0)
    known, found = bright.known, []
    whole = weigh(bright.pattern, known.cell)
    absent = whole.likelihood.two_theta[_forbidden(whole, known)]
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        x = np.asarray(rate.two_theta)
        chosen = rng.choice(absent, WINDOWS, replace=False)
        inside = np.any(np.abs(x[:, None] - chosen) < HALF_WIDTH, axis=1)
        seconds = np.where(inside, 0.5 * longer, 0.5)
        again = weigh(evened(counted(rate, seconds, rng)), known.cell)
        near = np.any(np.abs(again.likelihood.two_theta[:, None] - chosen) < 0.5 * HALF_WIDTH, axis=1)
        found.append(_standing(again)[near & _forbidden(again, known)])
    return np.concatenate(found)


def _standing(weighed: Any) -> npt.NDArray[np.float64]:
    likelihood = weighed.likelihood
    return unconstrained(likelihood.precision, likelihood.moment) / likelihood.sigma


def _forbidden(weighed: Any, known: Any) -> npt.NDArray[np.bool_]:
    """Lines that the group forbids in that of its settings that suits the pattern best."""
    standing = np.clip(_standing(weighed), 0.0, None)
    ways = [c.allowed == 0 for c in weighed.candidates if c.setting.group == known.group]
    return min(ways, key=lambda forbidden: float(standing[forbidden].max(initial=0.0)))


def test_absent_lines_do_not_stand_in_windows_counted_longer(
    simulated: Simulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = standing(simulated, longer=15.0)
    monkeypatch.setattr("eg_agent.verify.verifier.weighted_anew", lambda fit, *_: fit)
    before = standing(simulated, longer=15.0)
    assert now.size > 40
    assert now.mean() < 0.3  # its own error is about 0.1
    assert before.mean() > now.mean() + 0.2  # what this test would see without


def test_an_even_scan_is_left_as_it_was(simulated: Simulate) -> None:
    pattern = simulated("barite", counts=300.0, background=0.05).pattern
    fit = weigh(pattern, simulated("barite").known.cell).fit
    assert fitting.weighted_anew(fit, pattern, np.inf) is fit
