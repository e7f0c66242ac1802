"""Samples with the nuisances of stage 2: a function of the generator, and within what the stage says."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from eg_agent.patterns import Radiation
from simulators.instrument import Instrument
from simulators.measurement import simulate
from simulators.profile import voigt_width
from simulators.realistic import realistic_instrument, realistic_specimen
from simulators.stream_config import stage1, stage2
from simulators.textbook import textbook

SEEDS = range(300)
#: Draws from normal distributions stay within five standard deviations in a few hundred.
FAR = 5.0


@pytest.fixture(scope="module")
def instruments() -> list[Instrument]:
    return [realistic_instrument(np.random.default_rng(seed)) for seed in SEEDS]


def test_instruments_keep_to_the_ranges_of_stage_2(instruments):
    ranges = stage2().instrument
    for one in instruments:
        assert np.isfinite([v for v in asdict(one).values() if isinstance(v, float)]).all()
        width = float(voigt_width(np.sqrt(np.array([one.w])), np.array([one.x]))[0])
        assert 0.999 * ranges.fwhm_range[0] <= width <= 1.01 * ranges.fwhm_range[1]
        assert one.x <= 1.001 * width * ranges.lorentz[1]
        assert 0 <= one.y <= one.x * ranges.lorentz_growth
        assert 0 <= one.u <= one.w * ranges.caglioti
        axial = one.s_l + one.h_l
        assert ranges.axial[0] <= axial <= ranges.axial[1]
        assert ranges.axial_ratio[0] <= one.s_l / axial <= ranges.axial_ratio[1]
        assert ranges.transparency[0] <= one.transparency <= ranges.transparency[1]
        assert abs(one.zero) < FAR * ranges.zero
        assert abs(one.displacement) < FAR * ranges.displacement
        assert 0 <= one.kbeta <= ranges.beta_max
        assert one.overspill == 0 or 8 <= one.overspill <= 25


def test_shares_of_instruments_are_those_of_stage_2(instruments):
    """Within four standard errors of a share in 300."""
    ranges = stage2().instrument
    for share, with_it in (
        (ranges.beta_share, [one.kbeta > 0 for one in instruments]),
        (ranges.overspill_share, [one.overspill > 0 for one in instruments]),
    ):
        assert abs(np.mean(with_it) - share) < 4 * np.sqrt(share * (1 - share) / len(with_it))


def test_specimens_keep_to_the_ranges_of_stage_2():
    config, foreign = stage2(), textbook()[:2]
    sample, recording = config.sample, config.recording
    textured = spotty = impure = 0
    for seed in SEEDS:
        one = realistic_specimen(np.random.default_rng(seed), foreign)
        textured += bool(one.textures)
        assert len(one.textures) <= 2
        assert sum(t.share for t in one.textures) == pytest.approx(float(bool(one.textures)))
        assert all(abs(np.log(t.r)) < FAR * sample.texture_sigma for t in one.textures)
        if one.grains is not None:
            spotty += 1
            assert sample.grains[0] <= one.grains.number <= sample.grains[1]
        for phase in one.phases:
            impure += 1
            assert 0 <= phase.share <= sample.impurity_max
            assert phase.crystal in foreign
        if one.roughness is not None:
            assert config.instrument.roughness[0] <= one.roughness.p <= config.instrument.roughness[1]
        flat = one.background.flat
        assert 0 < flat <= 25 * recording.background_median
        assert one.background.air <= recording.air * flat
        assert all(hump.height <= recording.hump * flat for hump in one.background.humps)
    for count, share in (
        (textured, sample.texture_share), (spotty, sample.spotty_share), (impure, sample.impurity_share),
    ):  # fmt: skip
        assert abs(count / len(SEEDS) - share) < 4 * np.sqrt(share * (1 - share) / len(SEEDS))


def test_a_pure_sample_has_no_impurities():
    assert not any(realistic_specimen(np.random.default_rng(seed)).phases for seed in SEEDS)


def test_another_configuration_is_followed():
    calm = stage1()
    for seed in range(20):
        rng = np.random.default_rng(seed)
        instrument = realistic_instrument(rng, calm)
        assert instrument.s_l == instrument.zero == instrument.kbeta == instrument.overspill == 0
        specimen = realistic_specimen(rng, textbook()[:1], calm)
        assert not specimen.textures
        assert specimen.grains is None
        assert not specimen.phases


def test_patterns_are_finite_and_a_function_of_the_seed():
    crystals, axis = textbook(), np.arange(10.0, 80.0, 0.05)

    def pattern(seed: int):
        rng = np.random.default_rng(seed)
        instrument = realistic_instrument(rng)
        specimen = realistic_specimen(rng, crystals[:3])
        crystal = crystals[seed % len(crystals)]
        return simulate(
            crystal, Radiation.anode("Cu"), axis, rng, instrument=instrument, specimen=specimen
        ).intensity

    for seed in range(12):
        counts = pattern(seed)
        assert np.isfinite(counts).all()
        assert counts.min() >= 0
        assert counts.max() > 0
        assert np.array_equal(counts, pattern(seed))
    assert not np.array_equal(pattern(0), pattern(len(crystals)))
