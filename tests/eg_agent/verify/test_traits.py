"""Traits and context of real fits, computed again from the fit's own lines."""

from __future__ import annotations

import json
from importlib import resources

import numpy as np
import pytest

from eg_agent.verify.absence_network import Learned
from eg_agent.verify.traits import CONTEXT, TRAITS, context_of, traits_of
from eg_agent.verify.verifier import verify, weigh


@pytest.fixture(scope="module")
def made(simulated):
    sample = simulated("barite")
    pattern, known = sample.pattern, sample.known
    return pattern, known, weigh(pattern, known.cell), verify(pattern, known.cell)


def test_traits_are_what_they_are_said_to_be(made) -> None:
    _, _, weighed, _ = made
    rng = np.random.default_rng(2)
    learned = rng.normal(scale=5.0, size=len(weighed.candidates))
    whole = rng.normal(scale=3.0, size=len(weighed.candidates))
    candidates = list(weighed.candidates)
    found = traits_of(weighed.likelihood, candidates, weighed.scores, Learned(learned, whole))
    groups = np.array([c.setting.group for c in weighed.candidates])
    mean = {n: np.log(np.mean(np.exp(learned[groups == n]))) for n in set(groups.tolist())}
    behind = np.array([max(mean.values()) - mean[n] for n in groups.tolist()])
    tail = json.loads(resources.files("eg_agent.verify").joinpath("pooling.json").read_text())["weights"][
        "tail"
    ]
    np.testing.assert_allclose(found[:, TRAITS.index("learned")], tail * np.log1p(behind / tail), rtol=1e-9)
    np.testing.assert_allclose(found[:, TRAITS.index("whole")], np.clip(whole.max() - whole, 0.0, 6.0))
    assert found.shape == (len(weighed.candidates), len(TRAITS))
    line = weighed.likelihood.intensity
    for candidate, row in zip(weighed.candidates, found, strict=True):
        of = dict(zip(TRAITS, row, strict=True))
        off = [i for i, n in enumerate(candidate.allowed) if n == 0]
        assert of["forbidden"] == pytest.approx(np.log(1 + len(off)))
        assert np.expm1(2 * (of["axes"])).round(6) == candidate.absent[0]
        standing = [*sorted((line[i] / weighed.likelihood.sigma[i] for i in off), reverse=True), 0.0, 0.0]
        assert np.expm1(of["strongest"]) == pytest.approx(standing[0])
        assert np.expm1(of["second"]) == pytest.approx(standing[1])
        share = sum(line[i] for i in off) / sum(line)
        assert np.exp(3.0 * (of["share"] - 3.0)) == pytest.approx(max(share, 1e-4))
        assert of["evidence"] >= 0.0
        assert of["chi_square"] >= 0.0


def test_the_true_group_is_not_violated(made) -> None:
    _, known, _, evidence = made
    of = {c.group: dict(zip(TRAITS, c.traits, strict=True)) for c in evidence.candidates}
    assert np.expm1(of[known.group]["strongest"]) < 6.0
    assert max(np.expm1(one["strongest"]) for one in of.values()) > 20.0


def test_the_context_is_of_this_measurement(made) -> None:
    _, _, weighed, evidence = made
    found = dict(zip(CONTEXT, evidence.context, strict=True))
    assert [name for name in "mothc" if found[name]] == ["o"]
    assert np.exp(found["misfit"]) == pytest.approx(np.clip(evidence.goodness_of_fit, 0.7, 30.0))
    assert 10.0 * np.exp(found["residual"]) == pytest.approx(np.clip(evidence.rwp, 1.0, 80.0))
    assert 60.0 * np.exp(found["lines"]) == pytest.approx(len(weighed.likelihood.lines))
    again = context_of(weighed.likelihood, 2.0, 10.0, "hR")
    assert again[CONTEXT.index("h")] == 1.0
    assert again[CONTEXT.index("residual")] == 0.0
