"""How often structures hide a class of reflections: `python -m tests.bench.study_hidden CORPUS`.

For calculated patterns of known structures (a corpus of `eg-train prepare`, computed and mineral, training
split, some of each group) every symbol is looked at that forbids just one class of reflections more than
the true one. Printed is the share of such symbols all of whose lines stay below a level of the strongest
line, by the kind of class: on an axis, in a zone, of general indices. `eg_agent.verify.score.HIDDEN` comes
from here.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eg_agent.reporting import reported
from eg_agent.symmetry import Setting, groups, settings
from eg_agent.verify.lines import dimensions
from eg_agent.verify.metric import Cell, metric_system, reciprocal, symmetrized, tensor
from simulators.corpus import COMPUTED, MINERAL, Corpus

LEVELS = (0.001, 0.003, 0.01, 0.03)
#: Angles that a pattern covers, degrees of 2-theta with Cu K-alpha1.
RANGE = (8.0, 80.0)
#: Indices on which symbols are compared.
INDICES = 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path, help="file of eg-train prepare")
    parser.add_argument("--each", type=int, default=12, help="structures of a group and kind")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    corpus, rng = Corpus.load(arguments.corpus), np.random.default_rng(arguments.seed)
    axis = np.arange(-INDICES, INDICES + 1)
    test = np.stack(np.meshgrid(axis, axis, axis[INDICES:], indexing="ij"), -1).reshape(-1, 3)
    test = test[np.abs(test).sum(axis=1) > 0]
    for source, label in ((COMPUTED, "computed"), (MINERAL, "mineral")):
        counted, seen = np.zeros((3, 1 + len(LEVELS))), 0
        usable = (corpus.source == source) & (corpus.split == 0)
        for entry in groups():
            if entry.crystal_system == "triclinic":
                continue
            rows = np.flatnonzero(usable & (corpus.group == entry.number))
            family = [
                s
                for other in groups()
                if other.crystal_system == entry.crystal_system
                for s in settings(other.number)
            ]
            absent = np.stack([s.absent(test) for s in family])
            for row in rng.permutation(rows)[: arguments.each]:
                counted += _hidden_classes(corpus, int(row), entry.number, family, absent, test)
                seen += 1
        sys.stdout.write(f"{label}: {seen} structures; share hidden below {LEVELS} of the strongest line\n")
        for kind, line in zip(("axis", "zone", "general"), counted):
            share = " ".join(f"{v:7.4f}" for v in line[1:] / max(line[0], 1.0))
            sys.stdout.write(f"{kind:8s} {int(line[0]):6d} symbols {share}\n")


def _hidden_classes(
    corpus: Corpus,
    row: int,
    number: int,
    family: list[Setting],
    absent: npt.NDArray[np.bool_],
    test: npt.NDArray[np.int64],
) -> npt.NDArray[np.float64]:
    """[3, 1 + levels] symbols of each kind, and how many of them are hidden at each level."""
    out = np.zeros((3, 1 + len(LEVELS)))
    hkl, share, cell = _peaks(corpus, row)
    forbidden = np.stack([s.absent(hkl) for s in family])
    true = [i for i, s in enumerate(family) if s.group == number and not forbidden[i].any()]
    if len(hkl) < 5 or not true:
        return out
    own = absent[true[0]]
    more = [i for i in range(len(family)) if absent[i].sum() > own.sum() and np.all(absent[i] | ~own)]
    dimension = dimensions(test, metric_system(cell))
    kind = {i: int(dimension[absent[i] & ~own].max()) for i in more}
    for i in more:
        next_one = not any(
            kind[j] == kind[i] and absent[j].sum() < absent[i].sum() and np.all(absent[i] | ~absent[j])
            for j in more
        )
        if next_one:
            strongest = float(share[forbidden[i]].max(initial=0.0))
            out[kind[i] - 1] += [1.0, *(strongest < level for level in LEVELS)]
    return out


def _peaks(corpus: Corpus, row: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], Cell]:
    """hkl [k, 3] in RANGE, their intensities [k] over the strongest, and the cell."""
    from eg_agent.patterns.radiation import CU_KALPHA1, Radiation
    from eg_agent.verify.wilson import lorentz_polarisation
    from simulators.corpus import LEVELS_PER_DECADE

    peaks = slice(int(corpus.offset[row]), int(corpus.offset[row + 1]))
    hkl = corpus.hkl[peaks].astype(np.int64)
    given: Cell = tuple(float(v) for v in corpus.cell[row])  # type: ignore[assignment]
    cell = symmetrized(given, metric_system(given))
    sine = 0.5 * CU_KALPHA1 * np.sqrt(tensor(hkl) @ reciprocal(cell))
    two_theta = 2.0 * np.degrees(np.arcsin(np.minimum(sine, 1.0)))
    f2m = 10.0 ** ((corpus.level[peaks].astype(np.float64) - 255.0) / LEVELS_PER_DECADE)
    intensity = f2m * lorentz_polarisation(two_theta, Radiation.anode("Cu"))
    inside = (two_theta > RANGE[0]) & (two_theta < RANGE[1])
    return hkl[inside], intensity[inside] / intensity[inside].max(initial=1e-300), cell


if __name__ == "__main__":
    reported(main, "tests.bench.study_hidden")
