"""The columnar format: what is written is read back, by us and by pyarrow and pandas alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from eg_agent.errors import BadInput
from simulators.stored import (
    FORMAT,
    Manifest,
    read_manifest,
    rows_in,
    shard_path,
    stored_patterns,
    write_manifest,
    write_shard,
)

LENGTH = 50


def manifest(**changes) -> Manifest:
    settings = {
        "stage": "stage2",
        "config": {"zero": 0.1},
        "seed": 3,
        "count": 10,
        "shard_size": 6,
        "grid": {"two_theta_min": 5.0, "two_theta_max": 90.0, "length": LENGTH},
        "source": {"kind": "corpus", "name": "c.npz", "sha256": "00"},
        "device": "cpu",
        "versions": {"eg-agent": "0.1.0"},
    }
    return Manifest(**(settings | changes))


def rows(first: int, last: int) -> dict:
    rng = np.random.default_rng(first)
    n = last - first
    return {
        "index": np.arange(first, last),
        "group": rng.integers(1, 100, n),
        "space_group": rng.integers(0, 231, n),
        "structure": rng.integers(-1, 5, n),
        "name": [None if i % 3 == 0 else f"é {i}" for i in range(n)],
        "intensity": rng.random((n, LENGTH), np.float32),
        "coverage": rng.random((n, LENGTH)) > 0.3,
    }


@pytest.fixture
def folder(tmp_path) -> Path:
    m = manifest()
    write_manifest(tmp_path, m)
    for shard in range(m.shards):
        part = m.rows_of(shard)
        write_shard(shard_path(tmp_path, shard), **rows(part.start, part.stop))
    return tmp_path


def test_files_of_a_manifest():
    m = manifest()
    assert m.shards == 2
    assert [m.rows_of(s) for s in range(2)] == [range(0, 6), range(6, 10)]
    assert manifest(count=12).rows_of(1) == range(6, 12)


def test_what_is_written_is_read(folder):
    assert read_manifest(folder) == manifest()
    found = list(stored_patterns(folder, batch=4))
    assert [len(b) for b in found] == [4, 2, 4]
    for name in ("index", "group", "space_group", "structure", "intensity", "coverage"):
        written = np.concatenate([rows(0, 6)[name], rows(6, 10)[name]])
        np.testing.assert_array_equal(np.concatenate([getattr(b, name) for b in found]), written)
    assert [name for b in found for name in b.name] == rows(0, 6)["name"] + rows(6, 10)["name"]
    assert found[0].intensity.dtype == np.float32
    assert found[0].coverage.dtype == np.bool_


def test_pandas_and_pyarrow_read_the_folder_as_it_stands(folder):
    import pandas as pd
    from pyarrow import dataset

    (folder / "_contact-sheet.png").write_bytes(b"not a table")
    table = dataset.dataset(folder, format="parquet").to_table()
    assert table.num_rows == 10
    assert str(table.schema.field("intensity").type) == f"fixed_size_list<element: float>[{LENGTH}]"
    frame = pd.read_parquet(folder)
    assert list(frame["index"]) == list(range(10))
    known = rows(0, 6)["space_group"]
    assert list(frame["space_group"].isna()[:6]) == list(known == 0)
    np.testing.assert_array_equal(np.stack(frame["intensity"][:6]), rows(0, 6)["intensity"])


def test_differences_name_what_would_change_the_patterns():
    assert manifest().differences(manifest(count=500)) == []
    assert manifest().differences(manifest(seed=4, config={"zero": 0.2})) == ["config", "seed"]
    assert manifest().differences(manifest(versions={"eg-agent": "0.2.0"})) == ["version of eg-agent"]
    assert manifest().differences(manifest(versions={"eg-agent": "0.1.0", "torch": "x"})) == []


def test_a_damaged_file_is_no_shard(folder):
    path = shard_path(folder, 1)
    path.write_bytes(path.read_bytes()[:-20])
    assert rows_in(path) == 0
    assert rows_in(folder / "none.parquet") == 0
    with pytest.raises(BadInput, match="damaged: run the same"):
        list(stored_patterns(folder))


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    from pyarrow import parquet

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(parquet, "write_table", full)
    with pytest.raises(BadInput, match="No space left"):
        write_shard(shard_path(tmp_path, 0), **rows(0, 6))
    assert list(tmp_path.iterdir()) == []


def test_errors_of_the_manifest(tmp_path, folder):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(BadInput, match="holds no simulated patterns"):
        read_manifest(empty)
    path = folder / "_manifest.json"
    body = json.loads(path.read_text())
    assert body["format"] == FORMAT
    assert set(body["columns"]) == set(rows(0, 6))
    path.write_text(json.dumps(body | {"format_version": 99}))
    with pytest.raises(BadInput, match="newer"):
        read_manifest(folder)
    path.write_text("{")
    with pytest.raises(BadInput, match="damaged"):
        read_manifest(folder)
    with pytest.raises(BadInput, match="at least 1"):
        list(stored_patterns(folder, batch=0))
