"""`eg-agent identify`: what a person or a script gets, to the exit status."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from eg_agent.cli.main import app
from eg_agent.errors import BadInput
from eg_agent.identify import Identification
from eg_agent.values import schema

CU = "1.540593"


@pytest.fixture(scope="module")
def checkpoint(random_checkpoint: Path) -> str:
    return str(random_checkpoint)


def powder(seed: int = 0) -> np.ndarray:
    """[n, 2] two-theta and counts: rock salt's first lines (a = 5.64 angstrom) with noise."""
    x = np.arange(10.0, 80.0, 0.02)
    y = np.full(x.size, 30.0)
    for hkl, height in (
        ((1, 1, 1), 400),
        ((2, 0, 0), 5000),
        ((2, 2, 0), 2800),
        ((2, 2, 2), 900),
        ((4, 0, 0), 350),
    ):
        d = 5.64 / np.sqrt(np.sum(np.square(hkl)))
        centre = 2 * np.degrees(np.arcsin(1.540593 / (2 * d)))
        y += height * np.exp(-0.5 * ((x - centre) / 0.05) ** 2)
    return np.column_stack([x, np.random.default_rng(seed).poisson(y)])


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    path = tmp_path / "salt.xy"
    np.savetxt(path, powder(), fmt="%.5f")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two patterns, one that is refused, a structure, a table of names and a picture."""
    path = tmp_path / "shift"
    path.mkdir()
    for seed in (1, 2):
        np.savetxt(path / f"good{seed}.xy", powder(seed), fmt="%.5f")
    np.savetxt(path / "zero.xy", powder() * [1.0, 0.0], fmt="%.5f")
    (path / "samples.csv").write_text("name,who\nA,me\nB,you\n")
    (path / "structure.cif").write_text("data_x\n_cell_length_a 5.64\n_cell_length_b 5.64\n")
    (path / "photo.png").write_bytes(b"\x89PNG")
    return path


@pytest.fixture
def eg(checkpoint: str):
    def call(*words: object, ok: bool = True, index: bool = False) -> Result:
        looking = ["--index", "--index-seconds", "60"] if index else ["--no-index"]
        result = CliRunner().invoke(app, ["identify", "--checkpoint", checkpoint, *looking, *map(str, words)])
        if ok and result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


def test_one_file_is_a_table_with_reason_and_space_groups(eg, sample: Path) -> None:
    result = eg(sample, "--wavelength", CU, "--prior", "uniform")
    assert result.exit_code == 0
    for said in (
        "salt.xy",
        "no confident match",
        "network speaks alone",
        "probability",
        "space groups",
        "Would settle",
    ):
        assert said in " ".join(result.stdout.split())
    assert "checkpoint" in result.stdout


def test_without_a_cell_one_is_looked_for(eg, sample: Path) -> None:
    result = eg(sample, "--wavelength", CU, "--prior", "uniform", "--json", index=True)
    assert result.exit_code == 0
    answer = json.loads(result.stdout)
    assert answer["provenance"]["cell"] is None
    assert any(cell["cell"][0] == pytest.approx(5.64, rel=2e-3) for cell in answer["cells"])
    assert answer["no_cell"] + sum(cell["probability"] for cell in answer["cells"]) == pytest.approx(1.0)
    assert answer["evidence"]["status"] == "fitted"
    table = " ".join(eg(sample, "--wavelength", CU, index=True).stdout.split())
    assert "proposed cell" in table
    assert "none of these" in table


def test_a_cell_brings_the_fit(eg, sample: Path) -> None:
    result = eg(
        sample, "--wavelength", CU, "--prior", "uniform", "--cell", "5.64,5.64,5.64,90,90,90", "--json"
    )
    assert result.exit_code == 0
    answer = json.loads(result.stdout)
    assert answer["evidence"]["status"] == "fitted"
    assert answer["provenance"]["cell"] == [5.64, 5.64, 5.64, 90.0, 90.0, 90.0]
    table = eg(sample, "--wavelength", CU, "--cell", "5.64,5.64,5.64,90,90,90").stdout
    assert "Fitted cell" in table
    assert "in these axes" in " ".join(table.split())


def test_json_is_one_object_a_file_and_validates(eg, sample: Path, folder: Path) -> None:
    published = schema(Identification)
    one = eg(sample, "--wavelength", CU, "--json")
    jsonschema.validate(json.loads(one.stdout), published)
    several = eg(folder, sample, "--wavelength", CU, "--json")
    assert several.exit_code == 3
    answers = [json.loads(line) for line in several.stdout.splitlines()]
    for answer in answers:
        jsonschema.validate(answer, published)
    assert [Path(a["provenance"]["source"]["name"]).name for a in answers] == [
        "good1.xy", "good2.xy", "zero.xy", "salt.xy",
    ]  # fmt: skip
    assert [a["verdict"] for a in answers].count("refused") == 1


def test_a_folder_is_a_row_each_and_skips_what_is_no_pattern(eg, folder: Path) -> None:
    result = eg(folder, "--wavelength", CU)
    assert result.exit_code == 3
    for name in ("good1.xy", "good2.xy", "zero.xy"):
        assert name in result.stdout
    assert "refused" in result.stdout
    for name in ("samples.csv", "structure.cif", "photo.png"):
        assert name not in result.stdout
        assert f"{name} is not a pattern: skipped" in result.stderr


def test_the_table_is_written_whole_or_not_at_all(eg, folder: Path, tmp_path: Path, monkeypatch) -> None:
    out = tmp_path / "out.csv"
    eg(folder, "--wavelength", CU, "--csv", out)
    with out.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [Path(row["file"]).name for row in rows] == ["good1.xy", "good2.xy", "zero.xy"]
    assert [row["verdict"] for row in rows][2] == "refused"
    assert "zero" in rows[2]["reason"]
    assert float(rows[0]["probability"]) > 0.0
    assert rows[0]["prediction_set"].split()[0] == rows[0]["group"]

    from eg_agent.cli import tables

    before = out.read_bytes()

    def full_disk(*_: object) -> list:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tables, "_csv_row", full_disk)
    assert isinstance(eg(folder, "--wavelength", CU, "--csv", out, ok=False).exception, BadInput)
    assert out.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == ["out.csv"]


REFUSALS = {
    "no wavelength": (powder(), None, "wavelength"),
    "NaN": (np.where(np.arange(powder().size).reshape(-1, 2) == 21, np.nan, powder()), CU, "NaN"),
    "few points": (powder()[::30], CU, "points"),
    "short": (powder()[:400], CU, "range"),
    "unsorted": (powder()[np.r_[0:100, 50:3000]], CU, "increase"),
    "negative": (powder() - [0.0, 2000.0], CU, "negative"),
    "zero": (powder() * [1.0, 0.0], CU, "zero"),
    "saturated": (np.minimum(powder(), [180.0, 600.0]), CU, "saturated"),
    "no peak": (
        np.column_stack([powder()[:, 0], np.random.default_rng(0).poisson(100.0, len(powder()))]),
        CU,
        "peak",
    ),
}


@pytest.mark.parametrize("case", sorted(REFUSALS))
def test_every_refusal_says_why_and_ends_with_3(eg, tmp_path: Path, case: str) -> None:
    data, wavelength, said = REFUSALS[case]
    path = tmp_path / "bad.xy"
    np.savetxt(path, data, fmt="%.5f")
    words = [] if wavelength is None else ["--wavelength", wavelength]
    result = eg(path, *words, "--json")
    assert result.exit_code == 3
    answer = json.loads(result.stdout)
    assert answer["verdict"] == "refused"
    assert said in answer["reason"]
    jsonschema.validate(answer, schema(Identification))
    shown = eg(path, *words)
    assert shown.exit_code == 3
    assert "refused" in shown.stdout


@pytest.mark.parametrize(
    ("content", "said"), [(b"", "no"), (b"\x00\x01\x02" * 500, "binary"), (b"hello\nworld\n", "number")]
)
def test_a_file_that_is_no_pattern_is_refused_when_named(
    eg, tmp_path: Path, content: bytes, said: str
) -> None:
    path = tmp_path / "bad.xy"
    path.write_bytes(content)
    result = eg(path, "--wavelength", CU, "--json")
    assert result.exit_code == 3
    assert said in json.loads(result.stdout)["reason"]


def test_an_axis_in_q_is_converted(eg, tmp_path: Path) -> None:
    data = powder()
    q = 4 * np.pi * np.sin(np.radians(data[:, 0] / 2)) / 1.540593
    path = tmp_path / "q.csv"
    np.savetxt(
        path,
        np.column_stack([q, data[:, 1]]),
        fmt="%.7f",
        delimiter=",",
        header="Q (1/A),counts",
        comments="",
    )
    result = eg(path, "--wavelength", CU, "--json")
    assert result.exit_code == 0
    answer = json.loads(result.stdout)
    assert any("2-theta" in note for note in answer["provenance"]["source"]["notes"])
    low, high = answer["measured"]["windows"][0]
    assert (low, high) == (pytest.approx(10.0, abs=0.01), pytest.approx(80.0, abs=0.03))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["absent.xy"], "absent.xy"),
        (["{sample}", "--wavelength", "copper"], "--wavelength"),
        (["{sample}", "--wavelength", "154.06"], "angstrom"),
        (["{sample}", "--wavelength", "1.5,1.6,1.7"], "K-alpha1,K-alpha2"),
        (["{sample}", "--wavelength", "1.544,1.540"], "K-alpha1 first"),
        (["{sample}", "--cell", "5.64,5.64"], "six|a, b, c"),
        (["{sample}", "--cell", "5,5,5,90,90,x"], "--cell"),
        (["{sample}", "--cell", "5,5,5,90,90,200"], "angles"),
        (["{sample}", "--cell", "0,5,5,90,90,90"], "lengths"),
        (["{sample}", "--prior", "nonsense"], "nonsense"),
        (["{sample}", "--csv", "/no/such/folder/out.csv"], "folder"),
        (["{empty}"], "holds no pattern"),
    ],
)
def test_wrong_usage_is_one_clear_line(eg, sample: Path, tmp_path: Path, words: list[str], said: str) -> None:
    (tmp_path / "empty").mkdir()
    filled = [w.format(sample=sample, empty=tmp_path / "empty") for w in words]
    result = eg(*filled, ok=False)
    assert isinstance(result.exception, BadInput)  # `run` prints it as one line and exits with 2
    assert result.stdout == ""
    assert "\n" not in str(result.exception)
    with pytest.raises(BadInput, match=said):
        raise result.exception


def test_an_unknown_checkpoint_is_named(sample: Path) -> None:
    result = CliRunner().invoke(
        app, ["identify", str(sample), "--wavelength", CU, "--checkpoint", "nonsense"]
    )
    assert isinstance(result.exception, BadInput)
    assert "nonsense" in str(result.exception)


def test_one_unreadable_file_does_not_cost_the_others(eg, folder: Path, monkeypatch) -> None:
    from eg_agent.identify import identifier as module

    real = module.read

    def read(path: Path, **how: float | None):
        if Path(path).name == "good1.xy":
            raise BadInput(f"{path} cannot be read (Input/output error): check the file.")
        return real(path, **how)

    monkeypatch.setattr(module, "read", read)
    result = eg(folder, "--wavelength", CU, "--json")
    verdicts = [json.loads(line)["verdict"] for line in result.stdout.splitlines()]
    assert result.exit_code == 3
    assert verdicts[0] == verdicts[2] == "refused"
    assert verdicts[1] != "refused"


def test_the_command_itself(checkpoint: str, sample: Path, folder: Path) -> None:
    """Through the installed entry point: exit status 0, 3 and 2, and nothing but JSON on standard output."""

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "eg_agent.cli.main", "identify", "--checkpoint", checkpoint]
        command.append("--no-index")
        return subprocess.run(
            [*command, *map(str, words)], capture_output=True, text=True, timeout=120, check=False
        )

    answered = run(sample, "--wavelength", CU, "--json")
    assert (answered.returncode, answered.stderr) == (0, "")
    assert json.loads(answered.stdout)["verdict"] == "no confident match"
    refused = run(folder, "--wavelength", CU, "--json")
    assert refused.returncode == 3
    assert [json.loads(line)["verdict"] for line in refused.stdout.splitlines()][-1] == "refused"
    wrong = run(sample, "--wavelength", "copper")
    assert wrong.returncode == 2
    assert wrong.stdout == ""
    assert wrong.stderr.count("\n") == 1
    assert wrong.stderr.startswith("eg-agent: ")
    usage = run("--wavelength", CU)
    assert usage.returncode == 2


def test_pictures_are_drawn_for_one_and_for_several(eg, sample: Path, folder: Path, tmp_path: Path) -> None:
    one, sheet = tmp_path / "one.png", tmp_path / "sheet.png"
    assert eg(sample, "--wavelength", CU, "--plot", one).exit_code == 0
    assert eg(folder, "--wavelength", CU, "--plot", sheet, "--json").exit_code == 3
    for path in (one, sheet):
        assert path.read_bytes().startswith(b"\x89PNG")


def test_nothing_to_draw_is_said(eg, tmp_path: Path) -> None:
    path = tmp_path / "bad.xy"
    path.write_text("hello\n")
    result = eg(path, "--wavelength", CU, "--plot", tmp_path / "out.png")
    assert result.exit_code == 3
    assert "nothing to draw" in result.stderr
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize("index", [True, False])
def test_whoever_waits_for_kernels_to_be_compiled_is_told(
    eg, sample: Path, monkeypatch: pytest.MonkeyPatch, index: bool
) -> None:
    from eg_agent import compiling

    monkeypatch.setattr(compiling, "is_compiled", lambda kernel: False)
    result = eg(sample, "--wavelength", CU, index=index)
    assert result.exit_code == 0
    assert (compiling.NOTICE in result.stderr) is index
