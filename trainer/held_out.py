"""Held-out figures while training: simulated patterns of structures that are never trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from eg_agent.model.fusion import split_prior
from eg_agent.model.network import Network
from eg_agent.model.prior import normalised

#: Patterns that are evaluated together.
BATCH = 64


@dataclass(frozen=True)
class HeldOut:
    """The first `patterns` patterns of a stream over held-out structures."""

    stream: Any
    patterns: int


@torch.inference_mode()
def scores(
    network: Network, held_out: HeldOut
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Split scores [n, 99], auxiliary logits [n, 99] and labels [n] (number - 1) of the held-out patterns."""
    device = next(network.parameters()).device
    chunk = BATCH if device.type == "cpu" else 16 * BATCH
    split, aux, labels = [], [], []
    for start in range(0, held_out.patterns, chunk):
        batch = held_out.stream.batch(start, min(chunk, held_out.patterns - start))
        heads = network(batch.intensity.to(device), batch.coverage.to(device))
        split.append(network.split_scores(heads.split).double().cpu().numpy())
        aux.append(heads.aux.double().cpu().numpy())
        labels.append(batch.group.cpu().numpy())
    return np.concatenate(split), np.concatenate(aux), np.concatenate(labels)


def evaluate(
    network: Network, held_out: HeldOut, log_train_prior: npt.NDArray[np.float64]
) -> dict[str, float]:
    """Figures under the training prior: NLL (nats) of both heads and of the prior alone, and the gain.

    bits_over_prior, split_bits_over_prior: mean log2 of the true group's probability, above the prior's.
    The split head's own prior is replaced by the training prior (`eg_agent.model.fusion.split_prior`).
    """
    was_training = network.training
    network.eval()
    split, aux, labels = scores(network, held_out)
    network.train(was_training)
    rows = np.arange(len(labels))
    aux, split = normalised(aux), normalised(split - split_prior(log_train_prior) + log_train_prior)
    nll, split_nll = -aux[rows, labels].mean(), -split[rows, labels].mean()
    prior_nll = -log_train_prior[labels].mean()
    order = np.argsort(-aux, axis=1)
    return {
        "patterns": float(len(labels)),
        "nll": float(nll),
        "split_nll": float(split_nll),
        "prior_nll": float(prior_nll),
        "bits_over_prior": float((prior_nll - nll) / np.log(2.0)),
        "split_bits_over_prior": float((prior_nll - split_nll) / np.log(2.0)),
        "top1": float((order[:, 0] == labels).mean()),
        "top5": float((order[:, :5] == labels[:, None]).any(1).mean()),
        "prior_top1": float((np.argmax(log_train_prior) == labels).mean()),
    }
