"""`eg-agent demo`: real RunEngine, real Tiled, real agent; and what it says to wrong use."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from eg_agent.patterns import Radiation, write_xye
from eg_agent.records import DecisionRow, read_ledger
from simulators import draw, simulate


def _demo(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "eg_agent.cli.main", "demo", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)


@pytest.mark.slow
def test_samples_go_from_scan_to_decision(tmp_path: Path) -> None:
    output = tmp_path / "out"
    done = _demo("--samples", "2", "--seed", "5", "--output", output)
    assert done.returncode == 0, done.stderr
    names = [sample.crystal.name for sample in draw(5, 2)]
    for name in names:
        assert f"{name}, measurement 1" in done.stdout
    assert "prior alone" in done.stdout
    rows = [row for row in read_ledger(output / "ledger.jsonl") if isinstance(row, DecisionRow)]
    assert {row.sample for row in rows} == set(names)
    assert f"replayed from the ledger: {len(rows)} of {len(rows)} decisions the same" in done.stdout
    pictures = sorted(output.glob("*.png"))
    assert len(pictures) == 2
    assert all(p.read_bytes().startswith(b"\x89PNG") and p.stat().st_size > 30_000 for p in pictures)


@pytest.mark.slow
def test_a_measured_file_is_measured_again(tmp_path: Path) -> None:
    (sample,) = draw(1, 1)
    pattern = simulate(
        sample.crystal, Radiation(1.540593), np.arange(10.0, 80.0, 0.02), np.random.default_rng(2)
    )
    path = tmp_path / "measured.xye"
    write_xye(pattern, path)
    done = _demo("--replay", path, "--wavelength", "1.540593", "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^\w+, measurement 1, ", done.stdout, flags=re.MULTILINE)
    assert "decisions the same" in done.stdout
    assert len(list((tmp_path / "out").glob("*.png"))) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--samples", "9"], "give 1 to 7"),
        (["--wavelength", "1.54"], "go with --replay"),
        (["--draws", "0"], "--draws"),
        (["--replay", "nowhere.xy", "--wavelength", "1.54"], "nowhere.xy"),
        (["--checkpoint", "no-such"], "no-such"),
        (["--prior", "no-such"], "no-such"),
    ],
)
def test_wrong_use_is_one_line(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = _demo(*arguments, "--output", tmp_path / "out")
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("eg-agent: ")
    assert said in line
    assert not (tmp_path / "out").exists()
