"""`Journal`: every Bluesky document, on this machine's disk, before anything else is done with it.

One file a run, `runs/<run uid>.jsonl`, one line a document: `{"n": 3, "name": "event", "doc": {...}}`.
The lines are what `bluesky.callbacks.json_writer.JSONLinesWriter` writes, with the number `n` of the
document in its run added, so that other tools can replay them. `index.jsonl` beside them says which
runs are wanted in Tiled and which have arrived there (`TiledDocumentWriter` writes it).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

_log = logging.getLogger(__name__)

Fsync = Literal["document", "background", "never"]


class Entry(NamedTuple):
    """One document of a run: its number in the run, its kind (`start`, `event`, ...), itself."""

    n: int
    name: str
    doc: dict[str, Any]


@dataclass
class _OpenRun:
    file: FileIO | None = None
    documents: int = 0
    broken: bool = False  #: the last write failed, so the file may end inside a line
    descriptors: list[str] = field(default_factory=list)


class Journal:
    """Append-only JSON lines of the documents of runs, one file a run.

    fsync: "background" (default) leaves syncing to `sync()`, which the agent's thread calls, so that
    the RunEngine's thread never waits for a disk: what was appended survives the end of this process
    at once, and the loss of power after `sync()`. "document" syncs in `append`; "never" does not sync.
    Thread-safe. `append` does not raise: where the disk refuses, it says so, and `last_error` why.
    """

    def __init__(self, directory: str | os.PathLike[str], *, fsync: Fsync = "background") -> None:
        self.directory = Path(directory)
        self.fsync: Fsync = fsync
        self._runs_directory = self.directory / "runs"
        self._runs_directory.mkdir(parents=True, exist_ok=True)
        self._index = self.directory / "index.jsonl"
        self._lock = threading.RLock()
        self._open: dict[str, _OpenRun] = {}
        self._run_of: dict[str, str] = {}  # descriptor, resource and stream resource uid -> run uid
        self._dirty: dict[str, int] = {}  # run uid -> duplicate of its file descriptor
        self.last_error = ""

    def path(self, run: str) -> Path:
        """The file of a run."""
        return self._runs_directory / f"{run}.jsonl"

    def append(self, name: str, doc: Mapping[str, Any]) -> tuple[str, int, bool]:
        """Write one document; returns its run's uid, its number in the run, and whether it is on disk.

        A document whose run is unknown (journal started mid-run) belongs to run "" and is not written.
        """
        with self._lock:
            run = self._route(name, doc)
            if not run:
                return "", -1, False
            state = self._open.setdefault(run, _OpenRun())
            n = state.documents
            state.documents += 1
            try:
                self._write(run, state, encode(name, doc, n))
            except (OSError, TypeError, ValueError) as error:
                state.broken = True
                self.last_error = f"{type(error).__name__}: {error}"
                written = False
            else:
                written = True
            if name == "stop":
                self._close(run)
            return run, n, written

    def _write(self, run: str, state: _OpenRun, line: bytes) -> None:
        if state.file is None:
            # Unbuffered: a buffer would keep what the disk refused, and write it at some later time.
            state.file = open(self.path(run), "ab", buffering=0)  # noqa: SIM115 - open as long as the run is
        # A line that was cut short by a full disk must not swallow the next one.
        left = memoryview(b"\n" + line if state.broken else line)
        while left:
            left = left[state.file.write(left) or 0 :]
        state.broken = False
        if self.fsync == "document":
            os.fsync(state.file.fileno())
        elif self.fsync == "background" and run not in self._dirty:
            self._dirty[run] = os.dup(state.file.fileno())

    def _route(self, name: str, doc: Mapping[str, Any]) -> str:
        if name == "start":
            return doc["uid"]
        if "run_start" in doc:
            run = doc["run_start"]
            if name in ("descriptor", "resource", "stream_resource") and run in self._open:
                self._run_of[doc["uid"]] = run
                self._open[run].descriptors.append(doc["uid"])
            return run
        return self._run_of.get(doc.get("descriptor") or doc.get("resource") or "", "")

    def _close(self, run: str) -> None:
        state = self._open.pop(run, None)
        if state is None:
            return
        for uid in state.descriptors:
            self._run_of.pop(uid, None)
        if state.file is not None:
            with contextlib.suppress(OSError):  # it is not buffered: what was written stays written
                state.file.close()

    def sync(self) -> None:
        """Force what was appended onto the disk; call it from a thread that may wait."""
        with self._lock:
            dirty, self._dirty = self._dirty, {}
        for descriptor in dirty.values():
            try:
                os.fsync(descriptor)
            except OSError as error:
                self.last_error = f"{type(error).__name__}: {error}"
                _log.warning("the disk does not confirm what the journal wrote (%s)", error)
            finally:
                os.close(descriptor)

    def documents(self, run: str) -> Iterator[Entry]:
        """The documents of a run in order; a line cut short by a crash is left out."""
        path = self.path(run)
        if not path.exists():
            return
        with open(path, "rb") as file:
            for line in file:
                try:
                    entry = decode(line)
                except (ValueError, KeyError, TypeError):  # cut short
                    continue
                yield entry

    def runs(self) -> list[str]:
        """The uids of all runs on disk, oldest first."""
        found = sorted(self._runs_directory.glob("*.jsonl"), key=lambda p: (p.stat().st_mtime_ns, p.name))
        return [path.stem for path in found]

    def mark(self, run: str, state: str, **more: Any) -> None:
        """Append to the index what became of a run (`wanted`, `begun`, `written`, `elsewhere`, ...)."""
        line = json.dumps({"run": run, "state": state, **more}).encode() + b"\n"
        with self._lock, open(self._index, "ab") as file:
            file.write(line)

    def marks(self) -> dict[str, dict[str, Any]]:
        """The index, newest entry of each run merged over its older ones; oldest run first."""
        found: dict[str, dict[str, Any]] = {}
        if not self._index.exists():
            return found
        with open(self._index, "rb") as file:
            for line in file:
                with contextlib.suppress(ValueError, KeyError):  # a line cut short by a crash
                    row = json.loads(line)
                    found.setdefault(row["run"], {}).update(row)
        return found

    def keep(self, run: str, what: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Keep something else about a run beside its documents, as JSON lines; replaces what was kept.

        `live/<run uid>.jsonl` for what = "live". Raises OSError.
        """
        folder = self.directory / what
        folder.mkdir(exist_ok=True)
        (folder / f"{run}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def close(self) -> None:
        """Sync and close all files; runs that are still open stay without a stop document."""
        with self._lock:
            if self.fsync != "never":
                self.sync()
            for run in list(self._open):
                self._close(run)


class Tail:
    """The documents of a run as they are appended, also by another process. Not thread-safe."""

    def __init__(self, journal: Journal, run: str) -> None:
        self._path = journal.path(run)
        self._read = 0

    def new(self) -> list[Entry]:
        """The documents since the last call; a line cut short by a full disk is left out."""
        try:
            with open(self._path, "rb") as file:
                file.seek(self._read)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        found: list[Entry] = []
        for line in whole.splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):  # cut short
                found.append(decode(line))
        return found


def decode(line: bytes) -> Entry:
    """A line of the journal; raises ValueError, KeyError or TypeError for one that is none."""
    import orjson

    try:
        row = orjson.loads(line)
    except ValueError:  # NaN and Infinity, which only Python's own reader takes
        row = json.loads(line)
    return Entry(row["n"], row["name"], row["doc"])


def encode(name: str, doc: Mapping[str, Any], n: int) -> bytes:
    """One line of the journal. Non-finite numbers are kept (NaN, Infinity, as Python's json reads).

    Events may hold arrays of many thousand points and are written on the RunEngine's thread, so the
    fast encoder takes them, unless it would turn a NaN into null.
    """
    import orjson
    from event_model import sanitize_doc

    row = {"n": n, "name": name, "doc": doc}
    if name in ("event", "event_page") and _all_finite(doc.get("data")):
        options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS | orjson.OPT_APPEND_NEWLINE
        with contextlib.suppress(TypeError):  # something that orjson does not know: the slow way does
            return orjson.dumps(row, default=_plain, option=options)
    return json.dumps(sanitize_doc(row)).encode() + b"\n"


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):  # not contiguous, or of a type orjson does not know
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value)} is not JSON")


def _all_finite(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(_all_finite(v) for v in value.values())
    if isinstance(value, float):
        return bool(np.isfinite(value))
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype.kind in "iub" or (value.dtype.kind == "f" and bool(np.isfinite(value).all()))
    if isinstance(value, list | tuple):
        try:
            array = np.asarray(value)
        except ValueError:  # rows of different lengths: the slow way decides
            return False
        return array.dtype.kind in "iubUO" or (array.dtype.kind == "f" and bool(np.isfinite(array).all()))
    return True
