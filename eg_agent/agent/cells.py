"""`CellSearch`: looks for the cells of samples beside the agent's answers, which never wait for it."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable

from eg_agent.agent.process import WorkerFailed, WorkerProcess
from eg_agent.agent.readings import ToRead
from eg_agent.agent.worker import Cell, task
from eg_agent.identify.identification import Identification
from eg_agent.records.ledger import DecisionRow, Policy
from eg_agent.values import from_dict

_log = logging.getLogger(__name__)

#: Probability that a cell is right from which the sample's next answers rely on it.
_SURE = 0.5


class CellSearch:
    """Indexing in a worker of its own, one sample after the other, the newest data of each.

    worker: whose identifier looks for a cell; started when it is first needed. found: called with shift,
    sample, cell and its probability, on the search's thread. `known` is what was found, by (shift, sample).
    """

    def __init__(
        self, worker: WorkerProcess, policy: Policy, found: Callable[[str, str, Cell, float], None]
    ) -> None:
        self.known: dict[tuple[str, str], Cell] = {}
        self._worker = worker
        self._policy = policy
        self._found = found
        self._waiting: OrderedDict[tuple[str, str], DecisionRow] = OrderedDict()
        self._wake = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="eg-agent cells", daemon=True)
        self._thread.start()

    def put(self, row: DecisionRow) -> None:
        """Look for the cell of what a row answers, unless one was given or found; returns at once."""
        answer = row.identification
        page = (row.shift, row.sample)
        if answer is None or answer.verdict == "refused" or answer.provenance.cell is not None:
            return
        if not (row.shift and row.sample and row.pattern_from in ("tiled", "journal")) or page in self.known:
            return
        with self._wake:
            self._waiting[page] = row
            self._wake.notify_all()

    def close(self) -> None:
        """End it, whatever it is at."""
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        with contextlib.suppress(OSError):  # its pipe may be gone already: it is ended all the same
            self._worker.close()
        self._thread.join(5.0)

    def _work(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._waiting or self._closing)
                if self._closing:
                    return
                page, row = self._waiting.popitem(last=False)
            try:
                self._search(page, row)
            except WorkerFailed as error:
                _log.info("no cell of %s: %s", row.sample, error)
            except Exception:
                _log.exception("looking for cells goes on after an error")

    def _search(self, page: tuple[str, str], row: DecisionRow) -> None:
        wanted = ToRead(new=row.runs, sample=row.sample)
        message = self._worker.ask(task(wanted, None, None, self._policy, row.runs[-1], "observe"))
        if "identification" not in message:
            return
        proposed = from_dict(Identification, message["identification"]).cells
        if proposed and proposed[0].probability >= _SURE:
            self.known[page] = proposed[0].cell
            self._found(row.shift, row.sample, proposed[0].cell, proposed[0].probability)
