"""What a lattice alone says of the group: learned from the lattices of known structures.

Half the volume of another cubic cell, an axis 1.633 times the other, a long one on three short ones: which
groups have such cells is known before a line is measured, and neither the network (it reads a pattern) nor
the absences say it. Where the composition is known, the volume says how many formula units the cell holds
(`formula_units`), which tells groups apart that are alike in everything else. A small network over both and
the shape of the lattice (`lattice_shape`), trained on structures (`trainer.lattices`), no pattern; and beside
it the known structures whose lattices are much like this one (`known_lattices`).
docs/decisions/0021, 0022.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax

from eg_agent.chemistry import Composition
from eg_agent.identify.formula_units import log_units
from eg_agent.identify.known_lattices import KnownLattices, known_of
from eg_agent.verify.lattice_shape import features, lattice_shape
from eg_agent.verify.layers import Layer, layers_of, through
from eg_agent.verify.metric import Cell

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

WEIGHTS = Path(__file__).with_name("lattice_prior.safetensors")
LAYERS, N_GROUPS = 3, 99
#: Log-frequency of a group that no known structure of a crystal family has.
NEVER = -1e9
#: Nats that a lattice may speak for or against a group, at most.
MOST = 5.0


@dataclass(frozen=True, eq=False)
class LatticePrior:
    """frequency: [5, 99] log of the groups' shares in each crystal family, NEVER where there is none.
    atomic_volumes: [3, 119] by kind of compound and atomic number, angstrom^3 (`formula_units`). known: the
    lattices of known structures."""

    layers: list[Layer]
    frequency: Floats
    atomic_volumes: Floats
    known: KnownLattices

    def __call__(self, cell: Cell, composition: Composition | None = None) -> Floats:
        """[99] nats: ln p(group | lattice, formula units) - ln p(group | crystal family), -5 to 5.

        cell: angstrom and degrees, conventional. composition: only whole amounts count. 0 for groups that the
        family is not known to have, and for a triclinic cell.
        """
        shape = lattice_shape(cell)
        if shape is None:
            return np.zeros(N_GROUPS)
        units = log_units(math.exp(shape.log_volume), composition, self.atomic_volumes)
        family = np.array([shape.family])
        by_shape = self.by_shape(family, shape.numbers[None], np.array([units]))[0]
        log_p = self.known.beside(by_shape, shape.family, shape.numbers, units)
        return self._added(family, log_p[None])[0]

    def of_shapes(self, family: Ints, numbers: Floats, units: Floats) -> Floats:
        """[n, 99] nats that the network alone adds, of lattices with families [n], numbers [n, 4]
        (`LatticeShape`) and logs of formula units [n], nan where they are not known."""
        return self._added(family, self.by_shape(family, numbers, units))

    def by_shape(self, family: Ints, numbers: Floats, units: Floats) -> Floats:
        """[n, 99] log-probabilities of groups by the network alone."""
        said = through(self.layers, features(family, numbers, units))
        return log_softmax(said + self.frequency[family], axis=1)

    def _added(self, family: Ints, log_p: Floats) -> Floats:
        base = self.frequency[family]
        ratio = log_p - log_softmax(base, axis=1)
        return np.where(base > 0.5 * NEVER, np.clip(ratio, -MOST, MOST), 0.0)


def prior_of(tensors: Mapping[str, Any]) -> LatticePrior:
    """The prior of named arrays: "frequency", "atomic_volumes", "shape.0.weight", "shape.0.bias", ..., and
    those of `known_lattices`."""
    frequency, volumes = (np.asarray(tensors[n], dtype=np.float64) for n in ("frequency", "atomic_volumes"))
    return LatticePrior(layers_of(tensors, "shape", LAYERS), frequency, volumes, known_of(tensors))


@cache
def shipped() -> LatticePrior:
    """The prior in the package."""
    from safetensors.numpy import load_file

    return prior_of(load_file(WEIGHTS))
