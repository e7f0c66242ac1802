"""Verified runs made from textbook structures, without a server."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from eg_agent.model import read_card
from eg_agent.patterns import Pattern, Radiation
from simulators import Instrument, Specimen, simulate
from simulators.textbook import textbook
from trainer.retrain.compounds import niggli_of
from trainer.retrain.recent import Recent, RunFacts

#: An iron tube with broad lines.
IRON = Radiation(1.936042, 1.93998)
X = np.round(np.arange(20.0, 90.0, 0.05), 6)


def measured(
    number: int, seed: int = 0, *, broad: bool = True
) -> tuple[Pattern, tuple[float, ...], str, int]:
    """A pattern of a textbook structure on one instrument, its cell, formula and group.

    broad: lines that a network has hardly seen; else sharp and bright ones, from which a fit can tell much.
    """
    crystal = textbook()[number]
    rng = np.random.default_rng((seed, number))
    instrument = Instrument(u=0.01, v=-0.005, w=0.05, x=0.1, y=0.05) if broad else Instrument()
    axis = X if broad else np.round(np.arange(15.0, 115.0, 0.05), 6)
    pattern = simulate(
        crystal,
        IRON,
        axis,
        rng,
        instrument=instrument,
        specimen=Specimen(),
        peak_rate=4e3 if broad else 5e4,
    )
    return pattern, tuple(float(v) for v in crystal.cell), crystal.formula, crystal.group


@pytest.fixture(scope="session")
def recent(random_checkpoint: Path) -> Recent:
    """Two runs of each of 30 textbook structures on the grid of the small network."""
    grid = read_card(random_checkpoint).architecture.grid
    runs, intensity, coverage = [], [], []
    for number in range(30):
        for seed in range(2):
            pattern, cell, formula, group = measured(number, seed)
            projected = grid.project(pattern)
            reduced = niggli_of(cell, group)
            assert reduced is not None
            runs.append(
                RunFacts(
                    run=f"{number}-{seed}",
                    compound=formula,
                    formula=formula,
                    sample="",
                    group=group,
                    cell=reduced,
                    evidence=0.99,
                    checkpoint="somebody",
                    counts=float(pattern.intensity.max()),
                    step=0.05,
                    start=float(X[0]),
                    end=float(X[-1]),
                    wavelength=IRON.wavelength,
                    wavelength2=IRON.wavelength2 or 0.0,
                )
            )
            intensity.append(projected.intensity)
            coverage.append(projected.coverage)
    return Recent(tuple(runs), np.stack(intensity), np.stack(coverage), {})


@pytest.fixture(scope="session")
def measure():
    """`measured`, for tests."""
    return measured
