"""Training of a `CompositionHead`: the group from the composition, and whether it fits a pattern.

What compositions say of groups is learned from structures and from entries of which only formula and space
group are known, all as frequent as they are; the logits are relative to the class frequencies of that pool.
Whether composition and pattern belong together is learned after that, on the features of a network that stays
as it is, with a part of the compositions exchanged. In half of the batch the amounts are not told.
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
from eg_agent.model.composition import Chemistry, CompositionConfig, CompositionHead
from trainer.multimodal.chemistries import Compositions
from trainer.multimodal.features import Features

#: Pseudo-counts of the pool's class frequencies, so that no group is impossible.
PSEUDO_COUNTS = 20.0


@dataclass(frozen=True)
class CompositionTraining:
    """steps of `batch` compositions for the group, then `match_steps` for the match; lr: peak of AdamW.

    wrong: share of exchanged compositions. (With 8,000 steps of a network of width 96 the loss on what it
    was shown was still falling, and hardly below that of held-out formulas; docs/log.md.)
    """

    steps: int = 24_000
    match_steps: int = 4_000
    batch: int = 256
    lr: float = 1e-3
    weight_decay: float = 0.05
    wrong: float = 0.5
    network: CompositionConfig = field(default_factory=lambda: CompositionConfig(width=128, depth=3))
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


def train_groups(
    pool: Compositions,
    settings: CompositionTraining,
    report: Callable[[int, float], None] = lambda step, loss: None,
) -> CompositionHead:
    """A head that knows what the compositions of a pool say of groups, and nothing of patterns yet."""
    torch.manual_seed(settings.seed)
    head = CompositionHead(settings.network)
    log_prior, batch = pool_prior(pool), settings.batch

    def loss() -> Tensor:
        rows = torch.randint(len(pool), (batch,))
        said = by_richness(head, pool.take(rows, torch.rand(batch) < 0.5))
        return F.cross_entropy(log_prior + said, pool.group[rows])

    return _train(head, list(head.parameters()), loss, settings.steps, settings, report)


def train_match(
    head: CompositionHead,
    known: Known,
    compositions: Compositions,
    settings: CompositionTraining,
    report: Callable[[int, float], None] = lambda step, loss: None,
) -> CompositionHead:
    """The head with the match of pattern and composition learned; what it says of groups stays as it is.

    known: patterns with their rows in `compositions`.
    """
    torch.manual_seed(settings.seed + 1)
    layers = (head.features, head.composition, head.hidden, head.norm, head.match)
    n, batch = len(known.group_N), settings.batch

    def loss() -> Tensor:
        rows = torch.randint(n, (batch,))
        exact, wrong = torch.rand(batch) < 0.5, torch.rand(batch) < settings.wrong
        shown = torch.where(wrong, known.row_N[torch.randint(n, (batch,))], known.row_N[rows])
        with torch.no_grad():
            _, readout_BD = head.encoder(compositions.take(shown, exact))
        match_B = head.matched(known.feature_NR[rows], readout_BD)
        return F.binary_cross_entropy_with_logits(match_B, (~wrong).float())

    parameters = [p for layer in layers for p in layer.parameters()]
    return _train(head, parameters, loss, settings.match_steps, settings, report)


def _train(
    head: CompositionHead,
    parameters: list[torch.nn.Parameter],
    loss_of: Callable[[], Tensor],
    steps: int,
    settings: CompositionTraining,
    report: Callable[[int, float], None],
) -> CompositionHead:
    """Take the steps; the head is in evaluation mode then. The last three fifths of the rate fall to 0."""
    optimizer = torch.optim.AdamW(
        parameters, lr=settings.lr, weight_decay=settings.weight_decay, betas=(0.9, 0.98)
    )
    head.train()
    for step in range(steps):
        scale = min(1.0, (step + 1) / 200) * min(1.0, (1.0 - step / steps) / 0.6)
        for group in optimizer.param_groups:
            group["lr"] = settings.lr * scale
        loss = loss_of()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        report(step + 1, float(loss.detach()))
    return head.eval()


def by_richness(head: CompositionHead, given: Chemistry) -> Tensor:
    """`head.groups`, those with few elements apart: one rich composition would make all as long as it."""
    count_B = (given.element_BE > 0).sum(1)
    order_B = count_B.argsort()
    ends = torch.searchsorted(count_B[order_B], torch.tensor([3, 4, 5]), right=True).tolist()
    parts = [rows for rows in torch.tensor_split(order_B, ends) if len(rows)]
    said = torch.cat([head.groups(Chemistry(*(part[rows] for part in given))) for rows in parts])
    return torch.zeros_like(said).index_copy(0, order_B, said)


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
