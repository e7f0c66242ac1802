"""The two samples that are compared: measured patterns of one half, and simulated ones, on one grid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from eg_agent.patterns import Grid
from trainer.gap.statistics import NAMES, statistics
from trainer.halves import Half, half

if TYPE_CHECKING:
    from simulators.corpus import Corpus
    from simulators.stream_config import StreamConfig

Floats = npt.NDArray[np.float64]
BATCH = 64


@dataclass(frozen=True, eq=False)
class Sample:
    """Patterns with their statistics.

    intensity, coverage: [n, L] on the grid. group: [n] extinction group. name: [n] compound of a measured
    pattern, structure of a simulated one. table: [n, k] statistics in the order of `NAMES`, or NaN.
    """

    intensity: npt.NDArray[np.float32]
    coverage: npt.NDArray[np.bool_]
    group: npt.NDArray[np.int64]
    name: list[str]
    table: Floats

    def __len__(self) -> int:
        return len(self.group)

    def take(self, rows: npt.NDArray[np.integer] | npt.NDArray[np.bool_]) -> Sample:
        """Some of the patterns, by number or by mask."""
        numbers = np.arange(len(self))[rows]
        names = [self.name[i] for i in numbers]
        return Sample(self.intensity[rows], self.coverage[rows], self.group[rows], names, self.table[rows])

    @property
    def channels(self) -> npt.NDArray[np.float32]:
        """[n, 2, L] intensity and coverage."""
        return np.stack([self.intensity, self.coverage.astype(np.float32)], axis=1)


def measured(folder: str | Path, grid: Grid) -> dict[Half, Sample]:
    """The benchmark rows of a folder in their halves (see `trainer.halves`); BadInput for no such folder."""
    from trainer.benchmark.data import Folder

    source = Folder(folder)
    cases = source.cases("benchmark")
    projected = [grid.project(source.pattern(case)) for case in cases]
    every = _sample(
        np.stack([p.intensity for p in projected]),
        np.stack([p.coverage for p in projected]),
        np.array([case.group for case in cases]),
        [case.compound for case in cases],
        grid,
    )
    halves = np.array([half(case.compound) for case in cases])
    return {"A": every.take(halves == "A"), "B": every.take(halves == "B")}


def simulated(corpus: Corpus, config: StreamConfig, count: int, seed: int, grid: Grid) -> Sample:
    """The first `count` patterns of a stream, on the CPU."""
    from simulators.stream import PatternStream

    stream = PatternStream(corpus, config, seed, grid)
    names = corpus.names
    batches = [stream.batch(start, BATCH) for start in range(0, count, BATCH)]

    def joined(name: str) -> npt.NDArray:
        return np.concatenate([getattr(batch, name).numpy() for batch in batches])[:count]

    structure = joined("structure")
    return _sample(
        joined("intensity"), joined("coverage"), joined("group") + 1, [names[i] for i in structure], grid
    )


def with_groups_of(sample: Sample, other: Sample, seed: int = 0) -> Sample:
    """Patterns of a sample drawn again so that extinction groups are as frequent as in another.

    Groups that the sample lacks are left out. For comparing shapes with the same mix of symmetries; labels
    are used for this row of the report only.
    """
    wanted = np.bincount(other.group, minlength=100).astype(np.float64)
    there = np.bincount(sample.group, minlength=100)
    weight = np.where(there > 0, wanted / np.maximum(there, 1), 0.0)[sample.group]
    rng = np.random.default_rng(seed)
    return sample.take(rng.choice(len(sample), size=len(sample), p=weight / weight.sum()))


def _sample(
    intensity: npt.NDArray, coverage: npt.NDArray, group: npt.NDArray, name: list[str], grid: Grid
) -> Sample:
    found = statistics(intensity, coverage, grid.two_theta)
    table = np.stack([found[statistic] for statistic in NAMES], axis=1)
    return Sample(intensity, coverage, group.astype(np.int64), name, table)
