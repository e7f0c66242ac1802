"""What lattices say of groups: against torch, what it may never do, and a few that crystallographers know."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eg_agent.chemistry import Composition
from eg_agent.identify.known_lattices import counted, tensors_of
from eg_agent.identify.lattice_prior import MOST, NEVER, WEIGHTS, LatticePrior, prior_of, shipped
from eg_agent.symmetry import groups
from eg_agent.verify.lattice_shape import N_FEATURES, features, lattice_shape

NUMBER = {entry.symbol: entry.number for entry in groups()}


def test_it_is_torchs_network() -> None:
    torch.manual_seed(4)
    layers = [torch.nn.Linear(N_FEATURES, 7), torch.nn.Linear(7, 6), torch.nn.Linear(6, 99)]
    frequency = np.log(np.random.default_rng(1).dirichlet(np.ones(99), 5))
    frequency[:, 20:40] = NEVER
    names = {
        f"shape.{i}.{n}": p.detach().numpy() for i, x in enumerate(layers) for n, p in x.named_parameters()
    }
    cell = (5.1, 5.1, 9.2, 90.0, 90.0, 90.0)
    shape = lattice_shape(cell)
    assert shape is not None
    numbers = shape.numbers[None]
    volumes = np.full((3, 119), 10.0)
    # 239.3 cubic angstrom, 50 of them a formula unit
    assert np.exp(shape.log_volume) == pytest.approx(5.1**2 * 9.2)
    units = np.log([5.1**2 * 9.2 / 50.0])
    values = torch.tensor(features(np.array([shape.family]), numbers, units), dtype=torch.float32)
    silu = torch.nn.functional.silu
    base = torch.tensor(frequency[shape.family], dtype=torch.float32)
    with torch.no_grad():
        out = layers[2](silu(layers[1](silu(layers[0](values)))))[0]
        expected = (torch.log_softmax(out + base, 0) - torch.log_softmax(base, 0)).numpy()
    far = np.full((1, 4), 90.0), np.array([np.nan]), np.array([1]), np.ones(1), np.ones((5, 2))
    nothing_alike = tensors_of(counted(np.array([shape.family]), *far))
    read = prior_of({"frequency": frequency, "atomic_volumes": volumes, **names, **nothing_alike})
    found = read(cell, Composition.of_formula("Al4O6"))
    kept = np.r_[0:20, 40:99]
    np.testing.assert_allclose(found[kept], np.clip(expected, -MOST, MOST)[kept], atol=1e-5)
    assert not found[20:40].any()


@given(a=st.floats(2.0, 90.0), b=st.floats(2.0, 90.0), c=st.floats(2.0, 90.0), beta=st.floats(60.0, 140.0))
@settings(max_examples=100)
def test_no_lattice_is_beyond_it(a: float, b: float, c: float, beta: float) -> None:
    for cell in ((a, b, c, 90.0, beta, 90.0), (a, b, c, 90.0, 90.0, 90.0), (a, a, a, 90.0, 90.0, 90.0)):
        said = shipped()(cell)
        assert said.shape == (99,)
        assert np.isfinite(said).all()
        assert np.abs(said).max() <= MOST


def test_what_is_known_of_a_triclinic_lattice_is_nothing() -> None:
    assert not shipped()((5.0, 6.0, 7.0, 80.0, 85.0, 95.0)).any()


@pytest.mark.parametrize(
    ("cell", "more", "less"),
    [
        # a perovskite's aristotype, and a Heusler alloy: the first is primitive, the second face-centred
        ((3.905, 3.905, 3.905, 90.0, 90.0, 90.0), "P - - -", "F - - -"),
        ((5.95, 5.95, 5.95, 90.0, 90.0, 90.0), "F - - -", "P - - -"),
        # hexagonal close packing, c/a = 1.6 at 45 cubic angstrom, is P - - c; bismuth telluride's axis is R
        ((2.95, 2.95, 4.68, 90.0, 90.0, 120.0), "P - - c", "R - - -"),
        ((4.39, 4.39, 30.5, 90.0, 90.0, 120.0), "R - - -", "P - - c"),
    ],
)
def test_lattices_that_everybody_knows(cell: tuple[float, ...], more: str, less: str) -> None:
    """Posterior odds within the family, shares included, by structures that anybody can name."""
    prior = shipped()
    shape = lattice_shape(cell)  # type: ignore[arg-type]
    assert shape is not None
    family = {"cubic": "c", "trigonal/hexagonal": "h"}

    def posterior(symbol: str) -> float:
        chosen = [e for e in groups() if e.symbol == symbol and e.bravais[0] == family.get(e.crystal_system)]
        chosen = [e for e in chosen if prior.frequency[shape.family, e.number - 1] > 0.5 * NEVER]
        at = [e.number - 1 for e in chosen]
        return float(np.exp(prior.frequency[shape.family, at] + prior(cell)[at]).sum())  # type: ignore[arg-type]

    assert posterior(more) > 2.0 * posterior(less)


def test_the_shipped_prior_says_what_it_is_worth() -> None:
    assert isinstance(shipped(), LatticePrior)
    found = json.loads(WEIGHTS.with_suffix(".json").read_text("utf-8"))
    assert found["held_out"]["nll"] < found["held_out"]["family_nll"] - 0.4
    assert found["held_out"]["units_nll"] < found["held_out"]["nll"] - 0.3
    beside = found["held_out_beside_known"]
    assert beside["nll"] < found["held_out"]["nll"] - 0.1
    assert beside["units_nll"] < found["held_out"]["units_nll"] - 0.1
    assert "no pattern" in found["trained_on"]
