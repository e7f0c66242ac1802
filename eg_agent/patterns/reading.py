"""`read`: a measured pattern from a file, whatever diffractometer wrote it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from eg_agent.errors import BadInput, BadPattern
from eg_agent.patterns.measured import Measured, to_pattern
from eg_agent.patterns.pattern import Pattern

#: File name endings that `read` knows, and what they are.
FORMATS: dict[str, str] = {
    ".xy": "columns: 2-theta, intensity",
    ".xye": "columns: 2-theta, intensity, standard error",
    ".csv": "columns with commas or semicolons",
    ".dat": "columns, or start, step and end with intensities",
    ".txt": "columns",
    ".xrdml": "Malvern Panalytical",
    ".brml": "Bruker",
    ".raw": "Bruker or Siemens (version 4), other versions and Rigaku through xylib",
    ".rasx": "Rigaku",
    ".cif": "pdCIF",
}


def read(path: str | Path, *, wavelength: float | None = None, wavelength2: float | None = None) -> Pattern:
    """A measured pattern from a file.

    path: one of the formats in `FORMATS`, by the ending of its name; other endings are tried as text.
    wavelength, wavelength2: angstrom (K-alpha1 and K-alpha2); needed where the file states none, and
    taking precedence where it does, with a note in `source.notes` when they differ by more than 0.5 %.

    Raises BadInput for a missing or unreadable file, MissingExtra where a reader is not installed, and
    BadPattern without a wavelength, without a table of numbers, or when the axis is not 2-theta, Q or
    d. Does not call `check`.
    """
    path = Path(path)
    if not path.is_file():
        raise BadInput(f"{path} is not a file: give the path of a measured pattern.")
    try:
        found = _reader(path)(path)
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror or error}): check the file.") from error
    if found.x.size == 0:
        raise BadPattern(f"{path.name} holds no points: export the measured scan.")
    return to_pattern(found, path, wavelength, wavelength2)


def _reader(path: Path) -> Callable[[Path], Measured]:
    # imported here so that reading text needs neither gemmi nor the vendors' readers
    suffix = path.suffix.lower()
    if suffix == ".cif":
        from eg_agent.patterns.pdcif import read_pdcif

        return read_pdcif
    if suffix in (".xrdml", ".brml", ".rasx", ".raw"):
        from eg_agent.patterns.vendor import read_vendor

        return read_vendor
    from eg_agent.patterns.text import read_text

    return read_text
