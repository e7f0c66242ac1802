"""The CPU's way through the sampler: the compiled kernels with the tables that they need.

`CompiledFactors` stands in for `structure_factors.StructureFactors` and the listing of atoms before it.
Both ways give the same crystals and peaks (tests/simulators/wyckoff/test_compiled.py); this one takes
crystals one by one, so that a batch of unequal ones is not padded.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from eg_agent.patterns.radiation import CU_KALPHA1
from simulators.corpus import D_MIN
from simulators.counter_random import CounterRandom
from simulators.crystal import TRANSLATION_DENOMINATOR
from simulators.wyckoff import factor_kernels, placing_kernels
from simulators.wyckoff.config import MOST_SITES, WyckoffConfig
from simulators.wyckoff.elements import ElementTensors
from simulators.wyckoff.placing import COMFORT, PLACES, SYSTEM_SKEW, Placed, Placing
from simulators.wyckoff.recipe import Recipe
from simulators.wyckoff.structure_factors import ABSENT, FORM_NODES, form_table
from simulators.wyckoff.tables import BOXES, MOST_INDEX, multiplicities, tables


@cache
def position_tables() -> tuple[npt.NDArray[Any], ...]:
    """How a kernel expands a site: shape [W, 3, 3] and origin [W, 3] of the Wyckoff positions; rotation
    [O, 3, 3] and translation [O, 3] of the operations of all groups; images [W, 48], rows of these
    that give the atoms to sum over, image_count [W], image_weight [W, 48].

    Where a group has a centre at the origin, one atom of each pair has weight 2 and stands for both.
    """
    t = tables()
    shape, origin = t.shape.astype(np.float64), t.origin / TRANSLATION_DENOMINATOR
    rotation = t.rotation.reshape(-1, 3, 3).astype(np.float64)
    translation = t.translation.reshape(-1, 3) / TRANSLATION_DENOMINATOR
    most = t.orbit.shape[1]
    images = np.zeros(t.orbit.shape, np.int64)
    count = np.zeros(len(t.orbit), np.int64)
    weight = np.ones(t.orbit.shape, np.float32)
    centric = centred()
    for w, group in enumerate(np.repeat(np.arange(230), np.diff(t.first))):
        rows = group * most + t.orbit[w, : t.orbit_size[w]].astype(np.int64)
        if centric[group]:
            site = shape[w] @ (0.1234, 0.2713, 0.3917) + origin[w]
            atoms = rotation[rows] @ site + translation[rows]
            kept, weights = _pairs(atoms, t.centring[group, : t.centring_count[group]])
            rows = rows[kept]
            weight[w, : len(rows)] = weights
        images[w, : len(rows)], count[w] = rows, len(rows)
    return shape, origin, rotation, translation, images, count, weight


@cache
def centred() -> npt.NDArray[np.bool_]:
    """[230] whether the group has a centre of symmetry at the origin of its setting."""
    t = tables()
    inverse = (t.rotation == -np.eye(3, dtype=np.int8)).all((2, 3)) & (t.translation == 0).all(2)
    return inverse.any(1)


def _pairs(
    atoms: npt.NDArray[np.float64], centring: npt.NDArray[np.int8]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """The first atom of each centrosymmetric pair, and 2, or 1 for an atom on a centre."""
    total = atoms[:, None, None] + atoms[:, None] + centring / TRANSLATION_DENOMINATOR
    same = np.all(np.abs(total - np.rint(total)) < 1e-6, axis=3)
    partner = np.argmax(np.any(same, axis=2), axis=1)
    kept = np.flatnonzero(partner >= np.arange(len(atoms)))
    return kept, np.where(partner[kept] > kept, 2, 1).astype(np.float32)


class CompiledPlacing(Placing):
    """Places recipes on a CPU; cells and second attempts are those of `Placing`."""

    def __init__(self, config: WyckoffConfig, elements: ElementTensors) -> None:
        super().__init__(config, elements, torch.device("cpu"))
        t = tables()
        shape, origin, rotation, translation, *_ = position_tables()
        group = np.repeat(np.arange(230), np.diff(t.first))
        orbit = group[:, None] * t.orbit.shape[1] + np.maximum(t.orbit, 0).astype(np.int64)
        self._size = t.orbit_size.astype(np.int64)
        self._positions = (shape, origin, rotation, translation, orbit, self._size)
        system = np.searchsorted((2, 15, 74, 142, 194, 230), np.arange(1, 231))
        self._lattices = (
            (t.centring / TRANSLATION_DENOMINATOR).astype(np.float32),
            t.centring_count.astype(np.int64),
            np.array(SYSTEM_SKEW)[system],
        )
        self._one_over_near = (1.0 / elements.squared_distance).numpy()
        self._limits = (config.candidates, np.float32(COMFORT))

    def _sites(
        self, random: CounterRandom, recipe: Recipe, metric: Tensor, *, merged: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        count = len(recipe.sites)
        free = torch.zeros(count, MOST_SITES, 3)
        kept = torch.zeros(count, MOST_SITES, dtype=torch.bool)
        room = torch.zeros(count)
        counts = torch.arange(MOST_SITES) < recipe.sites[:, None]
        width = (torch.as_tensor(self._size)[recipe.position] * counts).sum(1).amax()
        parts = (
            recipe.space_group, recipe.sites, recipe.anchors, recipe.organic.long(), recipe.position,
            recipe.slot, recipe.element,
        )  # fmt: skip
        placing_kernels.place(
            random.key(PLACES).numpy(), tuple(part.numpy() for part in parts), metric.numpy(),
            self._one_over_near, self._lattices, self._positions, self._limits, int(width),
            free.numpy(), kept.numpy(), room.numpy(),
        )  # fmt: skip
        return free, kept, room


class CompiledFactors:
    """Peaks of placed recipes, on a CPU."""

    def __init__(self, elements: ElementTensors, d_min: float = D_MIN) -> None:
        found = multiplicities()
        self.limit = 1.0 / d_min**2
        negative = np.array(BOXES)
        # The last node is read beside the first one that is not there.
        form = np.append(form_table(elements, self.limit).numpy(), np.float32(0))
        self._lattice = (
            found.box, found.row, centred(), negative, np.where(negative, MOST_INDEX, 0), found.table,
        )  # fmt: skip
        self._scattering = (
            form, elements.imaginary.numpy(), np.float32(FORM_NODES / self.limit), FORM_NODES + 1,
            self.limit, np.float32(CU_KALPHA1**2 / 4), ABSENT,
        )  # fmt: skip

    def peaks(self, recipe: Recipe, placed: Placed, metric: Tensor, most: int) -> tuple[Tensor, Tensor]:
        """hkl [B, most, 3] and |F|^2 m [B, most] of the strongest peaks, 0 where there are no more."""
        count = len(recipe.space_group)
        hkl = torch.zeros(count, most, 3)
        strength = torch.zeros(count, most)
        extent = (placed.cell[:, :3] * self.limit**0.5).floor().long().clamp(max=MOST_INDEX)
        structure = (
            recipe.space_group, recipe.position, placed.kept, recipe.slot, placed.free, recipe.element,
            recipe.b_iso,
        )  # fmt: skip
        positions = position_tables()
        size = (torch.as_tensor(positions[5])[recipe.position] * placed.kept).sum(1)
        room = int((2 * extent + 1).prod(1).amax()) if count else 0, int(size.amax()) if count else 0
        factor_kernels.peaks(
            tuple(part.numpy() for part in structure), (metric.numpy(), extent.numpy()), positions,
            self._lattice, self._scattering, room, hkl.numpy(), strength.numpy(),
        )  # fmt: skip
        return hkl, strength
