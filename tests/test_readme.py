"""What the README tells people to type works as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[1] / "README.md"


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)


#: A session as a beamline has one: a RunEngine and a diffractometer, before the README's lines.
SESSION = """
from bluesky import RunEngine
from simulators import SimDiffractometer, draw
RE = RunEngine({})
samples = draw(3, 2)
diffractometer = SimDiffractometer(
    name="diffractometer",
    samples={f"sample-{i}": s.rate for i, s in enumerate(samples, 1)},
    radiation=samples[0].radiation,
)
"""


def _run(script: str, records: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env={**os.environ, "EG_AGENT_RECORDS": str(records)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_three_lines_into_a_session_identify_an_ordinary_scan(tmp_path: Path) -> None:
    three_lines = _blocks("python")[0]
    assert len([line for line in three_lines.splitlines() if line.strip()]) == 3
    scan = "from bluesky.plans import count\nRE(count([diffractometer]), sample='sample-1')\nagent.close()\n"
    said = _run(SESSION + three_lines + scan, tmp_path)
    (line,) = [text for text in said.splitlines() if text.startswith("[eg-agent] sample-1")]
    assert re.search(r"\d+%", line)
    assert "would:" in line
    assert (tmp_path / "ledger.jsonl").read_text(encoding="utf-8").count('"kind":"decision"') == 1


@pytest.mark.slow
def test_the_identify_plan_of_the_readme_runs(tmp_path: Path) -> None:
    three_lines, plan = _blocks("python")[:2]
    acting = three_lines.replace("Agent()", "Agent(mode='act')")
    assert acting != three_lines
    said = _run(SESSION + acting + plan + "agent.close()\n", tmp_path)
    for sample in ("sample-1", "sample-2"):
        assert any(text.startswith(f"[eg-agent] {sample}") for text in said.splitlines())


def test_every_command_of_the_readme_exists() -> None:
    from typer.testing import CliRunner

    from eg_agent.cli.main import app
    from trainer.cli.main import app as train_app

    commands = {line for block in _blocks("console") for line in block.splitlines() if "eg-" in line}
    known = {"eg-agent": app, "eg-train": train_app}
    assert commands
    for command in commands:
        program, verb, *rest = command.removeprefix("$ ").split()
        if program not in known:
            continue
        shown = CliRunner().invoke(known[program], [verb, "--help"], env={"COLUMNS": "200"})
        assert shown.exit_code == 0, command
        for option in (word for word in rest if word.startswith("--")):
            assert option in shown.output, f"{option} of {command}"
