"""Scores of a frame: log likelihood ratios of a change against none.

Widths: each line's innovation z is normal without a change; with one, a share of the lines (which ones is
not known) have innovations of any size up to ten times as wide. New and lost lines: a matched filter of
the width of a line, scanned over the axis.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d, maximum_filter1d
from scipy.special import logsumexp

Floats = npt.NDArray[np.float64]

#: Widths of the innovations of lines that change, in standard errors.
SPREADS = (3.0, 10.0, 30.0)
#: No single line says more than this, nats: one bad window is no change of symmetry.
MOST_A_LINE = 8.0
#: A peak of the scan below this many standard errors is none.
LEAST = 3.0
#: What came or went must be this share of what is there, at least.
COMPARABLE = 0.5
#: Tails and flanks of a line are known to this share of its height, as far as this many FWHM from it.
TAIL, REACH = 0.02, 6.0
#: FWHM at both ends of the range in which no line is looked for.
EDGE = 6.0
#: Most peaks of a scan that count.
MOST_PEAKS = 12


def changed_lines(z: Floats, share: float) -> float:
    """Nats for a change of the widths of some lines, from innovations z [j] that are normal without one."""
    if z.size == 0:
        return 0.0
    parts = [-np.log(s) + 0.5 * z**2 * (1.0 - 1.0 / s**2) for s in SPREADS]
    alternative = logsumexp(parts, axis=0) - np.log(len(SPREADS))
    each = np.logaddexp(np.log1p(-share), np.log(share) + alternative)
    return float(np.sum(np.minimum(each, MOST_A_LINE)))


@dataclass(frozen=True, eq=False, slots=True)
class Scan:
    """Peaks of a scan: index [k] on the axis, z [k] standard errors (negative: a line that went); nats."""

    index: npt.NDArray[np.int64]
    z: Floats
    nats: float


def scan(
    difference: Floats, variance: Floats, lines: Floats, width: float, drift: float, *, lost: bool
) -> Scan:
    """Lines that came (or, with `lost`, that went) in a difference of means [n].

    variance: [n] of the difference; lines: [n] what is there already, above background; width: FWHM in
    points; drift: share of a line's intensity that may come and go.
    """
    sigma = max(0.8, 0.425 * width)
    signed = -difference if lost else difference
    # one matched filter for all: correlation with a Gaussian of the lines' width
    gain = 2.0 * np.sqrt(np.pi) * sigma
    height = gaussian_filter1d(signed, sigma)
    noise2 = gaussian_filter1d(variance, sigma / np.sqrt(2.0)) / gain
    there = gaussian_filter1d(lines, sigma)
    around = TAIL * maximum_filter1d(there, 2 * round(REACH * width) + 1)
    # a background or a width that drifts spoils the whole field: then all of it counts less
    field = height / np.sqrt(noise2 + 1e-300)
    noise2 = noise2 * max(1.0, 1.4826 * float(np.median(np.abs(field - np.median(field))))) ** 2
    # on the flank of a line that moved or changed a little there is much already: that is no new line
    z = np.maximum(height - drift * there - around, 0.0) / np.sqrt(noise2 + 1e-300)
    z[height < COMPARABLE * there] = 0.0
    if lost:  # only what stood out can go
        z[there < 5.0 * np.sqrt(noise2)] = 0.0
    # lines that expansion brings into the range, or out of it, are no news
    edge = round(EDGE * width) + 1
    z[:edge] = z[-edge:] = 0.0
    inner = z[1:-1]
    top = 1 + np.flatnonzero((inner > z[:-2]) & (inner >= z[2:]) & (inner > LEAST))
    order = top[np.argsort(-z[top])][:MOST_PEAKS]
    places = max(z.size / (2.5 * width), 2.0)
    # each peak pays for the places where it could have been
    each = np.minimum(0.5 * z[order] ** 2 - np.log(places), 2.0 * MOST_A_LINE)
    nats = float(np.sum(np.maximum(each, 0.0))) if order.size else 0.0
    best = float(each.max()) if order.size else -float(np.log(places))
    return Scan(order, np.where(lost, -1.0, 1.0) * z[order], nats if nats > 0.0 else min(best, 0.0))
