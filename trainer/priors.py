"""Derive the shipped priors from published counts of entries per space group.

Run `python -m trainer.priors sg_histogram.csv` to write eg_agent/model/priors.json again.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadInput
from eg_agent.model.prior import N_GROUPS, smoothed
from eg_agent.symmetry import group_of_space_group
from simulators.preparation import MOLECULAR_SPACE_GROUPS

UNIFORM_SHARE = 0.05

#: Shipped name -> (column of the table, what was counted).
SOURCES = {
    "mineral": (
        "cod_amcsd_minerals_dara",
        "mineral entries of the Crystallography Open Database (range of the American Mineralogist "
        "Crystal Structure Database), counted per space group",
    ),
    "inorganic": (
        "cod_inorganic_dara",
        "inorganic entries of the Crystallography Open Database, counted per space group",
    ),
}


ORGANIC = (
    "shares of the 20 most frequent space groups in the Cambridge Structural Database, organic and "
    "metal-organic crystals (its published statistics of space groups); the rest as inorganic entries"
)


def group_counts(path: Path, column: str) -> npt.NDArray[np.float64]:
    """Entries [99] per extinction group from a table with `spacegroup_number` and `column`."""
    counts = np.zeros(N_GROUPS)
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if column not in (reader.fieldnames or ()):
            raise BadInput(f"{path} has no column {column!r}.")
        for row in reader:
            counts[group_of_space_group(int(row["spacegroup_number"])) - 1] += float(row[column] or 0)
    return counts


def organic_shares(inorganic: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Shares [99] of the groups of organic and metal-organic crystals: the 20 space groups that lead the
    Cambridge Structural Database with what they have of it, and the rest of it as inorganic entries [99]."""
    shares = np.zeros(N_GROUPS)
    for number, percent in MOLECULAR_SPACE_GROUPS.items():
        shares[group_of_space_group(number) - 1] += 0.01 * percent
    return shares + (1.0 - shares.sum()) * inorganic / inorganic.sum()


def build(path: Path) -> dict[str, Any]:
    """Content of priors.json: the 99 log-probabilities of each prior, its source and smoothing."""
    priors: dict[str, Any] = {}

    def add(name: str, source: str, counts: npt.NDArray[np.float64], entries: int | None) -> None:
        priors[name] = {
            "source": source,
            "entries": entries,
            "smoothing": f"a share of {UNIFORM_SHARE:g} of the uniform prior, so that no group is impossible",
            "log_probability": [round(float(v), 5) for v in smoothed(counts, UNIFORM_SHARE)],
        }

    for name, (column, source) in SOURCES.items():
        counts = group_counts(path, column)
        add(name, source, counts, int(counts.sum()))
    inorganic = group_counts(path, SOURCES["inorganic"][0])
    add("organic", ORGANIC, organic_shares(inorganic), None)
    return {"unit": "nats; index = number of the extinction group - 1", "priors": priors}


def main(table: str) -> None:
    """Write priors.json into the package from a table of counts."""
    target = Path(__file__).resolve().parents[1] / "eg_agent" / "model" / "priors.json"
    target.write_text(json.dumps(build(Path(table)), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
