"""The verifier on simulated held-out crystals: `python -m tests.bench.study_verify STRUCTURES`.

Crystals of every group that has candidates of equal metric, at 1e3, 1e4 and 1e5 counts in the strongest
peak, with texture, an impurity and a cell 0.1 % off (`tests.bench.verify_samples`). Printed are the rates of
the true group first and among three by evidence with a uniform prior, beside BIC, AIC and Le Bail goodness
of fit on the same fit; the paired gain over BIC with its interval; and how often a claimed probability was
right. --json keeps a line a sample. No measured pattern is touched.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eg_agent.identify.settings import IdentifySettings
from eg_agent.reporting import reported
from eg_agent.symmetry import group
from eg_agent.verify.criteria import Criteria, compare
from eg_agent.verify.fitting import NotFitted
from eg_agent.verify.verifier import weigh
from tests.bench.verify_samples import COUNTS, Sample, samples

CRITERIA = ("evidence", "bic", "aic", "le_bail")
#: Bins of the claimed probability of the first group.
CLAIMS = ((0.0, 0.5), (0.5, 0.8), (0.8, 0.87), (0.87, 0.93), (0.93, 0.97), (0.97, 1.001))


@dataclass(frozen=True, slots=True)
class Row:
    """What came of a sample: rank of the true group by each criterion (0: no fit, or no candidate).

    probability: of the first and of the true group by evidence, uniform prior over the candidates.
    rank counts groups that are tied with the true one half. seconds: processor time of the fit and its
    evidence.
    """

    name: str
    kind: str
    group: int
    system: str
    counts: float
    rank: dict[str, float]
    first: float
    true: float
    seconds: float
    reason: str = ""


def row_of(sample: Sample, weight: float) -> Row:
    """Fit and weigh one sample; weight: power of the evidence (`IdentifySettings.evidence_weight`)."""
    started = time.process_time()
    system = group(sample.group).crystal_system
    about = (sample.name, sample.kind, sample.group, system, sample.counts)
    nothing = dict.fromkeys(CRITERIA, 0.0)
    try:
        weighed = weigh(sample.pattern, sample.cell)
    except NotFitted as error:
        seconds = time.process_time() - started
        return Row(*about, nothing, float("nan"), float("nan"), seconds, str(error))
    seconds = time.process_time() - started
    found = compare(weighed.likelihood, list(weighed.candidates), weighed.scores.log_evidence)
    if sample.group not in found.group:
        return Row(*about, nothing, float("nan"), float("nan"), seconds, "not among the candidates")
    at = int(np.flatnonzero(found.group == sample.group)[0])
    log_weight = weight * (found.log_evidence - found.log_evidence.max())
    p = np.exp(log_weight) / np.exp(log_weight).sum()
    return Row(*about, _ranks(found, at), float(p.max()), float(p[at]), seconds)


def _ranks(found: Criteria, at: int) -> dict[str, float]:
    values = {"evidence": -found.log_evidence, "bic": found.bic, "aic": found.aic, "le_bail": found.le_bail}
    ranks = {}
    for name, value in values.items():
        scale = 1e-6 * max(abs(float(value[at])), 1.0)
        better, tied = value < value[at] - scale, np.abs(value - value[at]) <= scale
        ranks[name] = 1.0 + float(better.sum()) + 0.5 * float(tied.sum() - 1)
    return ranks


def rate(ranks: npt.NDArray[np.float64], within: int) -> npt.NDArray[np.float64]:
    """[n] 1 where the true group is among the first, a half where a tie decides that."""
    inside = (ranks > 0) & (ranks <= within)
    return np.where(inside, 1.0, np.where((ranks > 0) & (ranks < within + 1), 0.5, 0.0))


def report(rows: list[Row], seed: int = 0) -> str:
    """The tables of the study as text."""
    rng = np.random.default_rng(seed)
    ranks = {name: np.array([r.rank[name] for r in rows]) for name in CRITERIA}
    counts = np.array([r.counts for r in rows])
    lines = [f"{len(rows)} samples, {np.median([r.seconds for r in rows]):.2f} s each (median)"]
    lines.append("first (in three), % |" + "".join(f"{name:>16s}" for name in CRITERIA) + "      n")
    subsets = [("all", np.ones(len(rows), dtype=bool))]
    subsets += [(f"{c:.0e} counts", counts == c) for c in COUNTS]
    for key in ("system", "kind"):
        values = np.array([getattr(r, key) for r in rows])
        subsets += [(str(v), values == v) for v in np.unique(values)]
    for label, inside in subsets:
        cells = [
            f"{100 * rate(ranks[n][inside], 1).mean():8.1f} ({100 * rate(ranks[n][inside], 3).mean():.1f})"
            for n in CRITERIA
        ]
        lines.append(f"{label:20s} |" + "".join(f"{c:>16s}" for c in cells) + f"{inside.sum():7d}")
    gain = rate(ranks["evidence"], 1) - rate(ranks["bic"], 1)
    draws = gain[rng.integers(len(rows), size=(2000, len(rows)))].mean(axis=1)
    low, high = 100 * np.quantile(draws, [0.025, 0.975])
    lines.append(f"gain over BIC {100 * gain.mean():.1f} points, 95 % interval {low:.1f} to {high:.1f}")
    claimed = np.array([r.first for r in rows])
    right = rate(ranks["evidence"], 1)
    fitted = np.isfinite(claimed)
    surprise = -np.log(np.array([r.true for r in rows])[fitted]).mean()
    lines.append(
        f"claimed {100 * claimed[fitted].mean():.1f} %, right {100 * right[fitted].mean():.1f} % of "
        f"{fitted.sum()} with evidence; -ln p(true) {surprise:.3f}"
    )
    for low_claim, high_claim in CLAIMS:
        inside = fitted & (claimed >= low_claim) & (claimed < high_claim)
        if inside.any():
            lines.append(
                f"claimed {low_claim:.2f}-{high_claim:.2f}: n {inside.sum():3d}, mean claim "
                f"{claimed[inside].mean():.3f}, right {right[inside].mean():.3f}"
            )
    lines += [f"{r.name} ({r.group}): {r.reason}" for r in rows if r.reason]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("structures", type=Path, help="folder with the parquet tables of structures")
    parser.add_argument("--number", type=int, default=294)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weight", type=float, default=IdentifySettings().evidence_weight)
    parser.add_argument("--known", action="store_true", help="formulas of training instead of held-out ones")
    parser.add_argument("--json", type=Path, help="keep a line of JSON a sample here")
    arguments = parser.parse_args()
    rows = []
    drawn = samples(arguments.structures, arguments.number, arguments.seed, held_out_only=not arguments.known)
    for sample in drawn:
        rows.append(row_of(sample, arguments.weight))
        sys.stderr.write(f"{len(rows)} of {arguments.number}\r")
        if arguments.json is not None:
            with arguments.json.open("a") as file:
                file.write(json.dumps(asdict(rows[-1])) + "\n")
    sys.stdout.write(report(rows))


if __name__ == "__main__":
    reported(main, "tests.bench.study_verify")
