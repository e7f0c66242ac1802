"""`Once`: the RE Manager's side of the promise that a decision has at most one successful run.

The queue server puts a plan back into the queue whenever its worker, its environment or the manager
itself ends while it runs, even when the run had been closed a moment before. Only the process that
measures can rule out a second successful run: it looks into its journal, which has a run's stop
document on disk before anything else learns of it, and does not measure again.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable, Generator, Mapping
from typing import Any

from eg_agent.errors import EgAgentError
from eg_agent.records.journal import Journal

_log = logging.getLogger(__name__)

Plan = Generator[Any, Any, Any]

#: How much of a journal file's end is read to find the stop document.
_TAIL_BYTES = 65536


class CarriedOut(EgAgentError):
    """The decision of this run has had its successful run already."""


class Once:
    """Knows the decisions that had their successful run; a callback, subscribed after the journal.

    journal: of the process that measures, the one that its documents are written to.
    known: asked when the journal does not know a decision, as after a move to another host (for one,
        `Runs.successful`); gives a run's uid or "". When it raises, or takes longer than `patience`
        seconds, the journal decides alone.
    """

    def __init__(
        self, journal: Journal, known: Callable[[str], str] | None = None, *, patience: float = 3.0
    ) -> None:
        self._known = known
        self._patience = patience
        self._lock = threading.Lock()
        self._open: dict[str, str] = {}
        self._done: dict[str, str] = {}
        for uid in journal.runs():
            start, stop = _ends(journal, uid)
            self._take(start, stop)

    def _take(self, start: Mapping[str, Any], stop: Mapping[str, Any]) -> None:
        ident = start.get("eg_decision_id")
        if ident and stop.get("exit_status") == "success":
            self._done.setdefault(str(ident), str(start.get("uid", "")))

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Take a document from the RunEngine."""
        if name == "start" and doc.get("eg_decision_id"):
            self._open[doc["uid"]] = str(doc["eg_decision_id"])
        elif name == "stop":
            ident = self._open.pop(doc.get("run_start", ""), "")
            if ident and doc.get("exit_status") == "success":
                with self._lock:
                    self._done.setdefault(ident, doc["run_start"])

    def done(self, decision_id: str) -> str:
        """Uid of the successful run of a decision, "" when it has had none."""
        with self._lock:
            if uid := self._done.get(decision_id, ""):
                return uid
        if self._known is None or not decision_id:
            return ""
        try:
            return self._ask(self._known, decision_id)
        except Exception as error:
            _log.warning("only the journal says whether %s was carried out (%s)", decision_id, error)
            return ""

    def _ask(self, known: Callable[[str], str], decision_id: str) -> str:
        """What `known` says, but not later than `patience` seconds: the RunEngine waits meanwhile."""
        box: list[str | Exception] = []

        def ask() -> None:
            try:
                box.append(known(decision_id))
            except Exception as error:
                box.append(error)

        thread = threading.Thread(target=ask, name="eg-agent once", daemon=True)
        thread.start()
        thread.join(self._patience)
        if not box:
            raise TimeoutError(f"no answer within {self._patience:g} s")
        if isinstance(box[0], Exception):
            raise box[0]
        return box[0]

    def plan(self, md: Mapping[str, Any], plan: Plan) -> Plan:
        """The plan, or nothing at all when the decision in its metadata has had its successful run.

        It then ends as a success, because a failure would put it back into the queue and stop that.
        """
        ident = str(md.get("eg_decision_id", ""))
        uid = self.done(ident) if ident else ""
        if uid:
            _log.warning("decision %s was carried out by run %s: not measured again", ident, uid)
            plan.close()
            return uid
        return (yield from plan)

    def validate(self, md: Mapping[str, Any]) -> None:
        """For `RE.md_validator`: no run is opened for a decision that has had one, whatever the plan is.

        Raises CarriedOut.
        """
        ident = str(md.get("eg_decision_id", ""))
        uid = self.done(ident) if ident else ""
        if uid:
            raise CarriedOut(f"decision {ident} was carried out by run {uid}: it is not measured again.")


def _ends(journal: Journal, uid: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Start and stop documents of a run in the journal, without what lies between; empty where absent."""
    start: dict[str, Any] = {}
    stop: dict[str, Any] = {}
    try:
        with open(journal.path(uid), "rb") as file:
            first = json.loads(file.readline())
            if first["name"] == "start":
                start = first["doc"]
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            last = json.loads(file.read().strip().rpartition(b"\n")[2])
            if last["name"] == "stop":
                stop = last["doc"]
    except OSError as error:
        _log.error(
            "the journal of run %s cannot be read (%s): its decision may be measured again", uid, error
        )
    except (ValueError, KeyError, TypeError):
        pass  # a run that a crash cut short: it has no stop document
    return start, stop
