"""`PatternStream`: training patterns without end, made in batches of tensor operations on any device.

Pattern i is a function of (seed, i): see `CounterRandom`. A batch goes through a source of peaks
(`peak_source`), the sample (`stream_crystal`: strain, texture, grains, impurities), the instrument
(`stream_instrument`: positions, widths, asymmetry), drawing (`stream_profile`) and the recording
(`stream_recording`: background, counts, range, processing).

Axes: B pattern, P peak, L grid point.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from simulators.corpus import MAX_PEAKS, Corpus
from simulators.counter_random import CounterRandom, Table
from simulators.peak_source import CorpusSource, Peaks, PeakSource
from simulators.stream_config import StreamConfig
from simulators.stream_crystal import Lines, Sample
from simulators.stream_instrument import Instruments, reach
from simulators.stream_profile import Profiles
from simulators.stream_recording import Recorder

#: Impurity phases, the peaks of each that are drawn (its strongest), and structures to choose from.
IMPURITIES = 3
IMPURITY_PEAKS = 48
IMPURITY_POOL = 2048
#: Patterns that go through together, on a CPU and elsewhere.
CHUNK_CPU = 256
CHUNK = 2048
#: Purposes of random numbers: first of each part. SOURCE gives the crystals of a stream: those of
#: `source.crystals(CounterRandom(seed, index), SOURCE)` for a source that can say them.
SOURCE, _STRAIN, _SAMPLE, _IMPURITY, _INSTRUMENT, _RECORDING = 10, 20, 30, 40, 70, 80


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
    structure: int64 [B], row of the corpus, -1 for a structure that comes from none.
    space_group: int64 [B], 1-230, of the true symmetry; 0 where the source does not know it.
    """

    intensity: Tensor
    coverage: Tensor
    group: Tensor
    structure: Tensor
    space_group: Tensor


class PatternStream:
    """Patterns of one (source, config, seed) on a grid; see the module docstring.

    source: a corpus, from which `config.sampling` draws, or any other source of peaks on this device.
    compiled: kernels for a CPU instead of tensor operations; by default wherever the device is one. Both
    give the same patterns within 1e-4 of the maximum.
    """

    def __init__(
        self,
        source: Corpus | PeakSource,
        config: StreamConfig,
        seed: int,
        grid: GridLike,
        device: str | torch.device = "cpu",
        compiled: bool | None = None,
    ) -> None:
        self.config, self.seed, self.device = config, seed, torch.device(device)
        if isinstance(source, Corpus):
            source = CorpusSource(source, config.sampling, self.device)
        self.source: PeakSource = source
        self._sample = Sample(config.sample, self.device)
        self._instruments = Instruments(config.instrument, self.device)
        self._length = grid.length
        step = (grid.two_theta_max - grid.two_theta_min) / (grid.length - 1)
        self._profiles = Profiles(grid.two_theta_min, step, grid.length, self.device, compiled=compiled)
        x = torch.linspace(
            grid.two_theta_min, grid.two_theta_max, grid.length, dtype=torch.float64, device=self.device
        )
        self._recorder = Recorder(config.recording, x.to(torch.float32))
        self._pool: Peaks | None = None
        if config.sample.impurity_share > 0 and config.sample.impurity_max > 0:
            # Any structure may be an impurity; a pool spares the making of three more crystals a pattern.
            index = torch.arange(-IMPURITY_POOL, 0, dtype=torch.int64, device=self.device)
            self._pool = source.draw(CounterRandom(seed, index), SOURCE, IMPURITY_PEAKS)

    def group_probability(self) -> npt.NDArray[np.float64]:
        """float64 [99] probability of each extinction group in this stream (the training prior)."""
        return self.source.group_probability()

    @torch.no_grad()
    def batch(self, start: int, n: int) -> Batch:
        """Patterns start, start + 1, ..., start + n - 1, on the stream's device."""
        return self.at(torch.arange(start, start + n, dtype=torch.int64, device=self.device))

    @torch.no_grad()
    def at(self, index: Tensor) -> Batch:
        """Patterns of any numbers, int64 [n]."""
        n, chunk = len(index), CHUNK_CPU if self.device.type == "cpu" else CHUNK
        # A source of random crystals works better on many at once.
        peaks = self.source.draw(CounterRandom(self.seed, index), SOURCE, MAX_PEAKS)
        # Filled in place: fresh memory for each chunk costs more than what is computed in it.
        intensity = torch.empty(n, self._length, device=self.device)
        coverage = torch.empty(n, self._length, dtype=torch.bool, device=self.device)
        for at in range(0, n, chunk):
            rows = slice(at, at + chunk)
            part = Peaks(*(getattr(peaks, f.name)[rows] for f in fields(Peaks)))
            intensity[rows], coverage[rows] = self._chunk(index[rows], part)
        return Batch(intensity, coverage, peaks.group, peaks.structure, peaks.space_group)

    def _chunk(self, index: Tensor, peaks: Peaks) -> tuple[Tensor, Tensor]:
        random = CounterRandom(self.seed, index)
        optics = self._instruments.draw(random, _INSTRUMENT)
        anisotropy = optics.anisotropy if self.config.instrument.anisotropy_share > 0 else None
        strained = self._sample.strained(random, _STRAIN, peaks)
        lines = self._sample.lines(random, _SAMPLE, strained, optics.wavelength, anisotropy)
        if self._pool is not None:
            lines = self._with_impurities(random, lines, optics.wavelength)
        rate = self._profiles(self._instruments.points(optics, lines))
        return self._recorder(random, _RECORDING, rate, reach(optics))

    def _with_impurities(self, random: CounterRandom, lines: Lines, wavelength: Tensor) -> Lines:
        """Up to three more phases, the strongest peak of each a share of the main phase's."""
        assert self._pool is not None
        config = self.config.sample
        table = Table(random, _IMPURITY, 3 * IMPURITIES)
        parts, present = [lines], None
        highest = _observable(lines, wavelength).amax(1)
        for number in range(IMPURITIES):
            share = config.impurity_share if number == 0 else config.impurity_more_share
            chosen = table.chance(share)
            present = chosen if present is None else present & chosen
            row = (table.uniform() * IMPURITY_POOL).long()
            pool = Peaks(*(getattr(self._pool, f.name)[row] for f in fields(Peaks)))
            other = self._sample.plain_lines(self._sample.strained(random, _IMPURITY + 1 + 2 * number, pool))
            height = config.impurity_max * table.uniform().square() * present * highest
            scale = height / _observable(other, wavelength).amax(1).clamp(min=1e-30)
            parts.append(Lines(other.s, other.strength * scale[:, None], other.microstrain))
        return Lines(*(torch.cat([getattr(part, f.name) for part in parts], 1) for f in fields(Lines)))


def _observable(lines: Lines, wavelength: Tensor) -> Tensor:
    """Strengths [B, P] with the Lorentz factor, to compare phases by what is seen of them."""
    sine = (wavelength[:, None] * lines.s).clamp(1e-3, 0.9999)
    return lines.strength / (sine * sine * (1 - sine * sine).sqrt())
