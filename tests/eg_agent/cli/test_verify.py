"""`eg-agent verify`: table, reasons, JSON, picture, export, and what is said of bad input."""

from __future__ import annotations

import json
from pathlib import Path

import gemmi
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from eg_agent.cli.main import app, run
from eg_agent.errors import BadInput
from eg_agent.symmetry import groups

CELL = "7.2,5.1,6.3,90,90,90"
CU = "1.540593"


@pytest.fixture(scope="module")
def checkpoint(random_checkpoint: Path) -> str:
    return str(random_checkpoint)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lines of P n m a at random heights, counted."""
    rng = np.random.default_rng(11)
    unit = gemmi.UnitCell(7.2, 5.1, 6.3, 90, 90, 90)
    d = unit.calculate_d_array(gemmi.make_miller_array(unit, gemmi.SpaceGroup("P n m a"), 1.3))
    x = np.arange(10.0, 70.0, 0.03)
    at = 2 * np.degrees(np.arcsin(0.5 * 1.540593 / d))
    y = np.exp(-4 * np.log(2) * ((x[:, None] - at) / 0.12) ** 2) @ rng.exponential(size=d.size)
    counts = rng.poisson(2e4 * (y / y.max() + 0.01))
    path = tmp_path_factory.mktemp("sample") / "powder.xy"
    np.savetxt(path, np.column_stack([x, counts]), fmt="%.5f")
    return path


def verify(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["verify", *map(str, arguments)], catch_exceptions=True)


@pytest.fixture(scope="module")
def answer(sample: Path, checkpoint: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """One full run, with picture and export."""
    folder = tmp_path_factory.mktemp("out")
    options = ["--picture", folder / "fit.png", "--export", folder / "files"]
    made = verify(sample, "--cell", CELL, "--wavelength", CU, "--checkpoint", checkpoint, *options)
    return made, folder


def test_people_see_the_symbol_and_why(answer: tuple[Result, Path]) -> None:
    result, _ = answer
    assert result.exit_code == 0, result.output
    text = result.stdout
    assert "fitted:" in text
    assert "P n m a (62)" in text
    first = next(line for line in text.splitlines() if "(62)" in line)
    assert first.startswith("P n - a")
    assert "nothing is there" in text
    assert " to 1 for P n - a" in text
    assert "goodness of fit" in text


def test_picture_and_files_are_written(answer: tuple[Result, Path]) -> None:
    from matplotlib.image import imread

    _, folder = answer
    image = imread(folder / "fit.png")
    assert image.shape[0] > 500
    assert image.std() > 0.05
    assert {p.name for p in (folder / "files").iterdir()} == {
        "powder.cif", "powder.xye", "powder.instprm", "powder_gsas2.py", "powder.inp",
    }  # fmt: skip
    block = gemmi.cif.read(str(folder / "files" / "powder.cif")).sole_block()
    structure = gemmi.make_small_structure_from_block(block)
    assert structure.spacegroup is not None
    assert structure.spacegroup.number == 62


def test_json_of_everything(sample: Path, checkpoint: str) -> None:
    made = verify(sample, "--cell", CELL, "--wavelength", "Cu", "--checkpoint", checkpoint, "--all", "--json")
    assert made.exit_code == 0, made.output
    found = json.loads(made.stdout)
    assert found["status"] == "fitted"
    candidates = found["candidates"]
    symbols = {c["symbol"] for c in candidates}
    # all settings of all orthorhombic groups
    assert {c["group"] for c in candidates} == {
        g.number for g in groups() if g.crystal_system == "orthorhombic"
    }
    assert len(symbols) == len(candidates) == 111
    assert candidates[0]["symbol"] == "P n - a"
    assert {g["number"] for g in candidates[0]["space_groups"]} == {33, 62}
    assert candidates[0]["probability"] > 0.5
    values = [c["log_evidence"] for c in candidates]
    assert values == sorted(values, reverse=True)
    assert found["parameters"]["a"]["value"] == pytest.approx(7.2, abs=0.005)
    assert found["parameters"]["a"]["error"] > 0
    assert found["contrasts"][0]["first"] == "P n - a"


def test_a_cell_that_does_not_fit_is_an_answer(sample: Path, checkpoint: str, tmp_path: Path) -> None:
    picture = tmp_path / "fit.png"
    wrong = "8.9,8.9,8.9,90,90,90"
    made = verify(
        sample, "--cell", wrong, "--wavelength", CU, "--checkpoint", checkpoint, "--picture", picture
    )
    assert made.exit_code == 0, made.output
    assert "not fitted" in made.stdout
    assert "check the cell" in " ".join(made.stdout.split())
    assert "Nothing is said of absences" in made.stdout
    assert picture.is_file()
    made = verify(
        sample, "--cell", wrong, "--wavelength", CU, "--checkpoint", checkpoint, "--export", tmp_path / "no"
    )
    assert isinstance(made.exception, BadInput)
    assert "no fit to export" in str(made.exception)
    assert not (tmp_path / "no").exists()


def test_a_pattern_without_peaks_is_refused(tmp_path: Path, checkpoint: str) -> None:
    flat = tmp_path / "flat.xy"
    x = np.arange(10.0, 70.0, 0.03)
    counts = np.random.default_rng(0).poisson(100, x.size)
    np.savetxt(flat, np.column_stack([x, counts]), fmt="%.5f")
    made = verify(flat, "--cell", CELL, "--wavelength", CU, "--checkpoint", checkpoint, "--json")
    assert made.exit_code == 3
    assert json.loads(made.stdout)["status"] == "refused"


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("7.2,5.1,6.3", "a, b, c, alpha, beta, gamma"),
        ("7.2,5.1,6.3,90,90,90,1", "got 7 numbers"),
        ("7.2,5.1,6.3,90,30,150", "span no volume"),
        ("0.72,0.51,0.63,90,90,90", "angstrom"),
        ("a,b,c,90,90,90", "not a list of numbers"),
        ("7.2,5.1,nan,90,90,90", "not finite"),
    ],
)
def test_impossible_cells(sample: Path, cell: str, said: str) -> None:
    made = verify(sample, "--cell", cell, "--wavelength", CU)
    assert isinstance(made.exception, BadInput)
    assert said in str(made.exception)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--time-limit", "0"], "seconds"),
        (["--picture", "no/such/folder/fit.png"], "make it first"),
        (["--wavelength", "1,2,3"], "one wavelength"),
    ],
)
def test_wrong_options(sample: Path, options: list[str], said: str) -> None:
    made = verify(sample, "--cell", CELL, *options)
    assert isinstance(made.exception, BadInput)
    assert said in str(made.exception)


def test_no_such_file_and_no_cell(tmp_path: Path) -> None:
    made = verify(tmp_path / "none.xy", "--cell", CELL)
    assert "check the path" in str(made.exception)
    assert verify(tmp_path / "none.xy").exit_code == 2


def test_an_unknown_symbol_lists_how_to_find_one(sample: Path, checkpoint: str, tmp_path: Path) -> None:
    made = verify(
        sample, "--cell", CELL, "--wavelength", CU, "--checkpoint", checkpoint,
        "--export", tmp_path / "out", "--symbol", "P q q q",
    )  # fmt: skip
    assert "--all" in str(made.exception)
    assert not (tmp_path / "out").exists()


def test_errors_are_one_line(
    monkeypatch: pytest.MonkeyPatch, sample: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["eg-agent", "verify", str(sample), "--cell", "1,2"])
    with pytest.raises(SystemExit) as stopped:
        run()
    assert stopped.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
