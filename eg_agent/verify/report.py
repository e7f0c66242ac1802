"""A fit's parameters for people: named, bounded, with standard errors, as lmfit parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from eg_agent.verify.metric import cell_of
from eg_agent.verify.pawley import Fit

if TYPE_CHECKING:
    import lmfit


def lmfit_parameters(fit: Fit) -> lmfit.Parameters:
    """The parameters of a fit: cell (angstrom, degrees), zero and displacement (degrees), profile.

    Cell errors follow from those of the metric's strains by linear propagation, correlations left out;
    u, v, w are in degrees^2, x, y and axial in degrees (see `profile.Shape`).
    """
    import lmfit

    parameters = fit.parameters
    n = parameters.n_free
    strain = parameters.value[:n]
    cell = np.array(cell_of(fit.problem.metric(strain)))
    step = 1e-6
    slope = np.stack(
        [(np.array(cell_of(fit.problem.metric(strain + step * e))) - cell) / step for e in np.eye(n)], axis=1
    )
    errors = np.sqrt(np.nansum((slope * parameters.error[:n]) ** 2, axis=1))
    found = lmfit.Parameters()
    for name, value, error in zip(("a", "b", "c", "alpha", "beta", "gamma"), cell, errors):
        found.add(name, value=float(value), vary=bool(error > 0))
        found[name].stderr = float(error)
    for i in range(n, len(parameters.names)):
        name, varied = parameters.names[i], bool(np.isfinite(parameters.error[i]))
        found.add(
            name,
            value=float(parameters.value[i]),
            min=float(parameters.low[i]),
            max=float(parameters.high[i]),
            vary=varied,
        )
        found[name].stderr = float(parameters.error[i]) if varied else None
    return found
