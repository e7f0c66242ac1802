"""The fixed halves of the measured compounds: A may shape simulated patterns, B only judges.

Statistics without labels of half A (widths, backgrounds, noise; see `trainer.gap`) may set the
distributions of stage 2; everything that tells how good the result is counts half B. The rule and its
reason: docs/decisions/0007-statistics-of-half-a.md.
"""

from __future__ import annotations

import zlib
from typing import Literal

Half = Literal["A", "B"]


def half(compound: str) -> Half:
    """The half of a compound (the column `compound` of index.csv): the parity of CRC-32 of its UTF-8 text.

    A function of the text alone, so that it never depends on which rows are read or in what order. All
    patterns of a compound fall into the same half.
    """
    return "B" if zlib.crc32(compound.encode()) % 2 else "A"
