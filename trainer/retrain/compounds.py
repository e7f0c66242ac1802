"""Which runs are the same compound, and which compounds are those of the frozen benchmark.

The reduced formula tells where both sides have one. Where one is missing, the sample's name or a Niggli cell
within 3 % does (the rule by which a compound counts as seen, `eg_agent.library.unseen`): rather two compounds
taken for one than one on both sides of a split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadInput
from eg_agent.library.cells import near_cells, niggli
from eg_agent.library.formula import reduced_formula
from eg_agent.symmetry import group
from trainer.benchmark.cells import centring_of
from trainer.benchmark.data import CELL_COLUMNS, Folder

Cell = tuple[float, float, float, float, float, float]
#: Keys of a run's metadata that may hold a formula, also inside its `sample`.
FORMULA_KEYS = ("formula", "composition", "chemical_formula")


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a sample. formula: reduced, or "". name: its own, or "". cell: Niggli, or None."""

    formula: str = ""
    name: str = ""
    cell: Cell | None = None


def formula_of(start: Mapping[str, Any]) -> str:
    """The reduced formula that a start document tells, or "" where it tells none that can be read."""
    sample = start.get("sample")
    for place in (start, sample if isinstance(sample, Mapping) else {}):
        for key in FORMULA_KEYS:
            text = place.get(key)
            if isinstance(text, str) and text.strip():
                return reduced_formula(text) or ""
    return ""


def niggli_of(cell: Cell, number: int) -> Cell | None:
    """Niggli cell of a conventional one of extinction group `number`; None where there is none."""
    try:
        return niggli(cell, group(number).symbol.split()[0])
    except BadInput:
        return None


def names(known: Sequence[Known]) -> list[str]:
    """[n] name of the compound of each: its formula, else the sample's name, else the first's place.

    The same compound has one name, and different ones have different ones.
    """
    parent = list(range(len(known)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    def join(i: int, j: int) -> None:
        first, second = sorted((root(i), root(j)))
        parent[second] = first

    first_with: dict[str, int] = {}
    for i, one in enumerate(known):
        for key in ([f"formula {one.formula}"] if one.formula else []) + (
            [f"name {one.name.lower()}"] if one.name else []
        ):
            join(first_with.setdefault(key, i), i)
    cells = _table([one.cell for one in known])
    for i, one in enumerate(known):
        if one.cell is not None:
            for j in near_cells(one.cell, cells):
                if not (one.formula and known[j].formula):
                    join(i, int(j))
    said: dict[int, str] = {}
    for i, one in enumerate(known):
        text = one.formula or (f"sample {one.name}" if one.name else "")
        said[root(i)] = min(filter(None, (said.get(root(i)), text)), default="")
    return [said[root(i)] or f"unnamed {root(i)}" for i in range(len(known))]


def _table(cells: Sequence[Cell | None]) -> npt.NDArray[np.float64]:
    """[n, 6] with rows far from any cell where there is none."""
    return np.array([cell if cell is not None else (1e6,) * 3 + (90.0,) * 3 for cell in cells])


class Benchmark:
    """The compounds of a benchmark folder: rows that are never trained on."""

    def __init__(self, folder: Folder) -> None:
        self.formulas: set[str] = set()
        self.names: set[str] = set()
        cells: list[Cell] = []
        formulas: list[str] = []
        rows = {row["id"]: row for row in folder.rows}
        for case in folder.cases("benchmark"):
            row = rows[case.id]
            formula = reduced_formula(row.get("formula") or "") or ""
            self.formulas |= {formula} if formula else set()
            self.names |= {text.strip().lower() for text in (case.compound, row.get("name") or "") if text}
            texts = [(row.get(name) or "").strip() for name in CELL_COLUMNS]
            if all(texts):
                try:
                    cells.append(niggli([float(text) for text in texts], centring_of(case.space_group)))
                    formulas.append(formula)
                except (BadInput, ValueError):
                    continue
        self._cells = np.array(cells).reshape(-1, 6)
        self._formulas = formulas
        #: Reduced formula or "", and Niggli cell, of each row with a cell.
        self.compounds: list[tuple[str, tuple[float, ...]]] = list(
            dict.fromkeys((formula, tuple(cell)) for formula, cell in zip(formulas, cells))
        )

    def holds(self, known: Known) -> bool:
        """Whether a sample is one of its compounds: by formula or name; by cell where a formula lacks."""
        if known.formula in self.formulas or (known.name and known.name.lower() in self.names):
            return True
        if known.cell is None or not len(self._cells):
            return False
        near = near_cells(known.cell, self._cells)
        return any(not (known.formula and self._formulas[int(row)]) for row in near)
