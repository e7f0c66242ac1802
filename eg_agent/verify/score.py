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
from eg_agent.verify.pooling import pooled, terms_of

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Lines are worked out together when their normalised overlap is above this, in blocks of at most so many.
COUPLING, LARGEST_BLOCK = 0.1, 8
#: Mean intensities of foreign lines relative to the strongest line, and their shares.
_FOREIGN_MEANS = np.array([0.002, 0.02, 0.1])
_FOREIGN_WEIGHTS = np.array([0.5, 0.3, 0.2])
#: Least chance of a foreign line (or of misfit that looks like one) on a forbidden position, and the width in
#: FWHM within which a foreign line is on it.
LEAST_FOREIGN, ON_POSITION = 0.003, 1.2
#: Chance that a structure hides a class of the reflections that its group allows (atoms on special positions,
#: pseudo-symmetry): on an axis, in a zone, of general indices, for each symbol that forbids just such a
#: class more. From patterns calculated for 1,080 structures (`tests/bench/study_hidden.py`), as the share
#: of such symbols all of whose lines stay below 0.3 % of the strongest line (T_HIDDEN): 0.07, 0.02, 0.003
#: (axes less here, because a few lines may well be weak one by one); it grows about as the 0.7th power of
#: that level. Lines of a class are not independent, so evidence cannot grow without bound.
HIDDEN = np.array([0.05, 0.02, 0.004])
T_HIDDEN, HIDDEN_POWER, MOST_HIDDEN = 0.003, 0.7, 0.3


@dataclass(frozen=True, slots=True)
class Scores:
    """log_evidence [c] in nats relative to the absence-free lattice, as `pooling` makes it of `terms` [c, 3].

    The first term is the evidence of the absences alone: the sum of by_block [c, b], the log-odds of each
    block of lines, were it not for hidden classes (see `hidden`). blocks: line numbers of each block.
    """

    log_evidence: Floats
    by_block: Floats
    blocks: list[Ints]
    terms: Floats


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
    foreign: Floats  #: [k] chance of a foreign line on a position
    weights: Floats  #: [J] of the components of allowed intensities

    def mixtures(self, lines: Ints, allowed: Floats) -> Mixtures:
        """Priors [..., J] of lines [...] that have `allowed` [...] reflections."""
        j = wilson.SCALES.size
        mean = np.empty((*lines.shape, j))
        log_weight = np.full((*lines.shape, j), -60.0)
        on = allowed > 0
        expected = self.unit[lines] * np.maximum(allowed, 1.0)
        mean[...] = expected[..., None] * wilson.SCALES
        log_weight[...] = np.log(self.weights)
        off = ~on
        count = _FOREIGN_MEANS.size
        mean[off] = 1.0
        log_weight[off] = -60.0
        mean[off, 0] = self.tiny[lines][off]
        log_weight[off, 0] = np.log1p(-self.foreign[lines][off])
        mean[off, 1 : 1 + count] = self.strongest * _FOREIGN_MEANS
        log_weight[off, 1 : 1 + count] = np.log(self.foreign[lines][off][:, None] * _FOREIGN_WEIGHTS)
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
    strongest = float(likelihood.intensity.max(initial=1e-12))
    on_it = likelihood.foreign.rate * ON_POSITION * likelihood.solution.width.fwhm
    foreign = np.clip(1.0 - np.exp(-on_it), LEAST_FOREIGN, 0.3)
    outside = likelihood.intensity
    result = None
    weights = wilson.WEIGHTS / wilson.WEIGHTS.sum()
    for step in range(2):
        expected = wilson.expected_unit(s2, unit, allowed, likelihood.intensity, likelihood.sigma)
        if step == 1:
            weights = _own_weights(likelihood, expected, allowed)
        tiny = 1e-3 / np.sqrt(np.diag(likelihood.precision))
        priors = _Priors(expected, tiny, strongest, foreign, weights)
        result, outside = _score_once(likelihood, candidates, blocks, priors, outside)
        allowed = candidates[int(np.argmax(result.log_evidence))].allowed
    assert result is not None
    evidence = hidden(result.log_evidence, candidates, base, 2.0 * likelihood.sigma / strongest)
    allows = np.stack([c.allowed > 0 for c in candidates])
    terms = terms_of(likelihood, allows, evidence)
    return replace(result, log_evidence=pooled(terms), terms=terms)


def _own_weights(likelihood: Likelihood, expected: Floats, allowed: Floats) -> Floats:
    """[J] weights of intensities for this structure, from its allowed lines that stand apart."""
    mean = np.maximum(expected * allowed, 1e-300)
    precision = np.diag(likelihood.precision)
    # what overlap leaves of what is known of a line
    apart = np.clip(1.0 / (precision * likelihood.sigma**2), 0.0, 1.0)
    used = (allowed > 0) & (apart > 0.2)
    if not used.any():
        return wilson.WEIGHTS / wilson.WEIGHTS.sum()
    relative, error = likelihood.intensity[used] / mean[used], likelihood.sigma[used] / mean[used]
    return wilson.own_weights(relative, error, apart[used])


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
    absences = by_block.sum(axis=1)
    return Scores(absences, by_block, blocks, np.zeros((len(candidates), 3))), mean


def hidden(log_evidence: Floats, candidates: list[Candidate], everything: Floats, level: Floats) -> Floats:
    """Evidence when each candidate may, with a small chance, look like one that forbids more lines.

    A candidate is a mixture: itself, or with the chances `HIDDEN` one of the next candidates that forbid a
    class of lines more (and those may hide the next class in turn). This bounds what many absent lines can
    say against it by the logarithm of the chance. everything: [k] reflections of the absence-free
    lattice, which the result is relative to; level: [k] what is the least that is seen of a line, relative
    to the strongest.
    """
    allowed = np.stack([everything > 0, *(c.allowed > 0 for c in candidates)])
    absent = np.stack([np.zeros(3), *(c.absent for c in candidates)])
    value = np.concatenate([[0.0], log_evidence])
    masks, first, which = np.unique(allowed, axis=0, return_index=True, return_inverse=True)
    count = masks.sum(axis=1)
    # how many lines two masks share, to see which is contained in which
    shared = masks.astype(np.float64) @ masks.T.astype(np.float64)
    inside = (shared == count[:, None]) & (count[:, None] < count[None, :])
    log_level = np.log(np.clip(level, 1e-4, 0.1) / T_HIDDEN)
    held = masks @ log_level
    out = value[first]
    for i in np.argsort(count, kind="stable"):
        fewer = np.flatnonzero(inside[:, i])
        if fewer.size == 0:
            continue
        more = absent[first[fewer]] > absent[first[i]]
        kind = np.where(more[:, 2], 2, np.where(more[:, 1], 1, 0))
        same_kind = kind[:, None] == kind[None, :]
        next_one = ~np.any(inside[np.ix_(fewer, fewer)] & same_kind, axis=1)
        others, kind = fewer[next_one], kind[next_one]
        mean = (held[i] - held[others]) / (count[i] - count[others])
        chance = HIDDEN[kind] * np.exp(HIDDEN_POWER * mean)
        chance *= min(1.0, MOST_HIDDEN / chance.sum())
        out[i] = np.logaddexp(
            np.log1p(-chance.sum()) + out[i], np.logaddexp.reduce(np.log(chance) + out[others])
        )
    out = out[which.ravel()]
    return out[1:] - out[0]


def log_mean(values: Floats) -> float:
    """log of the mean of exp(values)."""
    return float(logsumexp(values) - np.log(values.size))
