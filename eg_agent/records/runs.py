"""`Runs`: what a Tiled catalog says of runs: which have ended, which carry out a decision, their patterns.

Nothing else asks Tiled for runs: `Follower` (eg_agent.records.catalog) tells of them as they come, the agent
reads their patterns and the loop over a queue server finds its decisions through here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from eg_agent.errors import EgAgentError
from eg_agent.patterns.pattern import Pattern
from eg_agent.patterns.radiation import Radiation
from eg_agent.records.reader import read_pattern, sample_of
from eg_agent.records.run_data import DataKeys, RunData, find_keys, flat_configuration
from eg_agent.records.tiled_client import connect, redacted, table_columns

Cell = tuple[float, float, float, float, float, float]

#: Nodes that are asked for at once; Tiled refuses more than 300.
_PAGE = 200


class TiledAway(Exception):
    """Tiled gave no answer now; the message says why, without a key in it."""


class RunFacts:
    """What the start and stop documents of a run say; for classes that have both."""

    __slots__ = ()

    start: Mapping[str, Any]
    stop: Mapping[str, Any]

    @property
    def sample(self) -> str:
        """The sample's name, or ""."""
        return sample_of(self.start)

    @property
    def shift(self) -> str:
        """The plan run or shift it belongs to (`eg_shift`), or "" for somebody's own run."""
        return str(self.start.get("eg_shift", ""))

    @property
    def decision_id(self) -> str:
        """The decision that it carries out, or ""."""
        return str(self.start.get("eg_decision_id", ""))

    @property
    def attempt(self) -> int:
        """Which attempt at that decision it is, from 1."""
        return int(self.start.get("eg_attempt", 1))

    @property
    def succeeded(self) -> bool:
        """Whether the RunEngine closed it as a success."""
        return self.stop.get("exit_status") == "success"

    @property
    def began(self) -> float:
        """When it began, seconds since 1970; 0 where nobody wrote that down."""
        return float(self.start.get("time", 0.0))

    @property
    def seconds(self) -> float:
        """Seconds from start to stop."""
        return max(0.0, float(self.stop.get("time", 0.0)) - self.began)

    @property
    def cell(self) -> Cell | None:
        """Cell from the metadata: `cell=[a, b, c, alpha, beta, gamma]`, angstrom and degrees."""
        cell = self.start.get("cell")
        if not isinstance(cell, list | tuple) or len(cell) != 6:
            return None
        try:
            a, b, c, alpha, beta, gamma = (float(value) for value in cell)
        except (TypeError, ValueError):  # somebody else's `cell`, which means something else
            return None
        return a, b, c, alpha, beta, gamma


@dataclass(frozen=True, slots=True)
class RunHead(RunFacts):
    """A run by its start and stop documents; `stop` is empty as long as it is open."""

    uid: str
    start: Mapping[str, Any] = field(default_factory=dict)
    stop: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether its stop document is there."""
        return bool(self.stop)


class Runs:
    """Runs of one catalog. Every method raises TiledAway when Tiled cannot answer; one thread uses it.

    tiled: URI (a key in it, or in $TILED_API_KEY), or a client. keys, radiation: as in `read_pattern`.
    """

    def __init__(
        self, tiled: Any, *, keys: DataKeys | None = None, radiation: Radiation | float | None = None
    ) -> None:
        self._tiled = tiled
        self._client: Any = None if isinstance(tiled, str) else tiled
        self._keys = keys
        self._radiation = radiation

    @property
    def client(self) -> Any:
        """The Tiled client of the catalog, connected to now if need be."""
        if self._client is None:
            with self._saying_away():
                self._client = connect(self._tiled)
        return self._client

    @contextlib.contextmanager
    def _saying_away(self) -> Iterator[None]:
        try:
            yield
        except (TiledAway, EgAgentError):
            raise
        except Exception as error:
            raise TiledAway(redacted(f"{type(error).__name__}: {error}").splitlines()[0][:300]) from None

    def warm(self) -> None:
        """Connect, and import what reading a table loads: seconds on a busy machine.

        What Tiled's own arrays and data frames load (dask, xarray: 150 MB) is left for runs that need it.
        """
        with self._saying_away():
            import pyarrow.ipc  # noqa: F401
        _ = self.client

    def count(self) -> int:
        """How many nodes the catalog has."""
        with self._saying_away():
            return len(self.client)

    def head(self, uid: str) -> RunHead | None:
        """One run, None when the catalog does not have it."""
        with self._saying_away():
            node = self.client.get(uid)
            return None if node is None else _head(uid, node)

    def uids(self) -> list[str]:
        """The keys of all nodes of the catalog, oldest first: runs, and whatever else lies there."""
        with self._saying_away():
            return [str(key) for key in self.client]

    def heads(self, uids: Iterable[str]) -> dict[str, RunHead]:
        """The runs among nodes with these keys, by uid, in one question for a few dozen of them."""
        from tiled.queries import KeysFilter

        wanted = list(uids)
        with self._saying_away():
            found = _heads(self.client.search(KeysFilter(wanted)).items()) if wanted else []
            return {head.uid: head for head in found}

    def newest(self, count: int = 20) -> list[RunHead]:
        """The runs among the nodes that were put into the catalog last, newest first."""
        with self._saying_away():
            return _heads(self.client.items().page_size(min(count, _PAGE)).tail(count))[::-1]

    def since(self, began: float, shift: str = "") -> list[RunHead]:
        """All runs that started at or after `began` (seconds since 1970), of one shift where one is named."""
        from tiled.queries import Comparison, Key

        with self._saying_away():
            if shift:
                found = self.client.search(Key("start.eg_shift") == shift)
            else:
                found = self.client.search(Comparison("ge", "start.time", began))
            return sorted(_heads(found.items()), key=lambda head: head.began)

    def of_decision(self, decision_id: str) -> list[RunHead]:
        """The runs that carry out a decision, in the order of their attempts."""
        from tiled.queries import Key

        with self._saying_away():
            found = self.client.search(Key("start.eg_decision_id") == decision_id)
            return sorted(_heads(found.items()), key=lambda head: (head.attempt, head.began))

    def successful(self, decision_id: str) -> str:
        """Uid of the successful run of a decision, "" when there is none."""
        return next((head.uid for head in self.of_decision(decision_id) if head.succeeded), "")

    def pattern(self, head: RunHead) -> Pattern:
        """The pattern of a run, as far as it has got; raises what `read_pattern` raises, and TiledAway."""
        with self._saying_away():
            run = _Run(self.client, head, self._keys or DataKeys())
            return read_pattern(run, keys=self._keys, radiation=self._radiation)


class _Run:
    """A run as `read_pattern` wants it, with two requests in place of six: its head is known, and all columns
    of the pattern come together.
    """

    def __init__(self, client: Any, head: RunHead, keys: DataKeys) -> None:
        self._client = client
        self._head = head
        self._keys = keys
        self.metadata = {"start": head.start, "stop": head.stop}
        self._streams: dict[str, _Stream] = {}

    def __contains__(self, stream: str) -> bool:
        try:
            self[stream]
        except KeyError:
            return False
        return True

    def __getitem__(self, stream: str) -> _Stream:
        if stream not in self._streams:
            node = self._client[self._head.uid, stream]
            self._streams[stream] = _Stream(node, self._head, stream, self._keys)
        return self._streams[stream]


class _Stream:
    """A stream of a run: metadata, and its columns.

    Where they lie in the stream's table they are taken as an Arrow file, which holds arrays as they are: the
    client's own reading of a whole table makes strings of them. Anything else (data in files, a column that
    the table has not) is read through its node.
    """

    def __init__(self, node: Any, head: RunHead, stream: str, keys: DataKeys) -> None:
        self.metadata = node.metadata
        self._node = node
        self._head = head
        self._stream = stream
        self._keys = keys
        self._columns: dict[str, npt.NDArray[Any]] | None = None

    def __getitem__(self, key: str) -> Any:
        if self._columns is None:
            self._columns = self._of_table()
        column = self._columns.get(key)
        return self._node[key] if column is None else _Column(column)

    def _of_table(self) -> dict[str, npt.NDArray[Any]]:
        configuration, units = flat_configuration(self.metadata.get("configuration", {}))
        described = self.metadata["data_keys"]
        hints = self.metadata.get("hints", {})
        bare = RunData(
            self._head.start, self._head.stop, self._stream, described, configuration, units, hints
        )
        found = find_keys(bare, self._keys)
        wanted = [found.intensity, found.counting_time]
        wanted += [None if found.axis_in_configuration else found.two_theta]
        return table_columns(self._node, [key for key in wanted if key is not None])


class _Column:
    """An array that is here already, behind the one method that `read_pattern` asks a node for."""

    def __init__(self, values: npt.NDArray[Any]) -> None:
        self._values = values

    def read(self) -> npt.NDArray[Any]:
        """The values over all events."""
        return self._values


def _head(key: str, node: Any) -> RunHead | None:
    """The head of a run, None for a node that is none."""
    metadata = node.metadata
    start = metadata.get("start")
    if not start or start.get("uid") != key:
        return None
    return RunHead(key, dict(start), dict(metadata.get("stop") or {}))


def _heads(items: Iterable[tuple[str, Any]]) -> list[RunHead]:
    return [head for key, node in items if (head := _head(key, node)) is not None]
