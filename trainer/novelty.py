"""The novelty reference of a checkpoint, from simulated patterns alone.

Ordinary patterns are those of stage 2, of structures that training held out. Foreign ones are what the
network was not made for: amorphous samples, no sample at all (background and noise), and lines of no
lattice, as of a wrong angle axis or of artefacts. Mixtures of two or three crystalline phases are simulated,
too, to say how many of them are refused. A direction fitted on them as well refuses hardly more of them, and
fewer of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit

from eg_agent.model.novelty import NoveltyReference, fit_novelty

if TYPE_CHECKING:
    from eg_agent.model.classifier import Classifier
    from simulators.corpus import Corpus
    from simulators.stream_config import StreamConfig

Floats = npt.NDArray[np.float64]

#: Simulated patterns: ordinary ones, and foreign ones a kind. Half of each is fitted on, half judged.
ORDINARY, FOREIGN = 3072, 512
#: Their stream: beyond the held-out patterns that a run's log and calibration use. FAR: between kinds.
SEED, START, FAR = 20_011, 2_000_000, 100_000
#: Weight decay of the direction, in standardised features; of 1e-3 to 0.3 on simulated patterns.
DECAY = 0.1
BATCH = 64

#: Draws a pattern's mean rate [L] over angles [L] (degrees of 2-theta).
Rate = Callable[[Floats, np.random.Generator], Floats]


def amorphous(x: Floats, rng: np.random.Generator) -> Floats:
    """One to three halos 5 to 16 degrees wide on a background with air scatter."""
    rate = background(x, rng) * rng.uniform(0.02, 0.5)
    for _ in range(rng.integers(1, 4)):
        rate += rng.uniform(0.2, 1.0) * np.exp(-0.5 * ((x - rng.uniform(12, 60)) / rng.uniform(2, 7)) ** 2)
    return rate


def background(x: Floats, rng: np.random.Generator) -> Floats:
    """No sample in the beam: a flat background with air scatter."""
    return 1.0 + rng.uniform(0, 2) * np.exp(-(x - x[0]) / rng.uniform(2, 8))


def no_lattice(x: Floats, rng: np.random.Generator) -> Floats:
    """3 to 60 sharp lines at random angles, so of no lattice."""
    width = np.exp(rng.normal(np.log(0.1), 0.4)) / 2.355
    rate = np.full(len(x), 10 ** rng.uniform(-3, -1))
    for position in rng.uniform(x[0], x[-1], rng.integers(3, 61)):
        rate += np.exp(rng.normal()) * np.exp(-0.5 * ((x - position) / width) ** 2)
    return rate


KINDS: dict[str, Rate] = {"amorphous": amorphous, "no sample": background, "no lattice": no_lattice}
MIXTURES = "mixtures"


def counted(
    rate: Floats, coverage: npt.NDArray[np.bool_], rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """[L] what is counted of a rate, half of the time with its lowest part taken off; maximum 1."""
    counts = rng.poisson(rate / rate.max() * 10 ** rng.uniform(1.9, 4.9)).astype(np.float64)
    if rng.random() < 0.6:
        counts = np.maximum(counts - np.quantile(counts, rng.uniform(0.0, 0.3)), 0.0)
    counts *= coverage
    return (counts / max(float(counts.max()), 1.0)).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Simulator:
    """Features of simulated patterns as a network sees them."""

    classifier: Classifier
    corpus: Corpus

    def features(self, config: StreamConfig, count: int, start: int, rate: Rate | None = None) -> Floats:
        """[count, R] of patterns `start` and on; rate: what stands in place of them, on the same ranges."""
        found = []
        for intensity, coverage in self._batches(config, count, start, rate):
            found.append(self.classifier.projected_outputs(intensity, coverage).features)
        return np.concatenate(found)

    def _batches(
        self, config: StreamConfig, count: int, start: int, rate: Rate | None
    ) -> Iterator[tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]]:
        from simulators.stream import PatternStream

        grid = self.classifier.grid
        x = np.linspace(grid.two_theta_min, grid.two_theta_max, grid.length)
        stream = PatternStream(self.corpus, config, SEED, grid)
        for at in range(start, start + count, BATCH):
            batch = stream.batch(at, min(BATCH, start + count - at))
            intensity, coverage = batch.intensity.cpu().numpy(), batch.coverage.cpu().numpy()
            if rate is not None:
                rng = np.random.default_rng((SEED, at))
                intensity = np.stack([counted(rate(x, rng), covered, rng) for covered in coverage])
            yield intensity, coverage


def direction_towards(ordinary: Floats, foreign: list[Floats], decay: float = DECAY) -> Floats:
    """[R] weights of a logistic regression of foreign rows [m, R] (kinds weigh the same) from ordinary ones.

    Both sides weigh the same. Features are standardised by the ordinary ones; the weights are for them as
    they come.
    """
    mean, deviation = ordinary.mean(0), ordinary.std(0) + 1e-6
    rows = (np.concatenate([ordinary, *foreign]) - mean) / deviation
    strange = np.repeat([0.0, 1.0], [len(ordinary), sum(map(len, foreign))])
    shares = [np.full(len(part), 0.5 / len(part) / len(foreign)) for part in foreign]
    weight = np.concatenate([np.full(len(ordinary), 0.5 / len(ordinary)), *shares])

    def loss(b: Floats) -> tuple[float, Floats]:
        score = rows @ b[:-1] + b[-1]
        value = weight @ np.logaddexp(0.0, np.where(strange > 0, -score, score))
        gradient = weight * (expit(score) - strange)
        slope = np.append(rows.T @ gradient + decay * b[:-1], gradient.sum())
        return float(value + 0.5 * decay * b[:-1] @ b[:-1]), slope

    start = np.zeros(rows.shape[1] + 1)
    return minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 300}).x[:-1] / deviation


def novelty_reference(
    classifier: Classifier, corpus: Path, *, ordinary: int = ORDINARY, foreign: int = FOREIGN
) -> NoveltyReference:
    """The reference of a network, from patterns of the corpus' held-out structures and foreign ones.

    ordinary, foreign: number of patterns, the second a kind.
    """
    from simulators.corpus import Corpus
    from simulators.stream_config import stage2

    config = stage2()
    config = replace(config, sampling=replace(config.sampling, split="held_out"))
    sample = replace(config.sample, impurity_share=1.0, impurity_more_share=0.4, impurity_max=1.2)
    bare = replace(classifier, card=replace(classifier.card, novelty=None))
    simulator = Simulator(bare, Corpus.load(corpus))
    usual = simulator.features(config, ordinary, START)
    strange = {
        kind: simulator.features(config, foreign, START + (i + 1) * FAR, rate)
        for i, (kind, rate) in enumerate(KINDS.items())
    }
    mixed = simulator.features(replace(config, sample=sample), foreign, START + 9 * FAR)
    return fit_novelty(
        usual,
        fitted_on=f"{ordinary} simulated patterns of held-out structures, {foreign} foreign ones a kind",
        direction=direction_towards(usual[::2], [rows[::2] for rows in strange.values()]),
        foreign={kind: rows[1::2] for kind, rows in strange.items()} | {MIXTURES: mixed},
    )
