"""The multi-task loss of the paper: CE(system) + CE(lattice) + BCE(25 operator bits) + CE(aux)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eg_agent.model.network import N_LATTICES, N_OPERATORS, N_SYSTEMS, Heads
from eg_agent.symmetry import published_codes

#: Cap on the positive weight neg/pos of a rare operator bit (paper).
POS_WEIGHT_CAP = 100.0


class LossParts(NamedTuple):
    """Terms of the loss, each a mean over the batch in nats; `total` is their sum."""

    total: Tensor
    system: Tensor
    lattice: Tensor
    bits: Tensor
    aux: Tensor


class MultiTaskLoss(nn.Module):
    """Loss of a batch of `Heads` against groups.

    log_train_prior: [99] class prior of the patterns trained on; it fixes the positive weights.
    """

    system_G: Tensor
    lattice_G: Tensor
    bits_GO: Tensor
    pos_weight_O: Tensor

    def __init__(self, log_train_prior: np.ndarray) -> None:
        super().__init__()
        codes_GN = np.array(published_codes(), dtype=np.float32)
        systems_GS, lattices_GA, bits_GO = np.split(codes_GN, [N_SYSTEMS, N_SYSTEMS + N_LATTICES], axis=1)
        positive_O = np.exp(log_train_prior) @ bits_GO
        weight_O = np.minimum((1.0 - positive_O) / np.maximum(positive_O, 1e-9), POS_WEIGHT_CAP)
        self.register_buffer("system_G", torch.from_numpy(systems_GS.argmax(1)))
        self.register_buffer("lattice_G", torch.from_numpy(lattices_GA.argmax(1)))
        self.register_buffer("bits_GO", torch.from_numpy(bits_GO))
        self.register_buffer("pos_weight_O", torch.from_numpy(weight_O).float())

    def forward(self, heads: Heads, group_B: Tensor) -> LossParts:
        """group_B: [B] int64, number of the group - 1."""
        split_BN, aux_BG = heads.split.float(), heads.aux.float()
        system_BS, lattice_BA, bits_BO = split_BN.split((N_SYSTEMS, N_LATTICES, N_OPERATORS), dim=1)
        system = F.cross_entropy(system_BS, self.system_G[group_B])
        lattice = F.cross_entropy(lattice_BA, self.lattice_G[group_B])
        bits = F.binary_cross_entropy_with_logits(
            bits_BO, self.bits_GO[group_B], pos_weight=self.pos_weight_O
        )
        aux = F.cross_entropy(aux_BG, group_B)
        return LossParts(system + lattice + bits + aux, system, lattice, bits, aux)
