"""An identifier that follows a folder of promoted checkpoints."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from eg_agent.errors import BadInput
from eg_agent.identify.following import FollowingIdentifier
from eg_agent.model import Card, Network, NetworkConfig, save_checkpoint
from eg_agent.model.promoted import Promoted
from eg_agent.patterns import Pattern, Radiation


@pytest.fixture
def pattern() -> Pattern:
    rng = np.random.default_rng(1)
    x = np.arange(10.0, 80.0, 0.05)
    rate = 5.0 + sum(400.0 * np.exp(-0.5 * ((x - c) / 0.1) ** 2) for c in (21.0, 30.1, 43.0, 53.3))
    return Pattern(x, rng.poisson(rate), Radiation(1.5406), counting_time=np.ones(x.size), raw_counts=True)


def saved(folder: Path, seed: int, spoil: bool = False) -> Path:
    import torch

    torch.manual_seed(seed)
    config = NetworkConfig(
        length=1024, width=32, depth=1, heads=2, stem_widths=(8, 16, 32), stem_blocks=(0, 0, 0)
    )
    network = Network(config)
    if spoil:
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.fill_(math.nan)
    path = folder / f"seed-{seed}.json"
    save_checkpoint(path, network, Card(f"seed-{seed}", config, tuple([-math.log(99.0)] * 99)))
    return path


def test_the_next_answer_is_the_new_checkpoints(tmp_path, random_checkpoint, pattern):
    promoted = Promoted(tmp_path / "promoted")
    first = promoted.promote(random_checkpoint)
    identifier = FollowingIdentifier(promoted.folder)
    assert identifier.identify(pattern).provenance.checkpoint == first.hash
    second = promoted.promote(saved(tmp_path, 2), "better")
    assert identifier.identify(pattern).provenance.checkpoint == second.hash
    assert "better" in identifier.take_told()[0]
    assert identifier.take_told() == []
    promoted.back()
    assert identifier.identify(pattern).provenance.checkpoint == first.hash
    assert "back from" in identifier.take_told()[0]
    assert not identifier.refresh()


def test_what_does_not_load_leaves_the_old_one(tmp_path, random_checkpoint, pattern):
    promoted = Promoted(tmp_path / "promoted")
    first = promoted.promote(random_checkpoint)
    identifier = FollowingIdentifier(promoted.folder)
    second = promoted.promote(saved(tmp_path, 2))
    weights = promoted.card(second).with_suffix(".safetensors")
    whole = weights.read_bytes()
    weights.write_bytes(whole[:100] + b"?" + whole[101:])
    assert identifier.identify(pattern).provenance.checkpoint == first.hash
    (told,) = identifier.take_told()
    assert "stays" in told
    assert "is not what was promoted" in told
    assert identifier.identify(pattern).provenance.checkpoint == first.hash
    assert identifier.take_told() == []  # said once
    # a worker that starts now takes the last one that loads
    again = FollowingIdentifier(promoted.folder)
    assert again.identify(pattern).provenance.checkpoint == first.hash
    assert "is not taken" in again.take_told()[0]
    # numbers that are not finite load, and are found when it is tried
    promoted.back(first.hash)
    third = promoted.promote(saved(tmp_path, 3, spoil=True))
    assert identifier.identify(pattern).provenance.checkpoint == first.hash
    assert "not finite" in identifier.take_told()[0]
    # mended under the same name: whoever sets the pointer anew has it taken up
    weights.write_bytes(whole)
    promoted.back(second.hash)
    assert identifier.identify(pattern).provenance.checkpoint == second.hash
    assert third.folder in {entry.folder for entry in promoted.pointer().before}
    (promoted.folder / "current.json").write_text("{")
    assert identifier.identify(pattern).provenance.checkpoint == second.hash
    assert "cannot be read" in identifier.take_told()[-1]


def test_a_folder_in_which_nothing_loads(tmp_path, random_checkpoint):
    promoted = Promoted(tmp_path / "promoted")
    entry = promoted.promote(random_checkpoint)
    promoted.card(entry).with_suffix(".safetensors").unlink()
    with pytest.raises(BadInput, match=r"no checkpoint in .* can be loaded"):
        FollowingIdentifier(promoted.folder)
