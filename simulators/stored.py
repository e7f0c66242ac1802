"""Simulated patterns in files: a folder of Parquet shards beside a manifest that says how they were made.

FOLDER/_manifest.json             settings, seed, grid, source of crystals, versions (`Manifest`)
FOLDER/patterns-000000.parquet    rows 0 to shard_size - 1, one pattern a row; then -000001, ...

pyarrow and pandas skip names that begin with "_" or ".", so both read the folder as one table. A shard
appears whole or not at all. The columns are in SCHEMA_TEXT; docs/reference/simulated-patterns.md explains
them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from eg_agent.errors import BadInput, MissingExtra

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = "eg-agent simulated patterns"
FORMAT_VERSION = 1
MANIFEST = "_manifest.json"

#: Columns of a shard; L is the length of the grid.
SCHEMA_TEXT = {
    "index": "int64, number of the pattern: with the seed it determines everything else",
    "group": "uint8, extinction group 1-99",
    "space_group": "uint8 or null, space group 1-230 of the true symmetry",
    "structure": "int64 or null, row of the corpus that the crystal came from",
    "name": "string or null, its name there",
    "intensity": "fixed-size list of L float32, maximum 1 over the covered part, 0 elsewhere",
    "coverage": "fixed-size list of L bool, which grid points were measured",
}


@dataclass(frozen=True)
class Manifest:
    """How the patterns of a folder were made.

    stage, config: name and every setting of the stream. seed. count: patterns asked for.
    shard_size: patterns a file. grid: two_theta_min, two_theta_max (Cu K-alpha1-equivalent degrees),
    length. source: where crystals came from. device: what computed them. versions: of the packages.
    """

    stage: str
    config: dict[str, Any]
    seed: int
    count: int
    shard_size: int
    grid: dict[str, Any]
    source: dict[str, Any]
    device: str
    versions: dict[str, str]

    def differences(self, other: Manifest) -> list[str]:
        """Names of the settings in which another manifest would give other patterns or other files."""
        names = ("stage", "config", "seed", "shard_size", "grid", "source", "device")
        found = [name for name in names if getattr(self, name) != getattr(other, name)]
        if self.versions.get("eg-agent") != other.versions.get("eg-agent"):
            found.append("version of eg-agent")
        return found

    @property
    def shards(self) -> int:
        """Number of files."""
        return -(-self.count // self.shard_size)

    def rows_of(self, shard: int) -> range:
        """Numbers of the patterns in a file."""
        return range(shard * self.shard_size, min((shard + 1) * self.shard_size, self.count))


def shard_path(folder: Path, shard: int) -> Path:
    """File of a shard."""
    return folder / f"patterns-{shard:06d}.parquet"


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `_manifest.json`, whole or not at all."""
    body = {"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(manifest), "columns": SCHEMA_TEXT}
    partial = folder / f".manifest.{os.getpid()}.partial"
    try:
        partial.write_text(json.dumps(body, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        partial.replace(folder / MANIFEST)
    finally:
        partial.unlink(missing_ok=True)


def read_manifest(folder: str | Path) -> Manifest:
    """The manifest of a folder. Raises BadInput where there is none, or one that cannot be read."""
    path = Path(folder) / MANIFEST
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        if body["format"] != FORMAT or body["format_version"] > FORMAT_VERSION:
            raise BadInput(f"{path} is of another format or a newer one: update eg-agent.")
        return Manifest(**{name: body[name] for name in Manifest.__dataclass_fields__})
    except FileNotFoundError:
        raise BadInput(
            f"{folder} holds no simulated patterns: make some with eg-train simulate --out {folder}."
        ) from None
    except (OSError, ValueError, KeyError, TypeError):
        raise BadInput(f"{path} is damaged: simulate to another folder.") from None


def write_shard(
    path: Path,
    *,
    index: npt.NDArray[np.int64],
    group: npt.NDArray[np.integer[Any]],
    space_group: npt.NDArray[np.integer[Any]],
    structure: npt.NDArray[np.int64],
    name: Sequence[str | None],
    intensity: npt.NDArray[np.float32],
    coverage: npt.NDArray[np.bool_],
) -> None:
    """Write one file of n patterns (intensity and coverage [n, L]), whole or not at all.

    space_group 0 and structure -1 stand for "not known" and become null.
    """
    pa, parquet = _arrow()
    length = intensity.shape[1]
    table = pa.table(
        {
            "index": pa.array(index, pa.int64()),
            "group": pa.array(group, pa.uint8()),
            "space_group": pa.array(space_group, pa.uint8(), mask=space_group == 0),
            "structure": pa.array(structure, pa.int64(), mask=structure < 0),
            "name": pa.array(name, pa.string()),
            "intensity": _lists(pa, np.ascontiguousarray(intensity, np.float32), pa.float32(), length),
            "coverage": _lists(pa, np.ascontiguousarray(coverage, np.bool_), pa.bool_(), length),
        }
    )
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        # measured floats do not repeat, so a dictionary would only cost; their bytes apart compress a little
        parquet.write_table(
            table,
            partial,
            compression="zstd",
            compression_level=1,
            use_dictionary=["name"],
            column_encoding={"intensity.list.element": "BYTE_STREAM_SPLIT"},
            row_group_size=1024,
        )
        partial.replace(path)
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror or error}.") from None
    finally:
        partial.unlink(missing_ok=True)


def _lists(pa: Any, array: npt.NDArray[Any], kind: Any, length: int) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(array.reshape(-1), kind), length)


def rows_in(path: Path) -> int:
    """Patterns in a file; 0 when it is absent or not a whole Parquet file."""
    pa, parquet = _arrow()
    try:
        return int(parquet.read_metadata(path).num_rows)
    except (OSError, pa.ArrowInvalid):
        return 0


@dataclass(frozen=True, eq=False)
class StoredBatch:
    """Patterns as they were stored, in order.

    index: int64 [n]. group: uint8 [n] 1-99. space_group: uint8 [n], 0 where not known. structure: int64
    [n], -1 where not known. name: list of n. intensity: float32 [n, L]. coverage: bool [n, L].
    """

    index: npt.NDArray[np.int64]
    group: npt.NDArray[np.uint8]
    space_group: npt.NDArray[np.uint8]
    structure: npt.NDArray[np.int64]
    name: list[str | None]
    intensity: npt.NDArray[np.float32]
    coverage: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.index)


def stored_patterns(folder: str | Path, batch: int = 256) -> Iterator[StoredBatch]:
    """The patterns of a folder in batches of at most `batch`, file by file in order.

    Raises BadInput for a folder without manifest and for a file that is missing or damaged.
    """
    if batch < 1:
        raise BadInput(f"a batch of {batch} patterns is none: give at least 1.")
    manifest = read_manifest(folder)
    pa, parquet = _arrow()
    for shard in range(manifest.shards):
        path = shard_path(Path(folder), shard)
        if rows_in(path) != len(manifest.rows_of(shard)):
            raise BadInput(f"{path} is missing, short or damaged: run the same eg-train simulate again.")
        try:
            for part in parquet.ParquetFile(path).iter_batches(batch):
                yield _batch(part)
        except (OSError, pa.ArrowInvalid, KeyError):
            raise BadInput(
                f"{path} is damaged: remove it and run the same eg-train simulate again."
            ) from None


def _batch(part: pa.RecordBatch) -> StoredBatch:
    def plain(name: str, missing: int = 0) -> Any:
        return part.column(name).fill_null(missing).to_numpy(zero_copy_only=False)

    def rows(name: str) -> Any:
        return part.column(name).flatten().to_numpy(zero_copy_only=False).reshape(part.num_rows, -1)

    return StoredBatch(
        plain("index"),
        plain("group"),
        plain("space_group"),
        plain("structure", -1),
        part.column("name").to_pylist(),
        rows("intensity"),
        rows("coverage"),
    )


def package_versions(names: Sequence[str] = ("eg-agent", "numpy", "torch", "gemmi")) -> Mapping[str, str]:
    """Versions of the packages that a pattern depends on, for the manifest."""
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, str] = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise MissingExtra("writing and reading Parquet files", "train") from None
    return pyarrow, parquet
