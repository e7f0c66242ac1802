"""Strain, texture, microstrain and multiplicity in batches, against gemmi and the single-pattern code."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest
import torch

from simulators.corpus import strain_type
from simulators.counter_random import CounterRandom
from simulators.peak_source import Peaks
from simulators.random_crystals import random_crystal
from simulators.scattering import peak_list
from simulators.specimen import Texture
from simulators.stephens import monomials
from simulators.stream_config import SampleRanges
from simulators.stream_crystal import (
    LAUE_CLASSES,
    Sample,
    cosines2,
    laue_rotations,
    laue_table,
    march_dollase,
    multiplicity,
)

#: One space group for each Laue class.
SPACE_GROUPS = (2, 14, 62, 88, 136, 148, 163, 164, 176, 194, 205, 225)


def _signless(rotation: np.ndarray) -> tuple[int, ...]:
    flat = rotation.ravel()
    return tuple((flat * (1 if flat[np.flatnonzero(flat)[0]] > 0 else -1)).tolist())


def test_rotations_of_all_space_groups_are_gemmis():
    rows, table = laue_rotations(), laue_table()
    for number in range(1, 231):
        limits = (2, 15, 74, 142, 194, 230)
        kind = (7, 4, 3, 1, 2, 0)[int(np.searchsorted(limits, number))]
        mine = {_signless(rotation) for rotation in rows[table[kind, number]]}
        operations = gemmi.find_spacegroup_by_number(number).operations()
        theirs = {_signless(np.array(op.rot) // op.DEN) for op in operations.sym_ops}
        assert mine == theirs, number


def test_rhombohedral_axes_permute_all_three():
    rows = laue_rotations()
    for name, count in (("-3 r", 3), ("-3m r", 6)):
        found = {_signless(rotation) for rotation in rows[LAUE_CLASSES.index(name)]}
        assert len(found) == count
        for rotation in found:
            assert sorted(np.abs(np.array(rotation)).reshape(3, 3).sum(0)) == [1, 1, 1]


def _batch(number: int):
    """A crystal, its peaks and the same as tensors."""
    crystal = random_crystal(number, np.random.default_rng(number), max_atoms=12)
    peaks = peak_list(crystal, 1.2)
    r = np.linalg.inv(_metric(crystal.cell))
    metric = [r[0, 0], r[1, 1], r[2, 2], r[1, 2], r[0, 2], r[0, 1]]
    kind = torch.tensor([strain_type(crystal.operations)])
    batch = Peaks(
        torch.tensor(peaks.hkl, dtype=torch.float32)[None],
        torch.tensor(peaks.f2 * peaks.multiplicity, dtype=torch.float32)[None],
        torch.tensor([metric], dtype=torch.float32),
        kind, torch.tensor([number]), torch.tensor([0]), torch.tensor([-1]),
    )  # fmt: skip
    rotations = torch.as_tensor(laue_rotations(), dtype=torch.float32)
    laue = rotations[torch.as_tensor(laue_table())[kind, torch.tensor([number])]]
    return crystal, peaks, batch, laue


def _metric(cell):
    a, b, c = cell[:3]
    ca, cb, cg = np.cos(np.radians(cell[3:]))
    return np.array(
        [[a * a, a * b * cg, a * c * cb], [a * b * cg, b * b, b * c * ca], [a * c * cb, b * c * ca, c * c]]
    )


@pytest.mark.parametrize("number", SPACE_GROUPS)
def test_multiplicity_texture_and_spacings_agree_with_the_single_pattern(number):
    crystal, peaks, batch, laue = _batch(number)
    assert torch.equal(
        multiplicity(batch.hkl, laue)[0], torch.tensor(peaks.multiplicity, dtype=torch.float32)
    )
    plain = Sample(SampleRanges(), torch.device("cpu")).plain_lines(batch)
    assert np.allclose(plain.s[0].numpy(), 0.5 / peaks.d, rtol=2e-6)
    for axis in ((0, 0, 1), (1, 0, 0), (1, 1, 1), (2, 1, 0)):
        for r in (0.5, 0.8, 1.6):
            cos2 = cosines2(batch.hkl, batch.metric, 4 * plain.s**2, torch.tensor([axis]).float(), laue)
            factor = march_dollase(cos2, torch.tensor([r]))[0].numpy()
            expected = Texture(axis, r).factors(crystal.cell, crystal.operations, peaks.hkl)
            assert np.allclose(factor, expected, rtol=1e-4)


@pytest.mark.parametrize("number", SPACE_GROUPS)
def test_microstrain_is_a_symmetric_quartic_form(number):
    """Its square over d^4 is one of Stephens' sums: a polynomial of degree four, equal on equivalents."""
    crystal, peaks, batch, _ = _batch(number)
    lines = Sample(SampleRanges(), torch.device("cpu")).lines(
        CounterRandom(1, torch.tensor([4])), 30, batch, torch.tensor([1.5406]), torch.tensor([0.3])
    )
    form = (lines.microstrain[0].double().numpy() / peaks.d**2) ** 2
    terms = monomials(peaks.hkl)
    fitted = terms @ np.linalg.lstsq(terms / form.max(), form / form.max(), rcond=None)[0]
    assert np.allclose(fitted, form, atol=2e-5 * form.max())
    assert lines.microstrain.max() <= 0.3 * (1 + 1e-5)
    images = np.einsum("kj,njl->nkl", peaks.hkl, crystal.operations.laue_rotations)
    values = monomials(images) @ np.linalg.lstsq(terms, form, rcond=1e-9)[0]
    assert np.allclose(values, form, atol=1e-3 * form.max())


def test_strain_keeps_the_system():
    config = SampleRanges(strain_common=0.05, strain_axes=0.03, strain_shear=0.03)
    sample = Sample(config, torch.device("cpu"))
    for number in SPACE_GROUPS:
        _, _, batch, laue = _batch(number)
        strained = sample.strained(CounterRandom(2, torch.tensor([7])), 20, batch)
        g = strained.metric[0, [0, 5, 4, 5, 1, 3, 4, 3, 2]].view(3, 3)
        assert not torch.allclose(strained.metric, batch.metric, rtol=1e-3)
        turned = laue[0] @ g @ laue[0].transpose(1, 2)
        assert torch.allclose(turned, g.expand_as(turned), atol=1e-6), number


def test_grains_scatter_rare_reflections_most():
    """Relative variance 2 / number of grains; mean 1 (see `simulators.specimen.Grains`)."""
    _, _, batch, laue = _batch(225)
    many = 4000
    wide = Peaks(
        *(getattr(batch, n).expand(many, *getattr(batch, n).shape[1:]) for n in batch.__dataclass_fields__)
    )
    config = SampleRanges(
        intensity_sigma=0.0, b_range=(0.0, 0.0), texture_share=0.0, spotty_share=1.0, grains=(5.0, 5.0)
    )
    lines = Sample(config, torch.device("cpu")).lines(
        CounterRandom(3, torch.arange(many)), 30, wide, torch.full((many,), 1.5406), None
    )
    ratio = lines.strength / wide.strength
    number = multiplicity(batch.hkl, laue)[0] * 5.0 * 0.5 / (1.5406 * lines.s[0])
    seen = batch.strength[0] > 0
    assert torch.allclose(ratio.mean(0)[seen], torch.ones(int(seen.sum())), atol=0.03)
    assert torch.allclose(ratio.var(0)[seen] * number[seen] / 2, torch.ones(int(seen.sum())), atol=0.35)
