"""Two opinions on a candidate, pooled: the evidence of its absences, and chi-square with a price a line.

Misfit makes both too sure, in different ways. The evidence knows how strong the lines of a structure are
and how faint a line can be seen; chi-square with BIC's price of ln(points) a line knows neither, and is
seldom far off for that. Each opinion enters as the nats behind its own best candidate, with a long tail:
forty nats count little more than twenty. A third term grows with the number of lines that a candidate
forbids. The three weights, fitted on simulated samples with the misfit of measured patterns, are in
pooling.json with where they come from (`trainer.benchmark.pooling_fit`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eg_agent.verify.likelihood import Likelihood
from eg_agent.verify.nnls import nnls_normal

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Pooling:
    """Weights of the terms (see `terms_of`). tail: nats behind the best opinion from which on a further nat
    counts less and less: x nats count tail log(1 + x / tail)."""

    evidence: float
    bic: float
    forbidden: float
    tail: float


@cache
def shipped() -> Pooling:
    """The weights in pooling.json."""
    found = json.loads(Path(__file__).with_name("pooling.json").read_text("utf-8"))["weights"]
    return Pooling(**found)


def pooled(terms: Floats, pooling: Pooling | None = None) -> Floats:
    """[c] nats relative to the absence-free lattice, of the terms [c, 3] of candidates (`terms_of`)."""
    pooling = pooling or shipped()
    forbidden = np.append(0.0, terms[:, 2])
    against = opinions(terms, pooling.tail) @ np.array([pooling.evidence, pooling.bic])
    value = pooling.forbidden * forbidden - against
    return value[1:] - value[0]


def opinions(terms: Floats, tail: float | None = None) -> Floats:
    """[1 + c, 2] nats behind the best candidate of evidence and of BIC, with a long tail.

    The first row is the absence-free lattice, against which nothing speaks; terms: [c, 3], see `terms_of`.
    """
    every = np.vstack([np.zeros(2), terms[:, :2]])
    return with_tail(every.max(axis=0) - every, tail)


def with_tail(nats: Floats, tail: float | None = None) -> Floats:
    """What nats behind the best opinion count, with a long tail (`Pooling.tail`)."""
    tail = shipped().tail if tail is None else tail
    return tail * np.log1p(nats / tail)


def terms_of(likelihood: Likelihood, allowed: Mask, evidence: Floats) -> Floats:
    """[c, 3] evidence (nats), -BIC / 2 and log(1 + forbidden lines), relative to the absence-free lattice.

    allowed: [c, k] lines that the candidates allow; evidence: [c].
    """
    forbidden = (~allowed).sum(axis=1).astype(np.float64)
    price = np.log(likelihood.problem.data.grid.size)
    bic = chi_square(likelihood, allowed) - price * forbidden
    return np.stack([evidence, -0.5 * bic, np.log1p(forbidden)], axis=1)


def chi_square(likelihood: Likelihood, allowed: Mask) -> Floats:
    """[c] by how much chi-square grows over the absence-free fit, for masks [c, k] of allowed lines."""
    h, c = likelihood.precision, likelihood.moment
    every, passive = nnls_normal(h, c, np.ones(c.size, dtype=bool), start=likelihood.intensity > 0)
    least = float(every @ h @ every - 2.0 * (c @ every))
    masks, which = np.unique(allowed, axis=0, return_inverse=True)
    grown = np.zeros(len(masks))
    for i, mask in enumerate(masks):
        index = np.flatnonzero(mask)
        part, moment = h[np.ix_(index, index)], c[index]
        x, _ = nnls_normal(
            part, moment, np.ones(index.size, dtype=bool), start=passive[index], max_iterations=20
        )
        grown[i] = float(x @ part @ x - 2.0 * (moment @ x)) - least
    return np.maximum(grown, 0.0)[which.ravel()]
