"""The one import of bluesky's TiledWriter, and a Tiled client that makes writing resumable.

`TiledWriter` creates nodes and appends rows, and neither can be repeated after a connection was lost.
`ResumingClient` stands between it and the real client: what exists already is taken up instead of
created, rows that have arrived are not appended again, and single rows are collected into segments.
Feeding all documents of a run to a fresh writer through it is therefore safe at any time, and nothing
in Tiled is ever deleted.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt

#: Query parameters of a URI that must never be shown.
_SECRET = re.compile(r"(api_key|token|password|secret)=[^&\s]+", re.I)


def redacted(text: str) -> str:
    """A URI or message without keys in it, for logs, ledgers and the screen."""
    return re.sub(r"//[^/@\s]*@", "//", _SECRET.sub(r"\1=...", text))


def denied(said: str) -> bool:
    """Whether Tiled's words mean that the key is wrong or missing, not that the server is away."""
    return any(code in said for code in ("401", "403", "API key", "Unauthorized"))


class WrittenElsewhere(Exception):
    """The run is in Tiled already, and another writer put it there: it is left to that one."""


def connect(uri: str) -> Any:
    """A Tiled client for a URI; raises what tiled raises when it cannot be reached."""
    from tiled.client import from_uri

    return from_uri(uri)


def address_of(tiled: Any) -> str | None:
    """The URI, key included, under which another process reaches the same Tiled; None when it cannot.

    A client inside this process (`Context.from_app`), or one that logged in as a person, cannot be handed on.
    """
    if isinstance(tiled, str):
        return tiled
    context = tiled.context
    if getattr(context.http_client, "app", None) is not None:
        return None
    if context.api_key is None:
        return str(tiled.uri) if not context.server_info.authentication.required else None
    return f"{tiled.uri}?api_key={context.api_key}"


def reachable(tiled: Any, timeout: float = 5.0) -> str:
    """ "" when the Tiled behind a client or URI answers, else what is wrong, in a few words."""
    import httpx

    try:
        if isinstance(tiled, str):
            response = httpx.get(_root(tiled), timeout=timeout)
        else:
            response = tiled.context.http_client.get(tiled.context.api_uri, timeout=timeout)
    except (httpx.HTTPError, OSError, RuntimeError) as error:
        return f"{type(error).__name__} at {redacted(_place(tiled))}"
    return (
        f"status {response.status_code} at {redacted(_place(tiled))}" if response.status_code >= 500 else ""
    )


def _root(uri: str) -> str:
    base, _, query = uri.partition("?")
    found = re.match(r"(.*?/api/v1)(/.*)?$", base)
    root = f"{found.group(1)}/" if found else f"{base.rstrip('/')}/api/v1/"
    return f"{root}?{query}" if query else root


def _place(tiled: Any) -> str:
    return tiled.partition("?")[0] if isinstance(tiled, str) else str(tiled.context.api_uri)


def table_columns(stream: Any, keys: list[str]) -> dict[str, npt.NDArray[Any]]:
    """Columns of a stream's table in one request: numbers [events], arrays [events, points].

    stream: the node's client. A column that has no such shape, and all of them where there is no table with
    these columns, is left out. Raises what httpx raises when the server does not answer.
    """
    import numpy as np
    import pyarrow

    uri = str(stream.uri).replace("/metadata/", "/table/full/", 1) + "/internal"
    response = stream.context.http_client.get(
        uri, params={"column": keys}, headers={"Accept": "application/vnd.apache.arrow.file"}
    )
    if response.status_code != 200:  # no such table, or no such column (Tiled says 500): node by node then
        return {}
    with pyarrow.ipc.open_file(pyarrow.BufferReader(response.content)) as file:
        table = file.read_all()
    found: dict[str, npt.NDArray[Any]] = {}
    for key in set(keys) & set(table.column_names):
        column = table.column(key).combine_chunks()
        if not pyarrow.types.is_list(column.type) and not pyarrow.types.is_large_list(column.type):
            found[key] = column.to_numpy(zero_copy_only=False)
            continue
        lengths = np.unique(column.value_lengths().to_numpy(zero_copy_only=False))
        values = column.flatten().to_numpy(zero_copy_only=False)
        if len(lengths) == 1 and values.dtype.kind in "iufb":
            found[key] = values.reshape(len(column), int(lengths[0]))
    return found


def make_writer(client: ResumingClient) -> Callable[[str, dict[str, Any]], None]:
    """A fresh TiledWriter for one run, through a resuming client (batch size 1: it makes the segments)."""
    try:  # where bluesky keeps it may change (bluesky#1962)
        from bluesky.callbacks.tiled_writer import TiledWriter
    except ImportError:
        from tiled_writer import TiledWriter  # type: ignore[import-not-found]
    return TiledWriter(client, batch_size=1)  # type: ignore[arg-type]


class Segments:
    """When collected rows of a table are written: at a number of rows or values, or at an age.

    A request for each of ten traces a second takes half of a core; a megabyte takes no longer than one.
    """

    def __init__(self, rows: int = 250, values: int = 200_000, seconds: float = 1.0) -> None:
        self.rows = rows
        self.values = values
        self.seconds = seconds


def _is_conflict(error: Exception) -> bool:
    return getattr(getattr(error, "response", None), "status_code", None) == 409


class _Node:
    """A container or array of Tiled; everything that does not create is passed on."""

    def __init__(self, inner: Any, owner: ResumingClient) -> None:
        self._inner = inner
        self._owner = owner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    @property
    def base(self) -> _Node:
        return _Node(getattr(self._inner, "base", self._inner), self._owner)

    def _existing(self, key: str) -> Any:
        found = self._inner[key]
        return getattr(found, "base", found)

    def create_container(self, key: str, **kwargs: Any) -> _Node:
        return self._create("create_container", key, kwargs)

    def new(self, structure_family: Any, data_sources: Any, *, key: str, **kwargs: Any) -> _Node:
        return self._create("new", key, kwargs, structure_family, data_sources)

    def _create(self, method: str, key: str, kwargs: dict[str, Any], *args: Any) -> _Node:
        try:
            return _Node(getattr(self._inner, method)(*args, key=key, **kwargs), self._owner)
        except Exception as error:
            if not _is_conflict(error):
                raise
            return _Node(self._existing(key), self._owner)

    def create_appendable_table(self, schema: Any, *, key: str, **kwargs: Any) -> _Table:
        try:
            return self._owner.add(
                _Table(self._inner.create_appendable_table(schema=schema, key=key, **kwargs), None)
            )
        except Exception as error:
            if not _is_conflict(error):
                raise
            table = self._existing(key)
            there = table.read(["seq_num"])["seq_num"]  # scalars: whole-table reads are right for them
            return self._owner.add(_Table(table, {int(n) for n in there}))

    def update_metadata(self, metadata: dict[str, Any] | None = None, **kwargs: Any) -> Any:
        self._owner.flush()
        if metadata and "_config_updates" in metadata:
            updates = {update["uid"]: update for update in metadata["_config_updates"]}
            metadata = {**metadata, "_config_updates": list(updates.values())}
        return self._inner.update_metadata(metadata=metadata, **kwargs)


class ResumingClient(_Node):
    """A Tiled client for the documents of one run; see the module's docstring.

    owned: whether this run, found in Tiled, was begun by us. begin: called once before it is created.
    """

    def __init__(
        self,
        client: Any,
        run: str,
        *,
        owned: bool,
        begin: Callable[[], None],
        segments: Segments | None = None,
    ) -> None:
        super().__init__(client, self)
        self._run = run
        self._owned = owned
        self._begin = begin
        self.segments = segments or Segments()
        self._tables: list[_Table] = []

    def include_data_sources(self) -> ResumingClient:
        self._inner = self._inner.include_data_sources()
        return self

    def create_container(self, key: str, **kwargs: Any) -> _Node:
        if not self._owned:
            if key in self._inner:
                raise WrittenElsewhere(key)
            self._begin()
            self._owned = True
        return super().create_container(key, **kwargs)

    def add(self, table: _Table) -> _Table:
        table.segments = self.segments
        self._tables.append(table)
        return table

    def flush(self, *, due_only: bool = False) -> None:
        """Write collected rows; `due_only`: those that have waited long enough."""
        for table in self._tables:
            table.flush(due_only=due_only)


class _Table:
    """An appendable table that skips rows it has, and appends the others in segments."""

    segments = Segments()

    def __init__(self, inner: Any, there: set[int] | None) -> None:
        self._inner = inner
        self._there = there or set()
        self._rows: list[Any] = []
        self._values = 0
        self._since = 0.0
        self._schema: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def append_partition(self, *args: Any) -> None:
        """Take the rows of a pyarrow table; its columns must include `seq_num`."""
        (rows,) = (a for a in args if not isinstance(a, int))  # bluesky and tiled order them differently
        if self._there:
            new = [n not in self._there for n in rows.column("seq_num").to_pylist()]
            rows = rows.filter(new)
        if rows.num_rows == 0:
            return
        if not self._rows:
            self._since = time.monotonic()
        self._rows.append(rows)
        self._values += sum(_size(column) for column in rows.columns)
        held = sum(r.num_rows for r in self._rows)
        if held >= self.segments.rows or self._values >= self.segments.values:
            self.flush()

    def flush(self, *, due_only: bool = False) -> None:
        import pyarrow

        if not self._rows or (due_only and time.monotonic() - self._since < self.segments.seconds):
            return
        segment = pyarrow.concat_tables(self._rows, promote_options="permissive")
        if self._schema is None:
            self._schema = pyarrow.schema(self._inner.structure().arrow_schema_decoded)
        segment = _as_schema(segment, self._schema)
        self._inner.append_partition(0, segment)
        self._rows, self._values = [], 0


def _size(column: Any) -> int:
    chunks: Iterable[Any] = column.chunks
    return sum(len(chunk.values) if hasattr(chunk, "values") else len(chunk) for chunk in chunks)


def _as_schema(table: Any, schema: Any) -> Any:
    """The rows in the types that the table was created with (a count of 5.0 after one of 5)."""
    if table.schema.equals(schema, check_metadata=False):
        return table
    fields = [
        schema.field(name) if name in schema.names else table.schema.field(name)
        for name in table.column_names
    ]
    import pyarrow

    return table.cast(pyarrow.schema(fields))
