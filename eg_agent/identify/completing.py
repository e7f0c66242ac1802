"""What the network is shown of a pattern that was measured in windows around the lines of a known cell.

The network learnt from patterns that are measured in one piece. Between windows around the lines of a lattice
there is nothing but background, whatever the group: that much is known without measuring it. So the gaps
are bridged for the network, and only for it: the evidence is read from what was measured. Without this the
network falls back to its prior on such windows (docs/explanations/deciding.md has the figures).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from eg_agent.patterns import Pattern
from eg_agent.patterns.coordinate import two_theta_of_d
from eg_agent.verify.lines import lattice_lines
from eg_agent.verify.metric import (
    Cell,
    hexagonal_axes,
    is_rhombohedral,
    metric_system,
    reciprocal,
    symmetrized,
)

Floats = npt.NDArray[np.float64]

#: Points at the edge of a window whose mean is taken for the background there.
EDGE = 6


def completed(pattern: Pattern, cell: Cell | None) -> Pattern:
    """The pattern with the gaps between its windows bridged where the lattice has no line.

    pattern: on one scale (`eg_agent.patterns.evened`). cell: angstrom and degrees; without one, or where all
    was measured in one piece, the pattern is returned as it is. Bridged points lie on a straight line
    between the edges of the windows and scatter like those; the scatter is the same for the same pattern.
    """
    if cell is None or len(pattern.covered) < 2:
        return pattern
    x, y = pattern.two_theta, pattern.intensity
    step = float(np.median(np.diff(x)))
    lines = _angles(cell, pattern, float(x[-1]))
    rng = np.random.default_rng(0xB41D6E)
    new_x, new_y = [], []
    covered = [list(pattern.covered[0])]
    for low, high in pattern.covered[1:]:
        left, right = covered[-1][1], low
        angle = np.arange(left + step, right - 0.5 * step, step)
        # a point may lie beyond its window, by rounding or between the points of another measurement
        near = np.clip(np.searchsorted(x, angle), 1, x.size - 1)
        angle = angle[np.minimum(np.abs(angle - x[near - 1]), np.abs(angle - x[near])) > 0.1 * step]
        # a line inside a window was measured, and its tail is bridged; one in the gap was not
        if np.searchsorted(lines, right) > np.searchsorted(lines, left):
            covered.append([low, high])
            continue
        before, after = np.flatnonzero(x <= left + 1e-6)[-EDGE:], np.flatnonzero(x >= right - 1e-6)[:EDGE]
        if angle.size and before.size and after.size:
            level = np.interp(angle, [left, right], [y[before].mean(), y[after].mean()])
            edge = np.concatenate([before, after])
            error = np.sqrt(np.maximum(y[edge], 1.0)) if pattern.sigma is None else pattern.sigma[edge]
            new_x.append(angle)
            new_y.append(np.maximum(level + float(np.median(error)) * rng.standard_normal(angle.size), 0.0))
        covered[-1][1] = high
    if not new_x:
        return pattern
    all_x, all_y = np.concatenate([x, *new_x]), np.concatenate([y, *new_y])
    order = np.argsort(all_x, kind="stable")
    return replace(
        pattern,
        two_theta=all_x[order],
        intensity=all_y[order],
        sigma=None,
        counting_time=None,
        raw_counts=False,
        covered=tuple((a, b) for a, b in covered) if len(covered) > 1 else (),
    )


def _angles(cell: Cell, pattern: Pattern, last: float) -> Floats:
    """[k] angles of the lattice's lines up to a little beyond `last`, degrees, ascending."""
    if is_rhombohedral(cell):
        cell = hexagonal_axes(cell)
    system = metric_system(cell)
    cell = symmetrized(cell, system)
    wavelength = pattern.radiation.mean_wavelength
    d_min = wavelength / (2.0 * np.sin(np.radians(min(last + 1.0, 179.0) / 2.0)))
    return np.sort(two_theta_of_d(lattice_lines(cell, system, d_min).d(reciprocal(cell)), wavelength))
