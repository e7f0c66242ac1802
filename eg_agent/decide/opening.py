"""The first measurement of a sample whose cell is known: a glance at its first lines, and nothing between."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from eg_agent.decide.gain import Window, clip, points_in
from eg_agent.patterns.coordinate import two_theta_of_d
from eg_agent.patterns.radiation import Radiation
from eg_agent.verify.lines import lattice_lines
from eg_agent.verify.metric import (
    check_cell,
    hexagonal_axes,
    is_rhombohedral,
    metric_system,
    reciprocal,
    symmetrized,
)

#: Half width of the windows, degrees: lines are not quite where a cell and a good zero put them.
HALF = 0.5
#: For `opening`: all lines of the range.
EVERY_LINE = 10_000
#: Points and degrees that a pattern must have (`eg_agent.patterns.check`), with some to spare.
LEAST_POINTS, LEAST_SPAN = 260, 12.0


def opening(
    cell: Sequence[float],
    radiation: Radiation,
    two_theta: Window,
    step: float,
    *,
    lines: int = 25,
    half: float = HALF,
) -> tuple[Window, ...]:
    """Windows (degrees) around the first `lines` lines of the absence-free lattice of a cell.

    cell: a b c (angstrom) alpha beta gamma (degrees). two_theta: degrees that may be measured; step: degrees.
    More lines are taken, and the windows made wider, until there is enough for an answer; without any line
    inside, the whole range.
    """
    checked = check_cell(tuple(cell))
    if is_rhombohedral(checked):
        checked = hexagonal_axes(checked)
    system = metric_system(checked)
    checked = symmetrized(checked, system)
    d_min = radiation.wavelength / (2.0 * np.sin(np.radians(two_theta[1] / 2.0)))
    all_lines = lattice_lines(checked, system, d_min)
    angle = np.sort(two_theta_of_d(all_lines.d(reciprocal(checked)), radiation.mean_wavelength))
    angle = angle[(angle > two_theta[0]) & (angle < two_theta[1])]
    if angle.size == 0:
        return (two_theta,)
    apart = angle[np.concatenate([[True], np.diff(angle) > 0.05])]
    number = min(lines, apart.size)
    while True:
        windows = clip(tuple((float(a - half), float(a + half)) for a in apart[:number]), two_theta)
        long = windows[-1][1] - windows[0][0] >= LEAST_SPAN
        if long and points_in(windows, step) >= LEAST_POINTS:
            return windows
        if not long and number < apart.size:
            number += 1
        elif half < 5.0:
            half *= 1.3
        else:
            return (two_theta,)
