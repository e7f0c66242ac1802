"""Drawing many Voigt profiles, each with widths of its own, at a cost that hardly depends on their number.

The Fourier transform of a Voigt profile is exp(-2 pi^2 variance f^2 - pi lorentz |f|). Over the widths
that occur in a pattern it is a smooth function of two numbers, the total width and the Lorentzian share
of it, so it is interpolated: each profile is shared out over a few nodes, delta functions are summed
into fine bins for each node, and every node is convolved with its own exact Voigt by FFT. Nodes are
Padua points (Caliari, De Marchi and Vianello, Appl. Math. Comput. 165 (2005) 261), spanned between the
least and the greatest widths and shares of the pattern; their degree follows from how far these lie apart.

On a CPU compiled kernels (`profile_kernels`) do what is not a transform; both ways agree within 1e-5 of the
strongest point of a batch.

Axes: B pattern, Q profile, N node, F frequency, L grid point.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from simulators import profile_kernels
from simulators.stream_instrument import Points

#: Degrees of the interpolation, and the largest span of ln(width) and of the Lorentzian share for which each
#: is off by less than 0.8 % of a profile's height (tests/simulators/test_stream_profile.py).
DEGREES = (1, 2, 3, 4, 5)
WIDTH_SPANS = (0.12, 0.42, 0.75, 1.1, math.inf)
SHARE_SPANS = (0.1, 0.3, 0.5, 0.7, math.inf)
#: Points of less than this part of the largest area do not count for the spans: their widths are only
#: kept within them.
WEAK = 3e-4
#: Least spans, where all profiles of a pattern are alike.
LEAST_WIDTH_SPAN, LEAST_SHARE_SPAN = 0.02, 0.01
#: Bins on either side of the grid, for the tails of peaks outside.
MARGIN = 112
#: Narrowest full width at half maximum that bins can carry without ripples, and the least Gaussian part
#: of a wider Lorentzian, in bins.
NARROWEST, LEAST_GAUSS = 2.2, 0.05
#: Patterns whose bins are worked on at once on a CPU: they stay in its cache.
TILE = 16
#: FWHM^2 of a Gaussian over its variance.
SQUARE = 8 * math.log(2)


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


def voigt_width(gauss2: Tensor, lorentz: Tensor) -> Tensor:
    """FWHM of a Voigt profile from the square of its Gaussian FWHM and its Lorentzian one, within 0.02 %.

    Olivero and Longbothum, J. Quant. Spectrosc. Radiat. Transfer 17 (1977) 233.
    """
    return 0.5346 * lorentz + (0.2166 * lorentz * lorentz + gauss2).sqrt()


def node_widths(nodes: Tensor, frame: Tensor) -> tuple[Tensor, Tensor]:
    """Variance and Lorentzian FWHM [B, N] at nodes [..., N, 2] of the square, for frames [4, B].

    frame: middle of the widths; reach of (width - middle) / (width + middle), which is nearly linear in the
    logarithm; middle and reach of the Lorentzian share.
    """
    middle, reach, centre, half = (part[:, None] for part in frame)
    turn = nodes[..., 0] * reach
    width = middle * (1 + turn) / (1 - turn)
    share = (centre + half * nodes[..., 1]).clamp(0.0, 1.0)
    lorentz = width * share
    gauss = (1 - 0.5346 * share).square() - 0.2166 * share * share
    return width * width * gauss.clamp(min=0.0) / SQUARE, lorentz


def frames(span: Tensor) -> tuple[Tensor, Tensor]:
    """frame [4, B] of `node_widths` and the row of DEGREES [B] for span [4, B], widths and shares."""
    low, high, least, most = span
    ratio = (high / low).log()
    share = most - least
    limits = [torch.tensor(x[:-1], device=span.device) for x in (WIDTH_SPANS, SHARE_SPANS)]
    degree = torch.maximum(torch.bucketize(ratio, limits[0]), torch.bucketize(share, limits[1]))
    reach = torch.tanh(0.25 * ratio.clamp(min=LEAST_WIDTH_SPAN))
    half = 0.5 * share.clamp(min=LEAST_SHARE_SPAN)
    return torch.stack([(low * high).sqrt(), reach, 0.5 * (least + most), half]), degree


class Profiles:
    """Sums of Voigt profiles on a uniform axis of `length` points from `start` in steps of `step` degrees.

    cell_mean: average over the cell of a grid point, as `Grid.project` does; else the value at the point.
    compiled: kernels for a CPU instead of tensor operations; by default wherever the device is one.
    """

    def __init__(
        self,
        start: float,
        step: float,
        length: int,
        device: torch.device,
        cell_mean: bool = True,
        compiled: bool | None = None,
    ) -> None:
        self.start, self.step, self.length = start, step, length
        self.bins = good_length(length + 2 * MARGIN)
        frequency = torch.arange(self.bins // 2 + 1, dtype=torch.float64, device=device)
        frequency = frequency / (self.bins * step)
        # Spreading a delta function over five bins damps frequencies by sinc^5; averaging over a cell
        # damps by sinc. What is left to do is to divide by the rest.
        self._sharpen = torch.sinc(frequency * step).pow(-4.0 if cell_mean else -5.0).to(torch.float32)
        self._linear = (-math.pi * frequency).to(torch.float32)
        self._square = (-2 * math.pi**2 * frequency**2).to(torch.float32)
        points = [padua_points(degree) for degree in DEGREES]
        powers = [_powers(degree) for degree in DEGREES]
        inverse = [
            np.linalg.inv(np.stack([p[:, 0] ** i * p[:, 1] ** j for i, j in q], 1)).T
            for p, q in zip(points, powers)
        ]
        self._powers = powers
        self._weights = [torch.tensor(w, dtype=torch.float32, device=device) for w in inverse]
        self._nodes = [torch.tensor(p, dtype=torch.float32, device=device) for p in points]
        self._compiled = device.type == "cpu" if compiled is None else compiled
        self._tile = TILE if device.type == "cpu" else 4096
        most = len(powers[-1])
        self._table = (
            np.stack([np.pad(np.array(q), ((0, most - len(q)), (0, 0))) for q in powers]),
            np.stack([np.pad(w, (0, most - len(w))) for w in inverse]).astype(np.float32),
        )
        self._counts = torch.tensor([len(q) for q in powers], device=device)
        self._padded = torch.zeros(len(DEGREES), most, 2, device=device)
        for row, nodes in enumerate(self._nodes):
            self._padded[row, : len(nodes)] = nodes

    def __call__(self, points: Points) -> Tensor:
        """float32 [B, L], per bin: a profile of area 1 sums to 1."""
        work = self._by_kernels if self._compiled else self._by_tensors
        out = torch.empty(len(points.position), self.length, device=points.position.device)
        for at in range(0, len(out), self._tile):
            rows = slice(at, at + self._tile)
            transform = work(
                points.position[rows], points.area[rows], points.variance[rows], points.lorentz[rows]
            )
            drawn = torch.fft.irfft(transform, n=self.bins)
            torch.clamp(drawn[:, MARGIN : MARGIN + self.length], min=0.0, out=out[rows])
        return out

    def _by_kernels(self, position: Tensor, area: Tensor, variance: Tensor, lorentz: Tensor) -> Tensor:
        """Transforms [B, F] of the sums of profiles."""
        rows = len(position)
        packed = np.empty((4, *position.shape), np.float32)
        count = np.empty(rows, np.int64)
        origin = np.float32(self.start), np.float32(self.step), np.float32(MARGIN), self.bins
        limits = np.float32(SQUARE), np.float32(NARROWEST * self.step), np.float32(LEAST_GAUSS * self.step)
        profile_kernels.widths(
            position.contiguous().numpy(), area.contiguous().numpy(), variance.contiguous().numpy(),
            lorentz.contiguous().numpy(), (*origin, *limits), packed, count,
        )  # fmt: skip
        span = torch.empty(4, rows)
        profile_kernels.spans(packed, count, np.float32(WEAK), span.numpy())
        frame, degree = frames(span)
        counts = self._counts[degree]
        first = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        bins = torch.empty(int(first[-1]), self.bins)
        powers, matrix = self._table
        profile_kernels.share_out(
            packed, count, frame.numpy(), degree.numpy(), powers, matrix, first.numpy(), bins.numpy()
        )
        spectra = torch.view_as_real(torch.fft.rfft(bins)).flatten(1)
        nodes = torch.arange(self._padded.shape[1]) < counts[:, None]
        node_variance, node_lorentz = (part[nodes] for part in node_widths(self._padded[degree], frame))
        out = torch.empty(rows, 2 * len(self._sharpen))
        profile_kernels.convolve(
            spectra.numpy(), first.numpy(), node_variance.numpy(), node_lorentz.numpy(),
            torch.stack([self._square, self._linear]).numpy(), self._sharpen.numpy(), out.numpy(),
        )  # fmt: skip
        return torch.view_as_complex(out.view(rows, -1, 2))

    def _by_tensors(self, position: Tensor, area: Tensor, variance: Tensor, lorentz: Tensor) -> Tensor:
        """As `_by_kernels`, with tensor operations."""
        place = (position - self.start) / self.step + MARGIN
        used = (place >= 2) & (place < self.bins - 3) & (area > 0)
        area, place = torch.where(used, area, 0.0), torch.where(used, place, 2.0)
        lorentz = lorentz.clamp(min=0.0)
        gauss = (NARROWEST * self.step - lorentz).clamp(min=LEAST_GAUSS * self.step)
        width = voigt_width(torch.maximum(SQUARE * variance, gauss * gauss), lorentz)
        share = lorentz / width
        strong = used & (area >= WEAK * area.amax(1, keepdim=True))
        span = torch.cat([torch.stack(_extent(part, strong)) for part in (width, share)])
        frame, degree = frames(torch.where(used.any(1), span, span.new_tensor([1.0, 1.0, 0.0, 0.0])[:, None]))
        out = torch.zeros(len(place), len(self._sharpen), 2, device=place.device)
        for d in degree.unique().tolist():
            rows = (degree == d).nonzero()[:, 0]
            middle, reach, centre, half = (part[rows, None] for part in frame)
            own = width[rows]
            weights = self._node_weights(
                d,
                ((own - middle) / ((own + middle) * reach)).clamp_(-1, 1),
                ((share[rows] - centre) / half).clamp_(-1, 1),
            )
            bins = self._scatter(place[rows], area[rows], weights)
            node_variance, node_lorentz = node_widths(self._nodes[d], frame[:, rows])
            spectrum = torch.zeros(len(rows), len(self._sharpen), 2, device=place.device)
            for node, one in enumerate(bins):
                kernel = self._square * node_variance[:, node, None]
                kernel.addcmul_(self._linear, node_lorentz[:, node, None]).exp_()
                spectrum.addcmul_(torch.view_as_real(torch.fft.rfft(one)), kernel[:, :, None])
            out[rows] = spectrum
        return torch.view_as_complex(out.mul_(self._sharpen[:, None]))

    def _node_weights(self, row: int, u: Tensor, v: Tensor) -> Tensor:
        """[N, B, Q] share of each profile at each node; shares add up to 1, and may be negative."""
        one = torch.ones_like(u)
        us, vs = [one, u], [one, v]
        for _ in range(DEGREES[row] - 1):
            us.append(us[-1] * u)
            vs.append(vs[-1] * v)
        monomials = torch.stack([us[i] * vs[j] for i, j in self._powers[row]])
        return (self._weights[row] @ monomials.flatten(1)).view(len(monomials), *u.shape)

    def _scatter(self, place: Tensor, area: Tensor, weights: Tensor) -> Tensor:
        """[N, B, bins] delta functions, each spread by a quartic spline over five bins.

        The spline keeps centre and variance of a peak wherever it falls between bins.
        """
        bins = torch.zeros((len(weights), len(place), self.bins), device=place.device)
        centre = (place + 0.5).floor()
        part = place - centre
        row = torch.arange(len(place), dtype=torch.int32, device=place.device)[:, None] * self.bins
        index = (row + centre.to(torch.int32)).flatten()
        square = part * part
        even, odd = 19 / 96 + square * (0.25 - square / 6), part * (11 / 24 - square / 6)
        middle = 115 / 192 - square * (0.625 - 0.25 * square)
        spline = ((0.5 - part).pow(4) / 24, even - odd, middle, even + odd, (0.5 + part).pow(4) / 24)
        for step, fraction in zip((-2, -1, 0, 1, 2), spline):
            share, where = area * fraction, index + step
            for node, weight in enumerate(weights):
                bins[node].view(-1).index_add_(0, where, (share * weight).flatten())
        return bins


def _extent(value: Tensor, used: Tensor) -> tuple[Tensor, Tensor]:
    """Least and greatest [B] over the used profiles."""
    return torch.where(used, value, torch.inf).amin(1), torch.where(used, value, -torch.inf).amax(1)


def good_length(at_least: int) -> int:
    """The smallest multiple of 64 with prime factors 2, 3 and 5 only: FFTs of it are fast."""
    n = -(-at_least // 64) * 64
    while True:
        rest = n
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return n
        n += 64
