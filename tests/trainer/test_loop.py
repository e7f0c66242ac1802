"""The loop: learns, resumes bit for bit, saves when interrupted, survives damaged patterns."""

from __future__ import annotations

import csv
import os
import signal
from dataclasses import dataclass, replace
from io import StringIO

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from eg_agent.errors import BadInput
from trainer.config import Budget, OptimConfig, ScheduleConfig, tiny
from trainer.context import LocalContext, choose_device, compute_type, shard
from trainer.held_out import HeldOut
from trainer.log import RunLog
from trainer.loop import Run, train
from trainer.state import find_state, read_index

UNIFORM = np.full(99, -np.log(99.0))
CONFIG = replace(tiny(), checkpoint_seconds=1e9, held_out_seconds=1e9)


@dataclass
class Made:
    intensity: torch.Tensor
    coverage: torch.Tensor
    group: torch.Tensor


class TwoPeaks:
    """Ten easy classes: where two peaks stand says which. Pattern i is a function of (seed, i)."""

    def __init__(self, seed: int, *, stop_at: int | None = None, damaged: int | None = None) -> None:
        self.seed, self.stop_at, self.damaged = seed, stop_at, damaged
        self.asked: list[tuple[int, int]] = []

    def batch(self, start: int, n: int) -> Made:
        self.asked.append((start, n))
        if self.stop_at is not None and start >= self.stop_at:
            os.kill(os.getpid(), signal.SIGINT)
        intensity, group = torch.zeros(n, 512), torch.zeros(n, dtype=torch.int64)
        for row, i in enumerate(range(start, start + n)):
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + i)
            group[row] = int(torch.randint(10, (1,), generator=generator))
            intensity[row] = 0.02 * torch.rand(512, generator=generator)
            intensity[row, 40 * int(group[row]) + 20] = 1.0
            intensity[row, 40 * int(group[row]) + 35] = 1.0
            if i == self.damaged:
                intensity[row] = float("nan")
        return Made(intensity, torch.ones(n, 512, dtype=torch.bool), group)


def go(
    folder, patterns, *, config=CONFIG, stream=None, resume=False, backend=None, together=8, background=False
):
    folder.mkdir(parents=True, exist_ok=True)
    run = Run(
        config,
        Budget(patterns=patterns),
        stream or TwoPeaks(1),
        UNIFORM,
        HeldOut(TwoPeaks(2), 40),
        folder,
        "two peaks",
        compile=backend,
        together=together,
        background=background,
    )
    context = LocalContext(torch.device("cpu"), find_state(folder) if resume else None)
    return train(run, context, RunLog(folder, Console(file=StringIO())))


def same(a, b) -> bool:
    mine, theirs = a.tensors(), b.tensors()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[k], theirs[k]) for k in mine)


def test_it_learns(tmp_path):
    optim = OptimConfig(lr=1e-2, ema=0.9)
    config = replace(CONFIG, batch=32, optim=optim, schedule=ScheduleConfig(5, 0.5), log_steps=100)
    training = go(tmp_path, 32 * 300, config=config)
    # uniform over 99 classes at the start, ten of them occur: log2(9.9) = 3.3 bits without looking
    assert training.held_out["bits_over_prior"] > 4.5
    assert training.held_out["top1"] > 0.5
    assert training.held_out["prior_nll"] == pytest.approx(np.log(99))


def test_resuming_is_exact(tmp_path):
    config = replace(CONFIG, network=replace(CONFIG.network, dropout=0.1))
    whole = go(tmp_path / "whole", 96, config=config)
    # the same run, interrupted by Ctrl-C in the middle: budget and so schedule are the same
    part = go(tmp_path / "parts", 96, config=config, stream=TwoPeaks(1, stop_at=40))
    assert part.interrupted
    assert 0 < part.step < whole.step
    stream = TwoPeaks(1)
    rest = go(tmp_path / "parts", 96, config=config, stream=stream, resume=True)
    assert stream.asked[0] == (part.patterns, 8)
    assert rest.step == whole.step == 12
    assert same(whole, rest)
    assert not same(whole, part)


class Uneven(TwoPeaks):
    """Its patterns depend, in the last digits, on how many are made at once and from where."""

    def batch(self, start: int, n: int) -> Made:
        made = super().batch(start, n)
        made.intensity *= 1.0 + 1e-4 * ((start + 7 * n) % 13)
        return made


@pytest.mark.parametrize("background", [False, True])
def test_resuming_within_a_block_of_patterns_is_exact(tmp_path, background):
    def staged(folder, patterns, resume):
        stream = Uneven(1)
        return stream, go(
            folder, patterns, stream=stream, resume=resume, together=40, background=background, config=config
        )

    # constant learning rate: a budget of 56 patterns takes the first 7 steps of one of 96
    config = replace(CONFIG, schedule=ScheduleConfig(warmup_steps=2, decay_share=1e-9))
    _, whole = staged(tmp_path / "whole", 96, False)
    staged(tmp_path / "parts", 56, False)
    stream, rest = staged(tmp_path / "parts", 96, True)
    assert stream.asked[0] == (40, 40)  # the block that step 7 lies in, as it was before
    assert rest.step == 12
    assert same(whole, rest)


def test_csv_has_one_row_a_step_after_resuming(tmp_path):
    go(tmp_path, 96, stream=TwoPeaks(1, stop_at=40))
    state = read_index(tmp_path / "state")
    # a kill loses what came after the last state: pretend that two more steps had been logged
    with (tmp_path / "log.csv").open("a") as file:
        for step in (state["step"] + 1, state["step"] + 2):
            file.write(f"{step}" + ",0" * 12 + "\n")
    go(tmp_path, 96, resume=True)
    with (tmp_path / "log.csv").open(newline="") as file:
        steps = [int(row["step"]) for row in csv.DictReader(file)]
    assert steps == list(range(1, 13))


def test_workers_share_a_batch_without_overlap(tmp_path):
    streams = [TwoPeaks(1), TwoPeaks(1)]
    for rank, stream in enumerate(streams):
        run = Run(
            CONFIG, Budget(patterns=24), stream, UNIFORM, HeldOut(TwoPeaks(2), 8), tmp_path, "two peaks",
            together=24,
        )  # fmt: skip
        context = LocalContext(torch.device("cpu"), rank=rank, world=2)
        tmp_path.mkdir(exist_ok=True)
        train(run, context, RunLog(tmp_path, Console(file=StringIO())))
    assert streams[0].asked == [(0, 4), (8, 4), (16, 4)]
    assert streams[1].asked == [(4, 4), (12, 4), (20, 4)]
    with pytest.raises(BadInput, match="cannot be shared by 9 workers"):
        train(run, LocalContext(torch.device("cpu"), world=9), RunLog(tmp_path, Console(file=StringIO())))


@given(batch=st.integers(1, 300), world=st.integers(1, 40))
def test_shards_cover_a_batch_once(batch, world):
    if world > batch:
        with pytest.raises(BadInput, match="cannot be shared"):
            shard(batch, 0, world)
        return
    parts = [shard(batch, rank, world) for rank in range(world)]
    assert [i for first, n in parts for i in range(first, first + n)] == list(range(batch))
    assert max(n for _, n in parts) - min(n for _, n in parts) <= 1


def test_progress_bar_and_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    screen = StringIO()
    log = RunLog(tmp_path, Console(file=screen, force_terminal=True), tensorboard=True)
    run = Run(
        CONFIG, Budget(patterns=16), TwoPeaks(1), UNIFORM, HeldOut(TwoPeaks(2), 8), tmp_path, "two peaks"
    )
    train(run, LocalContext(torch.device("cpu")), log)
    log.close()
    assert "bits over prior" in screen.getvalue()
    assert list((tmp_path / "tensorboard").glob("events.*"))


def test_compiled_training_takes_the_same_steps(tmp_path):
    plain = go(tmp_path / "plain", 24)
    compiled = go(tmp_path / "compiled", 24, backend="aot_eager")
    for name, value in plain.tensors().items():
        torch.testing.assert_close(value, compiled.tensors()[name], rtol=1e-2, atol=1e-4)


def test_another_configuration_is_refused(tmp_path):
    go(tmp_path, 16)
    for other in (replace(CONFIG, seed=5), replace(CONFIG, batch=16)):
        with pytest.raises(BadInput, match="another configuration"):
            go(tmp_path, 32, config=other, resume=True)


def test_a_damaged_pattern_does_not_spoil_the_run(tmp_path):
    training = go(tmp_path, 64, stream=TwoPeaks(1, damaged=20))
    assert all(torch.isfinite(t).all() for t in training.tensors().values())
    assert training.step == 8


def test_a_diverged_run_ends_with_a_clear_error_and_its_last_state(tmp_path):
    go(tmp_path, 16)
    before = (tmp_path / "state" / "index.json").read_bytes()
    config = replace(CONFIG, optim=OptimConfig(lr=1e30, clip=1e30))
    with pytest.raises(BadInput, match="not been finite for 20 steps"):
        go(tmp_path, 8 * 200, config=config)
    assert (tmp_path / "state" / "index.json").read_bytes() == before


def test_device_and_type():
    assert compute_type(torch.device("cpu"), "fp32")[0] == torch.float32
    has = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    assert compute_type(torch.device("cpu"))[0] == (torch.bfloat16 if has else torch.float32)
    assert choose_device("cpu").type == "cpu"
    with pytest.raises(BadInput, match="unknown device"):
        choose_device("abacus")
    if not torch.cuda.is_available():
        assert choose_device("auto").type == "cpu"
        with pytest.raises(BadInput, match="no CUDA device"):
            choose_device("cuda")


def test_stages_follow_each_other_and_resume_exactly(tmp_path):
    def streams(stop_at=None):
        return TwoPeaks(5), TwoPeaks(6), TwoPeaks(1, stop_at=stop_at)

    def staged(folder, made, resume=False):
        folder.mkdir(parents=True, exist_ok=True)
        run = Run(
            CONFIG, Budget(patterns=96), made[2], UNIFORM, HeldOut(TwoPeaks(2), 8), folder, "two peaks",
            earlier=((0.25, made[0]), (0.5, made[1])), together=8,
        )  # fmt: skip
        context = LocalContext(torch.device("cpu"), find_state(folder) if resume else None)
        return train(run, context, RunLog(folder, Console(file=StringIO())))

    made = streams()
    whole = staged(tmp_path / "whole", made)
    assert [first for first, _ in made[0].asked] == [0, 8, 16]
    assert [first for first, _ in made[1].asked] == [24, 32, 40]
    assert [first for first, _ in made[2].asked] == list(range(48, 96, 8))
    part = staged(tmp_path / "parts", streams(stop_at=48))
    assert part.interrupted
    made = streams()
    rest = staged(tmp_path / "parts", made, resume=True)
    assert made[0].asked == made[1].asked == []
    assert same(whole, rest)


def test_a_state_from_before_a_field_existed_is_resumed(tmp_path):
    import json

    go(tmp_path, 16)
    path = tmp_path / "state" / "index.json"
    index = json.loads(path.read_text())
    del index["config"]["earlier"], index["config"]["network"]["position"]
    path.write_text(json.dumps(index))
    assert go(tmp_path, 32, resume=True).step == 4


def test_a_stopped_run_saves_at_once_without_figures(tmp_path):
    held_out = TwoPeaks(2)
    run = Run(
        CONFIG, Budget(patterns=96), TwoPeaks(1, stop_at=40), UNIFORM, HeldOut(held_out, 40), tmp_path,
        "two peaks", together=8,
    )  # fmt: skip
    train(run, LocalContext(torch.device("cpu")), RunLog(tmp_path, Console(file=StringIO())))
    assert held_out.asked == []
    assert read_index(tmp_path / "state")["step"] == 6
