"""The export script on a small folder, as a process, and read back with numpy."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three patterns of uneven kinds: an unlabelled one, a doublet, an id that is no file name."""
    data = tmp_path / "data"
    data.mkdir()
    rng = np.random.default_rng(1)
    two_theta = np.arange(5.0, 30.0, 0.001)
    ids = ["plain", "with doublet", "no/label"]
    np.savez(
        data / "patterns.npz",
        **{i: np.stack([two_theta, rng.poisson(50, two_theta.size)]).astype(np.float32) for i in ids},
    )
    rows = [
        {"id": "plain", "sg_number": 225, "eg_number": 97, "wavelength": 1.5406, "benchmark": True},
        {"id": "with doublet", "sg_number": 62, "eg_number": 22, "wavelength": 1.5406, "wavelength2": 1.5444},
        {"id": "no/label", "wavelength": 0.7},
    ]
    names = ["id", "sg_number", "eg_number", "wavelength", "wavelength2", "benchmark", "known_cell"]
    with (data / "index.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*names, "compound", "source"], restval="")
        writer.writeheader()
        writer.writerows(rows)
    return data


def _run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    script = ROOT / "tools" / "export_realdata.py"
    return subprocess.run(
        [sys.executable, script, *map(str, arguments)], capture_output=True, text=True, cwd=ROOT, check=False
    )


def test_every_pattern_is_written_with_its_wavelengths(folder: Path, tmp_path: Path) -> None:
    done = _run(folder, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    with (tmp_path / "out" / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["file"] for r in rows] == ["plain.xy", "with_doublet.xy", "no_label.xy"]
    assert [(r["wavelength"], r["wavelength2"]) for r in rows] == [
        ("1.5406", ""),
        ("1.5406", "1.5444"),
        ("0.7", ""),
    ]
    with np.load(folder / "patterns.npz") as archive:
        for row in rows:
            written = np.loadtxt(tmp_path / "out" / row["file"]).T
            np.testing.assert_allclose(written, archive[row["id"]], rtol=0, atol=1e-6)
            assert np.all(np.diff(written[0]) > 0)


def test_subset_limit_and_bad_folder(folder: Path, tmp_path: Path) -> None:
    assert _run(folder, tmp_path / "some", "--subset", "benchmark").returncode == 0
    assert sorted(p.name for p in (tmp_path / "some").iterdir()) == ["manifest.csv", "plain.xy"]
    done = _run(tmp_path / "nowhere", tmp_path / "none")
    assert done.returncode == 2
    assert "is not a folder" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "none").exists()
    done = _run(folder, tmp_path / "none", "--subset", "known_cell")
    assert done.returncode == 2
    assert not (tmp_path / "none").exists()
