"""The absence network on fits of patterns that gemmi calculated, and what must not change its answer."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eg_agent.patterns import Radiation
from eg_agent.verify.absence_network import WEIGHTS, shipped
from eg_agent.verify.line_features import FEATURES, LineFeatures, features_of, line_features
from eg_agent.verify.line_kinds import FAMILIES, N_KINDS, N_PARITIES
from eg_agent.verify.metric import metric_system
from eg_agent.verify.score import log_mean
from eg_agent.verify.traits import MOST_WHOLE, TRAITS
from eg_agent.verify.verifier import learned_scores, verify, weigh

COPPER = Radiation.anode("Cu")


def _lines(seed: int, count: int = 30) -> LineFeatures:
    rng = np.random.default_rng(seed)
    family = int(rng.integers(len(FAMILIES)))
    shape = np.array([6.0, 0.1, 0.4, 0.2])
    return LineFeatures(
        rng.normal(size=(count, len(FEATURES))), rng.integers(N_KINDS, size=count), family, shape
    )


@given(st.integers(0, 1000))
def test_the_order_of_lines_and_candidates_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng([seed, 1])
    lines = _lines(seed)
    forbidden = rng.random((7, 30)) < 0.3
    groups = rng.integers(1, 100, size=7)
    plain = shipped().score(lines, forbidden, groups)
    order, turned = rng.permutation(30), rng.permutation(7)
    mixed = replace(lines, values=lines.values[order], kinds=lines.kinds[order])
    again = shipped().score(mixed, forbidden[turned][:, order], groups[turned])
    np.testing.assert_allclose(again, plain[turned], atol=1e-9)
    alone = [shipped().score(lines, forbidden[i : i + 1], groups[i : i + 1])[0] for i in range(7)]
    np.testing.assert_allclose(alone, plain, atol=1e-9)


@given(st.floats(1e-6, 1e6))
def test_the_unit_of_intensities_does_not_matter(unit: float) -> None:
    rng = np.random.default_rng(3)
    intensity, sigma = rng.exponential(1.0, 40), rng.uniform(0.001, 0.1, 40)
    given_ = {
        "two_theta": np.linspace(10.0, 90.0, 40),
        "wavelength": 1.54,
        "radiation": COPPER,
        "reflections": np.full(40, 4.0),
        "counting": np.ones(40),
        "volume": 300.0,
        "parities": np.zeros((40, N_PARITIES)),
    }
    plain = features_of(intensity=intensity, sigma=sigma, precision=0.5 / sigma**2, **given_)
    other = features_of(
        intensity=unit * intensity, sigma=unit * sigma, precision=0.5 / (unit * sigma) ** 2, **given_
    )
    np.testing.assert_allclose(other, plain, atol=1e-6)


@pytest.mark.parametrize("intensity", [0.0, -5.0, 1e12])
def test_features_of_strange_lines_are_numbers(intensity: float) -> None:
    found = features_of(
        two_theta=np.array([20.0, np.nan, 30.0]),
        wavelength=1.54,
        radiation=COPPER,
        intensity=np.full(3, intensity),
        sigma=np.array([0.0, 1e-30, 1e9]),
        precision=np.array([0.0, 1e30, 1.0]),
        reflections=np.array([0.0, 2.0, 400.0]),
        counting=np.array([0.0, 1.0, 1.0]),
        volume=1e5,
        parities=np.zeros((3, N_PARITIES)),
    )
    assert np.isfinite(found).all()


@pytest.mark.parametrize("name", ["barite", "baddeleyite", "scheelite", "halite"])
def test_the_true_group_is_among_the_most_likely(simulated, name: str) -> None:
    sample = simulated(name)
    weighed = weigh(sample.pattern, sample.known.cell)
    cell = sample.known.cell
    learned = learned_scores(
        weighed.likelihood, list(weighed.candidates), cell, metric_system(cell), sample.pattern.radiation
    ).absences
    groups = np.array([c.setting.group for c in weighed.candidates])
    of_group = {int(n): log_mean(learned[groups == n]) for n in np.unique(groups)}
    best = sorted(of_group, key=lambda n: -of_group[n])
    assert sample.known.group in best[:3]
    # groups whose forbidden lines stand there plainly are out of the question
    assert min(of_group.values()) < of_group[sample.known.group] - 5.0


def test_a_strong_line_on_a_forbidden_position_speaks_against_it(simulated) -> None:
    sample = simulated("barite")
    weighed = weigh(sample.pattern, sample.known.cell)
    system = metric_system(sample.known.cell)
    lines = line_features(weighed.likelihood, sample.known.cell, system, sample.pattern.radiation)
    of_truth = [i for i, c in enumerate(weighed.candidates) if c.setting.group == sample.known.group]
    forbidden = np.stack([c.allowed == 0 for c in weighed.candidates])
    groups = np.array([c.setting.group for c in weighed.candidates])
    plain = shipped().score(lines, forbidden, groups)
    best = of_truth[int(np.argmax(plain[of_truth]))]
    line = int(np.flatnonzero(forbidden[best])[0])
    free = int(np.flatnonzero(~forbidden.any(axis=1))[0])
    values = lines.values.copy()
    strong = int(np.argmax(values[:, FEATURES.index("of_strongest")]))
    values[line] = values[strong]
    raised = shipped().score(replace(lines, values=values), forbidden, groups)
    assert (raised[best] - raised[free]) < (plain[best] - plain[free]) - 2.0


def test_a_triclinic_lattice_leaves_nothing_to_tell() -> None:
    cell = (5.0, 6.0, 7.0, 81.0, 95.0, 103.0)
    system = metric_system(cell)
    assert system.name == "triclinic"
    found = learned_scores(None, [None] * 2, cell, system, COPPER)  # type: ignore[arg-type, list-item]
    assert found.absences.tolist() == found.whole.tolist() == [0.0, 0.0]
    with pytest.raises(ValueError, match="triclinic"):
        line_features(None, cell, system, COPPER)  # type: ignore[arg-type]


def test_the_shipped_weights_say_where_they_come_from() -> None:
    about = json.loads(WEIGHTS.with_suffix(".json").read_text("utf-8"))
    assert about["held_out"]["nll"] < 0.4 * about["held_out"]["nothing"]
    assert "no measured pattern" in about["trained_on"]


def test_every_candidate_of_a_group_shares_its_trait(simulated) -> None:
    sample = simulated("barite")
    evidence = verify(sample.pattern, sample.known.cell)
    for trait in ("learned", "whole"):
        assert min(c.traits[TRAITS.index(trait)] for c in evidence.candidates) == 0.0
    assert all(np.isfinite(c.traits).all() for c in evidence.candidates)
    assert max(c.traits[TRAITS.index("whole")] for c in evidence.candidates) <= MOST_WHOLE


@pytest.mark.parametrize(
    ("name", "others"), [("halite", (81, 87)), ("barite", (11, 12)), ("scheelite", (62,))]
)
def test_patterns_of_known_types_look_like_their_groups(
    simulated, name: str, others: tuple[int, ...]
) -> None:
    sample = simulated(name)
    weighed = weigh(sample.pattern, sample.known.cell)
    system = metric_system(sample.known.cell)
    lines = line_features(weighed.likelihood, sample.known.cell, system, sample.pattern.radiation)
    whole = shipped().of_whole(lines)
    for other in others:
        assert whole[sample.known.group - 1] > whole[other - 1]


def test_of_the_whole_the_order_of_lines_does_not_matter() -> None:
    lines = _lines(5)
    order = np.random.default_rng(1).permutation(30)
    mixed = replace(lines, values=lines.values[order], kinds=lines.kinds[order])
    np.testing.assert_allclose(shipped().of_whole(mixed), shipped().of_whole(lines), atol=1e-9)
