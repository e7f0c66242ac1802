"""Fitting of the pooled evidence: rows whose truth is known by construction, and samples by number."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from trainer.benchmark.misfit_samples import MisfitSamples
from trainer.benchmark.pooling_fit import Row, as_shipped, by_group, fit, judged, out_of_fold, run


def _rows(count: int = 80) -> list[Row]:
    """Ten groups of one setting; evidence tells the truth by 3 nats with noise of 1, BIC is noise alone."""
    rng = np.random.default_rng(5)
    rows = []
    for i in range(count):
        truth = int(rng.integers(10))
        evidence = rng.standard_normal(10)
        evidence[truth] += 3.0
        noise = 3.0 * rng.standard_normal(10)
        terms = np.column_stack([evidence, noise, np.full(10, np.log(4.0))])
        rows.append(Row(f"X{i}", truth + 1, np.arange(1, 11), np.arange(10), terms, -2.0 * noise))
    return rows


def test_a_term_that_tells_nothing_gets_no_weight() -> None:
    found = fit(_rows())
    assert found.evidence > 0.7
    assert abs(found.bic) < 0.15 * found.evidence


@pytest.mark.slow
def test_out_of_fold_figures_beat_a_criterion_that_tells_nothing() -> None:
    found = out_of_fold(_rows())
    assert found["pooled"]["first"] > 0.8
    assert found["plain_bic"]["first"] < 0.3
    assert found["gain_over_plain_bic"]["first"][1] > 0.3
    assert found["formulas"] == 80


def test_the_settings_of_a_group_share_its_evidence() -> None:
    row = Row("X", 1, np.array([1, 2]), np.array([0, 1]), np.zeros((4, 3)), np.zeros(2))
    value = by_group(row, np.array([1.0, 0.0, 0.0, 2.0]))
    assert value == pytest.approx([1.0, np.log((2.0 + np.exp(2.0)) / 3.0)])


def test_what_is_shipped_says_where_it_comes_from() -> None:
    found = as_shipped(_rows(), seed=11)
    assert set(found["weights"]) == {"evidence", "bic", "forbidden", "tail"}
    assert "80 simulated patterns of 80 formulas" in found["fitted_on"]
    json.dumps(found)


@pytest.mark.slow
def test_a_sample_depends_on_its_number_alone_and_a_run_goes_on(structures: Path, tmp_path: Path) -> None:
    one, other = MisfitSamples(structures, 11), MisfitSamples(structures, 11)
    first = one(5)
    other(30)
    again = other(5)
    assert np.array_equal(first.sample.pattern.intensity, again.sample.pattern.intensity)
    assert first.sample.cell == again.sample.cell
    entry = judged(one, 5)
    assert entry["truth"] == first.sample.group
    rows = run(structures, tmp_path, 6)
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 6
    assert [row.truth for row in run(structures, tmp_path, 6)] == [row.truth for row in rows]
