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
    import duckdb
    import pyarrow as pa

    rng = np.random.default_rng(seed)
    catalog = sqlite3.connect(directory / "catalog.db")
    rows = catalog.execute(
        "SELECT r.id, r.key, r.metadata, r.specs, s.metadata, s.specs, t.metadata, t.specs, d.id,"
        " d.structure_id, d.mimetype, d.parameters, d.properties, d.management, d.structure_family"
        " FROM nodes r JOIN nodes s ON s.parent = r.id JOIN nodes t ON t.parent = s.id AND t.key = 'internal'"
        " JOIN data_sources d ON d.node_id = t.id WHERE r.parent = 0 ORDER BY r.id"
    ).fetchall()
    uids = [row[1] for row in rows]
    (asset,) = catalog.execute("SELECT id FROM assets").fetchone()
    node = catalog.execute("SELECT max(id) FROM nodes").fetchone()[0]
    source = catalog.execute("SELECT max(id) FROM data_sources").fetchone()[0]
    database = duckdb.connect(str(directory / "storage.duckdb"))
    named = json.loads(rows[0][11])["table_name"]
    data = database.execute(f"SELECT * FROM {named} ORDER BY _dataset_id").to_arrow_table()
    assert len(data) == len(rows), "one event a run, all with the same columns"
    counts = [np.array(v) for v in data.column("det_intensity").to_pylist()]
    dataset = max(data.column("_dataset_id").to_pylist())
    now = time.time()
    chosen: list[int] = []
    drawn: list[Any] = []
    for number in range(count - len(rows)):
        which = number % len(rows)
        _, _, metadata, specs, *rest = rows[which]
        uid, told = str(uuid.uuid4()), json.loads(metadata)
        told["start"] |= {"uid": uid, "time": now + number, "scan_id": number}
        told["stop"] |= {"uid": str(uuid.uuid4()), "run_start": uid, "time": now + number + 0.5}
        parents = (0, node + 1, node + 2)
        nodes = (
            (uid, json.dumps(told), specs),
            ("primary", rest[0], rest[1]),
            ("internal", rest[2], rest[3]),
        )
        for parent, (key, meta, spec), family in zip(parents, nodes, ("container", "container", "table")):
            node += 1
            catalog.execute(
                "INSERT INTO nodes (id, parent, key, structure_family, metadata, specs)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (node, parent, key, family, meta, spec),
            )
        source, dataset = source + 1, dataset + 1
        parameters = json.dumps({**json.loads(rest[7]), "dataset_id": dataset})
        catalog.execute(
            "INSERT INTO data_sources (id, node_id, structure_id, mimetype, parameters, properties,"
            " management, structure_family) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (source, node, rest[5], rest[6], parameters, *rest[8:]),
        )
        catalog.execute(
            "INSERT INTO data_source_asset_association (data_source_id, asset_id, parameter)"
            " VALUES (?, ?, ?)",
            (source, asset, "data_uri"),
        )
        uids.append(uid)
        chosen.append(which)
        drawn.append(rng.poisson(np.maximum(counts[which], 0.0)).astype(float))
        if len(drawn) == 500 or number == count - len(rows) - 1:
            part = data.take(pa.array(chosen))
            first = dataset - len(drawn) + 1
            part = _with(part, "_dataset_id", pa.array(range(first, dataset + 1), pa.int32()))
            part = _with(part, "det_intensity", pa.array(drawn, pa.list_(pa.float64())))
            database.register("part", part)
            database.execute(f"INSERT INTO {named} SELECT * FROM part")
            database.unregister("part")
            chosen, drawn = [], []
    catalog.commit()
    catalog.close()
    database.close()
    return uids


def _with(table: Any, name: str, values: Any) -> Any:
    return table.set_column(table.column_names.index(name), name, values)
