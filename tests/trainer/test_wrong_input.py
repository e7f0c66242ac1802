"""What a user of eg-train gets wrong: a sentence with the remedy, exit status 2, no work, no traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from trainer.cli import main

Train = Callable[..., str]


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Train:
    """Run a command as the shell does; what it says on standard error."""

    def call(*words: object) -> str:
        monkeypatch.setattr(sys, "argv", ["eg-train", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main.run()
        assert ended.value.code == 2
        told = capsys.readouterr()
        assert "Traceback" not in told.err
        return " ".join(told.err.replace("│", " ").split())

    return call


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("benchmark --data none --calibrate-folds 1", "--calibrate-folds"),
        ("benchmark --data none --limit 0", "--limit"),
        ("benchmark --data none --workers 0", "--workers"),
        ("benchmark --data none", "none is not a folder"),
        ("composition --checkpoint c.json --corpus c.npz --work w --steps 0", "--steps"),
        ("composition --checkpoint c.json --corpus c.npz --work w --patterns 0", "--patterns"),
        ("composition --checkpoint c.json --corpus c.npz --work w", "no card of a checkpoint"),
        ("study pooling --out o", "give --structures"),
        ("study regimes --out o", "give --data"),
        ("study simulated --out o --structures none", "none is not a folder"),
        ("simulate --out o --count 0", "--count"),
        ("export none --out o", "no training state"),
        ("card default --page none/card.md", "is not a folder"),
        ("card none --page card.md", "no checkpoint 'none'"),
        ("calibrate --data none --out o.json --folds 1", "--folds"),
    ],
)
def test_is_said_before_any_work_and_nothing_is_written(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in train(*words.split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["composition", "verify", "pipeline", "network"])
def test_more_folds_than_compounds_are_said_before_the_patterns_are_worked_on(
    train: Train, realdata: Path, what: str
) -> None:
    said = train("benchmark", "--data", realdata, "--what", what, "--limit", 2, "--calibrate-folds", 5)
    assert "5 folds of 2 compounds" in said


def test_a_crystal_system_that_there_is_none_of(train: Train, realdata: Path) -> None:
    said = train("benchmark", "--data", realdata, "--limit", 2, "--without", "nonsense")
    assert "no row is 'nonsense'" in said


def test_a_report_goes_into_a_folder(train: Train, tmp_path: Path) -> None:
    (tmp_path / "report").write_text("mine")
    assert "is a file" in train("benchmark", "--data", tmp_path, "--report", tmp_path / "report")
    assert (tmp_path / "report").read_text() == "mine"
