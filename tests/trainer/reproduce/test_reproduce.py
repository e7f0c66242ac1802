"""`eg-train reproduce`: a table end to end at a tiny budget, going on where it stopped, and its errors."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from eg_agent.errors import BadInput
from trainer.cli.main import app
from trainer.data import CURRICULA
from trainer.reproduce.plan import (
    TABLES,
    VARIANTS,
    Spec,
    config_of_spec,
    core_hours,
    reference,
    specs_of,
    tables_named,
)
from trainer.reproduce.running import signal_to_noise


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Twelve labelled patterns of six compounds, as a user may give them."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(1)
    angle = np.arange(10, 80, 0.05)
    rows, patterns = [], {}
    for i in range(12):
        peak = np.exp(-(((angle - 20 - 4 * (i % 6)) / 0.1) ** 2))
        patterns[f"p{i}"] = np.stack([angle, rng.poisson(20 + 1000 * peak)])
        rows.append(
            {"id": f"p{i}", "sg_number": 225, "eg_number": 97, "wavelength": 1.5406, "compound": f"c{i % 6}",
             "source": "made", "benchmark": "True", "known_cell": "False"}
        )  # fmt: skip
    np.savez(folder / "patterns.npz", **patterns)
    with (folder / "index.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


def call(*arguments: object):
    return CliRunner().invoke(app, ["reproduce", *map(str, arguments)])


TINY = ("--reference", "tiny", "--patterns", 32, "--seeds", 2, "--simulated", 64, "--device", "cpu")


@pytest.mark.timeout(900)  # fifteen seconds of a core, which a busy machine may not have to spare
def test_a_table_end_to_end_and_again(tmp_path, corpus, data):
    out = tmp_path / "out"
    given = ("space-groups", "--out", out, "--corpus", corpus, "--data", data, *TINY)
    stopped = call(*given, "--minutes", 1e-6)
    assert stopped.exit_code == 0, stopped.output
    assert "goes on from here" in stopped.output
    result = call(*given)
    assert result.exit_code == 0, (result.output, result.exception)
    made = json.loads((out / "space-groups.json").read_text())
    assert made["missing"] == []
    assert set(made["parts"]) == {"simulated, held out", "measured"}
    for rows in made["parts"].values():
        assert {"direct", "collapsed", "prior only", "constant", "permuted"} <= set(rows)
        assert len(rows["direct"]["seeds"]) == 2
        bits = rows["direct"]["bits_over_prior"]
        assert bits["low"] <= bits["value"] <= bits["high"]
        assert rows["prior only"]["bits_over_prior"]["value"] == pytest.approx(0.0, abs=1e-9)
    runs = sorted(p.name for p in (out / "runs").iterdir())
    assert runs == [f"{v}-x1-s{s}" for v in ("reference", "space-groups") for s in (0, 1)]
    assert not list(out.glob("runs/*/state"))
    before = {p: p.stat().st_mtime_ns for p in out.glob("runs/*/result.json")}
    assert call(*given).exit_code == 0
    assert before == {p: p.stat().st_mtime_ns for p in out.glob("runs/*/result.json")}
    other = call(*given[:-10], *("--reference", "tiny", "--patterns", 40, "--seeds", 2))
    assert isinstance(other.exception, BadInput)
    assert "other settings" in str(other.exception)

    # a run of before a setting existed had its default
    path = out / "runs" / runs[0] / "result.json"
    older = json.loads(path.read_text())
    del older["config"]["begin_from"]
    path.write_text(json.dumps(older))
    assert call(*given).exit_code == 0

    # the other kinds of table, of the same runs
    for name in ("calibration", "topology", "quality"):
        from trainer.reproduce.markdown import as_markdown
        from trainer.reproduce.tables import make_table

        table = make_table(name, out, 2)
        assert table["parts"]
        page = as_markdown(table)
        assert TABLES[name].paper in page
        assert "prior only" in page


def test_every_variant_is_a_configuration_that_differs_from_the_reference():
    base = reference("cpu-hybrid")
    made = {name: config_of_spec(Spec(name, 1.0, 0), base) for name in VARIANTS}
    for name, config in made.items():
        assert all(stage in CURRICULA for _, stage in config.stages)
        same = replace(config, name="", held_out_seconds=0) == replace(
            made["reference"], name="", held_out_seconds=0
        )
        assert same == (name == "reference")


def test_runs_are_listed_once_and_estimated():
    specs = specs_of(tables_named("all"), 3)
    assert len(specs) == len(set(specs)) == len({spec.name for spec in specs})
    assert [spec.seed for spec in specs] == sorted(spec.seed for spec in specs)
    base = reference("cpu-hybrid")
    whole = core_hours(Spec("reference", 1.0, 0), base, 64_000)
    assert core_hours(Spec("reference", 0.25, 0), base, 64_000) == pytest.approx(whole / 4)
    listed = call("all", "--out", "nowhere", "--plan")
    assert f"{len(specs)} runs" in listed.output
    assert not Path("nowhere").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tabel",), "no table"),
        (("split",), "give --corpus"),
        (("split", "--seeds", 0), "greater than 0"),
        (("split", "--minutes", "nan"), "greater than 0"),
        (("split", "--minutes", 0), "greater than 0"),
        (("split", "--reference", "huge"), "no reference"),
    ],
)
def test_wrong_use(tmp_path, arguments, message):
    result = call(*arguments, "--out", tmp_path / "out")
    assert isinstance(result.exception, BadInput)
    assert message in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_results_are_not_put_into_a_file(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    result = call("split", "--out", path, "--only-tables")
    assert isinstance(result.exception, BadInput)
    assert "is a file" in str(result.exception)
    assert path.read_text() == "mine"


def test_signal_to_noise_is_that_of_a_made_pattern():
    rng = np.random.default_rng(0)
    angle = np.arange(5, 90, 0.02)
    for noise in (0.002, 0.05):
        made = np.exp(-(((angle - 40) / 0.2) ** 2)) + rng.normal(0, noise, len(angle))
        assert signal_to_noise(made) == pytest.approx(1 / noise, rel=0.25)
