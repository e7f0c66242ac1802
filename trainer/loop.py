"""The training loop: plain torch, one process or one rank of many, exact to resume.

Patterns are made in the loop (`stream.batch(start, n)`), pattern i of a run being a function of
(seed, i). A state holds weights, EMA, optimizer moments and counters, so a run that was stopped and
resumed takes the steps that it would have taken (bit for bit, where the budget is in patterns: a
budget in time depends on the clock). Dropout, if any, is seeded by (seed, step).
"""

from __future__ import annotations

import json
import math
import platform
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from eg_agent.errors import BadInput
from eg_agent.model.checkpoint import load_weights
from eg_agent.model.network import Network
from trainer.ahead import Ahead, Stream
from trainer.config import Budget, ScheduleConfig, TrainConfig, config_of
from trainer.context import Context, compute_type, shard
from trainer.held_out import HeldOut, evaluate
from trainer.log import RunLog
from trainer.loss import MultiTaskLoss
from trainer.parent import Parent, parent_network
from trainer.state import flatten_optimizer, read_index, read_tensors, restore_optimizer, write_state

#: Steps without a finite gradient, one after the other, that end a run.
SKIPS_ALLOWED = 20
#: What a run that goes on must find in its state's index.
RESUMED = ("config", "corpus", "step", "patterns", "seconds", "held_out")
#: Patterns that are made at once: as many steps' as go into it.
PATTERNS_TOGETHER = 256


@dataclass(frozen=True)
class Run:
    """Everything a loop is given: what to train, on what, until when, and where to write.

    earlier: (progress at which it ends, stream) of the curriculum's stages before `stream`, in order.
    log_train_prior: [99] class prior of `stream`. held_out: patterns of structures that `stream`
    never shows. corpus: its name, for the record; resuming on another one is refused.
    compile: backend of torch.compile ("inductor"), or None.
    together: patterns that are made at once, in whole steps; background: in a thread, ahead of the steps.
    parent: card of the checkpoint that `config.begin_from` names, where this machine has it elsewhere.
    """

    config: TrainConfig
    budget: Budget
    stream: Stream
    log_train_prior: npt.NDArray[np.float64]
    held_out: HeldOut
    folder: Path
    corpus: str
    max_shard_mb: float = 16.0
    compile: str | None = None
    tensorboard: bool = False
    earlier: tuple[tuple[float, Stream], ...] = ()
    together: int = PATTERNS_TOGETHER
    background: bool = False
    parent: Path | None = None

    def stream_at(self, progress: float) -> Stream:
        """The stage that patterns come from after this share (0 to 1) of the budget."""
        return next((stream for end, stream in self.earlier if progress < end), self.stream)


@dataclass
class Training:
    """What changes while a run goes on."""

    network: Network
    ema: Network
    optimizer: torch.optim.Optimizer
    step: int = 0
    patterns: int = 0
    seconds: float = 0.0
    interrupted: bool = False
    skipped_in_a_row: int = 0
    held_out: dict[str, float] = field(default_factory=dict)
    parent: Parent | None = None

    def tensors(self) -> dict[str, Tensor]:
        """All that must be saved, by name."""
        named = {f"network.{n}": t for n, t in self.network.state_dict().items()}
        named |= {f"ema.{n}": t for n, t in self.ema.state_dict().items()}
        return named | flatten_optimizer(self.optimizer)


def learning_rate_scale(schedule: ScheduleConfig, step: int, progress: float) -> float:
    """Factor of the peak learning rate: linear warm-up by steps, flat, linear to 0 by progress (0 to 1)."""
    warm = min(1.0, (step + 1) / max(1, schedule.warmup_steps))
    return warm * min(1.0, (1.0 - progress) / max(1e-9, schedule.decay_share))


def start(run: Run, context: Context) -> Training:
    """A fresh `Training` from the configuration's seed or its checkpoint, or the one that is resumed from."""
    config = run.config
    torch.manual_seed(config.seed)
    network = Network(config.network)
    loss = MultiTaskLoss(run.log_train_prior, run.config.loss)
    network.start_from_prior(torch.from_numpy(run.log_train_prior), loss.pos_weight_O.log())
    folder = context.load()
    parent = None
    if config.begin_from and folder is None:
        weights, parent = parent_network(config, run.parent)
        network.load_state_dict(weights.state_dict())
        network.weigh_operators(loss.pos_weight_O.log())
    network.to(context.device)
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": config.optim.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ],
        lr=config.optim.lr,
        betas=config.optim.betas,
        fused=True,
    )
    ema = deepcopy(network).eval().requires_grad_(False)
    training = Training(network, ema, optimizer, parent=parent)
    if folder is not None:
        resume(training, run, folder)
    return training


def resume(training: Training, run: Run, folder: Path) -> None:
    """Restore a state into a fresh `Training`; BadInput when it belongs to another configuration."""
    index, tensors = read_index(folder), read_tensors(folder)
    missing = [key for key in RESUMED if key not in index]
    if missing:
        raise BadInput(f"{folder} is no state of a training run: its index does not say {missing[0]!r}.")
    if config_of(index["config"]) != run.config or index["corpus"] != run.corpus:
        raise BadInput(
            f"{folder} was trained with another configuration, seed or corpus: "
            "use the same, another --out, or --resume never to start again."
        )
    for prefix, network in (("network.", training.network), ("ema.", training.ema)):
        mine = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        load_weights(network, mine, str(folder))
    restore_optimizer(training.optimizer, tensors)
    training.step, training.patterns = index["step"], index["patterns"]
    training.seconds, training.held_out = index["seconds"], index["held_out"]
    training.parent = Parent.of_index(index)


def machine(device: torch.device) -> str:
    """What a run runs on, in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} thread(s)"


def save(training: Training, run: Run, context: Context) -> None:
    """Write the state (rank 0 only) and report it."""
    folder = None
    if context.rank == 0:
        meta = {
            "step": training.step,
            "patterns": training.patterns,
            "seconds": training.seconds,
            "held_out": training.held_out,
            "corpus": run.corpus,
            "machine": machine(context.device),
            "config": run.config.to_dict(),
            "parent": None if training.parent is None else asdict(training.parent),
            "log_train_prior": run.log_train_prior.tolist(),
        }
        folder = write_state(run.folder, training.tensors(), meta, run.max_shard_mb)
    context.report(training.held_out, folder)
    context.barrier()


@torch.no_grad()
def update_ema(ema: Network, network: Network, decay: float, step: int) -> None:
    """Move the averaged weights (and running statistics) towards the network's."""
    decay = min(decay, (1.0 + step) / (10.0 + step))
    averaged, current = ema.state_dict(), network.state_dict()
    for name, average in averaged.items():
        if average.is_floating_point():
            average.lerp_(current[name], 1.0 - decay)
        else:
            average.copy_(current[name])


@contextmanager
def interruptible(training: Training) -> Iterator[None]:
    """Turn the first Ctrl-C or SIGTERM into a request to save and stop; the second one acts as usual."""
    if threading.current_thread() is not threading.main_thread():
        yield  # a launcher's worker thread: signals are the launcher's
        return
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}

    def ask(signum: int, frame: Any) -> None:
        training.interrupted = True
        signal.signal(signum, before[signal.Signals(signum)])

    for number in before:
        signal.signal(number, ask)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def train(run: Run, context: Context, log: RunLog) -> Training:
    """Train until the budget is used or the run is interrupted; the state is saved in both cases."""
    config, device = run.config, context.device
    training = start(run, context)
    loss_of = MultiTaskLoss(run.log_train_prior, run.config.loss).to(device)
    called = context.wrap(training.network)
    forward = torch.compile(called, backend=run.compile) if run.compile else called
    dtype, reason = compute_type(device, config.precision)
    autocast = torch.autocast(device.type, dtype) if dtype != torch.float32 else nullcontext()
    if context.rank == 0:
        log.started(training, run, context.world, device, dtype, reason)
    first, share = shard(config.batch, context.rank, context.world)
    weight = share * context.world / config.batch  # ranks average gradients of means over their shares
    last_save = last_eval = time.monotonic()
    clock, waited = time.monotonic(), 0.0
    training.network.train()
    together = max(1, run.together // config.batch)
    with (
        interruptible(training),
        Ahead(config.batch, first, share, together=together, background=run.background) as ahead,
    ):
        while True:
            if context.agree(float(training.interrupted or context.stopping())):
                training.interrupted = True
                break
            progress = context.agree(run.budget.progress(training.patterns, training.seconds))
            if progress >= 1.0:
                break
            lr = config.optim.lr * learning_rate_scale(config.schedule, training.step, progress)
            for group in training.optimizer.param_groups:
                group["lr"] = lr
            torch.manual_seed((config.seed * 1_000_003 + training.step) % 2**63)
            asked = time.monotonic()
            batch = ahead.share(run.stream_at(progress), training.step)
            waited += time.monotonic() - asked
            intensity, coverage = whole(batch.intensity.to(device), batch.coverage.to(device))
            with autocast:
                heads = forward(intensity, coverage)
            space_group = None if batch.space_group is None else batch.space_group.to(device)
            parts = loss_of(heads, batch.group.to(device), space_group)
            norm = descend(training, parts.total * weight, config)
            training.step += 1
            training.patterns += config.batch
            update_ema(training.ema, training.network, config.optim.ema, training.step)
            if training.step % config.log_steps == 0 and context.rank == 0:
                log.step(training, parts, norm, lr, progress, waited)
            now = time.monotonic()
            training.seconds += now - clock
            clock = now
            if context.agree(float(now - last_eval > config.held_out_seconds)):
                measure(training, run, context, log)
                last_eval = clock = time.monotonic()  # evaluation is not training time
            if context.agree(float(now - last_save > config.checkpoint_seconds)):
                save(training, run, context)
                last_save = time.monotonic()
    if not training.interrupted:  # who stops a run waits for its state, not for figures
        measure(training, run, context, log)
    save(training, run, context)
    return training


def descend(training: Training, loss: Tensor, config: TrainConfig) -> Tensor:
    """One optimizer step; returns the gradient's norm before clipping.

    A step whose gradient is not finite is left out; BadInput after `SKIPS_ALLOWED` of them in a row.
    """
    training.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(training.network.parameters(), config.optim.clip)
    if math.isfinite(float(norm)):
        training.optimizer.step()
        training.skipped_in_a_row = 0
        return norm
    training.skipped_in_a_row += 1
    if training.skipped_in_a_row >= SKIPS_ALLOWED:
        raise BadInput(
            f"the loss has not been finite for {SKIPS_ALLOWED} steps at step {training.step}: "
            "lower the learning rate; the last saved state is intact."
        )
    return norm


def whole(intensity_BL: Tensor, coverage_BL: Tensor) -> tuple[Tensor, Tensor]:
    """The batch with patterns that are not finite shown as not measured: one of them would spoil the
    running statistics of every norm for good."""
    finite_B1 = intensity_BL.isfinite().all(dim=1, keepdim=True)
    return torch.where(finite_B1, intensity_BL, 0.0), coverage_BL & finite_B1


def measure(training: Training, run: Run, context: Context, log: RunLog) -> None:
    """Held-out figures of the averaged weights, on rank 0."""
    if context.rank != 0:
        return
    training.held_out = evaluate(training.ema, run.held_out, run.log_train_prior)
    log.held_out(training)


def load_averaged(folder: Path) -> tuple[Network, Mapping[str, Any]]:
    """The averaged network of a state folder, in evaluation mode, and the state's index."""
    from eg_agent.model.checkpoint import config_from_dict

    index = read_index(folder)
    network = Network(config_from_dict(index["config"]["network"]))
    tensors = read_tensors(folder)
    load_weights(
        network,
        {n.removeprefix("ema."): t for n, t in tensors.items() if n.startswith("ema.")},
        json.dumps(str(folder)),
    )
    return network.eval(), index
