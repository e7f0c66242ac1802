"""The verifier: the fit, the evidence of all orthorhombic symbols, and the whole, warm, on one core."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

from eg_agent.patterns import Radiation
from eg_agent.verify import VerifySettings, verify
from eg_agent.verify.candidates import candidate_settings, candidates_on
from eg_agent.verify.fitting import fit_pattern
from eg_agent.verify.likelihood import marginal_likelihood
from eg_agent.verify.metric import metric_system, symmetrized
from eg_agent.verify.score import score
from simulators.measurement import simulate
from simulators.textbook import textbook

REPEATS = 5


def rows() -> list[tuple[str, float, str, float | None]]:
    """Medians; 8,500 points of an orthorhombic structure, its cell given 0.3 % too long."""
    crystal = next(c for c in textbook() if c.space_group == 62)
    radiation = Radiation.anode("Cu")
    pattern = simulate(
        crystal, radiation, np.arange(5.0, 90.0, 0.01), np.random.default_rng(0), peak_rate=5000.0
    )
    given = tuple(v * 1.003 if i < 3 else v for i, v in enumerate(crystal.cell))
    system = metric_system(given)  # type: ignore[arg-type]
    cell = symmetrized(given, system)  # type: ignore[arg-type]
    settings = VerifySettings()
    chosen = candidate_settings(system, None)

    fit = fit_pattern(pattern, cell, system, settings, time.perf_counter() + 60.0)
    likelihood = marginal_likelihood(fit)
    candidates = candidates_on(likelihood.lines, chosen, system)

    def fitting() -> Any:
        return fit_pattern(pattern, cell, system, settings, time.perf_counter() + 60.0)

    fit_s = _seconds(fitting)
    weigh_s = _seconds(lambda: score(likelihood, candidates, radiation))
    shared_s = _seconds(lambda: marginal_likelihood(fit))
    return [
        (f"Pawley fit, {len(likelihood.lines)} lines", fit_s, "s", 1.0),
        ("nuisances marginalised, once for all symbols", 1000.0 * shared_s, "ms", None),
        (f"evidence of a symbol, of {len(candidates)}", 1000.0 * weigh_s / len(candidates), "ms", 3.0),
        ("verify, all of it", _seconds(lambda: verify(pattern, given)), "s", 1.5),
    ]


def _seconds(call: Callable[[], Any]) -> float:
    # processor time: with one thread it is what a core takes, whoever else uses the machine
    taken = []
    for _ in range(REPEATS):
        started = time.process_time()
        call()
        taken.append(time.process_time() - started)
    return median(taken)
