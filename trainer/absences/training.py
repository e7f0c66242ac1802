"""Train the absence network: the group of each sample, among those that its lattice can have.

The chance of a group is its frequency among the training samples, times what the shape of the lattice says
of it (`eg_agent.identify.lattice_prior`), times the mean likelihood of its settings (`group_likelihoods`);
what is kept is the likelihood alone.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file
from torch import Tensor

from eg_agent.errors import BadInput
from eg_agent.identify.lattice_prior import shipped
from eg_agent.verify.absence_network import WEIGHTS
from trainer.absences.intensities import LineSample
from trainer.absences.isotypes import like_isotypes
from trainer.absences.network import NEVER, NUMBERS, AbsenceModule, Lines, Size, group_likelihoods, padded
from trainer.absences.store import RECIPE
from trainer.kept_state import Stateful, kept, taken_up

#: Samples of like size are put together within so many batches.
TOGETHER = 40
#: Steps after which the state is kept and the loss told.
KEPT_EVERY = 500
#: Claims from here on are counted.
SURE = 0.95


@dataclass(frozen=True, slots=True)
class AbsenceTraining:
    """samples: seen in all, each file several times; batch: samples a step; rate: of AdamW, rises over `warm`
    steps and falls to 0 along a cosine; coarse: share of the steps, the first ones, with half the precision
    (`AbsenceModule`). further: begin with the weights of the package, not at random."""

    samples: int = 1_000_000
    batch: int = 48
    warm: int = 200
    coarse: float = 0.8
    further: bool = False
    rate: float = 2e-3
    decay: float = 1e-4
    clip: float = 1.0
    size: Size = field(default_factory=lambda: Size(48, 96, 128, 64))
    seed: int = 0

    @property
    def steps(self) -> int:
        return max(1, self.samples // self.batch)

    def share_of_rate(self, step: int) -> float:
        """Of `rate`, at a step."""
        falling = 0.5 + 0.5 * math.cos(math.pi * min(step / self.steps, 1.0))
        return min((step + 1) / max(self.warm, 1), 1.0) * falling


@dataclass(frozen=True, slots=True)
class Judged:
    """On samples that training never saw: -ln p of the true group in nats, how often it is first, how often
    one has 0.95 and is right then; nothing: -ln p of frequencies and lattice, without a line."""

    samples: int
    nll: float
    first: float
    sure: float
    right_when_sure: float
    nothing: float


def train(
    samples: Sequence[LineSample],
    out: Path,
    training: AbsenceTraining,
    told: Callable[[str], None] = lambda text: None,
) -> tuple[AbsenceModule, Judged]:
    """The network after `training`, and how it does on the held-out samples; OUT/state.pt goes on.

    Raises BadInput where there is nothing to train or to judge on, or where OUT has another training's state.
    """
    own = [s for s in samples if not s.held_out]
    others = [s for s in samples if s.held_out]
    if len(own) < training.batch or not others:
        raise BadInput(
            f"{len(own)} samples to train on and {len(others)} to judge on are too few: ask for more."
        )
    prior = log_prior(own)
    torch.manual_seed(training.seed)
    network = AbsenceModule(training.size)
    if training.further:
        network.take_up(load_file(WEIGHTS))
    optimiser = torch.optim.AdamW(network.parameters(), lr=training.rate, weight_decay=training.decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, training.share_of_rate)
    state = out / "state.pt"
    about = json.dumps({**asdict(training), "own": len(own), "recipe": RECIPE})
    parts: dict[str, Stateful] = {"network": network, "optimiser": optimiser, "schedule": schedule}
    done = taken_up(state, about, parts)
    started, mean = time.monotonic(), 0.0
    for step, batch in enumerate(batches(own, training), start=0):
        if step >= training.steps:
            break
        if step < done:
            continue
        network.coarse = step < training.coarse * training.steps
        noise = np.random.default_rng([training.seed, 0x0FF, step])
        log_p = posterior(network, like_isotypes(padded(batch, noise), noise), known(batch, prior))
        truth = torch.tensor([s.group for s in batch])
        loss = -log_p.gather(1, truth[:, None]).mean()
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(network.parameters(), training.clip)
        optimiser.step()
        schedule.step()
        mean += (loss.item() - mean) / min(step - done + 1, KEPT_EVERY)
        if (step + 1) % KEPT_EVERY == 0:
            kept(state, about, step + 1, parts)
            rate = (step + 1 - done) * training.batch / (time.monotonic() - started)
            told(f"{step + 1} of {training.steps} steps, {mean:.3f} nats, {rate:.0f} samples/s")
    kept(state, about, training.steps, parts)
    network.coarse = False
    return network, judged(network, others, prior)


def log_prior(samples: Sequence[LineSample]) -> Tensor:
    """[100] log of the groups' frequencies, by number."""
    counts = np.bincount([s.group for s in samples], minlength=NUMBERS) + 1.0
    return torch.tensor(np.log(counts / counts.sum()), dtype=torch.float32)


def known(samples: Sequence[LineSample], prior: Tensor) -> Tensor:
    """[b, 100] log-probabilities, up to a constant, of groups before a line is seen: their frequencies [100],
    and what the package's lattice prior says of each sample's lattice."""
    family, shape = np.array([s.family for s in samples]), np.array([s.shape for s in samples])
    of_lattice = shipped().of_shapes(family, shape.astype(np.float64), np.full(len(samples), np.nan))
    return prior + torch.tensor(np.pad(of_lattice, ((0, 0), (1, 0))), dtype=torch.float32)


def posterior(network: AbsenceModule, of: Lines, prior: Tensor) -> Tensor:
    """[b, 100] log-probabilities of the groups that a sample's lattice can have; prior: [b, 100]."""
    likelihood = group_likelihoods(network(of), of.groups)
    return torch.log_softmax(torch.where(likelihood > NEVER, likelihood + prior, likelihood), 1)


def batches(samples: Sequence[LineSample], training: AbsenceTraining) -> Iterator[list[LineSample]]:
    """Batches without end, a function of the seed; samples of like size together: little is padding."""
    rng = np.random.default_rng([training.seed, 0xBA])
    size = np.array([s.forbidden.size for s in samples])
    a_chunk = training.batch * TOGETHER
    while True:
        order = rng.permutation(len(samples))
        for start in range(0, len(order), a_chunk):
            chunk = order[start : start + a_chunk]
            chunk = chunk[np.argsort(size[chunk], kind="stable")]
            parts = [
                chunk[i : i + training.batch]
                for i in range(0, len(chunk) - training.batch + 1, training.batch)
            ]
            for place in rng.permutation(len(parts)):
                yield [samples[int(i)] for i in parts[place]]


@torch.inference_mode()
def judged(network: AbsenceModule, samples: Sequence[LineSample], prior: Tensor, at_once: int = 48) -> Judged:
    """How the network does on samples."""
    ordered = sorted(samples, key=lambda s: s.forbidden.size)
    own, first, sure, nothing = [], [], [], []
    for start in range(0, len(ordered), at_once):
        part = ordered[start : start + at_once]
        of, before = padded(part), known(part, prior)
        log_p = posterior(network, of, before)
        there = group_likelihoods(torch.zeros(of.groups.shape), of.groups) > NEVER
        plain = torch.log_softmax(torch.where(there, before, torch.tensor(NEVER)), 1)
        truth = torch.tensor([s.group for s in part])[:, None]
        own += (-log_p.gather(1, truth)[:, 0]).tolist()
        nothing += (-plain.gather(1, truth)[:, 0]).tolist()
        first += (log_p.argmax(1) == truth[:, 0]).tolist()
        sure += (log_p.max(1).values.exp() >= SURE).tolist()
    right = np.array(first)[np.array(sure)]
    return Judged(
        len(own),
        round(float(np.mean(own)), 4),
        round(float(np.mean(first)), 4),
        round(float(np.mean(sure)), 4),
        round(float(right.mean()), 4) if right.size else 0.0,
        round(float(np.mean(nothing)), 4),
    )
