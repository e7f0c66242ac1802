"""Training state on disk: bounded shards, one whole state at any moment."""

from __future__ import annotations

import shutil

import pytest
import torch

from eg_agent.errors import BadInput
from trainer.state import find_state, read_index, read_tensors, write_state

TENSORS = {f"t{i}": torch.full((1000,), float(i)) for i in range(9)}


def test_round_trip_in_shards_of_bounded_size(tmp_path):
    limit = 10_000 / 2**20
    folder = write_state(tmp_path, TENSORS, {"step": 3}, limit)
    files = sorted(folder.glob("*.safetensors"))
    assert len(files) == 5
    assert all(f.stat().st_size <= 10_000 for f in files)
    again = read_tensors(folder)
    assert all(torch.equal(again[k], v) for k, v in TENSORS.items())
    assert read_index(folder)["step"] == 3


def test_a_tensor_larger_than_a_shard(tmp_path):
    with pytest.raises(BadInput, match="max-shard-mb"):
        write_state(tmp_path, {"big": torch.zeros(10**6)}, {}, 1.0)


def test_the_newer_state_replaces_the_older(tmp_path):
    write_state(tmp_path, TENSORS, {"step": 1}, 16)
    write_state(tmp_path, TENSORS, {"step": 2}, 16)
    assert read_index(find_state(tmp_path))["step"] == 2
    assert [p.name for p in tmp_path.iterdir()] == ["state"]


def test_a_full_disk_keeps_the_last_state(tmp_path, monkeypatch):
    write_state(tmp_path, TENSORS, {"step": 1}, 16)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(BadInput, match="No space left"):
        write_state(tmp_path, TENSORS, {"step": 2}, 16)
    assert read_index(find_state(tmp_path))["step"] == 1


@pytest.mark.parametrize("moment", ["before renames", "between renames"])
def test_killed_while_saving(tmp_path, moment):
    write_state(tmp_path, TENSORS, {"step": 1}, 16)
    shutil.copytree(tmp_path / "state", tmp_path / "kept")
    write_state(tmp_path, TENSORS, {"step": 2}, 16)
    (tmp_path / "state").rename(tmp_path / "state.new")
    if moment == "before renames":
        (tmp_path / "state.new" / "index.json").unlink()  # the index is written last
        (tmp_path / "kept").rename(tmp_path / "state")
        assert read_index(find_state(tmp_path))["step"] == 1
    else:
        (tmp_path / "kept").rename(tmp_path / "state.old")
        assert read_index(find_state(tmp_path))["step"] == 2


def test_damage_is_named(tmp_path):
    assert find_state(tmp_path) is None
    folder = write_state(tmp_path, TENSORS, {}, 16)
    shard = folder / "shard-000.safetensors"
    shard.write_bytes(shard.read_bytes()[:-8])
    with pytest.raises(BadInput, match=r"shard-000\.safetensors is missing or damaged"):
        find_state(tmp_path)
    (folder / "index.json").write_text("{}")
    with pytest.raises(BadInput, match="not the index"):
        find_state(tmp_path)
