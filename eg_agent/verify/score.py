"""Evidence of every candidate on one likelihood: blocks of overlapped lines, each worked out once."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from eg_agent.patterns.radiation import Radiation
from eg_agent.verify import wilson
from eg_agent.verify.candidates import Candidate
from eg_agent.verify.ep import Mixtures, block_evidence
from eg_agent.verify.likelihood import Likelihood

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Lines are worked out together when their normalised overlap is above this, in blocks of at most so many.
COUPLING, LARGEST_BLOCK = 0.1, 8
#: Chance that a forbidden position holds a foreign line (some ten foreign lines of a tenth of a degree
#: over 60 degrees), and its mean intensity relative to the strongest line.
FOREIGN = 0.02
_FOREIGN_MEANS = np.array([0.002, 0.02, 0.1])
_FOREIGN_WEIGHTS = np.array([0.5, 0.3, 0.2])
#: Chance that a structure hides a whole class of the reflections that its group allows (atoms on special
#: positions, pseudo-symmetry): 2 to 5 % of 600 calculated patterns have such a class below 0.1 to 0.5 % of
#: their strongest line. Lines of a class are not independent, so evidence cannot grow without bound.
HIDDEN_CLASS = 0.05


@dataclass(frozen=True, slots=True)
class Scores:
    """Evidence [c] in nats relative to the absence-free lattice, and by_block [c, b], the log-odds of each
    block of lines, which `log_evidence` would be the sum of were it not for hidden classes (see `hidden`).

    blocks: line numbers of each block.
    """

    log_evidence: Floats
    by_block: Floats
    blocks: list[Ints]


def overlap_blocks(precision: Floats, coupling: float = COUPLING, largest: int = LARGEST_BLOCK) -> list[Ints]:
    """Runs of lines in order of angle that overlap, cut at their weakest overlap when too long."""
    scale = 1.0 / np.sqrt(np.diag(precision))
    normal = np.abs(precision) * np.outer(scale, scale)
    n = scale.size
    # strength of the bond between line i and i + 1: the strongest overlap across the cut
    bond = np.zeros(max(n - 1, 0))
    for reach in range(1, min(6, n)):
        overlap = np.diagonal(normal, reach)
        for inside in range(reach):
            part = bond[inside : inside + overlap.size]
            np.maximum(part, overlap, out=part)
    blocks: list[Ints] = []

    def cut(low: int, high: int) -> None:
        if high - low == 1:
            blocks.append(np.array([low]))
            return
        weakest = low + int(np.argmin(bond[low : high - 1]))
        if high - low <= largest and bond[weakest] > coupling:
            blocks.append(np.arange(low, high))
            return
        cut(low, weakest + 1)
        cut(weakest + 1, high)

    start = 0
    for i in range(n):
        if i == n - 1 or bond[i] <= coupling:
            cut(start, i + 1)
            start = i + 1
    return blocks


@dataclass(frozen=True, slots=True)
class _Priors:
    """What is needed for the prior of any line: expected intensity of a reflection, errors, strongest."""

    unit: Floats
    tiny: Floats
    strongest: float

    def mixtures(self, lines: Ints, allowed: Floats) -> Mixtures:
        """Priors [..., J] of lines [...] that have `allowed` [...] reflections."""
        j = wilson.SCALES.size
        mean = np.empty((*lines.shape, j))
        log_weight = np.full((*lines.shape, j), -60.0)
        on = allowed > 0
        expected = self.unit[lines] * np.maximum(allowed, 1.0)
        mean[...] = expected[..., None] * wilson.SCALES
        log_weight[...] = np.log(wilson.WEIGHTS / wilson.WEIGHTS.sum())
        off = ~on
        count = _FOREIGN_MEANS.size
        mean[off] = 1.0
        log_weight[off] = -60.0
        mean[off, 0] = self.tiny[lines][off]
        log_weight[off, 0] = np.log1p(-FOREIGN)
        mean[off, 1 : 1 + count] = self.strongest * _FOREIGN_MEANS
        log_weight[off, 1 : 1 + count] = np.log(FOREIGN * _FOREIGN_WEIGHTS)
        return Mixtures(log_weight, mean)


def score(
    likelihood: Likelihood, candidates: list[Candidate], radiation: Radiation, *, polarised: bool = False
) -> Scores:
    """Evidence of all candidates; the expected intensities come from the best one's lines, found twice."""
    base = likelihood.lines.multiplicity
    theta = np.radians(0.5 * np.nan_to_num(likelihood.two_theta, nan=179.0))
    s2 = (np.sin(theta) / likelihood.problem.wavelengths[0]) ** 2
    unit = wilson.lorentz_polarisation(likelihood.two_theta, radiation, polarised=polarised)
    allowed = base
    blocks = overlap_blocks(likelihood.precision)
    outside = likelihood.intensity
    result = None
    for _ in range(2):
        expected = wilson.expected_unit(s2, unit, allowed, likelihood.intensity, likelihood.sigma)
        tiny = 1e-3 / np.sqrt(np.diag(likelihood.precision))
        priors = _Priors(expected, tiny, float(likelihood.intensity.max(initial=1e-12)))
        result, outside = _score_once(likelihood, candidates, blocks, priors, outside)
        allowed = candidates[int(np.argmax(result.log_evidence))].allowed
    assert result is not None
    return replace(result, log_evidence=hidden(result.log_evidence, candidates, base))


def _score_once(
    likelihood: Likelihood, candidates: list[Candidate], blocks: list[Ints], priors: _Priors, outside: Floats
) -> tuple[Scores, Floats]:
    """Scores, and the posterior mean intensities [k] in the absence-free lattice."""
    stack = np.stack([likelihood.lines.multiplicity, *(c.allowed for c in candidates)])
    h, c = likelihood.precision, likelihood.moment
    tasks: dict[int, list[tuple[int, Floats]]] = {}
    where: list[tuple[int, int, Ints]] = []
    for number, block in enumerate(blocks):
        signatures, inverse = np.unique(stack[:, block], axis=0, return_inverse=True)
        of_size = tasks.setdefault(block.size, [])
        where.append((block.size, len(of_size), inverse.ravel()))
        of_size.extend((number, s) for s in signatures)
    values: dict[int, Floats] = {}
    means: dict[int, Floats] = {}
    for size, of_size in tasks.items():
        index = np.array([blocks[number] for number, _ in of_size])
        allowed = np.array([s for _, s in of_size])
        part = h[index[:, :, None], index[:, None, :]]
        inside = np.einsum("bij,bj->bi", part, outside[index])
        moment = c[index] - (h[index.ravel()] @ outside).reshape(index.shape) + inside
        values[size], means[size] = block_evidence(part, moment, priors.mixtures(index, allowed))
    by_block = np.empty((len(candidates), len(blocks)))
    mean = np.empty(h.shape[0])
    for number, (size, offset, inverse) in enumerate(where):
        all_values = values[size][offset + inverse]
        by_block[:, number] = all_values[1:] - all_values[0]
        mean[blocks[number]] = means[size][offset + inverse[0]]
    return Scores(by_block.sum(axis=1), by_block, blocks), mean


def hidden(
    log_evidence: Floats, candidates: list[Candidate], everything: Floats, chance: float = HIDDEN_CLASS
) -> Floats:
    """Evidence when each candidate may, with a small chance, look like one that forbids more lines.

    The candidate is a mixture: itself, or (with `chance`, shared equally) any distinct candidate whose
    allowed lines are fewer. This bounds what many absent lines can say against it by the logarithm of
    the chance. everything: [k] reflections of the absence-free lattice, which the result is relative to.
    """
    allowed = np.stack([everything > 0, *(c.allowed > 0 for c in candidates)])
    value = np.concatenate([[0.0], log_evidence])
    masks, first = np.unique(allowed, axis=0, return_index=True)
    # how many lines two candidates share, to see which is contained in which
    count = masks.sum(axis=1)
    shared = allowed.astype(np.float64) @ masks.T.astype(np.float64)
    fewer = (shared == count[None, :]) & (count[None, :] < allowed.sum(axis=1)[:, None])
    out = value.copy()
    for i in range(value.size):
        others = value[first[fewer[i]]]
        if others.size:
            out[i] = np.logaddexp(np.log1p(-chance) + value[i], np.log(chance) + log_mean(others))
    return out[1:] - out[0]


def log_mean(values: Floats) -> float:
    """log of the mean of exp(values)."""
    return float(logsumexp(values) - np.log(values.size))
