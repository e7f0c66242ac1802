"""`eg-train fit` and `export`, from a real corpus to a classifier, and their errors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from eg_agent.errors import BadInput
from eg_agent.model import Classifier
from eg_agent.patterns import Pattern, Radiation
from trainer.cli.fit import unix_time
from trainer.cli.main import app


def fit(corpus: Path, out: Path, *more: str):
    arguments = ["fit", "--corpus", str(corpus), "--out", str(out), "--config", "tiny", *more]
    return CliRunner().invoke(app, arguments, catch_exceptions=True)


def test_from_corpus_to_classifier(tmp_path, corpus):
    out = tmp_path / "run"
    result = fit(corpus, out, "--patterns", "64", "--device", "cpu", "--max-shard-mb", "0.05")
    assert result.exit_code == 0, result.output
    assert "bits over prior" in result.output
    assert "64 patterns" in result.output
    shards = list((out / "state").glob("*.safetensors"))
    assert len(shards) > 1
    assert all(s.stat().st_size <= 0.05 * 2**20 for s in shards)
    card = json.loads((out / "checkpoint.json").read_text())
    assert card["cost"]["patterns"] == 64
    assert card["curriculum"]["stage"] == "stage2"
    assert card["corpora"][0].startswith("textbook (")
    assert str(tmp_path) not in json.dumps(card)

    made = CliRunner().invoke(
        app, ["export", str(out), "--name", "mine", "--out", str(tmp_path), "--calibration-patterns", "32"]
    )
    assert made.exit_code == 0, made.output
    classifier = Classifier.load(tmp_path / "mine", prior="uniform")
    assert classifier.card.calibrated_on.startswith("32 simulated patterns")
    angle = np.arange(10, 80, 0.02)
    counts = 5 + 1000 * np.exp(-(((angle - 30) / 0.05) ** 2))
    posterior = classifier.predict(Pattern(angle, counts, Radiation.anode("Cu")))
    assert np.exp(posterior.log_probability).sum() == pytest.approx(1.0)
    assert posterior.checkpoint == classifier.checkpoint_hash


def test_the_same_command_goes_on(tmp_path, corpus):
    out = tmp_path / "run"
    assert fit(corpus, out, "--patterns", "24").exit_code == 0
    again = fit(corpus, out, "--patterns", "48")
    assert again.exit_code == 0
    assert "resumed at step 3" in again.output
    assert json.loads((out / "checkpoint.json").read_text())["cost"]["steps"] == 6
    fresh = fit(corpus, out, "--patterns", "24", "--resume", "never")
    assert "fresh start" in fresh.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config", "huge"], "unknown configuration"),
        (["--patterns", "5", "--seconds", "5"], "exactly one budget"),
        (["--seconds", "nan"], "exactly one budget"),
        (["--seconds", "inf"], "exactly one budget"),
        (["--patterns", "8", "--minutes", "nan"], "greater than 0"),
        (["--device", "cuda:7"], "CUDA"),
        (["--until", "yesterday"], "not a time"),
        (["--until", "2001-01-01T00:00"], "has passed"),
        (["--corpus", "nowhere.npz"], "no corpus"),
    ],
)
def test_wrong_use_is_one_line(tmp_path, corpus, arguments, message):
    result = fit(corpus, tmp_path / "run", *arguments)
    assert isinstance(result.exception, BadInput)
    assert message in str(result.exception)
    assert "\n" not in str(result.exception)
    assert not (tmp_path / "run" / "state").exists()


@pytest.mark.parametrize("arguments", [["--patterns", "-5"], ["--batch", "0"]])
def test_numbers_that_mean_nothing_are_wrong_usage(tmp_path, corpus, arguments):
    result = fit(corpus, tmp_path / "run", *arguments)
    assert result.exit_code == 2
    assert f"Invalid value for '{arguments[0]}'" in result.output
    assert "greater than" in result.output
    assert not (tmp_path / "run").exists()


def test_exit_status_and_standard_error(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "trainer.cli.main", "export", str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("eg-train: ")
    assert "no training state" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_file_that_is_no_corpus(tmp_path):
    path = tmp_path / "x.npz"
    path.write_bytes(b"PK hello")
    result = fit(path, tmp_path / "run")
    assert "not a corpus" in str(result.exception)


def test_time_of_day():
    assert unix_time("2999-01-01T00:00") == unix_time("2999-01-01T01:00+01:00")


def test_the_core_needs_no_ray():
    code = "import sys, trainer.fit, trainer.loop, trainer.cli.main; print('ray' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
