"""Where new lines lie, against a known cell: at forbidden places of it, of a larger one, or of neither."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.stats import binom

from eg_agent.monitor.change import Cause

Floats = npt.NDArray[np.float64]

#: Larger cells that are tried, multiples of a, b, c, and the present one (1, 1, 1): its forbidden lines.
LARGER = (
    (1, 1, 1),
    (2, 1, 1),
    (1, 2, 1),
    (1, 1, 2),
    (2, 2, 1),
    (2, 1, 2),
    (1, 2, 2),
    (2, 2, 2),
    (3, 3, 1),
    (1, 1, 3),
)
#: A place counts as hit within this share of a FWHM.
NEAR = 0.5
#: So improbable must the hits of a cell be by chance, corrected for the number of cells.
RARE = 0.01


def explained_by(
    two_theta: Floats,
    cell: Sequence[float],
    group: int | None,
    wavelength: float,
    expansion: float,
    fwhm: float,
) -> tuple[Cause, tuple[str, ...]]:
    """ "symmetry" with the cells that explain new lines at two_theta [n] degrees, or "foreign phase".

    Each cell's lines cover a share of the axis, and by chance hit as often as a binomial law says. Where the
    densest cells cover more than half of it, hits mean little: then, and with fewer than two lines,
    the answer is "undetermined".
    """
    if two_theta.size < 2:
        return "undetermined", ()
    grown = tuple(float(v) * (1.0 + expansion) for v in cell[:3]) + tuple(float(v) for v in cell[3:])
    rows = []
    for times in LARGER:
        places = _places(grown, times, wavelength, float(two_theta.max()) + 1.0)
        hits, covered = _hits(two_theta, places, NEAR * fwhm)
        chance = float(binom.sf(hits - 1, two_theta.size, min(covered, 1.0)))
        rows.append((chance, int(np.prod(times)), times, hits, covered))
    telling = [row for row in rows if row[0] * len(rows) < RARE]
    if telling:
        said = []
        for _, _, times, hits, _ in sorted(telling)[:3]:
            what = (
                "lines of the cell that were forbidden"
                if times == (1, 1, 1)
                else "a cell {}a {}b {}c".format(*times)
            )
            said.append(f"{what}: {hits} of {two_theta.size} new lines")
        return "symmetry", tuple(said)
    # a smaller cell whose places are hit no oftener than by chance cannot be the reason
    if all(row[3] < two_theta.size for row in rows if row[4] < 0.5) and min(r[4] for r in rows) < 0.5:
        return "foreign phase", ()
    return "undetermined", ()


def _places(cell: tuple[float, ...], times: tuple[int, int, int], wavelength: float, top: float) -> Floats:
    """Degrees 2-theta of all lines of a larger cell, absences left out of account."""
    from eg_agent.verify.metric import reciprocal, tensor

    a, b, c, *angles = cell
    larger = (a * times[0], b * times[1], c * times[2], *angles)
    metric = reciprocal(larger)  # type: ignore[arg-type]
    longest = 2.0 * np.sin(np.radians(0.5 * min(top, 179.0))) / wavelength
    limits = [int(length * longest) + 1 for length in larger[:3]]
    h, k, m = (v.ravel() for v in np.meshgrid(*[np.arange(-n, n + 1) for n in limits], indexing="ij"))
    q = tensor(np.stack([h, k, m], axis=1)) @ metric
    q = np.unique(np.round(q[(q > 1e-9) & (q < longest**2)], 9))
    return 2.0 * np.degrees(np.arcsin(0.5 * wavelength * np.sqrt(q)))


def _hits(two_theta: Floats, places: Floats, near: float) -> tuple[int, float]:
    """How many lines lie at a place, and the share of the axis (over their span) that the places cover."""
    if places.size == 0:
        return 0, 0.0
    gap = np.min(np.abs(two_theta[:, None] - places[None, :]), axis=1)
    low, high = float(two_theta.min()) - 2.0, float(two_theta.max()) + 2.0
    grid = np.linspace(low, high, 2000)
    covered = np.min(np.abs(grid[:, None] - places[None, :]), axis=1) <= near
    return int(np.sum(gap <= near)), float(covered.mean())
