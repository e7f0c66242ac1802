"""From finished runs to tables: ours beside what the paper says, with the rows that need no network."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadInput
from eg_agent.model.checkpoint import write_atomically
from eg_agent.model.fusion import Calibration, apply
from eg_agent.model.prior import log_prior
from trainer.benchmark import nulls
from trainer.calibrate import fit_temperature
from trainer.metrics import Bootstrap, Interval, negative_log_likelihood, normalise, score
from trainer.reproduce.plan import TABLES, Spec, Table
from trainer.reproduce.running import finished, folder_of

#: Temperatures of the sweep; the paper ended at 5.
TEMPERATURES = (0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0)
#: Folds of compounds, and pseudo-counts of the shipped prior in that of a fold (as `eg-train benchmark`).
FOLDS, PRIOR_STRENGTH = 5, 99.0
#: Columns of a kind of table.
COLUMNS = {
    "figures": ("top1", "top5", "nll", "bits_over_prior"),
    "temperature": ("top1", "nll", "ece", "bits_over_prior"),
    "topology": ("graph_distance_wrong", "within_2_hops", "descendant", "ancestor", "branch"),
    "quality": ("top1", "nll", "bits_over_prior"),
}
#: Kinds of pattern that a network is judged on, by the prefix of their arrays in scores.npz.
KINDS = {"sim": "simulated, held out", "real": "measured"}

Matrix = npt.NDArray[np.float64]
#: Metric -> interval.
Row = dict[str, Interval]


class Judged:
    """What all runs of a table are judged on: labels, clusters of the bootstrap, and the null rows.

    kind: "sim" or "real". keep: [n] bool, patterns that count.
    """

    def __init__(self, scores: dict[str, Any], kind: str, keep: npt.NDArray[np.bool_] | None = None) -> None:
        every = scores[f"{kind}_label"].astype(np.int64)
        clusters = [str(i) for i in range(len(every))] if kind == "sim" else list(scores["real_compound"])
        keep = np.ones(len(every), dtype=bool) if keep is None else keep
        self.kind, self.keep, self.labels = kind, keep, every[keep]
        if kind == "sim":
            self.prior = np.tile(scores["sim_prior"], (len(every), 1))
        else:
            folds = nulls.folds_by_compound(clusters, FOLDS)
            self.prior = np.empty((len(every), len(scores["sim_prior"])))
            self.fold = folds
            for k in range(FOLDS):
                base = np.exp(log_prior("mineral"))
                self.prior[folds == k] = nulls.frequencies(every[folds != k], base, PRIOR_STRENGTH)
        self.every = every
        self.clusters = [c for c, kept in zip(clusters, keep, strict=True) if kept]
        self.boot = Bootstrap(self.clusters)
        self.reference = negative_log_likelihood(self.prior[keep], self.labels)

    def answers(self, scores: dict[str, Any], calibration: Calibration) -> Matrix:
        """[n, 99] of one run: out of fold on measured patterns, its own calibration on simulated."""
        split, aux = scores[f"{self.kind}_split"], scores[f"{self.kind}_aux"]
        train = scores["train_prior"]
        if self.kind == "sim":
            return normalise(apply(calibration, split, aux, train, scores["sim_prior"]))[self.keep]
        found, answered = self.prior.copy(), scores["real_answered"]
        for k in range(FOLDS):
            inside, fit = (self.fold == k) & answered, (self.fold != k) & answered
            if not inside.any() or not fit.any():
                continue
            prior = self.prior[inside][0]
            fitted = fit_temperature(split[fit], aux[fit], train, prior, self.every[fit])
            found[inside] = apply(fitted, split[inside], aux[inside], train, prior)
        return normalise(found)[self.keep]

    def at_temperature(self, scores: dict[str, Any], calibration: Calibration, temperature: float) -> Matrix:
        """[n, 99] of one run with T as given, nothing fitted on these patterns but the prior's folds."""
        fixed = Calibration(temperature, calibration.split_weight, 1.0, calibration.fusion)
        split, aux = scores[f"{self.kind}_split"], scores[f"{self.kind}_aux"]
        return normalise(apply(fixed, split, aux, scores["train_prior"], self.prior))[self.keep]

    def row(self, predictions: list[Matrix]) -> Row:
        """Metrics of the seeds of a variant together; the interval is by compound (simulated: by pattern)."""
        labels = np.tile(self.labels, len(predictions))
        return score(np.vstack(predictions), labels, self.reference, self.boot, repeats=len(predictions))

    def null_rows(self, predictions: list[Matrix]) -> dict[str, Row]:
        """Prior only, a constant answer, and the answers of the first seed given to other patterns."""
        rows = {
            "prior only": self.row([self.prior[self.keep]]),
            "constant": self.row([nulls.constant(self.labels)]),
        }
        try:
            moved = nulls.permutation(self.clusters)
        except ValueError:  # one compound only
            return rows
        rows["permuted"] = self.row([predictions[0][order] for order in moved])
        return rows


def load(spec: Spec, out: Path) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Result and scores of a finished run, or None."""
    result = finished(spec, out)
    if result is None:
        return None
    path = folder_of(spec, out) / "scores.npz"
    try:
        with np.load(path, allow_pickle=False) as archive:
            return result, dict(archive)
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} cannot be read: remove {path.parent} to make the run again.") from error


def make_table(name: str, out: Path, seeds: int) -> dict[str, Any]:
    """A table as JSON types; rows without a finished run are listed as missing. Writes DIR/NAME.json, .md."""
    table = TABLES[name]
    out.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {}
    missing = []
    for label, variant, share in table.rows:
        runs = [load(Spec(variant, share, seed), out) for seed in range(seeds)]
        whole = [run for run in runs if run is not None]
        missing += [label] * (len(whole) < seeds)
        if whole:
            found[label] = whole
    made: dict[str, Any] = {"title": table.title, "paper": table.paper, "missing": missing, "parts": {}}
    if found:
        made["parts"] = _parts(table, found)
    write_atomically(out / f"{name}.json", (json.dumps(made, indent=1) + "\n").encode())
    write_atomically(out / f"{name}.md", as_markdown(made).encode())
    return made


def _parts(table: Table, found: dict[str, list[Any]]) -> dict[str, Any]:
    if table.kind == "split":
        return {"simulated, held out": {label: _split_row(runs) for label, runs in found.items()}}
    parts: dict[str, Any] = {}
    every = [run for runs in found.values() for run in runs]
    for kind, words in KINDS.items():
        if not all(f"{kind}_label" in scores for _, scores in every):
            continue
        scores = every[0][1]
        if table.kind == "quality":
            if kind == "real":
                for stratum, keep in _thirds(scores["real_signal"]).items():
                    parts[f"{words}, {stratum}"] = _rows(Judged(scores, kind, keep), found, table.kind)
            continue
        parts[words] = _rows(Judged(scores, kind), found, table.kind)
    return parts


def _rows(judged: Judged, found: dict[str, list[Any]], kind: str) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    first: list[Matrix] = []
    for label, runs in found.items():
        calibrated = [(scores, Calibration(**result["calibration"])) for result, scores in runs]
        if kind == "temperature":
            for t in TEMPERATURES:
                at = [judged.at_temperature(scores, own, t) for scores, own in calibrated]
                rows[f"{label}, T = {t:g}"] = _json(judged.row(at), COLUMNS[kind])
        answers = [judged.answers(scores, own) for scores, own in calibrated]
        rows[label] = _json(judged.row(answers), COLUMNS[kind])
        rows[label]["seeds"] = [round(judged.row([answer])["bits_over_prior"].value, 4) for answer in answers]
        first = first or answers
    for label, row in judged.null_rows(first).items():
        rows[label] = _json(row, COLUMNS[kind])
    return rows


def _thirds(signal: Matrix) -> dict[str, npt.NDArray[np.bool_]]:
    low, high = np.quantile(signal, [1 / 3, 2 / 3])
    thirds = {
        "weakest third": signal < low,
        "middle third": (signal >= low) & (signal < high),
        "strongest third": signal >= high,
    }
    return {name: keep for name, keep in thirds.items() if keep.any()}


def _split_row(runs: list[Any]) -> dict[str, Any]:
    return {
        key: {
            "value": float(np.mean([result["split_valid"][key] for result, _ in runs])),
            "low": None,
            "high": None,
        }
        for key in ("valid", "right")
    }


def _json(row: Row, columns: tuple[str, ...]) -> dict[str, Any]:
    return {
        name: {k: (round(v, 5) if np.isfinite(v) else None) for k, v in asdict(row[name]).items()}
        for name in columns
    }


def as_markdown(made: dict[str, Any]) -> str:
    """The table as a page: the paper's figure in words, then rows with 95 % intervals."""
    lines = [f"# {made['title']}", "", f"The paper: {made['paper']}.", ""]
    if made["missing"]:
        lines += [f"Not all seeds are finished: {', '.join(made['missing'])}.", ""]
    for words, rows in made["parts"].items():
        columns = [name for name in next(iter(rows.values())) if name != "seeds"]
        lines += [f"## {words[0].upper() + words[1:]}", ""]
        lines += ["| | " + " | ".join(columns) + " | bits of each seed |", "|---" * (len(columns) + 2) + "|"]
        for label, row in rows.items():
            seeds = ", ".join(f"{v:+.2f}" for v in row.get("seeds", []))
            lines.append(f"| {label} | " + " | ".join(_cell(row[c]) for c in columns) + f" | {seeds} |")
        lines.append("")
    return "\n".join(lines)


def _cell(interval: dict[str, float | None]) -> str:
    number: Callable[[float], str] = "{:.3f}".format
    if interval["value"] is None:
        return "-"
    if interval["low"] is None or interval["high"] is None:
        return number(interval["value"])
    return f"{number(interval['value'])} [{number(interval['low'])}, {number(interval['high'])}]"
