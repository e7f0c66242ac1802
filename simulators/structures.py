"""Crystals from files: CIF, and the parquet tables of computed and of mineral structures.

The two tables are laid out as `materials_project.parquet` (symmetrised conventional cells with a
spglib Hall number) and `minerals.parquet` (operations as triplets, mixed occupancies).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gemmi
import numpy as np

from eg_agent.errors import BadInput, MissingExtra
from simulators.crystal import (
    DEFAULT_B_ISO,
    Crystal,
    operations_from_hall,
    operations_from_triplets,
    stabiliser_orders,
)

#: Mineral structures of these categories are powders that people measure; the others (organics, ices
#: of high pressure) are few and are left out.
EXCLUDED_CATEGORIES = frozenset({"Organic", "ice"})


def crystal_from_cif(path: str | Path) -> Crystal:
    """The first structure of a CIF, with the symmetry, occupancies and displacements the file gives.

    Raises BadInput when the file cannot be read, has no symmetry, or no sites.
    """
    path = Path(path)
    try:
        document = gemmi.cif.read(str(path))
    except (OSError, ValueError, RuntimeError) as error:
        raise BadInput(f"{path} is not a readable CIF ({error}): check the file.") from None
    for block in document:
        small = gemmi.make_small_structure_from_block(block)
        if small.sites:
            return _from_small(small, path)
    raise BadInput(f"{path} has no atom sites: give a CIF of a structure.")


def _from_small(small: gemmi.SmallStructure, path: Path) -> Crystal:
    if small.symops:
        operations = operations_from_triplets(";".join(small.symops))
    elif small.spacegroup is not None:
        operations = operations_from_triplets(";".join(op.triplet() for op in small.spacegroup.operations()))
    else:
        raise BadInput(
            f"{path} names no space group and no operations: add _space_group_symop_operation_xyz."
        )
    sites = [s for s in small.sites if s.occ > 0 and s.element.atomic_number > 0]
    if len(sites) < len([s for s in small.sites if s.occ > 0]):
        unknown = sorted({s.label for s in small.sites if s.element.atomic_number == 0})
        raise BadInput(f"{path} has sites of unknown elements ({', '.join(unknown)}): name their elements.")
    b_iso = [8 * math.pi**2 * s.u_iso if 0 < s.u_iso < 1 else DEFAULT_B_ISO for s in sites]
    cell = small.cell
    return Crystal(
        cell=(cell.a, cell.b, cell.c, cell.alpha, cell.beta, cell.gamma),
        operations=operations,
        elements=tuple(_element(s.element.name) for s in sites),
        fractional=np.array([s.fract.tolist() for s in sites]),
        occupancy=np.array([s.occ for s in sites]),
        b_iso=np.array(b_iso),
        space_group=operations.space_group,
        name=path.stem,
        formula=small.name or path.stem,
    )


def _element(name: str) -> str:
    return "H" if name == "D" else name


def reduced_formula(amounts: dict[str, float]) -> str:
    """Formula with amounts divided by their greatest common divisor (or the smallest, to 2 digits).

    Elements in alphabetical order: two structures of one composition always get the same text.
    """
    smallest = min(amounts.values())
    rounded = [round(v) for v in amounts.values()]
    if all(abs(v - r) < 0.01 and r > 0 for v, r in zip(amounts.values(), rounded)):
        divisor = float(math.gcd(*rounded))
    else:
        divisor = smallest
    return "".join(
        f"{element}{amounts[element] / divisor:.2f}".rstrip("0").rstrip(".") for element in sorted(amounts)
    )


def structure_table(path: Path, columns: Sequence[str]) -> Any:
    """Columns of a parquet table of structures (a pyarrow.Table); BadInput where they cannot be read."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as parquet
    except ImportError:
        raise MissingExtra("reading parquet tables of structures", "train") from None
    if not path.is_file():
        raise BadInput(f"{path} is not a file: give a parquet table of structures.")
    try:
        there = set(parquet.read_schema(path).names)
        if missing := [name for name in columns if name not in there]:
            raise BadInput(f"{path} has no column {', '.join(missing)}: give a table of structures.")
        return parquet.read_table(path, columns=list(columns))
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise BadInput(f"{path} cannot be read as parquet ({reason}): check the file.") from None


_MP_COLUMNS = (
    "id",
    "formula",
    "hall_number",
    "spacegroup_number",
    "conv_lattice",
    "asym_species",
    "asym_frac",
)
_MINERAL_COLUMNS = (
    "id", "category", "mineral", "spacegroup_number", "lattice", "symops", "asym_species", "asym_frac", "ok",
)  # fmt: skip


def computed_crystals(
    path: str | Path, start: int = 0, stop: int | None = None, *, rows: Sequence[int] | None = None
) -> Iterator[Crystal]:
    """Crystals of rows start..stop, or of `rows`, of a table like `materials_project.parquet`, in their
    order."""
    table = structure_table(Path(path), _MP_COLUMNS)
    last: int = table.num_rows if stop is None else stop
    chosen = table.slice(start, last - start) if rows is None else table.take(list(rows))
    for batch in chosen.to_batches(2000):
        yield from map(_computed, batch.to_pylist())


def _computed(row: dict[str, Any]) -> Crystal:
    elements = tuple(gemmi.Element(z).name for z in row["asym_species"])
    operations = operations_from_hall(row["hall_number"])
    return _crystal(row["conv_lattice"], operations, elements, row, row["spacegroup_number"], row["id"])


def count_rows(path: str | Path) -> int:
    """Number of rows of a parquet table."""
    return structure_table(Path(path), ("id",)).num_rows


def mineral_crystals(path: str | Path, start: int = 0, stop: int | None = None) -> Iterator[Crystal]:
    """Crystals of a table like `minerals.parquet`: rows marked `ok`, mixed sites split into entries."""
    table = structure_table(Path(path), _MINERAL_COLUMNS)
    last: int = table.num_rows if stop is None else stop
    yield from map(_mineral, filter(_usable, table.slice(start, last - start).to_pylist()))


def _usable(row: dict[str, Any]) -> bool:
    return row["ok"] and row["category"] not in EXCLUDED_CATEGORIES


def _mineral(row: dict[str, Any]) -> Crystal:
    operations = operations_from_triplets(row["symops"])
    positions = np.reshape(row["asym_frac"], (-1, 3))
    elements, fractional, occupancy = [], [], []
    for site, position in zip(row["asym_species"], positions):
        for part in site.split("+"):
            symbol, _, share = part.partition(":")
            elements.append(_element(gemmi.Element(symbol).name))
            fractional.append(position)
            occupancy.append(float(share or 1))
    entries = {**row, "asym_frac": fractional, "occupancy": occupancy}
    name = row["mineral"] or row["id"]
    return _crystal(row["lattice"], operations, tuple(elements), entries, operations.space_group, name)


class StructureFolder:
    """All structures of a folder by number: the computed table, the minerals, then .cif files by name.

    Raises BadInput when the folder holds none of them.
    """

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        if not folder.is_dir():
            raise BadInput(f"{folder} is not a folder: give the folder that holds the structures.")
        computed, minerals = (folder / f"{name}.parquet" for name in ("materials_project", "minerals"))
        self._computed = structure_table(computed, _MP_COLUMNS) if computed.is_file() else None
        rows = structure_table(minerals, _MINERAL_COLUMNS).to_pylist() if minerals.is_file() else []
        self._minerals = [row for row in rows if _usable(row)]
        self._files = sorted(folder.glob("*.cif"))
        if not len(self):
            raise no_structures(folder)

    def __len__(self) -> int:
        return self.computed + len(self._minerals) + len(self._files)

    @property
    def computed(self) -> int:
        """Number of computed structures, which come first."""
        return 0 if self._computed is None else self._computed.num_rows

    def crystal(self, number: int) -> Crystal:
        """Structure `number`, from 0."""
        if not 0 <= number < len(self):
            raise BadInput(f"structure {number} is not between 0 and {len(self) - 1}.")
        if self._computed is not None:
            if number < self._computed.num_rows:
                return _computed(self._computed.slice(number, 1).to_pylist()[0])
            number -= self._computed.num_rows
        if number < len(self._minerals):
            return _mineral(self._minerals[number])
        return crystal_from_cif(self._files[number - len(self._minerals)])


def no_structures(folder: Path) -> BadInput:
    """What to say of a folder without structures."""
    return BadInput(f"{folder} holds no structures: give a folder with parquet tables or CIF files.")


def _crystal(
    cell: Sequence[float],
    operations: Any,
    elements: tuple[str, ...],
    row: dict[str, Any],
    number: int,
    name: str,
) -> Crystal:
    fractional = np.reshape(np.asarray(row["asym_frac"], dtype=np.float64), (-1, 3))
    occupancy = np.asarray(row.get("occupancy") or np.ones(len(elements)), dtype=np.float64)
    edges = tuple(float(v) for v in cell)
    amounts: dict[str, float] = {}
    for element, share, order in zip(elements, occupancy, stabiliser_orders(edges, operations, fractional)):
        amounts[element] = amounts.get(element, 0.0) + float(share) * len(operations) / int(order)
    return Crystal(
        cell=edges,  # pyright: ignore[reportArgumentType]
        operations=operations,
        elements=elements,
        fractional=fractional,
        occupancy=occupancy,
        b_iso=np.full(len(elements), DEFAULT_B_ISO),
        space_group=int(number),
        name=name,
        formula=reduced_formula(amounts),
    )
