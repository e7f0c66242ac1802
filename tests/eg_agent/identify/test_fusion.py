"""The algebra of the fusion against an independent computation, and prediction sets."""

from __future__ import annotations

from fractions import Fraction
from math import exp

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eg_agent.errors import BadInput
from eg_agent.identify.fusion import evidence_posterior, fuse, normalise, prediction_set, ranking
from eg_agent.identify.settings import IdentifySettings
from eg_agent.verify.evidence import CandidateEvidence, Evidence

CELL = (5.0, 6.0, 7.0, 90.0, 90.0, 90.0)


def candidate(group: int, log_evidence: float, symbol: str = "P") -> CandidateEvidence:
    return CandidateEvidence(group, symbol, log_evidence, n_allowed=50, n_forbidden=5, rwp=8.0)


def fitted(*candidates: CandidateEvidence) -> Evidence:
    return Evidence("fitted", "", cell=CELL, lattice="oP", candidates=candidates)


def flat() -> np.ndarray:
    return np.full(99, -np.log(99.0))


def random_posterior(seed: int, spread: float) -> np.ndarray:
    return normalise(np.random.default_rng(seed).normal(size=99) * spread)


log_posteriors = st.builds(random_posterior, st.integers(0, 10_000), st.floats(0.0, 50.0))


@given(
    seed=st.integers(0, 1000),
    values=st.lists(st.floats(-300.0, 300.0), min_size=1, max_size=20),
    network_weight=st.floats(0.0, 1.0),
    evidence_weight=st.floats(0.0, 1.0),
    misled=st.floats(1e-4, 0.5),
)
def test_fusion_is_the_stated_formula(
    seed: int, values: list[float], network_weight: float, evidence_weight: float, misled: float
) -> None:
    """By plain Python in probabilities, with the largest exponent taken out."""
    settings = IdentifySettings(network_weight=network_weight, evidence_weight=evidence_weight, misled=misled)
    network = random_posterior(seed, 2.0)
    numbers = list(range(7, 7 + len(values)))
    evidence = evidence_posterior(fitted(*map(candidate, numbers, values)), settings)
    assert evidence is not None
    top = max(values)
    weights = {n: exp(evidence_weight * (v - top)) for n, v in zip(numbers, values)}
    share = {n: w / sum(weights.values()) for n, w in weights.items()}
    alone = [(1.0 - misled) * share.get(n, 0.0) + misled / 99.0 for n in range(1, 100)]
    np.testing.assert_allclose(np.exp(evidence), alone, rtol=1e-9, atol=1e-300)
    product = [exp(network_weight * float(network[i])) * alone[i] for i in range(99)]
    expected = [value / sum(product) for value in product]
    np.testing.assert_allclose(np.exp(fuse(network, evidence, settings)), expected, rtol=1e-9)


def test_evidence_alone_is_normalised_and_leaves_nothing_impossible() -> None:
    settings = IdentifySettings()
    alone = evidence_posterior(fitted(candidate(11, 0.0), candidate(12, 5000.0)), settings)
    assert alone is not None
    assert np.exp(alone).sum() == pytest.approx(1.0)
    assert alone.min() == pytest.approx(np.log(settings.misled / 99.0))
    sure = np.full(99, -60.0)
    sure[4] = 0.0  # a network that is certain of a group that the cell cannot carry
    assert ranking(fuse(normalise(sure), alone, settings))[0] == 4


def test_a_group_counts_in_its_best_setting() -> None:
    settings = IdentifySettings()
    both = evidence_posterior(
        fitted(candidate(11, 3.0, "P b - -"), candidate(11, -40.0, "P - - a"), candidate(12, 0.0)), settings
    )
    best = evidence_posterior(fitted(candidate(11, 3.0), candidate(12, 0.0)), settings)
    np.testing.assert_array_equal(both, best)


def test_carried_but_not_scored_is_as_bad_as_the_worst() -> None:
    settings = IdentifySettings()
    alone = evidence_posterior(
        fitted(candidate(11, 3.0), candidate(12, -4.0)), settings, carried=[11, 12, 13]
    )
    assert alone is not None
    assert alone[12] == alone[11]
    assert alone[10] > alone[12] > alone[13]


def test_equal_absences_share_by_the_network() -> None:
    """P3_1 (72) and P6_2 (78) forbid the same reflections."""
    settings = IdentifySettings()
    network = random_posterior(3, 1.0)
    fused = fuse(
        network, evidence_posterior(fitted(candidate(72, 9.0), candidate(78, 9.0)), settings), settings
    )
    assert fused[71] - fused[77] == pytest.approx(network[71] - network[77])


@pytest.mark.parametrize("status", ["no cell", "not fitted"])
def test_without_a_fit_the_network_stands(status: str) -> None:
    settings = IdentifySettings(network_weight=0.5)
    network = random_posterior(1, 2.0)
    assert evidence_posterior(Evidence(status, "no"), settings) is None  # type: ignore[arg-type]
    np.testing.assert_allclose(fuse(network, None, settings), network, atol=1e-12)


@given(log_posteriors, st.floats(0.05, 0.99))
def test_prediction_set_is_the_smallest_that_reaches_the_coverage(log_p: np.ndarray, coverage: float) -> None:
    chosen = prediction_set(log_p, coverage)
    p = np.exp(log_p)
    members = [p[n - 1] for n in chosen]
    assert chosen
    assert len(set(chosen)) == len(chosen)
    assert members == sorted(members, reverse=True)
    assert sum(members) >= coverage * (1.0 - 1e-9)
    assert sum(members[:-1]) < coverage
    outside = np.delete(p, [n - 1 for n in chosen])
    assert outside.size == 0 or outside.max() <= min(members)


def test_prediction_set_of_equals_is_by_number() -> None:
    count = -(-(99 * Fraction(9, 10)).numerator // (99 * Fraction(9, 10)).denominator)
    assert prediction_set(flat(), 0.9) == tuple(range(1, count + 1))
    certain = np.full(99, -np.inf)
    certain[41] = 0.0
    assert prediction_set(certain, 0.9) == (42,)


@pytest.mark.parametrize(
    "wrong",
    [{"evidence_weight": 1.5}, {"misled": 0.0}, {"coverage": 1.0}, {"identified": 0.0}, {"time_limit": 0.0}],
)
def test_impossible_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(BadInput, match="give"):
        IdentifySettings(**wrong)
