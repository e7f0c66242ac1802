"""Building a library of known structures from a corpus, or from a folder of tables or CIF files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import gemmi
import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadInput
from eg_agent.library import Library
from eg_agent.library.cells import niggli
from eg_agent.library.file import Entries
from eg_agent.library.formula import reduced_formula as alphabetical
from simulators.corpus import COMPUTED, MINERAL, STRAIN_TYPES, Corpus, merge, pack
from simulators.crystal import Crystal, stabiliser_orders
from simulators.structures import (
    computed_crystals,
    count_rows,
    crystal_from_cif,
    mineral_crystals,
    reduced_formula,
)

#: Strongest peaks kept of a structure.
MAX_PEAKS = 110
#: Rows of a table that are read at a time.
_CHUNK = 1000
#: Names of symmetry settings to try for a space group whose standard letter is centred.
_CENTRED = {"A": "CAIBF", "B": "CAIBF", "C": "CAIBF", "I": "IFCAB", "F": "FICAB", "R": "R"}


def kinds_of_strain() -> npt.NDArray[np.int8]:
    """int8 [types, 6]: `STRAIN_TYPES` as `eg_agent.library.kernels.strained` wants them."""
    rows = []
    for _, stretch, shear in STRAIN_TYPES:
        names = sorted(set(stretch))
        row = [names.index(s) for s in stretch]
        angles = sorted({s for s in shear if s >= 0})
        row += [len(names) + angles.index(s) if s >= 0 else -1 for s in shear]
        rows.append(row)
    return np.array(rows, dtype=np.int8)


def centring(space_group: int, cell: npt.NDArray[np.float32], hkl: npt.NDArray[np.int8]) -> str:
    """Centring letter of a structure in its own axes.

    The space group says whether the lattice is centred at all; which letter it is in these axes (I2/a
    is C2/c in others) shows in the indices of its reflections.
    """
    found = gemmi.find_spacegroup_by_number(int(space_group))
    letter = found.hm[0] if found is not None else "P"
    if letter == "P":
        return "P"
    if letter == "R":
        return "R" if abs(float(cell[5]) - 120.0) < 0.5 and abs(float(cell[3]) - 90.0) < 0.5 else "P"
    h, k, l = hkl.astype(np.int64).T  # noqa: E741
    rules = {
        "A": ((k + l) % 2 == 0).all(),
        "B": ((h + l) % 2 == 0).all(),
        "C": ((h + k) % 2 == 0).all(),
        "I": ((h + k + l) % 2 == 0).all(),
        "F": ((h + k) % 2 == 0).all() and ((h + l) % 2 == 0).all(),
    }
    order = letter + _CENTRED[letter].replace(letter, "")
    return next((name for name in order if rules[name]), "P")


def library_of_corpus(
    corpus: Corpus, rows: npt.NDArray[np.int64] | None = None, *, random: bool = False
) -> Library:
    """The structures of a corpus (all, or `rows`) as a library; random crystals and perturbed copies, which
    are nobody's, only if asked for (`random`).

    Peaks are the strongest of the corpus's (as a diffractometer with Cu K-alpha sees them); a structure
    in the corpus twice stays twice.
    """
    chosen = np.arange(len(corpus)) if rows is None else np.asarray(rows, dtype=np.int64)
    if not random:
        chosen = chosen[(corpus.source[chosen] <= MINERAL) & ~corpus.copied[chosen]]
    if not len(chosen):
        raise BadInput(
            "there is no real structure to make a library of: give structures, or a corpus of them."
        )
    counts = np.minimum(np.diff(corpus.offset)[chosen], MAX_PEAKS)
    offset = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    take = np.arange(offset[-1]) - np.repeat(offset[:-1], counts) + np.repeat(corpus.offset[chosen], counts)
    hkl = corpus.hkl[take]
    reduced = np.array(
        [
            niggli(corpus.cell[row], centring(corpus.space_group[row], corpus.cell[row], hkl[low:high]))
            for row, low, high in zip(chosen, offset[:-1], offset[1:], strict=True)
        ],
        dtype=np.float32,
    )
    names, formulas = corpus.names, corpus.formulas

    def lines(texts: list[str]) -> npt.NDArray[np.uint8]:
        return np.frombuffer("".join(f"{t}\n" for t in texts).encode(), dtype=np.uint8)

    return Library(
        Entries(
            group=corpus.group[chosen].astype(np.uint8),
            space_group=corpus.space_group[chosen].astype(np.uint8),
            cell=corpus.cell[chosen].astype(np.float32),
            niggli=reduced,
            kinds=kinds_of_strain()[corpus.strain_type[chosen]],
            offset=offset,
            hkl=hkl,
            level=corpus.level[take],
            id_text=lines([names[i] for i in chosen]),
            formula_text=lines([alphabetical(formulas[i]) or formulas[i] for i in chosen]),
        )
    )


@dataclass(frozen=True)
class Built:
    """A library, and what was left out: (file or table, reason)."""

    library: Library
    left_out: tuple[tuple[str, str], ...]


def library_of_folder(
    folder: str | Path,
    *,
    rows: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Built:
    """The structures of a folder as a library: parquet tables and .cif files, also in folders inside it.

    rows: only the first rows of each table. progress: called with the number of structures read.
    A CIF that cannot be used is left out with the reason; BadInput when nothing is left.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise BadInput(f"{folder} is not a folder: give the folder that holds the structures.")
    parts: list[Corpus] = []
    left_out: list[tuple[str, str]] = []
    done = 0

    def add(part: Corpus) -> None:
        nonlocal done
        done += len(part)
        if len(part):
            parts.append(part)
        if progress is not None:
            progress(done)

    for name, read, source in (
        ("materials_project.parquet", computed_crystals, COMPUTED),
        ("minerals.parquet", mineral_crystals, MINERAL),
    ):
        path = folder / name
        if path.is_file():
            count = min(count_rows(path), rows or 10**9)
            for start in range(0, count, _CHUNK):
                add(pack((c, source) for c in read(path, start, min(start + _CHUNK, count))))
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() == ".cif"):
        try:
            part = pack([(crystal_of_cif(path), MINERAL)])
        except (BadInput, ValueError, ArithmeticError) as error:
            left_out.append((str(path), str(error)))
            continue
        if not len(part):
            left_out.append((str(path), "it has fewer than 3 peaks, or axes that are not usual"))
        add(part)
    if not parts:
        why = f": {left_out[0][0]}: {left_out[0][1]}" if left_out else ""
        raise BadInput(
            f"{folder} holds no structure that can be used{why or ': give .cif files or the parquet tables'}."
        )
    return Built(library_of_corpus(merge(parts)), tuple(left_out))


def crystal_of_cif(path: Path) -> Crystal:
    """The first structure of a CIF, with the reduced formula of its sites."""
    crystal = crystal_from_cif(path)
    amounts: dict[str, float] = {}
    orders = stabiliser_orders(crystal.cell, crystal.operations, crystal.fractional)
    for element, share, order in zip(crystal.elements, crystal.occupancy, orders, strict=True):
        amounts[element] = amounts.get(element, 0.0) + float(share) * len(crystal.operations) / int(order)
    return replace(crystal, formula=reduced_formula(amounts))
