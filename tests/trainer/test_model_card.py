"""The model card: the page is that of the shipped card, and figures of other weights do not get into it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from eg_agent.errors import BadInput
from eg_agent.model.architectures import tiny
from eg_agent.model.checkpoint import Card, read_card, save_checkpoint
from eg_agent.model.network import Network
from trainer.cli.main import app
from trainer.model_card import page, summary

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "model-card.md"
METRICS = ("top1", "top5", "bits_over_prior", "ece")


def row(value: float) -> dict[str, dict[str, float]]:
    return {name: {"value": value, "low": value - 0.1, "high": value + 0.1} for name in METRICS}


def stratum(n: int, value: float) -> dict:
    return {
        "n": n, "compounds": n, "model": row(value), "prior_only": row(0.2), "constant": row(0.15),
        "permutation": row(0.05),
    }  # fmt: skip


def network_result(checkpoint: str) -> dict:
    return {
        **stratum(400, 0.5),
        "by_source": {"AGI-init/XRDs": stratum(300, 0.6), "elsewhere": stratum(4, 0.9)},
        "by_novelty": {"unseen": stratum(90, 0.25), "seen": stratum(310, 0.55)},
        "reliability": {"ece": 0.05, "expected_low": 0.02, "expected_high": 0.06},
        "sets": {"set_coverage": row(0.9)["top1"], "set_size": {"value": 14.2, "low": 12.0, "high": 16.0}},
        "foreign": {
            "mixtures": {"n": 114, "refused": 0, "confident_50": 0.14, "confident_90": 0.03},
        },
        "settings": {
            "what": "network", "data": "measured", "checkpoint_hash": checkpoint, "prior": "mineral",
            "calibration": "out of fold", "prior_only": "frequencies",
        },
    }  # fmt: skip


def robustness_result(checkpoint: str) -> dict:
    variants = {
        name: {"model": row(0.4 * share), "share_of_bits": share, "refused": 1}
        for name, share in (("whole", 1.0), ("last third", -0.5))
    }
    settings = {"what": "robustness", "checkpoint_hash": checkpoint}
    return {"n": 50, "compounds": 40, "variants": variants, "settings": settings}


@pytest.fixture
def saved(tmp_path) -> tuple[Path, Card]:
    torch.manual_seed(0)
    network = Network(tiny())
    card = Card(
        "mine", network.config, tuple([-float(np.log(99.0))] * 99), machine="an abacus", seed=3,
        description="For a test.", cost={"patterns": 1000.0, "hours": 0.5, "training_flop": 2e9},
        curriculum={"stage": "ranges", "sampling": {"real": 0.88, "random": 0.12}, "begins_from": {
            "checkpoint": "other", "weights_sha256": "ab" * 32, "patterns": 9000.0, "hours": 1.25,
            "training_flop": 1e10,
        }},
        limits=("Not for soup.",), corpora=("full (7 structures)",),
    )  # fmt: skip
    return tmp_path / "mine", save_checkpoint(tmp_path / "mine", network, card)


def test_the_page_of_the_shipped_checkpoint_is_up_to_date():
    assert PAGE.read_text("utf-8") == page(read_card("default")), (
        "run eg-train card --page docs/reference/model-card.md (with --data after a new checkpoint)"
    )


def test_its_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", PAGE.read_text("utf-8")):
        assert (PAGE.parent / target).exists(), target


def test_what_the_card_keeps_and_the_page_says(saved):
    path, card = saved
    made = summary(card, network_result(card.hash), robustness_result(card.hash))
    assert json.loads(json.dumps(made)) == made
    assert list(made["rows"]) == ["all rows", "RRUFF minerals", "unseen compounds", "seen compounds"]
    assert made["rows"]["unseen compounds"]["top1"] == [25.0, 15.0, 35.0]
    text = page(replace(card, benchmark=made))
    for said in (
        "| all rows".replace("all rows", "**all rows**") + " | 400 | 50.0 [40.0, 60.0] |",
        "+0.25 [0.15, 0.35]",
        "| permuted patterns | 400 | 5.0 [-5.0, 15.0] |",
        "| whole | 40.0 [30.0, 50.0] | 40.0 [30.0, 50.0] | +0.40 [0.30, 0.50] | 100 % | 1 |",
        "where the prior alone is better: last third.",
        "| this run | 1,000 | 0.50 | 2e+09 |",
        "| **together** | 10,000 | 1.75 | 1.2e+10 |",
        "`abababababababab`",
        "Of 114 measured mixtures",
        "14 % get an answer of probability 0.5",
        "- Not for soup.",
        "88 % real structures, 12 % random crystals",
    ):
        assert said in text, said
    assert "$" not in text
    with pytest.raises(BadInput, match="holds no benchmark figures"):
        page(card)
    with pytest.raises(BadInput, match="are of other weights"):
        page(replace(card, benchmark=made, weights_sha256="cd" * 32))
    assert path.with_suffix(".json").is_file()


def test_the_command_writes_card_and_page_or_neither(saved, tmp_path):
    path, card = saved
    network, robustness, target = (tmp_path / name for name in ("n.json", "r.json", "page.md"))
    network.write_text(json.dumps(network_result(card.hash)))
    robustness.write_text(json.dumps(robustness_result("0" * 16)))
    call = ["card", str(path), "--network", str(network), "--page", str(target)]
    refused = CliRunner().invoke(app, [*call, "--robustness", str(robustness)])
    assert isinstance(refused.exception, BadInput)
    assert "run the benchmark on this checkpoint" in str(refused.exception)
    assert read_card(path) == card
    assert not target.exists()
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 0, done.exception
    again = read_card(path)
    assert again.benchmark["rows"]["all rows"]["n"] == 400
    assert replace(again, benchmark={}) == card
    assert target.read_text("utf-8") == page(again)
    assert "Not measured for these weights." in target.read_text("utf-8")
    for wrong in ([], ["--data", str(tmp_path), "--network", str(network)], ["--robustness", str(network)]):
        assert isinstance(CliRunner().invoke(app, ["card", str(path), *wrong]).exception, BadInput)
