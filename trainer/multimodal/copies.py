"""Symmetric copies of training structures, from which a network learns symmetry instead of structures.

A copy keeps operations and Wyckoff positions of its structure, and with them its crystal system; cell,
free coordinates and elements are others (`simulators.perturbation`). Structures alone are soon known by
heart, which helps nobody with another one (docs/decisions/0016).

No copy has a formula of the test or validation part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from eg_agent.chemistry import MAX_ELEMENTS
from eg_agent.errors import BadInput
from simulators.corpus import COMPUTED, Corpus, merge, pack
from simulators.crystal import DEFAULT_B_ISO, Crystal
from simulators.perturbation import Perturbation, perturbed
from simulators.structures import computed_crystals, count_rows
from trainer.multimodal.materials import TOGETHER, TRAIN, part_of

#: How far copies go. Displacement factors and occupancies stay those of the patterns that are judged.
COPIES = Perturbation(
    strain=0.01,
    displacement=0.08,
    substitution=0.5,
    radius_ratio=1.25,
    vacancies=0.0,
    b_median=DEFAULT_B_ISO,
    b_sigma=0.0,
)


def copy_training(
    path: Path,
    rounds: int,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Corpus:
    """`rounds` copies of each training structure of a parquet, packed; a millisecond each.

    A copy that gets a formula of another part, or more elements than a composition may have, is left out.
    Raises BadInput for a file that holds no training structure.
    """
    if rounds < 1:
        raise BadInput(f"{rounds} copies of each structure are none: ask for 1 or more.")
    count, parts = count_rows(path), []
    for start in range(0, count, TOGETHER):
        rows = range(start, min(count, start + TOGETHER))
        parts += [pack(_copies(path, rows, number, seed)) for number in range(rounds)]
        progress(rows.stop, count)
    packed = merge(parts)
    if not len(packed):
        raise BadInput(f"no structure of {path} can be copied: none is of the training part.")
    return packed


def _copies(path: Path, rows: range, number: int, seed: int) -> Iterator[tuple[Crystal, int]]:
    """One copy of each training structure among some rows of the table."""
    for row, crystal in zip(rows, computed_crystals(path, rows.start, rows.stop), strict=True):
        if part_of(crystal.formula) != TRAIN or len(set(crystal.elements)) > MAX_ELEMENTS:
            continue
        try:
            copy = perturbed(crystal, np.random.default_rng([seed, number, row]), COPIES)
        except BadInput:  # a strained cell that is none, a site that left its position
            continue
        if part_of(copy.formula) == TRAIN:
            yield copy, COMPUTED
