"""The classifier with the shipped checkpoint: patterns in, posteriors out."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import log_softmax

from eg_agent.errors import BadInput, BadPattern
from eg_agent.model import Classifier, Posterior, log_prior, read_card, shipped_names
from eg_agent.model.checkpoint import find_checkpoint
from eg_agent.model.fusion import apply
from eg_agent.patterns import Pattern, Radiation
from simulators.corpus import COMPUTED, pack
from simulators.stream import PatternStream
from simulators.stream_config import stage2
from simulators.textbook import textbook


def pattern(low=5.0, high=90.0, seed=0) -> Pattern:
    rng = np.random.default_rng(seed)
    angle = np.arange(low, high, 0.02)
    centres = rng.uniform(low, high, 30)
    peaks = np.exp(-(((angle[:, None] - centres) / 0.06) ** 2)) @ rng.gamma(1.0, 300.0, 30)
    return Pattern(angle, rng.poisson(20 + peaks).astype(float), Radiation.anode("Cu"), raw_counts=True)


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier.load()


@pytest.fixture(scope="module")
def textbook_patterns() -> PatternStream:
    """Simulated patterns of the textbook structures, coordinates and cells as the package has them."""
    corpus = pack((c, COMPUTED) for c in textbook())
    corpus = replace(corpus, split=np.zeros(len(corpus), np.uint8))
    return PatternStream(corpus, stage2(), 11, Classifier.load().grid)


def test_posterior_says_where_it_comes_from(classifier):
    posterior = classifier.predict(pattern())
    assert isinstance(posterior, Posterior)
    assert np.exp(posterior.log_probability).sum() == pytest.approx(1.0)
    assert posterior.checkpoint == classifier.checkpoint_hash == classifier.card.hash
    assert posterior.prior == "mineral"
    np.testing.assert_allclose(posterior.log_prior, log_prior("mineral"))
    aux = log_softmax(classifier.outputs([pattern()]).aux[0])
    ambiguous = -(np.exp(aux) * aux).sum() / np.log(99) - 0.5
    calibration = classifier.card.calibration
    expected = calibration.temperature * np.exp(calibration.entropy_slope * ambiguous)
    assert posterior.temperature == pytest.approx(expected, rel=1e-6)


def glass(seed: int) -> Pattern:
    """A halo of silica glass on a background."""
    angle = np.arange(5, 90, 0.02)
    rate = 60.0 + 400.0 * np.exp(-0.5 * ((angle - 21.8) / 3.5) ** 2)
    counts = np.random.default_rng(seed).poisson(rate).astype(float)
    return Pattern(angle, counts, Radiation.anode("Cu"), raw_counts=True)


def test_the_shipped_checkpoint_refuses_what_it_was_not_made_for(classifier, textbook_patterns):
    assert classifier.card.novelty.refused["amorphous"] > 0.5
    strange = classifier.predict([glass(seed) for seed in range(8)])
    assert sum(p.out_of_distribution for p in strange) >= 6
    assert all(p.novelty is not None for p in strange)
    batch = textbook_patterns.batch(0, 48)
    z = classifier.projected_outputs(batch.intensity.numpy(), batch.coverage.numpy()).novelty
    assert (z > classifier.card.novelty.threshold).mean() < 0.1


def test_a_list_and_one_by_one_agree(classifier):
    several = [pattern(seed=1), pattern(10, 60, seed=2), pattern(20, 140, seed=3)]
    for one, among in zip(map(classifier.predict, several), classifier.predict(several)):
        np.testing.assert_allclose(one.log_probability, among.log_probability, atol=1e-4)
    assert classifier.predict([]) == []


def test_scale_of_intensities_does_not_matter(classifier):
    once = pattern(seed=4)
    scaled = replace(once, intensity=once.intensity * 7.5, raw_counts=False)
    np.testing.assert_allclose(
        classifier.predict(once).log_probability, classifier.predict(scaled).log_probability, atol=1e-3
    )


def test_the_prior_moves_the_answer_as_bayes_says(classifier):
    uniform = Classifier.load(prior="uniform")
    shift = classifier.predict(pattern()).log_probability - uniform.predict(pattern()).log_probability
    weight = classifier.calibration.prior_weight
    expected = weight * (log_prior("mineral") - log_prior("uniform"))
    np.testing.assert_allclose(shift - shift.mean(), expected - expected.mean(), atol=1e-6)


def test_shipped_checkpoint_beats_the_prior_on_textbook_structures(classifier, textbook_patterns):
    batch = textbook_patterns.batch(0, 192)
    split, aux = classifier.projected_scores(batch.intensity.numpy(), batch.coverage.numpy())
    # judged under this set's own class frequencies, on both sides
    prior = np.log(np.maximum(textbook_patterns.group_probability(), 1e-6))
    prior -= np.log(np.exp(prior).sum())
    log_p = apply(classifier.calibration, split, aux, classifier.log_train_prior, prior)
    label = batch.group.numpy()
    gain = (log_p[np.arange(192), label] - prior[label]) / np.log(2)
    rng = np.random.default_rng(0)
    means = [gain[rng.integers(0, 192, 192)].mean() for _ in range(500)]
    assert np.percentile(means, 2.5) > 0.0


def test_no_common_range_is_refused(classifier):
    with pytest.raises(BadPattern, match="no point on the network's range"):
        classifier.predict(pattern(100.0, 140.0))


@pytest.mark.parametrize("name", shipped_names())
def test_shipped_checkpoints_are_whole_small_and_say_what_they_are(name):
    card = read_card(name)
    Classifier.load(name)
    assert card.name == name
    assert card.size
    assert card.limits
    assert card.cost["patterns"] > 0
    assert card.held_out["bits_over_prior"] > 0
    size = find_checkpoint(name).with_suffix(".safetensors").stat().st_size
    assert size < 8e6
    for word in ("/work", "/tmp", "/home"):
        assert word not in find_checkpoint(name).read_text()


def test_unknown_prior(classifier):
    with pytest.raises(BadInput, match="unknown prior"):
        Classifier.load(prior="guess")


def test_reading_a_posterior_loads_no_torch():
    code = (
        "import sys, eg_agent.model as m; m.Posterior, m.log_prior('mineral'); print('torch' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
