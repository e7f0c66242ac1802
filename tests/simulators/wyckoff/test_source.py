"""Peaks and crystals of the sampler against gemmi, spglib and a sum over all atoms of the cell."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest
import torch

from eg_agent.errors import BadInput
from eg_agent.symmetry import group_of_space_group, groups
from simulators.corpus import D_MIN, strain_type
from simulators.counter_random import CounterRandom
from simulators.crystal import Crystal, metric
from simulators.crystal_source import CrystalSource, found_group
from simulators.wyckoff.config import WyckoffConfig
from simulators.wyckoff.elements import SYMBOLS, element_tensors
from simulators.wyckoff.source import WyckoffSource

WAVELENGTH = 1.540593
MANY = 3000


def _random(count: int, seed: int = 3) -> CounterRandom:
    return CounterRandom(seed, torch.arange(count))


@pytest.fixture(scope="module")
def source():
    return WyckoffSource()


def _independent(crystal: Crystal, hkl: np.ndarray) -> np.ndarray:
    """|F|^2 of the whole cell, averaged over Friedel pairs: every atom on its own, gemmi's factors."""
    positions, elements, _ = crystal.expanded()
    b_of = dict(zip(crystal.elements, crystal.b_iso))
    cell = gemmi.UnitCell(*crystal.cell)
    s2 = np.array([0.25 / cell.calculate_d(h) ** 2 for h in hkl.tolist()])
    total = np.zeros(len(hkl))
    for sign in (1, -1):
        f = np.zeros(len(hkl), complex)
        for name in sorted(set(elements)):
            element = gemmi.Element(name)
            number = element.atomic_number
            first, second = (
                (0.0, 0.0) if number < 3 else gemmi.cromer_liberman(number, 12398.41984 / WAVELENGTH)
            )
            assert element.it92 is not None
            factor = np.array([element.it92.calculate_sf(x) for x in s2]) + first + 1j * second
            own = positions[[e == name for e in elements]]
            waves = np.exp(2j * np.pi * sign * (hkl @ own.T)).sum(1)
            f += factor * np.exp(-b_of[name] * s2) * waves
        total += np.abs(f) ** 2 / 2
    return total


@pytest.mark.parametrize("number", range(1, 231))
def test_each_space_group_agrees_with_gemmi(number):
    """Positions, |F|^2, forbidden and allowed reflections of 50 crystals."""
    config = WyckoffConfig(space_groups=(number,), organic=0.02, most_atoms=60)
    source = WyckoffSource(config)
    random = _random(50, seed=number)
    peaks = source.draw(random, 0, MANY)
    assert (peaks.space_group == number).all()
    ours = source.crystals(random.subset(torch.arange(4)), 0)
    operations = ours[0].operations.gemmi_ops()
    space_group = gemmi.find_spacegroup_by_ops(operations)
    assert space_group is not None
    hkl = peaks.hkl.long().numpy()
    strength = peaks.strength.double().numpy()
    strength /= strength.max(1, keepdims=True)
    star = peaks.metric.double().numpy()
    occurs: dict[tuple[int, ...], int] = {}
    seen: set[tuple[int, ...]] = set()
    for row in range(50):
        present = strength[row] > 1e-6
        # Forbidden reflections are zero to 1e-6 of the maximum.
        seen |= {tuple(h) for h in hkl[row][present].tolist()}
        g = star[row]
        edges = np.sqrt(g[:3])
        angles = np.degrees(
            np.arccos([g[3] / edges[1] / edges[2], g[4] / edges[0] / edges[2], g[5] / edges[0] / edges[1]])
        )
        r = gemmi.UnitCell(*edges, *angles).reciprocal()
        for h in gemmi.make_miller_array(r, space_group, D_MIN * 1.0001).tolist():
            occurs[tuple(h)] = occurs.get(tuple(h), 0) + 1
    # make_miller_array leaves out what the group forbids, so both directions are tested here.
    assert not any(operations.is_systematically_absent(list(h)) for h in seen)
    lacking = [h for h, times in occurs.items() if times >= 40 and h not in seen]
    assert not lacking
    for row, crystal in enumerate(ours):
        found = peaks.strength[row].double().numpy()
        rows = found > 0
        cell = gemmi.UnitCell(*crystal.cell)
        exact = np.array([cell.calculate_d(h) for h in hkl[row][rows].tolist()])
        a, b, c, d, e, f = star[row]
        h, k, l_ = hkl[row][rows].T
        mine = (a * h * h + b * k * k + c * l_ * l_ + 2 * (d * k * l_ + e * h * l_ + f * h * k)) ** -0.5
        assert np.abs(mine / exact - 1).max() < 1e-6
        laue = np.concatenate([crystal.operations.laue_rotations, -crystal.operations.laue_rotations])
        size = [len({tuple(v) for v in (np.array(x) @ laue).tolist()}) for x in hkl[row][rows].tolist()]
        expected = _independent(crystal, hkl[row][rows]) * size
        ratio = expected.max() / found[rows].max()
        assert np.abs(found[rows] * ratio - expected).max() < 1e-4 * expected.max()
        strong = expected > 1e-3 * expected.max()
        assert np.abs(found[rows][strong] * ratio / expected[strong] - 1).max() < 1e-4


@pytest.mark.parametrize("group", range(1, 100))
def test_spglib_confirms_every_crystal(group):
    weight = np.zeros(99)
    weight[group - 1] = 1
    source = WyckoffSource(WyckoffConfig(group_weight=tuple(weight)))
    crystals = source.crystals(_random(50, seed=100 + group), 0)
    assert {c.group for c in crystals} == {group}
    assert [found_group(c) for c in crystals] == [group] * 50


def test_a_crystal_does_not_depend_on_its_batch(source):
    assert isinstance(source, CrystalSource)
    whole = source.crystals(_random(40), 0)
    for index in (0, 7, 39):
        alone = source.crystal(3, index)
        assert alone.cell == whole[index].cell
        assert alone.elements == whole[index].elements
        assert np.array_equal(alone.fractional, whole[index].fractional)
    part = source.draw(_random(40).subset(torch.tensor([5, 30])), 0, 100)
    everything = source.draw(_random(40), 0, 100)
    assert torch.allclose(part.metric, everything.metric[[5, 30]], rtol=1e-6)
    scale = everything.strength[[5, 30]].amax(1, keepdim=True)
    assert torch.allclose(part.strength / scale, everything.strength[[5, 30]] / scale, atol=1e-5)


def test_crystals_of_one_seed_differ_and_seeds_differ(source):
    formulas = {source.crystal(seed, index).cell for seed in (1, 2) for index in range(5)}
    assert len(formulas) == 10


def test_only_the_strongest_peaks_are_kept_strongest_first(source):
    some, every = (source.draw(_random(30), 0, most) for most in (20, MANY))
    sine2 = (WAVELENGTH / 2) ** 2 * _inverse_d2(some)
    seen = some.strength * (1 + (1 - 2 * sine2) ** 2) / (sine2 * (1 - sine2).sqrt())
    seen = torch.where(some.strength > 0, seen, 0.0)
    assert (seen[:, 1:] <= seen[:, :-1] * 1.00001).all()
    assert torch.equal(some.hkl, every.hkl[:, :20])
    assert (every.strength[:, -1] == 0).all()


def _inverse_d2(peaks):
    h, k, l_ = peaks.hkl.unbind(2)
    a, b, c, d, e, f = peaks.metric.T[:, :, None]
    return a * h * h + b * k * k + c * l_ * l_ + 2 * (d * k * l_ + e * h * l_ + f * h * k)


def test_kinds_and_groups_are_those_of_the_crystals(source):
    random = _random(60, seed=5)
    peaks = source.draw(random, 0, 50)
    for row, crystal in enumerate(source.crystals(random, 0)):
        assert peaks.kind[row] == strain_type(crystal.operations)
        assert peaks.group[row] + 1 == crystal.group
        assert peaks.space_group[row] == crystal.space_group


def test_groups_are_drawn_as_asked():
    weight = np.zeros(99)
    weight[[13, 40]] = (1, 3)
    source = WyckoffSource(WyckoffConfig(group_weight=tuple(weight)))
    probability = source.group_probability()
    assert probability[[13, 40]].tolist() == [0.25, 0.75]
    drawn = source.draw(_random(2000), 0, 1).group
    assert set(drawn.tolist()) == {13, 40}
    assert abs((drawn == 40).float().mean() - 0.75) < 0.04
    members = set(groups()[40].space_groups)
    found = source.draw(_random(2000), 0, 1)
    assert set(found.space_group[found.group == 40].tolist()) == members


def test_atoms_keep_their_distances_in_cells_of_real_size(source):
    near = element_tensors(torch.device("cpu")).squared_distance.sqrt().numpy()
    steps = np.stack(np.meshgrid(*[range(-1, 2)] * 3), -1).reshape(-1, 3)
    volumes, sites = [], []
    for crystal in source.crystals(_random(80, seed=9), 0):
        positions, elements, _ = crystal.expanded()
        volumes.append(crystal.volume / len(positions))
        sites.append(len(crystal.elements))
        delta = positions[:, None] - positions[None]
        delta -= np.rint(delta)
        delta = delta[:, :, None] + steps
        distance = np.sqrt(np.einsum("abni,ij,abnj->abn", delta, metric(crystal.cell), delta))
        distance[distance < 1e-6] = np.inf
        kinds = [SYMBOLS.index(e) for e in elements]
        organic = int(crystal.b_iso.min() > 1.5)
        bound = near[organic][np.ix_(kinds, kinds)]
        assert (distance.min(2) > bound * 0.999).all(), crystal.name
    assert 12 < np.median(volumes) < 30
    assert max(sites) > 15
    assert min(sites) < 4


def test_large_asymmetric_units_are_drawn():
    config = WyckoffConfig(
        space_groups=(1, 2, 14), atoms_median=110, atoms_sigma=0.2, organic=0.0, most_atoms=240
    )
    crystals = WyckoffSource(config).crystals(_random(12), 0)
    assert max(len(c.elements) for c in crystals) > 50
    assert all(len(c.elements) <= 60 for c in crystals)


def test_cells_are_as_large_as_those_of_real_structures(source, structures):
    """Atoms and volume of primitive cells, groups weighted alike: minerals and computed ones by halves."""
    pd = pytest.importorskip("pandas")
    computed = pd.read_parquet(
        structures / "materials_project.parquet", columns=["lattice", "nsites", "hall_number"]
    )
    minerals = pd.read_parquet(structures / "minerals.parquet")
    minerals = minerals[minerals.ok & ~minerals.duplicate]
    import spglib

    number = [0] + [spglib.get_spacegroup_type(h).number for h in range(1, 531)]  # pyright: ignore[reportOptionalMemberAccess]
    centring = np.array([0] + [len(gemmi.SpaceGroup(n).operations().cen_ops) for n in range(1, 231)])
    found = []
    for space_group, cell, atoms, divide in (
        (np.array(number)[computed.hall_number], computed.lattice, computed.nsites, False),
        (minerals.spacegroup_number.to_numpy(), minerals.lattice, minerals.n_sites, True),
    ):
        per_cell = centring[space_group] if divide else 1
        volume = np.sqrt(np.linalg.det([metric(tuple(c)) for c in cell])) / per_cell
        group = np.array([group_of_space_group(int(n)) for n in space_group])
        weight = 1.0 / np.bincount(group)[group]
        found.append((volume, atoms.to_numpy() / per_cell, weight / weight.sum()))
    volume, atoms, weight = (np.concatenate(x) for x in zip(*found))
    crystals = source.crystals(_random(1500, seed=21), 0)
    primitive = centring[[c.space_group for c in crystals]]
    ours = np.array([c.volume for c in crystals]) / primitive
    count = np.array([sum(len(c.orbit(i)) for i in range(len(c.elements))) for c in crystals]) / primitive
    for real, mine in ((volume, ours), (atoms, count)):
        order = np.argsort(real)
        cumulative = np.cumsum(weight[order]) / weight.sum()
        for share, factor in ((0.25, 1.5), (0.5, 1.3), (0.75, 1.4), (0.9, 1.5), (0.95, 1.5)):
            expected = real[order][np.searchsorted(cumulative, share)]
            assert expected / factor < np.quantile(mine, share) < expected * factor, (share, expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_peaks(source):
    there = WyckoffSource(device="cuda")
    index = torch.arange(256)
    here = source.draw(CounterRandom(3, index), 0, 200)
    far = there.draw(CounterRandom(3, index.cuda()), 0, 200)
    same = (far.metric.cpu() / here.metric - 1).abs().amax(1)[:, None] < 1e-4
    assert same.float().mean() > 0.99  # a least distance may be missed by one rounding
    scale = here.strength.amax(1, keepdim=True)
    difference = (far.strength.cpu().sort(1)[0] - here.strength.sort(1)[0]).abs() / scale
    assert (difference * same).max() < 1e-4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"group_weight": (1.0,)}, "99 weights"),
        ({"space_groups": (0,)}, "numbers from 1 to 230"),
        ({"elements": (1.0, 1.0)}, "five weights"),
        ({"alloys": 0.8, "organic": 0.5}, "shares"),
        ({"organic_sites": (5, 80)}, "must lie within"),
        ({"b_iso": (2.0, 1.0)}, "is no range"),
        ({"candidates": 0}, "at least 1"),
        ({"atoms_median": 0.0}, "1 or more"),
    ],
)
def test_wrong_settings_are_one_sentence(arguments, message):
    with pytest.raises(BadInput, match=message):
        WyckoffConfig(**arguments)


def test_negative_numbers_and_empty_choices_are_refused(source):
    with pytest.raises(BadInput, match="count from 0"):
        source.crystal(0, -1)
    weight = [0.0] * 99
    weight[0] = 1.0
    with pytest.raises(BadInput, match="no group is left"):
        WyckoffSource(WyckoffConfig(group_weight=tuple(weight), space_groups=(1,)))
