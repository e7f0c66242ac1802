"""Challenger against champion on the same patterns: who wins, and that nothing wins against itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eg_agent.errors import BadInput
from eg_agent.model import Classifier
from trainer.retrain.gates import Gates, judged
from trainer.retrain.judge import Answers, answers, compare, gathered


@pytest.fixture(scope="module")
def setup(recent, random_checkpoint):
    champion = Classifier.load(random_checkpoint)
    patterns = gathered(recent, champion, None)
    return champion, patterns


def test_nothing_wins_against_itself(setup):
    champion, patterns = setup
    mine = answers(champion, patterns, prior="mineral")
    figures = compare(mine, mine, patterns, coverage=0.9)
    bits = figures["recent"]["gain"]["bits"]
    assert (bits["value"], bits["low"], bits["high"]) == (0.0, 0.0, 0.0)
    assert "benchmark" not in figures
    gates = {gate.name: gate.passed for gate in judged(Gates(), figures)}
    assert gates["recent_bits"] is False  # as good is not better
    assert gates["recent_top1"] is True
    assert gates["benchmark_bits"] is None


@given(st.floats(0.5, 4.0))
@settings(max_examples=10, deadline=None)
def test_a_network_that_knows_wins_by_what_it_knows(setup, nats):
    """Scores raised at the true groups: the gain is there, paired, and the other way round it is lost."""
    champion, patterns = setup
    theirs = answers(champion, patterns, prior="mineral")
    log_prob = theirs.folds.log_prob.copy()
    log_prob[np.arange(len(patterns.labels)), patterns.labels] += nats
    log_prob -= np.log(np.exp(log_prob).sum(1, keepdims=True))
    mine = Answers(replace(theirs.folds, log_prob=log_prob), theirs.deployed, theirs.fitted)
    won = compare(mine, theirs, patterns, coverage=0.9)["recent"]["gain"]["bits"]
    lost = compare(theirs, mine, patterns, coverage=0.9)["recent"]["gain"]["bits"]
    assert won["low"] > 0
    assert lost["high"] < 0
    assert won["value"] == pytest.approx(-lost["value"])
    rows = np.arange(len(patterns.labels))
    expected = (log_prob - theirs.folds.log_prob)[rows, patterns.labels].mean() / np.log(2)
    assert won["value"] == pytest.approx(expected, abs=1e-6)


def test_answers_are_probabilities_made_without_the_compound(setup):
    """Labels of one compound changed: its own answers may not change, since no fit of theirs has seen it."""
    champion, patterns = setup
    one = answers(champion, patterns, prior="mineral", seed=3).folds
    np.testing.assert_allclose(np.exp(one.log_prob).sum(1), 1.0)
    mine = np.array(patterns.compounds) == patterns.compounds[0]
    labels = np.where(mine, (patterns.labels + 40) % 99, patterns.labels)
    other = answers(champion, replace(patterns, labels=labels), prior="mineral", seed=3).folds
    np.testing.assert_allclose(other.log_prob[mine], one.log_prob[mine], atol=1e-9)
    assert np.abs(other.log_prob[~mine] - one.log_prob[~mine]).max() > 1e-6  # the others have


def test_too_few_compounds_are_refused(recent, random_checkpoint):
    champion = Classifier.load(random_checkpoint)
    some = recent.take(np.arange(len(recent)) < 6)  # three compounds
    with pytest.raises(BadInput, match="3 compounds are too few"):
        answers(champion, gathered(some, champion, None), prior="mineral")
