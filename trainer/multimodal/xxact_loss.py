"""Losses of XxaCT-NN: three tasks of which any may be unknown for a sample, masked patterns, alignment."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from eg_agent.errors import BadInput
from eg_agent.model.xxact import LOG_SCALE, Encoded, Estimates, Scale, Symmetry, Xxact
from trainer.multimodal.xxact_config import XxactTrain


@dataclass(frozen=True)
class Labels:
    """energy_B eV/atom, gap_B eV, NaN where unknown; system_B, index into CRYSTAL_SYSTEMS.

    group_B: number of the extinction group minus 1. lattice_B4: as in `Symmetry`. None: not looked at.
    """

    energy_B: Tensor
    gap_B: Tensor
    system_B: Tensor
    group_B: Tensor | None = None
    lattice_B4: Tensor | None = None

    def take(self, rows: Tensor) -> Labels:
        """Those of some rows."""
        group_B = None if self.group_B is None else self.group_B[rows]
        lattice_B4 = None if self.lattice_B4 is None else self.lattice_B4[rows]
        return Labels(self.energy_B[rows], self.gap_B[rows], self.system_B[rows], group_B, lattice_B4)


def laplace(said_B2: Tensor, label_B: Tensor, scale: Scale) -> Tensor:
    """Laplace likelihood of the labels that are known, weighted so that no task drowns the others.

    said_B2: location and log of the scale b, in units of the labels' spread. The negative log-likelihood
    |d| / b + ln b (CrabNet's robust L1) counts with the weight b, held fixed (Seitzer et al. 2022,
    arXiv:2203.09168): the location learns by the absolute error, and b becomes what that error usually is.
    Without the weight, a gap that is 0 in half of the structures takes b to its floor and the whole gradient.
    """
    known_B = label_B.isfinite()
    wanted_B = (torch.where(known_B, label_B, 0.0) - scale.mean) / scale.spread
    log_b_B = said_B2[:, 1].clamp(*LOG_SCALE)
    each_B = (said_B2[:, 0] - wanted_B).abs() * (-log_b_B).exp() + log_b_B
    each_B = each_B * log_b_B.detach().exp()
    return torch.where(known_B, each_B, 0.0).sum() / known_B.sum().clamp(min=1)


def properties_loss(
    said: Estimates, labels: Labels, network_scales: tuple[Scale, Scale], config: XxactTrain
) -> Tensor:
    """Weighted sum of the tasks."""
    weights, total = config.weights, said.system_BS.sum() * 0.0
    if weights.energy:
        total = total + weights.energy * laplace(said.energy_B2, labels.energy_B, network_scales[0])
    if weights.gap:
        total = total + weights.gap * laplace(said.gap_B2, labels.gap_B, network_scales[1])
    if weights.system:
        total = total + weights.system * F.cross_entropy(said.system_BS, labels.system_B)
    return total


def symmetry_loss(said: Symmetry, labels: Labels, config: XxactTrain) -> Tensor:
    """Weighted sum of what is learned beside the tasks: cross-entropy of the group, mean absolute error of
    the cell."""
    if labels.group_B is None or labels.lattice_B4 is None:
        raise BadInput("these labels say nothing of group and lattice: open the materials for training.")
    total = config.weights.group * F.cross_entropy(said.group_BG, labels.group_B)
    return total + config.weights.lattice * (said.lattice_B4 - labels.lattice_B4).abs().mean()


def hidden_tokens(count: int, tokens: int, share: float, generator: torch.Generator) -> Tensor:
    """bool [count, tokens]: a share of the tokens, at least one of each pattern."""
    chance = torch.rand(count, tokens, generator=generator)
    return (chance < share) | (chance == chance.amin(1, keepdim=True))


def masked_loss(network: Xxact, encoded: Encoded, intensity_BL: Tensor, hidden_BT: Tensor) -> Tensor:
    """Mean squared error of the roots of hidden intensities, relative to what a constant would miss."""
    wanted_BTP = intensity_BL.clamp(min=0.0).sqrt().unflatten(1, (-1, network.config.patch))
    missed_BTP = (network.rebuilt_intensity(encoded).float() - wanted_BTP).square()
    # 0.02 is the variance of these square roots over clean patterns, within a factor of two.
    return missed_BTP[hidden_BT].mean() / 0.02


def contrastive_loss(logits_BB: Tensor) -> Tensor:
    """CLIP's: each pattern finds its composition and each composition its pattern."""
    own = torch.arange(len(logits_BB), device=logits_BB.device)
    logits_BB = logits_BB.float()
    return 0.5 * (F.cross_entropy(logits_BB, own) + F.cross_entropy(logits_BB.T, own))
