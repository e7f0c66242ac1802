"""The stream: a function of (seed, number), right groups in right shares, right profiles."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from scipy.special import voigt_profile

from eg_agent.errors import BadInput
from eg_agent.patterns import Grid
from eg_agent.patterns.radiation import CU_KALPHA1
from simulators.corpus import D_MIN, MINERAL, MOLECULAR, RANDOM, pack
from simulators.counter_random import CounterRandom
from simulators.peak_source import CorpusSource, MixedSource, structure_probability
from simulators.random_crystals import random_crystal
from simulators.scattering import lorentz_polarisation, peak_list
from simulators.stream import PatternStream
from simulators.stream_config import (
    InstrumentRanges,
    Lamp,
    RecordingRanges,
    SampleRanges,
    Sampling,
    StreamConfig,
    beamline,
    stage1,
    stage2,
    texture,
)

GRID = Grid(5.0, 90.0, 4096)
STAGES = [stage1, stage2, texture, beamline]


def still(**changes) -> StreamConfig:
    """A configuration without any chance in it, but for the structure; changes by the name of a field."""
    config = StreamConfig(
        Sampling(uniform_groups=True),
        SampleRanges(
            strain_common=0.0, strain_axes=0.0, strain_shear=0.0, intensity_sigma=0.0, b_range=(0.0, 0.0),
            texture_share=0.0, spotty_share=0.0, impurity_share=0.0,
        ),
        InstrumentRanges(
            beta_share=0.0, fwhm_median=0.12, fwhm_sigma=0.0, caglioti=0.0, lorentz=(0.0, 0.0),
            anisotropy_share=0.0, axial=(0.0, 0.0), transparency=(0.0, 0.0), zero=0.0, displacement=0.0,
            overspill_share=0.0, roughness_share=0.0,
        ),
        RecordingRanges(
            background_median=0.0, counts=None, dead_time=(0.0, 0.0), saturation_share=0.0, coarse_share=0.0,
            smooth_share=0.0, subtract_share=0.0, offset_share=0.0, full_range_share=1.0,
        ),
    )  # fmt: skip
    for name, value in changes.items():
        if name == "sampling":
            config = replace(config, sampling=value)
            continue
        group = next(f.name for f in fields(config) if hasattr(getattr(config, f.name), name))
        config = replace(config, **{group: replace(getattr(config, group), **{name: value})})
    return config


@pytest.mark.parametrize("stage", STAGES)
def test_a_pattern_does_not_depend_on_its_batch_or_on_a_restart(corpus, stage):
    whole = PatternStream(corpus, stage(), 5, GRID).batch(0, 24)
    again = PatternStream(corpus, stage(), 5, GRID)
    parts = [again.batch(17, 7), again.batch(0, 3), again.batch(3, 14)]
    for name in ("coverage", "group", "structure"):
        joined = torch.cat([getattr(parts[i], name) for i in (1, 2, 0)])
        assert torch.equal(joined, getattr(whole, name)), name
    joined = torch.cat([parts[i].intensity for i in (1, 2, 0)])
    difference = (joined - whole.intensity).abs()
    # Counts are whole numbers: a sum in another order can tip one over, by one count of many.
    assert (difference > 1e-6).float().mean() < 1e-3
    assert difference.max() < 1e-3
    chosen = torch.tensor([20, 3, 11])
    some = again.at(chosen)
    assert torch.equal(some.structure, whole.structure[chosen])
    assert ((some.intensity - whole.intensity[chosen]).abs() > 1e-6).float().mean() < 1e-3
    other = PatternStream(corpus, stage(), 6, GRID).batch(0, 24)
    assert not torch.equal(other.structure, whole.structure)


@pytest.mark.parametrize("stage", STAGES)
def test_patterns_are_what_they_say(corpus, stage):
    batch = PatternStream(corpus, stage(), 1, GRID).batch(0, 400)
    assert batch.intensity.dtype == torch.float32
    assert batch.intensity.shape == batch.coverage.shape == (400, GRID.length)
    assert torch.isfinite(batch.intensity).all()
    assert torch.allclose(batch.intensity.amax(1), torch.ones(400))
    assert (batch.intensity[~batch.coverage] == 0).all()
    assert torch.equal(batch.group, torch.as_tensor(corpus.group.astype(np.int64))[batch.structure] - 1)
    assert (torch.as_tensor(corpus.split)[batch.structure] == 0).all()
    edges = batch.coverage.int().diff(dim=1).abs().sum(1)
    assert edges.max() <= 2  # one window
    if stage in (stage1, texture):
        assert batch.coverage.all()
        assert batch.intensity.min() >= 0


def test_groups_come_with_the_stated_probability(corpus):
    for sampling in (
        Sampling(),
        Sampling(uniform_groups=True),
        Sampling(real=1.0, random=0.0, molecular=0.0),
    ):
        stream = PatternStream(corpus, still(sampling=sampling), 2, GRID)
        probability = stream.group_probability()
        assert probability.sum() == pytest.approx(1)
        drawn = CorpusSource(corpus, sampling).choose(CounterRandom(2, torch.arange(200_000)), 1).numpy()
        count = np.bincount(corpus.group[drawn] - 1, minlength=99)
        error = np.sqrt(200_000 * probability)
        assert (np.abs(count - 200_000 * probability) < 5 * error + 1).all()
        if sampling.uniform_groups:
            assert np.allclose(probability[probability > 0], 1 / (probability > 0).sum())


def test_shares_of_sources_and_weight_of_minerals(corpus):
    probability = structure_probability(
        corpus, Sampling(real=0.6, random=0.3, molecular=0.1, mineral_weight=3.0)
    )
    assert probability[corpus.source == RANDOM].sum() == pytest.approx(0.3)
    assert probability[corpus.source == MOLECULAR].sum() == pytest.approx(0.1)
    for group in (4, 50, 97):
        mine = (corpus.group == group) & (corpus.split == 0)
        minerals = probability[mine & (corpus.source == MINERAL)]
        computed = probability[mine & (corpus.source < MINERAL)]
        if len(minerals) and len(computed):
            assert minerals[0] == pytest.approx(3 * computed[0])


def test_square_root_of_counts():
    crystals = [(random_crystal(225, np.random.default_rng(i), max_atoms=10), 0) for i in range(18)]
    crystals += [(random_crystal(221, np.random.default_rng(i), max_atoms=10), 0) for i in range(2)]
    packed = pack(crystals)
    packed = replace(packed, split=np.zeros(len(packed), dtype=np.uint8))
    probability = structure_probability(packed, Sampling())
    shares = [probability[packed.space_group == n].sum() for n in (225, 221)]
    assert shares[0] / shares[1] == pytest.approx(3.0)  # sqrt(18 / 2)


def test_held_out_structures_stay_out(corpus):
    for split, value in (("train", 0), ("held_out", 1)):
        stream = PatternStream(corpus, still(sampling=Sampling(split=split)), 1, GRID)
        assert (torch.as_tensor(corpus.split)[stream.batch(0, 200).structure] == value).all()


def test_impossible_streams_are_refused(corpus):
    alone = replace(corpus, split=np.zeros(len(corpus), dtype=np.uint8))
    with pytest.raises(BadInput, match="held_out"):
        PatternStream(alone, still(sampling=Sampling(split="held_out")), 1, GRID)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lamps": ()}, "lamp"),
        ({"texture_share": 1.5}, "texture_share 1.5 is a share"),
        ({"fwhm_median": 0.0}, "widths must be above 0"),
        ({"zero": -0.1}, "zero -0.1 must be 0 or more"),
        ({"fwhm_range": (0.3, 0.1)}, "no range"),
        ({"counts": (0, 10)}, "counts"),
        ({"axial": (0.0, 0.9)}, "axial 0.9"),
        ({"coarse_step": (0.5, 2.0)}, "grid steps"),
        ({"grains": (0.0, 2.0)}, "above 0"),
        ({"start": (50.0, 60.0), "end": (20.0, 40.0)}, "is empty"),
        ({"lorentz": (0.0, 1.5)}, "shares"),
    ],
)
def test_impossible_settings_are_refused(change, message):
    with pytest.raises(BadInput, match=message):
        still(**change)


@pytest.fixture(scope="module")
def one():
    """A corpus of one crystal, in the training split."""
    crystal = random_crystal(14, np.random.default_rng(3), max_atoms=20)
    packed = pack([(crystal, 0)])
    return crystal, replace(packed, split=np.zeros(1, dtype=np.uint8))


def _direct(crystal, fwhm_gauss, fwhm_lorentz, lines=((1.540593, 1.0),), scale=1.0):
    """The same pattern by adding up Voigt profiles, peak by peak, in double precision."""
    peaks = peak_list(crystal, D_MIN, wavelength=1.540593)
    x = GRID.two_theta
    total = np.zeros(len(x))
    for wavelength, share in lines:
        sine = wavelength / 2 / peaks.d
        theta = np.arcsin(CU_KALPHA1 / 2 / peaks.d)
        seen = np.degrees(2 * np.arcsin(np.minimum(sine * scale, 1)))
        area = share * peaks.f2 * peaks.multiplicity * lorentz_polarisation(theta)
        for centre, a in zip(seen, area):
            total += a * voigt_profile(x - centre, fwhm_gauss / 2.35482, fwhm_lorentz / 2)
    return total / total.max()


def test_gaussian_profile_agrees_with_a_direct_sum(one):
    crystal, packed = one
    batch = PatternStream(packed, still(), 1, GRID).batch(0, 1)
    expected = _direct(crystal, 0.12, 0.0)
    # levels are 4 % apart, and 240 peaks are kept: the profile itself is far better
    assert np.abs(batch.intensity[0].numpy() - expected).max() < 0.03
    assert np.corrcoef(batch.intensity[0].numpy(), expected)[0, 1] > 0.9995


def test_doublet_agrees_with_a_direct_sum(one):
    crystal, packed = one
    lamp = (Lamp(1.0, 1.540593, 1.544427),)
    for declared in (0.0, 1.0):
        config = still(lamps=lamp, doublet_declared_share=declared, fwhm_median=0.08)
        batch = PatternStream(packed, config, 1, GRID).batch(0, 1)
        mean = (1.540593 + 0.5 * 1.544427) / 1.5
        scale = 1.0 if declared == 0 else 1.540593 / mean
        lines = ((1.540593, 1.0), (1.544427, 0.5))
        expected = _direct(crystal, 0.08, 0.0, lines, scale)
        assert np.corrcoef(batch.intensity[0].numpy(), expected)[0, 1] > 0.999


def test_forbidden_lines_stay_empty_whatever_the_nuisances(one):
    """Neither factors on intensities nor texture put anything where the group forbids a line."""
    _, packed = one
    rich = still(
        intensity_sigma=0.5, texture_share=1.0, texture_sigma=0.5, second_axis_share=0.5, b_range=(0.0, 3.0),
        spotty_share=1.0, contrast=(0.5, 2.0),
    )  # fmt: skip
    batch = PatternStream(packed, rich, 1, GRID).batch(0, 20)
    plain = PatternStream(packed, still(), 1, GRID).batch(0, 1).intensity[0]
    empty = plain < 1e-6
    assert empty.float().mean() > 0.05
    assert batch.intensity[:, empty].max() < 1e-4


def test_another_grid(corpus):
    grid = Grid(10.0, 60.0, 1500)
    batch = PatternStream(corpus, stage2(), 1, grid).batch(0, 32)
    assert batch.intensity.shape == (32, 1500)
    assert torch.isfinite(batch.intensity).all()


def test_a_mixture_of_sources_keeps_shares_and_patterns(corpus):
    parts = [CorpusSource(corpus, Sampling(real=1.0, random=0.0, molecular=0.0)),
             CorpusSource(corpus, Sampling(real=0.0, random=1.0, molecular=0.0))]  # fmt: skip
    mixed = MixedSource((3.0, parts[0]), (1.0, parts[1]))
    expected = 0.75 * parts[0].group_probability() + 0.25 * parts[1].group_probability()
    assert np.allclose(mixed.group_probability(), expected)
    stream = PatternStream(mixed, stage2(), 5, GRID)
    whole = stream.batch(0, 300)
    share = (torch.as_tensor(corpus.source)[whole.structure] == RANDOM).float().mean()
    assert float(share) == pytest.approx(0.25, abs=0.1)
    again = stream.batch(100, 20)
    assert torch.equal(again.structure, whole.structure[100:120])
    assert (again.intensity - whole.intensity[100:120]).abs().max() < 1e-6
    with pytest.raises(BadInput, match="shares"):
        MixedSource((0.0, parts[0]))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("stage", STAGES)
def test_an_accelerator_gives_the_same_patterns(corpus, stage):
    """Before counting; a count drawn from a mean that differs in its last bit may differ by one."""
    config = stage()
    config = replace(config, recording=replace(config.recording, counts=None))
    here = PatternStream(corpus, config, 5, GRID).batch(0, 64)
    there = PatternStream(corpus, config, 5, GRID, "cuda").batch(0, 64)
    assert torch.equal(here.group, there.group.cpu())
    assert (here.intensity - there.intensity.cpu()).abs().max() < 1e-4


def test_widths_and_ranges_follow_their_distributions(corpus):
    stream = PatternStream(corpus, stage2(), 4, GRID)
    batch = stream.batch(0, 1500)
    assert batch.coverage.all(1).float().mean() == pytest.approx(
        stage2().recording.full_range_share, abs=0.06
    )
    first = batch.coverage.float().argmax(1)
    assert GRID.two_theta[int(first.max())] < 20.5
