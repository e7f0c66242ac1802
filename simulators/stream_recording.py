"""From a noise-free pattern to the data that an archive holds: background, counts, range, processing.

Intensities are against the highest peak of the measured range, angles in degrees on the grid.

Axes: B pattern, L grid point.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from simulators.counter_random import CounterRandom, Table
from simulators.stream_config import RecordingRanges

#: Harmonics of the Gaussian process, and its period against the length of the grid.
HARMONICS = 8
PERIOD = 2.0
#: Points averaged for the estimate of a background, and range of its half window in degrees.
DECIMATE = 8
SNIP_WINDOW = (1.0, 4.0)


def some(chosen: Tensor, work: Callable[..., Tensor], value: Tensor, *others: Tensor) -> Tensor:
    """`value` [B, ...] with work(value, *others) in the chosen rows.

    On a CPU only these rows are computed; on an accelerator all are, which needs no answer from it.
    """
    if value.device.type != "cpu":
        return torch.where(chosen.view(-1, *[1] * (value.dim() - 1)), work(value, *others), value)
    rows = chosen.nonzero()[:, 0]
    if not len(rows):
        return value
    return value.index_copy(0, rows, work(value[rows], *(other[rows] for other in others)))


class Recorder:
    """Draws recordings of noise-free patterns on the points x (degrees, [L])."""

    def __init__(self, config: RecordingRanges, x: Tensor) -> None:
        self.config = config
        self._x = x[None]
        self._step = float(x[1] - x[0])
        self._log_x = (5.0 / self._x).log()
        t = torch.linspace(-1, 1, x.shape[0], dtype=torch.float64, device=x.device)
        angle = torch.acos(t)
        waves = math.pi / PERIOD * (t + 1) * torch.arange(1, HARMONICS + 1, device=x.device)[:, None]
        rows = [
            torch.ones_like(t)[None],
            torch.cos(torch.arange(1, 5, device=x.device)[:, None] * angle),  # Chebyshev T1 to T4
            torch.cos(waves),
            torch.sin(waves),
        ]
        self._basis = torch.cat(rows).to(torch.float32)
        turns = torch.arange(HARMONICS + 1, device=x.device) * 2 * math.pi
        self._waves = turns / (PERIOD * float(x[-1] - x[0]))

    def __call__(
        self, random: CounterRandom, base: int, rate: Tensor, reach: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Intensity float32 and coverage bool [B, L] of patterns `rate`; purposes base to base + 9.

        reach: [B] highest angle that can be measured. The maximum over the covered part is 1; elsewhere
        the intensity is 0.
        """
        config = self.config
        table = Table(random, base, 24)
        coverage, peak = self._range(table, rate, reach)
        rate = rate / peak[:, None]
        background = torch.zeros_like(rate)
        if config.background_median > 0:
            background = self.background(random, base + 1)
        counts = rate + background
        if config.dead_time[1] > 0:
            lost = table.between(*config.dead_time)
            lost = (lost / (1 - lost) / counts.amax(1))[:, None]
            background = background / (1 + lost * counts)
            counts = counts / (1 + lost * counts)
        counts, maximum = self._counted(table, random, base + 2, counts)
        if config.saturation_share > 0:
            cut = torch.where(table.chance(config.saturation_share), table.between(0.5, 1.0), torch.inf)
            counts = torch.minimum(counts, (cut * counts.amax(1))[:, None])
        counts = self._processed(table, counts, background, maximum, coverage) * coverage
        return counts / counts.amax(1, keepdim=True).clamp(min=1e-30), coverage

    def _range(self, table: Table, rate: Tensor, reach: Tensor) -> tuple[Tensor, Tensor]:
        """What is measured [B, L], and the highest peak within [B]."""
        config, x = self.config, self._x
        full = table.chance(config.full_range_share)
        low = torch.where(full, -torch.inf, table.between(*config.start))
        high = torch.where(full, torch.inf, table.between(*config.end))
        highest = rate.amax(1)
        within = x <= reach[:, None]
        if config.full_range_share >= 1:
            return within, highest.clamp(min=1e-30)
        coverage = (x >= low[:, None]) & (x <= high[:, None]) & within
        # A range without any peak is measured in full instead: nobody keeps such a pattern.
        peak = (rate * coverage).amax(1)
        empty = peak < 0.02 * highest
        coverage = coverage | (empty[:, None] & within)
        return coverage, torch.where(empty, highest, peak).clamp(min=1e-30)

    def background(self, random: CounterRandom, purpose: int) -> Tensor:
        """[B, L] air scatter, slow curves and amorphous humps, against the highest peak."""
        config = self.config
        table = Table(random, purpose, 16)
        level = config.background_median * torch.exp(config.background_sigma * table.normal()).clamp(max=25.0)
        normal = random.normal(purpose + 7, len(self._basis))
        chebyshev = normal[:, 1:5] * config.chebyshev
        # A Gaussian process on a circle: harmonics with the transform of its kernel as variances.
        length = table.between(*config.gp_length)
        power = torch.exp(-0.5 * (self._waves * length[:, None]).square())
        power[:, 1:] *= 2
        deviation = (power / power.sum(1, keepdim=True)).sqrt() * config.gp_sigma
        slow = torch.cat(
            [
                1 + normal[:, :1] * deviation[:, :1],
                chebyshev,
                normal[:, 5 : 5 + HARMONICS] * deviation[:, 1:],
                normal[:, 5 + HARMONICS :] * deviation[:, 1:],
            ],
            1,
        )
        shape = (slow @ self._basis).clamp_(min=0.1)
        air = (config.air * table.uniform().square())[:, None]
        power = table.between(*config.air_power)[:, None]
        shape.addcmul_(air, (power * self._log_x).exp_())
        for _ in range(2 if config.hump_share > 0 else 0):
            height = config.hump * table.uniform()
            centre, width = table.between(14.0, 38.0)[:, None], table.between(2.5, 7.5)[:, None]
            hump = table.chance(config.hump_share)
            shape = some(
                hump,
                lambda s, h, c, w: s + h[:, None] * torch.exp(-0.5 * ((self._x - c) / w).square()),
                shape, height, centre, width,
            )  # fmt: skip
        return shape.mul_(level[:, None])

    def _counted(
        self, table: Table, random: CounterRandom, purpose: int, mean: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Poisson counts as they stand on the grid, and the counts [B, 1] of an intensity of 1.

        Steps wider than the grid's are interpolated. With finer ones a grid point is the mean of a cell,
        in which neighbours share measured points.
        """
        config = self.config
        coarse = table.chance(config.coarse_share)
        step = torch.where(coarse, table.between(*config.coarse_step), 1.0)[:, None]
        if config.coarse_share > 0:
            mean = some(coarse, _resampled, mean, step)
        maximum = torch.full_like(step, torch.inf)
        if config.counts is not None:
            maximum = table.log_between(*config.counts)[:, None]
            mean = random.poisson(purpose, mean * maximum) / maximum
        if config.coarse_share > 0:
            mean = some(coarse, _resampled, mean, 1 / step)
        if config.cell[1] > 0:
            mean = some(~coarse, _smoothed, mean, table.between(*config.cell)[:, None])
        return mean, maximum

    def _processed(
        self, table: Table, counts: Tensor, background: Tensor, maximum: Tensor, coverage: Tensor
    ) -> Tensor:
        """Smoothing, subtraction of a background or of the minimum, and clipping."""
        config = self.config
        if config.smooth_share > 0:
            smooth = table.chance(config.smooth_share)
            counts = some(smooth, _smoothed, counts, 0.33 * table.uniform()[:, None])
        if config.subtract_share > 0:
            subtract = table.chance(config.subtract_share)
            estimate = subtract & table.chance(config.estimated_share)
            error = 1 + 0.03 * table.normal()[:, None]
            window = table.log_between(*SNIP_WINDOW)[:, None] / (DECIMATE * self._step)
            counts = some(subtract & ~estimate, lambda c, b, e: c - b * e, counts, background, error)
            widest = round(SNIP_WINDOW[1] / (DECIMATE * self._step))
            counts = some(estimate, lambda c, w: c - snip(c, w, widest), counts, window)
            if config.envelope_share > 0:
                below = table.between(*config.envelope)[:, None] / maximum.sqrt()
                envelope = subtract & table.chance(config.envelope_share)
                counts = some(envelope, lambda c, b, k: c + k * b.sqrt(), counts, background, below)
            clip = subtract & table.chance(config.clip_share)
            counts = torch.maximum(counts, torch.where(clip, 0.0, -torch.inf)[:, None])
            if config.offset_share > 0:
                offset = table.chance(config.offset_share) & ~subtract
                counts = some(offset, _less_minimum, counts, coverage)
        return counts


def _resampled(value: Tensor, step: Tensor) -> Tensor:
    """[B, L] at the places k step [B, 1] of each row, by straight lines; the last value beyond its end."""
    last = value.shape[1] - 1
    place = (torch.arange(value.shape[1], device=value.device) * step).clamp_(max=last)
    left = place.floor()
    part = place.sub_(left)
    left = left.long()
    first = value.gather(1, left)
    return first.add_((value.gather(1, (left + 1).clamp_(max=last)) - first) * part)


def _smoothed(value: Tensor, weight: Tensor) -> Tensor:
    """[B, L] with a share `weight` [B, 1] of each point given to both neighbours."""
    padded = pad(value[:, None], (1, 1), mode="replicate")[:, 0]
    return value * (1 - 2 * weight) + weight * (padded[:, :-2] + padded[:, 2:])


def _less_minimum(value: Tensor, coverage: Tensor) -> Tensor:
    return value - torch.where(coverage, value, torch.inf).amin(1, keepdim=True)


def snip(value: Tensor, window: Tensor, widest: int) -> Tensor:
    """Background [B, L] estimated by clipping peaks (Morhac et al., Nucl. Instrum. Meth. A 401 (1997) 113).

    Means of DECIMATE points, on the scale ln(ln(sqrt(y + 1) + 1) + 1) of counts of 1 % of the maximum,
    are replaced by the mean of their neighbours at a distance, where that is lower; the distance falls
    from window [B, 1] (means, at most `widest`) to 1.
    """
    length = value.shape[1]
    short = length // DECIMATE * DECIMATE
    means = value[:, :short].view(len(value), -1, DECIMATE).mean(2).clamp_(min=0.0)
    unit = 0.01 * means.amax(1, keepdim=True).clamp(min=1e-30)
    y = (((means / unit + 1).sqrt() + 1).log() + 1).log()
    for distance in range(widest, 0, -1):
        padded = pad(y[:, None], (distance, distance), mode="replicate")[:, 0]
        neighbours = 0.5 * (padded[:, : -2 * distance] + padded[:, 2 * distance :])
        y = torch.where(distance <= window, torch.minimum(y, neighbours), y)
    estimate = (((y.exp() - 1).exp() - 1).square() - 1) * unit
    fine = interpolate(estimate[:, None], size=short, mode="linear", align_corners=False)[:, 0]
    return pad(fine[:, None], (0, length - short), mode="replicate")[:, 0] if short < length else fine
