"""Corpora from folders of structures; the result does not depend on the number of processes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import fields, replace

import numpy as np
import pytest
from typer.testing import CliRunner

from eg_agent.errors import BadInput
from eg_agent.symmetry import group_of_space_group
from simulators.corpus import COMPUTED, MINERAL, MOLECULAR, RANDOM, Corpus, held_out
from simulators.crystal_source import found_group
from simulators.preparation import PreparationConfig, prepare
from simulators.structures import computed_crystals, mineral_crystals
from trainer.cli.main import app

SMALL = PreparationConfig(random_target=2, random_least=1, molecular=5, rows=60)

CSCL = """data_CsCl
_cell_length_a 4.123
_cell_length_b 4.123
_cell_length_c 4.123
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P m -3 m'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Cs1 Cs 0 0 0
Cl1 Cl 0.5 0.5 0.5
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("cifs")
    (path / "cscl.cif").write_text(CSCL)
    return path


def test_a_folder_of_cifs_and_random_crystals_for_every_group(folder):
    seen = []
    corpus = prepare(folder, SMALL, progress=lambda done, total: seen.append((done, total)))
    counts = np.bincount(corpus.source, minlength=4)
    assert counts[MINERAL] == 1
    assert counts[MOLECULAR] == 5
    assert counts[COMPUTED] == 0
    assert set(corpus.group[corpus.source == RANDOM].tolist()) == set(range(1, 100))
    assert corpus.names[0] == "cscl"
    assert corpus.group[0] == group_of_space_group(221)
    assert seen[-1][0] == seen[-1][1] == len(seen)


@pytest.mark.slow
def test_worker_processes_change_nothing(folder):
    one, two = (prepare(folder, SMALL, workers=n) for n in (1, 2))
    for field in fields(Corpus):
        assert np.array_equal(getattr(one, field.name), getattr(two, field.name)), field.name


def test_empty_folders_are_refused(tmp_path):
    with pytest.raises(BadInput, match="holds no structures"):
        prepare(tmp_path, SMALL)


def test_tables_give_crystals_whose_symmetry_spglib_confirms(structures):
    """spglib's own tolerance finds the stated extinction group again in the expanded cell."""
    computed = list(computed_crystals(structures / "materials_project.parquet", 500, 560))
    assert len(computed) == 60
    assert [found_group(c, symprec=0.02) for c in computed] == [c.group for c in computed]
    minerals = list(mineral_crystals(structures / "minerals.parquet", 0, 120))
    assert any((c.occupancy < 1).any() for c in minerals)
    for crystal in minerals:
        assert crystal.operations.space_group == crystal.space_group


def test_formulas_of_the_table_are_found_again(structures):
    import pyarrow.parquet as parquet
    from pymatgen.core import Composition

    path = structures / "materials_project.parquet"
    stated = parquet.read_table(path, columns=["formula"]).slice(500, 60).column("formula").to_pylist()
    for crystal, formula in zip(computed_crystals(path, 500, 560), stated):
        ours, theirs = Composition(crystal.formula), Composition(formula)
        assert ours.reduced_formula == theirs.reduced_formula


def test_rows_are_a_prefix_and_tables_pack(structures, tmp_path):
    shutil.copy(structures / "minerals.parquet", tmp_path)
    corpus = prepare(tmp_path, SMALL)
    crystals = mineral_crystals(structures / "minerals.parquet", 0, 60)
    # one has c = 219 angstrom: indices beyond 127 are left out
    names = [c.name for c in crystals if max(c.cell[:3]) < 127 * 1.03]
    assert corpus.names[: len(names)] == names
    assert (corpus.source[len(names) :] > MINERAL).all()


def test_copies_follow_their_structure_in_its_split(structures, tmp_path):
    shutil.copy(structures / "minerals.parquet", tmp_path)
    config = PreparationConfig(random_target=0, random_least=0, molecular=0, rows=40, perturbed=2)
    corpus = prepare(tmp_path, config)
    plain = prepare(tmp_path, replace(config, perturbed=0))
    originals = [i for i, name in enumerate(corpus.names) if "~" not in name]
    assert [corpus.names[i] for i in originals] == plain.names
    assert len(corpus) > 2.5 * len(plain)
    last = None
    for i, name in enumerate(corpus.names):
        if "~" not in name:
            last = i
            continue
        assert last is not None
        assert name.startswith(corpus.names[last])
        assert corpus.group[i] == corpus.group[last]
        assert held_out(corpus.formulas[i]) == held_out(corpus.formulas[last])
        assert (corpus.cell[i] != corpus.cell[last]).any()


def test_the_textbook_may_be_trained_on(folder):
    config = PreparationConfig(random_target=0, random_least=0, molecular=0)
    assert prepare(folder, config).split.tolist() == [1]
    assert prepare(folder, replace(config, hold_out_textbook=False)).split.tolist() == [0]


def test_the_verb_writes_a_corpus_and_says_what_is_in_it(folder, tmp_path):
    out = tmp_path / "corpus.npz"
    arguments = [
        "prepare",
        "--structures",
        str(folder),
        "--out",
        str(out),
        "--random-target",
        "1",
        "--molecular",
        "2",
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "1 mineral" in result.output
    corpus = Corpus.load(out)
    assert corpus.split[0] == 1  # caesium chloride is one of the demo's samples
    other = [a if a != str(out) else str(tmp_path / "all.npz") for a in arguments]
    result = CliRunner().invoke(app, [*other, "--no-hold-out-textbook", "--perturbed", "1"])
    assert result.exit_code == 0, result.output
    assert Corpus.load(tmp_path / "all.npz").split[0] == 0
    again = CliRunner().invoke(app, arguments)
    assert isinstance(again.exception, BadInput)
    assert "--overwrite" in str(again.exception)
    bad = CliRunner().invoke(
        app, ["prepare", "--structures", str(tmp_path / "nope"), "--out", str(tmp_path / "x.npz")]
    )
    assert isinstance(bad.exception, BadInput)
    assert not (tmp_path / "x.npz").exists()


def test_importing_the_simulators_is_cheap():
    heavy = ("torch", "pandas", "pyarrow", "spglib", "matplotlib", "ophyd")
    code = f"import sys, simulators; sys.exit(any(m in sys.modules for m in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_name_of_the_package_is_there():
    import simulators

    for name in simulators.__all__:
        assert getattr(simulators, name) is not None
    with pytest.raises(AttributeError):
        _ = simulators.nonsense
