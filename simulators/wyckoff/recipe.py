"""First step of the sampler: which positions of which group are occupied by what, and how large the cell is.

Axes: B crystal, S site, E element of a crystal (5 slots).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from eg_agent.errors import BadInput
from eg_agent.symmetry import groups
from simulators.counter_random import CounterRandom
from simulators.wyckoff.config import MOST_SITES, SPECIAL_SITES, WyckoffConfig
from simulators.wyckoff.elements import METAL_SHARE, ORGANIC_SITES, ORGANIC_VOLUME, ElementTensors
from simulators.wyckoff.tables import tables

#: Element slots of a crystal.
SLOTS = 5
#: Crystals with this many primitive operations or more may show their symmetry in a special position.
SPECIAL_FROM = 12


@dataclass(frozen=True)
class Recipe:
    """What a crystal consists of.

    space_group [B]: number minus 1. position [B, S]: row of the Wyckoff tables. sites [B]: how many of
    the S columns count; the first of them show the whole symmetry of the group (`anchors` [B]).
    slot [B, S]: which of the crystal's elements. element [B, E]: row of SYMBOLS. b_iso [B, E]:
    angstrom^2. organic [B]. volume [B]: of the primitive cell, angstrom^3,
    float64.
    """

    space_group: Tensor
    position: Tensor
    sites: Tensor
    anchors: Tensor
    slot: Tensor
    element: Tensor
    b_iso: Tensor
    organic: Tensor
    volume: Tensor


class Recipes:
    """Draws recipes; holds the tables that this needs on a device."""

    def __init__(self, config: WyckoffConfig, elements: ElementTensors, device: torch.device) -> None:
        self._config, self._elements = config, elements
        t = tables()

        def integers(array: np.ndarray) -> Tensor:
            return torch.as_tensor(array.astype(np.int64), device=device)

        self.group_probability, share = _probabilities(config)
        self._cumulative = torch.as_tensor(np.cumsum(share), device=device)
        self._last = int(np.flatnonzero(share)[-1])
        self._first, self._orbit_size = integers(t.first), integers(t.orbit_size)
        self._freedom, self._needed = integers(t.freedom), integers(t.needed)
        self._operations = integers(t.operation_count)
        showing = [
            [w for w in range(int(t.first[g]) + 1, int(t.first[g + 1])) if t.needed[w] > 0]
            for g in range(230)
        ]
        width = max(map(len, showing))
        self._showing_count = integers(np.array([len(s) for s in showing]))
        self._showing = integers(np.array([s + [0] * (width - len(s)) for s in showing]))
        self._element_cumulative = torch.tensor(
            np.cumsum(config.elements) / np.sum(config.elements), dtype=torch.float32, device=device
        )

    def draw(self, random: CounterRandom) -> Recipe:
        """Recipes of all patterns of a family of random numbers; uses its purposes 0 to 6."""
        config = self._config
        space_group = torch.searchsorted(self._cumulative, random.uniform64(0)).clamp_(max=self._last)
        u = random.uniform(1, 12)
        organic = u[:, 0] < config.organic
        alloy = ~organic & (u[:, 0] < config.organic + config.alloys)
        operations = self._operations[space_group]
        anchor, general = self._anchor(space_group, operations, organic, u)
        needed, size = self._needed[anchor], self._orbit_size[anchor]
        aim = torch.exp(math.log(config.atoms_median) + config.atoms_sigma * normal(random, 2))
        special, specials, atoms = self._special(random, space_group, anchor, aim - needed * size, aim, u)
        more = ((aim - needed * size - atoms) / size + 0.5).floor().long()
        low, high = config.organic_sites
        count = torch.where(organic, (low + u[:, 4] * (high - low + 1)).long(), needed + more * general)
        most = torch.minimum(config.most_atoms // size, torch.full_like(size, MOST_SITES - SPECIAL_SITES))
        anchors = torch.maximum(torch.minimum(count, most), needed)
        column = torch.arange(MOST_SITES, device=u.device)
        from_special = special.gather(1, (column - anchors[:, None]).clamp(0, SPECIAL_SITES - 1))
        position = torch.where(column < anchors[:, None], anchor[:, None], from_special)
        sites = anchors + specials
        element, slot = self._chemistry(random, sites, organic, alloy, u)
        low_b = torch.where(organic, config.organic_b_iso[0], config.b_iso[0])
        high_b = torch.where(organic, config.organic_b_iso[1], config.b_iso[1])
        b_iso = low_b[:, None] + (high_b - low_b)[:, None] * random.uniform(6, SLOTS)
        room = self._elements.volume[element].gather(1, slot)
        room = torch.where(organic[:, None], ORGANIC_VOLUME, room) * self._orbit_size[position]
        volume = (room * (column < sites[:, None])).double().cumsum(1)[:, -1]
        volume = volume * torch.exp(config.volume_sigma * normal(random, 7).clamp(-2.5, 2.5))
        return Recipe(space_group, position, sites, anchors, slot, element, b_iso, organic, volume)

    def _anchor(
        self, space_group: Tensor, operations: Tensor, organic: Tensor, u: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Wyckoff position that shows the symmetry, and whether it is the general one."""
        count = self._showing_count[space_group]
        special = (operations >= SPECIAL_FROM) & (u[:, 1] < self._config.special_anchor) & (count > 0)
        special &= ~organic
        which = torch.minimum((u[:, 2] * count).long(), (count - 1).clamp(min=0))
        chosen = self._showing[space_group, which]
        return torch.where(special, chosen, self._first[space_group]), ~special

    def _special(
        self, random: CounterRandom, space_group: Tensor, anchor: Tensor, left: Tensor, aim: Tensor, u: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Further special positions [B, 8], how many of them count, and the atoms on them.

        A position without freedom is taken once. More of them where there are more operations.
        """
        first = self._first[space_group]
        available = self._first[space_group + 1] - first - 1
        draws = random.uniform(3, SPECIAL_SITES)
        letter = torch.minimum((draws * available[:, None]).long(), (available - 1).clamp(min=0)[:, None])
        letter = torch.where(available[:, None] > 0, letter + first[:, None] + 1, first[:, None])
        choice = 2 + torch.log2(self._operations[space_group].to(torch.float32))
        wanted = (u[:, 3] * choice.clamp(max=SPECIAL_SITES)).long()
        column = torch.arange(SPECIAL_SITES, device=u.device)
        fixed = self._freedom[letter] == 0
        same = letter[:, :, None] == letter[:, None, :]
        earlier = (same & (column[None, :] < column[:, None])).any(2) | (letter == anchor[:, None])
        keep = (column < wanted[:, None]) & (available[:, None] > 0) & ~(fixed & earlier)
        size = self._orbit_size[letter] * keep
        keep &= size.cumsum(1) <= torch.maximum(left, 0.6 * aim)[:, None]
        order = torch.argsort((~keep).to(torch.int8), dim=1, stable=True)
        atoms = (self._orbit_size[letter] * keep).sum(1)
        return letter.gather(1, order), keep.sum(1), atoms

    def _chemistry(
        self, random: CounterRandom, sites: Tensor, organic: Tensor, alloy: Tensor, u: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Elements [B, 5] (the anion first) and slots [B, S]: each element once, then by shares."""
        e = self._elements
        draw = random.uniform(4, SLOTS)
        last = len(e.volume) - 1
        metal = torch.searchsorted(e.metal, draw).clamp_(max=last)
        count = torch.minimum(
            torch.searchsorted(self._element_cumulative, u[:, 5].contiguous()).clamp(max=4) + 1, sites
        )
        anion = torch.searchsorted(e.anion, draw[:, :1].contiguous()).clamp_(max=last)
        no_anion = alloy | (count == 1)
        inorganic = torch.cat([torch.where(no_anion[:, None], metal[:, :1], anion), metal[:, 1:]], 1)
        carbon = torch.cat(
            [
                e.organic.expand(len(sites), -1),
                e.organic_other[(draw[:, 3:4] * len(e.organic_other)).long()],
                e.organic_metal[(draw[:, 4:5] * len(e.organic_metal)).long()],
            ],
            1,
        )
        element = torch.where(organic[:, None], carbon, inorganic)
        v = random.uniform(5, MOST_SITES)
        share = torch.where(no_anion, 1.0 / count, 0.4 + 0.35 * u[:, 6])[:, None]
        others = (count - 1)[:, None]
        rest = 1 + ((v - share).clamp(min=0) / (1 - share).clamp(min=1e-6) * others).long()
        slot = torch.where(v < share, 0, torch.minimum(rest, others))
        column = torch.arange(MOST_SITES, device=v.device)
        once = (column + (u[:, 7:8] * count[:, None]).long()) % count[:, None]
        slot = torch.where(column < count[:, None], once, slot)
        edges = torch.tensor(ORGANIC_SITES[:-1], device=v.device)
        light = torch.bucketize(v, edges)
        light = torch.where((light == SLOTS - 1) & (u[:, 8:9] >= METAL_SHARE), 0, light)
        slot = torch.where(organic[:, None], light, slot)
        # An element drawn twice is one element: its later slots stand for the first one.
        same = (element[:, :, None] == element[:, None, :]).long()
        first = (same * torch.arange(SLOTS, 0, -1, device=v.device)).argmax(2)
        return element, first.gather(1, slot)


def normal(random: CounterRandom, purpose: int, count: int | None = None) -> Tensor:
    """Standard normal float64. Functions in single precision differ in their last bit between long and
    short tensors, and what is decided from them would depend on the batch."""
    u = random.uniform(purpose, count).double()
    return torch.erfinv(u * 2 - 1) * math.sqrt(2.0)


def _probabilities(config: WyckoffConfig) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of the 99 extinction groups and of the 230 space groups."""
    weight = np.ones(len(groups())) if config.group_weight is None else np.array(config.group_weight, float)
    share = np.zeros(230)
    for number, group in enumerate(groups()):
        members = [n for n in group.space_groups if config.space_groups is None or n in config.space_groups]
        if not members:
            weight[number] = 0.0
        share[np.array(members, int) - 1] = weight[number] / max(len(members), 1)
    if not weight.sum() > 0:
        raise BadInput("no group is left: the chosen space groups lie in groups of weight 0.")
    return weight / weight.sum(), share / weight.sum()
