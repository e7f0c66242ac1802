"""`eg-agent groups`: the list, one group, JSON, and a number that does not exist."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from eg_agent import symmetry
from eg_agent.cli.groups import groups

app = typer.Typer()
app.command()(groups)


@app.command()
def other() -> None:
    """A second verb, without which Typer takes the first for the whole program."""


def _run(*arguments: str, columns: int = 80) -> str:
    result = CliRunner().invoke(app, ["groups", *arguments], env={"COLUMNS": str(columns)})
    assert result.exit_code == 0, result.output
    return result.output


def test_list_names_every_group_within_80_columns() -> None:
    lines = _run().splitlines()
    assert max(map(len, lines)) <= 80
    rows = {}
    for line in lines:
        if line[:8].strip().isdigit():
            rows[int(line[:8])] = line
    assert sorted(rows) == list(range(1, 100))
    for group in symmetry.groups():
        assert f" {group.symbol} " in rows[group.number]
    for system in ("triclinic", "monoclinic", "trigonal/hexagonal", "cubic"):
        assert any(line.strip() == system for line in lines)


def test_one_group_in_full() -> None:
    text = _run("17")
    for fact in ("P n a -", "Pna21 (33), Pnma (62)", "P - c n", "h0l: l=2n   hk0: h+k=2n", "22: P b c n"):
        assert fact in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("number", range(1, 100))
def test_every_group_prints_within_80_columns(number: int) -> None:
    lines = _run(str(number)).splitlines()
    assert max(map(len, lines)) <= 80
    assert symmetry.group(number).symbol in lines[0]


def test_json_is_a_list_of_objects() -> None:
    objects = json.loads(_run("--json"))
    assert [entry["number"] for entry in objects] == list(range(1, 100))
    for entry in objects:
        group = symmetry.group(entry["number"])
        assert entry["crystal_system"] == group.crystal_system
        assert entry["symbol"] == group.symbol
        assert entry["space_groups"] == list(group.space_groups)
        assert len(entry["space_group_symbols"]) == len(entry["space_groups"])
        assert entry["codes"]["published"] == "".join(map(str, symmetry.published_codes()[group.number - 1]))
        assert entry["codes"]["condition"] == "".join(map(str, symmetry.condition_codes()[group.number - 1]))
        assert set(entry["neighbours"]["children"]) == symmetry.children(group.number)
        assert set(entry["neighbours"]["parents"]) == symmetry.parents(group.number)
    assert json.loads(_run("62", "--json")) == [objects[61]]


def test_no_such_group_is_one_line_and_status_2() -> None:
    command = [sys.executable, "-m", "eg_agent.cli.main", "groups", "100"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.strip() == ("eg-agent: there is no extinction group 100: they are numbered 1 to 99.")
