"""The joint weighing against plain Python, what it may never do, and the shipped weights."""

from __future__ import annotations

import json
from dataclasses import replace
from math import exp, log
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import eg_agent.identify
from eg_agent.identify import joint, lattice_prior
from eg_agent.identify import refinement as refining
from eg_agent.identify.fusion import normalise
from eg_agent.identify.refinement import inputs_of
from eg_agent.verify.evidence import CandidateEvidence, Evidence
from eg_agent.verify.traits import CONTEXT, TRAITS

CELL = (5.4, 7.1, 9.8, 90.0, 90.0, 90.0)
LOG_PRIOR = normalise(np.random.default_rng(1).normal(size=99))


def posterior(seed: int, spread: float = 2.0) -> np.ndarray:
    return normalise(spread * np.random.default_rng(seed).normal(size=99))


def fitted(seed: int, numbers: tuple[int, ...] = (11, 12, 17, 29), scale: float = 1.0) -> Evidence:
    rng = np.random.default_rng(seed)
    candidates = tuple(
        CandidateEvidence(
            n, "P", 0.0, 50, 5, 8.0, traits=tuple((scale * np.abs(rng.normal(size=len(TRAITS)))).tolist())
        )
        for n in numbers
    )
    context = tuple(rng.normal(size=len(CONTEXT)).tolist())
    return Evidence("fitted", "", cell=CELL, lattice="oP", candidates=candidates, context=context)


@given(seed=st.integers(0, 10_000), spread=st.floats(0.0, 8.0))
@settings(max_examples=30)
def test_it_is_the_stated_formula(seed: int, spread: float) -> None:
    """By plain Python, with nothing of numpy's broadcasting."""
    weights, network, evidence = joint.shipped(), posterior(seed, spread), fitted(seed)
    z = [min(max(v, lo), hi) for v, lo, hi in zip(evidence.context, weights.low, weights.high, strict=True)]

    def linear(row: np.ndarray) -> float:
        return float(row[0]) + sum(float(w) * v for w, v in zip(row[1 : 1 + len(z)], z, strict=True))

    # what says that a candidate is violated never speaks for it
    against = ("evidence", "chi_square", "strongest", "learned", "whole")
    counts = [
        min(linear(row), 0.0) if name in against else linear(row)
        for name, row in zip(TRAITS, weights.traits, strict=True)
    ]
    said = {
        c.group: exp(sum(count * x for count, x in zip(counts, c.traits, strict=True)))
        for c in evidence.candidates
    }
    entropy = -sum(exp(v) * v for v in network)
    power = linear(weights.network) + float(weights.network[-1]) * min(max(entropy - 1.0, -1.0), 1.5)
    power = min(max(power, 0.05), 1.5)
    of_lattice = lattice_prior.shipped()(CELL)
    by_lattice = min(max(linear(weights.lattice), 0.0), 1.0)
    total = []
    for i in range(99):
        share = said.get(i + 1, 0.0) / sum(said.values())
        floored = (1.0 - weights.misled) * share + weights.misled / 99.0
        before = weights.prior * LOG_PRIOR[i] + by_lattice * of_lattice[i]
        total.append(power * (network[i] - LOG_PRIOR[i]) + before + log(floored))
    expected = normalise(np.array(total))
    found = joint.weigh(network, LOG_PRIOR, evidence, weights=weights)
    np.testing.assert_allclose(found, normalise(weights.power * expected), atol=1e-9)
    # and what the package corrects of it, by the candidates alone
    at = np.array([c.group for c in evidence.candidates]) - 1
    inputs = inputs_of(
        np.array([c.traits for c in evidence.candidates]),
        network[at] - LOG_PRIOR[at],
        LOG_PRIOR[at],
        of_lattice[at],
        expected[at],
        np.array(z),
        min(max(entropy - 1.0, -1.0), 1.5),
    )
    corrected = expected.copy()
    corrected[at] += refining.shipped()(inputs)
    found = joint.weigh(network, LOG_PRIOR, evidence)
    np.testing.assert_allclose(found, normalise(weights.power * normalise(corrected)), atol=1e-9)


@given(seed=st.integers(0, 10_000), scale=st.floats(0.0, 50.0))
@settings(max_examples=30)
def test_nothing_is_impossible_and_groups_of_equal_traits_are_told_by_the_network(
    seed: int, scale: float
) -> None:
    network = posterior(seed)
    evidence = replace(fitted(seed, scale=scale), cell=None)
    same = replace(evidence.candidates[0], group=72)
    evidence = replace(evidence, candidates=(*evidence.candidates, same, replace(same, group=78)))
    found = joint.weigh(network, LOG_PRIOR, evidence)
    assert np.isfinite(found).all()
    assert np.exp(found).sum() == pytest.approx(1.0)
    found = joint.weigh(network, LOG_PRIOR, evidence, weights=joint.shipped())
    assert np.exp(found).sum() == pytest.approx(1.0)
    assert np.isfinite(found).all()
    outside = np.setdiff1d(np.arange(99), [c.group - 1 for c in evidence.candidates])
    # of groups that the lattice cannot carry the order is that of network and prior
    weights = joint.shipped()
    said, of_prior = network[outside] - LOG_PRIOR[outside], weights.power * weights.prior
    slope = np.polyfit(said, found[outside] - of_prior * LOG_PRIOR[outside], 1)[0]
    assert found[71] - found[77] == pytest.approx(
        slope * (network[71] - network[77] - LOG_PRIOR[71] + LOG_PRIOR[77])
        + of_prior * (LOG_PRIOR[71] - LOG_PRIOR[77])
    )


def test_a_group_carried_and_not_scored_is_as_bad_as_the_worst() -> None:
    flat = np.full(99, -log(99.0))
    weights = joint.shipped()  # alone: a correction is of scored groups only
    found = joint.weigh(flat, flat, replace(fitted(3), cell=None), carried=[11, 12, 13], weights=weights)
    scored = [found[n - 1] for n in (11, 12, 17, 29)]
    assert found[12] == pytest.approx(min(scored))
    assert found[97] < found[12]


@pytest.mark.parametrize("name", CONTEXT[:5])
def test_a_strong_line_where_none_may_be_speaks_against_a_group(name: str) -> None:
    """However far one number of the context is out: no violation ever speaks for a group."""
    weights = joint.shipped()
    for bound in (weights.low, weights.high):
        for family in range(5, len(CONTEXT)):
            z = 0.5 * (weights.low + weights.high)
            z[5:] = 0.0
            z[family] = 1.0
            z[CONTEXT.index(name)] = bound[CONTEXT.index(name)]
            counted = np.minimum(weights.traits[:, 0] + weights.traits[:, 1:] @ z, joint.MOST)
            by_trait = dict(zip(TRAITS, counted, strict=True))
            assert max(by_trait[name] for name in ("evidence", "chi_square", "strongest", "learned")) <= 0.0
            # and together they always speak against it
            assert by_trait["evidence"] + by_trait["strongest"] + by_trait["learned"] < -0.3


def test_without_traits_it_is_not_asked() -> None:
    assert joint.can_weigh(fitted(1))
    assert not joint.can_weigh(replace(fitted(1), context=()))
    older = tuple(replace(c, traits=c.traits[:9]) for c in fitted(1).candidates)
    assert not joint.can_weigh(replace(fitted(1), candidates=older))
    assert not joint.can_weigh(Evidence("no cell", "none"))


def test_the_shipped_weights_say_what_they_are_worth() -> None:
    path = Path(eg_agent.identify.__file__).with_name("joint.json")
    found = json.loads(path.read_text("utf-8"))
    assert set(found["weights"]["traits"]) == set(TRAITS)
    assert set(found["weights"]["context"]) == set(CONTEXT)
    assert "no measured pattern" in found["fitted_on"]
    gain = found["out_of_fold"]["gain_in_nll"]
    assert gain[1] < gain[0] < gain[2] < 0.0
