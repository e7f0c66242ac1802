"""A Tiled client for who only follows nodes and writes small arrays.

Tiled's own clients of arrays and tables load dask, pandas and numba, 160 MB that an agent which never looks
into them would hold for weeks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tiled.client import from_uri
from tiled.client.base import BaseClient
from tiled.client.container import Container
from tiled.client.utils import handle_error, retry_context

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class LightTable(BaseClient):
    """A table that is followed, not read."""

    def subscribe(self, executor: Any = None) -> Any:
        """As Tiled's own client of tables does."""
        from tiled.client.stream import TableSubscription

        return TableSubscription(self.context, self.path_parts, executor)


class LightArray(BaseClient):
    """An array that is followed, or written as a whole."""

    def subscribe(self, executor: Any = None) -> Any:
        """As Tiled's own client of arrays does."""
        from tiled.client.stream import ArraySubscription

        return ArraySubscription(self.context, self.path_parts, executor)

    def write(self, values: npt.NDArray[np.float64]) -> None:
        """Replace the numbers; raises what httpx raises when they do not arrive."""
        for attempt in retry_context():
            with attempt:
                handle_error(
                    self.context.http_client.put(
                        self.item["links"]["full"],
                        content=values.tobytes(),
                        headers={"Content-Type": "application/octet-stream"},
                    )
                )


#: Structure family -> class. Runs come as plain containers, whatever their specification.
LIGHT = {
    "container": Container,
    "composite": Container,
    "array": LightArray,
    "table": LightTable,
    "dataframe": LightTable,
    **dict.fromkeys(("awkward", "bytes", "ragged", "sparse"), BaseClient),
}


def connect_lightly(tiled: Any) -> Any:
    """The container behind a URI or another client, whose arrays and tables are not to be read."""
    if not isinstance(tiled, str):
        return lightened(tiled)
    return from_uri(tiled, structure_clients=LIGHT)  # pyright: ignore[reportArgumentType] - or a mapping


def lightened(container: Any) -> Any:
    """The same container with light children."""
    return container.new_variation(structure_clients=LIGHT)


def write_small_array(container: Any, key: str, values: npt.NDArray[np.float64], dims: list[str]) -> None:
    """Make an array of one chunk in a light container; status 409 where the key is taken."""
    from tiled.structures.array import ArrayStructure, BuiltinDtype
    from tiled.structures.core import StructureFamily
    from tiled.structures.data_source import DataSource

    structure = ArrayStructure(
        shape=values.shape,
        chunks=tuple((n,) for n in values.shape),
        dims=tuple(dims),
        data_type=BuiltinDtype.from_numpy_dtype(values.dtype),
    )
    source = DataSource(structure=structure, structure_family=StructureFamily.array)
    container.new(StructureFamily.array, [source], key=key, metadata={}, specs=[]).write(values)
