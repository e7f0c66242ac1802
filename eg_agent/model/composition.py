"""Composition beside the pattern: what it says of the 99 groups, and whether it fits the pattern.

The encoder is CrabNet's (Wang et al. 2021, doi:10.1038/s41524-021-00545-1): one token an element, its
embedding with an encoding of its share of the atoms, linear and logarithmic, then a transformer over the
elements. Ours differs in that each element carries its place in the periodic table and its size beside a
learned embedding (for elements that training rarely saw), and in that the share may be unknown.

Two readouts:

- `group`: what the composition adds to the class prior, never seeing a pattern. Pattern and composition are
  independent witnesses of a group, near enough, so that it is added to what a network says of the pattern,
  with fitted weights. (A readout of both together was trained, too: the pattern's network knows its training
  structures by heart, and what was learned beside that was worth less on measured patterns than this sum;
  docs/log.md.)
- `match`: log-odds that pattern and composition belong together, from the network's features. Whoever adds a
  wrong composition would believe it; this notices.

Axes, as suffixes of names:
    B patterns    E elements    D width    G 99 groups    R features of the pattern's network
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import ClassVar, NamedTuple

import gemmi
import numpy as np
import torch
import torch.nn.functional as F
from pydantic import ConfigDict
from torch import Tensor, nn

from eg_agent.chemistry import MAX_ELEMENTS, Composition
from eg_agent.model.known_compositions import Trust
from eg_agent.model.prior import FloatArray, normalised
from eg_agent.values import VALUE_CONFIG

N_GROUPS = 99
#: Atomic numbers, 0 for no element.
N_ELEMENTS = 119
#: Last atomic number of each period, and the columns that its blocks fill.
_PERIOD_ENDS = (2, 10, 18, 36, 54, 86, 118)


@dataclass(frozen=True)
class CompositionConfig:
    """Shapes of a `CompositionHead`.

    features: R, what the pattern's network gives. width, depth, heads: of the transformer over elements.
    hidden: units behind `match`. dropout: while training.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    features: int = 512
    width: int = 96
    depth: int = 2
    heads: int = 4
    hidden: int = 256
    dropout: float = 0.1


class Chemistry(NamedTuple):
    """A batch of compositions. element_BE: atomic numbers, 0 behind the last one. share_BE: of the atoms.

    exact_B: are the shares known? Where not, they have no influence.
    """

    element_BE: Tensor
    share_BE: Tensor
    exact_B: Tensor

    def to(self, device: torch.device | str) -> Chemistry:
        """The same on another device."""
        return Chemistry(*(part.to(device) for part in self))


def chemistry(compositions: Sequence[Composition]) -> Chemistry:
    """Compositions as tensors."""
    element = np.zeros((len(compositions), MAX_ELEMENTS), dtype=np.int64)
    share = np.zeros((len(compositions), MAX_ELEMENTS), dtype=np.float32)
    for row, composition in enumerate(compositions):
        count = len(composition.amounts)
        element[row, :count] = composition.atomic_numbers
        share[row, :count] = composition.fractions
    exact = np.array([c.exact for c in compositions], dtype=bool)
    return Chemistry(torch.from_numpy(element), torch.from_numpy(share), torch.from_numpy(exact))


@cache
def element_properties() -> tuple[tuple[float, ...], ...]:
    """(period, place in it, valence side, covalent radius, van der Waals radius, mass) of each atomic
    number from 0 to 118, scaled to about 0-1; radii and masses are gemmi's."""
    rows = [(0.0,) * 6]
    for number in range(1, N_ELEMENTS):
        element = gemmi.Element(number)
        period = next(p for p, end in enumerate(_PERIOD_ENDS) if number <= end)
        begin = _PERIOD_ENDS[period - 1] if period else 0
        place = (number - begin) / (_PERIOD_ENDS[period] - begin)
        from_end = min(_PERIOD_ENDS[period] - number, 8) / 8
        rows.append(
            (
                period / 6,
                place,
                from_end,
                element.covalent_r / 2.6,
                element.vdw_r / 3.0,
                element.weight / 250.0,
            )
        )
    return tuple(rows)


@dataclass(frozen=True, slots=True)
class CompositionWeights:
    """How a network's posterior and what a composition adds become one.

    log p = network (posterior - prior) + composition * said + prior * prior, normalised. What a composition
    says was learned on other samples than those that are measured, so that its weight is fitted, too.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    network: float = 1.0
    composition: float = 1.0
    prior: float = 1.0

    def joined(self, log_probability: FloatArray, log_prior: FloatArray, added: FloatArray) -> FloatArray:
        """[n, 99] nats, normalised. log_probability: [n, 99] of the network, with log_prior inside.

        added: [n, 99] nats, of the composition.
        """
        said = log_probability - log_prior
        return normalised(self.network * said + self.composition * added + self.prior * log_prior)


@dataclass(frozen=True)
class CompositionCard:
    """What a checkpoint's card says of its composition head.

    config: its shapes. weights_sha256: of NAME.composition.safetensors, beside the card.
    trust: in the entries of known compositions that the same file holds; None where it holds none.
    known_entries: how many these are.
    exact, elements: weights where amounts, or only elements, are told.
    contradiction: log-odds of `match` under which pattern and composition are said to contradict each other,
        for (amounts, elements): two in a hundred right ones of held-out structures lie below.
    noticed: share of another structure's compositions that lie below, for (amounts, elements).
    trained_on, held_out: what, and figures on patterns of structures that were not trained on.
    calibrated_on: which patterns `exact` and `elements` were fitted on.
    """

    __pydantic_config__: ClassVar[ConfigDict] = VALUE_CONFIG

    config: CompositionConfig
    weights_sha256: str = ""
    trust: Trust | None = None
    known_entries: int = 0
    exact: CompositionWeights = CompositionWeights()
    elements: CompositionWeights = CompositionWeights()
    contradiction: tuple[float, float] = (-99.0, -99.0)
    noticed: tuple[float, float] = (0.0, 0.0)
    trained_on: str = ""
    held_out: dict[str, float] = field(default_factory=dict)
    calibrated_on: str = "nothing: defaults"


class ElementBlock(nn.Module):
    """A pre-norm transformer block over the elements of one composition."""

    def __init__(self, config: CompositionConfig) -> None:
        super().__init__()
        width = config.width
        self.heads, self.dropout = config.heads, config.dropout
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x_BED: Tensor, mask_B11E: Tensor) -> Tensor:
        """Each element looks at all that are there."""
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.qkv(self.norm1(x_BED)).chunk(3, dim=-1)
        )
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=mask_B11E)
        drop = self.dropout if self.training else 0.0
        x_BED = x_BED + F.dropout(self.out(seen.transpose(1, 2).flatten(2)), drop)
        return x_BED + F.dropout(self.down(F.gelu(self.up(self.norm2(x_BED)))), drop)


class CompositionEncoder(nn.Module):
    """Elements and shares -> tokens [B, E, D] and their mean by share [B, D]; see the module docstring."""

    def __init__(self, config: CompositionConfig) -> None:
        super().__init__()
        width = config.width
        self.element = nn.Embedding(N_ELEMENTS, width, padding_idx=0)
        self.place = nn.Linear(6, width)
        self.unknown_D = nn.Parameter(torch.zeros(width))
        self.share = nn.Linear(width, width)
        self.blocks = nn.ModuleList(ElementBlock(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width)
        self.width, self.dropout = width, config.dropout
        properties = torch.tensor(element_properties())
        self.register_buffer("properties_Z6", properties, persistent=False)
        nn.init.normal_(self.element.weight, std=0.3)
        with torch.no_grad():
            self.element.weight[0] = 0.0

    def _share_encoding(self, share_BE: Tensor) -> Tensor:
        """CrabNet's fractional encoding: sines of the share, half of them of its logarithm. [B, E, D]"""
        quarter = self.width // 4
        rate = torch.exp(torch.arange(quarter, device=share_BE.device) * (-math.log(50.0) / quarter))
        linear = share_BE[..., None] * 50.0 * rate
        # 1e-4 is the least share that is told apart; of it the logarithm's scale is 0, of 1 it is 1.
        logarithm = 1.0 + share_BE.clamp(min=1e-4).log10() / 4.0
        logarithmic = logarithm[..., None] * 50.0 * rate
        parts = (linear.sin(), linear.cos(), logarithmic.sin(), logarithmic.cos())
        return F.pad(torch.cat(parts, dim=-1), (0, self.width - 4 * quarter))

    def forward(self, given: Chemistry) -> tuple[Tensor, Tensor]:
        """Tokens [B, E, D], zero where there is no element, and the readout [B, D]."""
        # Room for twenty elements is mostly empty: only as many are looked at as the richest one has.
        most = int((given.element_BE > 0).sum(1).max())
        given = Chemistry(given.element_BE[:, :most], given.share_BE[:, :most], given.exact_B)
        there_BE = given.element_BE > 0
        share_BED = self.share(self._share_encoding(given.share_BE))
        share_BED = torch.where(given.exact_B[:, None, None], share_BED, self.unknown_D)
        x_BED = (
            self.element(given.element_BE)
            + self.place(self.get_buffer("properties_Z6")[given.element_BE])
            + share_BED
        )
        mask_B11E = there_BE[:, None, None, :]
        for block in self.blocks:
            x_BED = block(x_BED, mask_B11E)
        x_BED = self.norm(x_BED) * there_BE[..., None]
        even_BE = there_BE / there_BE.sum(1, keepdim=True).clamp(min=1)
        weight_BE = torch.where(given.exact_B[:, None], 0.5 * (given.share_BE + even_BE), even_BE)
        return x_BED, (x_BED * weight_BE[..., None]).sum(1)


class CompositionLogits(NamedTuple):
    """group_BG: added to the log prior, nats. match_B: log-odds that pattern and composition fit."""

    group_BG: Tensor
    match_B: Tensor


class CompositionHead(nn.Module):
    """Composition and a pattern's features -> `CompositionLogits`."""

    def __init__(self, config: CompositionConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = CompositionEncoder(config)
        self.group = nn.Linear(config.width, N_GROUPS)
        self.features = nn.Linear(config.features, config.hidden)
        self.composition = nn.Linear(config.width, config.hidden)
        self.hidden = nn.Linear(config.hidden, config.hidden)
        self.norm = nn.LayerNorm(config.hidden)
        self.match = nn.Linear(config.hidden, 1)
        for layer in (self.group, self.match):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def groups(self, given: Chemistry) -> Tensor:
        """What compositions add to the log prior [B, 99], without any pattern."""
        return self.group(self.encoder(given)[1])

    def forward(self, feature_BR: Tensor, given: Chemistry) -> CompositionLogits:
        """feature_BR: what the auxiliary head of the pattern's network reads."""
        _, readout_BD = self.encoder(given)
        return CompositionLogits(self.group(readout_BD), self.matched(feature_BR, readout_BD))

    def matched(self, feature_BR: Tensor, readout_BD: Tensor) -> Tensor:
        """Log-odds [B] that pattern and composition, as the encoder reads it, fit."""
        drop = self.config.dropout if self.training else 0.0
        # A product of both, so that neither can be read without the other.
        mixed_BH = F.gelu(self.features(feature_BR)) * (1.0 + self.composition(readout_BD))
        mixed_BH = mixed_BH + self.hidden(F.dropout(F.gelu(self.norm(mixed_BH)), drop))
        return self.match(F.gelu(mixed_BH))[:, 0]

    @property
    def parameters_count(self) -> int:
        """Number of trained parameters."""
        return sum(p.numel() for p in self.parameters())
