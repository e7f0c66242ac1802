"""The lines of a likelihood as a table, from which a further measurement can be predicted."""

from __future__ import annotations

import numpy as np

from eg_agent.verify.evidence import LineTable
from eg_agent.verify.likelihood import Likelihood


def line_table(likelihood: Likelihood) -> LineTable:
    """Unconstrained intensities with their errors, and how much of the errors is counting noise."""
    order = np.argsort(likelihood.two_theta, kind="stable")
    precision = likelihood.precision
    scale = 1.0 / np.sqrt(np.maximum(np.diag(precision), 1e-300))
    unit = precision * np.outer(scale, scale)
    # the ridge keeps lines that overlap wholly from taking huge intensities of either sign
    free = scale * np.linalg.solve(unit + 1e-6 * np.eye(scale.size), scale * likelihood.moment)
    at = np.interp(likelihood.two_theta, likelihood.problem.data.grid, likelihood.inflation)
    names = likelihood.lines.representative
    return LineTable(
        two_theta=likelihood.two_theta[order],
        hkl=tuple((int(hkl[0]), int(hkl[1]), int(hkl[2])) for hkl in names[order]),
        fwhm=likelihood.solution.width.fwhm[order],
        intensity=free[order],
        sigma=likelihood.sigma[order],
        counting=1.0 / np.maximum(at[order], 1.0),
    )
