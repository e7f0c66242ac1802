"""Where a stream's peaks come from: a corpus, a sampler of random crystals, or a mixture of both.

A source answers for a batch of pattern numbers with the peaks of one unstrained structure each.
Everything after that (strain, texture, instrument, counting) is the stream's.

Axes: B pattern, P peak.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from eg_agent.errors import BadInput
from simulators.corpus import (
    LEVELS_PER_DECADE,
    MINERAL,
    MOLECULAR,
    RANDOM,
    Corpus,
)
from simulators.counter_random import CounterRandom
from simulators.stream_config import Sampling

#: Purposes of `CounterRandom` that one call of `PeakSource.draw` may use: base to base + 9.
PURPOSES = 10


@dataclass(frozen=True)
class Peaks:
    """The powder peaks of B structures, one a pattern, before any strain.

    hkl: float32 [B, P, 3] one representative of each orbit, whole numbers within +-127.
    strength: float32 [B, P] |F|^2 times multiplicity in any unit (one unit a structure), 0 where there
        is no peak; the displacement factor is in it, Lorentz and polarisation factors are not.
    metric: float32 [B, 6] reciprocal metric a*a*, b*b*, c*c*, b*c*, a*c*, a*b* in 1/angstrom^2.
    kind: int64 [B] into STRAIN_TYPES. space_group: int64 [B], 1-230, of the true symmetry (it gives the
        Laue class, in the setting that `kind` says); 0 where unknown: taken as triclinic.
    group: int64 [B], extinction group minus 1 (0-98). structure: int64 [B], row of a corpus, or -1.
    """

    hkl: Tensor
    strength: Tensor
    metric: Tensor
    kind: Tensor
    space_group: Tensor
    group: Tensor
    structure: Tensor


class PeakSource(Protocol):
    """What a stream needs of a source of structures."""

    def draw(self, random: CounterRandom, base: int, most: int) -> Peaks:
        """Peaks of one structure for each pattern of `random`, `most` columns at the most.

        Where a structure has more peaks the strongest (with Lorentz and polarisation factors at Cu
        K-alpha1) are kept. Uses the purposes base to base + 9 of `random` and no other chance, so that
        a pattern does not depend on its batch.
        """
        ...

    def group_probability(self) -> npt.NDArray[np.float64]:
        """float64 [99] probability of each extinction group, by number minus 1."""
        ...


def structure_probability(corpus: Corpus, sampling: Sampling) -> npt.NDArray[np.float64]:
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


class CorpusSource:
    """Structures of a corpus, drawn with the probabilities of `Sampling`."""

    def __init__(
        self, corpus: Corpus, sampling: Sampling | None = None, device: str | torch.device = "cpu"
    ) -> None:
        device = torch.device(device)

        def tensor(array: np.ndarray, dtype: torch.dtype) -> Tensor:
            return torch.as_tensor(array, device=device).to(dtype)

        probability = structure_probability(corpus, sampling or Sampling())
        self._cumulative = tensor(np.cumsum(probability), torch.float64)
        self._group_probability: npt.NDArray[np.float64] = np.bincount(
            corpus.group.astype(np.int64) - 1, weights=probability, minlength=99
        ).astype(np.float64)
        self._last = int(np.flatnonzero(probability > 0)[-1])
        self._group = tensor(corpus.group.astype(np.int64) - 1, torch.int64)
        self._offset = tensor(corpus.offset, torch.int64)
        self._hkl = tensor(corpus.hkl, torch.int8)
        self._level = tensor(corpus.level, torch.uint8)
        self._metric = tensor(_reciprocal_metric(corpus.cell), torch.float32)
        self._kind = tensor(corpus.strain_type, torch.int64)
        self._space_group = tensor(corpus.space_group, torch.int64)
        levels = torch.arange(256, dtype=torch.float64, device=device) - 255
        self._strength = torch.exp(levels * (math.log(10) / LEVELS_PER_DECADE)).to(torch.float32)

    def group_probability(self) -> npt.NDArray[np.float64]:
        """float64 [99] probability of each extinction group."""
        return self._group_probability.copy()

    def choose(self, random: CounterRandom, purpose: int) -> Tensor:
        """int64 [B] rows of the corpus."""
        return torch.searchsorted(self._cumulative, random.uniform64(purpose)).clamp_(max=self._last)

    def draw(self, random: CounterRandom, base: int, most: int) -> Peaks:
        """See `PeakSource.draw`; a corpus holds 240 peaks of a structure at the most."""
        structure = self.choose(random, base)
        first = self._offset[structure]
        count = (self._offset[structure + 1] - first).clamp(max=most)
        rank = torch.arange(most, device=structure.device)
        row = first[:, None] + torch.minimum(rank, count[:, None] - 1)
        strength = self._strength[self._level[row].to(torch.int32)] * (rank < count[:, None])
        return Peaks(
            self._hkl[row].to(torch.float32),
            strength,
            self._metric[structure],
            self._kind[structure],
            self._space_group[structure],
            self._group[structure],
            structure,
        )


class MixedSource:
    """Several sources, each with a share of the patterns.

    Which source a pattern comes from is drawn with the last purpose (base + 9), which the sources
    themselves must therefore leave alone here.
    """

    def __init__(self, *parts: tuple[float, PeakSource]) -> None:
        if not parts or not all(share >= 0 for share, _ in parts) or not sum(s for s, _ in parts) > 0:
            raise BadInput("a mixture of sources needs shares of 0 or more, at least one of them above 0.")
        total = sum(share for share, _ in parts)
        self._shares = [share / total for share, _ in parts]
        self._sources = [source for _, source in parts]

    def group_probability(self) -> npt.NDArray[np.float64]:
        """float64 [99] probability of each extinction group."""
        total = np.zeros(99)
        for share, source in zip(self._shares, self._sources):
            total += share * source.group_probability()
        return total

    def draw(self, random: CounterRandom, base: int, most: int) -> Peaks:
        """See `PeakSource.draw`."""
        u = random.uniform64(base + PURPOSES - 1)
        edges = torch.tensor(np.cumsum(self._shares)[:-1], device=u.device)
        which = torch.bucketize(u, edges, right=True)
        parts: list[Peaks] = []
        places: list[Tensor] = []
        for number, source in enumerate(self._sources):
            place = (which == number).nonzero()[:, 0]
            if len(place):
                parts.append(source.draw(random.subset(place), base, most))
                places.append(place)
        return _interleave(parts, places, most)


def _interleave(parts: Sequence[Peaks], places: Sequence[Tensor], most: int) -> Peaks:
    """Rows of several answers in the order of their patterns."""
    order = torch.argsort(torch.cat(list(places)))
    merged = {}
    for field in fields(Peaks):
        values = [getattr(part, field.name) for part in parts]
        if field.name in ("hkl", "strength"):
            values = [_widened(value, most) for value in values]
        merged[field.name] = torch.cat(values)[order]
    return Peaks(**merged)


def _widened(value: Tensor, most: int) -> Tensor:
    """[B, P, ...] padded with zeros to `most` peaks."""
    if value.shape[1] == most:
        return value
    padding = torch.zeros((len(value), most - value.shape[1], *value.shape[2:]), device=value.device)
    return torch.cat([value, padding.to(value.dtype)], 1)


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
