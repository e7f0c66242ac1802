"""A run that begins from a trained checkpoint: its weights, what is said of it, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from eg_agent.errors import BadInput
from eg_agent.model.checkpoint import load_checkpoint, read_card
from trainer.cli.main import app
from trainer.config import Budget, tiny
from trainer.context import LocalContext
from trainer.data import Data, open_data
from trainer.fit import Request, export, fit, make_run
from trainer.log import RunLog
from trainer.loop import start
from trainer.parent import parent_files, parent_of_state, write_parent

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(corpus) -> Data:
    return open_data(corpus, tiny(), CPU)


def trained(out: Path, corpus: Path, patterns: int, begin_from: str = "", seed: int = 0) -> str:
    """Train a tiny network; what was said."""
    screen, config = StringIO(), replace(tiny(), begin_from=begin_from, seed=seed)
    out.mkdir(exist_ok=True)
    log = RunLog(out, Console(file=screen, width=300))
    fit(config, Budget(patterns=patterns), Request(corpus, out, device="cpu"), log=log)
    return screen.getvalue()


@pytest.fixture(scope="module")
def parent(tmp_path_factory, corpus) -> Path:
    """Card of a checkpoint of 24 patterns."""
    out = tmp_path_factory.mktemp("parent")
    assert "fresh start" in trained(out, corpus, 24, seed=4)
    return out / "checkpoint.json"


def test_the_weights_are_the_checkpoints(parent, corpus, data, tmp_path):
    config = replace(tiny(), begin_from=str(parent))
    run = make_run(config, Budget(patterns=8), data, Request(corpus, tmp_path), CPU)
    training = start(run, LocalContext(CPU))
    expected = load_checkpoint(parent)[0].state_dict()
    for network in (training.network, training.ema):
        for name, value in network.state_dict().items():
            torch.testing.assert_close(value, expected[name], rtol=0, atol=0, msg=name)
    assert training.step == 0


def test_another_operator_weight_leaves_the_answers_as_they_are(parent):
    network = load_checkpoint(parent)[0]
    torch.manual_seed(0)
    intensity, coverage = torch.rand(3, network.config.length), torch.ones(3, network.config.length).bool()
    with torch.inference_mode():
        before = network.split_scores(network(intensity, coverage).split)
        weight = network.log_pos_weight_O + torch.linspace(-1, 1, 25)
        network.weigh_operators(weight)
        after = network.split_scores(network(intensity, coverage).split)
    torch.testing.assert_close(network.log_pos_weight_O, weight)
    torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-5)


def test_it_is_said_recorded_and_not_done_twice(parent, corpus, tmp_path):
    out, own = tmp_path / "run", tmp_path / "own.json"
    own.write_bytes(parent.read_bytes())
    own.with_suffix(".safetensors").write_bytes(parent.with_suffix(".safetensors").read_bytes())
    card = read_card(own)
    assert f"begins from {own} ({card.hash}), corpus" in trained(out, corpus, 16, str(own))
    # going on needs the checkpoint no more, and says where it goes on
    own.unlink()
    said = trained(out, corpus, 32, str(own))
    assert "resumed at step 2," in said
    assert "begins from" not in said
    made = read_card(out / "checkpoint")
    assert made.curriculum["begins_from"] == {
        "checkpoint": str(own),
        "weights_sha256": card.weights_sha256,
        "patterns": 24.0,
        "hours": card.cost["hours"],
        "training_flop": card.cost["training_flop"],
    }
    assert made.cost["patterns"] == 32.0
    # a third generation adds up what the first two cost
    trained(tmp_path / "next", corpus, 8, str(out / "checkpoint.json"))
    begun = read_card(tmp_path / "next" / "checkpoint").curriculum["begins_from"]
    assert begun["patterns"] == 24.0 + 32.0
    assert begun["training_flop"] == pytest.approx(card.cost["training_flop"] + made.cost["training_flop"])


def test_another_start_is_another_run(parent, corpus, tmp_path):
    trained(tmp_path, corpus, 8)
    with pytest.raises(BadInput, match="another configuration"):
        trained(tmp_path, corpus, 16, str(parent))


def test_a_state_from_before_parents_were_noted(parent, corpus, tmp_path, data):
    out = tmp_path / "run"
    trained(out, corpus, 8, str(parent))
    path = out / "state" / "index.json"
    index = json.loads(path.read_text())
    noted = parent_of_state(index)
    del index["parent"]
    assert parent_of_state(index) == noted
    path.write_text(json.dumps(index))
    made = export(out, out / "again", "again", data=data, calibration_patterns=8)
    assert made.curriculum["begins_from"]["weights_sha256"] == read_card(parent).weights_sha256
    # where the name is now that of the run's own checkpoint, nothing is made up
    index["config"]["begin_from"] = str(out / "again.json")
    unknown = parent_of_state(index)
    assert unknown is not None
    assert unknown.weights_sha256 == ""


@pytest.mark.parametrize(
    ("begin_from", "message"),
    [("default", "another architecture or grid"), ("nowhere.json", "no checkpoint")],
)
def test_an_unfit_checkpoint_is_one_sentence_and_leaves_nothing(corpus, tmp_path, begin_from, message):
    arguments = ["fit", "--corpus", str(corpus), "--out", str(tmp_path / "run"), "--config", "tiny"]
    result = CliRunner().invoke(app, [*arguments, "--patterns", "8", "--from", begin_from])
    assert isinstance(result.exception, BadInput)
    assert message in str(result.exception)
    assert "\n" not in str(result.exception)
    assert not (tmp_path / "run").exists()


def test_it_travels_to_where_the_run_is(parent, tmp_path):
    config = replace(tiny(), begin_from=str(parent))
    sent = write_parent(parent_files(config, None), tmp_path)
    assert sent is not None
    assert load_checkpoint(sent)[1] == read_card(parent)
    gone = replace(config, begin_from=str(tmp_path / "gone.json"))
    assert parent_files(gone, tmp_path) is None  # a state is there to go on from
    with pytest.raises(BadInput, match="no checkpoint"):
        parent_files(gone, None)
    assert parent_files(tiny(), None) is None
    assert write_parent(None, tmp_path) is None
