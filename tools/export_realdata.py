"""Write every pattern of a folder (index.csv, patterns.npz) as .xy files, with a manifest of wavelengths.

    python tools/export_realdata.py ../shared/realdata OUT [--subset all|benchmark|known_cell] [--limit N]

OUT/<id>.xy holds two columns, 2-theta in degrees and intensity. OUT/manifest.csv has a row a file: file, id,
wavelength and wavelength2 in angstrom (empty when there is one), the label (space group, extinction
group), the cell where it is trusted, compound and source. So a loop can run, for each row,

    eg-agent identify OUT/<file> --wavelength <wavelength>[,<wavelength2>]
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import numpy as np

from eg_agent.errors import BadInput, EgAgentError
from trainer.benchmark.data import CELL_COLUMNS, Folder, Subset

MANIFEST: tuple[str, ...] = (
    "file",
    "id",
    "wavelength",
    "wavelength2",
    "sg_number",
    "eg_number",
    *CELL_COLUMNS,
    "known_cell",
    "benchmark",
    "compound",
    "source",
)


def export(data: Path, out: Path, subset: Subset = "all", limit: int | None = None) -> int:
    """Write the files; returns how many.

    Every row of the index is written with `subset` "all", labelled or not. Raises BadInput for a folder
    that cannot be read, or when two ids would become one file.
    """
    folder = Folder(data)
    rows = [r for r in folder.rows if subset == "all" or r[subset].strip().lower() == "true"][:limit]
    if not rows:
        raise BadInput(f"{data} has no {subset} rows: nothing was written.")
    names = [f"{_safe(row['id'])}.xy" for row in rows]
    if len(set(names)) != len(names):
        raise BadInput("two ids of index.csv become the same file name: make them differ.")
    out.mkdir(parents=True, exist_ok=True)
    with (out / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, MANIFEST, extrasaction="ignore", restval="")
        writer.writeheader()
        for name, row in zip(names, rows, strict=True):
            # float32 in the archive: eight digits are all it has, and keep 0.001 degree steps apart.
            np.savetxt(out / name, folder.points(row["id"]).T, fmt=("%.6f", "%.8g"))
            writer.writerow({**row, "file": name})
    return len(rows)


def _safe(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name)


def main() -> int:
    """Command line; the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--subset", choices=("all", "benchmark", "known_cell"), default="all")
    parser.add_argument("--limit", type=int)
    arguments = parser.parse_args()
    try:
        n = export(arguments.data, arguments.out, arguments.subset, arguments.limit)
    except EgAgentError as error:
        print(f"export_realdata: {error}", file=sys.stderr)
        return 2
    print(f"{n} patterns in {arguments.out}, wavelengths in manifest.csv")
    return 0


if __name__ == "__main__":
    sys.exit(main())
