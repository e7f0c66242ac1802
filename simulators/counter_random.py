"""Random numbers as a function of (seed, pattern, purpose, element): no state, no order.

A generator with a state would tie a pattern to the batch it was made in. Here every number is a
hash, so pattern i is the same in any batch, on any worker and after any restart. Keys are mixed by
splitmix64 (Steele, Lea and Flood, OOPSLA 2014), elements by a 32-bit finaliser of low bias (Wellons,
"Prospecting for hash functions", 2018), which vectorises where 64-bit products do not.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: Rows of some thousand points whose temporaries fit into a CPU's second-level cache.
_CACHED = 8
_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed integer


def _shift64(x: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _splitmix64(x: Tensor) -> Tensor:
    x = x + _GOLDEN
    x = (x ^ _shift64(x, 30)) * -4658895280553007687  # 0xBF58476D1CE4E5B9
    x = (x ^ _shift64(x, 27)) * -7723592293110705685  # 0x94D049BB133111EB
    return x ^ _shift64(x, 31)


def _signed32(x: Tensor) -> Tensor:
    """The low 32 bits of int64 as int32."""
    return (((x & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000).to(torch.int32)


def _mix32_(x: Tensor) -> Tensor:
    """In-place hash of int32."""
    x ^= (x >> 16) & 0xFFFF
    x *= 0x7FEB352D
    x ^= (x >> 15) & 0x1FFFF
    x *= -2073254261  # 0x846CA68B
    x ^= (x >> 16) & 0xFFFF
    return x


class CounterRandom:
    """Numbers for a batch of patterns: `purpose` is a small integer that is never used twice.

    seed: of the run. index: int64 [B] pattern numbers.
    """

    def __init__(self, seed: int, index: Tensor) -> None:
        run = _splitmix64(torch.tensor(seed, dtype=torch.int64, device=index.device))
        self._key = _splitmix64(index ^ run)

    def __len__(self) -> int:
        return len(self._key)

    @property
    def device(self) -> torch.device:
        """Where the numbers are made."""
        return self._key.device

    def subset(self, place: Tensor | slice) -> CounterRandom:
        """The numbers of some of the patterns: place int64 [b], or a slice, of rows of this batch."""
        part = object.__new__(CounterRandom)
        part._key = self._key[place]
        return part

    def child(self, purpose: int) -> CounterRandom:
        """A family of numbers of its own, with all purposes free: for parts that need very many."""
        part = object.__new__(CounterRandom)
        part._key = self.key(purpose)
        return part

    def key(self, purpose: int) -> Tensor:
        """int64 [B] from which `counter_kernels.uniform` makes the numbers of `uniform(purpose, n)`."""
        return _splitmix64(self._key ^ (purpose * 0x632BE59BD9B4E019 & 0x7FFFFFFFFFFFFFFF))

    def uniform(self, purpose: int, count: int | None = None) -> Tensor:
        """float32 strictly between 0 and 1: [B], or [B, count]. 23 random bits each.

        One bit fewer than a float32 holds, so that adding a half is exact: 1.0 never comes out.
        """
        key = self.key(purpose)
        elements = torch.arange(count or 1, dtype=torch.int32, device=key.device)
        x = (elements * -1640531527)[None] + _signed32(key)[:, None]
        x = _mix32_(x)
        x ^= _signed32(_shift64(key, 32))[:, None]
        x = _mix32_(x)
        x >>= 9
        x &= 0x7FFFFF
        u = x.to(torch.float32).add_(0.5).mul_(2.0**-23)
        return u[:, 0] if count is None else u

    def uniform64(self, purpose: int) -> Tensor:
        """float64 [B] in [0, 1) with 53 random bits: for drawing from long tables."""
        return _shift64(self.key(purpose), 11).to(torch.float64) * 2.0**-53

    def normal(self, purpose: int, count: int | None = None) -> Tensor:
        """Standard normal float32, [B] or [B, count], by the inverse error function."""
        return _normal_from(self.uniform(purpose, count))

    def chance(self, purpose: int, probability: float) -> Tensor:
        """bool [B], true with a probability."""
        return self.uniform(purpose) < probability

    def between(self, purpose: int, low: float, high: float) -> Tensor:
        """Uniform float32 [B] between two bounds."""
        return self.uniform(purpose).mul_(high - low).add_(low)

    def log_between(self, purpose: int, low: float, high: float) -> Tensor:
        """float32 [B] between two positive bounds, uniform in the logarithm."""
        return self.between(purpose, math.log(low), math.log(high)).exp_()

    def poisson(self, purpose: int, mean: Tensor) -> Tensor:
        """Poisson counts float32 [B, n] of the means [B, n].

        Below a mean of 6 by inversion; above by the Cornish-Fisher expansion to third order with
        Sheppard's correction, whose mean and variance are right within 0.5 %.
        """
        if mean.device.type != "cpu" or len(mean) <= _CACHED:
            return self._poisson(purpose, mean)
        # A CPU goes through the batch in slices whose temporaries stay in its cache: the same numbers.
        counts = torch.empty_like(mean)
        for start in range(0, len(mean), _CACHED):
            rows = slice(start, start + _CACHED)
            counts[rows] = self.subset(rows)._poisson(purpose, mean[rows])
        return counts

    def _poisson(self, purpose: int, mean: Tensor) -> Tensor:
        u = self.uniform(purpose, mean.shape[1])
        z = _normal_from(u)
        large = mean.clamp(min=6.0)
        root = (large - 1.0 / 12).sqrt_()
        z2 = z * z
        counts = (large + root * z + (z2 - 1) / 6 - z * (z2 - 1) / (72 * root) + 0.5).floor_()
        small = mean < 6.0
        return counts.masked_scatter_(small, _small_poisson(mean[small], u[small]))


def _normal_from(u: Tensor) -> Tensor:
    return torch.erfinv(u * 2 - 1).mul_(math.sqrt(2.0))


def _small_poisson(mean: Tensor, u: Tensor) -> Tensor:
    """Inversion: the number of terms of the cumulated distribution below u (at most 24)."""
    term = torch.exp(-mean)
    total = term.clone()
    counts = torch.zeros_like(mean)
    for k in range(1, 25):
        counts += u > total
        term = term * mean / k
        total += term
    return counts


class Table:
    """Numbers of one purpose taken column by column: one hash for many single numbers a pattern.

    Columns are used up in the order of the calls, so a new one goes at the end.
    """

    def __init__(self, random: CounterRandom, purpose: int, columns: int) -> None:
        self._columns = iter(random.uniform(purpose, columns).T.contiguous())

    def uniform(self) -> Tensor:
        """float32 [B] strictly between 0 and 1."""
        return next(self._columns)

    def normal(self) -> Tensor:
        """Standard normal float32 [B]."""
        return _normal_from(self.uniform())

    def chance(self, probability: float) -> Tensor:
        """bool [B], true with a probability."""
        return self.uniform() < probability

    def between(self, low: float, high: float) -> Tensor:
        """Uniform float32 [B] between two bounds."""
        return self.uniform() * (high - low) + low

    def log_between(self, low: float, high: float) -> Tensor:
        """float32 [B] between two positive bounds, uniform in the logarithm."""
        return self.between(math.log(low), math.log(high)).exp_()
