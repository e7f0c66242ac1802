"""The rows that a model has to beat: prior only, the best constant class, and permuted predictions.

None of them sees the pattern that it is scored on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadInput
from trainer.metrics import FloatMatrix, negative_log_likelihood, normalise

IntArray = npt.NDArray[np.int64]

GROUPS = 99
FOLDS = 5
PERMUTATIONS = 20

#: Pseudo-counts that are spread over the groups before frequencies are taken. The null gets whichever
#: predicts best: a prior that makes unseen groups impossible is no fair opponent.
STRENGTHS = (1.0, 5.0, 20.0, 50.0, 99.0)


def folds_by_compound(compounds: Sequence[str], folds: int = FOLDS, seed: int = 0) -> IntArray:
    """[n] fold of each pattern; patterns of a compound share one, folds hold about equally many patterns.

    Raises BadInput with fewer compounds than folds.
    """
    names, cluster, sizes = np.unique(
        np.asarray(compounds, dtype=str), return_inverse=True, return_counts=True
    )
    if not 2 <= folds <= len(names):
        raise BadInput(
            f"{folds} folds of {len(names)} compounds: give between 2 and the number of compounds."
        )
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-sizes[order], kind="stable")]
    filled = np.zeros(folds, dtype=np.int64)
    fold_of = np.zeros(len(names), dtype=np.int64)
    for compound in order:
        fold_of[compound] = filled.argmin()
        filled[fold_of[compound]] += sizes[compound]
    return fold_of[cluster]


def frequencies(labels: npt.ArrayLike, base: npt.ArrayLike, strength: float) -> FloatMatrix:
    """[99] log class frequencies with `strength` pseudo-counts spread as the probabilities `base` [99]."""
    counts = np.bincount(np.asarray(labels, dtype=np.int64), minlength=GROUPS)
    base = np.asarray(base, dtype=np.float64)
    return np.log((counts + strength * base) / (counts.sum() + strength))


def out_of_fold(labels: npt.ArrayLike, fold: IntArray, base: npt.ArrayLike, strength: float) -> FloatMatrix:
    """[n, 99] for each pattern the log class frequencies of the other folds."""
    labels = np.asarray(labels, dtype=np.int64)
    found = np.empty((len(labels), GROUPS))
    for k in np.unique(fold):
        found[fold == k] = frequencies(labels[fold != k], base, strength)
    return found


@dataclass(frozen=True, eq=False)
class PriorOnly:
    """The best prediction that sees no pattern: its name, and log-probabilities [n, 99]."""

    name: str
    log_probability: FloatMatrix


def prior_only(
    labels: npt.ArrayLike,
    compounds: Sequence[str],
    shipped: npt.ArrayLike,
    shipped_name: str,
    *,
    seed: int = 0,
) -> PriorOnly:
    """The shipped prior or out-of-fold class frequencies, whichever has the lower negative log-likelihood.

    shipped: [99] log-probabilities of the prior that the product would use.
    """
    labels = np.asarray(labels, dtype=np.int64)
    shipped = normalise(shipped)
    candidates = {f"shipped ({shipped_name})": np.repeat(shipped, len(labels), axis=0)}
    n_compounds = len(set(compounds))
    if n_compounds >= 2:
        fold = folds_by_compound(compounds, min(FOLDS, n_compounds), seed)
        bases = {"uniform": np.full(GROUPS, 1.0 / GROUPS), "the shipped prior": np.exp(shipped[0])}
        for base_name, base in bases.items():
            for strength in STRENGTHS:
                name = f"out-of-fold frequencies ({strength:g} pseudo-counts of {base_name})"
                candidates[name] = normalise(out_of_fold(labels, fold, base, strength))
    best = min(candidates, key=lambda name: negative_log_likelihood(candidates[name], labels).mean())
    return PriorOnly(best, candidates[best])


def constant(labels: npt.ArrayLike) -> FloatMatrix:
    """[n, 99] the most frequent group, with the probability that it has in these rows.

    The rest is spread evenly, which is the most likely way for an answer that never changes. It has seen
    the labels, so it is the best that any constant answer can do.
    """
    labels = np.asarray(labels, dtype=np.int64)
    counts = np.bincount(labels, minlength=GROUPS)
    best = int(counts.argmax())
    share = counts[best] / len(labels)
    probability = np.full(GROUPS, max(1.0 - share, 1e-9) / (GROUPS - 1))
    probability[best] = share
    return normalise(np.repeat(np.log(probability)[None], len(labels), axis=0))


def permutation(compounds: Sequence[str], repeats: int = PERMUTATIONS, seed: int = 0) -> IntArray:
    """[repeats, n] whose prediction each pattern is given: that of a pattern of another compound.

    Compounds are put in a random order with their patterns side by side and the predictions are moved on
    by at least the size of the largest compound, so that none keeps a prediction of its own compound
    (unless one compound is more than half of all patterns).
    """
    names, cluster, sizes = np.unique(
        np.asarray(compounds, dtype=str), return_inverse=True, return_counts=True
    )
    n, largest = len(cluster), int(sizes.max())
    rng = np.random.default_rng(seed)
    found = np.empty((repeats, n), dtype=np.int64)
    for row in found:
        place = rng.permutation(len(names))
        order = np.lexsort((rng.random(n), place[cluster]))
        step = int(rng.integers(largest, n - largest + 1)) if n >= 2 * largest else n // 2
        row[order] = np.roll(order, step)
    return found
