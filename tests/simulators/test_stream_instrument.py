"""Batched instruments: profiles against Voigt functions and a numerical axial-divergence integral."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import voigt_profile

from eg_agent.patterns.radiation import CU_KALPHA1
from simulators.counter_random import CounterRandom
from simulators.stream_config import InstrumentRanges, Lamp, stage2
from simulators.stream_crystal import Lines
from simulators.stream_instrument import Instruments, Optics, Points, intensity_factor, reach
from simulators.stream_profile import Profiles, good_length, padua_points
from simulators.wyckoff.config import WyckoffConfig

CPU = torch.device("cpu")
START, STEP, LENGTH = 5.0, 0.02, 4251
X = START + STEP * np.arange(LENGTH)


def optics(**values: float) -> Optics:
    """One instrument: Cu K-alpha1, Gaussian lines 0.07 degrees wide, and nothing else."""
    base = dict.fromkeys(Optics.__dataclass_fields__, 0.0)
    base |= {"wavelength": CU_KALPHA1, "monochromator": 1.0, "w": 0.005, "roughness": 1.0}
    base |= values
    base.setdefault("declared", base["wavelength"])
    base["declared"] = base["declared"] or base["wavelength"]
    return Optics(**{name: torch.tensor([float(value)]) for name, value in base.items()})


def drawn(o: Optics, s, strength, microstrain) -> np.ndarray:
    """The batched pattern [L] of lines, per degree."""
    config = InstrumentRanges(
        lamps=(Lamp(1.0, 1.0, 1.1 if float(o.ratio) else 0.0),),
        beta_share=0.0,
        axial=(0.0, float(o.sample_slit + o.detector_slit)),
        transparency=(0.0, float(o.transparency)),
    )
    lines = Lines(*(torch.tensor(x, dtype=torch.float32)[None] for x in (s, strength, microstrain)))
    profiles = Profiles(START, STEP, LENGTH, CPU, cell_mean=False)
    return profiles(Instruments(config, CPU).points(o, lines))[0].double().numpy() / STEP


def direct(o: Optics, s, strength, microstrain) -> np.ndarray:
    """The same by adding up Voigt functions over fine quadratures, one line at a time, in double precision.

    Axial divergence as the integral of FCJ over heights, with 120 points; transparency with 12. Each
    line over its surroundings: further away it has less than 1e-4 of its height.
    """
    g = {name: float(getattr(o, name)) for name in Optics.__dataclass_fields__}
    node, weight = np.polynomial.legendre.leggauss(120)
    depth, depth_weight = np.polynomial.laguerre.laggauss(12)
    total = np.zeros(LENGTH)
    for wavelength, share in ((g["wavelength"], 1.0), (g["wavelength2"], g["ratio"])):
        for s_, f2, strain in zip(s, strength, microstrain) if share else ():
            theta = math.asin(wavelength * s_)
            t, cos2 = math.tan(theta), math.cos(2 * theta)
            area = share * f2 * (1 + g["monochromator"] * cos2**2) / (1 + g["monochromator"])
            area /= math.sin(theta) ** 2 * math.cos(theta)
            gauss = g["u"] * t * t + g["v"] * t + g["w"] + ((1 - g["mixing"]) * strain * t) ** 2
            lorentz = g["x"] / math.cos(theta) + g["y"] * t + g["mixing"] * strain * t
            slits = g["sample_slit"] + g["detector_slit"]
            position, mass = np.array([math.degrees(2 * theta)]), np.ones(1)
            if slits > 0:
                h = slits * (node + 1) / 2
                seen = np.minimum(slits - h, 2 * min(g["sample_slit"], g["detector_slit"])) * weight
                phi = np.arccos(np.clip(cos2 * np.sqrt(1 + h * h), -1, 1))
                mass = np.where(np.sin(phi) > 0, seen / (np.cos(phi) ** 2 * np.maximum(np.sin(phi), 1e-9)), 0)
                position, mass = np.degrees(phi), mass / mass.sum()
            trail = g["transparency"] * math.sin(2 * theta)
            if trail > 0:
                position = (position[:, None] - trail * depth).ravel()
                mass = (mass[:, None] * depth_weight).ravel()
            lever = math.sin(2 * theta) if g["capillary"] else math.cos(theta)
            position = position + g["zero"] + g["displacement"] * lever
            ratio = CU_KALPHA1 / g["declared"]
            position = np.degrees(2 * np.arcsin(np.sin(np.radians(position / 2)) * ratio))
            scale = ratio * math.cos(theta) / math.sqrt(1 - (ratio * math.sin(theta)) ** 2)
            sigma, gamma = math.sqrt(gauss / (8 * math.log(2))) * scale, lorentz / 2 * scale
            near = np.abs(X - position.mean()) < 3.0 + 60.0 * gamma
            # the height of a point is what was counted there, whatever its angle is called
            total[near] += area * scale * (voigt_profile(X[near, None] - position, sigma, gamma) @ mass)
    return total


def compare(o: Optics, count: int = 12, low: float = 8.0, high: float = 88.0, strain: float = 0.0, seed=0):
    """Largest difference against the highest peak, for random lines at Cu angles low to high."""
    rng = np.random.default_rng(seed)
    sine = np.sin(np.radians(rng.uniform(low, high, count) / 2))
    strength = rng.uniform(0.2, 1.0, count) * sine**2
    args = (o, sine / CU_KALPHA1, strength, strain * rng.uniform(0.2, 1.0, count))
    expected = direct(*args)
    return np.abs(drawn(*args) - expected).max() / expected.max()


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"u": 0.01, "v": -0.004, "w": 0.006},
        {"u": 0.01, "v": -0.004, "w": 0.006, "x": 0.03, "y": 0.08},
        {"u": 0.0, "w": 1e-6, "x": 0.05, "y": 0.25},
        {"monochromator": 0.8, "zero": 0.05, "displacement": -0.1},
        {"displacement": -0.1, "capillary": 1.0},
        {"wavelength2": 1.544427, "ratio": 0.5, "x": 0.03, "y": 0.03},
    ],
)
def test_lines_of_widths_of_their_own(values):
    assert compare(optics(**values)) < 0.01


@pytest.mark.parametrize("mixing", [0.0, 0.5, 1.0])
def test_anisotropic_widths(mixing):
    assert compare(optics(w=0.006, x=0.03, y=0.03, mixing=mixing), strain=0.3, count=40) < 0.01


@pytest.mark.parametrize("slits", [(0.005, 0.005), (0.01, 0.02), (0.02, 0.02), (0.03, 0.03), (0.04, 0.02)])
def test_axial_divergence(slits):
    """At the widest slits lines at 8 degrees reach 0.9 degrees down; with a hundred lines as well."""
    o = optics(sample_slit=slits[0], detector_slit=slits[1], w=0.005, x=0.03)
    assert compare(o, low=7.5) < 0.01
    assert compare(o, count=100, seed=1) < 0.01


@pytest.mark.parametrize("count", [16, pytest.param(96, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_axial_divergence_of_all_that_stage_2_draws(count, monkeypatch):
    """Against every line spread over 96 heights: under 1 % of the maximum, with hundreds of low lines too."""
    from simulators import stream_instrument
    from simulators.stream_crystal import Sample
    from simulators.wyckoff.source import WyckoffSource

    config = stage2()
    random = CounterRandom(12, torch.arange(count))
    # the upper half of the slits, with the narrow lines that this is hardest for
    o = Instruments(config.instrument, CPU).draw(random, 70)
    wide = config.instrument.axial[1] * (0.5 + 0.5 * random.uniform(1)) * (o.wavelength > 1.5)
    part = random.between(2, *config.instrument.axial_ratio)
    o = replace(o, sample_slit=wide * part, detector_slit=wide * (1 - part))
    peaks = WyckoffSource(WyckoffConfig(atoms_median=40)).draw(random, 10, 240)
    lines = Sample(config.sample, CPU).plain_lines(peaks)
    profiles = Profiles(START, STEP, LENGTH, CPU)
    found = profiles(Instruments(config.instrument, CPU).points(o, lines))
    monkeypatch.setattr(stream_instrument, "QUADRATURE", ((10_000, 96),))
    every = Instruments(config.instrument, CPU)
    rows = [
        profiles(every.points(*(type(x)(*(v[i : i + 1] for v in vars(x).values())) for x in (o, lines))))
        for i in range(count)
    ]
    expected = torch.cat(rows)
    error = (found - expected).abs().amax(1) / expected.amax(1)
    assert error.max() < 0.01, (int(error.argmax()), error.sort().values[-5:])


@pytest.mark.parametrize("transparency", [0.005, 0.01, 0.02])
def test_transparency(transparency):
    assert compare(optics(transparency=transparency, w=0.005, x=0.03)) < 0.01
    both = optics(transparency=transparency, w=0.005, x=0.03, sample_slit=0.025, detector_slit=0.02)
    assert compare(both) < 0.01


@pytest.mark.parametrize(
    ("values", "high"),
    [
        ({"wavelength": 0.709317, "wavelength2": 0.713607, "ratio": 0.5, "w": 0.004, "x": 0.02}, 88.0),
        ({"wavelength": 0.709317, "declared": 0.710747, "w": 0.004, "x": 0.02}, 88.0),
        ({"wavelength": 0.413, "w": 2e-4, "x": 0.003, "y": 0.01}, 88.0),
        ({"wavelength": 1.788996, "wavelength2": 1.792835, "ratio": 0.5, "declared": 1.79028}, 75.0),
        ({"wavelength": 2.289726, "w": 0.006, "x": 0.02}, 55.0),
    ],
)
def test_other_wavelengths(values, high):
    slits = {"sample_slit": 0.004, "detector_slit": 0.006} if values["wavelength"] > 0.5 else {}
    assert compare(optics(**values, **slits), high=high) < 0.01


def test_intensity_factors_are_those_of_the_single_pattern():
    from simulators.scattering import lorentz_polarisation
    from simulators.specimen import Roughness

    theta = np.linspace(0.05, 1.2, 50)
    sine = torch.tensor(np.sin(theta), dtype=torch.float32)[None]
    cosine = (1 - sine * sine).sqrt()
    for monochromator in (1.0, 0.8):
        got = intensity_factor(optics(monochromator=monochromator), sine, cosine)[0]
        expected = lorentz_polarisation(theta, monochromator=monochromator)
        assert np.allclose(got.numpy() / expected, got.numpy()[0] / expected[0], rtol=1e-5)
    plain = intensity_factor(optics(), sine, cosine)
    rough = intensity_factor(optics(roughness=0.6, roughness_depth=0.1), sine, cosine) / plain
    assert np.allclose(rough[0].numpy(), Roughness(0.6, 0.1).factor(theta), rtol=1e-5)
    spilt = intensity_factor(optics(edge=0.1), sine, cosine) / plain
    assert np.allclose(spilt[0].numpy(), np.minimum(np.sin(theta) / 0.1, 1.0), rtol=1e-5)


def test_profiles_keep_the_area_and_take_weak_and_absent_lines():
    points = Points(
        torch.tensor([[30.0, 45.0, 60.0], [20.0, 30.0, 40.0]]),
        torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 0.0]]),
        torch.tensor([[1e-3, 3e-3, 1.0], [1e-3, 1e-3, 1e-3]]),
        torch.tensor([[0.0, 0.0, 0.0], [0.1, -0.1, 0.0]]),
    )
    drawn_ = Profiles(START, STEP, LENGTH, CPU)(points)
    assert drawn_.sum(1).tolist() == pytest.approx([3.0, 0.0], abs=1e-3)
    assert torch.isfinite(drawn_).all()


def test_padua_points_and_lengths():
    points = padua_points(3)
    assert points.shape == (10, 2)
    assert (
        np.linalg.matrix_rank(
            np.stack([points[:, 0] ** i * points[:, 1] ** j for i in range(4) for j in range(4 - i)])
        )
        == 10
    )
    assert good_length(4475) == 4608
    assert float(reach(optics(wavelength=2.289726))[0]) < 90.0 < float(reach(optics())[0])


def test_drawn_instruments_follow_their_distributions():
    n = 20_000
    config = stage2().instrument
    o = Instruments(config, CPU).draw(CounterRandom(1, torch.arange(n)), 70)
    synchrotron = o.polarised > 0
    assert float(synchrotron.float().mean()) == pytest.approx(0.10, abs=0.01)
    assert (
        0.4
        <= float(o.wavelength[synchrotron].min())
        < 0.42
        < 1.25
        < float(o.wavelength[synchrotron].max())
        <= 1.3
    )
    for name in ("transparency", "edge"):
        assert float(getattr(o, name)[o.capillary > 0].max()) == 0.0
    gauss = (o.u * math.tan(0.15) ** 2 + o.v * math.tan(0.15) + o.w).sqrt()
    assert float(gauss.min()) >= 0.0
    width = 0.5346 * (o.x + 0) + (0.2166 * o.x**2 + o.w).sqrt()
    assert 0.03 < float(width.median()) < 0.13
    assert float((o.anisotropy > 0).float().mean()) == pytest.approx(config.anisotropy_share, abs=0.02)
    assert float((o.ratio > 0).float().mean()) == pytest.approx(0.72, abs=0.02)
