"""What a retraining run trains on: the mixture, the verified patterns in it, and who is left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eg_agent.errors import BadInput
from eg_agent.model import read_card
from simulators.corpus import Corpus
from simulators.stream import Batch
from trainer.config import tiny
from trainer.data import open_data
from trainer.retrain.bundle import Measured, Mixed, open_bundle, subset, write_bundle
from trainer.retrain.focus import focused
from trainer.retrain.recent import Recent


class Counting:
    """A stream whose pattern i says its own number and whose it is."""

    def __init__(self, name: int) -> None:
        self.name = name

    def group_probability(self):
        return np.eye(99)[self.name]

    def batch(self, start: int, n: int) -> Batch:
        numbers = torch.arange(start, start + n)
        whose = torch.full((n,), self.name)
        return Batch(numbers[:, None].float(), torch.ones(n, 1, dtype=torch.bool), whose, numbers, numbers)


@given(st.integers(0, 500), st.integers(1, 60), st.lists(st.integers(1, 9), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_the_mixture_is_a_function_of_the_number(start, n, shares):
    mixed = Mixed([(share, Counting(k)) for k, share in enumerate(shares)])
    whole = mixed.batch(0, start + n)
    part = mixed.batch(start, n)
    assert part.group.tolist() == whole.group[start:].tolist()
    assert part.structure.tolist() == whole.structure[start:].tolist()
    for k in range(len(shares)):  # each stream's patterns in their order, none left out
        mine = whole.structure[whole.group == k].tolist()
        assert mine == list(range(len(mine)))
    period = mixed.batch(0, sum(shares))
    assert np.bincount(period.group.numpy(), minlength=len(shares)).tolist() == shares
    np.testing.assert_allclose(mixed.group_probability()[: len(shares)], np.array(shares) / sum(shares))


def test_verified_patterns_are_shaken_and_stay_what_they_are(recent):
    step = 85.0 / (recent.intensity.shape[1] - 1)
    stream = Measured(recent.intensity, recent.coverage, recent.labels, 5, step)
    first, second = stream.batch(0, 40), stream.batch(30, 10)
    assert torch.equal(first.intensity[30:], second.intensity)
    assert first.intensity.min() >= 0
    torch.testing.assert_close(first.intensity.amax(1), torch.ones(40))
    assert not (first.intensity * ~first.coverage).any()
    for i in range(40):  # each is near one of the patterns with its label
        like = recent.intensity[recent.labels == int(first.group[i])]
        cosine = (like @ first.intensity[i].numpy()) / np.linalg.norm(like, axis=1)
        assert (cosine / np.linalg.norm(first.intensity[i])).max() > 0.9
    np.testing.assert_allclose(stream.group_probability().sum(), 1.0)


@pytest.fixture
def bundle(tmp_path, corpus, recent, random_checkpoint):
    grid = read_card(random_checkpoint).architecture.grid
    axis = np.linspace(grid.two_theta_min, grid.two_theta_max, grid.length)
    train, judge = recent.split(0.4)
    excluded = [(run.formula, run.cell) for run in judge.runs]
    path = tmp_path / "bundle.npz"
    made = write_bundle(path, Corpus.load(corpus), train, focused(train, axis), excluded, seed=1)
    config = replace(tiny(), network=read_card(random_checkpoint).architecture, curriculum="retrain")
    return path, made, config, train, judge


def test_no_compound_that_judges_is_in_the_bundle(bundle, corpus):
    path, made, _, train, judge = bundle
    with np.load(path) as data:
        formulas = data["formula_text"].tobytes().decode().split("\n")
        assert len(data["measured_group"]) == len(train) == made.measured
    judging = set(judge.compounds)
    assert judging & set(Corpus.load(corpus).formulas)  # they were there to be left out
    assert not judging & set(formulas)
    assert not judging & set(train.compounds)
    assert made.left_out > 0
    assert made.structures + made.left_out == len(Corpus.load(corpus))


def test_a_bundle_opens_as_a_corpus_does(bundle):
    path, _, config, train, _ = bundle
    data = open_data(path, config, torch.device("cpu"))
    batch = data.stream.batch(0, 40)
    assert batch.intensity.shape == (40, config.network.length)
    assert torch.isfinite(batch.intensity).all()
    assert (batch.structure == -1).sum() == 6  # three of twenty are verified patterns
    assert set(batch.group[batch.structure == -1].tolist()) <= set(train.labels.tolist())
    again = open_bundle(path, config, torch.device("cpu")).stream.batch(17, 5)
    torch.testing.assert_close(again.intensity, batch.intensity[17:22], atol=1e-4, rtol=0)
    assert data.log_train_prior.shape == (99,)
    assert data.curriculum["stage"] == "retrain"
    assert data.held_out.stream.batch(0, 4).intensity.shape == (4, config.network.length)


def test_anything_else_is_refused(tmp_path, corpus, bundle):
    config = bundle[2]
    with pytest.raises(BadInput, match="no bundle"):
        open_data(corpus, config, torch.device("cpu"))
    with pytest.raises(BadInput, match="no bundle"):
        open_data(tmp_path / "nothing.npz", config, torch.device("cpu"))


def test_some_structures_of_a_corpus(corpus):
    whole = Corpus.load(corpus)
    rows = np.array([5, 2, 9])
    some = subset(whole, rows)
    assert len(some) == 3
    assert some.names == [whole.names[r] for r in rows]
    for i, row in enumerate(rows):
        mine = slice(some.offset[i], some.offset[i + 1])
        theirs = slice(whole.offset[row], whole.offset[row + 1])
        np.testing.assert_array_equal(some.hkl[mine], whole.hkl[theirs])
        np.testing.assert_array_equal(some.level[mine], whole.level[theirs])


def test_recent_runs_are_kept_in_files(tmp_path, recent):
    recent.save(tmp_path / "recent")
    again = Recent.load(tmp_path / "recent")
    assert again.runs == recent.runs
    np.testing.assert_allclose(again.intensity, recent.intensity, atol=1e-3)
    np.testing.assert_array_equal(again.coverage, recent.coverage)


def test_the_simulator_is_set_to_the_instrument_that_was_seen(recent, random_checkpoint):
    """What the focus takes from patterns is what they were made with, within what patterns can tell."""
    grid = read_card(random_checkpoint).architecture.grid
    axis = np.linspace(grid.two_theta_min, grid.two_theta_max, grid.length)
    focus = focused(recent, axis)
    (lamp,) = focus.instrument.lamps
    assert (lamp.wavelength, lamp.wavelength2) == (1.936042, 1.93998)
    # Gaussian 0.22 and Lorentzian 0.1 degrees: a Voigt of 0.28
    assert 0.2 < focus.instrument.fwhm_median < 0.42
    first = 2 * np.degrees(np.arcsin(np.sin(np.radians(10.0)) * 1.540593 / 1.936042))
    last = 2 * np.degrees(np.arcsin(np.sin(np.radians(45.0)) * 1.540593 / 1.936042))
    assert abs(focus.recording.start[0] - first) < 0.3
    assert abs(focus.recording.end[1] - last) < 0.3
    assert focus.recording.full_range_share == 0.0
    assert focus.recording.subtract_share == 0.0
    low, high = focus.recording.counts or (0, 0)
    assert low < 4000 < high < 20_000
    assert 0.002 < focus.recording.background_median < 0.1  # flat 0.01, and air
