"""Writing an exported fit: all files of it, or none."""

from __future__ import annotations

import os
import re
from pathlib import Path

from eg_agent.errors import BadInput
from eg_agent.export.fitted import FittedPattern
from eg_agent.export.gsas2 import instrument_parameters, script, xye
from eg_agent.export.pdcif import cif
from eg_agent.export.topas import topas_input


def export(fitted: FittedPattern, folder: str | Path) -> list[Path]:
    """Write NAME.cif, NAME.xye, NAME.instprm, NAME_gsas2.py and NAME.inp; the paths, in this order.

    folder: made where it is missing. Raises BadInput where it cannot be written; no file is then left
    half-written, and older files of these names are kept.
    """
    target = Path(folder)
    name = file_name(fitted.name)
    contents = {
        f"{name}.cif": cif(fitted),
        f"{name}.xye": xye(fitted),
        f"{name}.instprm": instrument_parameters(fitted),
        f"{name}_gsas2.py": script(fitted, name),
        f"{name}.inp": topas_input(fitted, name),
    }
    temporary = {file: target / f".{file}.{os.getpid()}" for file in contents}
    try:
        target.mkdir(parents=True, exist_ok=True)
        for file, text in contents.items():
            temporary[file].write_text(text, encoding="utf-8")
        for file, path in temporary.items():
            path.replace(target / file)
    except OSError as error:
        raise BadInput(
            f"{target} cannot be written ({error.strerror or error}): give another folder."
        ) from error
    finally:
        for path in temporary.values():
            path.unlink(missing_ok=True) if path.parent.is_dir() else None
    return [target / file for file in contents]


def file_name(name: str) -> str:
    """A name that every program takes: letters, digits, dots, dashes and underscores."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._") or "pattern"
