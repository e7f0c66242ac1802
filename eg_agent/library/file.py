"""Reading and writing a library file: an uncompressed npz of plain arrays, no pickle."""

from __future__ import annotations

import os
import tempfile
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadInput

#: First array of the file; another text is another kind of file.
MAGIC = "eg-agent library"
#: Raised when older programs could no longer read what is written.
VERSION = 1


@dataclass(frozen=True, eq=False)
class Entries:
    """Peak lists of N structures with M peaks in all.

    group: uint8 [N] extinction group 1-99. space_group: uint8 [N] 1-230 (0: not known).
    cell: float32 [N, 6] angstrom and degrees, in the axes of hkl. niggli: float32 [N, 6] the reduced
    primitive cell. kinds: int8 [N, 6] how the cell may be strained within its system, see
    `kernels.strained`. offset: int64 [N + 1]; entry i owns peaks offset[i]:offset[i + 1].
    hkl: int8 [M, 3]. level: uint8 [M] F^2 times multiplicity, logarithmic (`LEVELS_PER_DECADE`).
    id_text, formula_text: UTF-8 lines, one an entry: ids, reduced formulas in alphabetical order.
    """

    group: npt.NDArray[np.uint8]
    space_group: npt.NDArray[np.uint8]
    cell: npt.NDArray[np.float32]
    niggli: npt.NDArray[np.float32]
    kinds: npt.NDArray[np.int8]
    offset: npt.NDArray[np.int64]
    hkl: npt.NDArray[np.int8]
    level: npt.NDArray[np.uint8]
    id_text: npt.NDArray[np.uint8]
    formula_text: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.group)


#: dtype, number of columns (0: one-dimensional) and which length the first axis has: N, N + 1, M or any.
_SHAPES: dict[str, tuple[type, int, str]] = {
    "group": (np.uint8, 0, "N"),
    "space_group": (np.uint8, 0, "N"),
    "cell": (np.float32, 6, "N"),
    "niggli": (np.float32, 6, "N"),
    "kinds": (np.int8, 6, "N"),
    "offset": (np.int64, 0, "N+1"),
    "hkl": (np.int8, 3, "M"),
    "level": (np.uint8, 0, "M"),
    "id_text": (np.uint8, 0, ""),
    "formula_text": (np.uint8, 0, ""),
}

_MAKE = "make one with eg-train library"


def write(path: str | Path, entries: Entries) -> None:
    """Write a library file; it appears whole or not at all. Raises BadInput where it cannot be written."""
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        temporary = Path(name)
        with os.fdopen(handle, "wb") as stream:
            arrays = {f.name: getattr(entries, f.name) for f in fields(Entries)}
            np.savez(stream, magic=np.array(MAGIC), version=np.array(VERSION), **arrays)
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise BadInput(
            f"{path} cannot be written ({error.strerror or error}): free space, or choose another folder."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def read(path: str | Path) -> Entries:
    """Read what `write` wrote. Raises BadInput, with what to do, for anything else."""
    path = Path(path)
    if not path.is_file():
        raise BadInput(f"there is no library {path}: {_MAKE}.")
    try:
        with np.load(path, allow_pickle=False) as data:
            if (
                not isinstance(data, np.lib.npyio.NpzFile)
                or "magic" not in data
                or str(data["magic"]) != MAGIC
            ):
                raise BadInput(f"{path} is not a library of structures: {_MAKE}.")
            version = int(data["version"])
            if version > VERSION:
                raise BadInput(
                    f"{path} was written by a newer eg-agent (library format {version}, this one reads "
                    f"{VERSION}): update eg-agent, or {_MAKE} of this version."
                )
            entries = Entries(**{f.name: data[f.name] for f in fields(Entries)})
    except (OSError, KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile):
        raise BadInput(f"{path} is not a library of structures, or is damaged: {_MAKE}.") from None
    why = inconsistency(entries)
    if why:
        raise BadInput(f"{path} is damaged ({why}): {_MAKE}.")
    return entries


def inconsistency(entries: Entries) -> str:
    """What does not fit together in the arrays; empty when all is well."""
    n, m = len(entries.group), len(entries.level)
    lengths = {"N": n, "N+1": n + 1, "M": m}
    for name, (dtype, columns, length) in _SHAPES.items():
        array = getattr(entries, name)
        if (
            array.dtype != dtype
            or array.ndim != (2 if columns else 1)
            or (columns and array.shape[1] != columns)
        ):
            return f"{name} is {array.dtype} of shape {array.shape}"
        if length and len(array) != lengths[length]:
            return f"{name} has {len(array)} rows for {lengths[length]}"
    if n == 0:
        return "no entries"
    if entries.offset[0] != 0 or entries.offset[-1] != m or (np.diff(entries.offset) < 1).any():
        return "offsets do not count the peaks"
    if entries.group.min() < 1 or entries.group.max() > 99:
        return "groups outside 1-99"
    if not (np.isfinite(entries.cell).all() and (entries.cell > 0).all()):
        return "cells that cannot be"
    if entries.kinds[:, :3].min() < 0 or entries.kinds.max() > 5:
        return "kinds of strain that are not known"
    for name in ("id_text", "formula_text"):
        if int((getattr(entries, name) == ord("\n")).sum()) != n:
            return f"{name} has not one line an entry"
    return ""
