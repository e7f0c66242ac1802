"""Calibration recovers what the data were made with, and folds stay apart."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import approx_fprime, minimize
from scipy.special import log_softmax

from eg_agent.errors import BadInput
from eg_agent.model.fusion import ambiguity
from trainer.calibrate import (
    Calibration,
    _LogPool,
    apply,
    calibrate_folds,
    fit_calibration,
    fit_temperature,
    fold_prior,
)
from trainer.metrics import Bootstrap, reliability

UNIFORM = np.full(99, -np.log(99.0))


def simulated(n: int, temperature: float, prior: np.ndarray, seed: int = 0):
    """Labels from a known posterior; its likelihood times `temperature` as what the heads say."""
    rng = np.random.default_rng(seed)
    likelihood = rng.normal(0, 1.5, (n, 99))
    posterior = np.exp(log_softmax(likelihood + prior, axis=1))
    labels = np.array([rng.choice(99, p=row) for row in posterior])
    aux = temperature * likelihood
    split = log_softmax(temperature * likelihood + rng.normal(0, 3.0, (n, 99)), axis=1)
    return split, aux, labels


@pytest.mark.parametrize("temperature", [0.6, 1.0, 3.0])
def test_recovers_the_temperature(temperature):
    prior = log_softmax(np.random.default_rng(1).normal(0, 1, 99))
    split, aux, labels = simulated(4000, temperature, prior)
    found = fit_temperature(split, aux, UNIFORM, prior, labels)
    # the noise of the split head shares out a little of the weight: the auxiliary head must lead
    assert found.aux_weight > 0.8
    assert found.temperature / found.aux_weight == pytest.approx(temperature, rel=0.15)


def test_log_pool_finds_the_minimum():
    prior = log_softmax(np.random.default_rng(2).normal(0, 1, 99))
    split, aux, labels = simulated(300, 2.0, prior)
    found = fit_temperature(split, aux, UNIFORM, prior, labels)

    def nll(x):
        log_p = apply(Calibration(np.exp(x[0]), x[1]), split, aux, UNIFORM, prior)
        return -log_p[np.arange(300), labels].mean()

    brute = minimize(nll, [0.0, 0.5], method="Nelder-Mead", bounds=[(-2, 4), (0, 1)], options={"xatol": 1e-5})
    assert nll([np.log(found.temperature), found.split_weight]) <= brute.fun + 1e-5


@pytest.mark.parametrize("fusion", ["log-pool", "linear"])
def test_fitting_improves_on_no_calibration(fusion):
    prior = log_softmax(np.random.default_rng(3).normal(0, 1, 99))
    split, aux, labels = simulated(500, 4.0, prior)
    found = fit_temperature(split, aux, UNIFORM, prior, labels, fusion=fusion)
    rows = np.arange(500)
    before = apply(Calibration(1.0, 0.3, 1.0, fusion), split, aux, UNIFORM, prior)[rows, labels].mean()
    after = apply(found, split, aux, UNIFORM, prior)[rows, labels].mean()
    assert found.fusion == fusion
    assert after > before + 0.2


def test_prior_weight_when_the_prior_is_wrong():
    truth = log_softmax(np.random.default_rng(4).normal(0, 1, 99))
    split, aux, labels = simulated(3000, 1.0, truth)
    exaggerated = log_softmax(2.0 * truth)
    found = fit_temperature(split, aux, UNIFORM, exaggerated, labels, fit_prior_weight=True)
    assert found.prior_weight == pytest.approx(0.5, abs=0.12)
    assert fit_temperature(split, aux, UNIFORM, exaggerated, labels).prior_weight == 1.0


def test_useless_scores_get_a_high_temperature():
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 99, 400)
    noise = rng.normal(0, 3, (400, 99))
    found = fit_temperature(log_softmax(noise, axis=1), noise, UNIFORM, UNIFORM, labels)
    assert found.temperature > 10


def test_left_out_prior_counts_everything_but_the_pattern():
    labels = np.array([4, 4, 7])
    left_out, everything = fold_prior(labels, UNIFORM, strength=99.0)
    np.testing.assert_allclose(np.exp(everything[4]), 3 / 102)
    np.testing.assert_allclose(np.exp(left_out[0, 4]), 2 / 101)
    np.testing.assert_allclose(np.exp(left_out[2, [4, 7]]), [3 / 101, 1 / 101])
    np.testing.assert_allclose(np.exp(left_out).sum(1), 1.0)


def test_folds_never_see_their_own_labels():
    prior = log_softmax(np.random.default_rng(6).normal(0, 2, 99))
    split, aux, labels = simulated(200, 2.0, prior)
    folds = np.arange(200) % 4
    priors = {"truth": prior, "uniform": UNIFORM}
    one = calibrate_folds(split, aux, UNIFORM, priors, labels, folds)
    changed = labels.copy()
    changed[folds == 2] = np.random.default_rng(7).integers(0, 99, 50)
    other = calibrate_folds(split, aux, UNIFORM, priors, changed, folds)
    np.testing.assert_array_equal(one.log_prob[folds == 2], other.log_prob[folds == 2])
    assert not np.array_equal(one.log_prob[folds == 1], other.log_prob[folds == 1])
    assert len(one.calibrations) == len(one.priors) == 4
    assert all(name.startswith("truth") for name in one.priors)
    np.testing.assert_allclose(np.exp(one.log_prob).sum(1), 1.0)
    np.testing.assert_allclose(np.exp(one.log_prior).sum(1), 1.0)


def test_what_cannot_be_fitted_says_so():
    with pytest.raises(BadInput, match="n >= 1"):
        fit_temperature(np.empty((0, 99)), np.empty((0, 99)), UNIFORM, UNIFORM, np.empty(0))
    with pytest.raises(BadInput, match="at least 2 folds"):
        calibrate_folds(np.zeros((2, 99)), np.zeros((2, 99)), UNIFORM, {"u": UNIFORM}, [1, 2], [0, 0])


def mixed_scores(n: int, seed: int = 8):
    """Easy and hard patterns with labels: of easy ones the heads say too little, of hard ones too much."""
    rng = np.random.default_rng(seed)
    likelihood = rng.normal(0, 1, (n, 99)) * np.where(np.arange(n) % 2, 0.7, 4.0)[:, None]
    labels = np.array([rng.choice(99, p=np.exp(row)) for row in log_softmax(likelihood, axis=1)])
    aux = likelihood * np.where(np.arange(n) % 2, 2.5, 0.8)[:, None]
    return log_softmax(aux, axis=1), aux, labels


def test_temperature_that_grows_with_ambiguity_cures_what_one_cannot():
    split, aux, labels = mixed_scores(3000)
    fit, judge = slice(0, 1500), slice(1500, None)
    boot = Bootstrap([str(i) for i in range(1500)], resamples=20)
    rows = np.arange(1500)
    found = {}
    for simple in (True, False):
        fitted = fit_calibration(
            split[fit], aux[fit], UNIFORM, {"uniform": UNIFORM}, labels[fit], strength=1e9, simple=simple
        )
        log_p = apply(fitted.calibration, split[judge], aux[judge], UNIFORM, UNIFORM)
        found[simple] = reliability(log_p, labels[judge], boot), -log_p[rows, labels[judge]].mean()
        assert (fitted.calibration.entropy_slope == 0.0) is simple
    assert fitted.calibration.entropy_slope > 0.5
    assert found[False][1] < found[True][1] - 0.05
    assert not found[True][0].calibrated
    assert found[False][0].ece < 0.6 * found[True][0].ece


def test_ambiguity_runs_from_sure_to_uniform():
    sure = np.where(np.arange(99) == 3, 50.0, 0.0)[None]
    np.testing.assert_allclose(ambiguity(sure), [-0.5], atol=1e-9)
    np.testing.assert_allclose(ambiguity(np.zeros((2, 99))), [0.5, 0.5])
    half = np.where(np.arange(99) < 2, 0.0, -1e3)[None]
    np.testing.assert_allclose(ambiguity(half), [np.log(2) / np.log(99) - 0.5])


def test_gradient_is_that_of_the_loss():
    rng = np.random.default_rng(9)
    split, aux, labels = mixed_scores(40)
    heads = np.stack([split, aux])
    prior = np.broadcast_to(log_softmax(rng.normal(0, 1, 99)), split.shape)
    covariates = np.stack([rng.normal(size=40), ambiguity(aux)], 1)
    pool = _LogPool(heads, prior, covariates, labels, np.full(40, 1 / 40))
    for _ in range(3):
        x = np.array([0.3, 0.6, 0.9, 0.1, 0.4]) + 0.1 * rng.normal(size=5)
        numeric = approx_fprime(x, lambda y: pool.loss(y)[0], 1e-6)
        np.testing.assert_allclose(pool.loss(x)[1], numeric, atol=1e-4)


def test_a_novelty_that_tells_nothing_is_left_out_and_one_that_tells_is_kept():
    split, aux, labels = mixed_scores(800)
    hard = np.where(np.arange(800) % 2, 1.0, -1.0)
    slope = {}
    for name, novelty in {"noise": np.random.default_rng(10).normal(size=800), "telling": hard}.items():
        fitted = fit_calibration(
            split, aux, UNIFORM, {"u": UNIFORM}, labels, strength=1e9, novelty=novelty, simple=True
        )
        slope[name] = fitted.calibration.novelty_slope
    assert slope["noise"] == 0.0
    assert slope["telling"] > 0.2
