"""Groups of known structures whose lattices are much like one, counted.

Pyroxenes have pyroxenes' cells to a per cent, and garnets garnets': a network over a lattice's shape
(`lattice_prior`) smooths over that. Here lattices of structures are counted in small bins of their numbers
(`lattice_shape`), and every bin near a lattice counts by how near it is. In the sense of Dirichlet's
distribution the network's word counts as so many structures (`belief`) beside those: where nothing alike is
known, it alone is left. No structure is kept, only how many of a group fell into a bin. docs/decisions/0022.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Distance of one in the log of the volume, the logs of two ratios of axes, the cosine between the oblique
#: axes, and the log of the formula units; bins are half as wide.
SCALE = np.array([0.07, 0.012, 0.012, 0.012, 0.05])
BIN = SCALE / 2.0
#: Bin of formula units that are not known.
UNTOLD = -(1 << 15)
#: How fast what is farther counts less: Student's kernel, (1 + d^2 / 3)^-3.
TAIL = 3.0
N_GROUPS = 99


@dataclass(frozen=True, eq=False)
class KnownLattices:
    """family [m], bins [m, 5] (UNTOLD in the last where the formula is not in whole amounts), group [m] 1-99,
    weight [m] structures. belief: [5, 2] structures that the network counts as, by family, without and with
    formula units."""

    family: Ints
    bins: Ints
    group: Ints
    weight: Floats
    belief: Floats

    def counts(self, family: int, numbers: Floats, units: float) -> Floats:
        """[99] known structures like a lattice of numbers [4] (`LatticeShape`) with units, the log of its
        formula units, nan where they are not known."""
        of_family = self.family == family
        bins = self.bins[of_family]
        told = np.isfinite(units)
        where = np.append(numbers, units if told else 0.0)
        apart = (where - (bins + 0.5) * BIN) / SCALE
        # what is not known of either says nothing
        apart[:, 4] = np.where(told & (bins[:, 4] != UNTOLD), apart[:, 4], 0.0)
        near = (1.0 + (apart**2).sum(axis=1) / TAIL) ** -TAIL * self.weight[of_family]
        return np.bincount(self.group[of_family] - 1, near, N_GROUPS).astype(np.float64)

    def beside(self, log_p: Floats, family: int, numbers: Floats, units: float) -> Floats:
        """[99] log-probabilities of groups: those of the network [99] and the counted structures together."""
        counts = self.counts(family, numbers, units)
        belief = self.belief[family, int(np.isfinite(units))]
        return np.log(np.maximum(belief * np.exp(log_p) + counts, 1e-300)) - np.log(belief + counts.sum())


def counted(
    family: Ints, numbers: Floats, units: Floats, group: Ints, weight: Floats, belief: Floats
) -> KnownLattices:
    """Lattices of families [n], numbers [n, 4], logs of formula units [n] (nan: not known), groups [n] and
    weights [n], counted in bins."""
    bins = np.empty((len(family), len(BIN)), dtype=np.int64)
    bins[:, :4] = np.floor(numbers / BIN[:4])
    bins[:, 4] = np.where(np.isfinite(units), np.floor(np.nan_to_num(units) / BIN[4]), UNTOLD)
    keys = np.column_stack([family, group, bins])
    found, where = np.unique(keys, axis=0, return_inverse=True)
    total = np.bincount(where.ravel(), weight, len(found)).astype(np.float64)
    return KnownLattices(found[:, 0], found[:, 2:], found[:, 1], total, belief)


def tensors_of(known: KnownLattices) -> dict[str, npt.NDArray[Any]]:
    """Named arrays, as `known_of` reads them."""
    return {
        "known.family": known.family.astype(np.uint8),
        "known.bins": known.bins.astype(np.int16),
        "known.group": known.group.astype(np.uint8),
        "known.weight": known.weight.astype(np.float16),
        "known.belief": known.belief.astype(np.float32),
    }


def known_of(tensors: Mapping[str, Any]) -> KnownLattices:
    """What `tensors_of` wrote."""
    family, bins, group = (
        np.asarray(tensors[f"known.{name}"], dtype=np.int64) for name in ("family", "bins", "group")
    )
    weight, belief = (np.asarray(tensors[f"known.{name}"], dtype=np.float64) for name in ("weight", "belief"))
    return KnownLattices(family, bins, group, weight, belief)
