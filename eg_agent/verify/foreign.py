"""Lines that no reflection of the lattice explains: found in the residual, and counted.

A foreign phase gives lines anywhere. Those that stand clear of every line of the lattice are seen, and their
number a degree says how likely one hides on a forbidden position.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d, maximum_filter1d
from scipy.signal import find_peaks

from eg_agent.verify.pawley import Problem, Solution

Floats = npt.NDArray[np.float64]

#: A foreign line stands this many FWHM from every line of the lattice, so many standard errors high, and
#: above this share of the calculated pattern within two FWHM (nearer the truth, it is misfit).
CLEAR, SIGNIFICANT, SHARE = 1.0, 5.0, 0.15
#: Most foreign lines that are counted.
MOST = 40
#: Prior of their number a degree (gamma): some ten over 60 degrees, weighing as much as six degrees seen.
RATE, DEGREES_SEEN = 0.17, 6.0


@dataclass(frozen=True, slots=True)
class Foreign:
    """Foreign lines: positions [n_wavelengths, f] degrees, height [f] in the pattern's units, their rate.

    rate: expected number a degree where none can be seen.
    """

    positions: Floats
    height: Floats
    rate: float

    @property
    def two_theta(self) -> Floats:
        """[f] degrees at the first wavelength."""
        return self.positions[0]


def foreign_lines(problem: Problem, solution: Solution) -> Foreign:
    """Foreign lines of a fit: peaks of its residual that stand clear of every line."""
    data = problem.data
    at = np.sort(np.nan_to_num(solution.positions, nan=1e3).ravel())
    order = np.argsort(solution.positions[0])
    known, fwhm_of = solution.positions[0][order], solution.width.fwhm[order]
    fwhm = np.interp(data.grid, known, fwhm_of)
    points = max(0.7, 0.35 * float(np.median(fwhm)) / data.step)
    smooth = gaussian_filter1d(data.y - solution.calculated, points)
    error = np.sqrt(data.variance / (2.0 * np.sqrt(np.pi) * points))
    reach = 2 * int(2.0 * float(np.median(fwhm)) / data.step) + 1
    near = maximum_filter1d(solution.calculated - solution.background, reach)
    place = np.clip(np.searchsorted(at, data.grid), 1, max(at.size - 1, 1))
    gap = np.minimum(
        np.abs(data.grid - at[place - 1]), np.abs(at[np.minimum(place, at.size - 1)] - data.grid)
    )
    free = gap > CLEAR * fwhm
    least = np.maximum(SIGNIFICANT * error, SHARE * near)
    found, _ = find_peaks(smooth, height=least, prominence=np.maximum(4.0 * error, 0.5 * least))
    found = found[free[found]]
    found = np.sort(found[np.argsort(-smooth[found])[:MOST]])
    degrees = float(free.sum()) * data.step
    rate = (RATE * DEGREES_SEEN + found.size) / (DEGREES_SEEN + degrees)
    sine = np.sin(np.radians(0.5 * data.grid[found])) / problem.wavelengths[0]
    positions = np.stack(
        [np.degrees(2.0 * np.arcsin(np.minimum(sine * w, 0.9999))) for w in problem.wavelengths]
    )
    return Foreign(positions, smooth[found], rate)
