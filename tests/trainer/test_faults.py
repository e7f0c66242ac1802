"""Faults of a run: full disks (the kernel's word, nothing is pretended) and states that are not ours.

After each there is one clear sentence, and the state before is whole: the run goes on from there to where
an undisturbed one ends.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from eg_agent.errors import BadInput
from eg_agent.model.network import NetworkConfig
from trainer.config import Budget, ScheduleConfig, TrainConfig
from trainer.context import LocalContext
from trainer.held_out import HeldOut
from trainer.log import RunLog
from trainer.loop import Run, Training, train
from trainer.state import find_state, read_index

UNIFORM = np.full(99, -np.log(99.0))
NETWORK = NetworkConfig(length=256, channels=("sqrt",), stem="patch", patch=16, width=16, depth=1, heads=2)
CONFIG = TrainConfig(
    name="plain",
    network=NETWORK,
    batch=8,
    schedule=ScheduleConfig(warmup_steps=1, decay_share=1e-9),
    checkpoint_seconds=1e9,
    held_out_seconds=1e9,
    log_steps=1,
)


class Made:
    def __init__(self, start: int, n: int) -> None:
        random = np.random.default_rng(start)
        self.intensity = torch.from_numpy(random.random((n, 256), dtype=np.float32))
        self.coverage = torch.ones(n, 256, dtype=torch.bool)
        self.group = torch.from_numpy(random.integers(0, 99, n))


class Noise:
    def batch(self, start: int, n: int) -> Made:
        return Made(start, n)


def go(folder: Path, patterns: int, *, config: TrainConfig = CONFIG, part_mib: float = 0.05) -> Training:
    folder.mkdir(exist_ok=True)
    run = Run(
        config, Budget(patterns=patterns), Noise(), UNIFORM, HeldOut(Noise(), 8), folder, "noise",
        max_shard_mb=part_mib, together=8,
    )  # fmt: skip
    return train(
        run, LocalContext(torch.device("cpu"), find_state(folder)), RunLog(folder, Console(file=StringIO()))
    )


def same(a: Training, b: Training) -> bool:
    mine, theirs = a.tensors(), b.tensors()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[k], theirs[k]) for k in mine)


def test_a_full_disk_while_saving_ends_the_run_with_its_last_state_whole(tmp_path, files_of_at_most):
    whole = go(tmp_path / "whole", 48)
    run = tmp_path / "run"
    go(run, 24)
    before = {p.name: p.read_bytes() for p in (run / "state").iterdir()}
    with files_of_at_most(20_000), pytest.raises(BadInput, match="could not be written") as caught:
        go(run, 48)
    assert "\n" not in str(caught.value)
    assert "free some space" in str(caught.value)
    assert {p.name: p.read_bytes() for p in (run / "state").iterdir()} == before
    assert not (run / "state.new").exists()  # what was written of it makes room again
    assert same(go(run, 48), whole)
    assert [int(line.split(",")[0]) for line in (run / "log.csv").read_text().splitlines()[1:]] == [
        1, 2, 3, 4, 5, 6,
    ]  # fmt: skip


def test_a_full_disk_while_logging_is_said_and_loses_nothing_saved(tmp_path, files_of_at_most):
    go(tmp_path, 24)
    before = (tmp_path / "state" / "index.json").read_bytes()
    size = (tmp_path / "log.csv").stat().st_size
    with (
        files_of_at_most(size + 10),
        pytest.raises(BadInput, match=r"log\.csv could not be written.*goes on from the last saved"),
    ):
        go(tmp_path, 48)
    assert (tmp_path / "state" / "index.json").read_bytes() == before
    assert go(tmp_path, 48).step == 6


def test_a_folder_that_a_file_stands_in_the_way_of(tmp_path):
    go(tmp_path, 8)
    (tmp_path / "state.new").write_text("a file of the user's")
    with pytest.raises(BadInput, match="the state before is intact"):
        go(tmp_path, 16)
    assert read_index(tmp_path / "state")["step"] == 1


def changed(folder: Path, **fields: object) -> None:
    path = folder / "state" / "index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_states_that_are_not_of_this_run(tmp_path):
    go(tmp_path, 8)
    index = json.loads((tmp_path / "state" / "index.json").read_text())
    changed(tmp_path, config={**index["config"], "warp_drive": 9})
    with pytest.raises(BadInput, match="written by another version"):  # of a newer eg-agent
        go(tmp_path, 16)
    changed(tmp_path, config=["not", "one"])
    with pytest.raises(BadInput, match="written by another version"):
        go(tmp_path, 16)
    changed(tmp_path, config=index["config"], corpus="another")
    with pytest.raises(BadInput, match="another configuration, seed or corpus"):
        go(tmp_path, 16)
    changed(tmp_path, corpus="noise")
    with pytest.raises(BadInput, match="another configuration, seed or corpus"):  # wrong grid
        go(tmp_path, 16, config=replace(CONFIG, network=replace(NETWORK, length=512)))
    assert go(tmp_path, 16).step == 2
    index = json.loads((tmp_path / "state" / "index.json").read_text())
    del index["patterns"]
    (tmp_path / "state" / "index.json").write_text(json.dumps(index))
    with pytest.raises(BadInput, match="no state of a training run: its index does not say 'patterns'"):
        go(tmp_path, 24)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_command_says_it_in_one_line_and_goes_on_later(tmp_path, corpus):
    command = [sys.executable, "-c", "from trainer.cli.main import run; run()", "fit", "--config", "tiny"]
    command += ["--corpus", str(corpus), "--out", str(tmp_path / "run"), "--device", "cpu"]

    def call(patterns: int, size: int = resource.RLIM_INFINITY) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, "--patterns", str(patterns)],
            capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
        )  # fmt: skip

    assert call(8).returncode == 0
    broken = call(16, 30_000)
    assert broken.returncode == 2
    assert len(broken.stderr.strip().splitlines()) == 1
    assert broken.stderr.startswith("eg-train: ")
    assert "could not be written" in broken.stderr
    assert read_index(tmp_path / "run" / "state")["step"] == 1
    done = call(16)
    assert done.returncode == 0, done.stderr
    assert "resumed at step 1" in done.stdout
