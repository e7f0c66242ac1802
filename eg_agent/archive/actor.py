"""`Reader`: what each Ray actor of an archive does: read runs from Tiled, identify them, make rows.

While one pattern is identified the next is read. Nothing is kept between two calls but the models and the
connection, so an actor may die at any time.
"""

from __future__ import annotations

import hashlib
import math
import tempfile
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eg_agent.chemistry.metadata import told
from eg_agent.errors import BadInput, BadPattern, EgAgentError
from eg_agent.identify.identification import Identification
from eg_agent.patterns.pattern import Pattern
from eg_agent.records.ledger import for_record
from eg_agent.records.run_data import NotAPattern
from eg_agent.records.runs import RunHead, Runs, TiledAway

if TYPE_CHECKING:
    from eg_agent.identify import Identifier

#: Runs that are read ahead of the one that is identified.
AHEAD = 4
#: Verdicts of rows without an identification.
NO_PATTERN, REFUSED, UNREADABLE, FAILED = "not a pattern", "refused", "unreadable", "failed"


@dataclass(frozen=True)
class Job:
    """All that an actor is given.

    tiled: URI, its key in it. files: names and contents of the checkpoint's files, its card first.
    radiation: angstrom, for runs that do not say. index_seconds: to look for a cell where a run gives none.
    write: whether identifications become entries of Tiled.
    """

    tiled: str
    files: tuple[tuple[str, bytes], ...]
    prior: str
    radiation: float | None = None
    index_seconds: float = 0.0
    write: bool = False


class Reader:
    """The actor. `identify` takes uids and gives a row for each of them that is a run."""

    def __init__(self, job: Job) -> None:
        import torch

        from eg_agent.identify import Identifier, IdentifySettings

        torch.set_num_threads(1)
        self._job = job
        with tempfile.TemporaryDirectory(prefix="eg-archive-") as name:
            for file, content in job.files:
                (Path(name) / file).write_bytes(content)
            settings = IdentifySettings(index_seconds=job.index_seconds)
            self._identifier = Identifier(Path(name) / job.files[0][0], job.prior, settings)
        self._runs = Runs(job.tiled, radiation=job.radiation)
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix="reads ahead")
        self._entries: Any = None
        if job.write:
            from eg_agent.records.identifications import Identifications

            self._entries = Identifications(job.tiled)

    def ready(self) -> str:
        """Answer once everything is loaded and Tiled is reached: "", or why Tiled is not."""
        try:
            self._runs.warm()
        except TiledAway as error:
            return str(error)
        return ""

    def identify(self, uids: list[str]) -> dict[str, Any]:
        """`rows` of the runs among the nodes, `others` that are none; `away`: why Tiled gave no answer;
        `refused`: why it takes no entries.

        What was done before Tiled went away comes back all the same.
        """
        rows: list[dict[str, Any]] = []
        try:
            heads = self._runs.heads(uids)
            waiting: list[tuple[RunHead, Future[Any]]] = []
            left = [heads[uid] for uid in uids if uid in heads]
            others = [uid for uid in uids if uid not in heads]
            while left or waiting:
                while left and len(waiting) < AHEAD:
                    head = left.pop(0)
                    waiting.append((head, self._ahead.submit(self._read, head)))
                head, reading = waiting.pop(0)
                rows.append(self._row(head, *reading.result()))
        except TiledAway as error:
            return {"rows": rows, "others": [], "away": str(error), "refused": ""}
        except EgAgentError as error:  # Tiled takes no entries
            return {"rows": rows, "others": [], "away": "", "refused": str(error)}
        return {"rows": rows, "others": others, "away": "", "refused": ""}

    def _read(self, head: RunHead) -> tuple[Pattern | None, str, str, float]:
        """Pattern, or verdict and reason without one; seconds."""
        began = time.perf_counter()
        pattern, verdict, reason = None, "", ""
        try:
            pattern = self._runs.pattern(head)
        except TiledAway:
            raise
        except NotAPattern as error:
            verdict, reason = NO_PATTERN, str(error)
        except BadPattern as error:
            verdict, reason = REFUSED, str(error)
        except EgAgentError as error:
            verdict, reason = UNREADABLE, str(error)
        except Exception as error:  # one strange run of years of them
            verdict, reason = UNREADABLE, f"{type(error).__name__}: {error}"
        return pattern, verdict, reason, time.perf_counter() - began

    def _row(
        self, head: RunHead, pattern: Pattern | None, verdict: str, reason: str, reading: float
    ) -> dict[str, Any]:
        if pattern is None:
            return bare_row(head, verdict, reason) | {"reading_seconds": round(reading, 5)}
        began = time.perf_counter()
        try:
            found = for_record(identified(self._identifier, pattern, head))
        except Exception as error:
            return bare_row(head, FAILED, f"{type(error).__name__}: {error}")
        if self._entries is not None and found.verdict != "refused":
            self._entries.put(entry_of(head, found))
        row = row_of(head, pattern, found)
        row |= {"reading_seconds": round(reading, 5), "seconds": round(time.perf_counter() - began, 5)}
        return row


def identified(identifier: Identifier, pattern: Pattern, head: RunHead) -> Identification:
    """The answer for a run with the cell and the chemistry of its metadata, as far as they can be used.

    What cannot be used is said at the end of the reason.
    """
    composition, unused = None, []
    try:
        composition = told(head.start)
    except BadInput as error:
        unused.append(f"the run's composition is not used: {error}")
    tries, failed = [(head.cell, composition)], BadInput("nothing was tried.")
    if composition is not None:
        tries += [(head.cell, None), (None, composition)]
    for cell, chemistry in [*tries, (None, None)]:
        try:
            found = identifier.identify(pattern, cell, chemistry)
        except BadInput as error:
            failed = error
            continue
        if cell != head.cell:
            unused.append(f"the run's cell is not used: {failed}")
        if chemistry != composition:
            unused.append(f"the run's composition is not used: {failed}")
        return replace(found, reason="; ".join([found.reason.rstrip("."), *unused])) if unused else found
    raise failed


def bare_row(head: RunHead, verdict: str, reason: str) -> dict[str, Any]:
    """The row of a run without an identification."""
    return {
        "run": head.uid,
        "sample": head.sample,
        "began": head.began,
        "verdict": verdict,
        "reason": reason[:1000],
    }


def row_of(head: RunHead, pattern: Pattern, found: Identification) -> dict[str, Any]:
    """The row of a run, as JSON types.

    began: seconds since 1970. group, symbol, crystal_system, probability, space_groups: of the leading group.
    network_group, network_probability: what the network alone says; novelty: its distance from what it was
    made for, standard deviations. cell: angstrom and degrees, refined where a fit stands, rwp its per cent;
    evidence_probability: of the leading group by the fit alone, with a uniform prior. two_theta_min,
    two_theta_max: degrees. wavelength: angstrom. reading_seconds, seconds: reading, identifying.
    """
    row = bare_row(head, found.verdict, found.reason)
    best = found.top[0] if found.top else None
    if best is not None:
        row |= {
            "group": best.group,
            "symbol": best.symbol,
            "crystal_system": best.crystal_system,
            "probability": best.probability,
            "space_groups": list(best.space_groups),
            "prediction_set": list(found.prediction_set),
        }
        if found.evidence_only is not None:
            row["evidence_probability"] = float(np.exp(found.evidence_only[best.group - 1]))
    if found.network is not None:
        first = int(np.argmax(found.network.log_probability))
        row["network_group"] = first + 1
        row["network_probability"] = float(np.exp(found.network.log_probability[first]))
        row["novelty"] = found.network.novelty
    if found.evidence is not None and found.evidence.status == "fitted" and found.evidence.cell is not None:
        row["cell"], row["rwp"] = list(found.evidence.cell), found.evidence.rwp
    elif found.provenance.cell is not None:
        row["cell"] = list(found.provenance.cell)
    row |= {
        "points": len(pattern),
        "two_theta_min": float(pattern.two_theta[0]),
        "two_theta_max": float(pattern.two_theta[-1]),
        "wavelength": pattern.radiation.wavelength,
        "checkpoint": found.provenance.checkpoint,
    }
    return {key: _plain(value) for key, value in row.items()}


def entry_of(head: RunHead, found: Identification) -> Any:
    """The identification as an agent's ledger would have it, for `records.identifications`.

    Its id is a function of run and checkpoint, so that the same entry is never made twice.
    """
    from eg_agent.decide.decision import Decision
    from eg_agent.decide.state import State
    from eg_agent.records.ledger import DecisionRow, Policy

    digest = hashlib.sha256(f"{head.uid} {found.provenance.checkpoint}".encode()).hexdigest()[:24]
    decision = Decision(
        decision_id=f"archive-{digest}",
        action="stop",
        reason="identified from the archive: nothing is measured",
        sample=head.sample,
        run_uid=head.uid,
        mode="observe",
    )
    return DecisionRow(
        decision=decision,
        state=State(sample=head.sample),
        policy=Policy(),
        identification=found,
        runs=(head.uid,),
        new_runs=(head.uid,),
        sample=head.sample,
        shift=head.shift,
        pattern_from="tiled",
        time=time.time(),
    )


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
