"""From finished runs to tables: ours beside what the paper says, with the rows that need no network.

A table is JSON types: {"title", "paper", "missing", "budget", "parts"}; a part has the patterns that it is
about as its name and rows label -> metric -> {"value", "low", "high"}. `difference` is the row's bits less
those of the first row of the same budget, pattern by pattern, so that its interval is a paired one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
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
from trainer.metrics import (
    Bootstrap,
    Interval,
    Topology,
    contributions,
    negative_log_likelihood,
    normalise,
    score,
)
from trainer.reproduce.markdown import as_markdown
from trainer.reproduce.plan import SHIPPED, TABLES, Spec, Table
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
#: A finished run: its result.json and its scores.npz.
Finished = tuple[dict[str, Any], dict[str, Any]]
#: Metric -> interval.
Row = dict[str, Interval]


class Judged:
    """What all runs of a table are judged on: labels, clusters of the bootstrap, and the null rows.

    kind: "sim" or "real". keep: [n] bool, patterns that count. topology: graph of the metrics of errors.
    """

    def __init__(
        self,
        scores: dict[str, Any],
        kind: str,
        keep: npt.NDArray[np.bool_] | None = None,
        topology: Topology | None = None,
    ) -> None:
        self.topology = topology
        every = scores[f"{kind}_label"].astype(np.int64)
        clusters = [str(i) for i in range(len(every))] if kind == "sim" else list(scores["real_compound"])
        keep = np.ones(len(every), dtype=bool) if keep is None else keep
        self.kind, self.keep, self.labels = kind, keep, every[keep]
        if kind == "sim":
            self.prior = np.tile(scores["sim_prior"], (len(every), 1))
        else:
            folds = nulls.folds_by_compound(clusters, FOLDS)
            self.prior = np.empty((len(every), len(scores["train_prior"])))
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
            novel = scores.get("real_novelty")
            known = None if novel is None else novel[fit]
            fitted = fit_temperature(split[fit], aux[fit], train, prior, self.every[fit], novelty=known)
            here = None if novel is None else novel[inside]
            found[inside] = apply(fitted, split[inside], aux[inside], train, prior, here)
        return normalise(found)[self.keep]

    def at_temperature(self, scores: dict[str, Any], calibration: Calibration, temperature: float) -> Matrix:
        """[n, 99] of one run with T as given, nothing fitted on these patterns but the prior's folds."""
        fixed = Calibration(temperature, calibration.split_weight, 1.0, calibration.fusion)
        split, aux = scores[f"{self.kind}_split"], scores[f"{self.kind}_aux"]
        found = apply(fixed, split, aux, scores["train_prior"], self.prior)
        if self.kind == "real":  # a refused pattern answers nothing: the prior
            found = np.where(scores["real_answered"][:, None], found, self.prior)
        return normalise(found)[self.keep]

    def row(self, predictions: list[Matrix]) -> Row:
        """Metrics of the seeds of a variant together; the interval is by compound (simulated: by pattern)."""
        labels, repeats = np.tile(self.labels, len(predictions)), len(predictions)
        return score(
            np.vstack(predictions), labels, self.reference, self.boot, topology=self.topology, repeats=repeats
        )

    def bits(self, predictions: list[Matrix]) -> Matrix:
        """[n] bits over prior of each pattern, the mean of the seeds."""
        nll = np.mean([negative_log_likelihood(p, self.labels) for p in predictions], axis=0)
        return (self.reference - nll) / np.log(2.0)

    def difference(self, bits: Matrix, base: Matrix) -> Interval:
        """Mean of bits [n] less base [n], with its paired interval by compound."""
        columns = np.column_stack([bits - base, np.ones(len(bits))])
        total, count = self.boot.sums(columns).T
        return self.boot.interval(total / count)

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


def make_table(name: str, out: Path, seeds: int, published: Topology | None = None) -> dict[str, Any]:
    """A table as JSON types; rows without a finished run are listed as missing. Writes DIR/NAME.json, .md.

    published: the paper's own graph, for a second part of the table of errors.
    """
    table = TABLES[name]
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{out} cannot be made ({error.strerror}): give another folder with --out.") from None
    found: dict[str, list[Finished]] = {}
    missing: list[str] = []
    short: list[str] = []
    for label, variant, share in table.rows:
        wanted = [Spec(variant, share, seed) for seed in range(seeds)] if share > 0 else [SHIPPED]
        whole = [run for spec in wanted if (run := load(spec, out)) is not None]
        if len(whole) < len(wanted):
            (short if whole else missing).append(label)
        if whole:
            found[label] = whole
    made: dict[str, Any] = {
        "name": name,
        "kind": table.kind,
        "title": table.title,
        "paper": table.paper,
        "missing": missing,
        "fewer_seeds": short,
        "published": {label: dict(row) for label, row in table.published.items()},
        "contrasts": _contrasts(found) if table.kind == "quality" else {},
        "budget": _budget(found),
        "parts": _parts(table, found, published) if found else {},
    }
    write_atomically(out / f"{name}.json", (json.dumps(made, indent=1) + "\n").encode())
    write_atomically(out / f"{name}.md", (f"# {made['title']}\n\n" + as_markdown(made)).encode())
    return made


def _budget(found: Mapping[str, list[Finished]]) -> str:
    """How the rows were made, in words: patterns a run, reference, seeds."""
    trained = [result for runs in found.values() for result, _ in runs if result.get("patterns")]
    words = []
    for result in (result for runs in found.values() for result, _ in runs if not result.get("patterns")):
        seen = result.get("seen")
        after = f" after {seen:,.0f} patterns" if seen else ""
        words.append(f"shipped checkpoint `{result['checkpoint']}` ({result['size']}){after}")
    if trained:
        counts = sorted({result["patterns"] for result in trained}, reverse=True)
        seeds = max(sum(1 for result, _ in runs if result.get("patterns")) for runs in found.values())
        words.append(
            f"runs of {' or '.join(f'{count:,}' for count in counts)} patterns, "
            f"{seeds} seed{'s' * (seeds > 1)} at most"
        )
    return "; ".join(words)


def _parts(table: Table, found: dict[str, list[Finished]], published: Topology | None) -> dict[str, Any]:
    if table.kind == "split":
        return _split_parts(found)
    parts: dict[str, Any] = {}
    for kind, words in KINDS.items():
        here = {label: runs for label, runs in found.items() if all(f"{kind}_label" in s for _, s in runs)}
        if not here:
            continue
        scores = next(iter(here.values()))[0][1]
        _same_patterns(here, kind)
        if table.kind != "quality":
            parts[words] = _rows(Judged(scores, kind), here, table)
            if table.kind == "topology" and published is not None:
                parts[f"{words}, published graph"] = _rows(Judged(scores, kind, None, published), here, table)
        elif kind == "real":
            for stratum, keep in strata_of(scores).items():
                judged = Judged(scores, kind, keep)
                groups = len(set(judged.labels.tolist()))
                about = f"{stratum}: {int(keep.sum())} patterns of {groups} groups"
                parts[about] = _rows(judged, here, table)
    return parts


def _same_patterns(found: Mapping[str, list[Finished]], kind: str) -> None:
    """BadInput where runs were judged on different patterns: their rows do not pair."""
    runs = [run for runs in found.values() for run in runs]
    first = runs[0][1][f"{kind}_label"]
    for result, scores in runs:
        if not np.array_equal(scores[f"{kind}_label"], first):
            raise BadInput(
                f"{Spec(**result['spec']).name} was judged on other patterns (--limit, --simulated, or "
                "another --data): remove its folder to make it again."
            )


def _rows(judged: Judged, found: dict[str, list[Finished]], table: Table) -> dict[str, Any]:
    kind, columns = table.kind, COLUMNS[table.kind]
    shares = {label: share for label, _, share in table.rows}
    rows: dict[str, Any] = {}
    first: list[Matrix] = []
    base: dict[float, Matrix] = {}
    for label, runs in found.items():
        calibrated = [(scores, Calibration(**result["calibration"])) for result, scores in runs]
        if kind == "temperature":
            for t in TEMPERATURES:
                at = [judged.at_temperature(scores, own, t) for scores, own in calibrated]
                rows[f"{label}, T = {t:g}"] = _json(judged.row(at), columns)
        answers = [judged.answers(scores, own) for scores, own in calibrated]
        rows[label] = _json(judged.row(answers), columns)
        if kind == "figures":
            bits = judged.bits(answers)
            rows[label]["seeds"] = [round(float(judged.bits([answer]).mean()), 4) for answer in answers]
            if shares[label] in base:
                rows[label]["difference"] = _interval(judged.difference(bits, base[shares[label]]))
            else:
                base[shares[label]] = bits
        first = first or answers
    for label, row in judged.null_rows(first).items():
        rows[label] = _json(row, columns)
    return rows


def _contrasts(found: Mapping[str, list[Finished]]) -> dict[str, Any]:
    """Of the first row with a measure of quality: worst third less best third, resampled together."""
    for label, runs in found.items():
        strata = strata_of(runs[0][1]) if "real_label" in runs[0][1] else {}
        pairs = [("worst third of the fits (Rwp)", "best third of the fits (Rwp)")]
        if not all(name in strata for pair in pairs for name in pair):
            continue
        judged = Judged(runs[0][1], "real")
        calibrated = [judged.answers(scores, Calibration(**result["calibration"])) for result, scores in runs]
        right = np.mean([contributions(p, judged.labels).correct for p in calibrated], axis=0)
        made: dict[str, Any] = {}
        for worse, better in pairs:
            for metric, value in (("top1", right), ("bits_over_prior", judged.bits(calibrated))):
                keeps = (strata[worse].astype(np.float64), strata[better].astype(np.float64))
                sums = judged.boot.sums(np.column_stack([c for k in keeps for c in (k * value, k)]))
                draws = sums[:, 0] / np.maximum(sums[:, 1], 1) - sums[:, 2] / np.maximum(sums[:, 3], 1)
                made[metric] = _interval(judged.boot.interval(draws))
        source = runs[0][1]["real_source"]
        names, counts = np.unique(source[np.isfinite(runs[0][1]["real_rwp"])], return_counts=True)
        main = str(names[counts.argmax()])
        shares = [float((source[strata[name]] == main).mean()) for name in pairs[0]]
        about = "worst third of the fits less the best"
        return {"label": label, "about": about, "source": main, "source_shares": shares, **made}
    return {}


def strata_of(scores: Mapping[str, Any]) -> dict[str, npt.NDArray[np.bool_]]:
    """Thirds by signal over noise, and by how well a known cell fits (Rwp), where that was found."""
    strata = _thirds(
        scores["real_signal"], "of the signal over the noise", ("weakest", "middle", "strongest")
    )
    if "real_rwp" in scores and np.isfinite(scores["real_rwp"]).sum() >= 3:
        strata |= _thirds(scores["real_rwp"], "of the fits (Rwp)", ("best", "middle", "worst"))
    return strata


def _thirds(value: Matrix, words: str, names: tuple[str, str, str]) -> dict[str, npt.NDArray[np.bool_]]:
    low, high = np.nanquantile(value, [1 / 3, 2 / 3])
    known = np.isfinite(value)
    thirds = (known & (value < low), known & (value >= low) & (value < high), known & (value >= high))
    return {f"{name} third {words}": keep for name, keep in zip(names, thirds, strict=True) if keep.any()}


def _split_parts(found: Mapping[str, list[Finished]]) -> dict[str, Any]:
    parts: dict[str, Any] = {}
    for key, words in (("split_valid", "simulated, held out"), ("split_valid_measured", "measured")):
        rows = {
            label: _split_row([result[key] for result, _ in runs])
            for label, runs in found.items()
            if all(key in result for result, _ in runs)
        }
        if rows:
            parts[words] = rows
    return parts


def _split_row(runs: list[dict[str, float]]) -> dict[str, Any]:
    keys = [key for key in ("valid", "right", "null") if all(key in run for run in runs)]
    means = {key: float(np.mean([run[key] for run in runs])) for key in keys}
    return {key: {"value": mean, "low": None, "high": None} for key, mean in means.items()}


def _json(row: Row, columns: tuple[str, ...]) -> dict[str, Any]:
    return {name: _interval(row[name]) for name in columns}


def _interval(interval: Interval) -> dict[str, float | None]:
    return {k: (round(v, 5) if np.isfinite(v) else None) for k, v in asdict(interval).items()}
