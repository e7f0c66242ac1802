"""Classifier two-sample tests: how well can a small classifier tell simulated from measured patterns?

0.5 is the AUC of samples that cannot be told apart (Lopez-Paz and Oquab, "Revisiting classifier two-sample
tests", ICLR 2017). Folds go by compound, so that a classifier never meets a compound that it was trained on.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from trainer.gap.distance import auc

Floats = npt.NDArray[np.float64]
Fit = Callable[
    [npt.NDArray[np.floating], npt.NDArray[np.bool_], int], Callable[[npt.NDArray[np.floating]], Floats]
]

FOLDS = 5


def folds(names: Sequence[str]) -> npt.NDArray[np.int64]:
    """[n] fold 0 to FOLDS - 1 of each name: the same name, the same fold."""
    return np.array([zlib.crc32(f"fold {name}".encode()) % FOLDS for name in names], dtype=np.int64)


def cross_validated_auc(
    simulated: npt.NDArray[np.floating],
    measured: npt.NDArray[np.floating],
    simulated_names: Sequence[str],
    compounds: Sequence[str],
    fit: Fit,
    seed: int = 0,
) -> tuple[float, float, float]:
    """AUC of a classifier fitted on four fifths and judged on the last, and its 95 % interval.

    simulated [m, ...] and measured [n, ...]: what the classifier sees. simulated_names: structures, and
    compounds: [n] names that folds keep whole; the interval is by bootstrap over compounds.
    """
    x = np.concatenate([simulated, measured])
    is_measured = np.arange(len(x)) >= len(simulated)
    fold = np.concatenate([folds(simulated_names), folds(compounds)])
    # place of each measured pattern among the simulated ones of its own fold: AUC is their mean, and scores
    # of different folds' classifiers are never compared
    place = np.full(len(x), np.nan)
    for k in range(FOLDS):
        train, test = fold != k, fold == k
        if not (test & is_measured).any() or not (test & ~is_measured).any():
            continue
        score = fit(x[train], is_measured[train], seed + k)(x[test])
        ours, theirs = score[~is_measured[test]], score[is_measured[test]]
        place[np.flatnonzero(test & is_measured)] = [auc([value], ours) for value in theirs]
    share = place[is_measured]
    seen = np.isfinite(share)
    _, member = np.unique(np.asarray(compounds)[seen], return_inverse=True)
    total, count = np.bincount(member, weights=share[seen]), np.bincount(member)
    drawn = np.random.default_rng(seed).integers(count.size, size=(500, count.size))
    low, high = np.percentile(total[drawn].sum(axis=1) / count[drawn].sum(axis=1), [2.5, 97.5])
    return float(share[seen].mean()), float(low), float(high)


def ranked(statistics: Floats, reference: Floats) -> Floats:
    """[n, 2 k] normal scores of k statistics among a reference [m, k], and whether each is missing.

    Ranks make skew and outliers harmless; a missing value stands in the middle, with its flag.
    """
    from scipy.special import ndtri

    columns = []
    for j in range(statistics.shape[1]):
        known = np.sort(reference[np.isfinite(reference[:, j]), j])
        value = statistics[:, j]
        missing = ~np.isfinite(value)
        rank = np.searchsorted(known, value, side="left") + np.searchsorted(known, value, side="right")
        score = ndtri((0.5 * rank + 0.5) / (known.size + 1.0)) if known.size else np.zeros(len(value))
        columns += [np.where(missing, 0.0, score), missing.astype(np.float64)]
    return np.stack(columns, axis=1)


def linear(x: npt.NDArray[np.floating], y: npt.NDArray[np.bool_], seed: int):
    """Logistic regression on normal scores of the statistics [n, k], classes weighted alike."""
    return _network(x, y, seed, hidden=0, steps=120)


def perceptron(x: npt.NDArray[np.floating], y: npt.NDArray[np.bool_], seed: int):
    """A perceptron with 32 hidden units on normal scores of the statistics [n, k], classes weighted alike."""
    return _network(x, y, seed, hidden=32, steps=200)


def _network(x: npt.NDArray[np.floating], y: npt.NDArray[np.bool_], seed: int, *, hidden: int, steps: int):
    import torch
    from torch import nn

    reference = np.asarray(x, dtype=np.float64)

    def seen(values: npt.NDArray[np.floating]) -> torch.Tensor:
        return torch.from_numpy(ranked(np.asarray(values, dtype=np.float64), reference)).float()

    inputs, target = seen(x), torch.from_numpy(y).float()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        width = inputs.shape[1]
        model: nn.Module = nn.Linear(width, 1)
        if hidden:
            model = nn.Sequential(nn.Linear(width, hidden), nn.Tanh(), nn.Dropout(0.3), nn.Linear(hidden, 1))
        weight = torch.tensor(float((~y).sum()) / max(1.0, float(y.sum())))
        loss = nn.BCEWithLogitsLoss(pos_weight=weight)
        optimiser = torch.optim.AdamW(model.parameters(), lr=0.04, weight_decay=0.05)
        for _ in range(steps):
            optimiser.zero_grad()
            loss(model(inputs)[:, 0], target).backward()
            optimiser.step()
    model.eval()

    def score(values: npt.NDArray[np.floating]) -> Floats:
        with torch.no_grad():
            return model(seen(values))[:, 0].double().numpy()

    return score


def convolutional(x: npt.NDArray[np.floating], y: npt.NDArray[np.bool_], seed: int):
    """A small convolutional network on the patterns themselves: float32 [n, 2, L], intensity and coverage.

    It sees square roots of intensities, so that backgrounds and weak lines count.
    """
    import torch
    from torch import nn

    inputs = torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))
    target = torch.from_numpy(y).float()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        widths = (2, 16, 24, 32, 32)
        for before, after in pairwise(widths):
            layers += [nn.Conv1d(before, after, 9, stride=4 if layers else 8, padding=4)]
            layers += [nn.BatchNorm1d(after), nn.ReLU()]
        model = nn.Sequential(
            *layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Dropout(0.3), nn.Linear(32, 1)
        )
        loss = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(float((~y).sum()) / max(1.0, float(y.sum()))))
        epochs, batch = 10, 64
        steps = epochs * (-(-len(inputs) // batch))
        optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
        for _ in range(epochs):
            for rows in torch.randperm(len(inputs)).split(batch):
                optimiser.zero_grad()
                loss(model(_roots(inputs[rows]))[:, 0], target[rows]).backward()
                optimiser.step()
                schedule.step()
    model.eval()

    def score(values: npt.NDArray[np.floating]) -> Floats:
        with torch.no_grad():
            parts = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).split(256)
            return torch.cat([model(_roots(part))[:, 0] for part in parts]).double().numpy()

    return score


def _roots(x):
    """Signed square root of the first channel of [n, 2, L]."""
    import torch

    first = x[:, :1]
    return torch.cat([first.sign() * first.abs().sqrt(), x[:, 1:]], dim=1)
