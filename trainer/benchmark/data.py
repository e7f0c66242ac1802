"""Reading a folder of labelled patterns: `index.csv` and `patterns.npz`.

`patterns.npz` holds one array of shape (2, n) an id: two_theta in degrees, intensity. `index.csv` has a
row an id; the columns that are used here are in COLUMNS, others are ignored.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadInput
from eg_agent.patterns.pattern import Pattern, Source
from eg_agent.patterns.radiation import Radiation

Cell = tuple[float, float, float, float, float, float]

#: Columns of index.csv that must be there.
COLUMNS = ("id", "sg_number", "eg_number", "wavelength", "compound", "source", "benchmark", "known_cell")
CELL_COLUMNS = ("a", "b", "c", "alpha", "beta", "gamma")

Subset = Literal["benchmark", "known_cell", "all"]


@dataclass(frozen=True, slots=True)
class Case:
    """One labelled pattern.

    group: extinction group 1 to 99; space_group: 1 to 230.
    cell: a b c in angstrom, alpha beta gamma in degrees, where it is trusted.
    wavelength, wavelength2: angstrom.
    """

    id: str
    group: int
    space_group: int
    crystal_system: str
    compound: str
    source: str
    wavelength: float
    wavelength2: float | None = None
    cell: Cell | None = None


def _number(row: dict[str, str], name: str) -> float:
    text = (row.get(name) or "").strip()
    try:
        return float(text) if text else math.nan
    except ValueError:
        raise BadInput(
            f"index.csv: {name} of {row.get('id')!r} is {text!r}, not a number: correct the row."
        ) from None


def _flag(row: dict[str, str], name: str) -> bool:
    return (row.get(name) or "").strip().lower() in ("true", "1", "yes")


class Folder:
    """A folder of labelled patterns.

    Raises BadInput, with what to do, when the folder, one of its two files, or a column is missing.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise BadInput(f"{self.path} is not a folder: give one that holds index.csv and patterns.npz.")
        for name in ("index.csv", "patterns.npz"):
            if not (self.path / name).is_file():
                raise BadInput(
                    f"{self.path} has no {name}: give a folder that holds index.csv and patterns.npz."
                )
        with (self.path / "index.csv").open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise BadInput(
                    f"{self.path / 'index.csv'} lacks the column{'s' * (len(missing) > 1)} "
                    f"{', '.join(missing)}: add {'them' if len(missing) > 1 else 'it'}."
                )
            self.rows = list(reader)
        try:
            self._archive = np.load(self.path / "patterns.npz")
        except (ValueError, OSError, BadZipFile):
            raise BadInput(f"{self.path / 'patterns.npz'} is not an .npz archive: write it again.") from None

    def cases(
        self,
        subset: Subset = "benchmark",
        *,
        limit: int | None = None,
        without_systems: Sequence[str] = (),
        seed: int = 0,
    ) -> list[Case]:
        """The labelled rows of a subset, in the order of the index.

        `limit` keeps that many, drawn with `seed`, so that a short run still sees every kind of source.
        Raises BadInput when no row is left, and for a system that no row has.
        """
        known = sorted({(row.get("crystal_system") or "").strip().lower() for row in self.rows} - {""})
        for name in without_systems:
            if name.lower() not in known:
                raise BadInput(f"no row is {name!r}: the crystal systems are {', '.join(known)}.")
        found = list(self._labelled(subset, {name.lower() for name in without_systems}))
        if not found:
            raise BadInput(
                f"{self.path} has no {'labelled' if subset == 'all' else subset} rows"
                f"{' of the systems asked for' if without_systems else ''}: "
                "check the columns of index.csv, or give another folder."
            )
        if limit is not None and limit < len(found):
            if limit < 1:
                raise BadInput(f"a limit of {limit} leaves no rows: give a positive number.")
            keep = np.sort(np.random.default_rng(seed).choice(len(found), size=limit, replace=False))
            found = [found[i] for i in keep]
        return found

    def _labelled(self, subset: Subset, without: set[str]) -> Iterator[Case]:
        for row in self.rows:
            if subset != "all" and not _flag(row, subset):
                continue
            group, space_group = _number(row, "eg_number"), _number(row, "sg_number")
            if not (1 <= group <= 99 and 1 <= space_group <= 230):
                if subset == "all":
                    continue
                raise BadInput(f"index.csv: {row['id']!r} is a {subset} row without a group: label it.")
            wavelength = _number(row, "wavelength")
            if not math.isfinite(wavelength):
                raise BadInput(f"index.csv: {row['id']!r} has no wavelength: give it in angstrom.")
            system = (row.get("crystal_system") or "").strip().lower()
            if system in without:
                continue
            cell = tuple(_number(row, name) for name in CELL_COLUMNS)
            second = _number(row, "wavelength2")
            yield Case(
                id=row["id"],
                group=int(group),
                space_group=int(space_group),
                crystal_system=system,
                compound=(row["compound"] or "").strip() or row["id"],
                source=row["source"],
                wavelength=wavelength,
                # Files of monochromatic radiation may state the one wavelength twice.
                wavelength2=second if math.isfinite(second) and second != wavelength else None,
                cell=_as_cell(cell) if all(map(math.isfinite, cell)) and _flag(row, "known_cell") else None,
            )

    def points(self, name: str) -> npt.NDArray[np.float64]:
        """[2, n] two_theta in degrees and intensity of a pattern, by its id."""
        if name not in self._archive:
            raise BadInput(f"{self.path / 'patterns.npz'} has no pattern {name!r}: it is in index.csv.")
        array = np.asarray(self._archive[name], dtype=np.float64)
        if array.ndim != 2 or array.shape[0] != 2:
            raise BadInput(f"patterns.npz: {name!r} has shape {array.shape}, expected (2, n).")
        return array

    def pattern(self, case: Case) -> Pattern:
        """The measured pattern of a case, as stored: nothing is corrected here."""
        two_theta, intensity = self.points(case.id)
        return Pattern(
            two_theta=two_theta,
            intensity=intensity,
            radiation=Radiation(case.wavelength, case.wavelength2),
            source=Source(kind="file", name=case.id, format="npz"),
        )


def _as_cell(values: Sequence[float]) -> Cell:
    a, b, c, alpha, beta, gamma = values
    return (a, b, c, alpha, beta, gamma)
