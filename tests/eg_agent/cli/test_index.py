"""`eg-agent index` on a file with a simulated pattern of a known cell."""

from __future__ import annotations

import json
from pathlib import Path

import gemmi
import numpy as np
import pytest
from typer.testing import CliRunner

from eg_agent.cli.main import app
from eg_agent.errors import BadInput

CELL = (4.5937, 4.5937, 2.9587, 90.0, 90.0, 90.0)  # rutile


@pytest.fixture(scope="module")
def rutile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    two_theta = np.arange(15.0, 100.0, 0.02)
    unit = gemmi.UnitCell(*CELL)
    hkl = gemmi.make_miller_array(unit, gemmi.find_spacegroup_by_number(136), 1.0)
    d = unit.calculate_d_array(hkl)
    u = (two_theta[:, None] - 2 * np.degrees(np.arcsin(1.540593 / (2 * d)))) / 0.1
    rate = 5000 * (1 / (1 + 4 * u * u)) @ (0.2 + np.random.default_rng(1).random(len(d))) + 50
    counts = np.random.default_rng(2).poisson(rate)
    path = tmp_path_factory.mktemp("index") / "rutile.xy"
    np.savetxt(path, np.column_stack([two_theta, counts]), fmt="%.4f")
    return path


def test_a_cell_is_printed_with_its_figures_of_merit(rutile: Path) -> None:
    result = CliRunner().invoke(app, ["index", str(rutile), "--wavelength", "1.540593"])
    assert result.exit_code == 0, result.output
    assert "tP" in result.output
    assert "4.59" in result.output
    assert "M20" in result.output


def test_json_is_one_object(rutile: Path) -> None:
    arguments = ["index", str(rutile), "--wavelength", "1.540593", "--json", "--lattices", "tI,tP"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    answer = json.loads(result.stdout)
    assert answer["status"] == "indexed"
    best = answer["cells"][0]
    assert best["lattice"] == "tP"
    np.testing.assert_allclose(best["cell"], CELL, rtol=1e-3)
    total = sum(cell["probability"] for cell in answer["cells"]) + answer["none_probability"]
    assert total == pytest.approx(1.0, abs=1e-6)


def test_background_alone_is_refused(tmp_path: Path) -> None:
    two_theta = np.arange(10.0, 60.0, 0.02)
    rate = 100 * np.ones_like(two_theta)
    rate += 4000 / (1 + ((two_theta - 30) / 0.05) ** 2)
    path = tmp_path / "one-line.xy"
    np.savetxt(path, np.column_stack([two_theta, np.random.default_rng(0).poisson(rate)]), fmt="%.4f")
    result = CliRunner().invoke(app, ["index", str(path), "--wavelength", "Cu"])
    assert result.exit_code == 3
    assert "lines" in result.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--wavelength", "Cu", "--time-limit", "0"], "time-limit"),
        (["--wavelength", "Cu", "--lattices", "xP"], "no Bravais lattice"),
        (["--wavelength", "red"], "wavelength"),
    ],
)
def test_wrong_usage_is_one_sentence(rutile: Path, arguments: list[str], says: str) -> None:
    result = CliRunner().invoke(app, ["index", str(rutile), *arguments])
    assert isinstance(result.exception, BadInput)
    assert says in str(result.exception)


def test_a_missing_file_is_said() -> None:
    result = CliRunner().invoke(app, ["index", "nowhere.xy"])
    assert isinstance(result.exception, BadInput)
    assert "no file" in str(result.exception)
