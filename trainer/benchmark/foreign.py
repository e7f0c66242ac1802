"""Patterns that have no one right group: how often the network is sure of one all the same.

A folder `series` beside the labelled patterns (columns id, kind, phases, wavelength) holds mixtures and
series. A confident answer is false when the group is none of a phase that the file names ("CaF2(225)").
"""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import beta

from eg_agent.errors import BadPattern
from eg_agent.model import Classifier
from eg_agent.model.fusion import Calibration, apply
from eg_agent.patterns import Pattern, Radiation, check
from eg_agent.symmetry import group_of_space_group

#: Probabilities of the first answer that count as confident.
CONFIDENT = (0.5, 0.9)


def foreign_rows(
    series: Path, classifier: Classifier, calibration: Calibration, log_prior: np.ndarray
) -> dict[str, dict[str, Any]]:
    """By kind, and "mixtures" together: n, refused, out_of_distribution, and confident (false) answers.

    calibration, log_prior: what the labelled patterns were answered with.
    confident_50, confident_90: share of patterns. confident_..._judged: how many of these have phases with
    known space groups; confident_..._false: of those, how often the answer is the group of none.
    judged, judged_samples: patterns with such phases that were not refused, confident or not, and how many
    different lists of phases these are. false_50, false_90: share of them with a confident false answer;
    ..._interval: its 95 % interval (Clopper-Pearson) as if by sample, for scans of one sample are not
    independent.
    """
    with (series / "index.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.get("wavelength")]
    archive = np.load(series / "patterns.npz")
    kinds: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        kind = row["kind"].split(",")[0]
        found = _answer(archive[row["id"]], row, classifier, calibration, log_prior)
        kinds.setdefault(kind, []).append(found)
        if "mixture" in kind:
            kinds.setdefault("mixtures", []).append(found)
    order = sorted(kinds, key=lambda name: (name != "mixtures", -len(kinds[name])))
    return {name: _row(kinds[name]) for name in order}


def _answer(
    points: np.ndarray,
    row: dict[str, str],
    classifier: Classifier,
    calibration: Calibration,
    log_prior: np.ndarray,
) -> dict[str, Any]:
    try:
        pattern = check(Pattern(points[0], points[1], Radiation(float(row["wavelength"]))))
        out = classifier.outputs([pattern])
    except BadPattern:
        return {"refused": True}
    logp = apply(calibration, out.split, out.aux, classifier.log_train_prior, log_prior, out.novelty)[0]
    listed = {
        group_of_space_group(int(n)) for n in re.findall(r"\((\d+)\)", row["phases"]) if 0 < int(n) < 231
    }
    reference = classifier.card.novelty
    return {
        "refused": False,
        "strange": None if reference is None else bool(out.novelty[0] > reference.threshold),
        "p": float(np.exp(logp.max())),
        "false": (int(logp.argmax()) + 1 not in listed) if listed else None,
        "sample": row["phases"],
    }


def _row(found: list[dict[str, Any]]) -> dict[str, Any]:
    said = [f for f in found if not f["refused"]]
    row: dict[str, Any] = {"n": len(found), "refused": len(found) - len(said)}
    strange = [f["strange"] for f in said if f["strange"] is not None]
    row["out_of_distribution"] = float(np.mean(strange)) if strange else None
    known = [f for f in said if f["false"] is not None]
    samples = len({f["sample"] for f in known})
    row["judged"], row["judged_samples"] = len(known), samples
    for level in CONFIDENT:
        name = f"{100 * level:.0f}"
        # What the novelty refuses is not said.
        sure = [f for f in said if f["p"] >= level and not f["strange"]]
        judged = [f["false"] for f in sure if f["false"] is not None]
        row[f"confident_{name}"] = len(sure) / len(found)
        row[f"confident_{name}_judged"] = len(judged)
        row[f"confident_{name}_false"] = int(sum(judged))
        rate = sum(judged) / len(known) if known else None
        row[f"false_{name}"] = rate
        row[f"false_{name}_interval"] = None if rate is None else clopper_pearson(rate, samples)
    return row


def clopper_pearson(rate: float, n: int) -> list[float]:
    """95 % interval of a share that was seen in n independent samples; rate * n need not be whole."""
    seen = rate * n
    low = 0.0 if seen <= 0 else float(beta.ppf(0.025, seen, n - seen + 1))
    high = 1.0 if seen >= n else float(beta.ppf(0.975, seen + 1, n - seen))
    return [low, high]
