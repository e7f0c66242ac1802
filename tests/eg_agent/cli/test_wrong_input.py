"""What a user gets wrong: one sentence with the remedy, exit status 2, no traceback, nothing half-written."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from eg_agent.cli import main

Eg = Callable[..., str]

DOWN = "http://127.0.0.1:9"
SHIFT = '[shift]\nname = "s"\nsamples = ["a"]\n'


@pytest.fixture
def eg(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Eg:
    """Run a command as the shell does; the sentence that it ends with."""

    def call(*words: object) -> str:
        monkeypatch.setattr(sys, "argv", ["eg-agent", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main.run()
        assert ended.value.code == 2
        told = capsys.readouterr()
        assert "Traceback" not in told.err
        assert told.out == ""
        (line,) = told.err.splitlines()
        return line

    return call


@pytest.fixture
def pattern(tmp_path: Path) -> Path:
    path = tmp_path / "some.xy"
    path.write_text("10 1\n11 2\n")
    return path


@pytest.fixture
def shift(tmp_path: Path) -> Path:
    path = tmp_path / "shift.toml"
    path.write_text(SHIFT)
    return path


def test_a_picture_or_table_that_cannot_be_written_is_said_before_the_work(
    eg: Eg, pattern: Path, tmp_path: Path
) -> None:
    assert "end the name in" in eg("identify", pattern, "--wavelength", "Cu", "--plot", tmp_path / "x.foo")
    assert "is a folder: name a file" in eg("identify", pattern, "--wavelength", "Cu", "--csv", tmp_path)
    cell = ("--cell", "4,4,4,90,90,90", "--wavelength", "Cu")
    assert "end the name in" in eg("verify", pattern, *cell, "--picture", tmp_path / "x.foo")
    assert "give a folder" in eg("verify", pattern, *cell, "--export", pattern)
    assert [path.name for path in tmp_path.iterdir()] == ["some.xy"]


def test_a_folder_is_not_called_missing(eg: Eg, tmp_path: Path) -> None:
    assert "is a folder" in eg("index", tmp_path, "--wavelength", "Cu")
    assert "is a folder" in eg("verify", tmp_path, "--cell", "4,4,4,90,90,90")


@pytest.mark.parametrize("uri", ["nonsense", "ftp://host", "http://", "localhost:8000"])
def test_what_is_no_uri_of_a_tiled(eg: Eg, shift: Path, tmp_path: Path, uri: str) -> None:
    assert "no URI of a Tiled" in eg("watch", "--tiled", uri, "--records", tmp_path / "records")
    assert "no URI of a Tiled" in eg("run", shift, "--tiled", uri, "--mode", "observe")
    assert not (tmp_path / "records").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--checkpoint", "nonsense"), "no checkpoint 'nonsense'"),
        (("--prior", "nonsense"), "unknown prior 'nonsense'"),
        (("--cell", "a=1,2,3,4,5,6"), "cell"),
        (("--hours", "-1"), "--hours -1"),
        (("--mode", "act"), "eg-agent run"),
    ],
)
def test_watch_says_at_once_what_its_worker_would_fail_over(
    eg: Eg, tmp_path: Path, more: tuple[str, ...], said: str
) -> None:
    assert said in eg("watch", "--tiled", DOWN, "--records", tmp_path / "records", *more)
    assert not (tmp_path / "records").exists()


def test_run_wants_a_folder_for_its_records(eg: Eg, shift: Path, pattern: Path) -> None:
    said = eg("run", shift, "--tiled", DOWN, "--mode", "observe", "--records", pattern)
    assert "cannot write records" in said


def test_decisions_of_no_agent(eg: Eg, tmp_path: Path) -> None:
    for words in (("list",), ("approve", "x"), ("reject", "x")):
        assert "no folder of an agent's records" in eg("decisions", *words, "--records", tmp_path / "none")


def test_schemas_are_written_all_or_not_at_all(eg: Eg, tmp_path: Path, files_of_at_most) -> None:
    (tmp_path / "pattern.json").write_text("old")
    with files_of_at_most(4096):  # the first fit into it, the others do not
        assert "could not be written" in eg("schema", "--write", tmp_path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("pattern.json", "old")]


def test_a_file_that_the_system_refuses_is_named(
    eg: Eg, monkeypatch: pytest.MonkeyPatch, pattern: Path
) -> None:
    def refused(self: Path, *args: object, **kwargs: object) -> str:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "is_dir", refused)
    assert f"{pattern}: Permission denied" in eg("index", pattern, "--wavelength", "Cu")
