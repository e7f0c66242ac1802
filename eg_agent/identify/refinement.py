"""What the joint weighing leaves on the table: a bounded correction by a small network.

The weights of `joint` are linear in a candidate's traits. How they go together (few lines and a common
lattice; a faint line beside a strong prior) is learned by a few networks from the same measurements, each of
which sees one candidate at a time: its traits, what the pattern's network, the prior and the lattice say of
it, its probability so far, and the measurement. Their mean is added, at most `MOST` nats either way.
docs/decisions/0022.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eg_agent.verify.layers import Layer, layers_of, through
from eg_agent.verify.traits import CONTEXT, TRAITS

Floats = npt.NDArray[np.float64]

WEIGHTS = Path(__file__).with_name("joint.safetensors")
#: Layers of a network, and nats that a correction has at most.
LAYERS, MOST = 3, 3.0
#: What is fed in: traits, the pattern's network, prior, lattice, probability so far, context, and how
#: undecided the pattern's network is.
N_INPUTS = len(TRAITS) + 4 + len(CONTEXT) + 1
#: Factors that bring nats to about one, and the nats between which network and probability are believed.
BY_NETWORK, BY_PRIOR, BY_FIRST = 0.3, 0.3, 0.2
NETWORK, LEAST = (-8.0, 4.0), -12.0


@dataclass(frozen=True, eq=False)
class Refinement:
    """Networks [N_INPUTS -> 1], whose mean counts; none: nothing is corrected."""

    members: Sequence[Sequence[Layer]] = ()

    def __call__(self, inputs: Floats) -> Floats:
        """[c] nats for candidates with `inputs_of` [c, N_INPUTS]."""
        if not self.members:
            return np.zeros(len(inputs))
        mean = np.mean([through(layers, inputs)[:, 0] for layers in self.members], axis=0)
        return MOST * np.tanh(mean / MOST)


def inputs_of(
    traits: Floats,
    said: Floats,
    prior: Floats,
    lattice: Floats,
    first: Floats,
    context: Floats,
    undecided: float,
) -> Floats:
    """[c, N_INPUTS] of candidates: traits [c, t]; what network (less its prior), prior and lattice say of
    them and their log-probabilities so far, [c] nats; context [z], and how undecided the network is."""
    of_all = np.broadcast_to(np.append(context, undecided), (len(traits), len(context) + 1))
    own = [
        BY_NETWORK * np.clip(said, *NETWORK),
        BY_PRIOR * prior,
        lattice,
        BY_FIRST * np.maximum(first, LEAST),
    ]
    return np.concatenate([traits, np.stack(own, axis=1), of_all], axis=1)


def refinement_of(tensors: Mapping[str, Any]) -> Refinement:
    """The networks of named arrays: "member 0.0.weight", "member 0.0.bias", ..."""
    count = len({name.split(".")[0] for name in tensors})
    return Refinement([layers_of(tensors, f"member {i}", LAYERS) for i in range(count)])


@cache
def shipped() -> Refinement:
    """The networks in the package."""
    from safetensors.numpy import load_file

    return refinement_of(load_file(WEIGHTS))
