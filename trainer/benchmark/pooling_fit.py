"""Fit how the verifier pools evidence and BIC, on simulated patterns with measured misfit; resumable.

`eg-train study pooling --structures DIR --out OUT` makes rows of `misfit_samples` (one JSON line a
pattern), fits the three weights of `eg_agent.verify.pooling` by the probability of the true group, judges
them out of fold (folds by formula) beside plain BIC and the evidence of absences alone, and writes
OUT/pooling.json, which is what the package ships. No measured pattern takes part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import logsumexp

from eg_agent.errors import BadInput, BadPattern
from eg_agent.patterns import check
from eg_agent.verify.criteria import compare
from eg_agent.verify.fitting import NotFitted
from eg_agent.verify.pooling import Pooling, pooled
from eg_agent.verify.verifier import weigh
from trainer.benchmark.misfit_samples import MisfitSamples
from trainer.benchmark.nulls import folds_by_compound
from trainer.benchmark.numbered_rows import numbered_rows
from trainer.benchmark.simulated_study import EQUAL
from trainer.metrics import Bootstrap

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Chance that a fit misleads altogether, as in `IdentifySettings.misled`.
MISLED = 0.02
#: Nats behind the best from which the tails bend: chosen by hand among 1, 2, 4 and 5, which hardly differ.
TAIL = 2.0
FOLDS = 8
#: Of the samples that the shipped weights are fitted on.
SEED = 11
#: What weights are held near zero by, relative to one pattern's mean loss.
RIDGE = 3e-4


@dataclass(frozen=True, eq=False)
class Row:
    """A pattern and its candidates, settings of one group side by side.

    truth: group; numbers [g]: groups that are weighed, ascending; first [g]: candidate at which each begins;
    terms: [c, 3] (`pooling.terms_of`); bic: [g], as `criteria` gives it.
    """

    formula: str
    truth: int
    numbers: Ints
    first: Ints
    terms: Floats
    bic: Floats


def run(
    structures: Path,
    out: Path,
    count: int,
    *,
    seed: int = SEED,
    minutes: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Row]:
    """Rows of samples 0 to count - 1; those in OUT/rows.jsonl are not made again."""

    def prepare() -> Callable[[int], dict[str, Any]]:
        samples = MisfitSamples(structures, seed)
        return lambda index: judged(samples, index)

    entries = numbered_rows(out, count, prepare, minutes=minutes, progress=progress)
    return [_row(entry) for entry in entries if "terms" in entry]


def judged(samples: MisfitSamples, index: int) -> dict[str, Any]:
    """What is kept of a sample, or why it is left out."""
    try:
        made = samples(index)
        weighed = weigh(check(made.sample.pattern), made.sample.cell)
    except (BadInput, BadPattern, NotFitted) as error:
        return {"left_out": str(error)}
    found = compare(weighed.likelihood, list(weighed.candidates), weighed.scores.log_evidence)
    groups = [EQUAL.get(c.setting.group, c.setting.group) for c in weighed.candidates]
    kept = np.unique(np.column_stack([groups, np.round(weighed.scores.terms, 4)]), axis=0, return_counts=True)
    return {
        "formula": made.formula,
        "truth": EQUAL.get(made.sample.group, made.sample.group),
        "settings": kept[0].tolist(),
        "times": kept[1].tolist(),
        "bic": {str(n): round(float(v), 3) for n, v in zip(found.group, found.bic, strict=True)},
        "terms": True,
    }


def _row(entry: dict[str, Any]) -> Row:
    settings = np.repeat(np.array(entry["settings"]), entry["times"], axis=0)
    settings = settings[np.argsort(settings[:, 0], kind="stable")]
    numbers, first = np.unique(settings[:, 0].astype(np.int64), return_index=True)
    bic: dict[int, float] = {}
    for name, value in entry["bic"].items():
        number = EQUAL.get(int(name), int(name))
        bic[number] = min(bic.get(number, np.inf), value)
    own = np.array([bic[int(n)] for n in numbers])
    return Row(entry["formula"], int(entry["truth"]), numbers, first, settings[:, 1:], own)


def by_group(row: Row, value: Floats) -> Floats:
    """[g] log of the mean of exp(value [c]) over the settings of each group."""
    settings = np.diff(np.append(row.first, value.size))
    return np.logaddexp.reduceat(value, row.first) - np.log(settings)


def _pooling(weights: Floats) -> Pooling:
    evidence, bic, forbidden = (float(w) for w in weights)
    return Pooling(evidence=evidence, bic=bic, forbidden=forbidden, tail=TAIL)


def loss(weights: Floats, rows: Sequence[Row]) -> float:
    """Mean -log probability of the true group, with the ridge."""
    pooling = _pooling(weights)
    total = 0.0
    for row in rows:
        value = by_group(row, pooled(row.terms, pooling))
        probability = np.exp(value - logsumexp(value))[row.numbers == row.truth].sum()
        total -= np.log((1.0 - MISLED) * probability + MISLED / 99.0)
    return total / max(len(rows), 1) + RIDGE * float(weights @ weights)


def fit(rows: Sequence[Row]) -> Pooling:
    """The weights that make the true groups most probable."""
    tolerance = {"xatol": 0.005, "fatol": 1e-5}
    found = minimize(loss, np.array([1.0, 0.3, 1.0]), (rows,), method="Nelder-Mead", options=tolerance)
    return _pooling(found.x)


def out_of_fold(rows: Sequence[Row], seed: int = 0) -> dict[str, Any]:
    """First, in three and negative log-probability out of fold, beside BIC and the evidence of absences."""
    folds = folds_by_compound([row.formula for row in rows], FOLDS, seed)
    pooling = [fit([r for r, f in zip(rows, folds, strict=True) if f != fold]) for fold in range(FOLDS)]
    answers = {"pooled": [by_group(r, pooled(r.terms, pooling[f])) for r, f in zip(rows, folds, strict=True)]}
    answers["plain_bic"] = [-0.5 * row.bic for row in rows]
    answers["evidence_of_absences_alone"] = [by_group(row, row.terms[:, 0]) for row in rows]
    score = {
        name: np.array([_judge(r, v) for r, v in zip(rows, a, strict=True)]) for name, a in answers.items()
    }
    boot = Bootstrap([row.formula for row in rows], seed=seed)
    ones = boot.sums(np.ones((len(rows), 1)))
    found: dict[str, Any] = {"patterns": len(rows), "formulas": boot.n_compounds, "folds": FOLDS}
    for name, value in score.items():
        found[name] = dict(
            zip(("first", "in_three", "nll"), np.round(value.mean(axis=0), 3).tolist(), strict=True)
        )
    for name in ("plain_bic", "evidence_of_absences_alone"):
        draws = boot.sums(score["pooled"] - score[name]) / ones
        gain = [boot.interval(draws[:, j]) for j in range(3)]
        found[f"gain_over_{name}"] = {
            key: [round(g.value, 3), round(g.low, 3), round(g.high, 3)]
            for key, g in zip(("first", "in_three", "nll"), gain, strict=True)
        }
    return found


def _judge(row: Row, value: Floats) -> tuple[float, float, float]:
    here = row.numbers == row.truth
    if not here.any():
        return 0.0, 0.0, float(np.log(99.0 / MISLED))
    own = value[here][0]
    ahead, tied = int(np.sum(value > own)), int(np.sum(value == own))
    probability = float(np.exp(own - logsumexp(value)))
    nll = -np.log((1.0 - MISLED) * probability + MISLED / 99.0)
    return float(np.clip((1 - ahead) / tied, 0, 1)), float(np.clip((3 - ahead) / tied, 0, 1)), float(nll)


def as_shipped(rows: Sequence[Row], seed: int) -> dict[str, Any]:
    """What goes into pooling.json: weights of all rows, where they come from, and how they do out of fold."""
    formulas = len({row.formula for row in rows})
    return {
        "weights": {name: round(value, 3) for name, value in asdict(fit(rows)).items()},
        "fitted_on": f"{len(rows)} simulated patterns of {formulas} formulas with the misfit of measured "
        f"patterns (trainer.benchmark.misfit_samples, seed {seed}); held-out formulas, of which the study is "
        "made, left out; no measured pattern",
        "fitted_by": "conditional logit over the extinction groups of each pattern "
        f"(trainer.benchmark.pooling_fit), {100 * MISLED:g} % chance that all is misled",
        "out_of_fold": out_of_fold(rows),
    }
