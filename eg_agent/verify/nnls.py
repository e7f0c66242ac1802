"""Least squares on normal equations with some variables non-negative, by block principal pivoting."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def nnls_normal(
    normal: Floats, moment: Floats, nonnegative: Mask, *, start: Mask | None = None, max_iterations: int = 60
) -> tuple[Floats, Mask]:
    """Minimise x.N.x/2 - b.x with x >= 0 where `nonnegative`.

    normal: [n, n], symmetric positive definite; moment: [n]; start: [n] variables to begin with as
    non-zero (a previous answer). Returns x [n] and the mask of non-zero variables.

    Block principal pivoting with Murty's single exchange as the way out of a cycle (Portugal, Judice
    & Vicente, Math. Comp. 63 (1994) 625); scipy.optimize.nnls is the reference in the tests.
    """
    passive = np.ones(moment.size, dtype=bool) if start is None else start | ~nonnegative
    scale = float(np.max(np.abs(moment), initial=1e-300))
    diagonal = np.sqrt(np.maximum(np.diag(normal), 1e-300))
    best, patience = moment.size + 1, 3
    x = np.zeros_like(moment)
    for _ in range(max_iterations):
        index = np.flatnonzero(passive)
        x = np.zeros_like(moment)
        factor = cho_factor(normal[np.ix_(index, index)], lower=True, check_finite=False)
        x[index] = cho_solve(factor, moment[index], check_finite=False)
        gradient = normal @ x - moment
        tolerance = 1e-10 * scale
        wrong = nonnegative & ((passive & (x * diagonal < 0.0)) | (~passive & (gradient < -tolerance)))
        count = int(wrong.sum())
        if count == 0:
            break
        if count < best:
            best, patience = count, 3
            passive ^= wrong
        elif patience > 0:
            patience -= 1
            passive ^= wrong
        else:
            passive[np.flatnonzero(wrong)[-1]] ^= True
    return np.where(nonnegative, np.maximum(x, 0.0), x), passive
