"""The lines of a likelihood as a table, from which a further measurement can be predicted."""

from __future__ import annotations

import numpy as np

from eg_agent.verify.evidence import LineTable
from eg_agent.verify.likelihood import Likelihood
from eg_agent.verify.line_features import unconstrained


def line_table(likelihood: Likelihood) -> LineTable:
    """Unconstrained intensities with their errors, and how much of the errors is counting noise."""
    order = np.argsort(likelihood.two_theta, kind="stable")
    free = unconstrained(likelihood.precision, likelihood.moment)
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
