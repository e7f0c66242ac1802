"""The training loop of XxaCT-NN, as that of the classifier: any `Context`, resumable at any moment.

What a step does is a function of (settings, step), so that a run that was stopped goes on as if it had not
been, and does not depend on the number of workers but for rounding.
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eg_agent.errors import BadInput
from eg_agent.model.checkpoint import load_weights, write_atomically
from eg_agent.model.xxact import LOG_SCALE, Estimates, Xxact, optional
from trainer.context import Context, compute_type, shard
from trainer.loop import SKIPS_ALLOWED, interruptible
from trainer.multimodal.xxact_config import XxactTrain, xxact_train_of
from trainer.multimodal.xxact_data import Sample, XxactData, shown
from trainer.multimodal.xxact_loss import (
    contrastive_loss,
    hidden_tokens,
    masked_loss,
    properties_loss,
    symmetry_loss,
)
from trainer.state import flatten_optimizer, read_index, read_tensors, restore_optimizer, write_state

#: Of a run on any inputs: shares of batches that show the composition alone, and the pattern alone.
COMPOSITION_ALONE, XRD_ALONE = 0.15, 0.25
RESUMED = ("config", "corpus", "step", "seconds", "curve")
#: Samples that are judged together.
TOGETHER = 256


@dataclass
class XxactTraining:
    """What changes while a run goes on. curve: rows of (samples, figures on the validation structures)."""

    network: Xxact
    optimizer: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0
    interrupted: bool = False
    skipped_in_a_row: int = 0
    curve: list[dict[str, float]] = field(default_factory=list)

    def tensors(self) -> dict[str, Tensor]:
        """All that must be saved, by name."""
        named = {f"network.{n}": t for n, t in self.network.state_dict().items()}
        return named | flatten_optimizer(self.optimizer)


class _Losses(nn.Module):
    """The loss as a module, so that one call of it is what a launcher wraps."""

    def __init__(self, network: Xxact, config: XxactTrain, data: XxactData, together: bool) -> None:
        super().__init__()
        self.network, self.config, self.scales, self.together = network, config, data.scales, together

    def forward(self, sample: Sample, inputs: str, hidden_BT: Tensor | None) -> Tensor:
        config, network = self.config, self.network
        if inputs == "both":
            sample = sample.exchanged()
        encoded = network.encode(
            *shown(network, sample, inputs), hidden_BT=hidden_BT, all_tokens=hidden_BT is not None
        )
        total = encoded.tokens_BTD.new_zeros(())
        if self.together:  # workers average all gradients: every part takes part in every loss
            total = total + 0.0 * _everything(network)
        if config.objective == "properties":
            total = total + properties_loss(network.estimates(encoded), sample.labels, self.scales, config)
            if config.weights.group or config.weights.lattice:
                total = total + symmetry_loss(network.symmetry(encoded), sample.labels, config)
            if sample.own_B is not None and inputs == "both":
                match = F.binary_cross_entropy_with_logits(network.belonging(encoded), sample.own_B.float())
                total = total + config.weights.match * match
            return total
        if hidden_BT is not None:
            masked = masked_loss(network, encoded, sample.intensity_BL, hidden_BT)
            total = total + config.weights.masked * masked
        if "contrastive" in config.objective:
            total = total + config.weights.contrastive * contrastive_loss(network.alignment(encoded))
        return total


def _everything(network: Xxact) -> Tensor:
    """A finite number that depends on all parameters."""
    return torch.stack([p.float().sum() for p in network.parameters()]).sum()


def start(config: XxactTrain, data: XxactData, context: Context, begin: Path | None) -> XxactTraining:
    """Fresh weights, those of another run's state (`begin`), or the state that is resumed from."""
    torch.manual_seed(config.seed)
    network = Xxact(config.network)
    folder = context.load()
    if begin is not None and folder is None:
        tensors = read_tensors(begin)
        mine = {n.removeprefix("network."): t for n, t in tensors.items() if n.startswith("network.")}
        # Heads that not every network has need not be there, and are not taken where they are not wanted.
        fresh = {n: t for n, t in network.state_dict().items() if optional(n)}
        mine = fresh | {n: t for n, t in mine.items() if n in fresh or not optional(n)}
        load_weights(network, mine, str(begin))
    network.to(context.device)
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": config.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ],
        lr=config.lr,
        betas=(0.9, 0.98),
        fused=True,
    )
    training = XxactTraining(network, optimizer)
    if folder is not None:
        _resume(training, config, data, folder)
    return training


def _resume(training: XxactTraining, config: XxactTrain, data: XxactData, folder: Path) -> None:
    index, tensors = read_index(folder), read_tensors(folder)
    missing = [key for key in RESUMED if key not in index]
    if missing:
        raise BadInput(f"{folder} is no state of an XxaCT-NN run: its index does not say {missing[0]!r}.")
    if xxact_train_of(index["config"]) != config or index["corpus"] != data.corpus:
        raise BadInput(f"{folder} was trained with other settings or materials: take another --out.")
    mine = {n.removeprefix("network."): t for n, t in tensors.items() if n.startswith("network.")}
    load_weights(training.network, mine, str(folder))
    restore_optimizer(training.optimizer, tensors)
    training.step, training.seconds = index["step"], index["seconds"]
    training.curve = index["curve"]


def learning_rate(config: XxactTrain, step: int) -> float:
    """Linear warm-up, then a cosine to 0."""
    warm = max(1, round(config.warmup * config.steps))
    if step < warm:
        return config.lr * (step + 1) / warm
    progress = (step - warm) / max(1, config.steps - warm)
    return config.lr * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))


def train_xxact(
    config: XxactTrain,
    data: XxactData,
    context: Context,
    folder: Path,
    *,
    begin: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> XxactTraining:
    """Train until the budget is used or the run is interrupted; FOLDER/state is saved in both cases."""
    training = start(config, data, context, begin)
    losses = _Losses(training.network, config, data, context.world > 1)
    called = context.wrap(losses)
    first, count = shard(config.batch, context.rank, context.world)
    weight = count * context.world / config.batch
    device = context.device
    dtype, _ = compute_type(device)
    last_save = clock = time.monotonic()
    training.network.train()
    with interruptible(training):  # pyright: ignore[reportArgumentType]
        while training.step < config.steps:
            if context.agree(float(training.interrupted or context.stopping())):
                training.interrupted = True
                break
            for group in training.optimizer.param_groups:
                group["lr"] = learning_rate(config, training.step)
            sample = data.sample(config, training.step, first, count)
            inputs, hidden = _chances(config, training.step)
            hidden_BT = None if hidden is None else hidden[first : first + count].to(device)
            torch.manual_seed((config.seed * 999_983 + training.step * 64 + context.rank) % 2**63)
            autocast = nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)
            with autocast:
                loss = called(sample, inputs, hidden_BT)
            _descend(training, loss * weight, config)
            training.step += 1
            now = time.monotonic()
            training.seconds += now - clock
            clock = now
            seen = training.step * config.batch
            if seen // config.judged_every != (seen - config.batch) // config.judged_every:
                if context.rank == 0:
                    _note(training, config, data, folder, float(loss.detach()), say)
                context.barrier()
                clock = time.monotonic()  # judging is not training time
            if context.agree(float(time.monotonic() - last_save > config.checkpoint_seconds)):
                _save(training, config, data, context, folder)
                last_save = clock = time.monotonic()
    _save(training, config, data, context, folder)
    return training


def _chances(config: XxactTrain, step: int) -> tuple[str, Tensor | None]:
    """What is shown in a step, and the tokens that are hidden in it, the same on every worker."""
    generator = torch.Generator().manual_seed((config.seed * 7_000_003 + step) % 2**63)
    inputs: str = config.inputs
    if inputs == "any":
        chance = float(torch.rand(1, generator=generator))
        alone = "composition" if chance < COMPOSITION_ALONE else "xrd"
        inputs = alone if chance < COMPOSITION_ALONE + XRD_ALONE else "both"
    if "masked" not in config.objective:
        return inputs, None
    return inputs, hidden_tokens(config.batch, config.network.tokens, config.masked_share, generator)


def _descend(training: XxactTraining, loss: Tensor, config: XxactTrain) -> None:
    """One step; left out where the gradient is not finite, BadInput where that goes on."""
    training.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(training.network.parameters(), config.clip)
    if math.isfinite(float(norm)):
        training.optimizer.step()
        training.skipped_in_a_row = 0
        return
    training.skipped_in_a_row += 1
    if training.skipped_in_a_row >= SKIPS_ALLOWED:
        raise BadInput(
            f"the loss has not been finite for {SKIPS_ALLOWED} steps at step {training.step}: "
            "lower the learning rate; the last saved state is intact."
        )


def _note(
    training: XxactTraining,
    config: XxactTrain,
    data: XxactData,
    folder: Path,
    loss: float,
    say: Callable[[str], None],
) -> None:
    """Figures on the validation structures, into the curve, a file and a line."""
    row: dict[str, float] = {"samples": training.step * config.batch, "loss": round(loss, 4)}
    if config.objective == "properties":
        inputs = "both" if config.inputs == "any" else config.inputs
        row |= judged(training.network, data, inputs)
    training.curve.append(row)
    out = StringIO()
    writer = csv.DictWriter(out, list(training.curve[0]))
    writer.writeheader()
    writer.writerows(training.curve)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "curve.csv", out.getvalue().encode())
    rate = training.step * config.batch / max(1e-9, training.seconds)
    figures = ", ".join(f"{k} {v:.4g}" for k, v in row.items() if k != "samples")
    say(f"{config.name}: {row['samples']:,.0f} of {config.samples:,} samples, {figures}, {rate:.0f} a second")


def judged(network: Xxact, data: XxactData, inputs: str) -> dict[str, float]:
    """Figures on the validation structures that have an energy: errors in eV, accuracy."""
    samples = [
        data.of_rows(rows) if data.clean is not None else _noisy(data, rows)
        for rows in data.judged.split(TOGETHER)
    ]
    said = answers(network, samples, inputs)
    energy, gap = (in_units(part, scale) for part, scale in zip(said[:2], data.scales, strict=True))
    labels = data.labels
    rows = data.judged
    known = labels.gap_B[rows].isfinite()
    return {
        "energy_mae": float((energy[:, 0] - labels.energy_B[rows]).abs().mean()),
        "gap_mae": float((gap[:, 0] - labels.gap_B[rows])[known].abs().mean()) if known.any() else math.nan,
        "accuracy": float((said.system_BS.argmax(1) == labels.system_B[rows]).float().mean()),
    }


def _noisy(data: XxactData, rows: Tensor) -> Sample:
    return data.of_rows(rows, torch.ones_like(rows, dtype=torch.bool), torch.zeros_like(rows))


def in_units(said_B2: Tensor, scale: tuple[float, float]) -> Tensor:
    """Location and Laplace scale [B, 2] in the label's unit."""
    location = said_B2[:, 0] * scale[1] + scale[0]
    return torch.stack([location, said_B2[:, 1].clamp(*LOG_SCALE).exp() * scale[1]], dim=1)


@torch.inference_mode()
def answers(network: Xxact, samples: list[Sample], inputs: str) -> Estimates:
    """What a network says of several batches, in fp32 on the CPU's or the GPU's own type."""
    training = network.training
    network.eval()
    try:
        parts = [network(*shown(network, sample, inputs)) for sample in samples]
    finally:
        network.train(training)
    return Estimates(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _save(
    training: XxactTraining, config: XxactTrain, data: XxactData, context: Context, folder: Path
) -> None:
    """Write the state (rank 0 only) and report it."""
    state = None
    if context.rank == 0:
        meta = {
            "step": training.step,
            "seconds": training.seconds,
            "curve": training.curve,
            "corpus": data.corpus,
            "config": config.to_dict(),
            "scales": [list(scale) for scale in data.scales],
        }
        folder.mkdir(parents=True, exist_ok=True)
        state = write_state(folder, training.tensors(), meta, 16.0)
    context.report(training.curve[-1] if training.curve else {}, state)
    context.barrier()
