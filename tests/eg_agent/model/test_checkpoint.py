"""Checkpoints: round trip, and one clear error for everything that can be wrong with one."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save

from eg_agent.errors import BadInput
from eg_agent.model.architectures import NETWORKS, tiny
from eg_agent.model.checkpoint import Card, find_checkpoint, load_checkpoint, read_card, save_checkpoint
from eg_agent.model.fusion import Calibration
from eg_agent.model.network import Network
from eg_agent.values import from_json, to_json

UNIFORM = tuple([-float(np.log(99.0))] * 99)


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    network = Network(tiny()).eval()
    card = Card("mine", tiny(), UNIFORM, Calibration(1.3, 0.2), cost={"hours": 0.1}, machine="x")
    return tmp_path / "mine", network, save_checkpoint(tmp_path / "mine", network, card)


@pytest.mark.parametrize("name", NETWORKS)
def test_round_trip_of_every_network(tmp_path, name):
    torch.manual_seed(0)
    network = Network(NETWORKS[name]()).eval()
    save_checkpoint(tmp_path / name, network, Card(name, network.config, UNIFORM), half=False)
    again, card = load_checkpoint(tmp_path / f"{name}.json")
    assert again.config == network.config == card.architecture
    for key, value in network.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key
    assert not again.training


def test_half_precision_is_close_and_small(saved):
    path, network, _ = saved
    again, _ = load_checkpoint(path)
    x, seen = torch.rand(2, 512), torch.ones(2, 512, dtype=torch.bool)
    with torch.inference_mode():
        assert torch.allclose(network(x, seen).aux, again(x, seen).aux, atol=0.02)
    assert next(iter(again.parameters())).dtype == torch.float32
    assert path.with_suffix(".safetensors").stat().st_size < 3.5 * network.parameters_count + 10_000


def test_card_round_trip(saved):
    path, _, card = saved
    assert from_json(Card, to_json(card)) == card == read_card(path)
    assert len(card.hash) == 16
    assert card.calibration == Calibration(1.3, 0.2)


def test_any_of_the_three_names_finds_it(saved):
    path, _, _ = saved
    card = path.with_suffix(".json")
    for name in (path, card, path.with_suffix(".safetensors")):
        assert find_checkpoint(name) == card


def damage(path, kind):
    weights, card = path.with_suffix(".safetensors"), path.with_suffix(".json")
    data = json.loads(card.read_text())
    if kind == "truncated weights":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif kind == "other weights":
        weights.write_bytes(save({"x": torch.zeros(3)}))
    elif kind == "no weights":
        weights.unlink()
    elif kind == "no card":
        card.unlink()
    elif kind == "truncated card":
        card.write_text(card.read_text()[:200])
    elif kind == "foreign card":
        card.write_text('{"architectures": ["BertModel"]}')
    elif kind == "newer card":
        card.write_text(json.dumps(data | {"card_version": 99}))
    elif kind == "unknown field":
        card.write_text(json.dumps(data | {"colour": "blue"}))
    elif kind == "wrong grid":
        data["architecture"]["length"] = 1024
        card.write_text(json.dumps(data))
    elif kind == "short prior":
        card.write_text(json.dumps(data | {"log_train_prior": [0.0]}))
    elif kind == "not safetensors":
        import hashlib

        weights.write_bytes(b"hello" * 100)
        card.write_text(json.dumps(data | {"weights_sha256": hashlib.sha256(b"hello" * 100).hexdigest()}))
    else:
        raise AssertionError(kind)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("truncated weights", "damaged"),
        ("other weights", "do not belong"),
        ("no weights", "cannot be read"),
        ("no card", "no checkpoint"),
        ("truncated card", "not readable JSON"),
        ("foreign card", "not a card"),
        ("newer card", "update"),
        ("unknown field", "colour"),
        ("wrong grid", "does not fit"),
        ("short prior", "training prior of 99"),
        ("not safetensors", "not a safetensors file"),
    ],
)
def test_damage_is_one_clear_sentence(saved, kind, message):
    path, _, _ = saved
    damage(path, kind)
    with pytest.raises(BadInput, match=message) as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_a_full_disk_leaves_the_old_checkpoint(saved, monkeypatch):
    path, network, card = saved
    before = path.with_suffix(".safetensors").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(BadInput, match="No space left"):
        save_checkpoint(path, network, replace(card, name="other"))
    assert path.with_suffix(".safetensors").read_bytes() == before
    assert sorted(p.name for p in path.parent.iterdir()) == ["mine.json", "mine.safetensors"]
    load_checkpoint(path)


def test_unknown_name_lists_what_there_is():
    with pytest.raises(BadInput, match="no checkpoint 'nothing-like-this'"):
        load_checkpoint("nothing-like-this")
