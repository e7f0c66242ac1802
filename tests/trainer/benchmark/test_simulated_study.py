"""The study of the evidence: ranks, ties, calibration, resuming, tables; on rows whose answer is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from eg_agent.errors import BadInput
from eg_agent.symmetry import group
from eg_agent.verify.criteria import Criteria
from trainer.benchmark import regimes, simulated_study
from trainer.benchmark.simulated_result import as_markdown, calibration, hits, plot, result_of, wilson
from trainer.benchmark.simulated_samples import draw, measured, own_metric, with_rivals
from trainer.benchmark.simulated_study import Study, load, ranked, run


def criteria(evidence: dict[int, float]) -> Criteria:
    """Criteria that all say the same."""
    values = np.array(list(evidence.values()))
    return Criteria(np.array(list(evidence)), values, -values, -values, -values)


def test_ranks_count_what_is_better_and_half_of_ties() -> None:
    row = ranked(criteria({7: 1.0, 8: 3.0, 9: 3.0, 10: 0.0}), 8)
    assert row["rank_evidence"] == 0.5
    assert row["rank_bic"] == 0.5
    assert row["candidates"] == 4
    assert ranked(criteria({7: 1.0, 8: 3.0}), 7)["rank_evidence"] == 1.0
    assert ranked(criteria({7: 1.0, 8: 3.0}), 40)["rank_evidence"] == 2  # not among the candidates


def test_groups_of_equal_absences_are_one_answer() -> None:
    row = ranked(criteria({82: 5.0, 83: 5.0, 81: 0.0}), 83)
    assert row["candidates"] == 2
    assert row["rank_evidence"] == 0.0
    assert row["right"]


def test_claims_are_probabilities() -> None:
    row = ranked(criteria({7: np.log(3.0), 8: 0.0}), 8)
    assert row["claimed_raw"] == pytest.approx(0.75)
    assert row["truth_raw"] == pytest.approx(0.25)
    assert not row["right_raw"]
    assert row["claimed"] < row["claimed_raw"]  # tempered, and with a floor


def rows_of(claims: np.ndarray, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Rows of a perfectly calibrated study."""
    found = []
    for i, p in enumerate(claims.tolist()):
        right = bool(rng.random() < p)
        row = {"crystal": i // 3, "counts": (1e3, 1e4, 1e5)[i % 3], "kind": "structure", "status": "fitted"}
        ranks = {f"rank_{name}": 0.0 if right else 2.0 for name in simulated_study.CRITERIA}
        both = {f"{k}{s}": v for s in ("", "_raw") for k, v in (("claimed", p), ("right", right))}
        found.append(row | ranks | both | {"seconds": 1.0, "name": "x", "group": 7})
    return found


def test_calibrated_rows_look_calibrated() -> None:
    rng = np.random.default_rng(1)
    rows = rows_of(rng.uniform(0.3, 1.0, 3000), rng)
    found = calibration(rows, "")
    gap = found["right_less_claimed"]
    assert gap["low"] < 0.0 < gap["high"]
    assert found["ninety"]["right"] == pytest.approx(0.9, abs=0.03)
    for b in found["bins"]:
        assert b["low"] - 0.02 <= b["claimed"] <= b["high"] + 0.02
    over = [row | {"claimed": min(1.0, row["claimed"] + 0.1)} for row in rows]
    assert calibration(over, "")["right_less_claimed"]["high"] < 0.0


def test_unfitted_samples_are_wrong_and_claim_nothing() -> None:
    rows = rows_of(np.full(9, 0.9), np.random.default_rng(0))
    for row in rows[:3]:
        row["status"] = "not fitted"
        for name in simulated_study.CRITERIA:
            del row[f"rank_{name}"]
    assert hits(rows, "evidence", 1)[:3].tolist() == [0.0, 0.0, 0.0]
    assert calibration(rows, "")["n"] == 6
    assert result_of(rows)["about"]["not_fitted"] == 3


def test_wilson_is_scipys() -> None:
    expected = binomtest(17, 20).proportion_ci(method="wilson")
    assert wilson(17 / 20, 20) == pytest.approx((expected.low, expected.high), abs=1e-4)


def test_tables_and_picture(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    result = result_of(rows_of(rng.uniform(0.3, 1.0, 90), rng))
    text = as_markdown(result)
    assert "| 1000 | 30 |" in text
    assert "| all | 90 |" in text
    assert plot(result, tmp_path / "study.png").stat().st_size > 10_000
    json.dumps(result, allow_nan=False)


def test_every_group_but_the_triclinic_has_rivals() -> None:
    assert with_rivals() == list(range(1, 99))
    assert group(99).crystal_system == "triclinic"


def test_regimes_cover_their_lattices() -> None:
    found = {r.name: [group(n).bravais for n in regimes.groups_of(r)] for r in regimes.REGIMES}
    assert set(found["rhombohedral"]) == {"hR"}
    assert set(found["cubic F"]) == {"cF"}
    assert len(found["monoclinic"]) == 6


def test_regime_table() -> None:
    rows = [
        {"compound": "a", "status": "fitted", "rank": 0, "id": "1", "group": 75},
        {"compound": "a", "status": "fitted", "rank": 2, "id": "2", "group": 75},
        {"compound": "b", "status": "not fitted", "rank": None, "id": "3", "group": 75},
    ]
    found = regimes.summary(rows)
    assert (found["n"], found["compounds"], found["completed"]) == (3, 2, 2)
    assert (found["exact"], found["in_three"]) == (1, 2)
    text = regimes.as_markdown({"rhombohedral": rows}, {})
    assert "| rhombohedral | measured | 3 (2) | 2 | 1 (33 %" in text


def test_a_study_is_resumed_and_not_mixed(structures: Path, tmp_path: Path) -> None:
    study = Study(structures, tmp_path / "out", 2, (1e3, 1e4), (94, 81), seed=3)
    first = run(study, minutes=1e-6)
    assert len(first) == 1
    with (study.out / "rows.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"crystal": 1, "cou')  # the run was stopped in the middle of a line
    assert len(load(study)) == 1
    again = run(study)
    assert len(again) == 4
    assert again[0] == first[0]
    assert {(row["crystal"], row["counts"]) for row in again} == {
        (i, c) for i in range(2) for c in (1e3, 1e4)
    }
    assert run(study) == again
    with pytest.raises(BadInput, match="other settings"):
        run(Study(structures, tmp_path / "out", 3, seed=3))


def test_samples_are_of_their_group_and_the_same_again(structures: Path) -> None:
    wanted = [17, 76, 94]
    drawn = draw(structures, wanted, 5)
    assert [d.crystal.group for d in drawn] == wanted
    assert all(own_metric(d.crystal) for d in drawn)
    sample, again = (measured(drawn, 1, 1e4, 5) for _ in range(2))
    assert sample.pattern.uid == again.pattern.uid
    a, b, c = (s / t for s, t in zip(sample.cell[:3], drawn[1].crystal.cell[:3], strict=True))
    assert a == pytest.approx(b)
    assert abs(a - 1) == pytest.approx(1e-3)
    assert abs(c - 1) == pytest.approx(1e-3)
    weaker = measured(drawn, 1, 1e3, 5)
    assert weaker.cell == sample.cell
    assert weaker.pattern.intensity.max() < sample.pattern.intensity.max()


def test_structures_are_needed(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no structures"):
        draw(tmp_path, [1], 0)
