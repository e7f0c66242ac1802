"""Measurements of all kinds, as an agent and a user make them, for weighing network and fit jointly.

Two thirds are samples with a counting rate (`counted_samples`; half of them dim, half as bright as stage 2
records), whose every measurement is a state of its own: one scan with random time, range and step; what the
agent decides by the weights that ship, up to a random number of looks; its first glance counted on for
long. One third are whole patterns with the misfit of measured ones (`misfit_samples`, groups as databases
have them, some of random molecular crystals). All are of formulas that training never saw, so that the
network is as good on them as on any new compound; those of the deciding benchmark are left out, and as many
of another seed, to choose on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from eg_agent.decide import Decider, DecideSettings, Limits, State
from eg_agent.errors import BadInput
from eg_agent.identify import Identifier
from eg_agent.identify.identification import Identification
from simulators import Crystal
from simulators.corpus import held_out
from simulators.existing import Made
from trainer.benchmark.counted_samples import (
    BUDGET,
    COSTS,
    DIM,
    GLANCE,
    RANGE,
    STAGE_TWO,
    STEP,
    Measuring,
    Sample,
    crystals,
    made_crystals,
    make_sample,
)
from trainer.benchmark.misfit_samples import Kinds, MisfitSamples

#: Seeds and number of samples (`tests/bench/adaptive.py`) whose formulas are left out: those of the deciding
#: benchmark, and those that settings of the agent may be compared on.
BENCHMARKS, A_BENCHMARK = (7, 5), 200
#: One sample in so many is a whole pattern with measured misfit.
MISFIT_EVERY = 3
#: Share of those that are random molecular crystals: what is fitted counts for organic powders, too.
MOLECULAR = 0.3
#: Power of the groups' frequencies in databases for the others, a little flatter than they are.
FLATTER = 0.85
#: Seconds a point of a scan, and how many times longer than the first glance its lines are counted.
SCAN, LONGER = (0.1, 20.0), (2.0, 2000.0)
#: How an agent scans: step (degrees), seconds a point of its first glance, and whether it counts again half a
#: step beside. The first is the deciding bench's, and comes twice as often as the other.
WAYS: tuple[tuple[float, float, bool], ...] = ((STEP, GLANCE, True), (STEP, GLANCE, True), (0.04, 0.1, False))
#: Samples whose crystals are drawn together, no formula twice.
BLOCK = 60
#: The agent's looks at most (the deciding bench's limit of repeats; log-uniform), and the share of those
#: between the first and the last that are kept.
LOOKS, KEPT = 32, 0.35


@dataclass(frozen=True, eq=False)
class Looked:
    """An answer to one measurement, and the truth. kind: "scan", "agent", "lines" or "misfit"; chance: how
    likely the structure is one that was made (`simulators.existing`)."""

    kind: str
    formula: str
    group: int
    chance: float
    seconds: float
    found: Identification


class JointSamples:
    """Sample i of a seed, whatever was made before (quicker in order: crystals are drawn in blocks)."""

    def __init__(self, structures: Path, identifier: Identifier, seed: int) -> None:
        self._structures = structures
        self._kept_back = {
            c.formula
            for seed in BENCHMARKS
            for source in (crystals, made_crystals)
            for c in islice(source(structures, seed), A_BENCHMARK)
        }
        self._made = Made.of(structures)
        self._block: tuple[int, list[Crystal], Iterator[Crystal]] = (-1, [], iter(()))
        self._misfit = MisfitSamples(
            structures,
            100 + seed,
            kinds=Kinds(molecular=MOLECULAR, natural=1.0 - MOLECULAR, flatter=FLATTER),
            allowed=lambda formula: held_out(formula) and formula not in self._kept_back,
        )
        self._seed = seed
        self._identifier = identifier
        self._decider = Decider(
            Limits(
                two_theta=RANGE,
                max_seconds_per_point=600.0,
                max_seconds_per_sample=BUDGET,
                max_total_seconds=1e9,
                max_repeats=LOOKS,
            ),
            DecideSettings(enough=0.99, wrong_stop=1e3 * BUDGET, smallest_gain=0.002),
            COSTS,
        )

    def __call__(self, index: int) -> list[Looked]:
        """The looks of sample `index`; raises BadInput where it cannot be made (a few in 1,000)."""
        rng = np.random.default_rng([self._seed, 0x101, index])
        if index % MISFIT_EVERY == MISFIT_EVERY - 1:
            made = self._misfit(index)
            found = self._identifier.identify(made.sample.pattern, made.sample.cell)
            chance = self._made.chance(made.name)
            return _kept("misfit", made.formula, made.sample.group, chance, 0.0, found)
        drawn = self._drawn(index)
        crystal = drawn[-1]
        rates = DIM if rng.random() < 0.5 else STAGE_TWO
        sample = make_sample(crystal, drawn, rng, int(rng.integers(1 << 40)), rates)
        looks = [*self._scan(sample, rng), *self._agent(sample, rng), *self._lines(sample, rng)]
        of = (crystal.formula, crystal.group, self._made.chance(crystal.name))
        return [one for look in looks for one in _kept(look[0], *of, *look[1:])]

    def _drawn(self, index: int) -> list[Crystal]:
        """The crystal of a sample, and before it those of its block."""
        number, place = divmod(index, BLOCK)
        if self._block[0] != number:
            fresh = crystals(self._structures, 5000 + 1000 * self._seed + number)
            self._block = (number, [], (c for c in fresh if c.formula not in self._kept_back))
        _, drawn, source = self._block
        while len(drawn) <= place:
            drawn.append(next(source))
        return drawn[: place + 1]

    def _scan(self, sample: Sample, rng: np.random.Generator) -> Iterator[tuple[str, float, Identification]]:
        at = Measuring(sample, COSTS, float(rng.choice([0.02, 0.04, 0.08])), stream=1)
        seconds = _log_uniform(rng, *SCAN)
        at.measure(((RANGE[0], float(rng.choice([60.0, RANGE[1]]))),), seconds)
        yield "scan", at.seconds, self._look(at)

    def _agent(self, sample: Sample, rng: np.random.Generator) -> Iterator[tuple[str, float, Identification]]:
        at, glance = _on_its_way(sample, rng)
        _, seconds = at.glance(glance)
        state = State(sample=sample.name).measured(at.seconds, seconds_per_point=seconds, step=at.step)
        last = int(_log_uniform(rng, 1.0, LOOKS + 1.0)) - 1
        for number in range(last + 1):
            found = self._look(at)
            if number in (0, last) or rng.random() < KEPT:
                yield "agent", at.seconds, found
            state = state.seen(found)
            decision = self._decider.decide(found, state)
            if number == last or not decision.windows or decision.seconds_per_point is None:
                return
            state = state.spent(decision, at.measure(decision.windows, decision.seconds_per_point))

    def _lines(self, sample: Sample, rng: np.random.Generator) -> Iterator[tuple[str, float, Identification]]:
        at, glance = _on_its_way(sample, rng, stream=2)
        windows, seconds = at.glance(glance)
        longer = seconds * _log_uniform(rng, *LONGER)
        takes = COSTS.of(windows, at.step, longer).seconds
        at.measure(windows, longer * min(1.0, 0.9 * (BUDGET - at.seconds) / takes))
        yield "lines", at.seconds, self._look(at)

    def _look(self, at: Measuring) -> Identification:
        if at.pattern is None:
            raise BadInput("nothing was measured.")
        return self._identifier.identify(at.pattern, at.sample.cell)


def _on_its_way(sample: Sample, rng: np.random.Generator, stream: int = 0) -> tuple[Measuring, float]:
    """A sample as one of the ways of an agent scans it, and its seconds a point of the first glance."""
    step, glance, interleaved = WAYS[int(rng.integers(len(WAYS)))]
    return Measuring(sample, step=step, stream=stream, interleaved=interleaved), glance


def _kept(
    kind: str, formula: str, group: int, chance: float, seconds: float, found: Identification
) -> list[Looked]:
    """A look that has a fit; others are the network's alone and have nothing to weigh."""
    fitted = found.evidence is not None and found.evidence.status == "fitted"
    return [Looked(kind, formula, group, chance, seconds, found)] if fitted else []


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
