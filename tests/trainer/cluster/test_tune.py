"""The search: its table, its mixes, and real trials by Ray Tune that are stopped and go on."""

from __future__ import annotations

import csv
import os
import signal
from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
import torch
from rich.console import Console

from eg_agent.errors import BadInput
from simulators.corpus import Corpus
from trainer.cluster.session import connected
from trainer.cluster.teller import Teller
from trainer.cluster.trials import COLUMNS, Trials
from trainer.cluster.tune import TuneRequest, rungs, search
from trainer.data import open_data

pytest.importorskip("ray")


def test_rungs_are_a_ninth_a_third_and_the_whole():
    assert rungs(64_000) == (7111, 21333, 64000)


def test_the_table_is_read_back_and_ordered(tmp_path):
    dials = {"lr": 1e-3, "batch": 8, "weight_decay": 0.02, "random_share": 0.25}
    figures = {"nll": 4.0, "top1": 0.1, "train_seconds": 3.0, "timestamp": 5}
    Trials(tmp_path).put("ab_00000", dials, figures | {"seen": 800, "bits_over_prior": 0.1}, "done")
    Trials(tmp_path).put("ab_00001", dials, figures | {"seen": 808, "bits_over_prior": 0.05}, "done")
    Trials(tmp_path).put("ab_00002", dials, figures | {"seen": 88, "bits_over_prior": 0.9}, "stopped")
    Trials(tmp_path).put("ab_00003", dials, figures | {"seen": 264, "bits_over_prior": 0.0}, "stopped")
    Trials(tmp_path).put("ab_00004", dials, {}, "running")
    rows = Trials(tmp_path).rows()
    assert [row["trial"] for row in rows] == ["00000", "00001", "00003", "00002", "00004"]
    assert rows[0]["bits_over_prior"] == 0.1
    with (tmp_path / "trials.csv").open(newline="") as file:
        assert tuple(next(csv.reader(file))) == COLUMNS


def test_a_mix_changes_what_is_trained_on_and_not_what_is_judged(corpus, plain):
    from trainer.cluster.trial import Dials, dials_of, mixed

    config = replace(plain, curriculum="stage2")
    stand = dials_of(config)
    assert stand == Dials(lr=1e-3, batch=8, weight_decay=0.02, random_share=0.25)
    turned = Dials(2e-3, 16, 0.1, 0.5).applied(config)
    assert (turned.optim.lr, turned.batch, turned.optim.weight_decay) == (2e-3, 16, 0.1)
    cpu = torch.device("cpu")
    data = open_data(corpus, config, cpu)
    other = mixed(data, Corpus.load(corpus), config, 0.5, cpu)
    assert other.held_out is data.held_out
    sampling = other.stream.config.sampling
    assert sampling.random == 0.5
    assert sampling.real + sampling.molecular == pytest.approx(0.5)
    assert sampling.real / sampling.molecular == pytest.approx(6.5)
    assert np.exp(other.log_train_prior).sum() == pytest.approx(1.0)


@pytest.mark.parametrize(("trials", "patterns"), [(0, 900), (3, 70)])
def test_a_search_too_small_is_refused(tmp_path, corpus, plain, trials, patterns):
    with pytest.raises(BadInput, match="must be at least"):
        search(plain, TuneRequest(corpus, tmp_path / "out", trials, patterns))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_search_that_is_stopped_goes_on(tmp_path, corpus, plain, monkeypatch):
    request = TuneRequest(corpus, tmp_path / "search", trials=4, patterns=720, device="cpu")
    heard, done = Teller.on_trial_result, []

    def interrupted(self, *args, **named) -> None:
        heard(self, *args, **named)
        if not done:
            done.append(True)
            os.kill(os.getpid(), signal.SIGINT)  # in the driver, before it looks at anything else

    with connected("local", cpus=2):
        with monkeypatch.context() as patched:
            patched.setattr(Teller, "on_trial_result", interrupted)
            begun = search(plain, request, Console(file=StringIO()))
        assert any(row["status"] == "running" for row in begun)
        screen = StringIO()
        rows = search(plain, request, Console(file=screen))
    assert sorted(row["trial"] for row in rows) == ["00000", "00001", "00002", "00003"]
    assert {row["status"] for row in rows} <= {"done", "stopped"}
    assert rows[0]["status"] == "done"
    assert rows[0]["seen"] >= 720
    assert all(row["seen"] >= 80 for row in rows)
    first = next(row for row in rows if row["trial"] == "00000")
    assert (first["lr"], first["batch"], first["weight_decay"]) == (1e-3, 8, 0.02)
    assert "best of 4" in screen.getvalue()
    with pytest.raises(BadInput, match="holds another search"):
        search(plain, replace(request, patterns=900))
