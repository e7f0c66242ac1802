"""Disks that are full (the kernel says so, nothing is pretended) and patterns of another grid."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from eg_agent.errors import BadInput
from eg_agent.model import Classifier
from eg_agent.model.architectures import tiny
from eg_agent.model.checkpoint import Card, load_checkpoint, save_checkpoint
from eg_agent.model.network import Network

UNIFORM = tuple([-float(np.log(99.0))] * 99)


@pytest.fixture
def saved(tmp_path) -> tuple[Path, Network, Card]:
    torch.manual_seed(0)
    network = Network(tiny()).eval()
    card = save_checkpoint(tmp_path / "mine", network, Card("mine", tiny(), UNIFORM))
    return tmp_path / "mine", network, card


def other(network: Network) -> Network:
    """A network of the same architecture with other weights."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1.0)
    return network


@pytest.mark.skipif(
    not Path("/dev/full").exists(),
    reason="only Linux has /dev/full, the file in which there is no space left",
)
@pytest.mark.parametrize("full", [".safetensors", ".json"])
def test_no_space_for_weights_or_card_leaves_both_as_they_were(saved, full):
    path, network, card = saved
    (path.parent / f"mine{full}.part").symlink_to("/dev/full")  # writing there fails with ENOSPC
    with pytest.raises(BadInput, match=r"No space left on device.*free some space") as caught:
        save_checkpoint(path, other(network), replace(card, name="other"))
    assert "\n" not in str(caught.value)
    assert sorted(p.name for p in path.parent.iterdir()) == ["mine.json", "mine.safetensors"]
    assert load_checkpoint(path)[1] == card


def test_weights_that_break_off_leave_both_as_they_were(saved, files_of_at_most):
    path, network, card = saved
    with files_of_at_most(4096), pytest.raises(BadInput, match=r"mine\.safetensors could not be written"):
        save_checkpoint(path, other(network), card)
    assert sorted(p.name for p in path.parent.iterdir()) == ["mine.json", "mine.safetensors"]
    assert load_checkpoint(path)[1] == card


def test_a_folder_that_cannot_be_made(saved):
    path, network, card = saved
    with pytest.raises(BadInput, match="cannot be made"):
        save_checkpoint(path.with_suffix(".json") / "inside", network, card)


@pytest.mark.parametrize("byte", [0, 9, 3000, -1])
def test_a_byte_that_changed_on_the_disk_is_noticed(saved, byte):
    path, _, _ = saved
    weights = bytearray(path.with_suffix(".safetensors").read_bytes())
    weights[byte] ^= 1
    path.with_suffix(".safetensors").write_bytes(bytes(weights))
    with pytest.raises(BadInput, match="do not belong to their card or are damaged"):
        load_checkpoint(path)


def test_patterns_on_another_grid_are_refused(saved):
    path, _, _ = saved
    classifier = Classifier.load(path, prior="uniform")
    right, wrong = classifier.grid.length, 2 * classifier.grid.length
    classifier.projected_scores(np.ones((1, right), np.float32), np.ones((1, right), bool))
    with pytest.raises(BadInput, match=f"{wrong} points, this network's grid has {right}") as caught:
        classifier.projected_scores(np.ones((1, wrong), np.float32), np.ones((1, wrong), bool))
    assert "\n" not in str(caught.value)
