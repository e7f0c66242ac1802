"""Simulated measurements of structures that a library holds or does not, to calibrate what a lookup says.

Nothing measured is used here. Each pattern is drawn as for training, with more of what makes a measured
pattern differ from a computed one (see `nuisances`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadPattern
from eg_agent.library import FINE, Library
from eg_agent.patterns import Projected, Radiation
from eg_agent.patterns.radiation import ANODES, CU_KALPHA1
from simulators.corpus import MINERAL, Corpus
from simulators.stream_config import Lamp, StreamConfig, stage2
from trainer.library.building import library_of_corpus


def nuisances(split: str) -> StreamConfig:
    """The stream of simulated measurements of real structures of a split, with Cu K-alpha.

    After stage 2 of training; intensities are off by 40 % a peak in place of 30, half of the patterns are
    textured, and axes are strained by 0.8 % beside a common 3 %: a computed or a published structure is
    further from a sample than from its own simulation.
    """
    base = stage2()
    return replace(
        base,
        sampling=replace(base.sampling, real=1.0, random=0.0, molecular=0.0, split=split),
        instrument=replace(base.instrument, lamps=(Lamp(1.0, *ANODES["Cu"][:2]),)),
        sample=replace(
            base.sample,
            strain_common=0.03,
            strain_axes=0.008,
            strain_shear=0.008,
            intensity_sigma=0.4,
            texture_share=0.5,
            texture_sigma=0.35,
        ),
    )


@dataclass(frozen=True, eq=False)
class Searches:
    """What searches of simulated patterns found.

    by_group: [n, 99] highest similarity of each group. label: int64 [n], group minus 1.
    held: bool [n], whether the library holds the structure. trained: bool [n], whether networks are
    trained on it. formula_known: bool [n], whether the library holds its reduced formula.
    log_prior: [99], of the stream that the patterns come from.
    intensity, coverage: float32 and bool [n, L], the patterns on `FINE`'s range with `length` points.
    group_sizes: int64 [99], entries of each group.
    """

    by_group: npt.NDArray[np.float64]
    label: npt.NDArray[np.int64]
    held: npt.NDArray[np.bool_]
    trained: npt.NDArray[np.bool_]
    log_prior: npt.NDArray[np.float64]
    group_sizes: npt.NDArray[np.int64]
    fine: tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]


def half_library(corpus: Corpus) -> tuple[Library, npt.NDArray[np.bool_]]:
    """A library of all training structures and every second held-out one; bool [N] which rows it holds."""
    real = corpus.source <= MINERAL
    away = np.flatnonzero(real & (corpus.split == 1))
    inside = real & (corpus.split == 0)
    inside[away[::2]] = True
    return library_of_corpus(corpus, np.flatnonzero(inside)), inside


def simulate(
    corpus: Corpus,
    count: int,
    *,
    seed: int = 11,
    progress: Callable[[int, int], None] | None = None,
) -> Searches:
    """Search `count` simulated patterns: a third of training structures, two thirds of held-out ones.

    Of the held-out ones, every second structure is in the library: so two thirds of all are held.
    """
    from simulators.stream import PatternStream

    library, inside = half_library(corpus)
    parts = {"train": count // 3, "held_out": count - count // 3}
    rows: list[tuple[npt.NDArray[np.float64], int, bool, bool]] = []
    fine: list[npt.NDArray[np.float32]] = []
    coverage: list[npt.NDArray[np.bool_]] = []
    prior = np.zeros(99)
    for split, n in parts.items():
        stream = PatternStream(corpus, nuisances(split), seed, FINE)
        prior += stream.group_probability() * n / count
        for start in range(0, n, 32):
            batch = stream.batch(start, min(32, n - start))
            for intensity, covered, group, structure in zip(
                batch.intensity.numpy(),
                batch.coverage.numpy(),
                batch.group.tolist(),
                batch.structure.tolist(),
            ):
                try:
                    found = library.search_projected(Projected(intensity, covered), Radiation(CU_KALPHA1))
                except BadPattern:
                    continue
                rows.append((found.by_group, group, bool(inside[structure]), split == "train"))
                fine.append(intensity)
                coverage.append(covered)
                if progress is not None:
                    progress(len(rows), count)
    by_group, label, held, trained = zip(*rows, strict=True)
    return Searches(
        np.array(by_group), np.array(label), np.array(held), np.array(trained),
        np.log(0.95 * prior / prior.sum() + 0.05 / 99.0), library.group_sizes,
        (np.array(fine), np.array(coverage)),
    )  # fmt: skip
