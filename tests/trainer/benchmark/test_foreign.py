"""Mixtures and series: confident answers that are false, by hand-made priors that force the answer."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eg_agent.model import Classifier
from eg_agent.symmetry import group_of_space_group
from trainer.benchmark.foreign import foreign_rows

HALITE = group_of_space_group(225) - 1
QUARTZ = group_of_space_group(152) - 1


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier.load()


@pytest.fixture
def series(tiny_folder: Path, tmp_path: Path) -> Path:
    """A mixture of halite and rutile, one whose phases nobody named, a flat line, and a series."""
    archive = np.load(tiny_folder / "patterns.npz")
    mixed = archive["halite_2"].astype(float).copy()
    mixed[1] += archive["rutile_2"][1]
    flat = np.stack([mixed[0], np.full(len(mixed[0]), 7.0)])
    patterns = {
        "two": mixed,
        "unnamed": mixed,
        "flat": flat,
        "one": archive["quartz_2"],
        "no_wavelength": mixed,
    }
    rows = [
        {"id": "two", "kind": "mixture", "phases": "NaCl(225)+TiO2(136)", "wavelength": "1.5406"},
        {"id": "unnamed", "kind": "mixture/unknown", "phases": "Na-Ti", "wavelength": "1.5406"},
        {"id": "flat", "kind": "mixture", "phases": "NaCl(225)", "wavelength": "1.5406"},
        {"id": "one", "kind": "temperature, in situ", "phases": "SiO2(152)", "wavelength": "1.5406"},
        {"id": "no_wavelength", "kind": "mixture", "phases": "NaCl(225)", "wavelength": ""},
    ]
    np.savez(tmp_path / "patterns.npz", **patterns)
    with (tmp_path / "index.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return tmp_path


def sure_of(index: int) -> np.ndarray:
    """Log-probabilities that no pattern can argue with."""
    prior = np.full(99, -200.0)
    prior[index] = 0.0
    return prior


def believing(classifier: Classifier) -> Classifier:
    """The same without a novelty: nothing is called strange."""
    return replace(classifier, card=replace(classifier.card, novelty=None))


@pytest.mark.parametrize(("answer", "false"), [(HALITE, 0), (QUARTZ, 1)])
def test_a_confident_answer_is_false_when_no_phase_has_its_group(
    series: Path, classifier: Classifier, answer: int, false: int
) -> None:
    rows = foreign_rows(series, believing(classifier), classifier.calibration, sure_of(answer))
    mixtures = rows["mixtures"]
    assert next(iter(rows)) == "mixtures"
    assert (mixtures["n"], mixtures["refused"]) == (3, 1)  # without a wavelength it is no row
    assert mixtures["out_of_distribution"] is None
    # a refused pattern says nothing, but counts; nobody can judge the one without space groups
    assert mixtures["confident_90"] == pytest.approx(2 / 3)
    assert mixtures["confident_90_judged"] == 1
    assert mixtures["confident_90_false"] == false
    assert (rows["temperature"]["n"], rows["temperature"]["confident_50_false"]) == (1, 1 - false)


def test_an_unsure_answer_is_no_false_one(series: Path, classifier: Classifier) -> None:
    flat = replace(classifier.calibration, temperature=1e9, novelty_slope=0.0, entropy_slope=0.0)
    rows = foreign_rows(series, believing(classifier), flat, np.full(99, -np.log(99)))
    assert rows["mixtures"]["confident_50"] == 0.0
    assert rows["mixtures"]["confident_50_judged"] == rows["mixtures"]["confident_50_false"] == 0


@pytest.mark.parametrize(("threshold", "share"), [(-1e9, 1.0), (1e9, 0.0)])
def test_what_is_called_strange_is_not_said(
    series: Path, classifier: Classifier, threshold: float, share: float
) -> None:
    reference = classifier.card.novelty
    if reference is None:
        pytest.skip("the shipped checkpoint has no novelty")
    card = replace(classifier.card, novelty=replace(reference, threshold=threshold))
    rows = foreign_rows(series, replace(classifier, card=card), classifier.calibration, sure_of(QUARTZ))
    assert rows["mixtures"]["out_of_distribution"] == share
    assert rows["mixtures"]["confident_90"] == pytest.approx((1.0 - share) * 2 / 3)
