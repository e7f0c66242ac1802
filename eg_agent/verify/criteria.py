"""What simpler criteria say on the same fit: BIC, AIC and Le Bail goodness of fit beside the evidence.

They are for comparison: `verify` ranks by the evidence alone. All take the background, cell and profile of
the one absence-free fit, BIC and AIC a chi-square whose variance is inflated by the local misfit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eg_agent.patterns.pattern import Pattern
from eg_agent.verify.candidates import Candidate
from eg_agent.verify.likelihood import Likelihood
from eg_agent.verify.restricted import RestrictedFits
from eg_agent.verify.score import log_mean
from eg_agent.verify.settings import VerifySettings

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

#: Lines that BIC and AIC look at, from low angle: beyond, overlap leaves little to say for a penalty a line.
MOST_LINES = 110
#: Le Bail's iterations, from equal intensities.
LE_BAIL_STEPS = 12


@dataclass(frozen=True, slots=True)
class Criteria:
    """Criteria [g] of the groups, in their order in `group`.

    log_evidence: nats relative to the absence-free group, of the mean over a group's settings (more is
    better). bic, aic: chi-square + penalty a line, ln(points) and 2 (less is better), of the best setting;
    le_bail: sqrt(chi-square / freedom) by counting statistics, of a Le Bail decomposition in the best
    setting (less is better).
    """

    group: npt.NDArray[np.int64]
    log_evidence: Floats
    bic: Floats
    aic: Floats
    le_bail: Floats


def criteria(
    pattern: Pattern,
    cell: Sequence[float],
    *,
    candidates: Sequence[int] | None = None,
    settings: VerifySettings | None = None,
) -> Criteria:
    """The criteria of every candidate group on one fit; arguments and errors as `verify`.

    Raises `eg_agent.verify.fitting.NotFitted` where `verify` answers "not fitted".
    """
    from eg_agent.verify.verifier import weigh

    weighed = weigh(pattern, cell, candidates=candidates, settings=settings)
    return compare(weighed.likelihood, list(weighed.candidates), weighed.scores.log_evidence)


def compare(likelihood: Likelihood, candidates: list[Candidate], log_evidence: Floats) -> Criteria:
    """The criteria on a likelihood; log_evidence: [c] nats of the candidates."""
    masks = np.stack([c.allowed > 0 for c in candidates])
    distinct, which = np.unique(masks, axis=0, return_inverse=True)
    which = which.ravel()
    fits, points = _chi_square(likelihood)
    chi2 = np.array([fits.chi_square(mask) for mask in distinct])
    lines = distinct[:, :MOST_LINES].sum(axis=1)
    le_bail = np.array([_le_bail(likelihood, mask) for mask in distinct])
    group = np.array([c.setting.group for c in candidates])
    numbers = np.unique(group)

    def best(values: Floats) -> Floats:
        return np.array([values[which][group == number].min() for number in numbers])

    return Criteria(
        numbers,
        np.array([log_mean(log_evidence[group == number]) for number in numbers]),
        best(chi2 + np.log(points) * lines),
        best(chi2 + 2.0 * lines),
        best(le_bail),
    )


def _chi_square(likelihood: Likelihood) -> tuple[RestrictedFits, int]:
    """Fits with local misfit in the weights up to line `MOST_LINES`, and the number of points there."""
    data = likelihood.problem.data
    k = min(len(likelihood.lines), MOST_LINES)
    last = data.grid.size
    if k < len(likelihood.lines):
        middle = 0.5 * (likelihood.two_theta[k - 1] + likelihood.two_theta[k])
        last = int(np.searchsorted(data.grid, middle))
    weight = np.where(np.arange(data.grid.size) < last, likelihood.weight, 0.0)
    return RestrictedFits(likelihood, weight, k), last


def _le_bail(likelihood: Likelihood, mask: Mask) -> float:
    """Goodness of fit of Le Bail's decomposition (Le Bail, Duroy & Fourquet, Mater. Res. Bull. 23 (1988)
    447) into the lines of a mask, with the profile and background of the absence-free fit."""
    solution, data = likelihood.solution, likelihood.problem.data
    shapes = solution.profile.matrix(solution.profile.value)[:, np.flatnonzero(mask)].tocsr()
    if shapes.shape[1] == 0:
        return float("inf")
    net = np.maximum(data.y - solution.background, 0.0)
    total = np.maximum(np.asarray(shapes.sum(axis=0)).ravel(), 1e-300)
    intensity = np.full(total.size, max(float(net.sum()), 1e-300) / total.sum())
    for _ in range(LE_BAIL_STEPS):
        calculated = np.maximum(shapes @ intensity, 1e-300)
        intensity = intensity * (shapes.T @ (net / calculated)) / total
    misfit = data.y - solution.background - shapes @ intensity
    freedom = max(data.y.size - total.size, 1)
    return float(np.sqrt(np.sum(misfit**2 / data.variance) / freedom))
