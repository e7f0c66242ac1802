"""The multi-task loss of the paper, CE(system) + CE(lattice) + BCE(25 operator bits) + CE(aux), with weights.

In the paper all weights are 1 and rare bits count up to 100 times. On our patterns that slows learning: at
32,000 patterns 1.12 bits over prior against 1.31 of CE(aux) alone and 1.33 of light, unbalanced side tasks
(held-out simulated structures, residual network; docs/log.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eg_agent.model.network import N_LATTICES, N_OPERATORS, N_SYSTEMS, Heads
from eg_agent.symmetry import published_codes

#: Cap on the positive weight neg/pos of a rare operator bit (paper).
POS_WEIGHT_CAP = 100.0


@dataclass(frozen=True)
class LossConfig:
    """Weights of the four terms; balanced_bits: rare operator bits count neg/pos times, capped (paper)."""

    system: float = 1.0
    lattice: float = 1.0
    bits: float = 1.0
    aux: float = 1.0
    balanced_bits: bool = True


def light() -> LossConfig:
    """The group first: side tasks at a quarter (bits, a mean over 25, at 1.25), rare bits not balanced."""
    return LossConfig(system=0.25, lattice=0.25, bits=1.25, aux=1.0, balanced_bits=False)


class LossParts(NamedTuple):
    """Terms of the loss, each a mean over the batch in nats; `total` is their weighted sum."""

    total: Tensor
    system: Tensor
    lattice: Tensor
    bits: Tensor
    aux: Tensor


class MultiTaskLoss(nn.Module):
    """Loss of a batch of `Heads` against groups.

    log_train_prior: [99] class prior of the patterns trained on; it fixes the positive weights.
    config: weights; default the paper's.
    """

    system_G: Tensor
    lattice_G: Tensor
    bits_GO: Tensor
    pos_weight_O: Tensor

    def __init__(self, log_train_prior: np.ndarray, config: LossConfig | None = None) -> None:
        super().__init__()
        self.config = config or LossConfig()
        codes_GN = np.array(published_codes(), dtype=np.float32)
        systems_GS, lattices_GA, bits_GO = np.split(codes_GN, [N_SYSTEMS, N_SYSTEMS + N_LATTICES], axis=1)
        positive_O = np.exp(log_train_prior) @ bits_GO
        weight_O = np.minimum((1.0 - positive_O) / np.maximum(positive_O, 1e-9), POS_WEIGHT_CAP)
        if not self.config.balanced_bits:
            weight_O = np.ones_like(weight_O)
        self.register_buffer("system_G", torch.from_numpy(systems_GS.argmax(1)))
        self.register_buffer("lattice_G", torch.from_numpy(lattices_GA.argmax(1)))
        self.register_buffer("bits_GO", torch.from_numpy(bits_GO))
        self.register_buffer("pos_weight_O", torch.from_numpy(weight_O).float())

    def forward(self, heads: Heads, group_B: Tensor, space_group_B: Tensor | None = None) -> LossParts:
        """group_B: [B] int64, number of the group - 1. space_group_B: [B] 1-230, 0 where unknown.

        Heads with logits of space groups are taught these, and the group where they are unknown.
        """
        split_BN, aux_BG = heads.split.float(), heads.aux.float()
        system_BS, lattice_BA, bits_BO = split_BN.split((N_SYSTEMS, N_LATTICES, N_OPERATORS), dim=1)
        system = F.cross_entropy(system_BS, self.system_G[group_B])
        lattice = F.cross_entropy(lattice_BA, self.lattice_G[group_B])
        bits = F.binary_cross_entropy_with_logits(
            bits_BO, self.bits_GO[group_B], pos_weight=self.pos_weight_O
        )
        aux = F.cross_entropy(aux_BG, group_B)
        if heads.space is not None and space_group_B is not None:
            known_B = space_group_B > 0
            by_group_B = F.cross_entropy(aux_BG, group_B, reduction="none")
            fine_B = F.cross_entropy(heads.space.float(), (space_group_B - 1).clamp(min=0), reduction="none")
            aux = torch.where(known_B, fine_B, by_group_B).mean()
        weight = self.config
        total = weight.system * system + weight.lattice * lattice + weight.bits * bits + weight.aux * aux
        return LossParts(total, system, lattice, bits, aux)
