"""Fitting of the joint weights: rows whose truth is known by construction, and the product's own formula."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from eg_agent.errors import BadInput
from eg_agent.identify import joint
from eg_agent.identify.fusion import normalise
from eg_agent.identify.refinement import refinement_of
from eg_agent.verify.evidence import CandidateEvidence, Evidence
from eg_agent.verify.traits import CONTEXT, TRAITS
from trainer.benchmark.joint_batch import Row, batch_of
from trainer.benchmark.joint_fit import as_shipped, calibrating_power, fit, fit_all, out_of_fold, run

PRIOR = np.full(99, -np.log(99.0))


def _rows(count: int = 150) -> list[Row]:
    """Eight groups; a violated truth is rare, all other traits are noise, and the network knows a little."""
    rng = np.random.default_rng(5)
    rows = []
    for i in range(count):
        truth = int(rng.integers(8))
        traits = rng.normal(size=(8, len(TRAITS)))
        strongest = TRAITS.index("strongest")
        traits[:, strongest] = np.abs(rng.normal(3.0, 0.5, 8))
        traits[truth, strongest] = np.abs(rng.normal(0.5, 0.3))
        said = rng.normal(size=99)
        said[truth] += 1.0
        network = normalise(said)
        context = rng.normal(size=len(CONTEXT))
        rows.append(
            Row(
                "scan",
                f"X{i // 2}",
                truth + 1,
                said=network - PRIOR,
                prior=PRIOR,
                numbers=np.arange(1, 9),
                traits=traits,
                context=context,
                lattice=np.zeros(99),
                product=network,
            )
        )
    return rows


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return _rows()


def test_what_tells_gets_the_weight_and_noise_gets_none(rows: list[Row]) -> None:
    weights = joint.weights_of(fit(batch_of(rows), steps=120).as_json())
    at_centre = dict(zip(TRAITS, weights.traits[:, 0], strict=True))
    assert at_centre["strongest"] < -1.0
    assert all(abs(at_centre[name]) < 0.6 for name in ("axes", "zones", "general", "second", "share"))
    assert 0.3 < weights.network[0] < 1.6


def test_the_fitted_model_is_the_one_that_the_product_uses(rows: list[Row]) -> None:
    batch = batch_of(rows)
    fitted = fit(batch, steps=40)
    with torch.no_grad():
        ours = fitted(batch).double().numpy()
    weights = joint.weights_of(fitted.as_json())
    for row, expected in zip(rows[:20], ours, strict=False):
        candidates = tuple(
            CandidateEvidence(int(n), "", 0.0, 1, 1, 1.0, traits=tuple(t))
            for n, t in zip(row.numbers, row.traits, strict=True)
        )
        evidence = Evidence("fitted", "", candidates=candidates, context=tuple(row.context))
        found = joint.weigh(row.said + row.prior, row.prior, evidence, weights=weights)
        np.testing.assert_allclose(np.exp(found), np.exp(expected), atol=2e-3)


def test_the_correction_is_the_one_that_the_product_uses_and_learns_what_is_not_linear(
    rows: list[Row],
) -> None:
    batch = batch_of(rows)
    fitted = fit_all(batch, steps=60)
    ours = fitted(batch).double().numpy()
    with torch.no_grad():
        before = fitted.weights(batch)
    assert float(-fitted(batch).gather(1, batch.truth[:, None]).mean()) < float(
        -before.gather(1, batch.truth[:, None]).mean()
    )
    weights, refinement = joint.weights_of(fitted.weights.as_json()), refinement_of(fitted.refining.tensors())
    for row, expected in zip(rows[:20], ours, strict=False):
        candidates = tuple(
            CandidateEvidence(int(n), "", 0.0, 1, 1, 1.0, traits=tuple(t))
            for n, t in zip(row.numbers, row.traits, strict=True)
        )
        evidence = Evidence("fitted", "", candidates=candidates, context=tuple(row.context))
        found = joint.weigh(row.said + row.prior, row.prior, evidence, weights=weights, refinement=refinement)
        np.testing.assert_allclose(np.exp(found), np.exp(expected), atol=5e-3)


def test_figures_are_out_of_fold_and_beat_what_knows_less(
    rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.benchmark.joint_fit.REFINING_STEPS", 40)
    power, found = out_of_fold(rows)
    assert 0.3 < power < 3.0
    assert set(found["counted"]) == {"joint", "as_fitted", "uncorrected", "product"}
    assert found["formulas"] == 75
    assert found["counted"]["joint"]["first"] > found["counted"]["product"]["first"]
    assert found["gain_in_nll"][2] < 0.0
    assert "measured_misfit" not in found


@pytest.mark.parametrize("too_sure", [0.7, 1.0, 1.6])
def test_the_power_is_what_makes_claims_come_true(too_sure: float) -> None:
    """Truths drawn by known probabilities, which are told too sure of themselves, or not enough."""
    rng = np.random.default_rng(3)
    log_p = log_softmax(2.0 * rng.normal(size=(4000, 99)), axis=1)
    truth = np.array([rng.choice(99, p=np.exp(row)) for row in log_p])
    told = log_softmax(too_sure * log_p, axis=1)
    assert calibrating_power(told, truth, np.ones(4000)) == pytest.approx(1.0 / too_sure, rel=0.05)
    # what counts nothing changes nothing
    told[2000:] *= 5.0
    weight = np.repeat([1.0, 0.0], 2000)
    assert calibrating_power(told, truth, weight) == pytest.approx(1.0 / too_sure, rel=0.07)


@pytest.mark.slow
def test_the_study_makes_measurements_of_all_kinds_and_goes_on(structures: Path, tmp_path: Path) -> None:
    first = run(structures, tmp_path, 3)
    kinds = {row.kind for row in first}
    assert {"scan", "agent", "lines"} <= kinds | {"misfit"}
    known = (tmp_path / "rows.jsonl").read_text()
    more = run(structures, tmp_path, 4)
    assert (tmp_path / "rows.jsonl").read_text().startswith(known)
    assert len(more) >= len(first)
    assert all(np.isfinite(row.traits).all() and row.context.size == len(CONTEXT) for row in more)


def test_what_is_shipped_says_where_it_comes_from(rows: list[Row], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.benchmark.joint_fit.REFINING_STEPS", 5)
    tensors, found = as_shipped(rows[:40], "2026-01-01")
    assert len(refinement_of(tensors).members) > 1
    assert set(found["weights"]) == {"traits", "network", "lattice", "prior", "misled", "power", "context"}
    assert found["weights"]["power"] != 1.0
    assert "40 simulated measurements (40 scan) of 20 formulas" in found["fitted_on"]
    json.dumps(found)


def test_measurements_of_an_older_version_are_refused_before_any_is_made(tmp_path: Path) -> None:
    whole = {"cell": [5.0, 5.0, 5.0, 90.0, 90.0, 90.0], "traits": [[0.0] * len(TRAITS)]}
    for name, looks in (("cell", [{"traits": whole["traits"]}]), ("trait", [{**whole, "traits": [[0.0]]}])):
        out = tmp_path / name
        out.mkdir()
        kept = json.dumps({"index": 0, "looks": looks}) + "\n"
        (out / "rows.jsonl").write_text(kept)
        with pytest.raises(BadInput, match="older version"):
            run(tmp_path / "no structures", out, 2)
        assert (out / "rows.jsonl").read_text() == kept
