"""Where a run's states are kept: a folder or any URL that pyarrow or fsspec can write."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from eg_agent.errors import BadInput, MissingExtra

if TYPE_CHECKING:
    import pyarrow.fs

#: Protocols whose files no other process sees.
PRIVATE = ("memory", "mock")


@dataclass(frozen=True)
class Storage:
    """A folder `path` on `filesystem`; `text` is what the user wrote. local: on this machine's disks."""

    filesystem: pyarrow.fs.FileSystem
    path: str
    text: str
    local: bool

    @property
    def parent(self) -> str:
        """Folder that this one lies in."""
        return self.path.rpartition("/")[0] or "/"

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self.path.rpartition("/")[2]

    def clear(self, name: str = "") -> None:
        """Delete the folder, or one in it, and what it holds, if it is there."""
        from pyarrow.fs import FileType

        path = f"{self.path}/{name}".rstrip("/")
        if self.filesystem.get_file_info(path).type != FileType.NotFound:
            self.filesystem.delete_dir(path)

    def put(self, folder: Path, name: str) -> str:
        """Copy a folder of this machine into this one in place of any of that name; returns its path."""
        from pyarrow.fs import LocalFileSystem, copy_files

        self.clear(name)
        path = f"{self.path}/{name}"
        self.filesystem.create_dir(path, recursive=True)
        copy_files(
            str(folder.resolve()),
            path,
            source_filesystem=LocalFileSystem(),
            destination_filesystem=self.filesystem,
        )
        return path


def open_storage(text: str) -> Storage:
    """The folder behind a path or URL, after writing a small file in it; nothing of that is left behind.

    BadInput when it cannot be written, or when its protocol is unknown or needs another package.
    """
    filesystem, path, local = _resolve(text)
    path = path.rstrip("/")
    if not path.rpartition("/")[2]:
        raise BadInput(f"--storage {text} is no folder for a run: name one, like s3://bucket/runs/first.")
    storage = Storage(filesystem, path, text, local)
    made = _first_missing(storage)
    probe = f"{path}/.probe-{uuid.uuid4().hex}"
    try:
        filesystem.create_dir(path, recursive=True)
        with filesystem.open_output_stream(probe) as file:
            file.write(b"probe")
        filesystem.delete_file(probe)
        if made is not None:
            filesystem.delete_dir(made)
    except Exception as error:  # each protocol raises its own
        raise BadInput(f"--storage {text} cannot be written ({_first_line(error)}).") from error
    return storage


def _first_missing(storage: Storage) -> str | None:
    """The outermost folder on the way that is not there yet; None for buckets, where folders are names."""
    from pyarrow.fs import FileType

    if not storage.local:
        return None
    missing = None
    for folder in (Path(storage.path), *Path(storage.path).parents):
        if storage.filesystem.get_file_info(str(folder)).type != FileType.NotFound:
            break
        missing = str(folder)
    return missing


def _resolve(text: str) -> tuple[pyarrow.fs.FileSystem, str, bool]:
    try:
        import fsspec
        from pyarrow.fs import FileSystem, FSSpecHandler, LocalFileSystem, PyFileSystem
    except ImportError as error:
        raise MissingExtra("--storage", "train") from error
    found = re.match(r"([a-z][a-z0-9+.-]*)(::|://)", text)
    if found is None:
        return LocalFileSystem(), str(Path(text).expanduser().resolve()), True
    protocol = found[1]
    if protocol in PRIVATE:
        raise BadInput(f"--storage {text} lives in one process only: give a folder or a bucket.")
    if protocol in ("s3", "gs", "abfs", "hdfs", "file"):  # built into pyarrow
        try:
            filesystem, path = FileSystem.from_uri(text)
            return filesystem, path, protocol == "file"
        except Exception as error:
            raise BadInput(f"--storage {text} cannot be opened ({_first_line(error)}).") from error
    try:
        handled, path = fsspec.core.url_to_fs(text)
    except ImportError as error:
        raise BadInput(f"--storage {text} needs a package that is absent ({_first_line(error)}).") from error
    except Exception as error:
        raise BadInput(f"--storage {text} cannot be opened ({_first_line(error)}).") from error
    return PyFileSystem(FSSpecHandler(handled)), path, False


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
