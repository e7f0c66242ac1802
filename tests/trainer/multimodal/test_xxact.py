"""Training of XxaCT-NN: its materials and views, that it learns, stops and goes on, and its tables."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from eg_agent.errors import BadInput
from eg_agent.model.xxact import CRYSTAL_SYSTEMS, Xxact, tiny
from eg_agent.patterns import Grid
from simulators.corpus import Corpus
from tests.trainer.multimodal.conftest import ROWS
from trainer.cli.main import app
from trainer.context import LocalContext
from trainer.multimodal.materials import TEST, Materials, formulas_of, part_of, read_materials, system_of
from trainer.multimodal.property_metrics import PropertyBootstrap, crossing, power_law
from trainer.multimodal.views import CONDITIONS, clean_view, condition, kept, stage2_view
from trainer.multimodal.xxact_config import Weights, XxactTrain, xxact_train_of
from trainer.multimodal.xxact_data import open_xxact
from trainer.multimodal.xxact_loop import learning_rate, train_xxact
from trainer.multimodal.xxact_loss import contrastive_loss, hidden_tokens, laplace
from trainer.reproduce.xxact_plan import ORDER, VARIANTS, XxactRun, config_of_run, runs_of, setting
from trainer.reproduce.xxact_tables import speed

CPU = torch.device("cpu")


def test_systems_are_those_of_the_space_groups():
    known = {1: "triclinic", 2: "triclinic", 14: "monoclinic", 62: "orthorhombic", 139: "tetragonal",
             143: "trigonal", 167: "trigonal", 168: "hexagonal", 194: "hexagonal", 225: "cubic"}  # fmt: skip
    found = system_of(np.array(list(known)))
    assert [CRYSTAL_SYSTEMS[i] for i in found] == list(known.values())


def test_materials_are_what_the_table_says(table, made):
    materials, wanted = Materials.load(made), pd.read_parquet(table).set_index("id")
    assert 0.98 * ROWS < len(materials) <= ROWS
    for i in (0, 57, len(materials) - 1):
        row = wanted.loc[materials.corpus.names[i]]
        assert materials.energy[i] == pytest.approx(row.formation_energy_per_atom, nan_ok=True)
        assert materials.gap[i] == pytest.approx(row.band_gap, nan_ok=True)
        assert int(system_of(np.array([row.spacegroup_number]))[0]) == int(materials.system[i])
    formulas = formulas_of(table)
    assert set(materials.formulas.tolist()) <= set(formulas)
    # A formula is in one part, whatever else is in the file, and the classifier's held-out ones in the test.
    assert all(part_of(f) == p for f, p in zip(materials.formulas.tolist(), materials.part, strict=True))
    assert (materials.part[materials.corpus.split == 1] == TEST).all()
    few = read_materials(table, rows=[3, 5])
    again = materials.only(np.array([materials.corpus.names.index(name) for name in few.corpus.names]))
    np.testing.assert_array_equal(few.corpus.level, again.corpus.level)
    np.testing.assert_array_equal(few.energy, again.energy)


def test_other_files_are_refused(tmp_path, table):
    (tmp_path / "text.npz").write_text("no")
    for path in (tmp_path / "absent.npz", tmp_path / "text.npz"):
        with pytest.raises(BadInput, match="eg-train materials"):
            Materials.load(path)
    with pytest.raises(BadInput, match="not a file"):
        read_materials(tmp_path / "absent.parquet")
    pd.DataFrame({"id": ["a"]}).to_parquet(tmp_path / "other.parquet")
    for read in (read_materials, formulas_of):
        with pytest.raises(BadInput, match="has no column"):
            read(tmp_path / "other.parquet")


@pytest.mark.slow
def test_clean_patterns_are_those_of_pymatgen(table):
    """Positions and heights of the lines of cubic structures, smeared, against another program's."""
    from pymatgen.analysis.diffraction.xrd import XRDCalculator
    from pymatgen.core import Lattice, Structure

    rows = pd.read_parquet(table)
    row = rows[(rows.spacegroup_number == 225) & (rows.nsites <= 4)].iloc[0]
    structure = Structure(
        Lattice.from_parameters(*row.lattice), row.species.tolist(), np.reshape(row.frac, (-1, 3))
    )
    # Ours has a displacement factor of B = 0.5 for all.
    factors = {str(s): 0.5 for s in structure.symbol_set}
    wanted = XRDCalculator(1.5405929, debye_waller_factors=factors).get_pattern(
        structure, two_theta_range=(5, 90)
    )
    grid = Grid(5.0, 90.0, 8192)
    found = clean_view(read_materials(table, rows=[row.name]).corpus, grid, CPU).take(torch.tensor([0]))[0][0]
    x, sigma = np.asarray(grid.two_theta), 0.2 / np.sqrt(8 * np.log(2))
    lines = np.exp(-0.5 * ((x[:, None] - wanted.x) / sigma) ** 2) @ wanted.y
    assert np.abs(found.numpy() - lines / lines.max()).max() < 0.06  # anomalous terms, levels of 4 %
    assert np.corrcoef(found.numpy(), lines)[0, 1] > 0.998


def test_worse_conditions_are_worse_and_repeat(made):
    corpus, grid = Materials.load(made).only(np.arange(24)).corpus, tiny().grid
    clean = condition("clean", corpus, grid, CPU)
    for name in CONDITIONS[1:]:
        view, again = (condition(name, corpus, grid, CPU, seed=5) for _ in range(2))
        assert torch.equal(view.root_NL, again.root_NL)
        assert not torch.equal(view.root_NL, clean.root_NL)
        assert int(view.root_NL.amax(1).min()) == 255
    cut = condition("range", corpus, grid, CPU)
    assert cut.covered_NL is not None
    x = np.asarray(grid.two_theta)
    np.testing.assert_array_equal(cut.covered_NL[0].numpy(), (x >= 20) & (x <= 60))
    with pytest.raises(BadInput, match="no condition"):
        condition("wet", corpus, grid, CPU)


def test_a_stage2_view_shows_each_structure_in_its_row(made):
    """The same structure clean and with nuisances: more alike than two structures are."""
    corpus, grid = Materials.load(made).only(np.arange(40)).corpus, tiny().grid
    clean = clean_view(corpus, grid, CPU, fwhm=0.8).root_NL.float()
    noisy = stage2_view(corpus, grid, CPU, seed=2).root_NL.float()
    both = np.corrcoef(clean.numpy(), noisy.numpy())[:40, 40:]
    own = np.diag(both)
    assert np.mean(own[:, None] >= both) > 0.75


def test_views_are_kept_and_made_anew_where_damaged(tmp_path, made):
    corpus, grid = Materials.load(made).only(np.arange(6)).corpus, tiny().grid
    path, calls = tmp_path / "view.npz", []

    def make():
        calls.append(1)
        return condition("range", corpus, grid, CPU)

    first, second = (kept(path, make, 6) for _ in range(2))
    assert len(calls) == 1
    assert first.covered_NL is not None
    assert second.covered_NL is not None
    assert torch.equal(first.root_NL, second.root_NL)
    assert torch.equal(first.covered_NL, second.covered_NL)
    path.write_bytes(path.read_bytes()[:100])
    kept(path, make, 6)
    assert len(calls) == 2


def test_losses_say_what_they_should():
    from eg_agent.model.xxact import Scale

    label = torch.tensor([1.0, float("nan"), 3.0])
    sharp = torch.tensor([[0.0, -2.0], [5.0, -2.0], [2.0, -2.0]], requires_grad=True)
    loss = laplace(sharp, label, Scale(1.0, 1.0))
    loss.backward()
    assert torch.isfinite(loss)
    assert sharp.grad is not None
    assert (sharp.grad[1] == 0).all()  # unknown: no gradient
    far = torch.tensor([[2.0, 0.0]], requires_grad=True)
    laplace(far, torch.tensor([1.0]), Scale(1.0, 1.0)).backward()
    assert far.grad is not None
    assert float(far.grad[0, 0]) == pytest.approx(1.0)  # of the absolute error, whatever the scale
    own = 10 * torch.eye(5)
    assert float(contrastive_loss(own)) < 0.01 < float(contrastive_loss(own.roll(1, 0)))
    hidden = hidden_tokens(1000, 32, 0.05, torch.Generator().manual_seed(0))
    assert hidden.any(1).all()
    assert 0.05 < float(hidden.float().mean()) < 0.07


def test_the_learning_rate_warms_up_and_falls_to_zero():
    config = XxactTrain("a", network=tiny(), samples=6400, batch=64, warmup=0.1)
    rates = [learning_rate(config, step) for step in range(config.steps)]
    assert rates.index(max(rates)) in (9, 10)
    assert rates[0] == pytest.approx(0.1 * config.lr)
    assert rates[-1] < 0.01 * config.lr
    assert xxact_train_of(config.to_dict()) == config
    with pytest.raises(BadInput):
        xxact_train_of({"name": "a", "lr": "much"})
    with pytest.raises(BadInput, match="pretraining needs both"):
        XxactTrain("a", inputs="xrd", objective="masked")


def short(**changes) -> XxactTrain:
    settings = {"name": "a", "network": tiny(), "samples": 640, "batch": 32, "judged_every": 320}
    return XxactTrain(**{**settings, **changes})


@pytest.mark.parametrize("patterns", ["clean", "mixed"])
def test_clean_patterns_vary_and_those_of_stage_2_do_not(made, patterns):
    """Whoever makes which part of a batch, it is the same batch, of the same structures."""
    plain = short(patterns=patterns)
    data = open_xxact(made, plain, CPU)
    varied, half = replace(plain, stretch=0.03, contrast=0.3), plain.batch // 2
    cut = torch.zeros(0)
    for step in range(4):
        before, after = (data.sample(config, step, 0, plain.batch) for config in (plain, varied))
        torch.testing.assert_close(after.labels.system_B, before.labels.system_B)
        parts = [data.sample(varied, step, at, half).intensity_BL for at in (0, half)]
        torch.testing.assert_close(torch.cat(parts), after.intensity_BL[: 2 * half])
        away = (after.intensity_BL - before.intensity_BL).abs().amax(1)
        if patterns == "clean":
            assert (away > 0.02).float().mean() > 0.8
        else:  # a pattern of which a part was not measured is one of stage 2
            cut = torch.cat([cut, away[~before.coverage_BL.all(1)]])
    assert patterns == "clean" or (len(cut) > 0 and float(cut.max()) < 0.01)


def test_settings_that_vary_what_cannot_be_are_refused():
    for wrong in ({"patterns": "stage2", "stretch": 0.03}, {"stretch": 0.6}, {"contrast": -1.0}):
        with pytest.raises(BadInput, match="stretch"):
            short(**wrong)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"inputs": "any", "patterns": "mixed", "rows": "half", "stretch": 0.03, "contrast": 0.3},
        {"objective": "masked and contrastive", "rows": "all"},
        {
            "network": replace(tiny(), symmetry=True),
            "weights": Weights(0.0, 0.0, 1.0, group=0.5, lattice=1.0),
            "rows": "all",
            "copies": 0.7,
            "strain": 0.02,
            "contrast": 0.3,
        },
        {
            "inputs": "any",
            "patterns": "mixed",
            "rows": "half",
            "copies": 0.7,
            "stretch": 0.03,
            "exchanged": 0.2,
            "network": replace(tiny(), match=True),
            "weights": Weights(match=1.0),
        },
    ],
)
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path, made, changes):
    config = short(samples=256, judged_every=64, **changes)
    data = open_xxact(made, config, CPU)
    whole = train_xxact(config, data, LocalContext(CPU), tmp_path / "whole")

    class Stops(LocalContext):
        asked = 0

        def stopping(self) -> bool:
            Stops.asked += 1
            return Stops.asked > 3

    first = train_xxact(config, data, Stops(CPU), tmp_path / "parts")
    assert first.interrupted
    assert first.step == 3
    state = tmp_path / "parts" / "state"
    rest = train_xxact(config, data, LocalContext(CPU, state), tmp_path / "parts")
    assert rest.step == whole.step == config.steps
    for name, value in whole.network.state_dict().items():
        torch.testing.assert_close(value, rest.network.state_dict()[name])
    assert [row["samples"] for row in rest.curve] == [row["samples"] for row in whole.curve]
    with pytest.raises(BadInput, match="other settings"):
        train_xxact(replace(config, lr=2.0), data, LocalContext(CPU, state), tmp_path / "parts")


@pytest.mark.slow
def test_it_learns_energies_from_compositions_and_systems_from_patterns(made, tmp_path):
    known = {"samples": 12_000, "lr": 3e-3, "judged_every": 6_000}
    for inputs, weights in (("composition", Weights(gap=0, system=0)), ("xrd", Weights(energy=0, gap=0))):
        config = short(inputs=inputs, weights=weights, **known)
        data = open_xxact(made, config, CPU)
        network = train_xxact(config, data, LocalContext(CPU), tmp_path / inputs).network.eval()
        sample = data.of_rows(data.train[: data.labelled])
        with torch.inference_mode():
            if inputs == "composition":
                said = (
                    network(None, None, sample.given).energy_B2[:, 0] * data.scales[0][1] + data.scales[0][0]
                )
                error = (said - sample.labels.energy_B).abs().mean()
                assert error < 0.5 * (sample.labels.energy_B - sample.labels.energy_B.median()).abs().mean()
            else:
                said = network(sample.intensity_BL, None, None).system_BS.argmax(1)
                most = sample.labels.system_B.bincount().max() / len(said)
                assert (said == sample.labels.system_B).float().mean() > most + 0.15


def test_runs_of_the_tables_can_be_made():
    assert set(ORDER) == set(VARIANTS)
    at = setting("tiny")
    order = [run.variant for run in runs_of(1)]
    for run in runs_of(2):
        config = config_of_run(run, at)
        if config.begin_from:  # what a run begins from is made before it, with the same seed
            assert config.begin_from.endswith(f"-s{run.seed}")
            assert order.index(config.begin_from.rpartition("-s")[0]) < order.index(run.variant)
    for name in ("core", "long", "night", "day", "gpu"):
        config_of_run(XxactRun("both"), setting(name))
    for wrong in (
        lambda: setting("huge"),
        lambda: runs_of(1, ("none",)),
        lambda: config_of_run(XxactRun("x"), at),
    ):
        with pytest.raises(BadInput):
            wrong()


def test_a_power_law_and_its_crossing_are_found():
    sizes = np.array([1e3, 4e3, 1.6e4])
    a, b = power_law(sizes, 3.0 * sizes**-0.4)
    assert (a, b) == pytest.approx((3.0, 0.4))
    # The published laws, D in millions: near 90,000.
    assert 1e6 * crossing((0.07, 0.335), (0.14, 0.046)) == pytest.approx(91_000, rel=0.02)
    assert np.isnan(crossing((0.1, 0.1), (0.1, 0.2)))
    curve = [{"samples": s, "energy_mae": e} for s, e in ((10, 3.0), (20, 2.0), (30, 1.0))]
    faster = [{"samples": s, "energy_mae": e} for s, e in ((10, 1.5), (20, 0.9), (30, 0.8))]
    found = speed(curve, faster)
    assert found is not None
    assert (found.low, found.high) == (1.5, 3.0)
    assert speed(faster, curve) is None


def test_intervals_keep_formulas_together():
    values = np.repeat([0.0, 1.0], 50)
    wide = PropertyBootstrap(["a"] * 50 + ["b"] * 50).mean(values)
    narrow = PropertyBootstrap([str(i) for i in range(100)]).mean(values)
    assert (wide.low, wide.high) == (0.0, 1.0)
    assert 0.35 < narrow.low < narrow.value < narrow.high < 0.65


@pytest.mark.slow
def test_tables_checkpoint_and_benchmark_from_the_command_line(tmp_path, made, table):
    run = CliRunner()

    def said(*arguments: object) -> str:
        result = run.invoke(app, [str(a) for a in arguments])
        assert result.exit_code == 0, result.output + repr(result.exception)
        return result.output

    runs = tmp_path / "runs"
    common = ("reproduce", "xxact", "--out", runs, "--corpus", made, "--reference", "tiny", "--threads", 1)
    only = [f"--only={name}" for name in ("composition", "both", "any", "pretrained-masked", "both-masked")]
    stopped = said(*common, *only, "--minutes", 1e-6)
    assert "the same command goes on from here" in stopped
    page = tmp_path / "page.md"
    said(*common, *only, "--page", page)
    text = page.read_text()
    for part in ("composition only", "131 meV/atom", "Pretraining", "stage 2, all nuisances", "0.335"):
        assert part in text
    assert (tmp_path / "xxact-scaling.png").is_file() or "labelled structures |" not in text
    assert "run 1" not in said(*common, *only)  # all finished
    assert "samples" in said("reproduce", "xxact", "--out", runs, "--plan")
    said("multimodal", "--runs", runs, "--corpus", made, "--out", tmp_path / "ship")
    arguments = (
        "benchmark",
        "--structures",
        table,
        "--what",
        "properties",
        "--checkpoint",
        tmp_path / "ship",
    )
    found = json.loads(said(*arguments, "--json", "--with-trained"))
    for part in (found, found["trained"]):
        for name in ("both", "composition", "xrd"):
            for metric in ("formation_energy_mae", "band_gap_mae", "crystal_system_accuracy"):
                value = part[name][metric]
                assert value["low"] <= value["value"] <= value["high"]
    assert found["n"] + found["trained"]["n"] == len(Materials.load(made))
    plain = json.loads(said(*arguments, "--json"))
    assert plain["both"] == found["both"]
    assert plain["left_out"] > 0
    shown = " ".join(said(*arguments).split())
    assert "composition and pattern" in shown
    assert plain["settings"]["limits"][0] in shown
    other = run.invoke(app, [*map(str, common[:-4]), "--reference", "tiny", "--seeds", "0"])
    assert isinstance(other.exception, BadInput)
    for wrong in (("benchmark", "--what", "properties"), ("benchmark", "--what", "network")):
        assert isinstance(run.invoke(app, list(wrong)).exception, BadInput)


def test_a_corpus_spares_the_packing(table, made, tmp_path):
    materials = Materials.load(made)
    materials.corpus.save(tmp_path / "corpus.npz")
    again = read_materials(table, Corpus.load(tmp_path / "corpus.npz"))
    np.testing.assert_array_equal(again.energy, materials.energy)
    np.testing.assert_array_equal(again.corpus.hkl, materials.corpus.hkl)
    assert isinstance(Xxact(tiny()).parameters_count, int)
