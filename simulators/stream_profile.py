"""Drawing many Voigt profiles, each with widths of its own, at a cost that hardly depends on their number.

The Fourier transform of a Voigt profile is exp(-2 pi^2 variance f^2 - pi lorentz |f|). Over the widths
that occur in a pattern it is a smooth function of two numbers, so it is interpolated: each profile is
shared out over a few width nodes, delta functions are summed into fine bins for each node, and every
node is convolved with its own exact Voigt by FFT. Nodes are the Padua points of degree 3 (Caliari, De
Marchi and Vianello, Appl. Math. Comput. 165 (2005) 261), ten of them, spanned between the least and
the greatest widths of the pattern.

Axes: B pattern, Q profile, N node, F frequency, L grid point.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from simulators.stream_instrument import Points

#: Total degree of the interpolation in the two widths.
DEGREE = 3
#: Bins on either side of the grid, for the tails of peaks outside.
MARGIN = 112
#: Narrowest full width at half maximum that bins can carry without ripples, in bins.
NARROWEST = 2.2
#: Patterns whose bins are worked on at once on a CPU: they stay in its cache.
TILE = 16
_TO_FWHM = math.sqrt(8 * math.log(2))


def padua_points(degree: int) -> np.ndarray:
    """[(degree + 1)(degree + 2) / 2, 2] points of the square [-1, 1]^2."""
    return np.array(
        [
            (math.cos(j * math.pi / degree), math.cos(k * math.pi / (degree + 1)))
            for j in range(degree + 1)
            for k in range(degree + 2)
            if (j + k) % 2 == 0
        ]
    )


def _powers(degree: int) -> list[tuple[int, int]]:
    return [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]


class Profiles:
    """Sums of Voigt profiles on a uniform axis of `length` points from `start` in steps of `step` degrees.

    cell_mean: average over the cell of a grid point, as `Grid.project` does; else the value at the point.
    """

    def __init__(
        self, start: float, step: float, length: int, device: torch.device, cell_mean: bool = True
    ) -> None:
        self.start, self.step, self.length = start, step, length
        self.bins = five_smooth(length + 2 * MARGIN)
        frequency = torch.arange(self.bins // 2 + 1, dtype=torch.float64, device=device)
        frequency = frequency / (self.bins * step)
        # Spreading a delta function over three bins damps frequencies by sinc^3; averaging over a cell
        # damps by sinc. What is left to do is to divide by the rest.
        self._sharpen = torch.sinc(frequency * step).pow(-2.0 if cell_mean else -3.0).to(torch.float32)
        self._linear = (-math.pi * frequency).to(torch.float32)
        self._square = (-2 * math.pi**2 * frequency**2).to(torch.float32)
        points = padua_points(DEGREE)
        powers = _powers(DEGREE)
        values = np.stack([points[:, 0] ** i * points[:, 1] ** j for i, j in powers], 1)
        self._powers = powers
        self._weights = torch.tensor(np.linalg.inv(values).T, dtype=torch.float32, device=device)
        self._nodes = torch.tensor(points, dtype=torch.float32, device=device)
        self._tile = TILE if device.type == "cpu" else 4096

    def __call__(self, points: Points) -> Tensor:
        """float32 [B, L], per bin: a profile of area 1 sums to 1."""
        parts = []
        for at in range(0, len(points.position), self._tile):
            rows = slice(at, at + self._tile)
            parts.append(
                self._tiled(
                    points.position[rows], points.area[rows], points.variance[rows], points.lorentz[rows]
                )
            )
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _tiled(self, position: Tensor, area: Tensor, variance: Tensor, lorentz: Tensor) -> Tensor:
        place = (position - self.start) / self.step + MARGIN
        inside = (place >= 1) & (place < self.bins - 2)
        area = torch.where(inside, area, 0.0)
        place = torch.where(inside, place, 1.0)
        lorentz = lorentz.clamp(min=0.0)
        narrowest = (NARROWEST * self.step - lorentz).clamp(min=0.05 * self.step) / _TO_FWHM
        variance = torch.maximum(variance, narrowest * narrowest)
        # Coordinates in which the shape changes evenly: ln of the variance, and of the Lorentzian width
        # after adding the Gaussian one (a Lorentzian much narrower than that does not show).
        used = area > 0
        first = variance.log()
        low, high = _extent(first, used)
        offset = torch.exp(0.25 * (low + high)) * _TO_FWHM
        second = (lorentz + offset).log()
        low2, high2 = _extent(second, used)
        weights = self._node_weights(
            ((first - low) / (high - low) * 2 - 1).clamp_(-1, 1),
            ((second - low2) / (high2 - low2) * 2 - 1).clamp_(-1, 1),
        )
        bins = self._scatter(place, area, weights)
        unit = (self._nodes + 1) * 0.5
        node_variance = torch.exp(low + unit[:, 0] * (high - low))
        node_lorentz = torch.exp(low2 + unit[:, 1] * (high2 - low2)) - offset
        spectrum = None
        for node, one in enumerate(bins):
            kernel = self._square * node_variance[:, node, None]
            kernel.addcmul_(self._linear, node_lorentz[:, node, None]).exp_()
            part = torch.view_as_real(torch.fft.rfft(one)) * kernel[:, :, None]
            spectrum = part if spectrum is None else spectrum.add_(part)
        assert spectrum is not None
        spectrum = torch.view_as_complex(spectrum.mul_(self._sharpen[:, None]))
        return torch.fft.irfft(spectrum, n=self.bins)[:, MARGIN : MARGIN + self.length].clamp(min=0.0)

    def _node_weights(self, u: Tensor, v: Tensor) -> Tensor:
        """[N, B, Q] share of each profile at each node; shares add up to 1, and may be negative."""
        one = torch.ones_like(u)
        us, vs = [one, u], [one, v]
        for _ in range(DEGREE - 1):
            us.append(us[-1] * u)
            vs.append(vs[-1] * v)
        monomials = torch.stack([us[i] * vs[j] for i, j in self._powers])
        return (self._weights @ monomials.flatten(1)).view(len(self._weights), *u.shape)

    def _scatter(self, place: Tensor, area: Tensor, weights: Tensor) -> Tensor:
        """[N, B, bins] delta functions, each spread by a quadratic spline over three bins.

        The spline keeps centre and variance of a peak wherever it falls between bins.
        """
        bins = torch.zeros((len(weights), len(place), self.bins), device=place.device)
        centre = (place + 0.5).floor()
        part = place - centre
        row = torch.arange(len(place), dtype=torch.int32, device=place.device)[:, None] * self.bins
        index = (row + centre.to(torch.int32)).flatten()
        spline = (0.5 * (0.5 - part).square(), 0.75 - part.square(), 0.5 * (0.5 + part).square())
        for step, fraction in zip((-1, 0, 1), spline):
            share, where = area * fraction, index + step
            for node, weight in enumerate(weights):
                bins[node].view(-1).index_add_(0, where, (share * weight).flatten())
        return bins


def _extent(value: Tensor, used: Tensor) -> tuple[Tensor, Tensor]:
    """Least and greatest value [B, 1] over the used profiles, a little apart at the least."""
    low = torch.where(used, value, torch.inf).amin(1, keepdim=True)
    high = torch.where(used, value, -torch.inf).amax(1, keepdim=True)
    none = ~torch.isfinite(low)
    low, high = torch.where(none, -6.0, low), torch.where(none, -5.0, high)
    return low, torch.maximum(high, low + 0.05)


def five_smooth(at_least: int) -> int:
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
