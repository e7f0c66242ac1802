"""Libraries from CIFs, tables and corpora; their reduced cells are those of the primitive lattice."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice
from typer.testing import CliRunner

from eg_agent.errors import BadInput
from eg_agent.library import Library
from eg_agent.patterns import Pattern, Radiation, write_xye
from simulators.corpus import COPY_MARK, MINERAL, Corpus, pack
from simulators.perturbation import perturbed
from simulators.scattering import lorentz_polarisation, peak_list
from simulators.textbook import textbook
from trainer.cli.main import app
from trainer.library.building import centring, kinds_of_strain, library_of_corpus, library_of_folder

CIF = """data_{name}
_cell_length_a {a}
_cell_length_b {a}
_cell_length_c {a}
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_space_group_name_H-M_alt 'F m -3 m'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Na1 Na 0 0 0
Cl1 Cl 0.5 0.5 0.5
"""


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return pack((crystal, MINERAL) for crystal in textbook())


@pytest.fixture
def cifs(tmp_path: Path) -> Path:
    folder = tmp_path / "cifs"
    (folder / "more").mkdir(parents=True)
    (folder / "halite.cif").write_text(CIF.format(name="halite", a=5.64))
    (folder / "more" / "large.CIF").write_text(CIF.format(name="large", a=6.2))
    (folder / "broken.cif").write_text("data_x\n_cell_length_a 5\n")
    return folder


def test_a_folder_of_cifs(cifs: Path) -> None:
    built = library_of_folder(cifs)
    assert sorted(built.library.ids) == ["halite", "large"]
    assert set(built.library.formulas) == {"Cl1Na1"}
    assert len(built.left_out) == 1
    assert "broken.cif" in built.left_out[0][0]


def test_the_textbook_as_a_library(corpus: Corpus) -> None:
    library = library_of_corpus(corpus)
    assert len(library) == len(corpus)
    np.testing.assert_array_equal(library.entries.group, corpus.group)
    volumes = {"F": 4, "I": 2, "C": 2, "A": 2, "B": 2, "R": 3, "P": 1}
    for row in range(len(corpus)):
        low, high = corpus.offset[row], corpus.offset[row + 1]
        letter = centring(corpus.space_group[row], corpus.cell[row], corpus.hkl[low:high])
        conventional = Lattice.from_parameters(*corpus.cell[row].astype(float))
        reduced = Lattice.from_parameters(*library.entries.niggli[row].astype(float))
        assert reduced.volume == pytest.approx(conventional.volume / volumes[letter], rel=1e-4), letter
        again = reduced.get_niggli_reduced_lattice()
        np.testing.assert_allclose(sorted(again.lengths), sorted(reduced.lengths), rtol=1e-4)


def test_copies_are_in_no_library() -> None:
    halite = textbook()[0]
    rng = np.random.default_rng(0)
    copy = perturbed(halite, rng, name=f"{halite.name}{COPY_MARK}1")
    both = pack([(halite, MINERAL), (copy, MINERAL)])
    assert both.copied.tolist() == [False, True]
    assert list(library_of_corpus(both).ids) == [halite.name]
    assert len(library_of_corpus(both, random=True).ids) == 2


def test_centring_shows_in_the_indices_of_a_setting() -> None:
    cell = np.array([5.0, 6.0, 7.0, 90.0, 100.0, 90.0], dtype=np.float32)
    h, k, l = np.meshgrid(*[np.arange(-3, 4)] * 3)  # noqa: E741
    hkl = np.stack([h, k, l], axis=-1).reshape(-1, 3).astype(np.int8)
    body = hkl[hkl.sum(axis=1) % 2 == 0]
    face = hkl[(hkl[:, 0] + hkl[:, 1]) % 2 == 0]
    assert centring(15, cell, body) == "I"
    assert centring(15, cell, face) == "C"
    assert centring(14, cell, face) == "P"


def test_kinds_of_strain_keep_ties() -> None:
    kinds = kinds_of_strain()
    assert kinds.shape == (9, 6)
    assert kinds[0].tolist() == [0, 0, 0, -1, -1, -1]  # cubic
    assert kinds[2].tolist() == [0, 0, 1, -1, -1, -1]  # hexagonal axes
    assert kinds[7].tolist() == [0, 1, 2, 3, 4, 5]  # triclinic
    assert kinds[8].tolist() == [0, 0, 0, 1, 1, 1]  # rhombohedral axes


def test_the_first_rows_of_the_tables(structures: Path, tmp_path: Path) -> None:
    for name in ("materials_project.parquet", "minerals.parquet"):
        (tmp_path / name).symlink_to(structures / name)
    built = library_of_folder(tmp_path, rows=40)
    assert 60 <= len(built.library) <= 80
    assert any(name.startswith("mp-") for name in built.library.ids)


def test_nothing_to_build_from(tmp_path: Path, cifs: Path) -> None:
    with pytest.raises(BadInput, match="not a folder"):
        library_of_folder(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="no structure"):
        library_of_folder(tmp_path / "empty")
    for name in ("halite.cif", "more/large.CIF"):
        (cifs / name).unlink()
    with pytest.raises(BadInput, match=r"broken\.cif"):
        library_of_folder(cifs)


def test_the_command_makes_a_file_and_lists_what_it_left_out(cifs: Path, tmp_path: Path) -> None:
    out = tmp_path / "made" / "library.npz"
    result = CliRunner().invoke(app, ["library", "--structures", str(cifs), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "2 structures" in result.output
    assert len(Library.load(out)) == 2
    again = CliRunner().invoke(app, ["library", "--structures", str(cifs), "--out", str(out)])
    assert isinstance(again.exception, BadInput)


def test_the_command_takes_a_corpus(corpus: Corpus, tmp_path: Path) -> None:
    corpus.save(tmp_path / "corpus.npz")
    words = ["library", "--corpus", str(tmp_path / "corpus.npz"), "--out"]
    assert CliRunner().invoke(app, [*words, str(tmp_path / "a.npz")]).exit_code == 0
    assert Library.load(tmp_path / "a.npz").hash == library_of_corpus(corpus).hash
    trained = int((corpus.split == 0).sum())
    result = CliRunner().invoke(app, [*words, str(tmp_path / "b.npz"), "--split", "train"])
    if trained:
        assert len(Library.load(tmp_path / "b.npz")) == trained
    else:
        assert isinstance(result.exception, BadInput)


@pytest.mark.parametrize(
    "words",
    [
        ["--out", "x.npz"],
        ["--out", "x.npz", "--structures", ".", "--corpus", "c.npz"],
        ["--out", "x.npz", "--structures", ".", "--split", "train"],
        ["--out", "x.npz", "--corpus", "/no/such/corpus.npz"],
    ],
)
def test_wrong_usage_is_one_sentence(words: list[str], tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert isinstance(CliRunner().invoke(app, ["library", *words]).exception, BadInput)
    assert not (tmp_path / "x.npz").exists()


def test_no_rows_are_wrong_usage(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["library", "--out", "x.npz", "--structures", ".", "--rows", "0"])
    assert result.exit_code == 2
    assert "Invalid value for '--rows'" in result.output
    assert not (tmp_path / "x.npz").exists()


def _benchmark(folder: Path) -> None:
    """Two measured patterns: one of a library structure, one of lines that no structure has."""
    folder.mkdir()
    x = np.arange(10.0, 80.0, 0.02)

    def lines(at: np.ndarray, height: np.ndarray) -> np.ndarray:
        return (height * np.exp(-0.5 * ((x[:, None] - at) / 0.06) ** 2)).sum(axis=1)

    crystal = textbook()[0]
    peaks = peak_list(crystal, 1.2)
    theta = np.arcsin(1.5406 / 2 / peaks.d)
    known = lines(np.degrees(2 * theta), peaks.f2 * peaks.multiplicity * lorentz_polarisation(theta))
    strange = lines(np.array([11.3, 17.9, 33.3, 47.1, 71.0]), np.array([1.0, 0.8, 0.9, 0.7, 0.6]))
    rng = np.random.default_rng(0)
    patterns = {
        name: np.stack([x, rng.poisson(2000 * y / y.max() + 20)])
        for name, y in (("a", known), ("b", strange))
    }
    np.savez(folder / "patterns.npz", **patterns)
    rows = [
        "id,sg_number,eg_number,crystal_system,wavelength,compound,source,benchmark,known_cell,formula,name"
    ]
    rows += [f"{n},62,17,orthorhombic,1.5406,{n},test,True,False,," for n in ("a", "b")]
    (folder / "index.csv").write_text("\n".join(rows) + "\n")


def test_the_list_of_unseen_compounds(corpus: Corpus, tmp_path: Path) -> None:
    library_of_corpus(corpus).save(tmp_path / "library.npz")
    _benchmark(tmp_path / "data")
    words = ["unseen", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "unseen.json")]
    result = CliRunner().invoke(app, [*words, "--library", str(tmp_path / "library.npz")])
    assert result.exit_code == 0, result.output
    listed = json.loads((tmp_path / "unseen.json").read_text())
    assert listed["unseen"] == ["b"]
    assert listed["seen_by"] == {"pattern": 1}
    assert listed["novelty"]["a"]["similarity"] > 0.9
    assert listed["novelty"]["b"]["similarity"] < 0.6
    assert isinstance(CliRunner().invoke(app, words).exception, BadInput)


def test_an_identification_with_a_library_from_the_command_line(cifs: Path, tmp_path: Path) -> None:
    from eg_agent.cli.main import app as agent

    library_of_folder(cifs).library.save(tmp_path / "library.npz")
    x = np.arange(20.0, 90.0, 0.02)
    y = np.full(x.size, 15.0)
    for hkl2, height in ((3, 9), (4, 100), (8, 55), (11, 2), (12, 15), (16, 6), (20, 11), (24, 7)):
        at = np.degrees(2 * np.arcsin(1.5406 / 2 * np.sqrt(hkl2) / 5.70))
        y += 30.0 * height * np.exp(-0.5 * ((x - at) / 0.06) ** 2)
    pattern = Pattern(x, np.random.default_rng(1).poisson(y).astype(float), Radiation(1.5406))
    write_xye(pattern, tmp_path / "salt.xye")
    words = ["identify", str(tmp_path / "salt.xye"), "--wavelength", "1.5406"]
    plain = CliRunner().invoke(agent, words)
    assert plain.exit_code == 0, plain.output
    assert "similar" not in plain.output
    said = CliRunner().invoke(agent, [*words, "--library", str(tmp_path / "library.npz")])
    assert said.exit_code == 0, said.output
    assert "halite" in said.output
    as_json = CliRunner().invoke(agent, [*words, "--json", "--library", str(tmp_path / "library.npz")])
    found = json.loads(as_json.stdout)
    assert found["lookup"]["matches"][0]["id"] == "halite"
    assert found["lookup"]["matches"][0]["scale"] == pytest.approx(5.70 / 5.64, rel=2e-3)
    assert found["provenance"]["library"] == found["lookup"]["hash"]
    wrong = CliRunner().invoke(agent, [*words, "--library", str(tmp_path / "salt.xye")])
    assert isinstance(wrong.exception, BadInput)
