"""What a command says when it cannot go on, and what is left to a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from eg_agent.errors import BadInput
from eg_agent.reporting import reported


def test_what_a_command_returns_is_passed_on() -> None:
    assert reported(lambda: 3, "eg-agent") == 3


def test_a_users_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def wrong() -> None:
        raise BadInput("no such cell: give six numbers.")

    with pytest.raises(SystemExit) as ended:
        reported(wrong, "tests.bench.verify")
    assert ended.value.code == 2
    assert capsys.readouterr().err == "tests.bench.verify: no such cell: give six numbers.\n"


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "none" / "index.csv"
    with pytest.raises(SystemExit):
        reported(path.read_text, "tests.bench.monitor")
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{path}: No such file or directory." in line


@pytest.mark.parametrize(
    "error", [OSError("which file?"), ConnectionRefusedError(111, "refused"), KeyError("k")]
)
def test_what_a_user_did_not_do_keeps_its_traceback(error: Exception) -> None:
    def broken() -> None:
        raise error

    with pytest.raises(type(error)):
        reported(broken, "eg-agent")
