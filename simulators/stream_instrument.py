"""What a diffractometer makes of lines: positions, intensities and widths on the canonical axis.

Every line gets a Gaussian and a Lorentzian width of its own. Axial divergence (Finger, Cox and
Jephcoat) and transparency make lines lopsided: a line becomes a few points with shares of its area.
The lines in which this shows most are spread by quadrature over the axial distribution; for all others
two points and some Gaussian width reproduce the first four cumulants of what the two effects do together.

Angles and widths in degrees: "measured" as the goniometer reads them, "canonical" as they lie on the
grid after the declared wavelength was exchanged for Cu K-alpha1.

Axes: B pattern, P line of the sample, W line of the pattern (all wavelengths), Q point.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from eg_agent.patterns.radiation import CU_KALPHA1
from simulators.counter_random import CounterRandom, Table
from simulators.spectrum import TUNGSTEN_L_ALPHA1
from simulators.stream_config import OVERSPILL, InstrumentRanges
from simulators.stream_crystal import Lines

#: Lines that are spread by quadrature, in the order of how much axial divergence shows in them: how many
#: have how many points. The few photons from deep in a transparent sample need half as many.
QUADRATURE = ((8, 60), (40, 28), (80, 14), (96, 8))
#: Strongest lines of the main phase that show with K-beta.
BETA_LINES = 48
#: Highest angle that goniometers reach, degrees of measured 2-theta, and its sin(theta).
HIGHEST = 150.0
HIGHEST_SINE = math.sin(math.radians(HIGHEST / 2))
#: Limit of sines on the canonical axis.
MAX_SINE = 0.9999
_DEGREE = 180 / math.pi


@dataclass(frozen=True)
class Optics:
    """The instrument of each pattern; every field float32 [B].

    wavelength, wavelength2: angstrom (0: no second). ratio: I(K-alpha2) / I(K-alpha1). beta: wavelength of
    K-beta, beta_ratio: its intensity against K-alpha1. declared: the wavelength that the user gave.
    monochromator: cos^2 of twice its Bragg angle; polarised: 1 for no polarisation factor, else 0.
    u, v, w: Gaussian FWHM^2 = u tan^2 + v tan + w, degrees^2; x, y: Lorentzian FWHM = x / cos + y tan.
    anisotropy: width of the microstrain at tan(theta) = 1, degrees; mixing: its Lorentzian share.
    sample_slit, detector_slit: S / L and H / L of the axial divergence.
    transparency: 180 / (2 pi mu R), degrees; lines trail by this times sin(2 theta) on average.
    zero, displacement: shift, and shift over cos(theta) (over sin(2 theta) where capillary is 1), degrees.
    edge: sin(theta) below which the beam misses part of the sample, 0 for none. roughness, roughness_depth:
    Suortti's p (1 for none) and q.
    """

    wavelength: Tensor
    wavelength2: Tensor
    ratio: Tensor
    beta: Tensor
    beta_ratio: Tensor
    declared: Tensor
    monochromator: Tensor
    polarised: Tensor
    u: Tensor
    v: Tensor
    w: Tensor
    x: Tensor
    y: Tensor
    anisotropy: Tensor
    mixing: Tensor
    sample_slit: Tensor
    detector_slit: Tensor
    transparency: Tensor
    zero: Tensor
    displacement: Tensor
    capillary: Tensor
    edge: Tensor
    roughness: Tensor
    roughness_depth: Tensor


@dataclass(frozen=True)
class Points:
    """What is drawn: Voigt profiles on the canonical axis, each [B, Q].

    position: degrees. area: any unit, over canonical angles: heights are those of the measurement, whose
    points keep their counts when their angles are exchanged. variance: of the Gaussian, degrees^2.
    lorentz: FWHM, degrees.
    """

    position: Tensor
    area: Tensor
    variance: Tensor
    lorentz: Tensor


class Instruments:
    """Draws instruments and turns lines into points."""

    def __init__(self, config: InstrumentRanges, device: torch.device) -> None:
        self.config = config
        lamps = config.lamps
        self._share = torch.tensor([x.share for x in lamps], dtype=torch.float64, device=device).cumsum(0)
        self._lamps = torch.tensor(
            [
                (
                    x.wavelength,
                    max(x.wavelength, x.wavelength_max),
                    x.wavelength2,
                    x.beta,
                    float(x.polarised),
                    x.width,
                    x.monochromator,
                    x.monochromator_share,
                    x.capillary_share,
                    x.axial,
                )
                for x in lamps
            ],
            device=device,
        )
        self._doublets = any(x.wavelength2 > 0 for x in lamps)
        self._beta = config.beta_share > 0 and config.beta_max > 0 and any(x.beta > 0 for x in lamps)
        self._axial = config.axial[1] > 0
        deep = config.transparency[1] > 0  # light comes from within the sample
        self._lopsided = self._axial or deep
        # Quadrature over heights, for both points that stand for an exponential tail of unit decay: heights
        # against S + H, weights, shifts against the decay; and its Gaussian's variance.
        offsets, shares, rest = _two_points(*(torch.tensor(c, dtype=torch.float64) for c in (1.0, -2.0, 6.0)))
        self._trail_variance = float(rest) if deep else 0.0
        self._tiers = [
            (
                count,
                torch.tensor(_quadrature(offsets, shares, nodes, deep), dtype=torch.float32, device=device),
            )
            for count, nodes in QUADRATURE
        ]

    def draw(self, random: CounterRandom, base: int) -> Optics:
        """One instrument for each pattern; purposes base and base + 1."""
        config = self.config
        t = Table(random, base, 40)
        place = torch.searchsorted(self._share, random.uniform64(base + 1) * self._share[-1])
        lamp = self._lamps[place.clamp(max=len(self._lamps) - 1)]
        shortest, longest, second, beta, polarised, factor, monochromator, *shares = lamp.unbind(1)
        wavelength = shortest * (longest / shortest).pow(t.uniform())
        ratio = 0.5 * (second > 0)
        mean = (wavelength + ratio * second) / (1 + ratio)
        declared = torch.where(t.chance(config.doublet_declared_share), mean, wavelength)
        monochromator = torch.where(t.uniform() < shares[0], monochromator, 1.0)
        beta_ratio = config.beta_max * t.uniform() * t.chance(config.beta_share) * (beta > 0)
        beta = torch.where(t.chance(config.tungsten_share) & (beta > 0), TUNGSTEN_L_ALPHA1, beta)
        flat = (t.uniform() >= shares[1]).float()

        width = config.fwhm_median * torch.exp(config.fwhm_sigma * t.normal())
        width = width.clamp(*config.fwhm_range) * factor
        lorentz = t.between(*config.lorentz)
        # Width of a Voigt from its parts (Olivero and Longbothum, 1977), kept at the drawn width.
        unit = width / (0.5346 * lorentz + (0.2166 * lorentz**2 + (1 - lorentz) ** 2).sqrt())
        gauss, broad = (1 - lorentz) * unit, lorentz * unit
        growth = config.caglioti * t.uniform()
        dip = t.uniform() * growth.sqrt()
        size = t.uniform()
        anisotropy = t.between(*config.anisotropy) * t.chance(config.anisotropy_share) * factor
        mixing = t.uniform()
        slits = t.between(*config.axial) * shares[2]
        sample = slits * t.between(*config.axial_ratio)
        transparency = t.between(*config.transparency) * flat
        zero, displacement = config.zero * t.normal(), config.displacement * t.normal()
        full = torch.deg2rad(t.between(OVERSPILL[0] / 2, OVERSPILL[1] / 2))
        edge = torch.sin(full) * t.chance(config.overspill_share) * flat
        rough = t.chance(config.roughness_share) & (flat > 0)
        roughness = torch.where(rough, t.between(*config.roughness), 1.0)
        return Optics(
            wavelength, second, ratio, beta, beta_ratio, declared, monochromator, polarised,
            growth * gauss**2, -dip * gauss**2, gauss**2, broad * size,
            broad * (1 - size) * config.lorentz_growth, anisotropy, mixing, sample, slits - sample,
            transparency, zero * factor, displacement * factor, 1 - flat, edge, roughness,
            t.between(*config.roughness_depth),
        )  # fmt: skip

    def points(self, optics: Optics, lines: Lines) -> Points:
        """Lines of all wavelengths as lopsided Voigt profiles on the canonical axis."""
        o = optics
        waves = [(o.wavelength, torch.ones_like(o.ratio), lines)]
        if self._doublets:
            waves.append((torch.where(o.ratio > 0, o.wavelength2, o.wavelength), o.ratio, lines))
        if self._beta:
            some = slice(0, BETA_LINES)
            strongest = Lines(lines.s[:, some], lines.strength[:, some], lines.microstrain[:, some])
            waves.append((torch.where(o.beta > 0, o.beta, o.wavelength), o.beta_ratio, strongest))
        sine = torch.cat([wave[:, None] * x.s for wave, _, x in waves], 1)
        strength = torch.cat([share[:, None] * x.strength for _, share, x in waves], 1)
        microstrain = torch.cat([x.microstrain for *_, x in waves], 1)

        strength = strength * (sine < HIGHEST_SINE)
        sine = sine.clamp(1e-4, HIGHEST_SINE)
        cosine = (1 - sine * sine).sqrt()
        area = strength * intensity_factor(o, sine, cosine)
        two_theta = torch.asin(sine) * (2 * _DEGREE)
        shifted = two_theta + _shift(o, sine, cosine)
        tangent = sine / cosine
        variance, lorentz = _widths(o, tangent, cosine, microstrain)
        if not self._lopsided:
            position, scale = canonical(shifted, o.declared)
            return Points(position, area * scale, variance * scale * scale, lorentz * scale)

        sine2 = 2 * sine * cosine
        trail = o.transparency[:, None] * sine2
        lever = (1 - 2 * sine * sine) / sine2 * (0.5 * _DEGREE)  # shift at unit h^2, downwards
        mean, second, third, fourth = _axial_moments(o)
        first = -(lever * mean[:, None] + trail)
        spread = lever * lever * second[:, None] + trail * trail
        skew = -(lever.pow(3) * third[:, None] + 2 * trail.pow(3))
        peaked = lever.pow(4) * fourth[:, None] + 6 * trail.pow(4)
        offsets, shares, rest = _two_points(spread, skew, peaked)
        points = [
            (shifted + first + offset, area * share, variance + rest, lorentz)
            for offset, share in zip(offsets, shares)
        ]
        if self._axial:
            order = _most_spread(lever, area, sum(count for count, _ in QUADRATURE))
            points = [(p, a.scatter(1, order, 0.0), v, g) for p, a, v, g in points]
            line = (sine, cosine, area, variance, lorentz, trail)
            start = 0
            for count, nodes in self._tiers:
                chosen = order[:, start : start + count]
                points.append(self._spread(o, nodes, *(part.gather(1, chosen) for part in line)))
                start += count
        position, area, variance, lorentz = (torch.cat(parts, 1) for parts in zip(*points))
        position, scale = canonical(position, o.declared)
        return Points(position, area * scale, variance * scale * scale, lorentz * scale)

    def _spread(
        self, o: Optics, nodes: Tensor, sine: Tensor, cosine: Tensor, area: Tensor, variance: Tensor,
        lorentz: Tensor, trail: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
        """Some lines [B, K] as Q points each (of `_quadrature`): position, area, variance, width [B, K Q].

        A cone 2 theta meets the height h (against the radius) of the detector's cylinder at 2 phi:
        cos 2phi = cos 2theta r with r = sqrt(1 + h^2), or sin^2 phi = r sin^2 theta - (r - 1) / 2, which
        float32 can tell from sin^2 theta. Heights have the density W(h) of overlapping slits; FCJ's
        D(2 phi) d(2 phi) is W dh / (cos^2 2phi sin 2phi).
        """
        heights, weights, depths = nodes
        total = (o.sample_slit + o.detector_slit)[:, None]
        flat = 2 * torch.minimum(o.sample_slit, o.detector_slit)[:, None]
        h = total * heights
        density = torch.minimum(total - h, flat).clamp(min=1e-9) * weights
        less = h * h / (1 + (1 + h * h).sqrt())  # sqrt(1 + h^2) - 1
        square = (sine * sine)[:, :, None] * (1 + less)[:, None] - 0.5 * less[:, None]
        square_ = square.clamp(1e-8, MAX_SINE)
        cosine2 = (1 - 2 * square_).abs().clamp(min=0.05)
        weight = density[:, None] / (cosine2 * cosine2 * 2 * (square_ * (1 - square_)).sqrt()) * (square > 0)
        weight = weight * (area / weight.sum(2).clamp(min=1e-30))[:, :, None]
        position = torch.asin(square_.sqrt()) * (2 * _DEGREE)
        position = position + (_shift(o, sine, cosine) - trail)[:, :, None] + trail[:, :, None] * depths
        variance = variance + self._trail_variance * trail * trail
        count = len(heights)
        return (
            position.flatten(1),
            weight.flatten(1),
            variance.repeat_interleave(count, 1),
            lorentz.repeat_interleave(count, 1),
        )


def _shift(o: Optics, sine: Tensor, cosine: Tensor) -> Tensor:
    """Degrees [B, W] by which lines are seen beside their angle, but for asymmetry."""
    lever = torch.where(o.capillary[:, None] > 0, 2 * sine * cosine, cosine)
    return o.zero[:, None] + o.displacement[:, None] * lever


def intensity_factor(o: Optics, sine: Tensor, cosine: Tensor) -> Tensor:
    """Lorentz, polarisation, overspill and roughness [B, W] at sin and cos of theta."""
    cosine2 = 1 - 2 * sine * sine
    k = o.monochromator[:, None]
    polarisation = torch.where(o.polarised[:, None] > 0, 1.0, (1 + k * cosine2 * cosine2) / (1 + k))
    factor = polarisation / (sine * sine * cosine)
    edge = o.edge[:, None].clamp(min=1e-6)
    factor = factor * (sine / edge).clamp(max=1.0)
    p, q = o.roughness[:, None], o.roughness_depth[:, None]
    rough = (p + (1 - p) * torch.exp(-q / sine)) / (p + (1 - p) * torch.exp(-q))
    return factor * rough


def _widths(o: Optics, tangent: Tensor, cosine: Tensor, microstrain: Tensor) -> tuple[Tensor, Tensor]:
    """Variance of the Gaussian (degrees^2) and FWHM of the Lorentzian (degrees), as measured [B, W]."""
    gauss2 = tangent * (o.u[:, None] * tangent + o.v[:, None]) + o.w[:, None]
    strain = microstrain * tangent
    mixing = o.mixing[:, None]
    gauss2 = gauss2 + ((1 - mixing) * strain).square()
    lorentz = o.x[:, None] / cosine + o.y[:, None] * tangent + mixing * strain
    return gauss2 / (8 * math.log(2)), lorentz


def canonical(angle: Tensor, declared: Tensor) -> tuple[Tensor, Tensor]:
    """Positions [B, Q] on the canonical axis of measured ones, and d(canonical) / d(measured).

    declared: [B] wavelength that the user gave, angstrom.
    """
    theta = angle * (0.5 / _DEGREE)
    ratio = (CU_KALPHA1 / declared)[:, None]
    sine = (torch.sin(theta) * ratio).clamp_(-MAX_SINE, MAX_SINE)
    scale = ratio * torch.cos(theta) / (1 - sine * sine).sqrt()
    return torch.asin(sine) * (2 * _DEGREE), scale


def reach(optics: Optics) -> Tensor:
    """Highest canonical angle [B] that the goniometer reaches, degrees."""
    return torch.asin((HIGHEST_SINE * CU_KALPHA1 / optics.declared).clamp(max=1.0)) * (2 * _DEGREE)


def _axial_moments(o: Optics) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean, variance, third and fourth cumulant [B] of h^2 under the axial slits' density W(h).

    W is flat up to |S - H| and falls to 0 at S + H, so the n-th moment of h is
    ((S + H)^(n + 2) - |S - H|^(n + 2)) / ((n + 1) (n + 2)) but for a common factor.
    """
    wide = (o.sample_slit + o.detector_slit).clamp(min=1e-6)
    narrow = (o.sample_slit - o.detector_slit).abs().minimum(0.999 * wide) / wide

    def moment(n: int) -> Tensor:
        return (1 - narrow.pow(n + 2)) / ((n + 1) * (n + 2))

    area = moment(0)
    m1, m2, m3, m4 = (moment(2 * n) / area for n in (1, 2, 3, 4))
    square = wide * wide
    c2 = m2 - m1 * m1
    c3 = m3 - 3 * m1 * m2 + 2 * m1**3
    c4 = m4 - 4 * m1 * m3 + 6 * m1 * m1 * m2 - 3 * m1**4 - 3 * c2 * c2
    return m1 * square, c2 * square**2, c3 * square**3, c4.clamp(min=0.0) * square**4


def _two_points(
    variance: Tensor, third: Tensor, fourth: Tensor
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor], Tensor]:
    """Two points and a Gaussian that together have the cumulants 0, variance, third, fourth.

    Returns offsets, shares and the Gaussian's variance. Two points of variance v and third cumulant k
    have the fourth k^2 / v - 2 v^2, so v solves 2 v^3 + fourth v - k^2 = 0: one positive root.
    """
    v = variance + 1e-12
    p, q = fourth / v**2 / 2 + 1e-6, (third * third) / v**3 / 2  # in units of v, to stay within float32
    inner = 1.5 * q / p * (3 / p).sqrt()
    part = (2 * (p / 3).sqrt() * torch.sinh(torch.asinh(inner) / 3)).clamp(1e-3, 1.0)
    own = part * v
    skew = third / own.pow(1.5)
    root = (skew * skew + 4).sqrt()
    first, second = 0.5 * (skew + root), 0.5 * (skew - root)
    deviation = own.sqrt()
    shares = (1 / (1 + first * first), 1 / (1 + second * second))
    return (first * deviation, second * deviation), shares, v - own


def _quadrature(
    offsets: tuple[Tensor, Tensor], shares: tuple[Tensor, Tensor], count: int, deep: bool
) -> np.ndarray:
    """[3, Q] heights against S + H, weights, and shifts against the decay of an exponential tail.

    offsets, shares: of the two points that stand for the tail (`_two_points`); deep: whether there is one.
    The point of the smaller share has half of the nodes.
    """
    parts = [(0.0, 1.0, count)]
    if deep:
        larger = max(float(share) for share in shares)
        parts = [
            (float(offset), float(share), count if float(share) == larger else count // 2)
            for offset, share in zip(offsets, shares)
        ]
    rows = []
    for offset, share, number in parts:
        nodes, weights = np.polynomial.legendre.leggauss(number)
        rows.append([0.5 + 0.5 * nodes, 0.5 * weights * share, np.full(number, offset)])
    return np.concatenate(rows, axis=1)


def _most_spread(lever: Tensor, area: Tensor, count: int) -> Tensor:
    """int64 [B, count] places of the lines in which axial divergence shows most, falling.

    lever [B, W]: shift at unit h^2; the larger, and the stronger the line, the more shows.
    """
    return (area * lever.abs().clamp(max=600.0)).topk(min(count, area.shape[1]), 1).indices
