"""`read`: a measured pattern from a file, whatever diffractometer wrote it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from eg_agent.errors import BadInput, BadPattern, EgAgentError
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


#: Formats that look like columns of numbers and are none: left to xylib.
_XYLIB = {".udf", ".uxd", ".rd", ".sd", ".cpi"}


def read(path: str | Path, *, wavelength: float | None = None, wavelength2: float | None = None) -> Pattern:
    """A measured pattern from a file.

    path: one of the formats in `FORMATS`, by the ending of its name; other endings are tried as text,
    then through xylib where it is installed.
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

    if suffix in _XYLIB:
        return _read_xylib
    return read_text if suffix in FORMATS else _read_other


def _read_other(path: Path) -> Measured:
    """A file of another ending: as text, else through xylib where that is installed and knows it."""
    from eg_agent.patterns.text import read_text

    try:
        return read_text(path)
    except BadPattern as no_table:
        try:
            return _read_xylib(path)
        except BadInput:
            raise no_table from None


def _read_xylib(path: Path) -> Measured:
    from eg_agent.patterns.rawfiles import read_with_xylib

    try:
        return read_with_xylib(path)
    except ImportError:
        raise BadInput(
            f"{path.name} is of a kind that only xylib-py reads, which is not installed: "
            "export it as .xy, or see docs/reference/file-formats.md for how to build it."
        ) from None
    except EgAgentError:
        raise
    except Exception as error:  # whatever its C++ makes of an unknown file
        reason = str(error).strip().splitlines() or ["unknown format"]
        raise BadInput(f"{path.name} could not be read by xylib ({reason[0]}): export it as .xy.") from error
