"""The folder of promoted checkpoints: what counts changes as a whole, what counted before stays."""

from __future__ import annotations

import json

import pytest

from eg_agent.errors import BadInput
from eg_agent.model import Classifier, read_card
from eg_agent.model.checkpoint import find_checkpoint
from eg_agent.model.promoted import POINTER, Promoted


def test_promoting_going_back_and_forth(tmp_path, random_checkpoint, random_network):
    second = random_network("seed-2", 2)
    promoted = Promoted(tmp_path / "promoted")
    with pytest.raises(BadInput, match="holds no promoted checkpoint"):
        promoted.pointer()
    first = promoted.promote(random_checkpoint, "to begin with")
    assert read_card(promoted.folder).name == "random"
    chosen = promoted.promote(second)
    assert read_card(promoted.folder).name == "seed-2"
    assert Classifier.load(promoted.folder).checkpoint_hash == chosen.hash == read_card(second).hash
    assert promoted.promote(second) == chosen  # nothing changes
    pointer = promoted.pointer()
    assert [e.folder for e in pointer.before] == [first.folder]
    assert promoted.back().folder == first.folder
    assert read_card(promoted.folder).name == "random"
    assert promoted.back(chosen.hash).folder == chosen.folder
    with pytest.raises(BadInput, match="no earlier checkpoint abc"):
        promoted.back("abc")
    # a checkpoint of a file that is gone is still there
    second.unlink()
    second.with_suffix(".safetensors").unlink()
    assert Classifier.load(promoted.folder).card.name == "seed-2"


def test_what_does_not_load_is_not_promoted(tmp_path, random_checkpoint, random_network):
    promoted = Promoted(tmp_path / "promoted")
    first = promoted.promote(random_checkpoint)
    before = (promoted.folder / POINTER).read_bytes()
    broken = random_network("seed-3", 3)
    weights = broken.with_suffix(".safetensors")
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(BadInput, match="do not belong to their card or are damaged"):
        promoted.promote(broken)
    assert (promoted.folder / POINTER).read_bytes() == before
    assert not list(promoted.folder.glob("*.part"))
    assert promoted.verify(first) == find_checkpoint(promoted.folder)


def test_a_file_changed_after_promotion_is_noticed(tmp_path, random_checkpoint):
    promoted = Promoted(tmp_path / "promoted")
    entry = promoted.promote(random_checkpoint)
    card = promoted.card(entry)
    content = json.loads(card.read_text())
    content["calibration"]["temperature"] = 9.0  # the weights' hash does not tell
    card.write_text(json.dumps(content))
    with pytest.raises(BadInput, match="is not what was promoted"):
        promoted.verify(entry)


def test_two_writers_exclude_each_other(tmp_path, random_checkpoint):
    promoted = Promoted(tmp_path / "promoted")
    promoted.promote(random_checkpoint)
    with promoted._writing(), pytest.raises(BadInput, match="somebody else promotes"):
        Promoted(promoted.folder).promote(random_checkpoint)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"current": {}}', b"\xff"])
def test_a_damaged_pointer_is_one_sentence(tmp_path, content):
    (tmp_path / POINTER).write_bytes(content)
    with pytest.raises(BadInput, match="cannot be read") as error:
        find_checkpoint(tmp_path)
    assert "\n" not in str(error.value)
