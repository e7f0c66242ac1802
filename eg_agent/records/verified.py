"""Identifications that a Pawley fit confirmed, from Tiled's entries and ledgers: what may be learned from.

Confirmed is stricter than `identified`: the fit alone, without the network, must say the same group.
Otherwise a network would be taught its own opinion.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eg_agent.errors import BadInput
from eg_agent.identify.identification import Identification
from eg_agent.records.identifications import SPEC
from eg_agent.records.ledger import DecisionRow, read_ledger
from eg_agent.records.runs import TiledAway
from eg_agent.records.tiled_client import connect, redacted

Cell = tuple[float, float, float, float, float, float]


@dataclass(frozen=True, slots=True)
class Verified:
    """A run whose group a fit confirmed.

    run: uid. group: 1 to 99. cell: refined, angstrom and degrees. probability: fused, of the group;
    evidence: of the fit alone, with a uniform prior. checkpoint: hash of the network that took part.
    """

    run: str
    group: int
    cell: Cell
    probability: float
    evidence: float
    checkpoint: str
    sample: str = ""


@dataclass(frozen=True, slots=True)
class Counted:
    """Verified runs, the newest answer of each, and how many answers were passed over and why."""

    runs: tuple[Verified, ...]
    passed: dict[str, int]


def verified(
    entries: Iterable[dict[str, Any]], ledgers: Iterable[str | Path] = (), *, least: float = 0.9
) -> Counted:
    """From entries (`entries_in`) and ledger files; least: evidence alone from which a fit confirms.

    An answer to several runs together says nothing of each, and is passed over.
    """
    found: dict[str, tuple[float, Verified | str]] = {}

    def keep(run: str, time: float, what: Verified | str) -> None:
        if run and (run not in found or time >= found[run][0]):
            found[run] = (time, what)

    for entry in entries:
        if len(entry.get("runs") or ()) == 1:
            keep(str(entry["run"]), float(entry.get("time") or 0.0), _of_entry(entry, least))
    for path in ledgers:
        if not Path(path).is_file():
            raise BadInput(f"there is no ledger {path}: give the ledger.jsonl of an agent's records.")
        for row in read_ledger(path):
            if isinstance(row, DecisionRow) and row.identification is not None and len(row.runs) == 1:
                keep(row.runs[0], row.time, _of_row(row, row.identification, least))
    passed: dict[str, int] = {}
    for _, what in found.values():
        if isinstance(what, str):
            passed[what] = passed.get(what, 0) + 1
    return Counted(tuple(what for _, what in found.values() if isinstance(what, Verified)), passed)


def _of_entry(entry: dict[str, Any], least: float) -> Verified | str:
    if entry.get("verdict") != "identified":
        return "not identified"
    cell, group = entry.get("cell"), entry.get("group")
    if entry.get("rwp") is None or cell is None or group is None:
        return "no fit"
    evidence = float(entry.get("evidence") or 0.0)
    if evidence < least:
        return "the fit alone does not say it"
    return Verified(
        str(entry["run"]),
        int(group),
        tuple(float(v) for v in cell),  # type: ignore[arg-type]
        float(entry.get("probability") or 0.0),
        evidence,
        str(entry.get("checkpoint", "")),
        str(entry.get("sample", "")),
    )


def _of_row(row: DecisionRow, found: Identification, least: float) -> Verified | str:
    if found.verdict != "identified" or not found.top:
        return "not identified"
    evidence = found.evidence
    if (
        evidence is None
        or evidence.status != "fitted"
        or evidence.cell is None
        or found.evidence_only is None
    ):
        return "no fit"
    best = found.top[0]
    alone = math.exp(float(found.evidence_only[best.group - 1]))
    if alone < least:
        return "the fit alone does not say it"
    return Verified(
        row.runs[0],
        best.group,
        evidence.cell,
        best.probability,
        alone,
        found.provenance.checkpoint,
        row.sample,
    )


def entries_in(tiled: Any, path: str = "identifications") -> Iterator[dict[str, Any]]:
    """Metadata of the identified entries of a Tiled, with `evidence`: the fit's own probability of the group.

    tiled: URI or client; path: of the container. Raises TiledAway when Tiled does not answer.
    """
    from tiled.queries import Key

    try:
        node = connect(tiled) if isinstance(tiled, str) else tiled
        for part in path.strip("/").split("/"):
            node = node.get(part)
            if node is None:
                return
        for _, entry in node.search(Key("verdict") == "identified").items():
            metadata = dict(entry.metadata)
            if metadata.get("group") is None or not any(spec.name == SPEC for spec in entry.specs):
                continue
            if metadata.get("rwp") is not None:
                metadata["evidence"] = _evidence(entry, metadata)
            yield metadata
    except (TiledAway, BadInput):
        raise
    except Exception as error:
        raise TiledAway(redacted(f"{type(error).__name__}: {error}").splitlines()[0][:300]) from None


def _evidence(entry: Any, metadata: dict[str, Any]) -> float:
    said = metadata.get("evidence_probability")
    if said is not None:
        return float(said)
    array = entry.get("evidence_only")
    return 0.0 if array is None else float(np.exp(np.asarray(array.read())[int(metadata["group"]) - 1]))
