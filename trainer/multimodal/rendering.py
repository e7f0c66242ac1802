"""Patterns made while training: a structure's cell is another one each time it is shown.

`views` makes a pattern of every structure once. Here the lines of a batch are put where the strained cell
has them, which keeps its crystal system: all lattices are made larger or smaller, and half of them strained
along their free parameters, too. The other half keeps the ratios of its cell: computed cells are often nearly
of a higher system, and a network is to be asked that as well. Lines may be wider than the clean view's: a
network that has seen one width alone is worse than guessing at another (docs/log.md). Stage 2 strains its
crystals and draws its widths itself.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from eg_agent.patterns import Grid
from simulators.corpus import MAX_PEAKS, Corpus
from simulators.counter_random import CounterRandom
from simulators.stream import PatternStream
from simulators.stream_config import SampleRanges
from simulators.stream_crystal import Sample
from trainer.multimodal.views import CLEAN_FWHM, Structures, quantised, smeared, stage2_stream

#: Share of patterns whose cell is strained along its free parameters.
STRAINED = 0.5
#: Shears are this much of the strain of the axes.
SHEAR = 0.5
#: Share of patterns whose lines are wider than the clean view's, where some are to be.
WIDENED = 0.5
_STRAIN, _WHICH, _WIDE, _WIDTH = 20, 30, 31, 32  # purposes of CounterRandom behind those of a source


class Rendered:
    """Patterns of a corpus' structures. common: largest relative change of a whole lattice. axes: standard
    deviation of the strain of each free axis. widest: up to this FWHM (degrees) lines are widened, evenly in
    its logarithm; 0 for none."""

    def __init__(
        self,
        corpus: Corpus,
        grid: Grid,
        device: torch.device,
        *,
        common: float,
        axes: float,
        widest: float = 0.0,
    ) -> None:
        self.grid, self.widest = grid, widest
        self._source = Structures(corpus, device)
        self._stream: PatternStream | None = None
        self._device = device
        shared = SampleRanges(strain_common=common, strain_axes=0.0, strain_shear=0.0)
        self._larger = Sample(shared, device)
        self._strained = Sample(replace(shared, strain_axes=axes, strain_shear=SHEAR * axes), device)

    def patterns(self, rows_B: Tensor, random: CounterRandom) -> Tensor:
        """[B, L] intensities, maximum 1, in the steps of a `View`; one of `random` for each row."""
        self._source.rows = rows_B
        peaks = self._source.draw(random, 0, MAX_PEAKS)
        larger = self._larger.strained(random, _STRAIN, peaks).metric
        strained = self._strained.strained(random, _STRAIN, peaks).metric
        chosen = random.uniform(_WHICH) < STRAINED
        metric = torch.where(chosen[:, None], strained, larger)
        shown = smeared(replace(peaks, metric=metric), self.grid, CLEAN_FWHM)
        if self.widest > CLEAN_FWHM:
            growth = math.log(self.widest / CLEAN_FWHM) * random.uniform(_WIDTH)
            fwhm = CLEAN_FWHM * torch.where(random.uniform(_WIDE) < WIDENED, growth, 0.0).exp()
            shown = widened(shown, self.grid, fwhm)
        return (quantised(shown).float() / 255.0).square()

    def measured(self, rows_B: Tensor, number_B: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Stage 2 with cut ranges, and what was covered [B, L]; number_B: of each pattern in its stream."""
        self._source.rows = rows_B
        if self._stream is None or self._stream.seed != seed:
            self._stream = stage2_stream(self._source, self.grid, self._device, cut=True, seed=seed)
        batch = self._stream.at(number_B)
        shown = torch.where(batch.coverage, batch.intensity, 0.0)
        return (quantised(shown).float() / 255.0).square(), batch.coverage


def widened(intensity_BL: Tensor, grid: Grid, fwhm_B: Tensor) -> Tensor:
    """Patterns of the clean view with lines of another FWHM (degrees, not below the view's), maximum 1.

    Widths of Gaussians add in squares, so that the difference is laid over the pattern; beyond its ends there
    is nothing.
    """
    length = intensity_BL.shape[1]
    step = (grid.two_theta_max - grid.two_theta_min) / (grid.length - 1)
    more_B1 = ((fwhm_B.square() - CLEAN_FWHM**2).clamp(min=0.0).sqrt() / step)[:, None]
    size = 2 * length  # what wraps around falls into the zeros
    frequency_1F = torch.fft.rfftfreq(size, device=intensity_BL.device)[None]
    # The Fourier transform of a Gaussian of area 1 and this FWHM, in points.
    transform_BF = torch.exp(-((math.pi * frequency_1F * more_B1).square()) / (4 * math.log(2.0)))
    found_BL = torch.fft.irfft(torch.fft.rfft(intensity_BL, size) * transform_BF, size)[:, :length]
    found_BL = found_BL.clamp(min=0.0)
    return found_BL / found_BL.amax(1, keepdim=True).clamp(min=1e-30)
