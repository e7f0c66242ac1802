"""The search for cells that index given lines: trials of each Bravais lattice, refined and told apart.

For each Bravais lattice the indices that its first lines are likely to have (index_trials.npz, see
`index_generate`) are tried on combinations of the first observed lines; of a triclinic lattice, three lines
are its axes (`index_triclinic`). Each trial is a cell, scored on all of the first lines by how much better
than chance it places them (`index_screen`). The best are refined with the zero shift, on more lines and with
narrower errors (`index_refine`), and ranked by that score (`index_sublattice`) plus an Occam term for their
number of parameters. Lines that belong to no lattice (an impurity, noise, another wavelength) cost a bounded
amount.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from itertools import combinations

import numpy as np
import numpy.typing as npt

from eg_agent.library.cells import near_cells
from eg_agent.verify import index_kernels as kernels
from eg_agent.verify import index_sublattice as sublattices
from eg_agent.verify import index_triclinic as triclinic
from eg_agent.verify.index_lattice import (
    POINTS,
    cell_from_parameters,
    form_of,
    niggli,
    parameters_of,
    primitive_volume,
)
from eg_agent.verify.index_refine import refine
from eg_agent.verify.index_result import IndexedCell
from eg_agent.verify.index_screen import screen
from eg_agent.verify.peaks import Peaks

Floats = npt.NDArray[np.floating]

#: Order in which lattices are searched: few parameters first.
ORDER = ("cF", "cI", "cP", "hR", "hP", "tI", "tP", "oF", "oI", "oC", "oP", "mC", "mP", "aP")
#: Lines that trials are scored on, that the refinement uses, and that base lines are chosen from.
SCREEN_LINES = 20
REFINE_LINES = 40
BASE_LINES = {"cubic": 6, "tetragonal": 8, "hexagonal": 8, "orthorhombic": 8, "monoclinic": 9, "triclinic": 9}
#: Lines on which the best cells are compared, and what a cell loses (nats, at most) that fails on them.
COMPARE_LINES = 80
COMES_APART = -50.0
#: Lines without which there is nothing to search with.
FEWEST_LINES = 5
#: Trials that are refined, a lattice and a zero shift.
KEEP = 60
#: Trials between two looks at the clock (about 0.1 s).
TRIALS_A_LOOK = 60_000
#: A trial lattice may have so many lines for each observed one.
MOST_LINES_EACH = 8.0
#: And so few, by that formula, which counts too few lines of high symmetry at low angle.
FEWEST_LINES_EACH = {
    "cubic": 0.03,
    "tetragonal": 0.08,
    "hexagonal": 0.06,
    "orthorhombic": 0.15,
    "monoclinic": 0.25,
    "triclinic": 0.3,
}
#: Cells whose reduced lengths (relative) and angles (degrees) agree this well are one.
SAME_LENGTH, SAME_ANGLE = 0.006, 0.5
#: Refined trials that are compared for being one lattice.
COMPARED = 150
#: Score (nats) below which a refined trial is not listed.
WORST = -10.0
#: Lines that are foreign with a higher probability than this are no base lines where others are left.
_DOUBTFUL = 0.3


@dataclass(frozen=True, eq=False)
class Observed:
    """Lines prepared for indexing. q, by_zero (dQ per degree), s_wide, s_narrow, foreign: all [n]."""

    q: Floats
    by_zero: Floats
    s_wide: Floats
    s_narrow: Floats
    foreign: Floats
    zero_error: float

    def __len__(self) -> int:
        return len(self.q)

    def shifted(self, zero: float) -> Floats:
        """Q [n] as it would be if the pattern read `zero` degrees too high."""
        return self.q - self.by_zero * zero


@cache
def _trials(lattice: str) -> npt.NDArray[np.float64]:
    """[t, p, p] from the Q of p base lines to the parameters, for each index tuple of a lattice."""
    with resources.files("eg_agent.verify").joinpath("index_trials.npz").open("rb") as file:
        rows = np.load(file)[lattice].astype(np.float64)
    return np.ascontiguousarray(np.linalg.inv(rows))


def search_cells(
    observed: Observed, lattices: Sequence[str], deadline: float
) -> tuple[list[IndexedCell], bool]:
    """Cells of the given lattices, best first, and whether the search ended before the deadline.

    deadline: of time.perf_counter(). A triclinic search waits until the others have found nothing that
    explains nearly all lines: a lattice of higher symmetry needs no triclinic one beside it.
    """
    found: list[IndexedCell] = []
    quick = [name for name in lattices if name != "aP"]
    sizes = [0.0, *(sign * size * observed.zero_error for size in (1.0, 2.0) for sign in (1, -1))]
    for turn, zero in enumerate(sizes):
        for lattice in quick:
            if time.perf_counter() > deadline:
                return distinct(found), False
            found += search_lattice(observed, lattice, zero, deadline)
        found = distinct(found)
        if settled(found):
            return found, True
        if "aP" in lattices and turn < 3:
            if time.perf_counter() > deadline:
                return found, False
            found = distinct(found + search_lattice(observed, "aP", zero, deadline))
            if settled(found):
                return found, True
    return found, time.perf_counter() <= deadline


def settled(found: Sequence[IndexedCell]) -> bool:
    """Whether the best cell leaves nothing to look for at another zero shift."""
    if not found:
        return False
    best = found[0]
    return best.n_indexed >= 0.9 * best.n_lines and best.score > 1.0 * best.n_lines


def observe(peaks: Peaks, most: int = REFINE_LINES) -> Observed:
    """The first lines, `most` of them, with the errors that indexing uses.

    The fit's standard error says nothing of what displaces a line as a whole (neighbours not resolved, a
    profile that is not symmetric): a share of the line's width is added, much to begin with, little at last.
    """
    n = min(len(peaks), most)
    two_theta, sigma, fwhm = peaks.two_theta[:n], peaks.sigma[:n], peaks.fwhm[:n]
    typical = float(np.median(fwhm)) if n else 0.1
    by_zero = np.sin(np.radians(two_theta)) * 2.0 / peaks.wavelength**2 * np.pi / 180
    strength = peaks.area[:n] / max(float(np.median(peaks.area[:n])), 1e-300) if n else np.ones(0)
    weak = (peaks.significance[:n] < 10) | (strength < 0.05)
    return Observed(
        q=peaks.q[:n].copy(),
        by_zero=by_zero,
        s_wide=by_zero * np.sqrt(np.minimum(sigma, fwhm) ** 2 + (0.2 * typical) ** 2),
        s_narrow=by_zero * np.sqrt(np.minimum(sigma, fwhm) ** 2 + (0.06 * typical) ** 2),
        foreign=np.where(peaks.stray[:n], 0.8, np.where(weak, 0.25, 0.06)),
        zero_error=float(np.clip(0.5 * typical, 0.005, 0.06)),
    )


def _base_lines(observed: Observed, system: str) -> npt.NDArray[np.int64]:
    """The first lines, doubtful ones replaced by later sure ones."""
    count = min(BASE_LINES[system], len(observed))
    pool = np.arange(min(count + 5, len(observed)))
    doubt = observed.foreign[pool] > _DOUBTFUL
    return np.sort(pool[np.argsort(doubt, kind="stable")][:count])


def _bases(observed: Observed, system: str) -> npt.NDArray[np.int64]:
    """[c, p] combinations of base lines, those of sure lines first."""
    p = {"cubic": 1, "tetragonal": 2, "hexagonal": 2, "orthorhombic": 3, "monoclinic": 4, "triclinic": 3}[
        system
    ]
    every = np.array(list(combinations(_base_lines(observed, system), p)), dtype=np.int64).reshape(-1, p)
    return every[np.argsort(observed.foreign[every].sum(axis=1), kind="stable")]


def search_lattice(observed: Observed, lattice: str, zero: float, deadline: float) -> list[IndexedCell]:
    """Screen the trials of one lattice at one zero shift, and refine the best."""
    form = form_of(lattice)
    n = min(SCREEN_LINES, len(observed))
    q = np.maximum(observed.shifted(zero), 1e-9)
    # Lines up to q of a lattice of volume V: about (4 pi / 3) q^1.5 V / holohedry.
    per_volume = 4 * np.pi / 3 * q[n - 1] ** 1.5 * POINTS[lattice[1]] ** -1 / form.holohedry
    bounds = (
        (MOST_LINES_EACH * n / per_volume) ** -2,
        (FEWEST_LINES_EACH[form.system] * n / per_volume) ** -2,
        int(MOST_LINES_EACH * n),
    )
    kept = np.zeros((KEEP, form.n_parameters))
    kept_score = np.full(KEEP, -np.inf)
    lines = (q[:n].copy(), observed.s_wide[:n].copy(), observed.foreign[:n].copy())
    bases = _bases(observed, form.system)
    if form.system == "triclinic":
        for i, j, k in bases:
            triclinic.screen_axes(*lines, i, j, k, *bounds, kept, kept_score)
            if time.perf_counter() > deadline:
                break
    else:
        which = (kernels.SYSTEMS[form.system], kernels.CENTRINGS[lattice[1]])
        trials = _trials(lattice)
        for part in _parts(bases, max(1, TRIALS_A_LOOK // max(len(trials), 1))):
            screen(*lines, part, trials, *which, *bounds, kept, kept_score)
            if time.perf_counter() > deadline:
                break
    order = np.argsort(-kept_score)
    cells = [refined(observed, lattice, kept[i], zero) for i in order if kept_score[i] > 0.0]
    return [cell for cell in cells if cell is not None and cell.score > WORST]


def _parts(rows: npt.NDArray[np.int64], size: int) -> Iterator[npt.NDArray[np.int64]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def refined(observed: Observed, lattice: str, start: Floats, zero: float = 0.0) -> IndexedCell | None:
    """A trial after least squares, or None when it came apart. start [p]: parameters of its form."""
    form = form_of(lattice)
    n = len(observed)
    x = np.zeros(form.n_parameters + 1)
    explained, occam, n_indexed = refine(
        observed.q,
        observed.by_zero,
        observed.s_wide,
        observed.s_narrow,
        observed.foreign,
        kernels.SYSTEMS[form.system],
        kernels.CENTRINGS[lattice[1]],
        np.ascontiguousarray(start, dtype=np.float64),
        zero,
        observed.zero_error,
        8,
        sublattices.TABLES[form.system],
        sublattices.SHARES,
        x,
    )
    if n_indexed < 0:
        return None
    try:
        cell = cell_from_parameters(x[:-1], form.system)
    except ValueError:
        return None
    if not (min(cell[:3]) > 1.0 and max(cell[:3]) < 200.0 and min(cell[3:]) > 20.0 and max(cell[3:]) < 160.0):
        return None
    m20, f20, wu = _merit(observed, lattice, x)
    return IndexedCell(
        cell=cell,
        lattice=lattice,
        score=float(explained + occam),
        m20=m20,
        f20=f20,
        n_indexed=int(n_indexed),
        n_lines=n,
        volume=primitive_volume(cell, "P"),
        zero_shift=float(x[-1]),
        wu=wu,
    )


def _merit(observed: Observed, lattice: str, x: Floats) -> tuple[float, float, float]:
    """de Wolff's M, Smith and Snyder's F (1/degrees) and Wu's M over the indexed lines among the first 20.

    M = Q_N / (2 <|dQ|> N) takes the lines of the lattice as evenly spaced; Wu (J. Appl. Cryst. 21 (1988) 530)
    puts the distance of a random place from the nearest of them in the numerator, sum(gap^2) / (4 Q_N).
    """
    n = min(20, len(observed))
    q = observed.q[:n] - observed.by_zero[:n] * x[-1]
    calc, hkl = np.empty(kernels.MOST_LINES), np.empty((kernels.MOST_LINES, 3), dtype=np.int64)
    s = observed.s_narrow[:n]
    system, centring = kernels.SYSTEMS[form_of(lattice).system], kernels.CENTRINGS[lattice[1]]
    n_calc = kernels.lines_of(system, centring, x[:-1].copy(), q[-1] + 3 * s[-1], calc, hkl)
    if n_calc < 1:
        return 0.0, 0.0, 0.0
    off = np.abs(q[:, None] - calc[:n_calc]).min(axis=1)
    hit = off < 3.5 * s
    if not hit.any():
        return 0.0, 0.0, 0.0
    last = q[hit][-1]
    until = np.sort(calc[:n_calc])
    until = until[until <= last + 3.5 * s[-1]]
    possible = max(len(until), 1)
    mean = max(float(off[hit].mean()), 1e-9)
    m20 = last / (2 * mean * possible)
    f20 = float(hit.sum()) / possible / max(float((off[hit] / observed.by_zero[:n][hit]).mean()), 1e-6)
    gaps = np.diff(until, prepend=0.0)
    wu = float((gaps**2).sum()) / (4 * last * mean)
    return float(m20), float(f20), wu


def compared(cells: Sequence[IndexedCell], peaks: Peaks, count: int) -> list[IndexedCell]:
    """The first `count` cells judged on more lines than they were found with, best first; the others after.

    A subcell, a supercell or a metric of too high symmetry may explain the first lines as well as the true
    cell does; at higher angle lines beside it add up, and small differences of the metric grow.
    """
    if len(peaks) <= REFINE_LINES:
        return list(cells)
    observed = observe(peaks, COMPARE_LINES)
    judged = []
    for cell in cells[:count]:
        start = parameters_of(cell.cell, cell.lattice)[0]  # the setting that the search uses
        again = refined(observed, cell.lattice, start, cell.zero_shift)
        added = COMES_APART if again is None else max(again.score - cell.score, COMES_APART)
        judged.append(replace(cell, pattern_score=added))
    judged.sort(key=lambda cell: -cell.total_score)
    return judged + [replace(cell, pattern_score=COMES_APART) for cell in cells[count:]]


def distinct(cells: Sequence[IndexedCell]) -> list[IndexedCell]:
    """Best first, one of each lattice; of nearly equal scores the one of higher symmetry."""
    rank = {name: i for i, name in enumerate(ORDER)}
    kept: list[IndexedCell] = []
    reduced = np.zeros((0, 6))
    for cell in sorted(cells, key=lambda c: -c.rank_score)[:COMPARED]:
        own = niggli(cell.cell, cell.lattice[1])
        a, b, c, alpha, beta, gamma = (float(v) for v in own)
        cell = replace(cell, primitive=(a, b, c, alpha, beta, gamma))
        same = near_cells(cell.primitive, reduced, length=SAME_LENGTH, angle=SAME_ANGLE)
        if len(same):
            i = int(same[0])
            other = kept[i]
            if rank[cell.lattice] < rank[other.lattice] and cell.rank_score > other.rank_score - 3.0:
                kept[i] = cell
                reduced[i] = own
            continue
        kept.append(cell)
        reduced = np.vstack([reduced, own])
    kept.sort(key=lambda cell: -cell.rank_score)
    return kept
