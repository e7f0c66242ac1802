"""Runs for a Tiled in large numbers: documents of measured patterns, and copies of runs inside the catalog.

`write` goes the way of every run, through bluesky's TiledWriter, which takes a second a run. `multiply` is
for archives of thousands: it copies the rows that Tiled's own catalog and table hold of runs written so, each
copy with a uid and counts of its own, so that a server reads them like any other.
"""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from event_model import compose_run

from eg_agent.patterns import Pattern


def documents(pattern: Pattern, *, name: str = "det", **start: Any) -> list[tuple[str, dict[str, Any]]]:
    """The documents of a run that measured a pattern as one trace of raw counts."""
    run = compose_run(metadata=start)
    n, radiation = len(pattern), pattern.radiation
    traces = {"two_theta": pattern.two_theta, "intensity": pattern.intensity}
    seconds = 1.0 if pattern.counting_time is None else float(np.median(pattern.counting_time))
    configured: dict[str, float] = {"wavelength": radiation.wavelength, "seconds_per_point": seconds}
    if radiation.wavelength2 is not None:
        configured |= {"wavelength2": radiation.wavelength2, "wavelength_ratio": radiation.ratio}
    keys = {
        f"{name}_{key}": {
            "dtype": "array",
            "shape": [n],
            "dtype_numpy": "<f8",
            "source": "test",
            "units": unit,
        }
        for key, unit in (("two_theta", "deg"), ("intensity", "counts"))
    }
    units = {"wavelength": "angstrom", "wavelength2": "angstrom", "seconds_per_point": "s"}
    configuration = {
        name: {
            "data": {f"{name}_{key}": value for key, value in configured.items()},
            "timestamps": {f"{name}_{key}": 0.0 for key in configured},
            "data_keys": {
                f"{name}_{key}": {
                    "dtype": "number",
                    "shape": [],
                    "source": "test",
                    "units": units.get(key, ""),
                }
                for key in configured
            },
        }
    }
    descriptor = run.compose_descriptor(
        name="primary",
        data_keys=keys,
        configuration=configuration,
        object_keys={name: list(keys)},
        hints={name: {"fields": [f"{name}_intensity"]}},
    )
    event = descriptor.compose_event(
        data={f"{name}_{key}": values.tolist() for key, values in traces.items()},
        timestamps=dict.fromkeys(keys, time.time()),
    )
    found = [("start", run.start_doc), ("descriptor", descriptor.descriptor_doc), ("event", event)]
    return [*found, ("stop", run.compose_stop())]


def write(client: Any, pattern: Pattern, **start: Any) -> str:
    """Write a run into a Tiled through bluesky's own writer; returns its uid."""
    from bluesky.callbacks.tiled_writer import TiledWriter

    writer = TiledWriter(client, batch_size=1)
    written = documents(pattern, **start)
    for name, doc in written:
        writer(name, doc)
    return str(written[0][1]["uid"])


def multiply(directory: Path, count: int, *, seed: int = 0) -> list[str]:
    """Copy the runs that lie in the folder of a stopped `EmbeddedTiled` until there are `count`; all uids.

    Counts are drawn anew (Poisson) about those of the run that is copied.
    """
    rng = np.random.default_rng(seed)
    catalog = _Catalog(directory)
    originals = list(range(len(catalog.rows)))
    for number in range(count - len(originals)):
        which = originals[number % len(originals)]
        angles, counts = catalog.traces(which)
        catalog.add(which, angles, rng.poisson(np.maximum(counts, 0.0)).astype(float), {})
    return catalog.close()


def insert(directory: Path, runs: Iterable[tuple[Pattern, Mapping[str, Any]]]) -> list[str]:
    """Put runs of patterns into the folder of a stopped `EmbeddedTiled` that holds one written run at least.

    Each is a copy of the first one with another start document, axis, wavelength and counts; all uids.
    """
    catalog = _Catalog(directory)
    for pattern, start in runs:
        catalog.add(0, pattern.two_theta, pattern.intensity, start, pattern)
    return catalog.close()


class _Catalog:
    """Tiled's own files: its catalog (SQLite) and the table that holds the traces (DuckDB)."""

    def __init__(self, directory: Path) -> None:
        import duckdb

        self._catalog = sqlite3.connect(directory / "catalog.db")
        self.rows = self._catalog.execute(
            "SELECT r.key, r.metadata, r.specs, s.metadata, s.specs, t.metadata, t.specs, d.structure_id,"
            " d.mimetype, d.parameters, d.properties, d.management, d.structure_family"
            " FROM nodes r JOIN nodes s ON s.parent = r.id JOIN nodes t ON t.parent = s.id"
            " AND t.key = 'internal' JOIN data_sources d ON d.node_id = t.id WHERE r.parent = 0 ORDER BY r.id"
        ).fetchall()
        self._uids = [row[0] for row in self.rows]
        (self._asset,) = self._catalog.execute("SELECT id FROM assets").fetchone()
        (self._node,) = self._catalog.execute("SELECT max(id) FROM nodes").fetchone()
        (self._source,) = self._catalog.execute("SELECT max(id) FROM data_sources").fetchone()
        self._database = duckdb.connect(str(directory / "storage.duckdb"))
        self._table = json.loads(self.rows[0][9])["table_name"]
        found = self._database.execute(f"SELECT * FROM {self._table} ORDER BY _dataset_id").to_arrow_table()
        assert len(found) == len(self.rows), "one event a run, all with the same columns"
        self._data = found
        self._dataset = max(found.column("_dataset_id").to_pylist())
        self._waiting: list[tuple[int, int, Any, Any]] = []

    def traces(self, which: int) -> tuple[Any, Any]:
        """Angles and counts of a run."""
        names = ("det_two_theta", "det_intensity")
        return tuple(np.array(self._data.column(name)[which].as_py()) for name in names)  # type: ignore[return-value]

    def add(
        self, which: int, angles: Any, counts: Any, start: Mapping[str, Any], pattern: Pattern | None = None
    ) -> None:
        """A copy of a run with other traces."""
        _, metadata, specs, described, stream_specs, columns, table_specs, *source = self.rows[which]
        uid, told, stream = str(uuid.uuid4()), json.loads(metadata), json.loads(described)
        now = time.time()
        told["start"] |= {**start, "uid": uid, "time": now, "scan_id": len(self._uids) + 1}
        told["stop"] |= {"uid": str(uuid.uuid4()), "run_start": uid, "time": now + 0.5}
        if pattern is not None:
            for key in stream["data_keys"].values():
                key["shape"] = [len(pattern)]
            ((name, configured),) = stream["configuration"].items()
            data, radiation = configured["data"], pattern.radiation
            data[f"{name}_wavelength"] = radiation.wavelength
            data[f"{name}_wavelength2"] = radiation.wavelength2 or 0.0
        nodes = (
            (uid, json.dumps(told), specs, "container"),
            ("primary", json.dumps(stream), stream_specs, "container"),
            ("internal", columns, table_specs, "table"),
        )
        for parent, node in zip((0, self._node + 1, self._node + 2), nodes):
            self._node += 1
            self._catalog.execute(
                "INSERT INTO nodes (id, parent, key, metadata, specs, structure_family)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (self._node, parent, *node),
            )
        self._source, self._dataset = self._source + 1, self._dataset + 1
        structure, mimetype, parameters, *rest = source
        self._catalog.execute(
            "INSERT INTO data_sources (id, node_id, structure_id, mimetype, parameters, properties,"
            " management, structure_family) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self._source,
                self._node,
                structure,
                mimetype,
                json.dumps({**json.loads(parameters), "dataset_id": self._dataset}),
                *rest,
            ),
        )
        self._catalog.execute(
            "INSERT INTO data_source_asset_association (data_source_id, asset_id, parameter)"
            " VALUES (?, ?, ?)",
            (self._source, self._asset, "data_uri"),
        )
        self._uids.append(uid)
        self._waiting.append((which, self._dataset, np.asarray(angles, float), np.asarray(counts, float)))
        if len(self._waiting) == 500:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        if not self._waiting:
            return
        which, datasets, angles, counts = zip(*self._waiting)
        part = self._data.take(pa.array(which))
        traces = pa.list_(pa.float64())
        for name, values in (
            ("_dataset_id", pa.array(datasets, pa.int32())),
            ("det_two_theta", pa.array([v.tolist() for v in angles], traces)),
            ("det_intensity", pa.array([v.tolist() for v in counts], traces)),
        ):
            part = part.set_column(part.column_names.index(name), name, values)
        self._database.register("part", part)
        self._database.execute(f"INSERT INTO {self._table} SELECT * FROM part")
        self._database.unregister("part")
        self._waiting = []

    def close(self) -> list[str]:
        """Write what waits; uids of all runs."""
        self._flush()
        self._catalog.commit()
        self._catalog.close()
        self._database.close()
        return self._uids
