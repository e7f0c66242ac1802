"""Packing, strain types and the held-out split."""

from __future__ import annotations

import numpy as np
import pytest

from eg_agent.errors import BadInput
from eg_agent.symmetry import groups
from simulators.corpus import (
    D_MIN,
    LEVELS_PER_DECADE,
    MAX_PEAKS,
    STRAIN_TYPES,
    Corpus,
    held_out,
    merge,
    pack,
    strain_type,
)
from simulators.crystal import metric, operations_from_hall
from simulators.random_crystals import random_crystal
from simulators.scattering import laue_unique, peak_list


def _strained(cell, kind, rng):
    """Reciprocal metric of a cell under the strains that STRAIN_TYPES allows."""
    g = np.linalg.inv(metric(cell))
    _, stretch, shear = STRAIN_TYPES[kind]
    factor = 1 + 0.03 * rng.standard_normal(3)[list(stretch)]
    shears = 0.02 * rng.standard_normal(3)
    g = g * np.outer(factor, factor)
    root = np.sqrt(g.diagonal())
    for (i, j), which in zip(((1, 2), (0, 2), (0, 1)), shear):
        if which >= 0:
            g[i, j] = g[j, i] = g[i, j] + shears[which] * root[i] * root[j]
    return g


@pytest.mark.parametrize("space_group", [*range(1, 231, 3), 3, 14, 148, 167])
def test_strain_keeps_the_symmetry_of_the_metric(space_group):
    rng = np.random.default_rng(space_group)
    crystal = random_crystal(space_group, rng, max_atoms=20)
    g = _strained(crystal.cell, strain_type(crystal.operations), rng)
    for rotation in crystal.operations.laue_rotations:
        assert np.allclose(rotation @ g @ rotation.T, g, rtol=0, atol=1e-9 * g.max())


@pytest.mark.parametrize(
    ("hall", "name"),
    [
        (3, "monoclinic, unique axis b"), (4, "monoclinic, unique axis c"), (5, "monoclinic, unique axis a"),
        (433, "hexagonal axes"), (434, "rhombohedral axes"), (227, "orthorhombic"), (2, "triclinic"),
        (349, "tetragonal"), (517, "cubic"),
    ],
)  # fmt: skip
def test_strain_types_of_settings(hall, name):
    assert STRAIN_TYPES[strain_type(operations_from_hall(hall))][0] == name


def test_structures_keep_their_peaks(corpus):
    rng = np.random.default_rng(1)
    crystal = random_crystal(int(rng.choice(groups()[0].space_groups)), rng, max_atoms=24)
    i = 0
    rows = slice(corpus.offset[i], corpus.offset[i + 1])
    peaks = peak_list(crystal, D_MIN, wavelength=1.540593)
    expected = {tuple(h): v for h, v in zip(peaks.hkl.tolist(), peaks.f2 * peaks.multiplicity)}
    levels = 10 ** ((corpus.level[rows].astype(float) - 255) / LEVELS_PER_DECADE)
    found = np.array([expected[tuple(h)] for h in corpus.hkl[rows].tolist()])
    ratio = levels / found
    assert np.allclose(ratio / np.median(ratio), 1, atol=0.045)
    assert len(found) <= MAX_PEAKS
    assert corpus.group[i] == 1


def test_no_peak_of_a_corpus_is_forbidden(corpus):
    """Indices come back from the crystals' own operations, for one structure of each group."""
    for group in range(99):
        rng = np.random.default_rng(group + 1)
        space_group = int(rng.choice(groups()[group].space_groups))
        crystal = random_crystal(space_group, rng, max_atoms=24)
        hkl, _, _ = laue_unique(crystal.cell, crystal.operations, D_MIN)
        i = group * 4
        assert corpus.space_group[i] == space_group
        mine = {tuple(h) for h in corpus.hkl[corpus.offset[i] : corpus.offset[i + 1]].tolist()}
        assert mine <= {tuple(h) for h in hkl.tolist()}


def test_saved_and_loaded(corpus, tmp_path):
    corpus.save(tmp_path / "c.npz")
    again = Corpus.load(tmp_path / "c.npz")
    assert again.names == corpus.names
    assert again.formulas == corpus.formulas
    for name in ("cell", "hkl", "level", "offset", "split", "strain_type"):
        assert np.array_equal(getattr(again, name), getattr(corpus, name))
    assert [p.name for p in tmp_path.iterdir()] == ["c.npz"]


def test_merging_shifts_offsets(corpus):
    both = merge([corpus, corpus])
    assert len(both) == 2 * len(corpus)
    i = len(corpus) + 3
    rows = slice(both.offset[i], both.offset[i + 1])
    assert np.array_equal(both.hkl[rows], corpus.hkl[corpus.offset[3] : corpus.offset[4]])
    assert both.formulas[i] == corpus.formulas[3]


def test_held_out_goes_by_formula_alone(corpus):
    assert corpus.split.tolist() == [int(held_out(f)) for f in corpus.formulas]
    rng = np.random.default_rng(0)
    sample = [f"{chr(65 + a)}{b}O{c}" for a, b, c in rng.integers(1, 25, (20_000, 3))]
    assert 0.02 < np.mean([held_out(f) for f in set(sample)]) < 0.04


def test_crystals_outside_the_tables_are_left_out():
    tiny = random_crystal(225, np.random.default_rng(1), max_atoms=10)
    assert len(pack([(tiny, 0)])) == 1
    assert len(pack([])) == 0


@pytest.mark.parametrize("content", [b"", b"something else"])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    with pytest.raises(BadInput, match="not a corpus"):
        Corpus.load(path)
    with pytest.raises(BadInput, match=r"there is no corpus .*absent\.npz"):
        Corpus.load(tmp_path / "absent.npz")
