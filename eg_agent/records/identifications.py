"""Identifications as entries of Tiled: what a person searches, plots and refers to, beside the runs.

An entry is a container under the decision's id (see `Identifications.put`), with metadata to search by and
the posteriors as arrays. It gets its specification last, so what bears it is whole. The ledger stays the
record that decisions are made from; entries can be written again from it at any time, and none is ever
changed or deleted.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from eg_agent.errors import EgAgentError
from eg_agent.records.ledger import DecisionRow
from eg_agent.records.runs import TiledAway
from eg_agent.records.tiled_client import redacted
from eg_agent.values import to_dict

#: The specification of an entry, and of the container that holds them.
SPEC, CONTAINER_SPEC = "EgAgentIdentification", "EgAgentIdentifications"
SPEC_VERSION = "1"

#: How many groups of the answer stand in the metadata.
_TOP = 5

#: Keys that an entry may get, one after the other.
_KEYS = 3


class NotWritten(EgAgentError):
    """Tiled will not take entries: not allowed, or the container's name is taken by something else."""


def metadata_of(row: DecisionRow) -> dict[str, Any]:
    """What an entry is found by: flat, of plain types, in the words of `Identification` and `Decision`.

    time: of the answer, seconds since 1970. run: uid of the last run of `runs`. group, symbol,
    crystal_system, probability: of the most probable group, null where the pattern was refused.
    evidence_probability: of that group by the fit alone, with a uniform prior; null without a fit.
    cell: a, b, c (angstrom), alpha, beta, gamma (degrees), given or proposed. rwp: per cent. action: what
    was decided then.
    """
    found = row.identification
    assert found is not None
    best = found.top[0] if found.top else None
    cell, rwp = found.provenance.cell, None
    if found.cells:
        cell, rwp = found.cells[0].cell, found.cells[0].rwp
    if found.evidence is not None and found.evidence.cell is not None:
        cell, rwp = found.evidence.cell, found.evidence.rwp
    return _plain(
        {
            "decision_id": row.decision.decision_id,
            "run": row.runs[-1] if row.runs else "",
            "runs": list(row.runs),
            "sample": row.sample,
            "shift": row.shift,
            "time": row.time,
            "verdict": found.verdict,
            "reason": found.reason,
            "group": None if best is None else best.group,
            "symbol": None if best is None else best.symbol,
            "crystal_system": None if best is None else best.crystal_system,
            "probability": None if best is None else best.probability,
            "space_groups": [] if best is None else list(best.space_groups),
            "top": [
                {"group": g.group, "symbol": g.symbol, "probability": g.probability} for g in found.top[:_TOP]
            ],
            "prediction_set": list(found.prediction_set),
            "set_coverage": found.set_coverage,
            "cell": None if cell is None else list(cell),
            "rwp": rwp,
            "evidence_probability": None
            if best is None or found.evidence_only is None
            else math.exp(found.evidence_only[best.group - 1]),
            "would_settle": [to_dict(one) for one in found.would_settle],
            "action": row.decision.action,
            "because": row.decision.reason,
            "checkpoint": found.provenance.checkpoint,
            "prior": found.provenance.prior,
            "library": found.provenance.library,
            "version": found.provenance.version,
            "pattern": found.provenance.pattern_uid,
        }
    )


def arrays_of(row: DecisionRow) -> dict[str, npt.NDArray[np.float64]]:
    """The posteriors of an entry, each [99] in nats by group number - 1.

    log_probability: fused. network: of the network alone. evidence_only: the fit's, with a uniform prior.
    """
    found = row.identification
    assert found is not None
    arrays = {
        "log_probability": found.log_probability,
        "network": None if found.network is None else found.network.log_probability,
        "evidence_only": found.evidence_only,
    }
    return {name: np.asarray(values) for name, values in arrays.items() if values is not None}


class Identifications:
    """The container of the entries in a catalog; made when the first one is written. One thread uses it.

    tiled: URI (a key in it, or in $TILED_API_KEY), or a client. path: of the container, in that catalog;
        it begins with "/" when it is meant from the server's root. Methods raise TiledAway when Tiled does
        not answer, NotWritten when it will not have them.
    """

    def __init__(self, tiled: Any, path: str = "identifications") -> None:
        self._tiled = tiled
        self._path = path
        self._container: Any = None

    def put(self, row: DecisionRow) -> str:
        """Write the identification of a row, once however often it is called; returns the decision's id.

        A server that was killed between writing an array and noting that it has it can never take that array
        again (its file is there). The entry is written under another key then: the id and -2, -3.
        """
        ident = row.decision.decision_id
        keys = [ident, *(f"{ident}-{n}" for n in range(2, _KEYS + 1))]
        with self._saying():
            container = self._made()
            entry, new = _created(container, ident, metadata_of(row))
            if not new and any(_whole(container.get(key)) for key in keys):
                return ident
            for key in keys:
                if key != ident:
                    entry, new = _created(container, key, metadata_of(row))
                try:
                    _fill(entry, row)
                    return ident
                except Exception as error:
                    if _status(error) < 500 or key == keys[-1]:
                        raise
        return ident

    def _made(self) -> Any:
        """The container, with those above it."""
        if self._container is None:
            from tiled.structures.core import Spec

            from eg_agent.records.light_client import connect_lightly, lightened

            node = connect_lightly(self._tiled)
            parts = self._path.strip("/").split("/")
            if self._path.startswith("/"):
                node = lightened(_root(node))
            for n, part in enumerate(parts, 1):
                specs = [Spec(CONTAINER_SPEC, SPEC_VERSION)] if n == len(parts) else None
                there = node.get(part)
                node = there if there is not None else _created(node, part, {}, specs)[0]
                if not hasattr(node, "create_container"):
                    raise NotWritten(
                        f"{self._path!r} in Tiled is no container: give another path for the identifications."
                    )
            self._container = node
        return self._container

    @contextlib.contextmanager
    def _saying(self) -> Iterator[None]:
        try:
            yield
        except EgAgentError:
            raise
        except Exception as error:
            said = redacted(f"{type(error).__name__}: {error}").splitlines()[0][:300]
            status = _status(error) or 500
            if status in (401, 403):
                raise NotWritten(
                    f"Tiled lets this key write no identifications under {self._path!r} ({said}): give it "
                    "create:node, write:metadata and write:data there, or another path."
                ) from None
            if status < 500 and status not in (404, 408, 425, 429):
                raise NotWritten(f"Tiled does not take an identification ({said}).") from None
            self._container = None  # found again at the next try: the server may be another one
            raise TiledAway(said) from None


def _status(error: Exception) -> int:
    """Status of the answer that an error comes from; 0 where there was none."""
    return getattr(getattr(error, "response", None), "status_code", 0)


def _created(parent: Any, key: str, metadata: Mapping[str, Any], specs: Any = None) -> tuple[Any, bool]:
    """A container under a key, and whether it was made now: else it is the one that is there."""
    try:
        return parent.create_container(key, metadata=dict(metadata), specs=specs), True
    except Exception as error:
        if _status(error) != 409:
            raise
        return parent[key], False


def _whole(entry: Any) -> bool:
    """Whether an entry has its specification, which it gets last."""
    return entry is not None and any(spec.name == SPEC for spec in entry.specs)


def _fill(entry: Any, row: DecisionRow) -> None:
    """Write the arrays of an entry, then its specification."""
    from tiled.structures.core import Spec

    for name, values in arrays_of(row).items():
        _write(entry, name, values)
    entry.update_metadata(specs=[Spec(SPEC, SPEC_VERSION)], drop_revision=True)


def _write(entry: Any, name: str, values: npt.NDArray[np.float64]) -> None:
    """An array of an entry, again where a crash left one without its numbers."""
    from eg_agent.records.light_client import write_small_array

    try:
        write_small_array(entry, name, values, ["extinction_group"])
    except Exception as error:
        if _status(error) != 409:
            raise
        entry[name].write(values)


def _root(node: Any) -> Any:
    from tiled.client.constructors import from_context

    return from_context(node.context)


def _plain(value: Any) -> Any:
    """JSON types only: no tuples, and null for what is no number."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value
