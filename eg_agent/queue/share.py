"""`SharedLedger`: one agent's ledger file and the board's copy of it, kept the same in both directions."""

from __future__ import annotations

import hashlib
import logging

from eg_agent.queue.board import Board
from eg_agent.queue.board_redis import AnsweredElsewhere
from eg_agent.queue.work import LedgerRow, LedgerTail, WorkBook, parsed
from eg_agent.records.ledger import DecisionRow, Ledger, OutcomeRow

_log = logging.getLogger(__name__)


class SharedLedger:
    """Writes rows to the file, publishes what the file has, takes what others published; feeds the book."""

    def __init__(self, ledger: Ledger, board: Board, book: WorkBook) -> None:
        self.ledger = ledger
        self.board = board
        self.book = book
        self._tail = LedgerTail(ledger.path)
        self._here: set[bytes] = set()
        self._there: set[bytes] = set()
        self._unpublished: list[bytes] = []

    def write(self, row: LedgerRow) -> None:
        """Append a row. Raises OSError when the disk refuses."""
        self.ledger.append(row)
        self.read()

    def read(self) -> list[LedgerRow]:
        """Take what was added to the file into the book; returns the new rows."""
        rows: list[LedgerRow] = []
        for line in self._tail.lines():
            mark = _mark(line)
            self._here.add(mark)
            if mark not in self._there:
                self._unpublished.append(line)
            row = parsed(line)
            if row is not None:
                rows.append(row)
                self.book.take(row)
        return rows

    def follow(self) -> None:
        """Append to the file what others published. Raises BoardAway, OSError."""
        self.read()  # what is in the file already, after a restart, is not appended again
        for line in self.board.news():
            mark = _mark(line)
            self._there.add(mark)
            if mark not in self._here:
                self._here.add(mark)
                row = parsed(line)
                if row is not None:
                    self.ledger.append(row)
        self.read()

    def resync(self) -> None:
        """Compare with the whole board again: it may have lost what was shared (a store without a disk)."""
        self.board.rewind()
        self._there.clear()
        self.follow()
        self._unpublished = (
            [line for line in self.ledger.path.read_bytes().splitlines() if line.strip()]
            if self.ledger.path.exists()
            else []
        )

    def publish(self) -> None:
        """Share what is not shared yet. Raises BoardAway, LeaseLost."""
        self.read()
        while self._unpublished:
            line = self._unpublished[0]
            if _mark(line) not in self._there:
                try:
                    self.board.publish([line])
                except AnsweredElsewhere as refused:
                    self._withdraw(refused)
            self._there.add(_mark(line))
            self._unpublished.pop(0)
            self.read()

    def _withdraw(self, refused: AnsweredElsewhere) -> None:
        """A decision of ours that came too late is not carried out, and the ledger says so."""
        row: DecisionRow = refused.row
        _log.warning("%s: decision %s is withdrawn", refused, row.decision.decision_id)
        self.ledger.append(OutcomeRow(row.decision.decision_id, "refused", reason=f"withdrawn: {refused}"))


def _mark(line: bytes) -> bytes:
    return hashlib.blake2b(line.strip(), digest_size=16).digest()
