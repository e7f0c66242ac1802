"""The network learns, goes on where it stopped, is the same in torch and numpy; its files and its command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from typer.testing import CliRunner

from eg_agent.errors import BadInput
from eg_agent.verify.absence_network import WEIGHTS, network_of
from eg_agent.verify.line_features import LineFeatures
from eg_agent.verify.metric import metric_system
from simulators.corpus import held_out
from simulators.textbook import textbook
from trainer.absences.intensities import LineSample, line_sample
from trainer.absences.network import AbsenceModule, Lines, Size, group_likelihoods, padded
from trainer.absences.packaging import Trained, ship
from trainer.absences.store import LineSamples, copied, make, molecular, read, write
from trainer.absences.together import put_together
from trainer.absences.training import AbsenceTraining, judged, log_prior, train
from trainer.absences.whole import WholeTraining, curves_of, said, train_whole
from trainer.benchmark.simulated_samples import own_metric
from trainer.cli.main import app

SMALL = AbsenceTraining(samples=1600, batch=16, warm=5, size=Size(8, 16, 16, 8))


@pytest.fixture(scope="module")
def samples() -> list[LineSample]:
    """Textbook structures several times over, every fifth held out."""
    crystals = [c for c in textbook() if own_metric(c)]
    found = []
    for place in range(160):
        sample = line_sample(crystals[place % len(crystals)], None, np.random.default_rng(place))
        if sample is not None:
            found.append(replace(sample, held_out=place % 5 == 0))
    return found


def _lines(sample: LineSample) -> LineFeatures:
    values = np.asarray(sample.values, dtype=float)
    return LineFeatures(values, sample.kinds, sample.family, np.asarray(sample.shape, dtype=float))


def test_files_keep_samples(samples: list[LineSample], tmp_path: Path) -> None:
    write(tmp_path / "x.npz", samples)
    for one, two in zip(samples, read(tmp_path / "x.npz"), strict=True):
        np.testing.assert_allclose(one.values, two.values, atol=5e-3)
        np.testing.assert_array_equal(one.forbidden, two.forbidden)
        np.testing.assert_array_equal(one.groups, two.groups)
        np.testing.assert_array_equal(one.kinds, two.kinds)
        np.testing.assert_allclose(one.shape, two.shape, atol=1e-6)
        assert (one.group, one.family, one.held_out) == (two.group, two.family, two.held_out)
    (tmp_path / "x.npz").write_bytes(b"no file")
    with pytest.raises(BadInput, match="no file of line samples"):
        read(tmp_path / "x.npz")


def test_torch_and_numpy_say_the_same_whatever_is_beside_a_sample(samples: list[LineSample]) -> None:
    torch.manual_seed(1)
    module = AbsenceModule(Size(8, 16, 16, 8))
    network = network_of(module.tensors())
    with torch.no_grad():
        together = module(padded(samples[:12])).numpy()
    for sample, row in zip(samples, together, strict=False):
        said = network.score(_lines(sample), sample.forbidden, sample.groups)
        np.testing.assert_allclose(said, row[: len(sample.groups)], atol=1e-4)


def test_a_network_takes_up_the_weights_of_another() -> None:
    one, other = AbsenceModule(SMALL.size), AbsenceModule(SMALL.size)
    other.take_up(one.tensors() | {"whole 0.0.weight": np.zeros((2, 2))})
    for name, value in one.tensors().items():
        np.testing.assert_array_equal(other.tensors()[name], value)
    with pytest.raises(RuntimeError):
        AbsenceModule(Size(8, 16, 16, 4)).take_up(one.tensors())


def test_training_further_begins_with_the_weights_of_the_package(
    samples: list[LineSample], tmp_path: Path
) -> None:
    network, _ = train(samples, tmp_path, AbsenceTraining(samples=480, further=True, rate=0.0))
    weights = load_file(WEIGHTS)
    for name, value in network.tensors().items():
        np.testing.assert_allclose(value, weights[name], atol=1e-6)


def test_what_went_on_says_what_it_was_before(samples: list[LineSample], tmp_path: Path) -> None:
    training = replace(SMALL, further=True)
    module, whole = AbsenceModule(SMALL.size), WholeTraining(epochs=1, width=16)
    members = train_whole(samples, tmp_path, whole)
    together = put_together(module, members, samples, log_prior(samples))
    figures = judged(module, samples[:20], log_prior(samples))
    about = ship(Trained(module, figures, training, members, together, whole), tmp_path, 3, "2026-01-01")
    package = json.loads(WEIGHTS.with_suffix(".json").read_text())
    assert about["before"]["training"] == package["training"]
    assert about["before"]["trained_on"] == package["trained_on"]


def test_training_sees_isotypes_coarsely_and_is_judged_finely(
    samples: list[LineSample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Lines] = []
    monkeypatch.setattr("trainer.absences.training.like_isotypes", lambda of, rng: seen.append(of) or of)
    network, _ = train(samples, tmp_path, replace(SMALL, coarse=1.0))
    assert len(seen) == SMALL.steps
    assert not network.coarse
    batch = padded(samples[:8])
    with torch.no_grad():
        fine = network(batch)
        network.coarse = True
        coarse = network(batch)
    assert not torch.equal(fine, coarse)
    torch.testing.assert_close(fine, coarse, rtol=0.05, atol=0.2)


def test_the_rate_rises_and_falls() -> None:
    training = AbsenceTraining(samples=48_000, warm=100)
    shares = [training.share_of_rate(step) for step in range(training.steps + 1)]
    assert shares[0] == pytest.approx(0.01)
    assert max(shares) == max(shares[90:110]) > 0.97
    assert shares[-1] == pytest.approx(0.0, abs=1e-12)


def test_a_group_has_the_mean_likelihood_of_its_settings() -> None:
    score = torch.tensor([[0.0, np.log(3.0), 5.0, -7.0]], dtype=torch.float32)
    found = group_likelihoods(score, torch.tensor([[4, 4, 9, 0]]))
    assert (found[0, 9] - found[0, 4]).item() == pytest.approx(5.0 - np.log(2.0), abs=1e-5)
    assert (found > -1e8).sum() == 2


class Stopped(Exception):
    """Ends a training in the middle."""


def test_training_learns_and_goes_on_where_it_stopped(
    samples: list[LineSample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    whole, figures = train(samples, tmp_path / "a", SMALL)
    untrained = judged(AbsenceModule(SMALL.size), [s for s in samples if s.held_out], log_prior(samples))
    assert figures.nll < untrained.nll
    assert figures.nll < figures.nothing

    def stop(text: str) -> None:
        assert text.startswith("40 of 100 steps")
        raise Stopped

    (tmp_path / "b").mkdir()
    monkeypatch.setattr("trainer.absences.training.KEPT_EVERY", 40)
    with pytest.raises(Stopped):
        train(samples, tmp_path / "b", SMALL, stop)
    resumed, _ = train(samples, tmp_path / "b", SMALL)
    for name, value in whole.tensors().items():
        np.testing.assert_allclose(resumed.tensors()[name], value, atol=1e-6)
    with pytest.raises(BadInput, match="other settings"):
        train(samples, tmp_path / "b", replace(SMALL, rate=1e-4))


@pytest.mark.parametrize("damaged", [b"", b"no state", b"PK\x03\x04 cut off"])
def test_a_damaged_state_is_said_and_kept(damaged: bytes, samples: list[LineSample], tmp_path: Path) -> None:
    (tmp_path / "state.pt").write_bytes(damaged)
    with pytest.raises(BadInput, match="holds no state of a training"):
        train(samples, tmp_path, SMALL)
    assert (tmp_path / "state.pt").read_bytes() == damaged


def test_too_few_samples_are_refused(samples: list[LineSample], tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="too few"):
        train(samples[:10], tmp_path, SMALL)


def test_what_is_shipped_is_what_was_trained(samples: list[LineSample], tmp_path: Path) -> None:
    module = AbsenceModule(SMALL.size)
    figures = judged(module, samples[:20], log_prior(samples))
    whole = WholeTraining(epochs=1, width=16)
    members = train_whole(samples, tmp_path, whole)
    together = replace(put_together(module, members, samples, log_prior(samples)), absences=0.5, whole=0.25)
    about = ship(Trained(module, figures, SMALL, members, together, whole), tmp_path, 3, "2026-01-01")
    assert json.loads((tmp_path / "absence_network.json").read_text()) == json.loads(json.dumps(about))
    assert "before" not in about
    again = network_of(load_file(tmp_path / "absence_network.safetensors"))
    sample = samples[0]
    of = _lines(sample), sample.forbidden, sample.groups
    of_whole = said(members, curves_of([sample], log_prior(samples)))[0].numpy()[sample.groups - 1]
    np.testing.assert_array_equal(again.score(*of), network_of(module.tensors()).score(*of))
    np.testing.assert_allclose(again.of_whole(of[0])[sample.groups - 1], 0.25 * of_whole, atol=2e-3)


def test_samples_are_a_function_of_seed_and_number_and_are_not_made_twice(
    structures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.absences.store.A_FILE", 3)
    files = make(structures, tmp_path, 6, seed=4)
    assert len(files) == 2
    apart = LineSamples(structures, 4)(4)
    np.testing.assert_allclose(read(files[1])[1].values, apart.values, atol=5e-3)
    before = files[0].stat().st_mtime_ns
    make(structures, tmp_path, 6, seed=4)
    assert files[0].stat().st_mtime_ns == before
    with pytest.raises(BadInput, match="made in another way"):
        make(structures, tmp_path, 6, seed=5)


def test_a_copy_has_the_symmetry_of_its_crystal_and_is_of_nothing_held_out() -> None:
    changed = 0
    for place, crystal in enumerate(textbook()):
        copy = copied(crystal, np.random.default_rng(place))
        if held_out(crystal.formula):
            assert copy is crystal
            continue
        assert not held_out(copy.formula)
        assert copy.group == crystal.group
        assert metric_system(copy.cell).name == metric_system(crystal.cell).name
        changed += copy.cell != crystal.cell
    assert changed > 20


def test_copies_and_molecular_crystals_come_after_the_structures_as_they_are(
    structures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = [LineSamples(structures, 4)(number) for number in range(12)]
    monkeypatch.setattr("trainer.absences.store.AS_THEY_ARE", 3)
    monkeypatch.setattr("trainer.absences.store.MOLECULAR_FROM", 9)
    changed = [LineSamples(structures, 4)(number) for number in range(12)]
    for one, two in zip(plain[:3], changed[:3], strict=True):
        np.testing.assert_array_equal(one.values, two.values)
    # but for those that are held out, or have no copy that is not
    kept = {tuple(sample.shape) for sample in plain[3:]} & {tuple(sample.shape) for sample in changed[3:]}
    assert len(kept) < 4
    crystal = molecular(np.random.default_rng(2))
    assert crystal is not None
    assert "C" in crystal.elements
    assert min(crystal.stabilisers) == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--structures", "nowhere", "--out", "x"], "is not a folder"),
        (["--structures", ".", "--out", "x"], "no structures"),
    ],
)
def test_the_command_refuses_what_it_cannot_use(
    given: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(app, ["absences", *given])
    assert found.exit_code != 0
    assert isinstance(found.exception, BadInput)
    assert said in str(found.exception)
    assert not list((tmp_path / "x").glob("*.npz"))
