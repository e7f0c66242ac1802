"""The table of a search: OUT/trials.csv, a row a trial, written again at every report."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eg_agent.model.checkpoint import write_atomically

#: Name of the table in a search's folder.
TABLE = "trials.csv"
#: Its columns: settings, then figures at the last rung that the trial came to.
COLUMNS = (
    "trial",
    "lr",
    "batch",
    "weight_decay",
    "random_share",
    "status",
    "seen",
    "bits_over_prior",
    "nll",
    "top1",
    "train_seconds",
)
#: What a trial's status is once it is over; before that "running".
ENDED = ("done", "stopped", "failed")
#: Columns that are text.
TEXT = ("trial", "status")


class Trials:
    """The table in a folder, read if it is there."""

    def __init__(self, out: Path) -> None:
        self.path = out / TABLE
        self._rows: dict[str, dict[str, Any]] = {}
        if self.path.is_file():
            with self.path.open(newline="", encoding="utf-8") as file:
                for row in csv.DictReader(file):
                    found = {k: v if k in TEXT else float(v) for k, v in row.items() if v}
                    self._rows[row["trial"]] = found

    def put(
        self, name: str, dials: Mapping[str, Any], figures: Mapping[str, Any], status: str
    ) -> dict[str, Any]:
        """Note a trial's latest figures, write the table, and return the row. name: Tune's id."""
        name = name.rpartition("_")[2]
        row = {"trial": name, **dials, "status": status}
        self._rows[name] = row | {key: figures[key] for key in COLUMNS if key in figures}
        text = io.StringIO()
        writer: csv.DictWriter[str] = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows())
        write_atomically(self.path, text.getvalue().encode())
        return self._rows[name]

    def rows(self) -> list[dict[str, Any]]:
        """All trials: those that saw most patterns first, and of these the best."""
        return sorted(self._rows.values(), key=_rank)


def _rank(row: Mapping[str, Any]) -> tuple[int, float, float]:
    finished = row["status"] == "done"  # batches differ, so all that are done have not seen quite as many
    seen = 0.0 if finished else row.get("seen", 0.0)
    return (not finished, -seen, -row.get("bits_over_prior", float("-inf")))


def in_words(row: Mapping[str, Any]) -> str:
    """A trial in a line."""
    return (
        f"trial {row['trial']}: {row['bits_over_prior']:+.3f} bits over prior after "
        f"{row['seen']:,.0f} patterns, lr {row['lr']:.2e}, batch {row['batch']:.0f}, "
        f"weight decay {row['weight_decay']:.2e}, "
        f"random crystals {row['random_share']:.0%}"
    )
