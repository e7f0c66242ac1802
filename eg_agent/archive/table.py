"""The result of an archive on disk: a line a run, written once, and the same as a parquet table.

    OUT/archive.json              what was asked for; another archive in the same folder is refused
    OUT/identifications.jsonl     a row a run, in the order in which they were done
    OUT/sessions.jsonl            a row a call: workers, patterns, seconds, rate
    OUT/identifications.parquet   the rows as a table, written at the end of each call

Rows are on the disk before more is handed out, and a line that a kill cut short is dropped: its run is done
again.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from eg_agent.errors import BadInput
from eg_agent.model.checkpoint import write_atomically

ASKED, ROWS, SESSIONS, TABLE = (
    "archive.json",
    "identifications.jsonl",
    "sessions.jsonl",
    "identifications.parquet",
)

#: Columns of the parquet table and their types; what they mean is in `eg_agent.archive.actor.row_of`.
COLUMNS = {
    "run": "string",
    "sample": "string",
    "began": "float64",
    "verdict": "string",
    "reason": "string",
    "group": "int32",
    "symbol": "string",
    "crystal_system": "string",
    "probability": "float64",
    "space_groups": "list",
    "prediction_set": "ints",
    "network_group": "int32",
    "network_probability": "float64",
    "novelty": "float64",
    "cell": "floats",
    "rwp": "float64",
    "evidence_probability": "float64",
    "points": "int32",
    "two_theta_min": "float64",
    "two_theta_max": "float64",
    "wavelength": "float64",
    "checkpoint": "string",
    "reading_seconds": "float64",
    "seconds": "float64",
}


class Results:
    """The folder; one process writes it (BadInput for a second one, or for another archive's folder)."""

    def __init__(self, out: Path, asked: Mapping[str, Any]) -> None:
        import fcntl

        self.out = out
        try:
            out.mkdir(parents=True, exist_ok=True)
            self._lock: IO[str] = (out / ".lock").open("w")
        except OSError as error:
            raise BadInput(
                f"--out {out} cannot be written ({error.strerror}): choose another folder."
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise BadInput(
                f"another eg-agent archive works on {out}: let it end, or give another --out."
            ) from None
        try:
            self._same(asked)
            self.done = self._read()
            self._file = (out / ROWS).open("ab")
        except BaseException:
            self._lock.close()
            raise

    def _same(self, asked: Mapping[str, Any]) -> None:
        path = self.out / ASKED
        try:
            before = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            write_atomically(path, (json.dumps(dict(asked), indent=1) + "\n").encode())
            return
        except (OSError, ValueError) as error:
            raise BadInput(f"{path} cannot be read ({error}): give another --out.") from error
        other = sorted(key for key in {*before, *asked} if before.get(key) != asked.get(key))
        if other:
            raise BadInput(
                f"{self.out} holds an archive with another {' and '.join(other)}: use the same options, or "
                "another --out."
            )

    def _read(self) -> set[str]:
        """Runs that have their row; the file is cut behind the last whole one."""
        path = self.out / ROWS
        if not path.exists():
            return set()
        done: set[str] = set()
        with path.open("rb+") as file:
            whole = 0
            for line in file:
                try:
                    row = json.loads(line) if line.endswith(b"\n") else None
                except ValueError:
                    row = None
                if row is None:
                    break
                done.add(row["run"])
                whole += len(line)
            file.truncate(whole)
        return done

    def add(self, rows: Iterable[Mapping[str, Any]]) -> int:
        """Write rows of runs that have none yet, and wait for the disk; returns how many were new."""
        lines = []
        for row in rows:
            if row["run"] not in self.done:
                self.done.add(row["run"])
                lines.append(json.dumps(row, allow_nan=False, ensure_ascii=False) + "\n")
        try:
            self._file.write("".join(lines).encode())
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise BadInput(
                f"{self.out / ROWS} cannot be written ({error.strerror}): free some space and run this "
                "again; it goes on from there."
            ) from error
        return len(lines)

    def rows(self) -> Iterator[dict[str, Any]]:
        """All rows that were written."""
        with (self.out / ROWS).open("rb") as file:
            for line in file:
                yield json.loads(line)

    def verdicts(self) -> dict[str, int]:
        """How many rows have each verdict, commonest first."""
        return dict(Counter(row["verdict"] for row in self.rows()).most_common())

    def session(self, row: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Note what this call did; returns the calls so far."""
        with (self.out / SESSIONS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(dict(row)) + "\n")
        with (self.out / SESSIONS).open(encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    def write_table(self) -> Path:
        """The rows as a parquet table, replaced as a whole."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        types = {
            "string": pa.string(),
            "float64": pa.float64(),
            "int32": pa.int32(),
            "list": pa.list_(pa.string()),
            "ints": pa.list_(pa.int32()),
            "floats": pa.list_(pa.float64()),
        }
        schema = pa.schema([(name, types[kind]) for name, kind in COLUMNS.items()])
        path = self.out / TABLE
        part = path.with_name(path.name + ".part")
        with pq.ParquetWriter(part, schema) as writer:
            batch: list[dict[str, Any]] = []
            for row in self.rows():
                batch.append(row)
                if len(batch) == 10_000:
                    writer.write_table(pa.Table.from_pylist(batch, schema))
                    batch = []
            writer.write_table(pa.Table.from_pylist(batch, schema))
        part.replace(path)
        return path

    def close(self) -> None:
        """Let go of the folder."""
        self._file.close()
        self._lock.close()
