"""Train the correction of the joint weighing (`eg_agent.identify.refinement`) on the same measurements."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from eg_agent.identify.fusion import N_GROUPS
from eg_agent.identify.refinement import (
    BY_FIRST,
    BY_NETWORK,
    BY_PRIOR,
    LEAST,
    MOST,
    N_INPUTS,
    NETWORK,
)
from trainer.benchmark.joint_batch import Batch

#: Networks, their hidden width, and what is left out of each layer in training.
MEMBERS, HIDDEN, DROPOUT = 3, 32, 0.3
#: Measurements a step, learning rate (falls to 0 along a cosine) and decay of weights.
BATCH, RATE, DECAY = 600, 3e-3, 0.1


class Refining(nn.Module):
    """The networks; each one's correction [n, c] of a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.members = nn.ModuleList(_member() for _ in range(MEMBERS))

    def forward(self, inputs: Tensor) -> Tensor:
        """[n, c] nats, of the mean of all networks."""
        mean = torch.stack([member(inputs)[..., 0] for member in self.members]).mean(0)
        return bounded(mean)

    def tensors(self) -> dict[str, np.ndarray]:
        """Weights by the names that `eg_agent.identify.refinement.refinement_of` reads."""
        found: dict[str, Tensor] = {}
        for number, member in enumerate(self.members):
            linear = [layer for layer in member.modules() if isinstance(layer, nn.Linear)]
            for place, layer in enumerate(linear):
                name = f"member {number}.{place}"
                found |= {f"{name}.weight": layer.weight, f"{name}.bias": layer.bias}
        return {name: value.detach().numpy().astype(np.float32) for name, value in found.items()}


def _member() -> nn.Sequential:
    parts: list[nn.Module] = []
    for number, (a, b) in enumerate(pairwise((N_INPUTS, HIDDEN, HIDDEN, 1))):
        parts += [nn.SiLU(), nn.Dropout(DROPOUT)] * (number > 0) + [nn.Linear(a, b)]
    last = parts[-1]
    assert isinstance(last, nn.Linear)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*parts)


def bounded(nats: Tensor) -> Tensor:
    return MOST * torch.tanh(nats / MOST)


def inputs_of(of: Batch, first: Tensor, context: Tensor) -> Tensor:
    """[n, c, N_INPUTS]; first: [n, 99] log-probabilities so far; context: [n, z], as far as believed."""
    at = of.place.clamp(max=N_GROUPS - 1)
    own = [
        BY_NETWORK * of.said.gather(1, at).clamp(*NETWORK),
        BY_PRIOR * of.prior.gather(1, at),
        of.lattice.gather(1, at),
        BY_FIRST * first.gather(1, at).clamp(min=LEAST),
    ]
    around = torch.cat([context, of.undecided[:, None]], 1)[:, None].expand(-1, at.shape[1], -1)
    return torch.cat([of.traits, torch.stack(own, -1), around], -1)


def corrected(first: Tensor, added: Tensor, place: Tensor) -> Tensor:
    """[n, 99] log-probabilities, `added` [n, c] at the places [n, c] of candidates (N_GROUPS: none)."""
    total = torch.zeros(len(first), N_GROUPS + 1).scatter_add(1, place, added)[:, :N_GROUPS]
    return torch.log_softmax(first + total, 1)


def refine(of: Batch, first: Tensor, context: Tensor, seed: int, steps: int) -> Refining:
    """The networks that make the true groups most probable, each trained by itself."""
    torch.manual_seed(seed)
    found = Refining()
    inputs = inputs_of(of, first, context)
    for member in found.members:
        optimiser = torch.optim.AdamW(member.parameters(), lr=RATE, weight_decay=DECAY)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        for _ in range(steps):
            rows = torch.randperm(len(first))[:BATCH]
            log_p = corrected(first[rows], bounded(member(inputs[rows])[..., 0]), of.place[rows])
            own = log_p.gather(1, of.truth[rows][:, None])[:, 0]
            loss = -(own * of.weight[rows]).sum() / of.weight[rows].sum()
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            schedule.step()
    return found.eval()
