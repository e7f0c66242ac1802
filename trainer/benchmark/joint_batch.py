"""Measurements that the joint weights are fitted to, one by one and as tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from eg_agent.identify.fusion import N_GROUPS
from eg_agent.identify.joint import UNDECIDED
from eg_agent.verify.traits import TRAITS

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Row:
    """A measurement. said [99]: network less prior, nats; prior [99]; numbers [g] groups with traits [g, t];
    context [z]; cell: of the fit, angstrom and degrees; lattice [99]: what its shape adds to the prior, nats;
    product [99]: nats of the plain product of network and evidence; chance: how likely the structure is one
    that was made."""

    kind: str
    formula: str
    truth: int
    said: Floats
    prior: Floats
    numbers: npt.NDArray[np.int64]
    traits: Floats
    context: Floats
    lattice: Floats
    product: Floats
    chance: float = 1.0


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows as tensors, candidates padded: traits [n, c, t], there [n, c], place [n, c] (99 where none is),
    context [n, z], undecided [n], said, prior and lattice [n, 99], truth [n], weight [n]."""

    traits: Tensor
    place: Tensor
    context: Tensor
    undecided: Tensor
    said: Tensor
    prior: Tensor
    lattice: Tensor
    truth: Tensor
    weight: Tensor

    def __getitem__(self, rows: Tensor) -> Batch:
        return Batch(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def batch_of(rows: Sequence[Row]) -> Batch:
    """A formula counts as the root of its number of measurements: they tell much the same.

    Whether its structure was made does not matter here: how traits are weighed is learned from others as
    well, and fits with the chances as weights, of fewer measurements in effect, were worse out of fold
    (docs/decisions/0027).
    """
    most = max(row.numbers.size for row in rows)
    traits = np.zeros((len(rows), most, len(TRAITS)))
    place = np.full((len(rows), most), N_GROUPS)
    for i, row in enumerate(rows):
        traits[i, : row.numbers.size] = row.traits
        place[i, : row.numbers.size] = row.numbers - 1
    network = np.array([row.said + row.prior for row in rows])
    undecided = -np.sum(np.exp(network) * network, axis=1) - 1.0
    times = Counter((row.formula, row.kind == "misfit") for row in rows)
    weight = [times[row.formula, row.kind == "misfit"] ** -0.5 for row in rows]

    def floats(values: npt.ArrayLike) -> Tensor:
        return torch.tensor(np.asarray(values), dtype=torch.float32)

    return Batch(
        traits=floats(traits),
        place=torch.tensor(place),
        context=floats([row.context for row in rows]),
        undecided=floats(np.clip(undecided, *UNDECIDED)),
        said=floats([row.said for row in rows]),
        prior=floats([row.prior for row in rows]),
        lattice=floats([row.lattice for row in rows]),
        truth=torch.tensor([row.truth - 1 for row in rows]),
        weight=floats(weight),
    )
