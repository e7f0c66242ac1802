"""From a folder to the result, with predictors that really read the pattern, and bad folders."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from eg_agent.errors import BadInput, BadPattern
from eg_agent.patterns.pattern import Pattern
from trainer.benchmark import Answer, Case, Folder, Predictor, predict
from trainer.benchmark.classification import result_of
from trainer.benchmark.indexing import result_of as index_result_of
from trainer.benchmark.report import print_report
from trainer.benchmark.strata import NOT_TRICLINIC
from trainer.metrics import METRICS

KEYS = {
    "reliability",
    "errors",
    "n",
    "compounds",
    "model",
    "prior_only",
    "constant",
    "permutation",
    "by_source",
    "seconds_median",
    "settings",
}
Make = Callable[[], Predictor]
UNIFORM = np.full(99, -np.log(99))


def refusing(make: Make) -> Make:
    """The same predictor, which refuses what comes from the archive, as the product refuses a pattern."""
    inner = make()

    def predictor(pattern: Pattern, case: Case) -> Answer:
        if case.source == "archive":
            raise BadPattern("measured too long ago: measure again.")
        return inner(pattern, case)

    return lambda: predictor


def _result(folder: Path, make: Make) -> dict[str, Any]:
    found = Folder(folder)
    cases = found.cases("benchmark")
    predictions = predict(found, cases, make)
    return result_of(
        cases,
        predictions.log_probability(UNIFORM),
        shipped_prior=UNIFORM,
        prior_name="uniform",
        seconds=predictions.seconds,
        settings={"refused": dict(predictions.refused)},
        resamples=200,
    )


def test_a_classifier_that_reads_lines_beats_every_null(tiny_folder: Path, nearest_lines: Make) -> None:
    result = _result(tiny_folder, nearest_lines)
    assert set(result) == KEYS
    assert (result["n"], result["compounds"]) == (15, 5)
    for row in ("model", "prior_only", "constant", "permutation"):
        assert set(result[row]) == set(METRICS)
        assert all(set(v) == {"value", "low", "high"} for v in result[row].values())
    top1 = {row: result[row]["top1"]["value"] for row in ("model", "prior_only", "constant", "permutation")}
    assert top1["model"] > 0.9
    assert max(top1["prior_only"], top1["constant"], top1["permutation"]) < 0.5
    assert result["prior_only"]["bits_over_prior"]["value"] == 0.0
    assert result["model"]["bits_over_prior"]["low"] > 0
    assert result["permutation"]["bits_over_prior"]["value"] < 0
    assert {name: rows["n"] for name, rows in result["by_source"].items()} == {"lab": 10, "archive": 5}
    assert result["seconds_median"] > 0
    json.dumps(result, allow_nan=False)


def test_a_refused_pattern_counts_with_the_prior_as_its_answer(
    tiny_folder: Path, nearest_lines: Make
) -> None:
    result = _result(tiny_folder, refusing(nearest_lines))
    archive = result["by_source"]["archive"]
    assert archive["model"]["top1"]["value"] == pytest.approx(1 / 99)
    assert archive["model"]["nll"]["value"] == pytest.approx(np.log(99))
    assert set(result["settings"]["refused"]) == {
        f"{name}_0" for name in ("halite", "quartz", "rutile", "calcite", "aragonite")
    }


def test_progress_is_told_after_each_pattern(tiny_folder: Path, nearest_lines: Make) -> None:
    folder = Folder(tiny_folder)
    seen: list[tuple[int, int]] = []
    predict(folder, folder.cases(limit=4), nearest_lines, progress=lambda done, n: seen.append((done, n)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_the_report_fits_100_columns(tiny_folder: Path, nearest_lines: Make) -> None:
    result = _result(tiny_folder, nearest_lines)
    result["evidence_only"] = result["model"]
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    print_report(result, "verify", console)
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 100
    for word in ("model", "evidence only", "prior only", "constant", "permutation", "archive", "median"):
        assert word in text
    assert "…" not in text


def test_plain_bic_stands_beside_the_evidence_with_the_paired_gain(tiny_folder: Path) -> None:
    cases = Folder(tiny_folder).cases("known_cell")
    labels = np.array([case.group - 1 for case in cases])
    right, wrong = np.full((len(cases), 99), -9.0), np.full((len(cases), 99), -9.0)
    right[np.arange(len(cases)), labels] = 0.0
    wrong[np.arange(len(cases)), (labels + 1) % 99] = 0.0
    bic = np.where((np.array([case.compound for case in cases]) == "rutile")[:, None], wrong, right)
    result = result_of(
        cases, right, shipped_prior=UNIFORM, prior_name="uniform", seconds=np.ones(len(cases)),
        evidence_only=wrong, bic=bic, strata={"metric": [NOT_TRICLINIC] * len(cases)}, resamples=200,
    )  # fmt: skip
    assert result["bic"]["top1"]["value"] == pytest.approx(15 / 18)
    assert result["gain_over_bic"]["model"]["top1"]["value"] == pytest.approx(3 / 18)
    assert result["gain_over_bic"]["evidence_only"]["top1"]["value"] == pytest.approx(-15 / 18)
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    print_report(result, "verify", console)
    text = console.export_text()
    assert "plain BIC" in text
    assert "18 patterns whose cell is not triclinic" in text
    assert " ".join(text.split()).count("Above plain BIC on the same fit") == 4


def test_cases_follow_the_index(tiny_folder: Path) -> None:
    folder = Folder(tiny_folder)
    assert len(folder.cases("known_cell")) == 18
    assert len(folder.cases("benchmark")) == 15
    limited = folder.cases("benchmark", limit=7)
    assert len(limited) == 7
    assert limited == folder.cases("benchmark", limit=7)
    assert len(folder.cases("known_cell", without_systems=["Trigonal"])) == 12
    case = next(c for c in folder.cases("known_cell") if c.id == "rutile_1")
    assert case.cell == (4.594, 4.594, 2.959, 90.0, 90.0, 90.0)
    pattern = folder.pattern(case)
    assert pattern.radiation.wavelength == case.wavelength
    assert pattern.radiation.wavelength2 is None


def test_index_ranks_by_lattice(tiny_folder: Path) -> None:
    folder = Folder(tiny_folder)
    cases = folder.cases("known_cell")
    double = [((c.cell[0], c.cell[1], 2 * c.cell[2], *c.cell[3:]), "P") for c in cases if c.cell]
    letters = {225: "F", 167: "R", 15: "C"}
    right = [(c.cell, letters.get(c.space_group, "P")) for c in cases if c.cell]
    third = [[d, d, r] for d, r in zip(double, right, strict=True)]
    found = [[r] if c.compound == "rutile" else t for c, r, t in zip(cases, right, third, strict=True)]
    found[0] = []
    result = index_result_of(cases, found, seconds=np.ones(len(cases)), resamples=100)
    assert result["model"]["top1"]["value"] == pytest.approx(3 / 18)
    assert result["model"]["top3"]["value"] == pytest.approx(17 / 18)
    assert result["permutation"]["top5"]["value"] == 0.0
    assert result["settings"]["no_cell"] == [cases[0].id]
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    print_report(result, "index", console)
    assert "Top-3" in console.export_text()


def _rewrite(folder: Path, to: Path, change) -> Path:
    shutil.copytree(folder, to)
    with (to / "index.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows = change(rows)
    with (to / "index.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0] if rows else ["id"])
        writer.writeheader()
        writer.writerows(rows)
    return to


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda rows: [{k: v for k, v in r.items() if k != "compound"} for r in rows],
            "lacks the column compound",
        ),
        (lambda rows: [{**r, "benchmark": "False"} for r in rows], "no benchmark rows"),
        (lambda rows: [{**r, "eg_number": ""} for r in rows], "without a group"),
        (lambda rows: [{**r, "wavelength": ""} for r in rows], "no wavelength"),
        (lambda rows: [{**r, "wavelength": "Cu"} for r in rows], "is 'Cu', not a number"),
    ],
)
def test_a_bad_index_is_one_clear_sentence(tiny_folder: Path, tmp_path: Path, change, message: str) -> None:
    folder = _rewrite(tiny_folder, tmp_path / "bad", change)
    with pytest.raises(BadInput, match=message):
        Folder(folder).cases("benchmark")


def test_missing_folder_files_and_patterns(tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is not a folder"):
        Folder(tmp_path / "nowhere")
    (tmp_path / "index.csv").write_text("id\n")
    with pytest.raises(BadInput, match=r"has no patterns\.npz"):
        Folder(tmp_path)
    (tmp_path / "patterns.npz").write_text("not an archive")
    shutil.copy(tiny_folder / "index.csv", tmp_path / "index.csv")
    with pytest.raises(BadInput, match=r"not an \.npz archive"):
        Folder(tmp_path)
    np.savez(tmp_path / "patterns.npz", other=np.zeros((2, 5)))
    folder = Folder(tmp_path)
    with pytest.raises(BadInput, match="has no pattern 'halite_0'"):
        folder.pattern(folder.cases("benchmark")[0])
