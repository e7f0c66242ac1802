"""Random crystals have the symmetry that was asked for."""

from __future__ import annotations

import numpy as np
import pytest

from eg_agent.errors import BadInput
from eg_agent.symmetry import group_of_space_group
from simulators.crystal import metric
from simulators.crystal_source import found_group
from simulators.preparation import confirmed_random_crystal
from simulators.random_crystals import random_crystal


@pytest.mark.parametrize("space_group", range(1, 231))
def test_spglib_finds_the_intended_extinction_group(space_group):
    rng = np.random.default_rng(space_group)
    crystal = random_crystal(space_group, rng, max_atoms=60)
    assert crystal.group == group_of_space_group(space_group)
    assert found_group(crystal, symprec=1e-4) == crystal.group


@pytest.mark.slow
@pytest.mark.parametrize("space_group", range(1, 231))
def test_spglib_finds_the_group_in_many(space_group):
    rng = np.random.default_rng([space_group, 1])
    for style in ("inorganic", "molecular"):
        for _ in range(5):
            crystal = random_crystal(space_group, rng, style)
            assert found_group(crystal, symprec=1e-4) == crystal.group, (space_group, style)


@pytest.mark.parametrize("space_group", [1, 14, 62, 139, 166, 225])
def test_crystals_are_plausible(space_group):
    volumes, distances, special = [], [], 0
    for seed in range(12):
        rng = np.random.default_rng([space_group, seed])
        crystal = random_crystal(space_group, rng)
        positions, _, _ = crystal.expanded()
        volumes.append(crystal.volume / len(positions))
        delta = positions[:, None] - positions[None]
        delta -= np.rint(delta)
        squared = np.einsum("mni,ij,mnj->mn", delta, metric(crystal.cell), delta)
        squared[np.diag_indices(len(positions))] = np.inf
        distances.append(np.sqrt(squared.min()))
        special += int((crystal.stabilisers > 1).any())
        assert (crystal.stabilisers == 1).any()  # a general orbit is always there
    assert 8 < np.median(volumes) < 30
    assert np.median(distances) > 1.0
    assert special > 0 or space_group == 1


def test_a_seed_gives_one_crystal():
    first, second = (random_crystal(62, np.random.default_rng(5)) for _ in range(2))
    assert first.cell == second.cell
    assert first.elements == second.elements
    assert np.array_equal(first.fractional, second.fractional)
    assert confirmed_random_crystal(62, np.random.default_rng(5), "inorganic").cell == first.cell


def test_space_groups_end_at_230():
    with pytest.raises(BadInput, match="not between 1 and 230"):
        random_crystal(231, np.random.default_rng(0))
