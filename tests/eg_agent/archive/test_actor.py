"""What an archive's reader makes of a run's metadata: its cell and chemistry, as far as they can be used."""

from __future__ import annotations

import numpy as np
import pytest

from eg_agent.archive.actor import identified
from eg_agent.identify import Identifier
from eg_agent.patterns import Pattern, Radiation
from eg_agent.records.runs import RunHead

CELL = [4.0, 4.0, 4.0, 90.0, 90.0, 90.0]


@pytest.fixture(scope="module")
def shipped() -> Identifier:
    return Identifier("default", "inorganic")


@pytest.fixture(scope="module")
def pattern() -> Pattern:
    """A primitive cubic sample of 4 angstrom, counted."""
    rng = np.random.default_rng(3)
    x = np.round(np.arange(15.0, 85.0, 0.05), 6)
    squares = sorted({h * h + k * k + m * m for h in range(5) for k in range(5) for m in range(5)} - {0})
    lines = 2 * np.degrees(np.arcsin(np.clip(1.5406 * np.sqrt(squares) / 8.0, 0, 0.99)))
    rate = 10.0 + sum(800.0 * np.exp(-0.5 * ((x - line) / 0.08) ** 2) for line in lines)
    return Pattern(x, rng.poisson(rate).astype(float), Radiation(1.5406), raw_counts=True)


def test_cell_and_composition_of_a_run_are_used(shipped, pattern):
    found = identified(shipped, pattern, RunHead("u", {"cell": CELL, "composition": "SrTiO3"}))
    same = shipped.identify(pattern, CELL, told("SrTiO3"))
    np.testing.assert_allclose(found.log_probability, same.log_probability)
    assert found.properties is not None
    bare = identified(shipped, pattern, RunHead("u", {"cell": CELL}))
    assert bare.properties is None
    assert "not used" not in found.reason + bare.reason


@pytest.mark.parametrize(
    ("start", "said"),
    [
        ({"cell": CELL, "composition": "Xx2O"}, ["composition is not used"]),
        ({"cell": [4.0, 4.0, 4.0, 90.0, 90.0, 500.0], "composition": "SrTiO3"}, ["cell is not used"]),
    ],
)
def test_what_cannot_be_used_is_said_and_the_run_answered(shipped, pattern, start, said):
    found = identified(shipped, pattern, RunHead("u", start))
    assert found.log_probability is not None
    assert all(text in found.reason for text in said)
    assert found.reason.count("not used") == 1
    assert "\n" not in found.reason


def test_a_checkpoint_that_reads_no_composition(random_checkpoint, pattern):
    found = identified(
        Identifier(random_checkpoint, "inorganic"),
        pattern,
        RunHead("u", {"cell": CELL, "composition": "SrTiO3"}),
    )
    assert found.log_probability is not None
    assert "composition is not used" in found.reason


def told(formula: str):
    from eg_agent.chemistry import Composition

    return Composition.of_formula(formula)
