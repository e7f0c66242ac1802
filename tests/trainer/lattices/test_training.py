"""The prior of lattices learns what there is to learn and nothing more; its files and its command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file
from typer.testing import CliRunner

from eg_agent.errors import BadInput
from eg_agent.identify.lattice_prior import NEVER, prior_of
from simulators.textbook import textbook
from trainer.cli.main import app
from trainer.lattices.collecting import Lattices, atomic_volumes, cell_contents, lattices_of
from trainer.lattices.counting import count
from trainer.lattices.packaging import ship
from trainer.lattices.training import LatticeTraining, frequencies, judged, off, train

SMALL = LatticeTraining(passes=8, batch=32, hidden=24)

SALT = """data_NaCl
_cell_length_a 5.64
_cell_length_b 5.64
_cell_length_c 5.64
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_space_group_IT_number 225
_symmetry_space_group_name_H-M 'F m -3 m'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Na1 Na 0 0 0
Cl1 Cl 0.5 0.5 0.5
"""


def made(count: int = 1500, seed: int = 0, *, telling: bool = True, units_tell: bool = False) -> Lattices:
    """Cubic lattices of two groups alike often: small ones are of the first, large ones of the second."""
    rng = np.random.default_rng(seed)
    group = rng.choice([81, 94], count)
    middle = np.where(group == 81, 4.0, 6.0) if telling else 5.0
    numbers = np.stack([middle + 0.3 * rng.standard_normal(count), *np.zeros((3, count))], axis=1)
    held_out = np.arange(count) % 5 == 0
    units = np.where(group == 81, 1.0, 4.0) if units_tell else np.full(count, np.nan)
    half = np.arange(count) % 2 == 0
    return Lattices(
        np.full(count, 4),
        numbers,
        group,
        held_out,
        np.ones(count),
        np.log(units),
        np.full((3, 119), 10.0),
        half,
    )


def test_it_learns_what_the_volume_tells(tmp_path: Path) -> None:
    lattices = made()
    network, found = train(lattices, SMALL)
    assert found.family_nll == pytest.approx(np.log(2.0), abs=0.01)
    # two normal distributions 6.7 standard deviations apart: next to nothing is left open
    assert found.nll < 0.05
    assert found.first > 0.99
    known, beside = count(lattices, network)
    assert known.weight.sum() == pytest.approx((~lattices.held_out).sum())
    assert beside.nll < 0.05
    about = ship(network, found, known, beside, SMALL, tmp_path / "out", 1200, "2026-01-01")
    assert json.loads((tmp_path / "out" / "lattice_prior.json").read_text()) == json.loads(json.dumps(about))
    prior = prior_of(load_file(tmp_path / "out" / "lattice_prior.safetensors"))
    edge = float(np.exp(4.0 / 3.0))
    small = prior((edge, edge, edge, 90.0, 90.0, 90.0))
    assert small[80] == pytest.approx(np.log(2.0), abs=0.05)
    assert small[93] < -2.0
    assert small[0] == 0.0


def test_what_the_network_smooths_over_is_counted() -> None:
    """Groups that alternate with the volume, a per cent at a time: beyond the network's resolution."""
    lattices = made(telling=False)
    volume = np.random.default_rng(3).integers(0, 12, lattices.group.size)
    lattices.group[:] = np.where(volume % 2 == 0, 81, 94)
    lattices.numbers[:, 0] = 5.0 + 0.3 * volume
    lattices.numbers[:, 2] = 0.0
    network, alone = train(lattices, replace(SMALL, passes=1))
    known, beside = count(lattices, network)
    assert alone.nll > 0.5
    assert beside.nll < 0.1
    assert beside.lattices == (lattices.held_out & ~lattices.half).sum()
    assert known.belief[4, 0] <= 1.0


def test_counting_says_what_it_lacks() -> None:
    lattices = made(400)
    network, _ = train(lattices, replace(SMALL, passes=1))
    lattices.half[:] = True
    with pytest.raises(BadInput, match="too few lattices were held out"):
        count(lattices, network)


def test_it_learns_nothing_where_there_is_nothing() -> None:
    _, found = train(made(telling=False), SMALL)
    assert found.nll == pytest.approx(found.family_nll, abs=0.06)


def test_formula_units_tell_where_nothing_else_does() -> None:
    _, found = train(made(telling=False, units_tell=True), SMALL)
    assert found.nll == pytest.approx(found.family_nll, abs=0.06)
    assert found.units_nll < 0.05
    assert found.units_first > 0.99


def test_atomic_volumes_are_those_that_made_the_cells() -> None:
    rng = np.random.default_rng(2)
    truth, contents = np.zeros(119), np.zeros((300, 119))
    truth[[8, 13, 38]] = 9.0, 16.0, 41.0
    contents[:, [8, 13, 38]] = rng.integers(0, 9, (300, 3)) + 1
    volume = contents @ truth * np.exp(0.02 * rng.standard_normal(300))
    found = atomic_volumes(contents, volume)
    np.testing.assert_allclose(found[0, [8, 13, 38]], truth[[8, 13, 38]], rtol=0.03)
    # what is nowhere, and a kind that is nowhere, is taken for an atom like any other
    usual = np.median(volume / contents.sum(axis=1))
    assert found[0, 92] == pytest.approx(usual, rel=0.01)
    assert found[2, 13] == pytest.approx(usual)
    # a few frameworks with nothing in their holes do not move them
    volume[:20] *= 3.0
    again = atomic_volumes(contents, volume)
    np.testing.assert_allclose(again[0, [8, 13, 38]], truth[[8, 13, 38]], rtol=0.03)


def test_contents_are_what_the_cell_is_known_to_hold() -> None:
    """Anatase holds 4 TiO2, pyrite 4 FeS2, forsterite 4 Mg2SiO4."""
    known = (("anatase", {22: 4, 8: 8}), ("pyrite", {26: 4, 16: 8}), ("forsterite", {12: 8, 14: 4, 8: 16}))
    for name, wanted in known:
        crystal = next(c for c in textbook() if c.name == name)
        found = cell_contents(crystal)
        assert {i: found[i] for i in np.flatnonzero(found)} == pytest.approx(wanted)


def test_the_same_seed_gives_the_same_network() -> None:
    one, two = (train(made(400), replace(SMALL, passes=2))[0].tensors() for _ in range(2))
    for name, values in one.items():
        np.testing.assert_array_equal(values, two[name])


def test_shares_are_of_the_family() -> None:
    found = frequencies(np.array([0, 0, 0, 4]), np.array([1, 1, 2, 94]), np.array([1.0, 1.0, 2.0, 5.0]))
    np.testing.assert_allclose(np.exp(found[0, :2]), [0.5, 0.5])
    assert found[4, 93] == 0.0
    assert (found[1:4] == NEVER).all()


@given(seed=st.integers(0, 1000), noise=st.floats(0.0, 0.2))
@settings(max_examples=50)
def test_lattices_that_are_off_keep_what_their_family_demands(seed: int, noise: float) -> None:
    rng = np.random.default_rng(seed)
    family = rng.integers(5, size=40)
    numbers = np.zeros((40, 4))
    numbers[:, 0] = rng.uniform(3.0, 8.0, 40)
    numbers[:, 1:3] = np.sort(rng.uniform(0.0, 1.0, (40, 2)), axis=1)
    numbers[family > 1, 1] = 0.0
    numbers[family == 4, 2] = 0.0
    moved = off(family, numbers, noise, rng)
    assert not moved[family > 1, 1].any()
    assert not moved[family == 4, 2].any()
    assert not moved[family > 0, 3].any()
    ascending = moved[family == 1]
    assert (ascending[:, 1] >= 0.0).all()
    assert (ascending[:, 2] >= ascending[:, 1]).all()


def test_too_little_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="too few to train on"):
        train(made(20), SMALL)
    with pytest.raises(BadInput, match="not a folder"):
        lattices_of(tmp_path / "none")
    (tmp_path / "salt.cif").write_text(SALT)
    with pytest.raises(BadInput, match="1 lattices of"):
        lattices_of(tmp_path)
    network, _ = train(made(400), replace(SMALL, passes=1))
    unknown = made(10)
    unknown.group[:] = 98
    with pytest.raises(BadInput, match="give more structures"):
        judged(network, unknown)


def test_the_command_refuses_a_file_as_out_and_a_missing_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "salt.cif").write_text(SALT)
    wrong = CliRunner().invoke(
        app, ["lattices", "--structures", str(tmp_path), "--out", str(tmp_path / "file")]
    )
    assert isinstance(wrong.exception, BadInput)
    assert "is a file" in str(wrong.exception)
    wrong = CliRunner().invoke(
        app, ["lattices", "--structures", str(tmp_path / "no"), "--out", str(tmp_path / "out")]
    )
    assert isinstance(wrong.exception, BadInput)
    assert not (tmp_path / "out").exists()
