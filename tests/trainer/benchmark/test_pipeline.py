"""The pipeline's benchmark: what is kept, what goes on, and what is fitted on which rows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eg_agent.errors import BadInput
from eg_agent.identify import IdentifySettings
from eg_agent.identify.mixture import FAMILIES, FEATURES, Cells, MixtureConstants, mix
from eg_agent.identify.unknown_cell import Search
from eg_agent.symmetry import groups
from trainer.benchmark import Answer
from trainer.benchmark.benchmark import Options, run
from trainer.benchmark.classification import paired
from trainer.benchmark.pipeline import Cache, Kept
from trainer.benchmark.pipeline_folds import (
    as_vector,
    calibrate_pipeline,
    cells_of_raw,
    fit_constants,
    of_vector,
    raw_of_cells,
    stacked,
)
from trainer.benchmark.running import Predictions
from trainer.metrics import Bootstrap

SECONDS = 60.0


@pytest.fixture(scope="module")
def checkpoint(random_checkpoint: Path) -> str:
    return str(random_checkpoint)


def made(n: int, seed: int, *, right: float) -> tuple[np.ndarray, Cells, np.ndarray]:
    """Beliefs, cells and labels: `right` of the rows have a cell whose evidence points at the label."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(6, 40, n)
    before = rng.normal(0, 1, (n, 99))
    before[np.arange(n), labels] += 2.0
    before -= np.log(np.exp(before).sum(axis=1, keepdims=True))
    family = np.array([FAMILIES.index(entry.bravais[0]) for entry in groups()])
    found = []
    for label in labels:
        good = rng.random() < right
        evidence = np.where(family == family[label], rng.normal(0, 2, 99), -np.inf)
        evidence[label] += 6.0 if good else -6.0
        features = np.zeros(len(FEATURES))
        features[0], features[1] = 1.0, rng.normal(3.0 if good else 0.5, 0.5)
        found.append(
            Cells(
                features[None, None], evidence[None, None], np.array([[family[label]]]),
                np.ones((1, 1), bool), np.ones(1, bool),
            )
        )  # fmt: skip
    return before, stacked(found), labels


def test_fitted_constants_tell_good_cells_from_bad_ones_on_other_rows() -> None:
    before, cells, labels = made(300, 0, right=0.6)
    constants = fit_constants(before, cells, labels)
    after, new, truth = made(300, 1, right=0.6)
    rows = np.arange(len(truth))

    def loss(log_p: np.ndarray) -> float:
        return -float(log_p[rows, truth].mean())

    fitted = loss(mix(after, new, constants).log_probability)
    assert fitted < loss(after) - 0.3
    assert fitted < loss(mix(after, new, MixtureConstants()).log_probability) + 1e-3
    assert constants.coefficients[1] > 0.3


def test_constants_go_to_free_numbers_and_back() -> None:
    constants = replace(MixtureConstants(), power=0.7, floor=0.1, temperature=1.3)
    again = of_vector(as_vector(constants))
    np.testing.assert_allclose(as_vector(again), as_vector(constants))
    assert again.missed[0] == 0.0


def test_raw_arrays_and_back_with_padding() -> None:
    before, cells, _ = made(4, 2, right=0.5)
    empty = cells_of_raw({})
    assert not empty.searched[0]
    both = stacked([cells_of_raw(raw_of_cells(cells[np.arange(4) == i])) for i in range(4)] + [empty])
    np.testing.assert_allclose(
        mix(before, both[np.arange(5) < 4], MixtureConstants()).log_probability,
        mix(before, cells, MixtureConstants()).log_probability,
    )


def test_folds_never_see_the_compound_that_they_answer() -> None:
    """With labels of one compound's rows turned around, its own answers stay as they were."""
    n = 120
    before, cells, labels = made(n, 5, right=0.7)
    compounds = [f"compound {i // 3}" for i in range(n)]
    rng = np.random.default_rng(0)
    aux = before + rng.normal(0, 0.1, before.shape)

    def answers(truth: np.ndarray) -> np.ndarray:
        found = tuple(
            Answer(before[i], raw={"split": before[i], "aux": aux[i], "novelty": np.zeros(1)}
                   | raw_of_cells(cells[np.arange(n) == i]))
            for i in range(n)
        )  # fmt: skip
        flat = np.full(99, -np.log(99))
        return calibrate_pipeline(
            Predictions(found, np.zeros(n), ()), truth, compounds,
            log_train_prior=flat, log_prior=flat, folds=3, strength=99.0,
        ).log_probability  # fmt: skip

    turned = labels.copy()
    turned[:3] = 98
    np.testing.assert_allclose(answers(labels)[:3], answers(turned)[:3], atol=1e-9)


def test_paired_gain_is_the_difference_of_the_rows() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 99, 40)
    one, other = (np.log(rng.dirichlet(np.ones(99), 40)) for _ in range(2))
    boot = Bootstrap([str(i // 2) for i in range(40)], resamples=200)
    gain = paired(one, other, labels, boot)
    rows = np.arange(40)
    expected = float((one - other)[rows, labels].mean()) / np.log(2)
    assert gain["bits"].value == pytest.approx(expected)
    assert gain["nll"].value == pytest.approx(-expected * np.log(2))
    assert gain["bits"].low <= gain["bits"].value <= gain["bits"].high
    same = paired(one, one, labels, boot)
    assert (same["top1"].value, same["top1"].low, same["top1"].high) == (0.0, 0.0, 0.0)


def test_the_run_keeps_its_cells_and_goes_on(tiny_folder: Path, checkpoint: str, tmp_path: Path) -> None:
    cache = tmp_path / "cells"
    options = Options(
        "pipeline", checkpoint=checkpoint, prior="uniform", limit=2, time_limit=SECONDS, cache=str(cache)
    )
    first = run(tiny_folder, options)
    kept = sorted(path for path in cache.glob("*.json") if path.name != "about.json")
    assert len(kept) == 2
    stamps = [path.stat().st_mtime_ns for path in kept]
    again = run(tiny_folder, options)
    assert [path.stat().st_mtime_ns for path in kept] == stamps
    for name in ("model", "network", "evidence_only", "gain"):
        assert again[name] == first[name]
    assert json.loads(json.dumps(first, allow_nan=False))["gain"]["bits"]["value"] is not None
    # the random network knows nothing: what the answer knows comes from the cells
    assert first["gain"]["bits"]["value"] > 0.5
    with pytest.raises(BadInput, match="another folder"):
        run(tiny_folder, replace(options, time_limit=5.0))
    kept[0].write_text("{}")
    with pytest.raises(BadInput, match="delete it"):
        run(tiny_folder, options)


def test_only_the_pipeline_keeps_cells(tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="--cache"):
        run(tiny_folder, Options("network", cache=str(tmp_path)))


def test_a_row_that_was_never_kept_is_none(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "new", IdentifySettings(index_seconds=5.0))
    assert cache.get("a/b c") is None
    cache.put(Kept("a/b c", Search((), False, "too few lines"), 1.5))
    found = cache.get("a/b c")
    assert found is not None
    assert (found.seconds, found.search.searched, found.search.reason) == (1.5, False, "too few lines")
