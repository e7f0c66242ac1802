"""Train what whole patterns of lines look like, by group: networks beside the one that judges absences.

Each learns groups from the lines as curves (`eg_agent.verify.line_spectrum`), the groups' frequencies and
what the lattice says known beforehand, without the other network: that one knows the samples that it was
trained on better than others, and would leave too little to learn. How much each counts is said in
`trainer.absences.together`; docs/decisions/0023.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from eg_agent.verify.line_kinds import FAMILIES
from eg_agent.verify.line_spectrum import N_SPECTRUM, line_spectrum
from trainer.absences.intensities import LineSample
from trainer.absences.network import NEVER, NUMBERS
from trainer.absences.training import known, log_prior
from trainer.kept_state import Stateful, kept, taken_up


@dataclass(frozen=True, slots=True)
class WholeTraining:
    """epochs: times that every sample is seen; width: of the two hidden layers; dropout: of their values;
    noise: log-sigma by which curves are multiplied; rate: of AdamW, one cycle; members: networks whose mean
    counts."""

    epochs: int = 10
    batch: int = 512
    width: int = 640
    dropout: float = 0.3
    noise: float = 0.15
    rate: float = 2e-3
    decay: float = 0.02
    members: int = 2
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Curves:
    """Samples as the networks read them: inputs [n, N_SPECTRUM + families] half precision; before [n, 99] log
    of what was known, NEVER where the lattice cannot have a group; group [n] 0-98."""

    inputs: Tensor
    before: Tensor
    group: Tensor


def curves_of(samples: Sequence[LineSample], prior: Tensor) -> Curves:
    """Samples with what is known of them before a line is seen; prior: [100] (`log_prior`)."""
    families = np.eye(len(FAMILIES))
    inputs = np.empty((len(samples), N_SPECTRUM + len(FAMILIES)), dtype=np.float16)
    there = np.zeros((len(samples), NUMBERS), dtype=bool)
    for place, sample in enumerate(samples):
        inputs[place] = np.append(line_spectrum(sample.values), families[sample.family])
        there[place, sample.groups] = True
    before = torch.where(torch.from_numpy(there), known(samples, prior), torch.tensor(NEVER))
    group = torch.tensor([sample.group for sample in samples]) - 1
    return Curves(torch.from_numpy(inputs), before[:, 1:], group)


def module_of(training: WholeTraining) -> nn.Sequential:
    """[b, N_SPECTRUM + families] -> [b, 99] nats."""
    first = N_SPECTRUM + len(FAMILIES)
    layers: list[nn.Module] = []
    for before, after in ((first, training.width), (training.width, training.width)):
        layers += [nn.Linear(before, after), nn.SiLU(), nn.Dropout(training.dropout)]
    return nn.Sequential(*layers, nn.Linear(training.width, NUMBERS - 1))


def train_whole(
    samples: Sequence[LineSample],
    out: Path,
    training: WholeTraining,
    told: Callable[[str], None] = lambda text: None,
) -> list[nn.Sequential]:
    """The networks; OUT/whole-0.pt and so on go on. Raises BadInput where OUT has another training's state.

    Where there are fewer samples than a batch has, all of them are one.
    """
    own = [s for s in samples if not s.held_out]
    curves = curves_of(own, log_prior(own))
    return [_member(curves, out / f"whole-{i}.pt", training, i, told) for i in range(training.members)]


def _member(
    curves: Curves, path: Path, training: WholeTraining, member: int, told: Callable[[str], None]
) -> nn.Sequential:
    torch.manual_seed(1000 * training.seed + member)
    network = module_of(training)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=training.decay)
    a_batch = min(training.batch, len(curves.group))
    a_pass = len(curves.group) // a_batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, training.rate, max(2, training.epochs * a_pass), pct_start=0.1
    )
    states: dict[str, Stateful] = {"network": network, "optimiser": optimiser, "schedule": schedule}
    about = json.dumps({**asdict(training), "own": len(curves.group), "member": member})
    started = time.monotonic()
    for epoch in range(taken_up(path, about, states), training.epochs):
        generator = torch.Generator().manual_seed(97 * epoch + member)
        order = torch.randperm(len(curves.group), generator=generator)
        mean = 0.0
        for place in range(a_pass):
            rows = order[a_batch * place : a_batch * (place + 1)]
            inputs = curves.inputs[rows].float()
            uneven = torch.exp(training.noise * torch.randn(inputs.shape, generator=generator))
            log_p = torch.log_softmax(network(inputs * uneven) + curves.before[rows], 1)
            loss = -log_p.gather(1, curves.group[rows, None]).mean()
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            schedule.step()
            mean += (loss.item() - mean) / (place + 1)
        kept(path, about, epoch + 1, states)
        told(
            f"whole {member}: epoch {epoch + 1} of {training.epochs}, {mean:.3f} nats, "
            f"{time.monotonic() - started:.0f} s"
        )
    return network.eval()


@torch.inference_mode()
def said(members: Sequence[nn.Sequential], curves: Curves, at_once: int = 2000) -> Tensor:
    """[n, 99] nats, the mean of the networks."""
    parts = curves.inputs.split(at_once)
    return torch.cat([torch.stack([m(part.float()) for m in members]).mean(0) for part in parts])
