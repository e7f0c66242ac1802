"""Indexing: from the lines of a pattern to cells, when none is known.

For each Bravais lattice the indices that its first lines are likely to have (index_trials.npz, see
`index_generate`) are tried on combinations of the first observed lines; each trial is a cell, scored on
all of the first lines by how much better than chance it places them (`index_kernels`). The best are
refined with the zero shift, on more lines and with narrower errors, and ranked by that score plus an
Occam term for their number of parameters. Lines that belong to no lattice (an impurity, noise) cost a
bounded amount each.

De Wolff's M20 (J. Appl. Cryst. 1 (1968) 108) and Smith and Snyder's F20 (J. Appl. Cryst. 12 (1979) 60) are
given for each cell, over the indexed lines among the first 20.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from itertools import combinations

import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadInput
from eg_agent.patterns.pattern import Pattern
from eg_agent.symmetry import BRAVAIS_LATTICES
from eg_agent.verify import index_kernels as kernels
from eg_agent.verify.index_lattice import (
    POINTS,
    cell_from_parameters,
    conventional,
    form_of,
    niggli,
    primitive_volume,
)
from eg_agent.verify.metric import Cell
from eg_agent.verify.peaks import Peaks, find_peaks

Floats = npt.NDArray[np.floating]

#: Order in which lattices are searched: few parameters first.
ORDER = ("cF", "cI", "cP", "hR", "hP", "tI", "tP", "oF", "oI", "oC", "oP", "mC", "mP")
#: Lines that trials are scored on, that the refinement uses, and that base lines are chosen from.
SCREEN_LINES = 20
REFINE_LINES = 40
BASE_LINES = {"cubic": 6, "tetragonal": 8, "hexagonal": 8, "orthorhombic": 8, "monoclinic": 9, "triclinic": 9}
#: Trials that are refined, a lattice and a zero shift.
KEEP = 60
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


@dataclass(frozen=True, slots=True)
class IndexedCell:
    """A cell that indexes a pattern's lines.

    cell: conventional a b c (angstrom) alpha beta gamma (degrees). lattice: Bravais symbol, e.g. "mC".
    score: nats by which the lines are more probable than by chance, parameters paid for.
    m20, f20: figures of merit over the indexed lines among the first 20.
    n_indexed of n_lines lines lie on a line of the lattice. volume: of `cell`, angstrom^3.
    zero_shift: degrees 2-theta that the pattern reads too high.
    """

    cell: Cell
    lattice: str
    score: float
    m20: float
    f20: float
    n_indexed: int
    n_lines: int
    volume: float
    zero_shift: float


@dataclass(frozen=True, eq=False)
class _Observed:
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


def index(
    pattern: Pattern, *, systems: Sequence[str] | None = None, time_limit: float = 10.0
) -> tuple[IndexedCell, ...]:
    """Cells that index a pattern, best first; empty when nothing does.

    systems: Bravais lattices ("oP") in the order to search, for example by a network's posterior; those that
        are not named are left out. Default: all but triclinic, few parameters first.
    time_limit: seconds, after which the best found so far is given.
    """
    return index_lines(find_peaks(pattern), systems=systems, time_limit=time_limit)


def index_lines(
    peaks: Peaks, *, systems: Sequence[str] | None = None, time_limit: float = 10.0
) -> tuple[IndexedCell, ...]:
    """Cells that index given lines; see `index`."""
    lattices = tuple(ORDER if systems is None else systems)
    unknown = [name for name in lattices if name not in ORDER]
    if unknown:
        known = unknown[0] in BRAVAIS_LATTICES
        raise BadInput(
            f"{unknown[0]!r} is {'not searched' if known else 'no Bravais lattice'}: "
            f"give some of {', '.join(ORDER)}."
        )
    deadline = time.perf_counter() + time_limit
    observed = _observe(peaks)
    if len(observed) < 5:
        return ()
    found: list[IndexedCell] = []
    for zero in (0.0, *(sign * size * observed.zero_error for size in (1.0, 2.0) for sign in (1, -1))):
        for lattice in lattices:
            if time.perf_counter() > deadline:
                break
            found += _search(observed, lattice, zero)
        found = _distinct(found)
        if time.perf_counter() > deadline or (found and _settled(found)):
            break
    return tuple(replace(cell, cell=conventional(cell.cell, cell.lattice)) for cell in found[:20])


def _settled(found: Sequence[IndexedCell]) -> bool:
    """Whether the best cell leaves nothing to look for at another zero shift."""
    best = found[0]
    return best.n_indexed >= 0.9 * best.n_lines and best.score > 2.0 * best.n_lines


def _observe(peaks: Peaks) -> _Observed:
    """The first lines with the errors that indexing uses.

    The fit's standard error says nothing of what displaces a line as a whole (neighbours not resolved, a
    profile that is not symmetric): a share of the line's width is added, much to begin with, little at last.
    """
    n = min(len(peaks), REFINE_LINES)
    two_theta, sigma, fwhm = peaks.two_theta[:n], peaks.sigma[:n], peaks.fwhm[:n]
    typical = float(np.median(fwhm)) if n else 0.1
    by_zero = np.sin(np.radians(two_theta)) * 2.0 / peaks.wavelength**2 * np.pi / 180
    strength = peaks.area[:n] / max(float(np.median(peaks.area[:n])), 1e-300) if n else np.ones(0)
    weak = (peaks.significance[:n] < 10) | (strength < 0.05)
    return _Observed(
        q=peaks.q[:n].copy(),
        by_zero=by_zero,
        s_wide=by_zero * np.sqrt(np.minimum(sigma, fwhm) ** 2 + (0.2 * typical) ** 2),
        s_narrow=by_zero * np.sqrt(np.minimum(sigma, fwhm) ** 2 + (0.06 * typical) ** 2),
        foreign=np.where(weak, 0.25, 0.06),
        zero_error=float(np.clip(0.5 * typical, 0.005, 0.06)),
    )


def _bases(observed: _Observed, system: str) -> npt.NDArray[np.int64]:
    """[c, p] combinations of the first lines, those of sure lines first."""
    p = {"cubic": 1, "tetragonal": 2, "hexagonal": 2, "orthorhombic": 3, "monoclinic": 4, "triclinic": 6}[
        system
    ]
    n = min(BASE_LINES[system], len(observed))
    every = np.array(list(combinations(range(n), p)), dtype=np.int64).reshape(-1, p)
    return every[np.argsort(observed.foreign[every].sum(axis=1), kind="stable")]


def _search(observed: _Observed, lattice: str, zero: float) -> list[IndexedCell]:
    """Screen the trials of one lattice at one zero shift, and refine the best."""
    form = form_of(lattice)
    n = min(SCREEN_LINES, len(observed))
    q = np.maximum(observed.shifted(zero), 1e-9)
    # Lines up to q of a lattice of volume V: about (4 pi / 3) q^1.5 V / holohedry.
    per_volume = 4 * np.pi / 3 * q[n - 1] ** 1.5 * POINTS[lattice[1]] ** -1 / form.holohedry
    largest = MOST_LINES_EACH * n / per_volume
    smallest = FEWEST_LINES_EACH[form.system] * n / per_volume
    kept = np.zeros((KEEP, form.n_parameters))
    kept_score = np.full(KEEP, -np.inf)
    system, centring = kernels.SYSTEMS[form.system], kernels.CENTRINGS[lattice[1]]
    kernels.screen(
        q[:n].copy(),
        observed.s_wide[:n].copy(),
        observed.foreign[:n].copy(),
        _bases(observed, form.system),
        _trials(lattice),
        system,
        centring,
        largest**-2,
        smallest**-2,
        int(MOST_LINES_EACH * n),
        kept,
        kept_score,
    )
    order = np.argsort(-kept_score)
    cells = [_refined(observed, lattice, kept[i], zero) for i in order if kept_score[i] > 0.0]
    return [cell for cell in cells if cell is not None and cell.score > 0]


def _refined(observed: _Observed, lattice: str, start: Floats, zero: float = 0.0) -> IndexedCell | None:
    """A trial after least squares, or None when it came apart."""
    form = form_of(lattice)
    n = len(observed)
    x, result = np.zeros(form.n_parameters + 1), np.zeros(8)
    nearest = np.zeros((n, 3), dtype=np.int64)
    went_well = kernels.refine(
        observed.q,
        observed.by_zero,
        observed.s_wide,
        observed.s_narrow,
        observed.foreign,
        kernels.SYSTEMS[form.system],
        kernels.CENTRINGS[lattice[1]],
        np.ascontiguousarray(start),
        zero,
        observed.zero_error,
        8,
        x,
        result,
        nearest,
    )
    if not went_well:
        return None
    try:
        cell = cell_from_parameters(x[:-1], form.system)
    except ValueError:
        return None
    m20, f20 = _merit(observed, lattice, x)
    return IndexedCell(
        cell=cell,
        lattice=lattice,
        score=float(result[0] + result[1]),
        m20=m20,
        f20=f20,
        n_indexed=int(result[2]),
        n_lines=n,
        volume=primitive_volume(cell, "P"),
        zero_shift=float(x[-1]),
    )


def _merit(observed: _Observed, lattice: str, x: Floats) -> tuple[float, float]:
    """M and F over the indexed lines among the first 20."""
    n = min(20, len(observed))
    q = observed.q[:n] - observed.by_zero[:n] * x[-1]
    calc, hkl = np.empty(kernels.MOST_LINES), np.empty((kernels.MOST_LINES, 3), dtype=np.int64)
    s = observed.s_narrow[:n]
    system, centring = kernels.SYSTEMS[form_of(lattice).system], kernels.CENTRINGS[lattice[1]]
    n_calc = kernels.lines_of(system, centring, x[:-1].copy(), q[-1] + 3 * s[-1], calc, hkl)
    if n_calc < 1:
        return 0.0, 0.0
    off = np.abs(q[:, None] - calc[:n_calc]).min(axis=1)
    hit = off < 3.5 * s
    if not hit.any():
        return 0.0, 0.0
    last = q[hit][-1]
    possible = max(int((calc[:n_calc] <= last + 3.5 * s[-1]).sum()), 1)
    m20 = last / (2 * max(float(off[hit].mean()), 1e-9) * possible)
    f20 = float(hit.sum()) / possible / max(float((off[hit] / observed.by_zero[:n][hit]).mean()), 1e-6)
    return float(m20), float(f20)


def _distinct(cells: Sequence[IndexedCell]) -> list[IndexedCell]:
    """Best first, one of each lattice; of nearly equal scores the one of higher symmetry."""
    rank = {name: i for i, name in enumerate(ORDER)}
    ordered = sorted(cells, key=lambda c: -c.score)[:150]
    kept: list[tuple[IndexedCell, Floats]] = []
    for cell in ordered:
        reduced = niggli(cell.cell, cell.lattice[1])
        for i, (other, same) in enumerate(kept):
            if np.all(np.abs(reduced[:3] / same[:3] - 1) < SAME_LENGTH) and np.all(
                np.abs(reduced[3:] - same[3:]) < SAME_ANGLE
            ):
                if rank[cell.lattice] < rank[other.lattice] and cell.score > other.score - 3.0:
                    kept[i] = (cell, reduced)
                break
        else:
            kept.append((cell, reduced))
    kept.sort(key=lambda pair: -pair[0].score)
    return [cell for cell, _ in kept]
