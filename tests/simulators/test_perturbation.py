"""Perturbed copies keep the symmetry and change the rest."""

from __future__ import annotations

import numpy as np
import pytest

from eg_agent.errors import BadInput
from eg_agent.symmetry import groups
from simulators.corpus import strain_type
from simulators.crystal import Crystal, metric
from simulators.crystal_source import found_group
from simulators.perturbation import FAMILIES, Perturbation, perturbed
from simulators.random_crystals import random_crystal
from simulators.scattering import laue_unique, peak_list
from simulators.textbook import textbook

EVERYTHING = Perturbation(strain=0.02, displacement=0.08, substitution=1.0, vacancies=1.0)


def _by_name(name: str) -> Crystal:
    return next(c for c in textbook() if c.name.lower() == name)


@pytest.mark.parametrize("group", range(1, 100))
def test_every_group_is_kept(group):
    rng = np.random.default_rng(group)
    crystal = random_crystal(int(rng.choice(groups()[group - 1].space_groups)), rng, max_atoms=24)
    for _ in range(3):
        copy = perturbed(crystal, rng, EVERYTHING)
        assert copy.group == group == found_group(copy)
        assert copy.stabilisers.tolist() == crystal.stabilisers.tolist()
        g = metric(copy.cell)
        for rotation in crystal.operations.laue_rotations:
            assert np.allclose(rotation.T @ g @ rotation, g, atol=1e-8 * g.max())
        assert strain_type(copy.operations) == strain_type(crystal.operations)


@pytest.mark.parametrize("structure", textbook(), ids=lambda c: c.name)
def test_well_known_structures_keep_their_group(structure):
    rng = np.random.default_rng(1)
    for _ in range(3):
        assert found_group(perturbed(structure, rng, EVERYTHING)) == structure.group


def test_sites_move_along_free_parameters_only():
    crystal = _by_name("cassiterite")  # Sn on 2a without freedom, O on (x, x, 0)
    rng = np.random.default_rng(2)
    copies = [perturbed(crystal, rng, Perturbation(displacement=0.05)) for _ in range(20)]
    oxygen = np.array([c.fractional[list(crystal.elements).index("O")] for c in copies])
    tin = np.array([c.fractional[list(crystal.elements).index("Sn")] for c in copies])
    assert np.ptp(tin, axis=0).max() == 0
    assert np.allclose(oxygen[:, 0], oxygen[:, 1])
    assert np.ptp(oxygen[:, 2]) == 0
    assert np.ptp(oxygen[:, 0]) > 0.005


def test_intensities_change_and_absences_do_not():
    crystal = _by_name("forsterite")
    copy = perturbed(
        crystal, np.random.default_rng(3), Perturbation(strain=0.0, substitution=0.0, vacancies=0.0)
    )
    before, after = peak_list(crystal, 1.2), peak_list(copy, 1.2)
    assert before.hkl.tolist() == after.hkl.tolist()
    ratio = (after.f2 / after.f2.max()) / np.maximum(before.f2 / before.f2.max(), 1e-6)
    assert np.median(np.abs(np.log(ratio[before.f2 > 1e-3 * before.f2.max()]))) > 0.05
    assert copy.formula == crystal.formula
    assert len(laue_unique(copy.cell, copy.operations, 1.2)[0]) == len(before)


def test_substitutes_are_of_the_family_and_new_to_the_crystal():
    rng = np.random.default_rng(4)
    seen = 0
    for crystal in textbook():
        copy = perturbed(crystal, rng, Perturbation(substitution=1.0))
        pairs = dict(zip(crystal.elements, copy.elements))
        assert len(set(pairs.values())) == len(pairs)
        for old, new in pairs.items():
            if old != new:
                seen += 1
                assert new not in crystal.elements
                assert any(old in family and new in family for family in FAMILIES)
        assert (copy.formula != crystal.formula) == (copy.elements != crystal.elements)
    assert seen > 30


def test_entries_of_a_mixed_site_stay_together():
    crystal = _by_name("forsterite")
    mixed = Crystal(
        crystal.cell,
        crystal.operations,
        (*crystal.elements, "Fe"),
        np.concatenate([crystal.fractional, crystal.fractional[1:2]]),
        np.concatenate([crystal.occupancy, [0.2]]),
        np.concatenate([crystal.b_iso, [0.5]]),
        crystal.space_group,
    )
    copy = perturbed(mixed, np.random.default_rng(5), Perturbation(displacement=0.1))
    assert np.array_equal(copy.fractional[1], copy.fractional[-1])
    assert found_group(copy) == crystal.group


def test_the_same_numbers_give_the_same_copy():
    crystal = _by_name("beta-quartz")
    one, two = (perturbed(crystal, np.random.default_rng(6)) for _ in range(2))
    assert one.cell == two.cell
    assert np.array_equal(one.fractional, two.fractional)
    assert one.elements == two.elements


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strain": 0.5}, "strain must lie within"),
        ({"displacement": -1.0}, "0 or more"),
        ({"substitution": 1.5}, "is a share"),
        ({"radius_ratio": 0.5}, "1 or more"),
        ({"b_median": 0.0}, "above 0"),
    ],
)
def test_wrong_settings_are_one_sentence(arguments, message):
    with pytest.raises(BadInput, match=message):
        Perturbation(**arguments)
