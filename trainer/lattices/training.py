"""Train `eg_agent.identify.lattice_prior`: the group of a structure by the shape of its lattice.

The chance of a group is its share in the crystal family times what the network says; what is kept of it in
use is the network's part alone, so that it goes with any prior.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from eg_agent.errors import BadInput
from eg_agent.identify.lattice_prior import N_GROUPS, NEVER
from eg_agent.verify.lattice_shape import N_FEATURES, features
from eg_agent.verify.line_kinds import FAMILIES
from trainer.lattices.collecting import Lattices

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

ORTHORHOMBIC, MONOCLINIC = FAMILIES.index("orthorhombic"), FAMILIES.index("monoclinic")
CUBIC = FAMILIES.index("cubic")


@dataclass(frozen=True, slots=True)
class LatticeTraining:
    """passes: through all lattices; hidden: width; noise: relative error of lengths in training; untold:
    share of lattices whose formula units are not told, units_noise: error of their log; rate: of AdamW, falls
    to 0 along a cosine."""

    passes: int = 10
    batch: int = 256
    hidden: int = 160
    dropout: float = 0.1
    noise: float = 2e-3
    untold: float = 0.4
    units_noise: float = 0.03
    rate: float = 2e-3
    decay: float = 1e-3
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Judged:
    """On lattices of formulas that training never saw: -ln p of the true group in nats, how often it is
    first; with the formula units; and of its share in the family alone."""

    lattices: int
    nll: float
    first: float
    units_nll: float
    units_first: float
    family_nll: float
    family_first: float


class LatticeModule(nn.Module):
    """[n, 99] what the network adds to the log-share of each group; frequency: [5, 99]."""

    frequency: Tensor

    atomic_volumes: Tensor

    def __init__(self, frequency: Floats, atomic_volumes: Floats, training: LatticeTraining) -> None:
        super().__init__()
        self.register_buffer("atomic_volumes", torch.tensor(atomic_volumes, dtype=torch.float32))
        self.register_buffer("frequency", torch.tensor(frequency, dtype=torch.float32))
        width, drop = training.hidden, training.dropout
        self.shape = nn.Sequential(
            nn.Linear(N_FEATURES, width),
            nn.SiLU(),
            nn.Dropout(drop),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Dropout(drop),
            nn.Linear(width, N_GROUPS),
        )

    def forward(self, family: Tensor, values: Tensor) -> Tensor:
        return torch.log_softmax(self.shape(values) + self.frequency[family], 1)

    def tensors(self) -> dict[str, np.ndarray]:
        """Weights by the names that `eg_agent.identify.lattice_prior.prior_of` reads."""
        found = {"frequency": self.frequency, "atomic_volumes": self.atomic_volumes}
        for place, layer in enumerate(part for part in self.shape if isinstance(part, nn.Linear)):
            found |= {f"shape.{place}.weight": layer.weight, f"shape.{place}.bias": layer.bias}
        return {name: value.detach().numpy().astype(np.float32) for name, value in found.items()}


def frequencies(family: Ints, group: Ints, weight: Floats) -> Floats:
    """[5, 99] log of each group's share in its crystal family; NEVER where it has none."""
    count = np.zeros((len(FAMILIES), N_GROUPS))
    np.add.at(count, (family, group - 1), weight)
    share = count / np.maximum(count.sum(axis=1, keepdims=True), 1e-300)
    return np.where(count > 0.0, np.log(np.maximum(share, 1e-300)), NEVER)


def train(
    lattices: Lattices, training: LatticeTraining, told: Callable[[str], None] = lambda text: None
) -> tuple[LatticeModule, Judged]:
    """The network after `training`, and how it does on the lattices that were held out.

    Raises BadInput where there is not one batch of lattices to train on.
    """
    own = np.flatnonzero(~lattices.held_out)
    if own.size < training.batch:
        raise BadInput(f"{own.size} lattices are too few to train on: give {training.batch} or more.")
    family, weight = lattices.family, lattices.weight
    network = _begin(lattices, own, training)
    optimiser = torch.optim.AdamW(network.parameters(), lr=training.rate, weight_decay=training.decay)
    steps = training.passes * (own.size // training.batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    rng = np.random.default_rng([training.seed, 0x1A7])
    truth, of_family = torch.from_numpy(lattices.group - 1), torch.from_numpy(family)
    weights = torch.tensor(weight, dtype=torch.float32)
    for number in range(training.passes):
        network.train()
        order = rng.permutation(own)
        total = 0.0
        for start in range(0, order.size - training.batch + 1, training.batch):
            rows = order[start : start + training.batch]
            numbers = off(family[rows], lattices.numbers[rows], training.noise, rng)
            units = lattices.units[rows] + training.units_noise * rng.standard_normal(rows.size)
            units[rng.random(rows.size) < training.untold] = np.nan
            values = features(family[rows], numbers, units)
            log_p = network(of_family[rows], torch.tensor(values, dtype=torch.float32))
            own_p = log_p.gather(1, truth[rows][:, None])[:, 0]
            loss = -(own_p * weights[rows]).mean()
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            schedule.step()
            total += loss.item()
        told(f"pass {number + 1} of {training.passes}: {total * training.batch / order.size:.3f} nats")
    return network, judged(network, lattices)


def _begin(lattices: Lattices, own: npt.NDArray[np.intp], training: LatticeTraining) -> LatticeModule:
    torch.manual_seed(training.seed)
    share = frequencies(lattices.family[own], lattices.group[own], lattices.weight[own])
    return LatticeModule(share, lattices.atomic_volumes, training)


def off(family: Ints, numbers: Floats, noise: float, rng: np.random.Generator) -> Floats:
    """[n, 4] the same lattices with lengths a little off, as far as the family leaves them free."""
    error = noise * rng.standard_normal((len(family), 3))
    found = numbers.copy()
    found[:, 0] += 2.0 * error[:, 0]
    found[:, 1] += np.where((family == MONOCLINIC) | (family == ORTHORHOMBIC), error[:, 1], 0.0)
    found[:, 2] += np.where(family != CUBIC, error[:, 2], 0.0)
    found[:, 3] = np.where(family == MONOCLINIC, np.abs(found[:, 3] + error[:, 0]), found[:, 3])
    ascending = family == ORTHORHOMBIC
    found[ascending, 1] = np.abs(found[ascending, 1])
    found[ascending, 2] = np.maximum(found[ascending, 2], found[ascending, 1])
    return found


@torch.inference_mode()
def said(network: LatticeModule, family: Ints, numbers: Floats, units: Floats) -> Floats:
    """[n, 99] log-probabilities of groups."""
    network.eval()
    values = torch.tensor(features(family, numbers, units), dtype=torch.float32)
    return network(torch.from_numpy(family), values).double().numpy()


@torch.inference_mode()
def judged(network: LatticeModule, lattices: Lattices) -> Judged:
    """How the network does on what was held out, groups that training never saw in their family left out."""
    frequency = network.frequency.double().numpy()
    seen = frequency[lattices.family, lattices.group - 1] > 0.5 * NEVER
    rows = np.flatnonzero(lattices.held_out & seen)
    if rows.size == 0:
        raise BadInput("no lattice that was held out has a group that was trained on: give more structures.")
    family, truth = lattices.family[rows], lattices.group[rows] - 1
    weight = lattices.weight[rows]

    def figures(log_p: Floats) -> tuple[float, float]:
        own = -log_p[np.arange(rows.size), truth]
        first = log_p.argmax(1) == truth
        return round(float(np.average(own, weights=weight)), 4), round(
            float(np.average(first, weights=weight)), 4
        )

    numbers = lattices.numbers[rows]
    alone = said(network, family, numbers, np.full(rows.size, np.nan))
    told = said(network, family, numbers, lattices.units[rows])
    return Judged(int(rows.size), *figures(alone), *figures(told), *figures(frequency[family]))
