"""Formula units in a cell: whole amounts whatever the formula's factor, and cells that everybody knows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eg_agent.chemistry import Composition
from eg_agent.identify import Identifier, IdentifySettings
from eg_agent.identify.formula_units import log_units, molecular, whole_amounts
from eg_agent.identify.lattice_prior import shipped
from eg_agent.patterns import Radiation
from simulators.measurement import simulate
from simulators.textbook import textbook


@given(
    amounts=st.dictionaries(st.sampled_from(["H", "O", "Si", "Fe", "Ca"]), st.integers(1, 8), min_size=1),
    factor=st.floats(0.05, 50.0),
)
def test_a_common_factor_means_nothing(amounts: dict[str, int], factor: float) -> None:
    plain, scaled = (
        whole_amounts(Composition.of_amounts({k: f * v for k, v in amounts.items()})) for f in (1.0, factor)
    )
    assert plain == scaled
    assert plain is not None
    divisor = math.gcd(*amounts.values())
    assert sorted(plain.values()) == sorted(v // divisor for v in amounts.values())


def test_mixed_crystals_and_bare_elements_have_none() -> None:
    assert whole_amounts(Composition.of_formula("Mg1.63Fe0.37SiO4")) is None
    assert whole_amounts(Composition.of_formula("Fe2O3").without_amounts()) is None
    assert whole_amounts(None) is None
    assert math.isnan(log_units(100.0, None, np.full((3, 119), 10.0)))


@pytest.mark.parametrize(
    ("formula", "volume", "units"),
    [
        ("SiO2", 113.0, 3),  # quartz
        ("CaCO3", 367.8, 6),  # calcite
        ("Mg2SiO4", 290.0, 4),  # forsterite
        ("CaMgSi2O6", 438.6, 4),  # diopside
        ("Al2O3", 254.8, 6),  # corundum
        ("NaCl", 179.4, 4),
        ("TiO2", 62.4, 2),  # rutile
        ("Fe3O4", 592.0, 8),  # magnetite
        ("Cu", 47.2, 4),
        ("PbS", 209.0, 4),
        ("C9H8O4", 852.0, 4),  # aspirin
        ("Cu2CO3(OH)2", 364.4, 4),  # malachite
        ("Cu3(CO3)2(OH)2", 302.9, 2),  # azurite
        ("Mg5(CO3)4(OH)2·4H2O", 690.1, 2),  # hydromagnesite
        ("NaHCO3", 256.7, 4),  # nahcolite
        ("CaC2O4·2H2O", 1126.0, 8),  # weddellite, an oxalate
    ],
)
def test_known_cells(formula: str, volume: float, units: int) -> None:
    found = math.exp(log_units(volume, Composition.of_formula(formula), shipped().atomic_volumes))
    assert found == pytest.approx(units, rel=0.15)


@pytest.mark.parametrize(
    ("formula", "molecules"),
    [
        ("Cu2CO3(OH)2", False),
        ("Pb4SO4(CO3)2(OH)2", False),  # leadhillite
        ("NaAlCO3(OH)2", False),  # dawsonite
        ("CaCO3", False),
        ("CH4N2O", True),  # urea
        ("CaC2O4·2H2O", True),
        ("Cu(HCOO)2·4H2O", True),
        ("CH6N4O3", True),  # guanidinium nitrate: no oxygen is the carbon's
        ("NaCH3SO3", True),
    ],
)
def test_carbonates_are_not_taken_for_molecules(formula: str, molecules: bool) -> None:
    amounts = whole_amounts(Composition.of_formula(formula))
    assert amounts is not None
    assert molecular(amounts) is molecules


def test_an_answer_says_how_many_units_it_counted_with() -> None:
    """Forsterite, P b n m: four Mg2SiO4 in 290 cubic angstrom."""
    crystal = next(c for c in textbook() if c.name == "forsterite")
    grid = np.arange(10.0, 80.0, 0.02)
    radiation = Radiation.anode("Cu")
    pattern = simulate(crystal, radiation, grid, np.random.default_rng(3), peak_rate=3e4)
    identifier = Identifier()
    told = identifier.identify(pattern, crystal.cell, Composition.of_formula("Mg2SiO4"))
    assert told.formula_units == pytest.approx(4.0, rel=0.15)
    assert "by volume the cell holds" in told.reason
    alone = identifier.identify(pattern, crystal.cell)
    assert alone.formula_units is None
    assert "holds" not in alone.reason
    # what has no whole amounts counts once, in the network's posterior
    mixed = identifier.identify(pattern, crystal.cell, Composition.of_formula("Mg1.63Fe0.37SiO4"))
    assert mixed.formula_units is None
    # where network and fit are multiplied they count nowhere, and nobody says that they do
    plain = Identifier(settings=IdentifySettings(fusion="product"))
    assert plain.identify(pattern, crystal.cell, Composition.of_formula("Mg2SiO4")).formula_units is None
