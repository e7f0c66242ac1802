"""Cells of known structures as starts: a library of textbook structures, and a sample 0.4 % larger."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from eg_agent.library import Library
from eg_agent.patterns import Pattern, Radiation
from eg_agent.verify.index_lattice import niggli
from eg_agent.verify.indexing import index
from simulators.corpus import MINERAL, pack
from simulators.crystal import Crystal
from simulators.measurement import simulate
from simulators.textbook import textbook
from trainer.library.building import library_of_corpus


@pytest.fixture(scope="module")
def crystals() -> list[Crystal]:
    return list(textbook())


@pytest.fixture(scope="module")
def library(crystals: list[Crystal]) -> Library:
    return library_of_corpus(pack((crystal, MINERAL) for crystal in crystals))


def measured(crystal: Crystal) -> tuple[Pattern, Crystal]:
    """A pattern of the crystal grown by 0.4 %, and that crystal."""
    grown = replace(crystal, cell=(*(1.004 * v for v in crystal.cell[:3]), *crystal.cell[3:]))
    radiation = Radiation.anode("Cu")
    rng = np.random.default_rng(3)
    return simulate(grown, radiation, np.arange(10.0, 90.0, 0.02), rng, peak_rate=20000.0), grown


def test_a_known_structure_gives_its_cell_when_nothing_else_is_searched(
    crystals: list[Crystal], library: Library
) -> None:
    """With no time for a search of its own system, the cell can only come from the library."""
    crystal = next(c for c in crystals if c.space_group == 62)
    pattern, grown = measured(crystal)
    found = index(pattern, library=library, systems=["cP"], time_limit=60)
    mine = [c for c in found if c.origin == "library" and c.lattice == "oP"]
    assert mine
    wanted = niggli(grown.cell, "P")
    assert any(np.allclose(c.primitive[:3], wanted[:3], rtol=2e-3) for c in mine)
    assert mine[0].source
    without = index(pattern, systems=["cP"], time_limit=60)
    assert not any(c.lattice == "oP" for c in without)
