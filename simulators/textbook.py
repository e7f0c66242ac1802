"""Well-known structures that ship with the package: the demo's samples, left out of every training corpus.

Cell parameters and coordinates are entered from general knowledge of the literature and rounded. See
docs/decisions/0002-demo-structures.md for why these and how they are kept out of training.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import cache
from importlib.resources import files

import gemmi
import numpy as np
import numpy.typing as npt

from simulators.corpus import Corpus
from simulators.crystal import DEFAULT_B_ISO, Crystal, operations_from_triplets
from simulators.structures import reduced_formula

#: A corpus structure whose Niggli cell agrees this well with a textbook one of the same group is the
#: same structure for our purposes (lengths relative, angles in degrees).
LENGTH_TOLERANCE = 0.01
ANGLE_TOLERANCE = 1.0


@cache
def textbook() -> tuple[Crystal, ...]:
    """All textbook structures, each with its name, formula and extinction group."""
    entries = json.loads(files("simulators").joinpath("textbook.json").read_text(encoding="utf-8"))
    return tuple(_crystal(entry) for entry in entries)


def _crystal(entry: dict) -> Crystal:
    space_group = gemmi.SpaceGroup(entry["space_group"])
    sites = entry["sites"]
    return Crystal(
        cell=tuple(entry["cell"]),
        operations=operations_from_triplets(";".join(op.triplet() for op in space_group.operations())),
        elements=tuple(site[0] for site in sites),
        fractional=np.array([site[1:4] for site in sites], dtype=np.float64),
        occupancy=np.array([site[4] for site in sites], dtype=np.float64),
        b_iso=np.full(len(sites), DEFAULT_B_ISO),
        space_group=space_group.number,
        name=entry["name"],
        formula=entry["formula"],
    )


def overlap(corpus: Corpus) -> npt.NDArray[np.bool_]:
    """[N] which structures of a corpus are a textbook structure, and must not be trained on.

    The same reduced formula (hydrogen aside) in the same extinction group, or the same extinction
    group with a Niggli cell that agrees within LENGTH_TOLERANCE and ANGLE_TOLERANCE.
    """
    known = textbook()
    formulas = {(c.group, _heavy_formula(c.formula)) for c in known}
    cells: dict[int, list[npt.NDArray[np.float64]]] = {}
    for crystal in known:
        letter = _centring_letter(crystal.space_group)
        cells.setdefault(crystal.group, []).append(niggli(crystal.cell, letter))
    found = np.zeros(len(corpus), dtype=bool)
    rows = zip(corpus.group.tolist(), corpus.formulas, corpus.cell.tolist(), corpus.space_group.tolist())
    for i, (group, formula, cell, space_group) in enumerate(rows):
        if group not in cells:
            continue
        if (group, _heavy_formula(formula)) in formulas:
            found[i] = True
            continue
        mine = niggli(cell, _centring_letter(space_group))
        found[i] = any(_same_cell(mine, other) for other in cells[group])
    return found


def hold_out(corpus: Corpus) -> Corpus:
    """The same corpus with every structure that overlaps the textbook moved to the held-out split."""
    split = corpus.split.copy()
    split[overlap(corpus)] = 1
    return replace(corpus, split=split)


def niggli(cell: list[float] | tuple[float, ...], centring: str) -> npt.NDArray[np.float64]:
    """Niggli cell [6] (angstrom, degrees) of a conventional cell with a centring letter (P A B C I F R)."""
    reduced = gemmi.GruberVector(gemmi.UnitCell(*cell), centring)
    reduced.niggli_reduce()
    return np.array(reduced.get_cell().parameters)


def _same_cell(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> bool:
    lengths = np.abs(a[:3] / b[:3] - 1.0).max() < LENGTH_TOLERANCE
    return bool(lengths and np.abs(a[3:] - b[3:]).max() < ANGLE_TOLERANCE)


def _centring_letter(space_group: int) -> str:
    found = gemmi.find_spacegroup_by_number(space_group)
    assert found is not None, space_group
    return found.centring_type()


def _heavy_formula(formula: str) -> str:
    amounts = {
        e: float(n or 1) for e, n in re.findall(r"([A-Z][a-z]?)([\d.]*)", formula) if e not in ("H", "D")
    }
    return reduced_formula(amounts) if amounts else ""
