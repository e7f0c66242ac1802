"""`Materials`: computed structures with what is known of them, split by formula: the cache of XxaCT-NN.

Made once (`eg-train materials`) from a parquet in the layout of `materials_project.parquet`, and read
anywhere with numpy alone: peaks of every structure (a `Corpus`), formation energy and band gap where they
are known, crystal system, and which part of the data it belongs to. Patterns are made from the peaks on
the device that trains (`trainer.multimodal.views`).

The parts are a function of the reduced formula alone, so that no composition is in two of them, and the
formulas that the shipped classifier never saw (`simulators.corpus.held_out`) are all in the test part.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from eg_agent.chemistry import MAX_ELEMENTS, Composition
from eg_agent.errors import BadInput
from eg_agent.model.composition import Chemistry, chemistry
from simulators.corpus import COMPUTED, HELD_OUT_PERCENT, Corpus, merge, pack
from simulators.structures import computed_crystals, count_rows, reduced_formula, structure_table

#: Parts of the data, and up to which hundredth of the formulas each reaches (held_out's are the first 3).
TEST, VALIDATION, TRAIN = range(3)
PARTS = ("test", "validation", "train")
TEST_PERCENT, VALIDATION_PERCENT = 10, 12
assert TEST_PERCENT >= HELD_OUT_PERCENT, "what the classifier never saw is to be tested on"
#: Structures that are packed together.
TOGETHER = 2000
#: Last space group of each crystal system but trigonal and hexagonal, which lattices do not part here:
#: 143-167 are trigonal.
_SYSTEM_ENDS = (2, 15, 74, 142, 167, 194, 230)


def part_of(formula: str) -> int:
    """TEST, VALIDATION or TRAIN: a function of the reduced formula's text alone (CRC-32)."""
    hundredth = zlib.crc32(formula.encode()) % 100
    if hundredth < TEST_PERCENT:
        return TEST
    return VALIDATION if hundredth < VALIDATION_PERCENT else TRAIN


def system_of(space_group: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Index into `eg_agent.model.xxact.CRYSTAL_SYSTEMS` of space groups 1-230."""
    return np.searchsorted(_SYSTEM_ENDS, space_group).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Materials:
    """n structures. energy: float32 [n] formation energy in eV/atom; gap: float32 [n] band gap in eV; NaN
    where it is not known. copies: of the training structures (`trainer.multimodal.copies`), or None."""

    corpus: Corpus
    energy: npt.NDArray[np.float32]
    gap: npt.NDArray[np.float32]
    copies: Corpus | None = None

    def __len__(self) -> int:
        return len(self.corpus)

    @cached_property
    def formulas(self) -> npt.NDArray[np.str_]:
        """[n] reduced formulas."""
        return np.array(self.corpus.formulas)

    @cached_property
    def part(self) -> npt.NDArray[np.uint8]:
        """[n] TEST, VALIDATION or TRAIN."""
        known = {formula: part_of(formula) for formula in set(self.formulas.tolist())}
        return np.array([known[f] for f in self.formulas.tolist()], dtype=np.uint8)

    @cached_property
    def system(self) -> Tensor:
        """int64 [n], index into CRYSTAL_SYSTEMS."""
        return torch.from_numpy(system_of(self.corpus.space_group))

    @cached_property
    def chemistry(self) -> Chemistry:
        """Exact compositions of all."""
        return chemistry_of(self.formulas)

    def only(self, rows: npt.NDArray[np.integer]) -> Materials:
        """Those rows, in their order, without copies."""
        return Materials(rows_of(self.corpus, rows), self.energy[rows], self.gap[rows])

    def save(self, path: Path) -> None:
        """Write a compressed npz; the file appears whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        arrays = {f.name: getattr(self.corpus, f.name) for f in fields(Corpus)}
        if self.copies is not None:
            arrays |= {f"copies.{f.name}": getattr(self.copies, f.name) for f in fields(Corpus)}
        with partial.open("wb") as handle:
            np.savez_compressed(handle, **arrays, energy=self.energy, gap=self.gap)
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> Materials:
        """Read what `save` wrote; BadInput when the file is absent or something else."""
        try:
            with np.load(path, allow_pickle=False) as data:
                corpus = Corpus(**{f.name: data[f.name] for f in fields(Corpus)})
                copies = None
                if "copies.cell" in data.files:
                    copies = Corpus(**{f.name: data[f"copies.{f.name}"] for f in fields(Corpus)})
                return cls(corpus, data["energy"], data["gap"], copies)
        except FileNotFoundError:
            raise BadInput(f"there is no file {path}: make one with eg-train materials.") from None
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
            raise BadInput(f"{path} holds no materials: make it with eg-train materials.") from None


def chemistry_of(formulas: npt.NDArray[np.str_]) -> Chemistry:
    """Exact compositions of reduced formulas [n]."""
    known = {formula: Composition.of_formula(formula) for formula in set(formulas.tolist())}
    return chemistry([known[f] for f in formulas.tolist()])


def rows_of(corpus: Corpus, rows: npt.NDArray[np.integer]) -> Corpus:
    """Some structures of a corpus, in the order asked for."""
    counts = np.diff(corpus.offset)[rows]
    offset = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    peak = np.arange(offset[-1]) - np.repeat(offset[:-1], counts) + np.repeat(corpus.offset[rows], counts)
    names, formulas = corpus.names, corpus.formulas

    def lines(texts: list[str]) -> npt.NDArray[np.uint8]:
        return np.frombuffer("".join(t + "\n" for t in texts).encode(), dtype=np.uint8)

    taken = {f.name: getattr(corpus, f.name)[rows] for f in fields(Corpus) if f.name in _PER_STRUCTURE}
    return Corpus(
        **taken,
        offset=offset,
        hkl=corpus.hkl[peak],
        level=corpus.level[peak],
        name_text=lines([names[i] for i in rows]),
        formula_text=lines([formulas[i] for i in rows]),
    )


_PER_STRUCTURE = ("cell", "strain_type", "group", "space_group", "source", "split")


def read_materials(
    path: Path,
    corpus: Corpus | None = None,
    *,
    rows: Sequence[int] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Materials:
    """Materials of a parquet of structures; BadInput for another file.

    corpus: with the peaks of these structures already (matched by name), which spares four milliseconds
    each. rows: of the table, None for all.
    Structures without peaks in the range, or of more elements than a composition may have, are left out.
    """
    labels = _labels(path)
    if corpus is None:
        corpus = _packed(path, range(count_rows(path)) if rows is None else rows, progress)
    names, formulas = corpus.names, corpus.formulas
    found = [
        i
        for i, source in enumerate(corpus.source)
        if source == COMPUTED and names[i] in labels and _usable(formulas[i])
    ]
    if not found:
        raise BadInput(f"no structure of {path} is left to make a pattern of.")
    known = np.array([labels[names[i]] for i in found], dtype=np.float32).reshape(-1, 2)
    return Materials(rows_of(corpus, np.array(found)), known[:, 0], known[:, 1])


def _usable(formula: str) -> bool:
    try:
        return len(Composition.of_formula(formula).amounts) <= MAX_ELEMENTS
    except BadInput:
        return False


def _labels(path: Path) -> dict[str, tuple[float, float]]:
    """Formation energy and band gap by name, NaN where unknown."""
    columns = ("id", "formation_energy_per_atom", "band_gap")
    table = structure_table(path, columns).to_pandas()
    values = table[["formation_energy_per_atom", "band_gap"]].to_numpy(dtype=np.float64, na_value=np.nan)
    return {name: (float(e), float(g)) for name, (e, g) in zip(table["id"].tolist(), values, strict=True)}


def formulas_of(path: Path) -> list[str]:
    """Reduced formula of every row of a parquet of structures, "" where it names no composition."""
    written = structure_table(path, ("formula",))["formula"].to_pylist()
    known = {text: _reduced(str(text)) for text in set(written)}
    return [known[text] for text in written]


def _reduced(text: str) -> str:
    try:
        return reduced_formula(dict(Composition.of_formula(text).amounts))
    except BadInput:
        return ""


def _packed(path: Path, rows: Sequence[int], progress: Callable[[int, int], None]) -> Corpus:
    parts = []
    for start in range(0, len(rows), TOGETHER):
        chosen = rows[start : start + TOGETHER]
        parts.append(pack((c, COMPUTED) for c in computed_crystals(path, rows=chosen)))
        progress(min(len(rows), start + TOGETHER), len(rows))
    if not parts:
        raise BadInput(f"{path} holds no structures.")
    return merge(parts)
