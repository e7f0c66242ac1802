"""Binary .raw files, by whichever library is installed: xylib, fairmat-readers-xrd, geddes."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from eg_agent.errors import BadPattern
from eg_agent.patterns.measured import Measured
from eg_agent.patterns.stated import doublet

#: Where fairmat's reader of Bruker's version 4 expects the intensities, and bytes a point.
_RAW4_DATA, _RAW4_POINT = 0x051F, 8


def read_with_xylib(path: Path) -> Measured:
    """Angles, intensities, wavelengths and time through xylib (Bruker .raw to version 3, and more)."""
    import xylib  # pyright: ignore[reportMissingImports]

    data = xylib.load_file(str(path))
    blocks = [data.get_block(i) for i in range(data.get_block_count())]
    x, y = [], []
    for block in blocks:
        column_x, column_y = block.get_column(1), block.get_column(2)
        n = block.get_point_count()
        x.append(np.array([column_x.get_value(i) for i in range(n)]))
        y.append(np.array([column_y.get_value(i) for i in range(n)]))
    if any(after[0] <= before[-1] for before, after in pairwise(x)):
        raise BadPattern(f"{path.name} holds {len(blocks)} ranges that overlap: export one scan a file.")
    metas = (data.meta, blocks[0].meta)

    def find(*keys: str) -> float | None:
        for meta in metas:
            for key in keys:
                if meta.has_key(key) and (number := float(meta.get(key) or 0.0)) > 0.0:
                    return number
        return None

    radiation, notes = doublet(
        find("ALPHA1", "LAMDA1", "K_ALPHA1"),
        find("ALPHA2", "LAMDA2", "K_ALPHA2"),
        find("ALPHA_RATIO", "INTENSITY_RATIO"),
        None,
    )
    time = find("TIME_PER_STEP", "SEC_PER_STEP", "MEASUREMENT_TIME_PER_STEP")
    angles = np.concatenate(x)
    return Measured(
        format=f"{data.fi.name} (xylib)",
        x=angles,
        intensity=np.concatenate(y),
        axis="2-theta",
        counting_time=np.full(angles.size, time) if time else None,
        counts_stated=data.fi.name == "bruker_raw",
        radiation=radiation,
        notes=notes,
    )


def read_bruker_raw4(path: Path) -> Measured:
    """A Bruker .raw of version 4 through fairmat-readers-xrd, where its fixed layout fits the file.

    Raises ValueError where it does not (other versions, several ranges, longer headers): its offsets
    come from a few files, and a wrong one gives numbers that look like a pattern.
    """
    from fairmat_readers_xrd import read_bruker_raw

    content = path.read_bytes()
    if content[:7] != b"RAW4.00":
        raise ValueError("not version 4 of Bruker's .raw")
    data: dict[str, Any] | None = read_bruker_raw(str(path))
    if data is None:
        raise ValueError("layout not known to fairmat-readers-xrd")
    x = np.asarray(data["2Theta"].to("degree").magnitude, dtype=np.float64)
    y = np.asarray(data["intensity"].magnitude, dtype=np.float64)
    fits = len(content) == _RAW4_DATA + _RAW4_POINT * x.size and y.size == x.size > 1
    if not (fits and 0.0 < x[0] < x[-1] < 180.0 and np.all(np.isfinite(y))):
        raise ValueError("layout not known to fairmat-readers-xrd")
    source = data["metadata"].get("source") or {}
    # the wavelengths that the reader gives are its table's, not the file's: only the anode is stated
    radiation, notes = doublet(None, None, None, source.get("anode_material"))
    return Measured(
        format="bruker_raw 4 (fairmat)",
        x=x,
        intensity=y,
        axis="2-theta",
        counts_stated=True,
        radiation=radiation,
        notes=notes,
    )


def read_with_geddes(path: Path) -> Measured:
    """Angles and intensities through geddes; it tells neither wavelengths nor times."""
    import geddes

    data = geddes.read(str(path))  # pyright: ignore[reportAttributeAccessIssue]
    return Measured(
        format=f"{path.suffix.lower()[1:]} (geddes)",
        x=np.asarray(data.x, dtype=np.float64),
        intensity=np.asarray(data.y, dtype=np.float64),
        axis="2-theta",
        notes=["read by geddes, which gives angles and intensities alone"],
    )
