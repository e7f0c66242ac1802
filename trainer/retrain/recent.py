"""`Recent`: the patterns of verified runs on a network's grid, split by compound, as one file.

What a compound is decides its side once and for all (a function of its name), so that in the next round a
compound that was trained on judges nothing, and one that judged is not trained on.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadInput, EgAgentError
from eg_agent.model.checkpoint import write_atomically
from eg_agent.patterns import Grid, Pattern, check
from eg_agent.records.runs import RunHead, Runs, TiledAway
from eg_agent.records.verified import Verified
from trainer.retrain.compounds import Benchmark, Known, formula_of, names, niggli_of

#: Runs whose heads are asked for at once.
TOGETHER = 50


@dataclass(frozen=True)
class RunFacts:
    """A verified run that takes part.

    compound, formula, sample: what it is. group: 1 to 99. cell: Niggli, angstrom and degrees.
    evidence: of the fit alone. counts: at the maximum, 0 where the intensities are no raw counts. step,
    start, end: degrees of measured 2-theta; wavelength, wavelength2: angstrom (0: none).
    """

    run: str
    compound: str
    formula: str
    sample: str
    group: int
    cell: tuple[float, ...]
    evidence: float
    checkpoint: str
    counts: float
    step: float
    start: float
    end: float
    wavelength: float
    wavelength2: float


@dataclass(frozen=True, eq=False)
class Recent:
    """Verified runs with their patterns on a grid: intensity [n, L] (maximum 1), coverage [n, L].

    refused: how many runs were left out, by reason.
    """

    runs: tuple[RunFacts, ...]
    intensity: npt.NDArray[np.float32]
    coverage: npt.NDArray[np.bool_]
    refused: dict[str, int]

    def __len__(self) -> int:
        return len(self.runs)

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """[n] group number - 1."""
        return np.array([run.group - 1 for run in self.runs], dtype=np.int64)

    @property
    def compounds(self) -> list[str]:
        """[n] compound of each."""
        return [run.compound for run in self.runs]

    def take(self, keep: npt.NDArray[np.bool_]) -> Recent:
        """Some of the runs, by mask."""
        chosen = tuple(run for run, kept in zip(self.runs, keep, strict=True) if kept)
        return Recent(chosen, self.intensity[keep], self.coverage[keep], self.refused)

    def split(self, share: float) -> tuple[Recent, Recent]:
        """(to train on, to calibrate and judge on), by compound; share: of the compounds for the second."""
        judged = np.array([judges(run.compound, share) for run in self.runs], dtype=bool)
        return self.take(~judged), self.take(judged)

    def save(self, path: Path) -> None:
        """Write PATH.json and PATH.npz."""
        with path.with_suffix(".npz.part").open("wb") as file:
            np.savez_compressed(file, intensity=self.intensity.astype(np.float16), coverage=self.coverage)
        path.with_suffix(".npz.part").replace(path.with_suffix(".npz"))
        said = {"refused": self.refused, "runs": [asdict(run) for run in self.runs]}
        write_atomically(path.with_suffix(".json"), (json.dumps(said, indent=1) + "\n").encode())

    @classmethod
    def load(cls, path: Path) -> Recent:
        """What `save` wrote."""
        said = json.loads(path.with_suffix(".json").read_text("utf-8"))
        with np.load(path.with_suffix(".npz")) as data:
            intensity, coverage = data["intensity"].astype(np.float32), data["coverage"]
        runs = tuple(RunFacts(**{**run, "cell": tuple(run["cell"])}) for run in said["runs"])
        return cls(runs, intensity, coverage, said["refused"])


def judges(compound: str, share: float) -> bool:
    """Whether a compound calibrates and judges, by its name alone (CRC-32); share: of all compounds."""
    return zlib.crc32(compound.encode()) % 1000 < 1000 * share


def collect(
    runs: Runs,
    found: tuple[Verified, ...],
    grid: Grid,
    benchmark: Benchmark | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Recent:
    """Read the patterns of verified runs from Tiled. Raises BadInput when Tiled is away or none is left."""
    kept: list[tuple[Verified, Known, Pattern]] = []
    refused = {"in the benchmark": 0, "not in Tiled": 0, "not readable": 0}
    try:
        for at in range(0, len(found), TOGETHER):
            part = found[at : at + TOGETHER]
            heads = runs.heads([one.run for one in part])
            for one in part:
                head = heads.get(one.run)
                why = "not in Tiled" if head is None else ""
                if head is not None:
                    known = known_of(one, head)
                    if benchmark is not None and benchmark.holds(known):
                        why = "in the benchmark"
                    else:
                        try:
                            kept.append((one, known, check(runs.pattern(head))))
                        except TiledAway:
                            raise
                        except EgAgentError:
                            why = "not readable"
                if why:
                    refused[why] += 1
            progress(min(at + TOGETHER, len(found)), len(found))
    except TiledAway as error:
        raise BadInput(f"Tiled went away ({error}): run this again when it is back.") from None
    refused = {why: count for why, count in refused.items() if count}
    compounds = names([known for _, known, _ in kept])
    facts, intensity, coverage = [], [], []
    for (one, known, pattern), compound in zip(kept, compounds, strict=True):
        projected = grid.project(pattern)
        if not projected.coverage.any():
            refused["off the grid"] = refused.get("off the grid", 0) + 1
            continue
        facts.append(_facts(one, known, pattern, compound))
        intensity.append(projected.intensity)
        coverage.append(projected.coverage)
    if not facts:
        said = ", ".join(f"{count} {why}" for why, count in refused.items()) or "none was found"
        raise BadInput(f"no verified run is left to learn from ({said}): measure and identify more.")
    return Recent(tuple(facts), np.stack(intensity), np.stack(coverage), refused)


def known_of(one: Verified, head: RunHead) -> Known:
    """What is known of the sample of a verified run."""
    return Known(formula_of(head.start), one.sample or head.sample, niggli_of(one.cell, one.group))


def _facts(one: Verified, known: Known, pattern: Pattern, compound: str) -> RunFacts:
    raw = pattern.raw_counts
    values: dict[str, Any] = {
        "counts": float(pattern.intensity.max()) if raw else 0.0,
        "step": float(np.median(np.diff(pattern.two_theta))),
        "start": float(pattern.two_theta[0]),
        "end": float(pattern.two_theta[-1]),
        "wavelength": pattern.radiation.wavelength,
        "wavelength2": pattern.radiation.wavelength2 or 0.0,
    }
    cell = known.cell or one.cell
    return RunFacts(
        one.run,
        compound,
        known.formula,
        known.name,
        one.group,
        tuple(cell),
        one.evidence,
        one.checkpoint,
        **values,
    )
