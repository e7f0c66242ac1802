"""Symmetric copies of training structures, and patterns that are made while training."""

from __future__ import annotations

from dataclasses import replace

import gemmi
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter1d
from typer.testing import CliRunner

from eg_agent.errors import BadInput
from eg_agent.model.xxact import Xxact, tiny
from eg_agent.patterns import Grid
from simulators.corpus import COMPUTED, Corpus, pack
from simulators.counter_random import CounterRandom
from simulators.crystal import Crystal, operations_from_hall
from simulators.crystal_source import keeps_group
from simulators.perturbation import perturbed
from simulators.structures import computed_crystals
from tests.trainer.multimodal.conftest import ROWS
from trainer.cli.main import app
from trainer.context import LocalContext
from trainer.multimodal.copies import COPIES, copy_training
from trainer.multimodal.materials import TRAIN, Materials, part_of, read_materials
from trainer.multimodal.rendering import STRAINED, WIDENED, Rendered, widened
from trainer.multimodal.views import CLEAN_FWHM, clean_view
from trainer.multimodal.xxact_config import Weights, XxactTrain
from trainer.multimodal.xxact_data import open_xxact
from trainer.multimodal.xxact_loop import train_xxact
from trainer.multimodal.xxact_loss import Labels, symmetry_loss

CPU = torch.device("cpu")
#: A lattice of each system but two: cell, and spglib's Hall number of a group without a centre.
LATTICES = {
    "cubic": ((5.4, 5.4, 5.4, 90, 90, 90), 489),
    "tetragonal": ((4.6, 4.6, 6.1, 90, 90, 90), 349),
    "orthorhombic": ((4.2, 5.3, 6.7, 90, 90, 90), 108),
    "monoclinic": ((5.1, 4.2, 6.3, 90, 103, 90), 3),
    "hexagonal": ((4.9, 4.9, 5.6, 90, 90, 120), 462),
}


def one(name: str) -> Corpus:
    cell, hall = LATTICES[name]
    operations = operations_from_hall(hall)
    return pack(
        [
            (
                Crystal(
                    cell=cell,
                    operations=operations,
                    elements=("Fe", "O"),
                    fractional=np.array([[0.0, 0.0, 0.0], [0.11, 0.23, 0.37]]),
                    occupancy=np.ones(2),
                    b_iso=np.full(2, 0.5),
                    space_group=operations.space_group,
                    formula="FeO",
                ),
                COMPUTED,
            )
        ]
    )


def test_copies_keep_the_symmetry_and_no_formula_that_is_judged(table, made):
    """spglib finds the group of each structure in its copy, too."""
    copies = Materials.load(made).copies
    assert copies is not None
    assert all(part_of(formula) == TRAIN for formula in copies.formulas)
    again = copy_training(table, 1)
    np.testing.assert_array_equal(again.level, copies.level)
    structures = read_materials(table).corpus
    known = dict(zip(structures.names, structures.space_group.tolist(), strict=True))
    pairs = zip(copies.names, copies.space_group.tolist(), strict=True)
    assert all(known[name.removesuffix(" ~")] == number for name, number in pairs)
    kept = [
        keeps_group(perturbed(crystal, np.random.default_rng(row), COPIES))
        for row, crystal in enumerate(computed_crystals(table, 0, 40))
    ]
    assert np.mean(kept) > 0.95


def test_copies_are_other_crystals(made):
    """Other cells, other lines, and half of them of another formula."""
    materials = Materials.load(made)
    copies = materials.copies
    assert copies is not None
    row = {name: i for i, name in enumerate(materials.corpus.names)}
    own = np.array([row[name.removesuffix(" ~")] for name in copies.names])
    away = np.abs(copies.cell[:, :3] / materials.corpus.cell[own, :3] - 1.0).max(axis=1)
    assert 0.005 < np.median(away) < 0.1
    other = np.array(copies.formulas) != materials.formulas[own]
    assert 0.4 < other.mean() < 0.95


@pytest.mark.parametrize("name", sorted(LATTICES))
def test_a_pattern_made_without_strain_is_the_view(name):
    corpus, grid = one(name), Grid(5.0, 90.0, 2048)
    rows = torch.zeros(3, dtype=torch.int64)
    made = Rendered(corpus, grid, CPU, common=0.0, axes=0.0).patterns(rows, CounterRandom(1, torch.arange(3)))
    view = clean_view(corpus, grid, CPU).take(rows)[0]
    torch.testing.assert_close(made, view, atol=0.02, rtol=0)  # a step of the square root, at the top


@pytest.mark.parametrize("name", sorted(LATTICES))
@given(seed=st.integers(0, 2**31))
def test_strained_lines_are_those_of_a_cell_of_the_same_system(name, seed):
    """Bragg angles of gemmi for the strained cell, whose free parameters alone have changed."""
    corpus = one(name)
    rendered = Rendered(corpus, Grid(5.0, 90.0, 2048), CPU, common=0.03, axes=0.02)
    random = CounterRandom(seed, torch.arange(1))
    rendered._source.rows = torch.zeros(1, dtype=torch.int64)
    peaks = rendered._source.draw(random, 0, 240)
    a, b, c, d, e, f = rendered._strained.strained(random, 20, peaks).metric[0].double().tolist()
    cell = np.linalg.inv(np.array([[a, f, e], [f, b, d], [e, d, c]]))
    edges = np.sqrt(cell.diagonal())
    angles = np.degrees(np.arccos([cell[1, 2] / edges[1] / edges[2], cell[0, 2] / edges[0] / edges[2],
                                   cell[0, 1] / edges[0] / edges[1]]))  # fmt: skip
    was = LATTICES[name][0]
    assert np.abs(edges / was[:3] - 1).max() < 0.1
    for i in range(3):
        assert (name == "monoclinic" and i == 1) or angles[i] == pytest.approx(was[3 + i], abs=1e-3)
        for j in range(i):
            assert was[i] != was[j] or edges[i] == pytest.approx(edges[j], rel=1e-5)
    spacing = gemmi.UnitCell(*edges, *angles).calculate_d([int(v) for v in peaks.hkl[0, 0]])
    h, k, l = peaks.hkl[0, 0].double().tolist()  # noqa: E741 - Miller's
    mine = (a * h * h + b * k * k + c * l * l + 2 * (d * k * l + e * h * l + f * h * k)) ** -0.5
    assert mine == pytest.approx(spacing, rel=1e-5)


def test_half_of_the_patterns_keep_the_ratios_of_their_cell():
    """With the same numbers drawn, a pattern with strain is the one without in half of the cases."""
    corpus, grid = one("orthorhombic"), Grid(5.0, 90.0, 2048)
    rows, random = torch.zeros(400, dtype=torch.int64), CounterRandom(3, torch.arange(400))
    larger = Rendered(corpus, grid, CPU, common=0.03, axes=0.0).patterns(rows, random)
    strained = Rendered(corpus, grid, CPU, common=0.03, axes=0.02).patterns(rows, random)
    same = (larger - strained).abs().amax(1) < 1e-3
    assert float(same.float().mean()) == pytest.approx(1.0 - STRAINED, abs=0.1)


@pytest.mark.parametrize("fwhm", [0.2, 0.35, 0.8, 1.2])
def test_widened_lines_are_gaussians_of_their_width(fwhm):
    """A line alone, against scipy's Gaussian filter of what is missing to its width."""
    grid = Grid(5.0, 90.0, 2048)
    step = 85.0 / 2047
    at = (torch.arange(2048) - 900.3) * step
    narrow = torch.exp(-4 * np.log(2.0) * (at / CLEAN_FWHM).square())[None]
    made = widened(narrow, grid, torch.tensor([fwhm]))[0].numpy()
    sigma = np.sqrt(max(fwhm**2 - CLEAN_FWHM**2, 1e-9)) / np.sqrt(8 * np.log(2.0)) / step
    wanted = gaussian_filter1d(narrow[0].double().numpy(), sigma, truncate=8.0, mode="constant")
    np.testing.assert_allclose(made, wanted / wanted.max(), atol=2e-3)
    width = np.ptp(np.flatnonzero(made > 0.5)) * step
    assert width == pytest.approx(fwhm, abs=2.5 * step)


def test_half_of_the_patterns_have_wider_lines():
    corpus, grid = one("orthorhombic"), Grid(5.0, 90.0, 2048)
    rows, random = torch.zeros(400, dtype=torch.int64), CounterRandom(3, torch.arange(400))
    plain = Rendered(corpus, grid, CPU, common=0.0, axes=0.0).patterns(rows, random)
    wider = Rendered(corpus, grid, CPU, common=0.0, axes=0.0, widest=1.2).patterns(rows, random)
    same = (plain - wider).abs().amax(1) < 0.02
    assert float(same.float().mean()) == pytest.approx(1.0 - WIDENED, abs=0.1)
    assert float(wider.mean(1).max()) > 3.0 * float(plain.mean(1).max())


def settings(**changes) -> XxactTrain:
    made = {"name": "a", "network": replace(tiny(), symmetry=True), "rows": "all", "batch": 64, "copies": 0.7}
    return XxactTrain(**{**made, "weights": Weights(0.0, 0.0, 1.0, group=0.5, lattice=1.0), **changes})


def test_a_batch_holds_copies_and_structures_with_their_own_labels(made):
    config, materials = settings(strain=0.02), Materials.load(made)
    data = open_xxact(made, config, CPU)
    assert materials.copies is not None
    assert data.copies is not None
    assert len(data.copies) == len(materials.copies)
    drawn = torch.cat([data.sample(config, step, 0, 64).labels.energy_B for step in range(20)])
    # Copies have no energy; half of the structures of this table neither.
    assert float(drawn.isfinite().float().mean()) < 0.4
    labels = data.labels
    assert labels.group_B is not None
    assert labels.lattice_B4 is not None
    np.testing.assert_array_equal(labels.group_B[data.copies].numpy() + 1, materials.copies.group)
    cell = gemmi.UnitCell(*materials.copies.cell[5].tolist())
    train = materials.corpus.cell[materials.part == TRAIN]
    volumes = np.log([gemmi.UnitCell(*c.tolist()).volume for c in train])
    wanted = (np.log(cell.volume) - volumes.mean()) / volumes.std()
    assert float(labels.lattice_B4[data.copies[5], 3]) == pytest.approx(wanted, abs=1e-3)
    halves = [data.sample(config, 3, at, 32).intensity_BL for at in (0, 32)]
    torch.testing.assert_close(torch.cat(halves), data.sample(config, 3, 0, 64).intensity_BL)


def test_an_exchanged_composition_takes_the_energy_with_it_and_leaves_the_symmetry(made):
    network = replace(tiny(), match=True)
    config = settings(network=network, weights=Weights(match=1.0), rows="half", exchanged=0.3)
    data = open_xxact(made, config, CPU)
    samples = [data.sample(config, step, 0, 64) for step in range(8)]
    wrong = torch.cat([~s.own_B for s in samples if s.own_B is not None])
    assert float(wrong.float().mean()) == pytest.approx(0.3, abs=0.08)
    for sample in samples:
        shown = sample.exchanged()
        assert sample.other is not None
        assert sample.own_B is not None
        for mine, theirs, found in zip(sample.given, sample.other, shown.given, strict=True):
            assert torch.equal(found[sample.own_B], mine[sample.own_B])
            assert torch.equal(found[~sample.own_B], theirs[~sample.own_B])
        assert not shown.labels.energy_B[~sample.own_B].isfinite().any()
        torch.testing.assert_close(
            shown.labels.energy_B[sample.own_B], sample.labels.energy_B[sample.own_B], equal_nan=True
        )
        assert torch.equal(shown.labels.system_B, sample.labels.system_B)
    assert data.sample(settings(), 0, 0, 64).exchanged().own_B is None
    for changes in (
        {"exchanged": 0.2},
        {"weights": Weights(match=1.0)},
        {"exchanged": 0.7, "weights": Weights(match=1.0)},
    ):
        with pytest.raises(BadInput):
            replace(config, **{"weights": Weights(), "exchanged": 0.0, "network": tiny(), **changes})


def test_a_run_begins_from_one_without_its_heads(tmp_path, made):
    short = {"samples": 64, "batch": 32, "rows": "labelled", "copies": 0.0}
    plain = settings(**short, network=tiny(), weights=Weights())
    data = open_xxact(made, plain, CPU)
    first = train_xxact(plain, data, LocalContext(CPU), tmp_path / "plain")
    config = settings(
        **short | {"rows": "all", "copies": 0.7},
        network=replace(tiny(), symmetry=True, match=True),
        weights=Weights(group=0.5, match=1.0),
        exchanged=0.2,
        lr=1e-9,
    )
    data = open_xxact(made, config, CPU)
    begun = train_xxact(
        config, data, LocalContext(CPU), tmp_path / "begun", begin=tmp_path / "plain" / "state"
    )
    for name, value in first.network.state_dict().items():
        torch.testing.assert_close(begun.network.state_dict()[name], value, atol=1e-5, rtol=0)
    ended = train_xxact(
        plain, data, LocalContext(CPU), tmp_path / "ended", begin=tmp_path / "begun" / "state"
    )
    assert set(ended.network.state_dict()) == set(first.network.state_dict())


def test_copies_that_cannot_be_are_refused(tmp_path, table, made):
    for wrong in (
        {"copies": 1.5},
        {"strain": 0.5},
        {"widest": 0.1},
        {"widest": 9.0},
        {"widest": float("nan")},
        {"widest": 1.0, "copies": 0.0},
        {"patterns": "stage2"},
        {"inputs": "composition"},
        {"rows": "labelled"},
        {"share": 0.5},
        {"network": tiny()},
    ):
        with pytest.raises(BadInput):
            settings(**wrong)
    plain = tmp_path / "plain.npz"
    read_materials(table, rows=list(range(40))).save(plain)
    with pytest.raises(BadInput, match="--copies"):
        open_xxact(plain, settings(), CPU)
    with pytest.raises(BadInput, match="ask for 1"):
        copy_training(table, 0)
    nothing = torch.zeros(2)
    network, batch = Xxact(tiny()), torch.rand(2, 1024)
    with pytest.raises(BadInput, match="no heads"):
        network.symmetry(network.encode(batch, None, None))
    with_heads = Xxact(settings().network)
    said = with_heads.symmetry(with_heads.encode(batch, None, None))
    with pytest.raises(BadInput, match="say nothing"):
        symmetry_loss(said, Labels(nothing, nothing, nothing.long()), settings())


def test_copies_are_made_from_the_command_line(tmp_path, table):
    arguments = ["materials", "--structures", str(table), "--out", str(tmp_path / "m.npz"), "--copies", "2"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    copies = Materials.load(tmp_path / "m.npz").copies
    assert copies is not None
    assert f"{len(copies):,} copies" in result.output
    assert len(copies) > ROWS  # of most structures two
    wrong = CliRunner().invoke(app, [*arguments[:3], "--out", str(tmp_path / "n.npz"), "--copies", "-1"])
    assert isinstance(wrong.exception, BadInput)
    assert not (tmp_path / "n.npz").exists()
