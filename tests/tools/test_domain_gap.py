"""tools/domain_gap.py on a small folder of patterns simulated one at a time: tables, pictures, page."""

from __future__ import annotations

import csv
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from eg_agent.patterns import Radiation
from simulators.corpus import COMPUTED, pack
from simulators.measurement import simulate
from simulators.textbook import textbook
from trainer.benchmark.data import COLUMNS
from trainer.gap.statistics import NAMES

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("domain_gap", ROOT / "tools" / "domain_gap.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["domain_gap"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    crystals, axis, rng = textbook()[:8], np.arange(8.0, 88.0, 0.02), np.random.default_rng(0)
    patterns, rows = {}, []
    for i in range(32):
        crystal = crystals[i % 8]
        pattern = simulate(crystal, Radiation.anode("Cu"), axis, rng, peak_rate=10.0 ** (2 + i % 3))
        patterns[f"p{i}"] = np.stack([axis, pattern.intensity]).astype(np.float32)
        rows.append((f"p{i}", crystal.space_group, crystal.group, 1.5406, f"c{i % 8}", "made", True, False))
    np.savez(folder / "patterns.npz", **patterns)
    with (folder / "index.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(COLUMNS)
        out.writerows(rows)
    pack((crystal, COMPUTED) for crystal in textbook()).save(folder / "corpus.npz")
    return folder


def run(tool, monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["domain_gap.py", *arguments])
    tool.main()


def test_tables_pictures_and_page(tool, data, tmp_path, monkeypatch, capsys):
    page = tmp_path / "page.md"
    page.write_text(f"# Title\n\n{tool.BEGIN}\nof last time\n{tool.END}\n\nProse by hand.\n")
    monkeypatch.setattr(tool, "PAGE", page)
    monkeypatch.setattr(tool, "IMAGES", tmp_path / "images")
    figures = tmp_path / "figures.json"
    paths = [str(data), str(data / "corpus.npz")]
    run(tool, monkeypatch, *paths, "--count", "96", "--no-network", "--json", str(figures))
    table = capsys.readouterr().out
    written = page.read_text()
    assert table.strip() in written
    assert "of last time" not in written
    assert written.startswith("# Title")
    assert written.endswith("Prose by hand.\n")
    found = json.loads(figures.read_text())
    assert [row["name"] for row in found["statistics"]] == list(NAMES)
    assert found["patterns"]["half A"] + found["patterns"]["half B"] == 32
    # all of these have the same range, which the simulated ones have not
    assert "covered" in found["beyond_aim"]
    assert set(found["two_sample_tests"]) == {
        "logistic regression on all statistics",
        "perceptron on all statistics",
    }
    pictures = {path.name: path.read_bytes() for path in (tmp_path / "images").iterdir()}
    assert set(pictures) == {"widths.png", "background.png", "noise.png", "lines.png"}
    assert all(body.startswith(b"\x89PNG") and len(body) < 200_000 for body in pictures.values())


def test_dry_writes_nothing(tool, data, tmp_path, monkeypatch, capsys):
    page = tmp_path / "page.md"
    page.write_text("mine")
    monkeypatch.setattr(tool, "PAGE", page)
    monkeypatch.setattr(tool, "IMAGES", tmp_path / "images")
    run(tool, monkeypatch, str(data), str(data / "corpus.npz"), "--count", "64", "--no-network", "--dry")
    assert "| statistic | AUC" in capsys.readouterr().out
    assert page.read_text() == "mine"
    assert not (tmp_path / "images").exists()
