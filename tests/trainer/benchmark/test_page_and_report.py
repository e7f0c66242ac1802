"""The benchmark's page and its tables: what is in the result is on the page, and fits."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from eg_agent.errors import BadInput
from trainer.benchmark import Folder, Predictor, predict
from trainer.benchmark.classification import result_of
from trainer.benchmark.page import write_page
from trainer.benchmark.report import interval_cell, print_report
from trainer.metrics import topology_of

Make = Callable[[], Predictor]


@pytest.fixture(scope="module")
def result(tiny_folder: Path, nearest_lines: Make) -> dict[str, Any]:
    folder = Folder(tiny_folder)
    cases = folder.cases("benchmark")
    found = predict(folder, cases, nearest_lines)
    rng = np.random.default_rng(0)
    return result_of(
        cases,
        found.log_probability(np.full(99, -np.log(99))),
        shipped_prior=np.full(99, -np.log(99)),
        prior_name="uniform",
        seconds=found.seconds,
        settings={"refused": {f"[{i}]": "too [bold]flat[/bold]" for i in range(12)}},
        strata={"system": [case.crystal_system for case in cases]},
        published=topology_of([(i, i + 1) for i in range(1, 99)]),
        sets=(rng.random(len(cases)) < 0.9, rng.integers(1, 9, len(cases))),
        resamples=200,
    )


def text_of(result: dict[str, Any], width: int = 100) -> str:
    written = io.StringIO()
    print_report(result, "network", Console(width=width, file=written))
    return written.getvalue()


def test_the_page_shows_what_the_result_says(result: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "new" / "page"
    write_page(folder, result, "network")
    assert {p.name for p in folder.iterdir()} == {
        "network.md",
        "network.json",
        "network-reliability.png",
        "network-errors.png",
    }
    assert json.loads((folder / "network.json").read_text()) == json.loads(json.dumps(result))
    page = (folder / "network.md").read_text()
    assert page.startswith("# Network alone\n")
    assert page.count("```") == 2
    for name in ("network-reliability.png", "network-errors.png"):
        assert f"]({name})" in page
        header = (folder / name).read_bytes()[:24]
        assert header[:8] == b"\x89PNG\r\n\x1a\n"
        assert min(struct.unpack(">II", header[16:24])) > 400
    assert f"{100 * result['model']['top1']['value']:.1f}" in page
    assert all(len(line) <= 110 for line in page.splitlines() if not line.startswith("!"))


def test_a_result_without_answers_has_no_picture(result: dict[str, Any], tmp_path: Path) -> None:
    plain = {name: value for name, value in result.items() if name not in ("reliability", "errors")}
    write_page(tmp_path / "page", plain, "network")
    assert {p.name for p in (tmp_path / "page").iterdir()} == {"network.md", "network.json"}


def test_a_page_cannot_be_made_in_a_file(result: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="give another folder"):
        write_page(tmp_path / "file" / "page", result, "network")


def test_the_report_says_every_part(result: dict[str, Any]) -> None:
    text = text_of(result)
    inside, size = result["sets"]["set_coverage"]["value"], result["sets"]["set_size"]["value"]
    assert f"{100 * inside:.1f} % hold the true group" in text
    assert f"{size:.1f} groups on average" in text
    assert f"ECE {result['reliability']['ece']:.3f}" in text
    assert "By system" in text
    assert "Wrong answers on the published graph" in text
    for row in ("model", "prior only", "constant", "permutation"):
        assert any(line.strip().startswith(f"{row} ") for line in text.splitlines()), row


def test_names_and_reasons_are_printed_as_they_are(result: dict[str, Any]) -> None:
    text = text_of(result)
    assert "[3]: too [bold]flat[/bold]" in text
    assert "12 refused" in text
    assert "and 2 more" in text


def test_patterns_with_no_one_right_group_have_their_table(result: dict[str, Any]) -> None:
    row = {
        "n": 40,
        "refused": 3,
        "out_of_distribution": 0.25,
        "confident_50": 0.4,
        "confident_50_judged": 10,
        "confident_50_false": 4,
        "confident_90": 0.1,
        "confident_90_judged": 0,
        "confident_90_false": 0,
        "judged": 20,
        "judged_samples": 8,
        "false_50": 0.2,
        "false_50_interval": [0.032, 0.651],
        "false_90": 0.0,
        "false_90_interval": [0.0, 0.369],
    }
    text = text_of({**result, "foreign": {"mixtures": row, "series": {**row, "out_of_distribution": None}}})
    line = next(line for line in text.splitlines() if line.strip().startswith("mixtures"))
    assert line.split() == ["mixtures", "40", "3", "25", "40", "4", "of", "10", "10", "-"]
    said = " ".join(text.split())
    assert "20.0 % [3.2, 65.1] at p >= 0.5 and 0.0 % [0.0, 36.9] at p >= 0.9, of 20 patterns" in said


@pytest.mark.parametrize(
    ("interval", "shown"),
    [
        ({"value": 0.425, "low": 0.38, "high": 1.0}, "42.5\n38.0..100"),
        ({"value": 0.425, "low": None, "high": None}, "42.5"),
        ({"value": None, "low": None, "high": None}, "-"),
    ],
)
def test_a_cell(interval: dict[str, float | None], shown: str) -> None:
    assert interval_cell(interval, 100, 1).plain == shown
