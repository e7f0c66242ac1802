"""Tables of XxaCT-NN from the runs that are finished, published figures beside ours.

Every figure is on test structures: formulas that no run has seen. Intervals are 95 %, by formula.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadInput
from trainer.metrics import Interval
from trainer.multimodal.property_metrics import PropertyBootstrap, crossing, power_law
from trainer.multimodal.views import CONDITIONS
from trainer.reproduce.xxact_plan import SHARES, XxactRun, share_name
from trainer.reproduce.xxact_running import finished_run, folder_of_run

#: eV/atom and shares, as far as the paper says them (arXiv:2507.01054; Alexandria, about 5 million).
PUBLISHED = {
    "both": {"energy": 0.0404, "system": 0.972},
    "both-energy": {"energy": 0.0282},
    "both-fresh": {"energy": 0.0457},
    "composition": {"energy": 0.131},
}
#: Published power laws of the formation energy's error, eV/atom, D in millions of structures.
PUBLISHED_LAWS = {"both": (0.07, 0.335), "composition": (0.14, 0.046)}
METRICS = ("energy", "gap", "system")


@dataclass(frozen=True, eq=False)
class Finished:
    """A finished run: result (as JSON) and answers by name."""

    name: str
    result: dict[str, Any]
    scores: dict[str, npt.NDArray[Any]]

    @cached_property
    def inputs(self) -> str:
        """What it was shown; "both" where anything."""
        inputs = self.result["config"]["inputs"]
        return "both" if inputs == "any" else inputs

    def errors(self, metric: str, condition: str = "clean", inputs: str = "") -> npt.NDArray[np.float64]:
        """[n] absolute error (eV) or whether the system is right, of the test structures with an energy."""
        rows, key = self.scores["labelled"], f"{inputs or self.inputs}.{condition}.{metric}"
        if metric == "system":
            right = self.scores[key].argmax(1) == self.scores["system"][rows]
            return right.astype(np.float64)
        return np.abs(self.scores[key][:, 0] - self.scores[metric][rows].astype(np.float64))

    def system_of_all(self, inputs: str = "") -> npt.NDArray[np.float64]:
        """[n] whether the system is right, of all test structures, with an energy or without."""
        said = self.scores[f"{inputs or self.inputs}.all.system"].argmax(1)
        return (said == self.scores["system"]).astype(np.float64)

    def knows(self, metric: str) -> bool:
        """Whether it was trained on that."""
        return self.result["config"]["weights"][metric] > 0


class Runs:
    """Finished runs of a folder, and one bootstrap for all of them."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self._bootstrap: PropertyBootstrap | None = None
        self._bootstrap_of_all: PropertyBootstrap | None = None

    def get(self, variant: str, seed: int = 0) -> Finished | None:
        """A finished run with answers, or None."""
        name = XxactRun(variant, seed).name
        result = finished_run(name, self.out)
        path = folder_of_run(name, self.out) / "scores.npz"
        if result is None or not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as data:
                scores = {key: data[key] for key in data.files}
        except (OSError, ValueError) as error:
            raise BadInput(f"{path} is damaged ({error}): remove {path.parent} and go on.") from error
        return Finished(name, result, scores)

    def result(self, variant: str) -> dict[str, Any] | None:
        """What a finished run of seed 0 says of itself, with answers or without."""
        return finished_run(XxactRun(variant).name, self.out)

    def bootstrap(self, run: Finished) -> PropertyBootstrap:
        """Of the test structures with an energy; the same for all runs."""
        if self._bootstrap is None:
            formulas = run.scores["formula"][run.scores["labelled"]]
            self._bootstrap = PropertyBootstrap(formulas.tolist())
        return self._bootstrap

    def bootstrap_of_all(self, run: Finished) -> PropertyBootstrap:
        """Of all test structures; the same for all runs."""
        if self._bootstrap_of_all is None:
            self._bootstrap_of_all = PropertyBootstrap(run.scores["formula"].tolist())
        return self._bootstrap_of_all


Row = dict[str, Any]


def inputs_table(runs: Runs) -> dict[str, Any]:
    """Composition only, pattern only, both; single- and multi-task; and how far both are above each."""
    listed = (
        ("composition only", "composition"),
        ("pattern only", "xrd"),
        ("both", "both"),
        ("both, energy alone", "both-energy"),
        ("composition only, energy alone", "composition-energy"),
        ("both, gap alone", "both-gap"),
        ("both, crystal system alone", "both-system"),
        ("both, crystal system alone, of all structures", "both-system-all"),
        ("pattern only, crystal system alone, of all structures", "xrd-system-all"),
        ("composition only, crystal system alone, of all structures", "composition-system-all"),
        ("both, the same, lattices and heights varied a little each time", "both-system-varied"),
        ("both, of symmetric copies, cells varied, group and lattice told beside it", "both-system-copies"),
        ("pattern only, the same", "xrd-system-copies"),
        ("any input, half of the structures without an energy, patterns varied", "any-varied"),
        ("any input, half of the structures without an energy, mostly copies", "any-copies"),
        ("any input, the same, then with lines of any width", "any-widths"),
        ("any input, half of the patterns of stage 2, begun from composition only", "any"),
    )
    rows, found = [], {}
    for words, variant in listed:
        run = runs.get(variant)
        if run is None:
            continue
        found[variant] = run
        rows.append(
            {
                "row": words,
                "variant": variant,
                **_figures(runs, run),
                "published": PUBLISHED.get(variant, {}),
                "structures": run.result["structures"] if _all(run) else run.result["labelled"],
                "samples": run.result["config"]["samples"],
            }
        )
    steps = [
        _step(runs, found[a], found[b], f"{a} against {b}")
        for a, b in (
            ("both", "composition"),
            ("both", "xrd"),
            ("both-energy", "composition-energy"),
            ("both-system-all", "composition-system-all"),
            ("both-system-all", "xrd-system-all"),
            ("both-system-varied", "both-system-all"),
            ("both-system-copies", "both-system-varied"),
            ("both-system-copies", "xrd-system-copies"),
            ("both-system-copies", "composition-system-all"),
            ("both-system-copies", "composition"),
        )
        if a in found and b in found
    ]
    for variant, words in (
        ("any", "any input"),
        ("any-copies", "any input, of copies"),
        ("any-widths", "any input, of any width"),
    ):
        if variant not in found:
            continue
        run = found[variant]
        place = next(i for i, row in enumerate(rows) if row["variant"] == variant)
        rows[place + 1 : place + 1] = [
            {**rows[place], "row": f"the same, shown the {what} only", **_figures(runs, run, inputs=inputs)}
            for inputs, what in (("composition", "composition"), ("xrd", "pattern"))
        ]
        steps += [
            _step(runs, run, run, f"{words}, both against {b} alone", "both", b)
            for b in ("composition", "xrd")
        ]
    return {"rows": rows, "steps": steps}


def _all(run: Finished) -> bool:
    return run.result["config"]["rows"] != "labelled"


def _figures(runs: Runs, run: Finished, condition: str = "clean", inputs: str = "") -> dict[str, Interval]:
    means = runs.bootstrap(run)
    found = {m: means.mean(run.errors(m, condition, inputs)) for m in METRICS if run.knows(m)}
    if condition == "clean" and run.knows("system"):
        found["all"] = runs.bootstrap_of_all(run).mean(run.system_of_all(inputs))
    return found


def _step(
    runs: Runs, upper: Finished, lower: Finished, words: str, inputs: str = "", other: str = ""
) -> dict[str, Any]:
    """Paired differences, structure by structure: of errors (below 0 is better) and of the accuracy."""
    means = runs.bootstrap(upper)
    step = {
        m: means.mean(upper.errors(m, inputs=inputs) - lower.errors(m, inputs=other))
        for m in METRICS
        if upper.knows(m) and lower.knows(m)
    }
    if "system" in step:
        both = upper.system_of_all(inputs) - lower.system_of_all(other)
        step["all"] = runs.bootstrap_of_all(upper).mean(both)
    return {"row": words, **step}


def conditions_table(runs: Runs) -> list[Row]:
    """Networks trained on clean and on stage-2 patterns, judged on worse ones."""
    rows = []
    for words, variant, inputs in (
        ("both, trained on clean patterns", "both", "both"),
        ("pattern only, trained on clean patterns", "xrd", "xrd"),
        ("both, trained on stage 2", "both-stage2", "both"),
        ("pattern only, trained on stage 2", "xrd-stage2", "xrd"),
        ("any input, trained on both kinds: both shown", "any", "both"),
        ("any input, trained on both kinds: pattern only", "any", "xrd"),
        ("both, trained on clean patterns of copies", "both-system-copies", "both"),
        ("any input, trained on copies, both kinds: both shown", "any-copies", "both"),
        ("any input, trained on copies, both kinds: pattern only", "any-copies", "xrd"),
        ("any input, then with lines of any width: both shown", "any-widths", "both"),
        ("any input, then with lines of any width: pattern only", "any-widths", "xrd"),
    ):
        run = runs.get(variant)
        if run is not None:
            rows += [
                {"row": words, "condition": name, **_figures(runs, run, name, inputs)} for name in CONDITIONS
            ]
    return rows


def scaling_table(runs: Runs) -> dict[str, Any]:
    """Error of the formation energy against the number of labelled structures, and its power laws.

    The exponents' intervals resample test formulas; they do not hold the spread of trainings, and with two
    sizes nothing says whether it is a power law at all.
    crossing: number of structures from which on both are better than the composition alone.
    """
    points, draws = [], {}
    for inputs, begin in (("both", ""), ("composition", ""), ("xrd", ""), ("both", "masked")):
        sizes, errors = [], []
        for share in SHARES:
            run = runs.get(share_name(inputs, share, begin))
            if run is None or not run.knows("energy"):
                continue
            drawn = runs.bootstrap(run).draws(run.errors("energy"))
            sizes.append(run.result["labelled"])
            errors.append(drawn)
            points.append(
                {
                    "inputs": inputs + (", pretrained" if begin else ""),
                    "structures": run.result["labelled"],
                    "energy": runs.bootstrap(run).interval(drawn),
                }
            )
        if len(sizes) >= 2:
            columns = np.array(errors).T
            draws[inputs + (", pretrained" if begin else "")] = [
                power_law(np.array(sizes, dtype=np.float64), column) for column in columns
            ]
    counts = Counter(point["inputs"] for point in points)
    laws = {}
    for name, fitted in draws.items():
        exponents = np.array([b for _, b in fitted])
        some = runs.get("composition") or runs.get("both")
        assert some is not None
        laws[name] = {
            "exponent": runs.bootstrap(some).interval(exponents),
            "a": fitted[0][0],
            "sizes": counts[name],
        }
    crossings = {}
    if "composition" in draws:
        for name in ("both", "both, pretrained"):
            if name in draws:
                found = [crossing(x, y) for x, y in zip(draws[name], draws["composition"], strict=True)]
                known = np.array([c for c in found[1:] if np.isfinite(c)])
                crossings[name] = {
                    "value": found[0],
                    "low": float(np.percentile(known, 2.5)) if known.size else float("nan"),
                    "high": float(np.percentile(known, 97.5)) if known.size else float("nan"),
                    "never": float(np.mean(~np.isfinite(found[1:]))),
                }
    return {"points": points, "laws": laws, "crossings": crossings}


def pretraining_table(runs: Runs) -> list[Row]:
    """What pretraining does at the end, and how much sooner it is where a fresh start ends.

    factor: samples of the fresh run at its own last error of the validation structures, over those at which
    the pretrained one is below it for good. Curves are of one run each: its interval is the range between the
    neighbouring looks.
    """
    fresh = runs.get("both")
    if fresh is None:
        return []
    rows: list[Row] = [{"row": "no pretraining", **_figures(runs, fresh), "factor": None}]
    for words, variant in (
        ("masked", "both-masked"),
        ("contrastive", "both-contrastive"),
        ("masked and contrastive", "both-masked-and-contrastive"),
    ):
        run = runs.get(variant)
        if run is None:
            continue
        step = _step(runs, run, fresh, words)
        rows.append(
            {
                "row": words,
                **_figures(runs, run),
                "difference": step.get("energy"),
                "factor": speed(fresh.result["curve"], run.result["curve"]),
            }
        )
    return rows


def speed(
    fresh: list[dict[str, float]], other: list[dict[str, float]], metric: str = "energy_mae"
) -> Interval | None:
    """How many times fewer samples `other` needs to be where `fresh` ends, for good; None if it never is."""
    target = fresh[-1][metric]
    below = [row[metric] <= target for row in other]
    if not below or not below[-1]:
        return None
    first = len(below) - 1
    while first > 0 and below[first - 1]:
        first -= 1
    needed = fresh[-1]["samples"]
    after = other[first]["samples"]
    before = other[first - 1]["samples"] if first else 0.5 * after
    return Interval(needed / after, needed / after, needed / before)
