"""Patterns made while training: a structure's cell is another one each time it is shown.

`views` makes a pattern of every structure once. Here the lines of a batch are put where the strained cell
has them, which keeps its crystal system: all lattices are made larger or smaller, and half of them strained
along their free parameters, too. The other half keeps the ratios of its cell: computed cells are often nearly
of a higher system, and a network is to be asked that as well. Stage 2 strains its crystals itself.
"""

from __future__ import annotations

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
_STRAIN, _WHICH = 20, 30  # purposes of CounterRandom behind those of a source


class Rendered:
    """Patterns of a corpus' structures. common: largest relative change of a whole lattice. axes: standard
    deviation of the strain of each free axis."""

    def __init__(
        self, corpus: Corpus, grid: Grid, device: torch.device, *, common: float, axes: float
    ) -> None:
        self.grid = grid
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
        return (quantised(shown).float() / 255.0).square()

    def measured(self, rows_B: Tensor, number_B: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Stage 2 with cut ranges, and what was covered [B, L]; number_B: of each pattern in its stream."""
        self._source.rows = rows_B
        if self._stream is None or self._stream.seed != seed:
            self._stream = stage2_stream(self._source, self.grid, self._device, cut=True, seed=seed)
        batch = self._stream.at(number_B)
        shown = torch.where(batch.coverage, batch.intensity, 0.0)
        return (quantised(shown).float() / 255.0).square(), batch.coverage
