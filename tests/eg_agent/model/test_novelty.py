"""The novelty reference: ordinary patterns are ordinary, others are not."""

from __future__ import annotations

import numpy as np
import pytest

from eg_agent.errors import BadInput
from eg_agent.model.fusion import Calibration, apply
from eg_agent.model.novelty import NoveltyReference, fit_novelty
from eg_agent.values import from_json, to_json

UNIFORM = np.full(99, -np.log(99.0))


def features(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(12, 64))
    return rng.normal(size=(n, 12)) @ mixing + 0.05 * rng.normal(size=(n, 64)) + 3.0


def test_threshold_is_passed_by_as_many_as_it_says_and_by_strangers():
    reference = fit_novelty(features(4000, 0), components=32, quantile=0.99)
    fresh = reference.novelty(features(4000, 1))
    assert (fresh > reference.threshold).mean() == pytest.approx(0.01, abs=0.008)
    strange = features(200, 2) + 2.0 * np.random.default_rng(3).normal(size=(200, 64))
    assert (reference.novelty(strange) > reference.threshold).all()


def test_a_direction_refuses_what_is_no_further_away():
    # Shifted by 3.5 standard deviations along one of twelve directions: the distance sees little of it.
    mixing = np.random.default_rng(99).normal(size=(12, 64))
    towards = np.linalg.pinv(mixing)[:, 3]
    strange = features(300, 4) + 3.5 * mixing[3]
    plain = fit_novelty(features(4000, 0), components=12)
    assert (plain.novelty(strange) > plain.threshold).mean() < 0.5
    found = fit_novelty(
        features(4000, 0), components=12, direction=7.0 * towards, foreign={"shifted": strange}
    )
    assert found.refused["shifted"] > 0.7
    assert found.refused["shifted"] == (found.novelty(strange) > found.threshold).mean()
    fresh = found.novelty(features(4000, 1))
    assert (fresh > found.threshold).mean() == pytest.approx(0.01, abs=0.008)
    again = from_json(NoveltyReference, to_json(found))
    np.testing.assert_allclose(again.novelty(strange), found.novelty(strange))


def test_json_round_trip_and_wrong_network():
    reference = fit_novelty(features(200, 0))
    again = from_json(NoveltyReference, to_json(reference))
    np.testing.assert_allclose(again.novelty(features(5, 1)), reference.novelty(features(5, 1)))
    with pytest.raises(BadInput, match="64 features"):
        reference.novelty(np.zeros((2, 10)))
    with pytest.raises(BadInput, match="at least 40"):
        fit_novelty(features(10, 0))


def test_a_positive_slope_flattens_what_is_strange():
    aux = np.zeros((2, 99))
    aux[:, 5] = 6.0
    calibration = Calibration(1.2, 0.0, novelty_slope=0.5)
    logp = apply(calibration, aux, aux, UNIFORM, UNIFORM, [0.0, 2.0])
    assert logp[1, 5] < logp[0, 5]
    np.testing.assert_allclose(calibration.temperature_of([2.0])[0, 0], 1.2 * np.exp(1.0))
    np.testing.assert_allclose(logp[0], apply(Calibration(1.2, 0.0), aux, aux, UNIFORM, UNIFORM)[0])
