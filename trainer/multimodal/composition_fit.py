"""Training of a `CompositionHead`: the group from the composition, and whether it fits a pattern.

What compositions say of groups is learned from structures and from entries of which only formula and space
group are known, all as frequent as they are; the logits are relative to the class frequencies of that pool.
Whether composition and pattern belong together is learned on the features of a network that stays as it
is, with a part of the compositions exchanged. In half of the batch the amounts are not told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from eg_agent.errors import BadInput
from eg_agent.model.composition import CompositionConfig, CompositionHead
from trainer.multimodal.chemistries import Compositions
from trainer.multimodal.features import Features

#: Pseudo-counts of the pool's class frequencies, so that no group is impossible.
PSEUDO_COUNTS = 20.0


@dataclass(frozen=True)
class CompositionTraining:
    """steps of `batch` compositions. lr: peak of AdamW. wrong: share of exchanged compositions.

    match: weight of the second loss, which is taken every `match_every` steps.
    """

    steps: int = 8000
    batch: int = 256
    lr: float = 1e-3
    weight_decay: float = 0.05
    wrong: float = 0.5
    match: float = 1.0
    match_every: int = 3
    network: CompositionConfig = field(default_factory=CompositionConfig)
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Known:
    """Patterns whose composition is known: features, groups, and their rows in `Compositions`."""

    feature_NR: Tensor
    group_N: Tensor
    row_N: Tensor

    @classmethod
    def of(cls, features: Features, row: npt.NDArray[np.int64]) -> Known:
        """row: of each structure of the corpus in the compositions, -1 for none."""
        found = row[features.structure]
        keep = found >= 0
        if not keep.any():
            raise BadInput("no pattern has a composition: the corpus holds random crystals alone.")
        return cls(
            torch.from_numpy(features.feature[keep].astype(np.float32)),
            torch.from_numpy(features.group[keep]),
            torch.from_numpy(found[keep]),
        )


def pool_prior(pool: Compositions) -> Tensor:
    """[99] nats, class frequencies of the pool."""
    counts = torch.bincount(pool.group, minlength=99).float() + PSEUDO_COUNTS / 99
    return (counts / counts.sum()).log()


def train_head(
    pool: Compositions,
    known: Known,
    compositions: Compositions,
    settings: CompositionTraining,
    report: Callable[[int, float], None] = lambda step, loss: None,
) -> CompositionHead:
    """A trained head, in evaluation mode.

    pool: compositions and groups to learn from. known: patterns with their rows in `compositions`.
    """
    torch.manual_seed(settings.seed)
    head = CompositionHead(settings.network)
    optimizer = torch.optim.AdamW(
        head.parameters(), lr=settings.lr, weight_decay=settings.weight_decay, betas=(0.9, 0.98)
    )
    log_prior, batch = pool_prior(pool), settings.batch
    head.train()
    for step in range(settings.steps):
        scale = min(1.0, (step + 1) / 200) * min(1.0, (1.0 - step / settings.steps) / 0.6)
        for group in optimizer.param_groups:
            group["lr"] = settings.lr * scale
        rows = torch.randint(len(pool), (batch,))
        said = head.groups(pool.take(rows, torch.rand(batch) < 0.5))
        loss = F.cross_entropy(log_prior + said, pool.group[rows])
        if step % settings.match_every == 0:
            loss = loss + settings.match * _match_loss(head, known, compositions, settings)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimizer.step()
        report(step + 1, float(loss.detach()))
    return head.eval()


def _match_loss(
    head: CompositionHead, known: Known, compositions: Compositions, settings: CompositionTraining
) -> Tensor:
    """Whether pattern and composition belong together, where some are another structure's."""
    n, batch = len(known.group_N), settings.batch
    rows = torch.randint(n, (batch,))
    exact, wrong = torch.rand(batch) < 0.5, torch.rand(batch) < settings.wrong
    shown = torch.where(wrong, known.row_N[torch.randint(n, (batch,))], known.row_N[rows])
    match_B = head(known.feature_NR[rows], compositions.take(shown, exact)).match_B
    return F.binary_cross_entropy_with_logits(match_B, (~wrong).float())


@torch.inference_mode()
def held_out_figures(
    head: CompositionHead, pool: Compositions, held: Compositions, known: Known, compositions: Compositions
) -> dict[str, float]:
    """Figures on compositions `held` and on patterns of structures that were held out; nats and shares.

    prior: of the pool's class frequencies. elements, exact: of the group, with so much told; *_top1: shares.
    *_match_auc: how well a right composition is told from another structure's.
    """
    log_prior = pool_prior(pool)
    found = {"compositions": float(len(held)), "patterns": float(len(known.group_N))}
    found["prior"] = float(F.cross_entropy(log_prior.expand(len(held), -1), held.group))
    n = len(known.group_N)
    other = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    for name, told in (("elements", False), ("exact", True)):
        logits = log_prior + head.groups(held.take(torch.arange(len(held)), torch.full((len(held),), told)))
        found[name] = float(F.cross_entropy(logits, held.group))
        found[f"{name}_top1"] = float((logits.argmax(1) == held.group).float().mean())
        exact = torch.full((n,), told)
        right = head(known.feature_NR, compositions.take(known.row_N, exact)).match_B
        wrong = head(known.feature_NR, compositions.take(known.row_N[other], exact)).match_B
        ranks = torch.searchsorted(wrong.sort().values, right)
        found[f"{name}_match_auc"] = float(ranks.float().mean() / n)
    return found
