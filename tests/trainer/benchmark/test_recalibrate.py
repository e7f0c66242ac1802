"""`eg-train calibrate` end to end: the same weights with a new card that the product answers with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from eg_agent.errors import BadInput
from eg_agent.model.architectures import tiny
from eg_agent.model.checkpoint import Card, read_card, save_checkpoint
from eg_agent.model.classifier import Classifier
from eg_agent.model.network import Network
from simulators.corpus import MINERAL, pack
from simulators.textbook import textbook
from trainer.library.building import library_of_corpus
from trainer.recalibrate import Request, recalibrate


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network with random weights."""
    import torch

    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("run") / "random.json"
    save_checkpoint(path, Network(tiny()), Card("random", tiny(), (float(-np.log(99.0)),) * 99))
    return path


def test_a_new_card_for_the_same_weights(tmp_path: Path, checkpoint: Path, tiny_folder: Path) -> None:
    library = tmp_path / "library.npz"
    library_of_corpus(pack((crystal, MINERAL) for crystal in textbook())).save(library)
    out = tmp_path / "new.json"
    said = recalibrate(Request(tiny_folder, out, str(checkpoint), folds=3, library=library))
    written, old = read_card(out), read_card(checkpoint)
    assert written.weights_sha256 == old.weights_sha256
    assert written.calibration == said.calibration != old.calibration
    assert written.library == said.library
    assert written.library.fitted_with.startswith("library")
    assert written.sets.patterns == said.expected["patterns"] > 0
    assert {"ece", "coverage", "coverage_interval", "with_library"} <= set(written.expected)
    assert Classifier.load(out).calibration == written.calibration
    # Without a library the weights stay, with what was promised of them.
    again = recalibrate(Request(tiny_folder, tmp_path / "again.json", str(out), folds=3))
    assert again.library == written.library
    assert again.expected["with_library"] == written.expected["with_library"]


def test_what_cannot_be_written_says_so(tmp_path: Path, checkpoint: Path, tiny_folder: Path) -> None:
    with pytest.raises(BadInput, match="make it first"):
        recalibrate(Request(tiny_folder, tmp_path / "nowhere" / "new.json", str(checkpoint)))
    with pytest.raises(BadInput, match="cannot make 1000 folds"):
        recalibrate(Request(tiny_folder, tmp_path / "new.json", str(checkpoint), folds=1000))
