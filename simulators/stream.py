"""`PatternStream`: training patterns without end, made in batches of tensor operations on any device.

Pattern i is a function of (seed, i): see `CounterRandom`. A batch goes through crystal (peaks and
their intensities), instrument (positions, widths, profile) and recording (background, counts, range,
normalisation). Peaks are summed into fine bins at a few angle nodes and convolved with the exact
Voigt profile of each node by FFT, so the cost does not depend on the number of peaks.

Axes: B pattern, P peak, N node, F frequency, L grid point.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from eg_agent.errors import BadInput
from eg_agent.patterns.radiation import CU_KALPHA1
from simulators.corpus import (
    LEVELS_PER_DECADE,
    MAX_PEAKS,
    MINERAL,
    MOLECULAR,
    RANDOM,
    STRAIN_TYPES,
    Corpus,
)
from simulators.counter_random import CounterRandom
from simulators.stream_config import Sampling, StreamConfig

#: Angles (degrees) at which the profile is exact; between two nodes it is mixed linearly.
NODES = (4.0, 20.0, 40.0, 68.0, 95.0)
#: Bins on either side of the grid, for the tails of peaks outside.
MARGIN = 112
#: Peaks of the second phase that are drawn: its strongest ones.
IMPURITY_PEAKS = 64


class GridLike(Protocol):
    """A uniform axis in Cu K-alpha1-equivalent 2-theta, degrees (`eg_agent.patterns.Grid`)."""

    @property
    def two_theta_min(self) -> float: ...
    @property
    def two_theta_max(self) -> float: ...
    @property
    def length(self) -> int: ...


@dataclass(frozen=True)
class Batch:
    """Patterns as a network sees them.

    intensity: float32 [B, L], maximum 1 over the covered part, 0 elsewhere.
    coverage: bool [B, L]. group: int64 [B], extinction group minus 1 (0-98).
    structure: int64 [B], row of the corpus.
    """

    intensity: Tensor
    coverage: Tensor
    group: Tensor
    structure: Tensor


def structure_probability(corpus: Corpus, sampling: Sampling) -> np.ndarray:
    """float64 [N] probability that a pattern comes from each structure (see `Sampling`)."""
    chosen = corpus.split == (0 if sampling.split == "train" else 1)
    group = corpus.group.astype(np.int64)
    total = np.zeros(len(corpus))
    shares = ((sampling.real, corpus.source <= MINERAL), (sampling.random, corpus.source == RANDOM))
    weight = np.where(corpus.source == MINERAL, sampling.mineral_weight, 1.0)
    for (share, kind), power in zip(shares, (sampling.group_power, 0.0)):
        kind = kind & chosen
        if not kind.any() or share <= 0:
            continue
        mass = np.bincount(group[kind], weights=weight[kind], minlength=100)
        wanted = np.where(mass > 0, np.maximum(mass, 1e-300) ** power, 0.0)
        total[kind] += share * weight[kind] * (wanted / wanted.sum() / np.maximum(mass, 1e-300))[group[kind]]
    molecular = (corpus.source == MOLECULAR) & chosen
    if molecular.any() and sampling.molecular > 0:
        total[molecular] += sampling.molecular / molecular.sum()
    if total.sum() <= 0:
        raise BadInput(f"the corpus holds no structure of split {sampling.split!r} with a share above 0.")
    if sampling.uniform_groups:
        mass = np.bincount(group, weights=total, minlength=100)
        total /= np.maximum(mass, 1e-300)[group]
    return total / total.sum()


class PatternStream:
    """Patterns of one (corpus, config, seed) on a grid; see the module docstring."""

    def __init__(
        self,
        corpus: Corpus,
        config: StreamConfig,
        seed: int,
        grid: GridLike,
        device: str | torch.device = "cpu",
    ) -> None:
        self.config, self.seed, self.device = config, seed, torch.device(device)

        def tensor(array: np.ndarray, dtype: torch.dtype) -> Tensor:
            return torch.as_tensor(array, device=self.device).to(dtype)

        probability = structure_probability(corpus, config.sampling)
        self._cumulative = tensor(np.cumsum(probability), torch.float64)
        self._group_probability = np.bincount(
            corpus.group.astype(np.int64) - 1, weights=probability, minlength=99
        )
        self._size = int(np.flatnonzero(probability > 0)[-1]) + 1
        self._group = tensor(corpus.group.astype(np.int64) - 1, torch.int64)
        self._offset = tensor(corpus.offset, torch.int64)
        self._hkl = tensor(corpus.hkl, torch.int8)
        self._level = tensor(corpus.level, torch.uint8)
        self._metric = tensor(_reciprocal_metric(corpus.cell), torch.float32)
        self._strain_type = tensor(corpus.strain_type, torch.int64)
        self._stretch = torch.tensor([s for _, s, _ in STRAIN_TYPES], device=self.device)
        self._shear = torch.tensor([s for _, _, s in STRAIN_TYPES], device=self.device)
        lamps = config.lamps
        self._lamp_cumulative = torch.tensor([x.share for x in lamps], device=self.device).cumsum(0)
        self._lamps = torch.tensor(
            [(x.wavelength, x.wavelength2, float(x.polarised), x.width) for x in lamps], device=self.device
        )
        self._start, self._length = grid.two_theta_min, grid.length
        self._step = (grid.two_theta_max - grid.two_theta_min) / (grid.length - 1)
        self._bins = _five_smooth(grid.length + 2 * MARGIN)
        frequency = torch.arange(self._bins // 2 + 1, device=self.device) / (self._bins * self._step)
        self._frequency = frequency.to(torch.float32)
        # Spreading a peak over three bins damps frequencies by sinc^3; `Grid.project` averages over a
        # cell, which damps by sinc. What is left to do is to divide by sinc^2.
        self._sharpen = torch.sinc(self._frequency * self._step).pow(-2.0)
        self._nodes = torch.tensor(NODES, device=self.device)
        self._x = torch.linspace(
            grid.two_theta_min, grid.two_theta_max, grid.length, dtype=torch.float64, device=self.device
        ).to(torch.float32)

    def group_probability(self) -> np.ndarray:
        """float64 [99] probability of each extinction group in this stream (the training prior)."""
        return self._group_probability.copy()

    @torch.no_grad()
    def batch(self, start: int, n: int) -> Batch:
        """Patterns start, start + 1, ..., start + n - 1, on the stream's device."""
        index = torch.arange(start, start + n, dtype=torch.int64, device=self.device)
        random = CounterRandom(self.seed, index)
        structure = self._draw(random, 1)
        lamp = self._lamps[
            torch.searchsorted(
                self._lamp_cumulative, random.uniform(2) * 0.9999999 * self._lamp_cumulative[-1]
            )
        ]
        s, strength = self._peaks(random, 10, structure, MAX_PEAKS)
        strength = self._perturb(random, s, strength, structure)
        main = _observable(strength, s, lamp)
        if self.config.impurity_share > 0:
            other_s, other = self._peaks(random, 40, self._draw(random, 3), IMPURITY_PEAKS)
            other = _observable(other, other_s, lamp)
            share = random.chance(4, self.config.impurity_share) * random.uniform(5).square_()
            scale = share * self.config.impurity_max * main.amax(1) / other.amax(1).clamp(min=1e-30)
            s, main = torch.cat([s, other_s], 1), torch.cat([main, other * scale[:, None]], 1)
        rate = self._profile(random, lamp, s, main)
        intensity, coverage = self._record(random, rate)
        return Batch(intensity, coverage, self._group[structure], structure)

    # ------------------------------------------------------------------ crystal

    def _draw(self, random: CounterRandom, purpose: int) -> Tensor:
        return torch.searchsorted(self._cumulative, random.uniform64(purpose)).clamp_(max=self._size - 1)

    def _peaks(self, random: CounterRandom, base: int, structure: Tensor, most: int) -> tuple[Tensor, Tensor]:
        """sin(theta)/lambda [B, P] of a strained structure and F^2 m [B, P], 0 where there is no peak."""
        first = self._offset[structure]
        count = (self._offset[structure + 1] - first).clamp(max=most)
        rank = torch.arange(most, device=self.device)
        valid = rank < count[:, None]
        row = torch.where(valid, first[:, None] + rank, first[:, None])
        hkl = self._hkl[row].to(torch.float32)
        strength = torch.exp((self._level[row].to(torch.float32) - 255) * (math.log(10) / LEVELS_PER_DECADE))
        metric = self._strained(random, base, structure)
        h, k, l_ = hkl.unbind(2)
        a, b, c, d, e, f = metric.T[:, :, None]
        inverse_d2 = h * (a * h + 2 * (f * k + e * l_)) + k * (b * k + 2 * d * l_) + c * l_ * l_
        return inverse_d2.clamp_(min=1e-8).sqrt_() * 0.5, strength * valid

    def _strained(self, random: CounterRandom, base: int, structure: Tensor) -> Tensor:
        """Reciprocal metric [B, 6] (a*a*, b*b*, c*c*, b*c*, a*c*, a*b*) after an allowed strain."""
        config = self.config
        kind = self._strain_type[structure]
        common = random.uniform(base).mul_(2).sub_(1).mul_(config.strain_common)
        axes = random.normal(base + 1, 3).clamp_(-2.5, 2.5).mul_(config.strain_axes)
        stretch = 1 - common[:, None] - axes.gather(1, self._stretch[kind])
        tie = self._shear[kind]
        shear = random.normal(base + 2, 3).clamp_(-2.5, 2.5).mul_(config.strain_shear)
        shear = shear.gather(1, tie.clamp(min=0)) * (tie >= 0)
        g = self._metric[structure]
        diagonal = g[:, :3] * stretch * stretch
        products = torch.stack(
            [stretch[:, 1] * stretch[:, 2], stretch[:, 0] * stretch[:, 2], stretch[:, 0] * stretch[:, 1]], 1
        )
        root = diagonal.sqrt()
        roots = torch.stack([root[:, 1] * root[:, 2], root[:, 0] * root[:, 2], root[:, 0] * root[:, 1]], 1)
        return torch.cat([diagonal, g[:, 3:] * products + shear * roots], 1)

    def _perturb(self, random: CounterRandom, s: Tensor, strength: Tensor, structure: Tensor) -> Tensor:
        """Intensity errors, displacement parameters and texture. Only allowed peaks are ever scaled."""
        config = self.config
        exponent = -2 * random.between(20, *config.b_range)[:, None] * s * s
        if config.intensity_sigma > 0:
            exponent += config.intensity_sigma * random.normal(21, s.shape[1])
        strength = strength * exponent.exp_()
        if config.texture_share > 0:
            r = torch.exp(config.texture_sigma * random.normal(22))
            r = torch.where(random.chance(23, config.texture_share), r, torch.ones_like(r))
            strength = strength * self._texture(random, structure, s, r)
        return strength

    def _texture(self, random: CounterRandom, structure: Tensor, s: Tensor, r: Tensor) -> Tensor:
        """March-Dollase factor [B, P] (Dollase, J. Appl. Cryst. 19 (1986) 267) about a reciprocal axis.

        The axis is one whose angle with hkl all equivalents share (c* of tetragonal and hexagonal
        axes; any of the three in orthorhombic and lower systems); in cubic crystals the factor is
        averaged over the three axes, which all orbits permute.
        """
        first = self._offset[structure]
        rank = torch.arange(s.shape[1], device=s.device)
        row = torch.minimum(first[:, None] + rank, self._offset[structure + 1][:, None] - 1)
        hkl = self._hkl[row].to(torch.float32)
        g = self._metric[structure]
        a, b, c, d, e, f = g.T[:, :, None]
        h, k, l_ = hkl.unbind(2)
        length2 = (h * (a * h + 2 * (f * k + e * l_)) + k * (b * k + 2 * d * l_) + c * l_ * l_).clamp(
            min=1e-12
        )
        along = torch.stack(  # hkl . axis / |axis|, one for each reciprocal axis
            [
                (a * h + f * k + e * l_) / a.sqrt(),
                (f * h + b * k + d * l_) / b.sqrt(),
                (e * h + d * k + c * l_) / c.sqrt(),
            ]
        )
        cos2 = (along * along / length2).clamp(max=1.0)
        r_ = r[:, None]
        factor = (r_ * r_ * cos2 + (1 - cos2) / r_).pow(-1.5)
        kind = self._strain_type[structure]
        axis = (random.uniform(24) * 3).long().clamp(max=2)
        axis = torch.where((kind == 1) | (kind == 2), torch.full_like(axis, 2), axis)
        single = factor.gather(0, axis[None, :, None].expand(1, *s.shape))[0]
        cubic = ((kind == 0) | (kind == 8))[:, None]
        return torch.where(cubic, factor.mean(0), single)

    # --------------------------------------------------------------- instrument

    def _profile(self, random: CounterRandom, lamp: Tensor, s: Tensor, strength: Tensor) -> Tensor:
        """Noise-free pattern [B, L] without background."""
        config = self.config
        wave1, wave2 = lamp[:, 0], lamp[:, 1]
        doublet = wave2 > 0
        mean = torch.where(doublet, (wave1 + 0.5 * wave2) / 1.5, wave1)
        declared = torch.where(random.chance(30, config.doublet_declared), mean, wave1)
        zero = config.zero * random.normal(31)
        displacement = config.displacement * random.normal(32)
        if config.overspill_share > 0:
            edge = torch.sin(torch.deg2rad(random.between(33, 4.0, 12.0)))
            edge = edge * random.chance(34, config.overspill_share) + 1e-6
            strength = strength * (wave1[:, None] * s / edge[:, None]).clamp(max=1.0)
        bins = torch.zeros(len(s) * len(NODES) * self._bins, device=s.device)
        for wave, share in ((wave1, torch.ones_like(wave1)), (wave2, 0.5 * doublet)):
            if not bool(share.any()):
                continue
            sine = (wave[:, None] * s).clamp(max=0.9999)
            theta = torch.asin(sine)
            shift = torch.deg2rad(zero[:, None] + displacement[:, None] * torch.cos(theta)) * 0.5
            sine = torch.sin(theta + shift) * (CU_KALPHA1 / declared)[:, None]
            position = torch.rad2deg(torch.asin(sine.clamp(0.0, 0.9999))) * 2
            self._scatter(bins, position, strength * share[:, None])
        spectrum = torch.fft.rfft(bins.view(len(s), len(NODES), self._bins))
        spectrum = (spectrum * self._kernel(random, lamp, declared)).sum(1)
        rate = torch.fft.irfft(spectrum, n=self._bins)[:, MARGIN : MARGIN + self._length]
        return rate.clamp_(min=0.0)

    def _scatter(self, bins: Tensor, position: Tensor, strength: Tensor) -> None:
        """Add peaks to [B, N, bins] flat: linearly over two nodes, quadratically over three bins.

        The quadratic spline keeps centre and variance of a peak wherever it falls between bins.
        """
        place = (position - self._start) / self._step + MARGIN
        inside = (place >= 1) & (place < self._bins - 2)
        place = torch.where(inside, place, torch.ones_like(place))
        centre = (place + 0.5).floor()
        part = place - centre
        right = torch.bucketize(position, self._nodes).clamp_(1, len(NODES) - 1)
        left_angle, right_angle = self._nodes[right - 1], self._nodes[right]
        mix = ((position - left_angle) / (right_angle - left_angle)).clamp_(0, 1)
        weight = strength * inside
        row = torch.arange(len(position), device=position.device)[:, None] * len(NODES)
        base = (row + right - 1) * self._bins + centre.long()
        spline = (0.5 * (0.5 - part).square(), 0.75 - part.square(), 0.5 * (0.5 + part).square())
        for node, share in ((0, weight * (1 - mix)), (self._bins, weight * mix)):
            for step, fraction in zip((-1, 0, 1), spline):
                bins.index_add_(0, (base + (node + step)).view(-1), (share * fraction).view(-1))

    def _kernel(self, random: CounterRandom, lamp: Tensor, declared: Tensor) -> Tensor:
        """Fourier transform [B, N, F] of the profile at each node: Voigt with a low-angle tail.

        Widths follow Caglioti (Gaussian) and size and strain (Lorentzian) in measured angles, and
        are carried to the canonical axis by d(2theta_Cu)/d(2theta).
        """
        config = self.config
        ratio = (CU_KALPHA1 / declared)[:, None]
        canonical = torch.deg2rad(self._nodes)[None] / 2
        theta = torch.asin((torch.sin(canonical) / ratio).clamp(max=0.995))
        scale = ratio * torch.cos(theta) / torch.cos(canonical)
        tangent = torch.tan(theta)
        width = config.fwhm_median * torch.exp(config.fwhm_sigma * random.normal(35))
        width = (width.clamp(*config.fwhm_range) * lamp[:, 3])[:, None]
        lorentz = random.between(36, *config.lorentz)[:, None]
        growth = (config.caglioti * random.uniform(37))[:, None]
        dip = random.uniform(38)[:, None] * growth.sqrt()
        gauss = (1 - lorentz) * (1 + growth * tangent**2 - dip * tangent).clamp(min=0.2).sqrt()
        size = random.uniform(39)[:, None]
        broad = lorentz * (size / torch.cos(theta) + (1 - size) * (0.4 + 1.5 * tangent))
        # Width of a Voigt from its parts (Olivero and Longbothum, 1977), kept at the drawn width.
        at_first = 0.5346 * lorentz + (0.2166 * lorentz**2 + (1 - lorentz) ** 2).sqrt()
        gauss, broad = (part * width * scale / at_first for part in (gauss, broad))
        # Narrower than 2.2 steps the bins could not carry the profile without ripples.
        gauss = torch.maximum(gauss, 2.2 * self._step - broad)
        sigma = gauss / math.sqrt(8 * math.log(2))
        f = self._frequency.view(1, 1, -1)
        magnitude = torch.exp(
            (-2 * math.pi**2) * (sigma * sigma)[:, :, None] * (f * f) - math.pi * broad[:, :, None] * f
        )
        magnitude *= self._sharpen
        if config.asymmetry <= 0:
            return magnitude.to(torch.complex64)
        tail = (config.asymmetry * random.uniform(60) * math.tan(math.radians(20)))[:, None]
        tail = (tail / torch.tan(2 * theta)).clamp(min=0.0) * scale
        turn = 2 * math.pi * tail[:, :, None] * f
        damped = magnitude / (1 + turn * turn)
        return torch.complex(damped, damped * turn)

    # ---------------------------------------------------------------- recording

    def _record(self, random: CounterRandom, rate: Tensor) -> tuple[Tensor, Tensor]:
        """Background, counts, range, processing and normalisation: intensity and coverage [B, L]."""
        config = self.config
        x = self._x[None]
        full = random.chance(70, config.full_range_share)
        low = torch.where(full, torch.full_like(rate[:, 0], self._start), random.between(71, *config.start))
        high = torch.where(full, torch.full_like(low, 1e3), random.between(72, *config.end))
        coverage = (x >= low[:, None]) & (x <= high[:, None])
        # A range without any peak is measured in full instead: nobody keeps such a pattern.
        peak = (rate * coverage).amax(1)
        empty = peak < 0.02 * rate.amax(1)
        coverage = coverage | empty[:, None]
        peak = torch.where(empty, rate.amax(1), peak).clamp(min=1e-30)
        rate = rate / peak[:, None]
        background = torch.zeros_like(rate)
        if config.background_median > 0:
            background = self._background(random)
        counts = rate + background
        if config.counts is not None:
            maximum = random.log_between(80, *config.counts)[:, None]
            counts = random.poisson(81, counts * maximum) / maximum
        if config.smooth_share > 0:
            weight = (random.uniform(83) * random.chance(82, config.smooth_share) * 0.33)[:, None]
            padded = torch.nn.functional.pad(counts[:, None], (1, 1), mode="replicate")[:, 0]
            counts = counts * (1 - 2 * weight) + weight * (padded[:, :-2] + padded[:, 2:])
        if config.subtract_share > 0:
            error = 1 + 0.03 * random.normal(84)
            subtracted = counts - background * error[:, None]
            clip = random.chance(86, config.clip_share)[:, None]
            subtracted = torch.where(clip, subtracted.clamp(min=0.0), subtracted)
            counts = torch.where(random.chance(85, config.subtract_share)[:, None], subtracted, counts)
        counts = counts * coverage
        return counts / counts.amax(1, keepdim=True).clamp(min=1e-30), coverage

    def _background(self, random: CounterRandom) -> Tensor:
        """[B, L] air scatter, a slow polynomial and amorphous humps, against the highest peak."""
        config = self.config
        x = self._x[None]
        level = config.background_median * torch.exp(config.background_sigma * random.normal(90)).clamp(
            max=25.0
        )
        t = (x - x.mean()) / (x.amax() - x.mean())
        c = random.normal(91, 3) * 0.3
        shape = 1 + c[:, 0:1] * t + c[:, 1:2] * (2 * t * t - 1) + c[:, 2:3] * (4 * t**3 - 3 * t)
        shape = shape.clamp(min=0.15)
        air = (config.air * random.uniform(92).square_())[:, None]
        shape = shape + air * (5.0 / x).pow(random.between(93, 1.0, 2.5)[:, None])
        for purpose in (94, 97):
            height = (3 * random.uniform(purpose) * random.chance(purpose + 1, config.hump_share))[:, None]
            u = random.uniform(purpose + 2, 2)
            centre, width = 14 + 24 * u[:, 0:1], 2.5 + 5 * u[:, 1:2]
            shape = shape + height * torch.exp(-0.5 * ((x - centre) / width) ** 2)
        return level[:, None] * shape


def _observable(strength: Tensor, s: Tensor, lamp: Tensor) -> Tensor:
    """Intensity [B, P] with the Lorentz and polarisation factors at the measured angle."""
    sine = (lamp[:, 0:1] * s).clamp(1e-3, 0.9999)
    cosine2 = 1 - sine * sine
    polarisation = torch.where(
        lamp[:, 2:3] > 0, torch.ones_like(sine), 0.5 * (1 + (1 - 2 * sine * sine) ** 2)
    )
    return strength * polarisation / (sine * sine * cosine2.sqrt())


def _reciprocal_metric(cell: np.ndarray) -> np.ndarray:
    """[N, 6] (a*a*, b*b*, c*c*, b*c*, a*c*, a*b*) of cells [N, 6], 1/angstrom^2."""
    edges, cosines = cell[:, :3].astype(np.float64), np.cos(np.radians(cell[:, 3:].astype(np.float64)))
    a, b, c = edges.T
    ca, cb, cg = cosines.T
    g = np.empty((len(cell), 3, 3))
    g[:, 0, 0], g[:, 1, 1], g[:, 2, 2] = a * a, b * b, c * c
    g[:, 0, 1] = g[:, 1, 0] = a * b * cg
    g[:, 0, 2] = g[:, 2, 0] = a * c * cb
    g[:, 1, 2] = g[:, 2, 1] = b * c * ca
    r = np.linalg.inv(g)
    return np.stack([r[:, 0, 0], r[:, 1, 1], r[:, 2, 2], r[:, 1, 2], r[:, 0, 2], r[:, 0, 1]], 1)


def _five_smooth(at_least: int) -> int:
    """The smallest even number with prime factors 2, 3 and 5 only: FFTs of it are fast."""
    n = at_least + at_least % 2
    while True:
        rest = n
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return n
        n += 2
