"""Make index_trials.npz: which indices the first lines of a lattice have, most telling first.

    python -m eg_agent.verify.index_generate

A lattice with p free parameters is fixed by p lines once their indices are known. Which indices the first
lines have depends on axial ratios, on absences and on chance. For each Bravais lattice thousands of cells are
drawn, each with the reflection conditions of one of its extinction symbols and with Wilson intensities; the
visible lines of lowest angle give, for each choice of p of them, a tuple of indices. A greedy cover keeps
the tuples with which almost every drawn cell is met several times, in the order in which they were picked:
a search through them in this order may be stopped at any time.
"""

from __future__ import annotations

from itertools import combinations, product
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from eg_agent.symmetry import BRAVAIS_LATTICES, Setting, settings_of_lattice
from eg_agent.verify.index_lattice import FORMS, design, form_of

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

#: First lines from which base lines are chosen: lattice system -> how many.
BASE_LINES = {"cubic": 6, "tetragonal": 8, "hexagonal": 8, "orthorhombic": 8, "monoclinic": 9, "triclinic": 9}
CELLS = {"cubic": 1500, "tetragonal": 3000, "hexagonal": 3000, "orthorhombic": 5000, "monoclinic": 8000}
#: Each drawn cell should be met by so many tuples; tables end at `LONGEST`.
HITS = 12
LONGEST = 12000
VISIBLE = 0.01  # of the strongest line


def draw_cell(lattice: str, rng: np.random.Generator) -> Floats:
    """Free parameters of the reciprocal metric of a random cell of about unit volume (see FORMS)."""
    system = form_of(lattice).system
    if system == "cubic":
        return np.ones(1)
    if system == "tetragonal":
        return np.array([1.0, np.exp(-2 * rng.normal(0.1, 0.7))])
    if system == "hexagonal":
        return np.array([1.0, np.exp(-2 * rng.normal(1.0 if lattice == "hR" else 0.3, 0.65))])
    lengths = np.exp(rng.normal(0.0, 0.45, 3))
    if system == "orthorhombic":
        return np.sort(1 / lengths**2)[::-1]
    if system == "monoclinic":
        beta = np.radians(90 + rng.exponential(12.0) % 35)
        a, b, c = lengths
        sine2 = np.sin(beta) ** 2
        return np.array(
            [1 / (a * a * sine2), 1 / b**2, 1 / (c * c * sine2), -2 * np.cos(beta) / (a * c * sine2)]
        )
    angles = np.radians(rng.uniform(72, 110, 3))
    cosines = np.cos(angles)
    a, b, c = np.sort(lengths)
    direct = np.array(
        [
            [a * a, a * b * cosines[2], a * c * cosines[1]],
            [a * b * cosines[2], b * b, b * c * cosines[0]],
            [a * c * cosines[1], b * c * cosines[0], c * c],
        ]
    )
    star = np.linalg.inv(direct)
    return np.array([star[0, 0], star[1, 1], star[2, 2], 2 * star[1, 2], 2 * star[0, 2], 2 * star[0, 1]])


def first_lines(
    parameters: Floats, setting: Setting, hkl: Ints, rows: Ints, count: int, rng: np.random.Generator
) -> Ints:
    """[<= count, p] coefficients of the visible lines of lowest angle of one cell, ascending."""
    q = rows @ parameters
    keep = np.argsort(q)[: 40 * 8]
    keep = keep[(q[keep] > 0) & ~setting.absent(hkl[keep])]
    if not len(keep):
        return rows[:0]
    lines, first, copies = np.unique(rows[keep], axis=0, return_index=True, return_counts=True)
    centric = rng.random() < 0.6
    f2 = rng.normal(size=len(lines)) ** 2 if centric else rng.exponential(size=len(lines))
    line_q = q[keep][first]
    order = np.argsort(line_q)[:60]
    lines, line_q = lines[order], line_q[order]
    intensity = (f2 * copies)[order] / line_q * np.exp(-1.2 * line_q / line_q[-1])
    visible = intensity > VISIBLE * np.sort(intensity)[-2:].mean()
    lines, line_q, intensity = lines[visible], line_q[visible], intensity[visible]
    apart = np.ones(len(lines), dtype=bool)  # of lines that fall together the stronger one is seen
    for i in range(1, len(lines)):
        if line_q[i] - line_q[i - 1] < 4e-3 * line_q[i]:
            apart[i - 1 if intensity[i] > intensity[i - 1] else i] = False
    return lines[apart][:count]


def tuples_of(lattice: str, rng: np.random.Generator) -> list[Ints]:
    """For each drawn cell the [k, p * p] tuples of independent coefficient rows among its first lines."""
    form = form_of(lattice)
    p = form.n_parameters
    reach = range(-5, 6)
    hkl = np.array([v for v in product(reach, reach, reach) if any(v)])
    rows = design(hkl, form.system).astype(np.int64)
    settings = settings_of_lattice(lattice)
    found = []
    for _ in range(CELLS.get(form.system, 3000)):
        setting = settings[int(rng.integers(len(settings)))]
        if rng.random() < 0.25:
            setting = settings[0]
        lines = first_lines(draw_cell(lattice, rng), setting, hkl, rows, BASE_LINES[form.system], rng)
        if len(lines) < p:
            continue
        some = lines[np.array(list(combinations(range(len(lines)), p)))]
        some = some[np.abs(np.linalg.det(some.astype(np.float64))) > 0.5]
        if len(some):
            found.append(some.reshape(len(some), p * p))
    return found


def cover(cells: list[Ints]) -> Ints:
    """[t, p * p] tuples in the order in which a greedy cover picks them, a few at a time."""
    owner = np.repeat(np.arange(len(cells)), [len(some) for some in cells])
    keys, key_of = np.unique(np.concatenate(cells), axis=0, return_inverse=True)
    incidence = csr_array((np.ones(len(owner)), (key_of.ravel(), owner)), shape=(len(keys), len(cells)))
    hits = np.zeros(len(cells))
    free = np.ones(len(keys), dtype=bool)
    chosen: list[int] = []
    while free.any() and len(chosen) < LONGEST and (hits < HITS).mean() > 0.02:
        weight = np.where(hits < HITS, 1.0 / (1.0 + hits) ** 2, 0.0)
        gain = np.where(free, incidence @ weight, 0.0)
        picked = np.argsort(-gain, kind="stable")[: max(10, len(chosen) // 10)]
        picked = picked[gain[picked] > 0.3 * gain[picked[0]]]
        if not len(picked):
            break
        chosen += picked.tolist()
        free[picked] = False
        hits += incidence[picked].sum(axis=0)
    return keys[chosen]


def main() -> None:
    """Write the tables beside this file."""
    tables = {}
    for lattice in BRAVAIS_LATTICES:
        if form_of(lattice).system not in FORMS or lattice == "aP":
            continue
        chosen = cover(tuples_of(lattice, np.random.default_rng(20)))
        p = form_of(lattice).n_parameters
        tables[lattice] = chosen.reshape(-1, p, p).astype(np.int8)
    np.savez_compressed(Path(__file__).with_name("index_trials.npz"), **tables)


if __name__ == "__main__":
    main()
