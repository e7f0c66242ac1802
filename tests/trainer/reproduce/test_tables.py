"""Rows, paired differences, strata and sentences of the reproduction tables, from answers made by hand."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eg_agent.errors import BadInput
from eg_agent.model.fusion import Calibration
from eg_agent.model.network import N_LATTICES, N_SYSTEMS
from eg_agent.symmetry import published_codes
from trainer.metrics import topology_of
from trainer.reproduce.markdown import as_markdown
from trainer.reproduce.page import write_page
from trainer.reproduce.plan import (
    ESSENTIAL,
    SHIPPED,
    TABLES,
    Spec,
    config_of_spec,
    reference,
    specs_of,
    tables_named,
)
from trainer.reproduce.running import folder_of
from trainer.reproduce.shipped import split_validity
from trainer.reproduce.tables import Judged, make_table, strata_of
from trainer.reproduce.verdicts import apart, sign, verdict

N = 90
FLAT = np.full(99, -np.log(99))
CALIBRATION = asdict(Calibration(1.0, 0.0, 1.0))


def scores(strength: float, seed: int = 0) -> dict[str, np.ndarray]:
    """Answers of a network whose logits favour the true group by `strength`, with noise; 30 compounds."""
    rng = np.random.default_rng(7)
    label = np.repeat(rng.integers(0, 12, N // 3), 3)
    noise = np.random.default_rng(seed).normal(0, 1, (N, 99))
    aux = noise + strength * np.eye(99)[label]
    found: dict[str, np.ndarray] = {"train_prior": FLAT, "sim_prior": FLAT}
    for kind in ("sim", "real"):
        found |= {f"{kind}_split": aux, f"{kind}_aux": aux, f"{kind}_label": label}
    return found | {
        "real_answered": np.ones(N, dtype=bool),
        "real_compound": np.array([f"c{i // 3}" for i in range(N)]),
        "real_source": np.array(["a"] * N),
        "real_signal": rng.permutation(N).astype(float),
    }


def write(out: Path, spec: Spec, strength: float, **more: object) -> None:
    folder = folder_of(spec, out)
    folder.mkdir(parents=True)
    answers = scores(strength, seed=spec.seed + len(spec.variant))
    if spec == SHIPPED:  # judged on measured patterns alone
        answers = {name: array for name, array in answers.items() if not name.startswith("sim_")}
    np.savez(folder / "scores.npz", **answers)  # pyright: ignore[reportArgumentType]
    valid = {"valid": 0.5, "right": 0.25}
    result = {
        "spec": asdict(spec),
        "patterns": 8192,
        "calibration": CALIBRATION,
        "split_valid": valid,
        **more,
    }
    (folder / "result.json").write_text(json.dumps(result))


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A good reference of two seeds, a worse variant and one as good."""
    for seed in (0, 1):
        write(tmp_path, Spec("reference", 1.0, seed), 5.0)
    write(tmp_path, Spec("no-real", 1.0, 0), 1.0)
    write(tmp_path, Spec("space-groups", 1.0, 0), 5.0)
    return tmp_path


def test_differences_are_paired_and_by_compound(runs: Path) -> None:
    made = make_table("ablations", runs, 2)
    rows = made["parts"]["measured"]
    assert "difference" not in rows["reference"]
    worse = rows["no-real"]["difference"]
    assert worse["high"] < 0
    both = rows["no-real"]["bits_over_prior"]["value"] - rows["reference"]["bits_over_prior"]["value"]
    assert worse["value"] == pytest.approx(both, abs=1e-4)
    assert len(rows["reference"]["seeds"]) == 2
    assert np.mean(rows["reference"]["seeds"]) == pytest.approx(
        rows["reference"]["bits_over_prior"]["value"], abs=1e-3
    )
    assert rows["prior only"]["bits_over_prior"]["value"] == pytest.approx(0.0, abs=1e-9)
    assert "no-coordinate" in made["missing"]
    assert made["fewer_seeds"] == ["no-real"]


def test_the_paired_interval_agrees_with_a_bootstrap_by_hand() -> None:
    judged = Judged(scores(1.0), "real")
    rng = np.random.default_rng(0)
    base, bits = rng.normal(0, 3, N), rng.normal(0, 3, N)
    bits = base + 0.4 + np.repeat(rng.normal(0, 0.5, N // 3), 3)
    found = judged.difference(bits, base)
    compound = (bits - base).reshape(-1, 3).mean(1)
    drawn = [compound[i].mean() for i in np.random.default_rng(1).integers(0, 30, (4000, 30))]
    assert found.value == pytest.approx(compound.mean())
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])), abs=0.03)
    # far narrower than the rows' own intervals: that is what pairing is for
    alone = judged.boot.interval(
        judged.boot.sums(bits[:, None])[:, 0] / judged.boot.sums(np.ones((N, 1)))[:, 0]
    )
    assert found.high - found.low < 0.6 * (alone.high - alone.low)


def test_a_better_network_has_more_bits_and_the_true_group_first() -> None:
    given = scores(30.0)
    answers = Judged(given, "real").answers(given, Calibration(1.0, 0.0, 1.0))
    np.testing.assert_array_equal(answers.argmax(1), given["real_label"])
    np.testing.assert_allclose(np.exp(answers).sum(1), 1.0)


def test_the_label_of_a_pattern_does_not_reach_its_own_answer() -> None:
    given = scores(0.0)
    plain = Judged(given, "real").answers(given, Calibration(1.0, 0.0, 1.0))
    changed = {**given, "real_label": given["real_label"].copy()}
    first = given["real_compound"] == given["real_compound"][0]
    changed["real_label"][first] = 98
    judged = Judged(changed, "real")
    again = judged.answers(changed, Calibration(1.0, 0.0, 1.0))
    same_fold = judged.fold == judged.fold[0]
    np.testing.assert_allclose(again[same_fold], plain[same_fold])
    assert not np.allclose(again[~same_fold], plain[~same_fold])


def test_refused_patterns_answer_with_the_prior_at_any_temperature() -> None:
    given = scores(3.0)
    given["real_answered"][5] = False
    judged = Judged(given, "real")
    for found in (
        judged.answers(given, Calibration(1.0, 0.0, 1.0)),
        judged.at_temperature(given, Calibration(1.0, 0.0, 1.0), 0.5),
    ):
        np.testing.assert_allclose(found[5], judged.prior[5], atol=1e-9)


def test_strata_are_thirds_and_patterns_without_a_fit_are_in_none() -> None:
    given = scores(1.0)
    assert set(strata_of(given)) == {
        f"{name} third of the signal over the noise" for name in ("weakest", "middle", "strongest")
    }
    rwp = np.full(N, np.nan)
    rwp[:30] = np.arange(30.0)
    strata = strata_of({**given, "real_rwp": rwp})
    fits = {name: keep for name, keep in strata.items() if "fits" in name}
    assert [int(keep.sum()) for keep in fits.values()] == [10, 10, 10]
    assert rwp[fits["best third of the fits (Rwp)"]].max() < rwp[fits["worst third of the fits (Rwp)"]].min()


def test_the_worst_fits_are_set_against_the_best_by_hand(tmp_path: Path) -> None:
    write(tmp_path, SHIPPED, 2.0, patterns=0, checkpoint="abc", size="1 M", seen=1000.0)
    path = folder_of(SHIPPED, tmp_path) / "scores.npz"
    given = dict(np.load(path))
    given["real_rwp"] = np.arange(N, dtype=float)
    given["real_source"] = np.array(["museum"] * 60 + ["lab"] * 30)
    # the last third, badly fitted, is answered for sure; the first third is told nothing
    given["real_aux"][60:] = given["real_split"][60:] = 40.0 * np.eye(99)[given["real_label"][60:]]
    given["real_aux"][:30] = given["real_split"][:30] = 0.0
    np.savez(path, **given)
    made = make_table("quality", tmp_path, 1)
    rows = made["parts"]
    worst, best = (
        next(
            r["shipped checkpoint"]
            for words, r in rows.items()
            if words.startswith(f"{name} third of the fits")
        )
        for name in ("worst", "best")
    )
    for metric in ("top1", "bits_over_prior"):
        assert made["contrasts"][metric]["value"] == pytest.approx(
            worst[metric]["value"] - best[metric]["value"], abs=1e-4
        )
        assert made["contrasts"][metric]["low"] > 0
    assert made["contrasts"]["source_shares"] == [0.0, 1.0]
    said = verdict(made)
    assert said[0].startswith("**Holds**: the worst fits are easier")
    assert "0 % of the worst and 100 % of the best fits come from museum" in said[1]


def test_a_table_with_nothing_to_compare_says_so(tmp_path: Path) -> None:
    write(tmp_path, Spec("reference", 1.0, 0), 5.0)
    made = make_table("texture", tmp_path, 1)
    assert "nothing to compare" in verdict(made)[-1]
    assert "prior only" not in as_markdown(made)


def test_the_papers_rows_stand_below_ours_of_measured_patterns(runs: Path) -> None:
    text = as_markdown(make_table("space-groups", runs, 2))
    simulated, measured = text.split("**Measured**")
    assert "paper" not in simulated.split("\n", 1)[1]
    assert "| *paper, collapsed* | 10.2 |" in measured


def test_runs_judged_on_other_patterns_do_not_pair(runs: Path) -> None:
    folder = folder_of(Spec("no-real", 1.0, 0), runs)
    other = dict(np.load(folder / "scores.npz"))
    other["real_label"] = (other["real_label"] + 1) % 99
    np.savez(folder / "scores.npz", **other)
    with pytest.raises(BadInput, match="judged on other patterns"):
        make_table("ablations", runs, 1)


def test_split_validity_by_hand() -> None:
    codes = np.array(published_codes(), dtype=np.int64)
    labels = np.arange(99)
    every = split_validity(codes, labels)
    assert every["valid"] == 1.0
    assert every["right"] == 1.0
    assert every["null"] < 0.3
    broken = codes.copy()
    broken[:, N_SYSTEMS + N_LATTICES :] = 1  # no group has all 25 operators
    assert split_validity(broken, labels)["valid"] == 0.0
    assert split_validity(codes, (labels + 1) % 99)["right"] < 0.1


def test_the_published_graph_gives_its_own_part(runs: Path) -> None:
    star = topology_of([(i, 99) for i in range(1, 99)])  # every two leaves are two hops apart
    made = make_table("topology", runs, 2, star)
    rows = made["parts"]["measured, published graph"]
    assert rows["permuted"]["within_2_hops"]["value"] == 1.0
    assert rows["permuted"]["graph_distance_wrong"]["value"] > 1.5
    ours = made["parts"]["measured"]["permuted"]["graph_distance_wrong"]["value"]
    assert ours != pytest.approx(rows["permuted"]["graph_distance_wrong"]["value"])


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(0.1, 0.2, 1), (-0.2, -0.1, -1), (-0.1, 0.1, 0), (None, None, 0)]
)
def test_sign_of_an_interval(low: float | None, high: float | None, expected: int) -> None:
    assert sign({"value": 0.0, "low": low, "high": high}) == expected


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=4, max_size=4))
def test_apart_is_antisymmetric_and_never_of_overlapping_intervals(ends: list[float]) -> None:
    one, other = (dict(zip(("low", "high"), sorted(pair), strict=True)) for pair in (ends[:2], ends[2:]))
    assert apart(one, other) == -apart(other, one)
    overlap = max(one["low"], other["low"]) <= min(one["high"], other["high"])
    assert (apart(one, other) == 0) == overlap


def test_sentences_follow_the_intervals(runs: Path) -> None:
    said = " ".join(verdict(make_table("ablations", runs, 2)))
    assert "worse than the first row of the same budget: no-real" in said
    assert "reference" in said
    collapsed = verdict(make_table("space-groups", runs, 2))
    assert collapsed[0].startswith("**Not decided**") == (
        sign(make_table("space-groups", runs, 2)["parts"]["measured"]["collapsed"]["difference"]) == 0
    )
    write(runs, SHIPPED, 5.0, patterns=0, checkpoint="abc", size="1 M", seen=1000.0)
    sweep = make_table("calibration", runs, 2)
    best = min(
        (row["nll"]["value"], name)
        for name, row in sweep["parts"]["measured"].items()
        if "shipped" in name and "T =" in name
    )[1]
    assert any(best.rsplit(", ", 1)[1] + " has the lowest" in sentence for sentence in verdict(sweep))
    assert verdict(make_table("tokens", runs, 2)) == ["No run of this table is finished."]


def test_the_page_has_every_table_and_the_pictures_that_it_names(runs: Path) -> None:
    write(runs, SHIPPED, 5.0, patterns=0, checkpoint="abc", size="1 M", seen=1000.0)
    tables = [make_table(name, runs, 2) for name in TABLES]
    page = runs / "docs" / "page.md"
    write_page(page, tables, "eg-train reproduce all", runs / "docs" / "images")
    text = page.read_text()
    for name, table in TABLES.items():
        assert f"## {table.title}" in text
        assert table.paper in text
        if name in ("ablations", "space-groups", "calibration", "topology", "quality"):
            assert "| prior only |" in as_markdown(tables[list(TABLES).index(name)])
    assert "8,192 patterns" in text
    pictures = [line.split("](")[1].rstrip(")") for line in text.splitlines() if line.startswith("![")]
    assert pictures == ["images/ablations.png", "images/calibration.png"]
    assert all((page.parent / picture).stat().st_size > 5000 for picture in pictures)


def test_essential_runs_come_first_and_warm_up_leaves_steps_to_learn_in() -> None:
    specs = specs_of(tables_named("all"), 2)
    first = [spec for spec in specs if spec.seed == 0]
    assert [(s.variant, s.share) for s in first[: len(ESSENTIAL)]] == list(ESSENTIAL)
    assert not any(spec.variant == "shipped" for spec in specs)
    base = reference("cpu-hybrid")
    assert config_of_spec(Spec("reference", 1.0, 0), base, 3200).schedule.warmup_steps == 10
    assert (
        config_of_spec(Spec("reference", 1.0, 0), base).schedule.warmup_steps
        == base.schedule.warmup_steps - 100
    )
