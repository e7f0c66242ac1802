"""`EmbeddedTiled`: a Tiled server of one's own, for a laptop, a demo or a test.

It runs in a process of its own, inside `with SimpleTiledServer`: that class keeps a non-daemon thread,
which in a notebook or script hangs the interpreter when anything goes wrong, and serving would take
time from the RunEngine's interpreter. The process ends when this one does, however this one ends.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eg_agent.errors import EgAgentError


class EmbeddedTiled:
    """Start with `with EmbeddedTiled() as tiled: ...`; `tiled.uri` holds its key, so never show it.

    directory: where it keeps its data; a temporary one, deleted at the end, where None.
    port, api_key: fixed ones to come back under the same URI; free and random where not given.
    on_progress: called with a line of text while it starts, which takes 5 to 30 s.
    Raises EgAgentError when the server does not start.
    """

    def __init__(
        self,
        directory: str | Path | None = None,
        *,
        port: int = 0,
        api_key: str | None = None,
        readable_storage: tuple[str, ...] = (),
        on_progress: Callable[[str], None] | None = None,
        start_timeout: float = 120.0,
    ) -> None:
        self._settings = {
            "directory": None if directory is None else str(directory),
            "port": port,
            "api_key": api_key,
            "readable_storage": list(readable_storage),
        }
        self._on_progress = on_progress
        self._timeout = start_timeout
        self._process: subprocess.Popen[str] | None = None
        self.uri = ""

    def __enter__(self) -> EmbeddedTiled:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def start(self) -> str:
        """Start the server; returns its URI."""
        if self._on_progress:
            self._on_progress("starting an embedded Tiled server (5 to 30 s) ...")
        process = subprocess.Popen(
            [sys.executable, "-m", "eg_agent.records.embedded"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C pauses the RunEngine; it must not reach this process
        )
        self._process = process
        assert process.stdin is not None
        process.stdin.write(json.dumps(self._settings) + "\n")
        process.stdin.flush()
        answer: list[str] = []
        reader = threading.Thread(target=lambda: answer.append(_first_line(process)), daemon=True)
        reader.start()
        reader.join(self._timeout)
        if not answer or not answer[0]:
            process.kill()
            said = process.communicate()[1].strip().splitlines() if answer else []
            why = said[-1] if said else f"no answer within {self._timeout:.0f} s"
            raise EgAgentError(
                f"the embedded Tiled server did not start ({why}): "
                "give the URI of a Tiled that runs, or go on without one (tiled=None)."
            )
        self.uri = json.loads(answer[0])["uri"]
        # Nobody wants its stderr from here on; a daemon thread keeps the pipe from filling up.
        threading.Thread(target=_drain, args=(process,), daemon=True).start()
        if self._on_progress:
            self._on_progress(f"Tiled serves at {self.uri.partition('?')[0]}")
        return self.uri

    def kill(self) -> None:
        """End the server at once, without its consent (what a power cut does; for tests)."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self.close()

    def close(self) -> None:
        """End the server; it deletes a temporary directory of its own."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def _drain(process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    with process.stderr as stream, contextlib.suppress(OSError, ValueError):
        for _ in stream:
            pass


def _serve() -> None:
    """The server's process: settings as one line of JSON in, the URI as one line out, until stdin ends."""
    settings: dict[str, Any] = json.loads(sys.stdin.readline())
    from tiled.server import SimpleTiledServer

    with SimpleTiledServer(
        directory=settings["directory"],
        port=settings["port"],
        api_key=settings["api_key"],
        readable_storage=settings["readable_storage"] or None,
    ) as server:
        try:
            _spare_the_index(server.storage)
        except Exception:  # a Tiled that is made otherwise serves as well: writing may be slow
            logging.getLogger(__name__).warning("Tiled's index stays where it is", exc_info=True)
        _one_at_a_time()
        sys.stdout.write(json.dumps({"uri": server.uri}) + "\n")
        sys.stdout.flush()
        sys.stdin.read()


def _one_at_a_time() -> None:
    """Let one request at a time into DuckDB.

    Tiled serves requests from several threads with cursors of one ADBC connection, which DuckDB does not
    bear: with two readers at once some reads fail ("closed pending query result"), and in the end the process
    dies.
    """
    from tiled.adapters.sql import SQLAdapter

    lock = threading.RLock()

    def guarded(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def alone(*args: Any, **kwargs: Any) -> Any:
            with lock:
                return method(*args, **kwargs)

        return alone

    for name in ("_read_full_table_or_partition", "append_partition"):
        setattr(SQLAdapter, name, guarded(getattr(SQLAdapter, name)))
    # a class method is bound before it is wrapped
    setattr(SQLAdapter, "init_storage", staticmethod(guarded(SQLAdapter.init_storage)))  # noqa: B010


def _spare_the_index(storage: Any) -> None:
    """Keep Tiled's one index away from the tables with data.

    Tiled creates its index on data sets under the same name for every table, so that the first table of the
    database has it and no other. With it DuckDB takes time in proportion to the table for every commit of
    long rows: 0.3 s of processor time for a trace of 8,192 points after 500 of them, 0.04 s without. So a
    table without rows gets the index before any other; reading is as quick as before.
    """
    name = "dataset_and_partition_index"
    with contextlib.closing(storage.connect()) as connection:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT table_name FROM duckdb_indexes() WHERE index_name = '{name}'")
            on = [table for (table,) in cursor.fetchall()]
        if on == ["_no_data"]:
            return
        # One transaction each: DuckDB 1.5 aborts the process where an index is dropped and made in the same.
        for statement in (
            f"DROP INDEX IF EXISTS {name}",
            "CREATE TABLE IF NOT EXISTS _no_data (_dataset_id INTEGER, _partition_id SMALLINT)",
            f"CREATE INDEX {name} ON _no_data (_dataset_id, _partition_id)",
        ):
            with connection.cursor() as cursor:
                cursor.execute(statement)
            connection.commit()


if __name__ == "__main__":
    _serve()
