"""A resumable study of the evidence on simulated samples: its rank of the truth beside BIC, AIC and Le Bail.

Every sample is verified with its cell given; each row is kept in a file of JSON lines as soon as it is
known, so that a stopped run goes on with the same command. `simulated_result` makes tables and a picture.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import eg_agent
from eg_agent.errors import BadInput
from eg_agent.identify.fusion import evidence_posterior
from eg_agent.identify.settings import IdentifySettings
from eg_agent.verify import CandidateEvidence, Evidence, VerifySettings
from eg_agent.verify.criteria import Criteria, criteria
from eg_agent.verify.fitting import NotFitted
from trainer.benchmark.simulated_samples import Sample, draw, measured, with_rivals

#: Counts in the strongest peak.
COUNTS = (1e3, 1e4, 1e5)
#: The criteria, in the order of tables. True: more is better.
CRITERIA = {"evidence": True, "bic": False, "aic": False, "le_bail": False}
#: Pairs of groups with equal absences: no criterion here can tell them apart, so either is right.
EQUAL = {78: 72, 83: 82}
_TIME_LIMIT = 30.0


@dataclass(frozen=True, slots=True)
class Study:
    """What is studied. crystals: number; groups: of them in turn, None for all with rivals."""

    structures: Path
    out: Path
    crystals: int = 300
    counts: tuple[float, ...] = COUNTS
    groups: tuple[int, ...] | None = None
    seed: int = 0

    def settings(self) -> dict[str, Any]:
        """What the rows depend on, apart from the code."""
        listed = None if self.groups is None else list(self.groups)
        return {"crystals": self.crystals, "counts": list(self.counts), "groups": listed, "seed": self.seed}


def run(
    study: Study,
    *,
    minutes: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[dict[str, Any]]:
    """Verify what is not yet in OUT/rows.jsonl; all rows so far. Stops after `minutes`.

    Raises BadInput where OUT holds the rows of another study.
    """
    rows = load(study)
    done = {(row["crystal"], row["counts"]) for row in rows}
    tasks = [t for t in _tasks(study) if t not in done]
    total = study.crystals * len(study.counts)
    if not tasks:
        return rows
    wanted = study.groups or tuple(with_rivals())
    drawn = draw(study.structures, [wanted[i % len(wanted)] for i in range(study.crystals)], study.seed)
    started = time.monotonic()
    with (study.out / "rows.jsonl").open("a", encoding="utf-8") as file:
        for place, counts in tasks:
            row = {"crystal": place, "counts": counts, "name": drawn[place].crystal.name}
            row |= {"kind": drawn[place].kind} | judged(measured(drawn, place, counts, study.seed))
            file.write(json.dumps(row) + "\n")
            file.flush()
            rows.append(row)
            if progress is not None:
                progress(len(rows), total)
            if minutes is not None and time.monotonic() - started > 60.0 * minutes:
                break
    return rows


def load(study: Study) -> list[dict[str, Any]]:
    """The rows that are there; makes the folder and writes what is studied into it."""
    path, about = study.out / "rows.jsonl", study.out / "study.json"
    try:
        study.out.mkdir(parents=True, exist_ok=True)
        if about.is_file() and json.loads(about.read_text("utf-8")) != study.settings():
            raise BadInput(f"{study.out} holds a study of other settings: give another --out.")
        about.write_text(json.dumps(study.settings()) + "\n", encoding="utf-8")
        text = path.read_text("utf-8") if path.is_file() else ""
    except (OSError, json.JSONDecodeError) as error:
        raise BadInput(f"{study.out} cannot be used ({error}): give another --out.") from None
    complete, _, rest = text.rpartition("\n")
    if rest:  # a line that was cut off when the run was stopped
        path.write_text(complete + "\n" if complete else "", encoding="utf-8")
    return [json.loads(line) for line in complete.splitlines() if line]


def _tasks(study: Study) -> Iterator[tuple[int, float]]:
    """Crystals in random order, counts in turn, so that a part of the study is a sample of the whole."""
    order = np.random.default_rng([study.seed, 43]).permutation(study.crystals)
    for turn in range(len(study.counts)):
        for i, place in enumerate(order.tolist()):
            yield place, study.counts[(i + turn) % len(study.counts)]


def judged(sample: Sample) -> dict[str, Any]:
    """One row: the truth's rank by each criterion, what was claimed for the first, and the seconds."""
    started = time.perf_counter()
    row: dict[str, Any] = {"group": sample.group, "status": "fitted"}
    try:
        found = criteria(sample.pattern, sample.cell, settings=VerifySettings(time_limit=_TIME_LIMIT))
    except NotFitted as error:
        row |= {"status": "not fitted", "reason": str(error)}
    else:
        row |= ranked(found, sample.group)
    return row | {"seconds": round(time.perf_counter() - started, 3)}


def ranked(found: Criteria, truth: int) -> dict[str, Any]:
    """Ranks of the truth (0 is first, ties count half) and the probability of the first answer.

    claimed: by the evidence as the product uses it (tempered, see `eg_agent.identify.fusion`), with a uniform
    prior; claimed_raw: untempered. right, right_raw: whether the answer is the truth.
    """
    numbers = np.array([EQUAL.get(int(n), int(n)) for n in found.group])
    truth = EQUAL.get(truth, truth)
    row: dict[str, Any] = {"candidates": len(set(numbers.tolist()))}
    values = {"evidence": found.log_evidence, "bic": found.bic, "aic": found.aic, "le_bail": found.le_bail}
    for name, more in CRITERIA.items():
        value = values[name] if more else -values[name]
        best = {n: value[numbers == n].max() for n in set(numbers.tolist())}
        if truth not in best:
            row[f"rank_{name}"] = len(best)
            continue
        others = np.array([v for n, v in best.items() if n != truth])
        row[f"rank_{name}"] = float((others > best[truth]).sum() + 0.5 * (others == best[truth]).sum())
    for suffix, log_probability in (("", _as_used(found)), ("_raw", _raw(found))):
        p = np.zeros(100)
        np.add.at(p, numbers, np.exp(log_probability[found.group - 1]))
        row[f"claimed{suffix}"] = float(p.max())
        row[f"right{suffix}"] = bool(p.argmax() == truth)
        row[f"truth{suffix}"] = float(p[truth])
    return row


def _as_used(found: Criteria) -> np.ndarray:
    listed = tuple(
        CandidateEvidence(int(n), "", float(e), 0, 0, 0.0)
        for n, e in zip(found.group, found.log_evidence, strict=True)
    )
    evidence = Evidence(status="fitted", reason="", candidates=listed)
    log_probability = evidence_posterior(evidence, IdentifySettings())
    assert log_probability is not None
    return log_probability


def _raw(found: Criteria) -> np.ndarray:
    out = np.full(99, -np.inf)
    out[found.group - 1] = found.log_evidence
    return out - np.logaddexp.reduce(out)


def about(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Version and counts, to print beside figures."""
    return {
        "version": eg_agent.__version__,
        "rows": len(rows),
        "not_fitted": sum(row["status"] != "fitted" for row in rows),
        "random_crystals": len({row["crystal"] for row in rows if row["kind"] == "random"}),
        "crystals": len({row["crystal"] for row in rows}),
    }


def study_as_dict(study: Study) -> dict[str, Any]:
    """For JSON."""
    return {k: str(v) if isinstance(v, Path) else v for k, v in asdict(study).items()}
