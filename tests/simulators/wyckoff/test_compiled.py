"""The compiled kernels of the CPU against the tensor operations that other devices use."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from eg_agent.errors import BadInput
from simulators.counter_random import CounterRandom
from simulators.crystal import TRANSLATION_DENOMINATOR
from simulators.wyckoff.compiled import centred, position_tables
from simulators.wyckoff.config import WyckoffConfig
from simulators.wyckoff.source import WyckoffSource
from simulators.wyckoff.tables import tables

COUNT = 600


@pytest.fixture(scope="module")
def both():
    """The same crystals by kernels and by tensor operations."""
    random = CounterRandom(8, torch.arange(COUNT))
    config = WyckoffConfig(organic=0.15)
    return [WyckoffSource(config, compiled=compiled).draw(random, 0, 3000) for compiled in (True, False)]


def test_both_ways_place_the_same_crystals(both):
    ours, theirs = both
    # A least distance may be missed by one rounding, and another candidate taken: hardly ever.
    same = (ours.metric / theirs.metric - 1).abs().nan_to_num().amax(1) < 1e-5
    assert same.float().mean() > 0.995


@pytest.mark.slow
def test_both_ways_give_the_same_peaks(both):
    ours, theirs = (_by_reflection(peaks) for peaks in both)
    wrong = 0
    for mine, other in zip(ours, theirs):
        top = max(other.values())
        names = mine.keys() | other.keys()
        wrong += max(abs(mine.get(n, 0.0) - other.get(n, 0.0)) for n in names) > 1e-4 * top
    assert wrong <= 0.005 * COUNT


def _by_reflection(peaks):
    rows = []
    for hkl, strength in zip(peaks.hkl.long().tolist(), peaks.strength.tolist()):
        rows.append({tuple(h): s for h, s in zip(hkl, strength) if s > 0})
    return rows


def test_centres_at_the_origin_are_those_of_spglib():
    """In the settings of the tables every centrosymmetric group has one there."""
    from spglib import get_spacegroup_type

    t = tables()
    symbols = [get_spacegroup_type(int(h)) for h in t.hall]
    laue = {"-1", "2/m", "mmm", "4/m", "4/mmm", "-3", "-3m", "6/m", "6/mmm", "m-3", "m-3m"}
    expected = [s is not None and s.pointgroup_international in laue for s in symbols]
    assert centred().tolist() == expected


@pytest.mark.parametrize("number", [2, 14, 15, 62, 88, 141, 148, 166, 167, 194, 205, 227, 230])
def test_half_of_the_atoms_stand_for_all(number):
    """Weighted cosines over the kept atoms are the sum over the orbit, at reflections of the lattice."""
    t = tables()
    shape, origin, rotation, translation, images, count, weight = position_tables()
    vectors = t.centring[number - 1, : t.centring_count[number - 1]] / TRANSLATION_DENOMINATOR
    hkl = np.random.default_rng(number).integers(-5, 6, (200, 3))
    allowed = np.abs(hkl @ vectors.T - np.rint(hkl @ vectors.T)).max(1) < 1e-9
    hkl = hkl[allowed]
    for w in range(t.first[number - 1], t.first[number]):
        site = shape[w] @ np.random.default_rng(w).random(3) + origin[w]
        rows = images[w, : count[w]]
        some = np.cos(2 * np.pi * (rotation[rows] @ site + translation[rows]) @ hkl.T)
        rows = (number - 1) * 48 + t.orbit[w, : t.orbit_size[w]].astype(int)
        every = np.exp(2j * np.pi * (rotation[rows] @ site + translation[rows]) @ hkl.T).sum(0)
        assert np.allclose(weight[w, : count[w]] @ some, every)


def test_kernels_on_another_device_are_refused():
    with pytest.raises(BadInput, match="run on a CPU"):
        WyckoffSource(device="meta", compiled=True)
