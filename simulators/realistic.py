"""Samples with the nuisances of `stage2`, one at a time and at full quality: for trials of a policy."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from simulators.background import Background, Hump
from simulators.crystal import Crystal
from simulators.instrument import Instrument
from simulators.specimen import Grains, Impurity, Roughness, Specimen, Texture
from simulators.stream_config import StreamConfig, stage2

#: Low-index axes along which powders lie.
AXES = ((0, 0, 1), (1, 0, 0), (0, 1, 0), (1, 1, 0), (1, 0, 1), (0, 1, 1), (1, 1, 1))
#: Width of a Voigt line from its parts: Olivero and Longbothum,
#: J. Quant. Spectrosc. Radiat. Transf. 17 (1977) 233.
_LINEAR, _SQUARE = 0.5346, 0.2166


def realistic_instrument(rng: np.random.Generator, config: StreamConfig | None = None) -> Instrument:
    """A laboratory diffractometer drawn from the ranges of a stream (default: `stage2`), flat sample."""
    drawn = (config or stage2()).instrument
    low, high = drawn.fwhm_range
    fwhm = float(np.clip(drawn.fwhm_median * math.exp(drawn.fwhm_sigma * rng.standard_normal()), low, high))
    lorentz = float(rng.uniform(*drawn.lorentz)) * fwhm
    w = (fwhm - _LINEAR * lorentz) ** 2 - _SQUARE * lorentz**2
    axial, ratio = float(rng.uniform(*drawn.axial)), float(rng.uniform(*drawn.axial_ratio))
    beta = rng.random() < drawn.beta_share
    return Instrument(
        u=float(rng.uniform(0, drawn.caglioti)) * max(w, 1e-6),
        v=0.0,
        w=max(w, 1e-6),
        x=lorentz,
        y=float(rng.uniform(0, drawn.lorentz_growth)) * lorentz,
        s_l=axial * ratio,
        h_l=axial * (1 - ratio),
        transparency=float(rng.uniform(*drawn.transparency)),
        zero=drawn.zero * float(rng.standard_normal()),
        displacement=drawn.displacement * float(rng.standard_normal()),
        kbeta=drawn.beta_max * float(rng.random()) if beta else 0.0,
        overspill=float(rng.uniform(8, 25)) if rng.random() < drawn.overspill_share else 0.0,
    )


def realistic_specimen(
    rng: np.random.Generator, impurities: Sequence[Crystal] = (), config: StreamConfig | None = None
) -> Specimen:
    """What lies on the holder, drawn from the ranges of a stream (default: `stage2`).

    impurities: crystals to take foreign phases from; none for a pure sample.
    """
    config = config or stage2()
    sample, instrument, recording = config.sample, config.instrument, config.recording
    textures: tuple[Texture, ...] = ()
    if rng.random() < sample.texture_share:
        number = 2 if rng.random() < sample.second_axis_share else 1
        axes = rng.permutation(len(AXES))[:number]
        textures = tuple(
            Texture(AXES[i], math.exp(sample.texture_sigma * float(rng.standard_normal())), 1.0 / number)
            for i in axes
        )
    grains = None
    if rng.random() < sample.spotty_share:
        number = math.exp(float(rng.uniform(*np.log(sample.grains))))
        grains = Grains(number, seed=int(rng.integers(2**31)))
    phases: tuple[Impurity, ...] = ()
    if len(impurities) and rng.random() < sample.impurity_share:
        crystal = impurities[int(rng.integers(len(impurities)))]
        phases = (Impurity(crystal, sample.impurity_max * float(rng.random()) ** 2),)
    level = recording.background_median * math.exp(
        min(recording.background_sigma * float(rng.standard_normal()), math.log(25.0))
    )
    humps = ()
    if rng.random() < recording.hump_share:
        humps = (Hump(level * recording.hump * float(rng.random()), d=float(rng.uniform(3.0, 5.0))),)
    roughness = None
    if rng.random() < instrument.roughness_share:
        roughness = Roughness(
            float(rng.uniform(*instrument.roughness)), float(rng.uniform(*instrument.roughness_depth))
        )
    return Specimen(
        texture=textures or None,
        impurities=phases,
        grains=grains,
        roughness=roughness,
        background=Background(
            flat=level,
            air=level * recording.air * float(rng.random()) ** 2,
            air_power=float(rng.uniform(*recording.air_power)),
            holder=tuple(recording.chebyshev * rng.standard_normal(3)),
            humps=humps,
        ),
    )
