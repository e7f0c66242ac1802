"""Fits with only some lines allowed: chi-squares of many masks on one normal matrix."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eg_agent.verify.likelihood import Likelihood
from eg_agent.verify.nnls import nnls_normal
from eg_agent.verify.pawley import normal_equations, regularised

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


class RestrictedFits:
    """chi-square of the best non-negative fit for any mask of allowed lines; each mask is fitted once.

    Profile and positions are those of the absence-free fit; intensities and background are free. weight: [n]
    of the points (0 leaves one out). lines: how many, from low angle, a mask speaks of; those beyond reach
    in with their tails and stay free. None: all.
    """

    def __init__(self, likelihood: Likelihood, weight: Floats, lines: int | None = None) -> None:
        data, solution = likelihood.problem.data, likelihood.solution
        y = data.y - data.background
        self._every = solution.dense.shape[1]
        self._judged = self._every if lines is None else lines
        normal, self._moment = normal_equations(
            solution.dense, solution.profile, likelihood.problem.background, weight, y
        )
        self._normal = regularised(normal, self._every)
        self._constant = float(np.sum(weight * y**2))
        self._start = solution.passive
        self._known: dict[bytes, float] = {}

    def chi_square(self, allowed: Mask) -> float:
        """Weighted sum of squared residuals with only the lines of `allowed` [k]."""
        judged = allowed[: self._judged]
        key = judged.tobytes()
        if key not in self._known:
            kept = np.ones(self._moment.size, dtype=bool)
            kept[: self._judged] = judged
            index = np.flatnonzero(kept)
            part, moment = self._normal[np.ix_(index, index)], self._moment[index]
            x, _ = nnls_normal(part, moment, index < self._every, start=self._start[index], max_iterations=20)
            self._known[key] = self._constant - 2.0 * float(moment @ x) + float(x @ part @ x)
        return self._known[key]
