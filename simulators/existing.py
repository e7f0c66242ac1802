"""Which structures of a folder somebody has made, and how likely it is of the others.

Databases of computed structures hold more that was thought of than what was made: ordered alloys of
neighbouring elements, one compound's elements in another's places. Who learns from them what crystals are
like expects symmetries that no sample has (docs/decisions/0027).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np
import numpy.typing as npt

from eg_agent.chemistry import Composition
from eg_agent.errors import BadInput
from simulators.structures import StructureFolder, structure_table

COMPUTED, INDEX = "materials_project.parquet", "cod_inorganic_index.parquet"


def chances(folder: str | Path, structures: StructureFolder | None = None) -> npt.NDArray[np.float64]:
    """[n] how likely each structure of a folder (by number, as `StructureFolder` has them) is one that was
    made and measured.

    1 for minerals and .cif files, and for computed structures that their table says are not theoretical, or
    that the index of the Crystallography Open Database has with formula and space group. The others have one
    chance, `unlisted_chance`. 1 for all where there is no index, or where the table does not say of some
    structures, and of some only, that they are not theoretical. Raises BadInput for a folder without any.
    """
    folder = Path(folder)
    structures = StructureFolder(folder) if structures is None else structures
    found = np.ones(len(structures))
    if not structures.computed or not (folder / INDEX).is_file():
        return found
    made = _not_theoretical(folder / COMPUTED)
    if not made.any() or made.all():
        return found
    entries = structure_table(folder / INDEX, ("formula", "sg"))
    known = set(_keys(entries["formula"].to_pylist(), entries["sg"].to_pylist())) - {None}
    table = structure_table(folder / COMPUTED, ("formula", "spacegroup_number"))
    computed = _keys(table["formula"].to_pylist(), table["spacegroup_number"].to_pylist())
    listed = np.array([key in known for key in computed])
    found[: made.size] = np.where(made | listed, 1.0, unlisted_chance(made, listed))
    return found


@dataclass(frozen=True, eq=False)
class Made:
    """How likely structures were made, by their names (`Crystal.name`): 1 for what has none here."""

    by_name: dict[str, float]

    @classmethod
    def of(cls, folder: str | Path) -> Made:
        """Of a folder's computed structures. Raises BadInput for a folder without structures."""
        structures = StructureFolder(folder)
        chance = chances(folder, structures)[: structures.computed]
        if not chance.size:
            return cls({})
        names = structure_table(Path(folder) / COMPUTED, ("id",))["id"].to_pylist()
        return cls(dict(zip(map(str, names), chance.tolist(), strict=True)))

    def chance(self, name: str) -> float:
        """0 to 1."""
        return self.by_name.get(name, 1.0)

    def __call__(self, name: str) -> bool:
        """Whether a structure is among those that are taken for made: as often as its chance says, and for
        each name always the same."""
        return crc32(f"made {name}".encode()) < 2**32 * self.chance(name)


def unlisted_chance(made: npt.NDArray[np.bool_], listed: npt.NDArray[np.bool_]) -> float:
    """How likely a structure was made of which nobody says so, and that the index does not list.

    made: [n] known to have been made, whether or not they are listed; listed: [n] in the index. By Bayes: a
    share c of what was made is listed, so of the rest, of which a share r is listed, r / c was made.
    """
    c, r = float(listed[made].mean()), float(listed[~made].mean())
    if not c > r:
        return 1.0
    return (r / c) * (1.0 - c) / (1.0 - r)


def _not_theoretical(path: Path) -> npt.NDArray[np.bool_]:
    """[n] of a table of computed structures; of none where it has no such column."""
    import pyarrow.parquet as parquet

    column = "theoretical"
    if column not in parquet.read_schema(path).names:
        return np.zeros(0, dtype=np.bool_)
    return np.array([value is False for value in structure_table(path, (column,))[column].to_pylist()])


def _keys(formulas: list[object], space_groups: list[object]) -> list[tuple[str, int] | None]:
    """Formula in one spelling, with the space group; None where there is no such thing."""
    spelt: dict[object, str | None] = {}
    found: list[tuple[str, int] | None] = []
    for formula, number in zip(formulas, space_groups, strict=True):
        if formula not in spelt:
            try:
                spelt[formula] = str(Composition.of_formula(str(formula)))
            except BadInput:
                spelt[formula] = None
        text = spelt[formula]
        found.append(None if text is None or number is None else (text, int(str(number))))
    return found
