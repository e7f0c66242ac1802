"""Compositions of a corpus' structures, and of entries of which only formula and space group are known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from eg_agent.chemistry import MAX_ELEMENTS, Composition
from eg_agent.errors import BadInput
from eg_agent.model.composition import Chemistry, chemistry
from eg_agent.symmetry import group_of_space_group
from simulators.corpus import MOLECULAR, RANDOM, Corpus, held_out
from simulators.structures import reduced_formula, structure_table

#: Hydrogen atoms for each carbon of a molecular crystal: from condensed aromatics to saturated chains.
HYDROGEN = (0.5, 1.9)


@dataclass(frozen=True, eq=False)
class Compositions:
    """n compositions as tensors. group: int64 [n], number of the extinction group minus 1."""

    chemistry: Chemistry
    group: Tensor

    def __len__(self) -> int:
        return len(self.group)

    def take(self, rows: Tensor, exact_B: Tensor) -> Chemistry:
        """Rows of it, with amounts where `exact_B`."""
        return Chemistry(self.chemistry.element_BE[rows], self.chemistry.share_BE[rows], exact_B)

    def only(self, which: Tensor) -> Compositions:
        """Those where `which` is true."""
        return Compositions(Chemistry(*(part[which] for part in self.chemistry)), self.group[which])

    def with_more(self, other: Compositions) -> Compositions:
        """Both, one after the other."""
        parts = zip(self.chemistry, other.chemistry, strict=True)
        return Compositions(
            Chemistry(*(torch.cat(pair) for pair in parts)), torch.cat([self.group, other.group])
        )


def of_corpus(corpus: Corpus, seed: int = 0) -> tuple[Compositions, npt.NDArray[np.int64]]:
    """Compositions of a corpus, and for each structure its row in them, -1 where it has none.

    Random inorganic crystals have atoms that no chemistry put together: none. Random molecular ones have
    plausible heavy atoms but no hydrogen, which is given to them here.
    """
    rng = np.random.default_rng(seed)
    found: list[Composition] = []
    row = np.full(len(corpus), -1, dtype=np.int64)
    known: dict[str, Composition | None] = {}
    for i, (formula, source) in enumerate(zip(corpus.formulas, corpus.source, strict=True)):
        if source == RANDOM:
            continue
        if formula not in known:
            known[formula] = parsed(formula)
        composition = known[formula]
        if composition is None:
            continue
        if source == MOLECULAR:
            amounts = dict(composition.amounts)
            amounts["H"] = max(1, round(amounts.get("C", 1.0) * rng.uniform(*HYDROGEN)))
            composition = Composition.of_amounts(amounts)
        row[i] = len(found)
        found.append(composition)
    if not found:
        raise BadInput("no structure of the corpus has a formula: make one from real structures.")
    group = torch.from_numpy(corpus.group[row >= 0].astype(np.int64) - 1)
    return Compositions(chemistry(found), group), row


def of_index(path: Path, *, apart: bool = False) -> Compositions:
    """Compositions of entries of which only `formula` and `sg` (space group) are known, from a parquet.

    Formulas that `simulators.corpus.held_out` holds out are left out here, too; apart: these alone.
    """
    table = structure_table(path, ("formula", "sg"))
    found, groups = [], []
    known: dict[str, Composition | None] = {}
    for formula, number in zip(table["formula"].to_pylist(), table["sg"].to_pylist(), strict=True):
        if formula not in known:
            known[formula] = parsed(str(formula))
        composition = known[formula]
        if (
            composition is None
            or not 1 <= int(number) <= 230
            or held_out(reduced_formula(dict(composition.amounts))) != apart
        ):
            continue
        found.append(composition)
        groups.append(group_of_space_group(int(number)) - 1)
    return Compositions(chemistry(found), torch.tensor(groups, dtype=torch.int64))


def parsed(formula: str) -> Composition | None:
    """The composition of a formula; None where it names none, or too many elements."""
    try:
        composition = Composition.of_formula(formula)
    except BadInput:
        return None
    return composition if len(composition.amounts) <= MAX_ELEMENTS else None
