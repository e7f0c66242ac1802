"""Verdicts at their thresholds, and reasons that name what they rest on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from eg_agent.identify.fusion import normalise, prediction_set
from eg_agent.identify.settings import IdentifySettings
from eg_agent.identify.verdict import information, judge
from eg_agent.model.posterior import Posterior
from eg_agent.symmetry import group
from eg_agent.verify.evidence import CandidateEvidence, DecidingReflection, Evidence

SETTINGS = IdentifySettings()
FLAT = np.full(99, -np.log(99.0))
NO_CELL = Evidence("no cell", "no cell was given")


def posterior(log_p: np.ndarray, prior: np.ndarray = FLAT) -> Posterior:
    return Posterior(log_p, prior, "0" * 16, 1.0, "uniform")


def shares(**probabilities: float) -> np.ndarray:
    """[99] nats with group numbers as g7=0.5; the rest is spread evenly."""
    p = np.full(99, (1.0 - sum(probabilities.values())) / (99 - len(probabilities)))
    for name, value in probabilities.items():
        p[int(name[1:]) - 1] = value
    return np.log(p)


def reflection(hkl: tuple[int, int, int], log_odds: float, *, forbidden: bool) -> DecidingReflection:
    return DecidingReflection(hkl, 20.0, 4.4, 1.0, 1.0, forbidden, log_odds)


def fitted(group_number: int, symbol: str, *deciding: DecidingReflection, n_forbidden: int = 9) -> Evidence:
    chosen = CandidateEvidence(group_number, symbol, 12.0, 40, n_forbidden, 7.5, deciding)
    free = CandidateEvidence(7, "P - - -", 0.0, 49, 0, 7.4)
    return Evidence(
        "fitted", "", cell=(5.0, 6.0, 7.0, 90.0, 90.0, 90.0), lattice="oP", rwp=7.4, candidates=(chosen, free)
    )


def verdict(log_p: np.ndarray, evidence: Evidence = NO_CELL, network: np.ndarray | None = None):
    said = posterior(log_p if network is None else network)
    return judge(log_p, said, evidence, prediction_set(log_p, SETTINGS.coverage), SETTINGS)


@pytest.mark.parametrize(
    ("p", "expected"), [(0.9, "identified"), (0.8999, "undecided"), (0.99, "identified")]
)
def test_the_threshold_is_where_it_says(p: float, expected: str) -> None:
    found = verdict(shares(g14=p))
    assert found.verdict == expected
    assert found.reason.startswith("Without a cell the network speaks alone")
    assert group(14).symbol in found.reason
    assert f"{p:.2f}" in found.reason


def test_a_network_that_repeats_its_prior_says_nothing() -> None:
    prior = normalise(np.random.default_rng(0).normal(size=99))
    same = judge(prior, posterior(prior, prior), NO_CELL, prediction_set(prior, 0.9), SETTINGS)
    assert same.verdict == "no confident match"
    assert "prior" in same.reason
    # A prior that is nearly sure of one group is the user's own statement, not a match of the pattern.
    certain = shares(g20=0.95)
    assert judge(certain, posterior(certain, certain), NO_CELL, (20,), SETTINGS).verdict == "identified"


def test_information_is_zero_only_at_the_prior() -> None:
    assert information(FLAT, FLAT) == pytest.approx(0.0)
    certain = np.full(99, -np.inf)
    certain[5] = 0.0
    assert information(certain, FLAT) == pytest.approx(np.log(99.0))


def test_a_fit_names_the_absent_reflections() -> None:
    absent = [reflection((0, k, 0), 2.0, forbidden=True) for k in (1, 3, 5, 7)]
    evidence = fitted(14, "P b n -", *absent, reflection((1, 0, 0), 4.0, forbidden=False))
    found = verdict(shares(g14=0.95, g7=0.04), evidence, shares(g14=0.3))
    assert found.verdict == "identified"
    assert found.reason.startswith("P b n - leads P - - - by 3.2 nats")
    assert "(0 1 0), (0 3 0), (0 5 0) and 1 more are absent (9 forbidden in range)" in found.reason
    assert "(1 0 0) is seen" in found.reason
    assert "network alone gives it 0.30" in found.reason
    assert "Rwp 7.4 %" in found.reason


def test_a_forbidden_line_that_is_seen_stops_an_identification() -> None:
    for odds, expected in ((-4.9, "identified"), (-5.1, "undecided")):
        evidence = fitted(14, "P b n -", reflection((0, 1, 0), odds, forbidden=True))
        found = verdict(shares(g14=0.97), evidence)
        assert found.verdict == expected
        assert ("which it forbids, is seen" in found.reason) == (expected == "undecided")


def test_a_cell_that_does_not_fit_stops_an_identification() -> None:
    evidence = Evidence("not fitted", "Rwp is 60 %.", cell=None)
    found = verdict(shares(g14=0.97), evidence)
    assert found.verdict == "undecided"
    assert "does not fit (Rwp is 60 %)" in found.reason


def test_a_lattice_with_one_group_says_so() -> None:
    only = CandidateEvidence(99, "P -", 0.0, 80, 0, 6.0)
    evidence = Evidence(
        "fitted", "", cell=(5.0, 6.0, 7.0, 80.0, 85.0, 95.0), lattice="aP", candidates=(only,)
    )
    assert verdict(shares(g99=0.97), evidence).reason.startswith("P - is the only group of the lattice (aP)")


def test_a_group_outside_the_lattice_is_said_to_be_outside() -> None:
    found = verdict(shares(g60=0.7, g14=0.2), fitted(14, "P b n -"))
    assert found.verdict == "undecided"
    assert "cannot carry" in found.reason
    assert "P b n -" in found.reason
    assert "90%" in found.reason


def strange(log_p: np.ndarray) -> Posterior:
    return replace(posterior(log_p), novelty=5.2, out_of_distribution=True)


def test_what_the_network_was_not_made_for_is_no_match_however_sure_it_is() -> None:
    sure = shares(g14=0.99)
    found = judge(sure, strange(sure), NO_CELL, (14,), SETTINGS)
    assert found.verdict == "no confident match"
    assert "out of distribution (5.2 standard deviations" in found.reason


def test_a_fit_that_stands_counts_although_the_network_is_lost() -> None:
    sure = shares(g14=0.99)
    found = judge(sure, strange(FLAT), fitted(14, "P b n -"), (14,), SETTINGS)
    assert found.verdict == "identified"
    assert "only the fit counts" in found.reason


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ((), "CCaO3 is counted in."),
        (((14, 0.3),), "CCaO3 is counted in."),
        (((7, 2.0),), f"(known entries: 2 in {group(7).symbol}; none in {group(14).symbol})."),
        (
            ((14, 12.0), (7, 1.2), (20, 0.2)),
            f"(known entries: 12 in {group(14).symbol}, 1 in {group(7).symbol}).",
        ),
        (
            ((14, 9.0), (7, 4.0), (20, 3.0), (21, 2.0), (22, 2.0)),
            f"9 in {group(14).symbol}, 4 in {group(7).symbol}, 3 in {group(20).symbol}, 4 in others).",
        ),
    ],
)
def test_known_entries_of_a_composition_are_named(entries: tuple[tuple[int, float], ...], said: str) -> None:
    sure = shares(g14=0.99)
    told = replace(posterior(sure), composition="CCaO3", composition_entries=entries)
    assert judge(sure, told, NO_CELL, (14,), SETTINGS).reason.endswith(said)
    against = replace(told, contradicts=True, composition_odds=-9.0)
    assert "known entries" not in judge(sure, against, NO_CELL, (14,), SETTINGS).reason
